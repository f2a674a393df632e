//! `midship diff`: what would change, between two commits, or between a commit and the files as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anstyle::AnsiColor;
use clap::Args;
use serde_json::Value;
use similar::ChangeTag;

use super::Outcome;
use super::connection::Connection;
use super::doubts::elsewhere;
use super::error::CommandError;
use super::live::{Against, compare as compare_live, normal};
use super::output::{self, Format, printable};
use super::preview::{NoPreview, Preview, preview};
use super::repository::Files;
use super::snapshot::Snapshot;
use super::validate::{tell, wrong_files};
use crate::api::git_source::FileError;
use crate::cue::Cue;
use crate::diff::{Changes, Manifests, Objects, Redaction, compare, compare_manifests};
use crate::plan::effect::effect;
use crate::plan::source::{Manifest, ObjectId, ObjectKind, What};

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
    keep_what_broken_files_defined(&mut head, &base);
    let mut changes = if arguments.rendered {
        compare_manifests(&manifests(&base), &manifests(&head))
    } else {
        compare(&objects(&base), &objects(&head), &Redaction::new(&one_time_key()?))
    };
    if !arguments.rendered {
        explain(&mut changes, &base, &head);
        let files = base.defined.objects.iter().map(|manifest| (manifest.id.to_string(), &*manifest.path));
        let files: BTreeMap<String, &str> = files.collect();
        let ignored = |object: &String| {
            let (path, place) = head.defined.ignored.get_key_value(*files.get(object)?)?;
            Some(format!("{path} is ignored by {place}"))
        };
        tell_ignored(&mut changes, ignored);
    }
    tell(elsewhere(&arguments.files.path).as_slice(), format);
    ended(&changes, &errors, format)
}

/// The controller leaves what a file defined before it was broken, and so it is no change.
fn keep_what_broken_files_defined(head: &mut Snapshot, base: &Snapshot) {
    let defined: BTreeSet<&ObjectId> = head.defined.objects.iter().map(|manifest| &manifest.id).collect();
    let unknown = |manifest: &&Manifest| head.defined.unknown.covers(&manifest.id, Some(&manifest.path));
    let kept = base.defined.objects.iter().filter(unknown).filter(|manifest| !defined.contains(&manifest.id));
    let kept: Vec<Manifest> = kept.cloned().collect();
    head.defined.objects.extend(kept);
}

fn ended(changes: &Changes, errors: &[FileError], format: Format) -> Result<Outcome, CommandError> {
    print(changes, format)?;
    if !errors.is_empty() {
        return Err(wrong_files(errors));
    }
    Ok(if changes.is_empty() { Outcome::Done } else { Outcome::Changes })
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
    for change in &mut changes.changes {
        let id = before.keys().chain(after.keys()).find(|id| id.to_string() == change.object);
        if let Some(id) = id {
            change.effects = effects(id, before.get(id), after.contains_key(id), &compared.snapshot);
        }
    }
    let ignored: BTreeMap<String, &String> = compared.ignored.iter().map(|(id, told)| (id.to_string(), told)).collect();
    tell_ignored(&mut changes, |object| ignored.get(object).map(ToString::to_string));
    ended(&changes, &compared.snapshot.defined.errors, format)
}

fn objects(snapshot: &Snapshot) -> Objects {
    snapshot.defined.objects.iter().map(|manifest| (manifest.id.clone(), manifest.body.clone())).collect()
}

/// Everything instances become, where their packages are in the repository.
fn manifests(snapshot: &Snapshot) -> Manifests {
    let rules = Cue::default();
    let previews = snapshot.defined.objects.iter().filter_map(|manifest| preview(snapshot, manifest, &rules)?.ok());
    let all = previews.flat_map(|preview| preview.rendered.manifests());
    all.map(|object| (name(&object), Arc::new(object))).collect()
}

fn name(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!("{} {}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}

/// Says of each instance that changes what that means.
fn explain(changes: &mut Changes, base: &Snapshot, head: &Snapshot) {
    let rules = Cue::default();
    for change in &mut changes.changes {
        let preview = |snapshot: &Snapshot| {
            let found = snapshot.defined.objects.iter().find(|manifest| manifest.id.to_string() == change.object)?;
            preview(snapshot, found, &rules)
        };
        let (old, new) = (preview(base), preview(head));
        if old.is_some() || new.is_some() {
            change.effects = sentences(old, new);
        }
    }
}

/// What it means for pods that an object in the cluster becomes what the files say, or goes.
pub fn effects(id: &ObjectId, live: Option<&Arc<Value>>, stays: bool, snapshot: &Snapshot) -> Vec<String> {
    if id.kind != ObjectKind::Instance {
        return Vec::new();
    }
    let rules = Cue::default();
    let old = live.and_then(|body| {
        let manifest = Manifest { id: id.clone(), path: "".into(), line: 1, body: body.clone(), digest: String::new() };
        preview(snapshot, &manifest, &rules)
    });
    let wanted = snapshot.defined.objects.iter().find(|manifest| manifest.id == *id).filter(|_| stays);
    sentences(old, wanted.and_then(|manifest| preview(snapshot, manifest, &rules)))
}

type Try = Option<Result<Preview, NoPreview>>;

fn sentences(old: Try, new: Try) -> Vec<String> {
    let unknown = |reason: String| vec![format!("what it means for pods is not known here: {reason}")];
    let new = match new.transpose() {
        Ok(new) => new,
        Err(NoPreview::Package(reason)) => return unknown(reason),
        Err(NoPreview::Refused(refusals)) => {
            return refusals.iter().map(|refusal| format!("will be refused: {refusal}")).collect();
        }
    };
    let old = match old.transpose() {
        Ok(old) => old,
        Err(NoPreview::Package(reason)) => return unknown(reason),
        // what was refused before has no pods that could be told of
        Err(NoPreview::Refused(_)) => None,
    };
    effect(old.as_ref().map(Preview::side), new.as_ref().map(Preview::side)).sentences()
}

/// Digests of secrets are comparable within one run and never beyond it.
fn one_time_key() -> Result<[u8; 32], CommandError> {
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| CommandError::new("the system gives no random numbers"))?;
    Ok(key)
}

pub fn print(changes: &Changes, format: Format) -> Result<(), CommandError> {
    match format {
        Format::Table => {
            print!("{}", changes.text(paint));
            Ok(())
        }
        Format::Markdown => {
            print!("{}", changes.markdown());
            Ok(())
        }
        Format::Json | Format::Yaml => output::print(format, changes, || output::Table::new(&[])),
    }
}

fn paint(tag: ChangeTag, line: &str) -> String {
    let line = printable(line);
    match tag {
        ChangeTag::Equal => line,
        ChangeTag::Delete => {
            let red = AnsiColor::Red.on_default();
            format!("{red}{line}{red:#}")
        }
        ChangeTag::Insert => {
            let green = AnsiColor::Green.on_default();
            format!("{green}{line}{green:#}")
        }
    }
}
