//! `midship diff`: what would change, between two commits, or between a commit and the files as they are.

use std::sync::Arc;

use anstyle::AnsiColor;
use clap::Args;
use similar::ChangeTag;

use super::Outcome;
use super::error::CommandError;
use super::output::{self, Format, printable};
use super::preview::{NoPreview, Preview, preview};
use super::repository::Files;
use super::snapshot::Snapshot;
use crate::cue::Cue;
use crate::diff::{Changes, Manifests, Objects, Redaction, compare, compare_manifests};
use crate::plan::effect::effect;
use crate::plan::source::Manifest;

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
    #[arg(long)]
    rendered: bool,
}

pub fn run(arguments: &Arguments, format: Format) -> Result<Outcome, CommandError> {
    let base = arguments.files.at(&arguments.base)?;
    let head = match &arguments.head {
        None => arguments.files.now()?,
        Some(revision) => arguments.files.at(revision)?,
    };
    let errors = head.defined.errors.len();
    let mut changes = if arguments.rendered {
        compare_manifests(&manifests(&base), &manifests(&head))
    } else {
        compare(&objects(&base), &objects(&head), &Redaction::new(&one_time_key()?))
    };
    if !arguments.rendered {
        explain(&mut changes, &base, &head);
    }
    print(&changes, format)?;
    if errors > 0 {
        return Err(CommandError::new(
            "some files define nothing because they are wrong; what they would change is not shown",
        )
        .at(arguments.files.path.display().to_string())
        .remedy("`midship validate` names each mistake"));
    }
    Ok(if changes.is_empty() { Outcome::Done } else { Outcome::Changes })
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

fn name(object: &serde_json::Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default();
    format!("{} {}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}

/// Says of each instance that changes what that means.
pub fn explain(changes: &mut Changes, base: &Snapshot, head: &Snapshot) {
    let rules = Cue::default();
    for change in &mut changes.changes {
        let find = |snapshot: &'_ Snapshot| -> Option<Manifest> {
            snapshot.defined.objects.iter().find(|manifest| manifest.id.to_string() == change.object).cloned()
        };
        let preview = |snapshot: &Snapshot| find(snapshot).and_then(|manifest| preview(snapshot, &manifest, &rules));
        let (old, new) = (preview(base), preview(head));
        if old.is_none() && new.is_none() {
            continue;
        }
        let new = match new.transpose() {
            Ok(new) => new,
            Err(NoPreview::Package(reason)) => {
                change.effects = vec![format!("what it means for pods is not known here: {reason}")];
                continue;
            }
            Err(NoPreview::Refused(reasons)) => {
                let reasons = reasons.into_iter();
                change.effects = reasons.map(|reason| format!("will be refused: {reason}")).collect();
                continue;
            }
        };
        // what was wrong before has no pods that could be told of
        let old = old.and_then(Result::ok);
        change.effects = effect(old.as_ref().map(Preview::side), new.as_ref().map(Preview::side)).sentences();
    }
}

/// Digests of secrets are comparable within one run and never beyond it.
pub fn one_time_key() -> Result<[u8; 32], CommandError> {
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| CommandError::new("the system gives no random numbers"))?;
    Ok(key)
}

pub fn print(changes: &Changes, format: Format) -> Result<(), CommandError> {
    match format {
        Format::Table => {
            anstream::print!("{}", changes.text(paint));
            Ok(())
        }
        Format::Markdown => {
            anstream::print!("{}", changes.markdown());
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
