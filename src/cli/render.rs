//! `midship render`: the objects that instances become. Needs no cluster.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::Outcome;
use super::error::CommandError;
use super::output::{self, Format, Table, printable};
use super::preview::{NoPreview, Preview, preview};
use super::repository::Files;
use super::snapshot::{EXTENSIONS, Shelf, Snapshot};
use super::spot;
use super::validate::place;
use crate::api::git_source::FileError;
use crate::cue::Cue;
use crate::plan::source::manifest::SETTINGS;
use crate::plan::source::{Manifest, ObjectId, ObjectKind};
use crate::repo::FolderTree;
use crate::source::Defined;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    files: Files,

    /// Folder of packages, as <type>/<version>; the repository's own extensions/ where left out.
    #[arg(long, value_name = "FOLDER")]
    extensions: Option<PathBuf>,

    /// Render a commit instead of the files as they are.
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,

    /// Only this instance: NAME, or NAMESPACE/NAME.
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
}

impl Arguments {
    /// Whether an object is asked for.
    fn names(&self, id: &ObjectId) -> bool {
        self.instance.as_deref().is_none_or(|name| {
            let namespace = id.namespace.as_deref().unwrap_or_default();
            id.kind == ObjectKind::Instance && (id.name == name || format!("{namespace}/{}", id.name) == name)
        })
    }
}

fn told(error: &FileError) -> String {
    format!("{}: {}", place(error), error.message)
}

pub fn run(arguments: &Arguments, format: Format) -> Result<Outcome, CommandError> {
    let (files, only) = whole(&arguments.files)?;
    let mut snapshot = match &arguments.revision {
        None => files.now()?,
        Some(revision) => files.at(revision)?,
    };
    if let Some(folder) = &arguments.extensions {
        snapshot.shelf = shelf(folder)?;
    }
    if let Some(error) = snapshot.settings_error() {
        let place = format!("{}:{}:{}", error.path, error.line.unwrap_or(1), error.column.unwrap_or(1));
        return Err(CommandError::new(format!("the repository's settings cannot be read: {}", error.message))
            .at(place)
            .remedy("mend the line named above"));
    }
    let wanted = |manifest: &Manifest| {
        only.as_deref().is_none_or(|only| &*manifest.path == only) && arguments.names(&manifest.id)
    };
    let rules = Cue::default();
    let (mut rendered, mut refusals) = (Vec::new(), Vec::new());
    let mut unchecked = None;
    for manifest in snapshot.defined.objects.iter().filter(|manifest| wanted(manifest)) {
        match preview(&snapshot, manifest, &rules) {
            None => {}
            Some(Ok(preview)) => {
                unchecked = unchecked.or_else(|| preview.unchecked.clone());
                rendered.push((manifest, preview));
            }
            Some(Err(NoPreview::Refused(reasons))) => {
                refusals.extend(reasons.iter().map(|reason| told(&spot::refused(&snapshot, manifest, reason))));
            }
            Some(Err(without)) => {
                let place = |reason: String| format!("{}:{}: {}: {reason}", manifest.path, manifest.line, manifest.id);
                refusals.extend(without.reasons().into_iter().map(place));
            }
        }
    }
    show(&rendered, format)?;
    if let Some(reason) = unchecked {
        eprintln!("note: {}", printable(&reason));
    }
    ended(arguments, &snapshot, &rendered, &refusals, only.as_deref())
}

/// The repository that a single file belongs to, and the file's path in it; a folder is taken as it is.
fn whole(files: &Files) -> Result<(Files, Option<String>), CommandError> {
    if !files.path.is_file() {
        return Ok((files.clone(), None));
    }
    let full = files.path.canonicalize().map_err(|error| {
        CommandError::new(error.to_string()).at(files.path.display().to_string()).remedy("name a file that can be read")
    })?;
    let has = |folder: &&Path| folder.join(EXTENSIONS).is_dir() || folder.join(SETTINGS).is_file();
    let parent = full.parent().unwrap_or(Path::new("/"));
    let root = full.ancestors().skip(1).find(has).unwrap_or(parent);
    let inside = full.strip_prefix(root).unwrap_or(&full).display().to_string();
    Ok((files.of(root.to_owned()), Some(inside)))
}

