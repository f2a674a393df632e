//! `midship diff`: what would change, between two commits, or between a commit and the files as they are.

mod assumed;
mod foreseen;
mod meaning;
mod rendered;
mod shown;

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;

use super::Outcome;
use super::connection::Connection;
use super::doubts::elsewhere;
use super::error::CommandError;
use super::live::{Against, compare as compare_live, normal};
use super::output::Format;
use super::repository::Files;
use super::snapshot::Snapshot;
use super::validate::{tell, wrong_files};
use crate::cue::Cue;
use crate::diff::{Changes, Objects, Redaction, compare};
use crate::plan::source::{Manifest, ObjectId, Plan, What};
use shown::Shown;

pub use meaning::effects;
pub use shown::print;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    files: Files,

    /// Commit to compare with.
    #[arg(long, value_name = "REVISION", default_value = "HEAD")]
    base: String,

    /// Commit that is compared; the files as they are where left out.
    #[arg(long, value_name = "REVISION")]
    head: Option<String>,

    /// Compare the objects that instances become, not the instances themselves.
    #[arg(long, conflicts_with = "live")]
    rendered: bool,

    /// Compare with what is in the cluster instead of a commit.
    #[arg(long, conflicts_with = "base")]
    live: bool,

    #[command(flatten)]
    against: Against,
}

pub fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    if arguments.live {
        return super::in_background(live(arguments, connection, format));
    }
    let base = arguments.files.at(&arguments.base)?;
    let mut head = match &arguments.head {
        None => arguments.files.now()?,
        Some(revision) => arguments.files.at(revision)?,
    };
    let errors = std::mem::take(&mut head.defined.errors);
    let unsettled = head.unsettled();
    let agreed = foreseen::agreed(&arguments.files, arguments.head.as_deref())?;
    let plan = foreseen::settle(&mut head, &base, agreed);
    let changes = if arguments.rendered { rendered::changes(&base, &head) } else { defined(&base, &head, &plan)? };
    tell(elsewhere(&arguments.files.path).as_slice(), format);
    ended(&Shown::new(&changes, &plan, &errors).alone(&plan), unsettled, format)
}

/// What changes of the objects that files define.
fn defined(base: &Snapshot, head: &Snapshot, plan: &Plan) -> Result<Changes, CommandError> {
    let mut changes = compare(&objects(base), &objects(head), &Redaction::new(&one_time_key()?));
    meaning::explain(&mut changes, base, head);
    assumed::add(&mut changes, base, head);
    foreseen::tell(&mut changes, plan, base);
    let files = base.defined.objects.iter().map(|manifest| (manifest.id.to_string(), &*manifest.path));
    let files: BTreeMap<String, &str> = files.collect();
    tell_ignored(&mut changes, |object| {
        let (path, place) = head.defined.ignored.get_key_value(*files.get(object)?)?;
        Some(format!("{path} is ignored by {place}"))
    });
    Ok(changes)
}

fn ended(shown: &Shown<'_>, unsettled: Option<&str>, format: Format) -> Result<Outcome, CommandError> {
    shown.print(format)?;
    if !shown.errors.is_empty() {
        return Err(wrong_files(shown.errors, unsettled));
    }
    Ok(if shown.changes.is_empty() { Outcome::Done } else { Outcome::Changes })
}

/// Says of what goes that its file is there and left out.
fn tell_ignored(changes: &mut Changes, ignored: impl Fn(&String) -> Option<String>) {
    for change in changes.changes.iter_mut().filter(|change| change.after.is_none()) {
        if let Some(told) = ignored(&change.object) {
            change.effects.insert(0, told);
        }
    }
}

/// The cluster against the files: what each action of the plan would change.
async fn live(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let Arguments { files, head, against, .. } = arguments;
    let compared = compare_live(files, head.as_deref(), against, connection).await?;
    let wanted: BTreeMap<&ObjectId, &Manifest> =
        compared.snapshot.defined.objects.iter().map(|manifest| (&manifest.id, manifest)).collect();
    let (mut before, mut after) = (Objects::new(), Objects::new());
    let acted = compared.plan.actions.iter().map(|action| (&action.id, action.what != What::Delete));
    // deletions that are held are changes too, and so is what somebody changed and is left so
    let held = compared.plan.held.iter().map(|id| (id, false));
    let drifted = compared.plan.drifted.keys().map(|id| (id, true));
    for (id, stays) in acted.chain(held).chain(drifted) {
        before.extend(compared.live.get(id).map(|body| (id.clone(), body.clone())));
        let manifest = wanted.get(id).filter(|_| stays);
        after.extend(manifest.map(|manifest| (id.clone(), Arc::new(normal(id.kind, &manifest.body)))));
    }
    let mut changes = compare(&before, &after, &Redaction::new(&one_time_key()?));
    changes.unchanged += compared.plan.in_sync;
    let ids: BTreeMap<String, &ObjectId> = before.keys().chain(after.keys()).map(|id| (id.to_string(), id)).collect();
    // asked once of what is alike
    let rules = Cue::default();
    for change in &mut changes.changes {
        if let Some(id) = ids.get(&change.object).copied() {
            change.effects = effects(id, before.get(id), after.contains_key(id), &compared.snapshot, &rules);
        }
    }
    let ignored: BTreeMap<String, &String> = compared.ignored.iter().map(|(id, told)| (id.to_string(), told)).collect();
    tell_ignored(&mut changes, |object| ignored.get(object).map(ToString::to_string));
    let snapshot = &compared.snapshot;
    ended(&Shown::new(&changes, &compared.plan, &snapshot.defined.errors), snapshot.unsettled(), format)
}

fn objects(snapshot: &Snapshot) -> Objects {
    snapshot.defined.objects.iter().map(|manifest| (manifest.id.clone(), manifest.body.clone())).collect()
}

/// Digests of secrets are comparable within one run and never beyond it.
fn one_time_key() -> Result<[u8; 32], CommandError> {
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| CommandError::new("the system gives no random numbers"))?;
    Ok(key)
}