fn shelf(folder: &Path) -> Result<Shelf, CommandError> {
    let read = FolderTree::open(folder).and_then(|tree| Shelf::read(&tree));
    let shelf = read.map_err(|error| super::repository::unreadable(&error, folder))?;
    if shelf.names().next().is_none() {
        return Err(CommandError::new("there is no package here")
            .at(folder.display().to_string())
            .remedy("name a folder that holds packages as <type>/<version>/extension.yaml"));
    }
    Ok(shelf)
}

fn show(rendered: &[(&Manifest, Preview)], format: Format) -> Result<(), CommandError> {
    match format {
        Format::Json => {
            let items: Vec<Value> = rendered.iter().flat_map(|(_, preview)| preview.rendered.manifests()).collect();
            let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
            output::print(format, &list, || Table::new(&[]))
        }
        Format::Table | Format::Yaml => {
            for (manifest, preview) in rendered {
                print!("# {}\n{}", title(manifest, preview), documents(preview)?);
            }
            Ok(())
        }
        Format::Markdown => {
            for (manifest, preview) in rendered {
                let text = documents(preview)?;
                let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
                let fence = "`".repeat(longest.max(2) + 1);
                let title = title(manifest, preview).replace('<', "&lt;");
                print!("<details><summary>{title}</summary>\n\n{fence}yaml\n{text}{fence}\n\n</details>\n");
            }
            Ok(())
        }
    }
}

fn title(manifest: &Manifest, preview: &Preview) -> String {
    let resolved = &preview.resolved;
    let text = format!("{}: {} {}, {}", manifest.id, resolved.type_, resolved.version, resolved.topology);
    printable(&text).replace('\n', " ")
}

fn documents(preview: &Preview) -> Result<String, CommandError> {
    let mut text = String::new();
    for manifest in preview.rendered.manifests() {
        let yaml = serde_saphyr::to_string(&manifest)
            .map_err(|error| CommandError::new(format!("an object cannot be printed: {error}")))?;
        text.push_str("---\n");
        text.push_str(&printable(&yaml));
    }
    Ok(text)
}

fn ended(
    arguments: &Arguments,
    snapshot: &Snapshot,
    rendered: &[(&Manifest, Preview)],
    refusals: &[String],
    only: Option<&str>,
) -> Result<Outcome, CommandError> {
    let place = arguments.files.path.display().to_string();
    let Defined { objects, errors, wrong: mistaken, ignored, .. } = &snapshot.defined;
    // what is wrong with others is no news to who asks for one
    let asked_for = |error: &FileError| {
        let is_about = |(id, path): &(ObjectId, String)| *path == error.path && arguments.names(id);
        arguments.instance.is_none() || mistaken.iter().any(is_about)
    };
    let is_here = |error: &&FileError| only.is_none_or(|only| error.path == only) && asked_for(error);
    let told: Vec<String> = errors.iter().filter(is_here).map(told).collect();
    let wrong: Vec<&str> = told.iter().chain(refusals).map(String::as_str).collect();
    if !wrong.is_empty() {
        let what = if wrong.len() == 1 {
            "something is wrong".to_owned()
        } else {
            format!("{} things are wrong", wrong.len())
        };
        return Err(CommandError::new(format!("{what}; what is right was rendered"))
            .at(wrong.join("\n         "))
            .remedy("mend the places named above; `midship extension show` explains a package's parameters"));
    }
    if rendered.is_empty() {
        let instances = objects.iter().filter(|one| one.id.kind == ObjectKind::Instance);
        let mut names: Vec<&str> = instances.map(|one| one.id.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        if let Some((path, line)) = only.and_then(|only| ignored.get_key_value(only)) {
            return Err(CommandError::new(format!("{path} is ignored by {line}"))
                .at(place)
                .remedy("name another file, or take the pattern out"));
        }
        let error = match &arguments.instance {
            Some(name) => CommandError::new(crate::extension::problem::unknown("instance", name, names)),
            None => CommandError::new("there is no instance here"),
        };
        let error = error.at(place).remedy("name a folder or file that defines instances");
        return Err(if errors.is_empty() {
            error
        } else {
            error.remedy("or mend the files that are wrong, which may define it: midship validate names them")
        });
    }
    Ok(Outcome::Done)
}
