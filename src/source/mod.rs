//! A repository's files read into objects: where `repo` (files) and `plan` (decisions) meet, for controller and command
//! line alike.

mod edited;
mod packages;
mod places;
mod sealed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::api::git_source::FileError;
use crate::plan::source::manifest::{self, Manifest, Placement, Reading, SETTINGS, defined_twice, holds_objects};
use crate::plan::source::settings;
use crate::plan::source::{ObjectId, RepositorySettings, Unknown};
use crate::repo::{Code, Document, File, FileTree, Limits, Listing, ParseLimits, Problem, Refusal, TreeError, parse};

pub use edited::edited;
pub use sealed::{Opening, in_order};

/// Everything a tree defines, and what is wrong with it. Reading a later tree reuses what has not changed.
#[derive(Clone)]
pub struct Contents {
    listing: Listing,
    /// Where objects may go, as the repository itself narrows it.
    placement: Placement,
    opening: Opening,
    settings: Result<Arc<RepositorySettings>, Vec<FileError>>,
    files: BTreeMap<String, Arc<Reading>>,
}

/// The objects of a tree, and all errors in it.
#[derive(Clone, Debug, Default)]
pub struct Defined {
    pub objects: Vec<Manifest>,
    pub errors: Vec<FileError>,
    /// What cannot be read, and so may define anything it defined before.
    pub unknown: Unknown,
    /// How many files hold objects.
    pub files: usize,
}

/// Reads a tree, leaving encrypted files closed. Files that are as they were in `previous` are not read again.
pub fn read(
    tree: &impl FileTree,
    limits: &Limits,
    placement: &Placement,
    previous: Option<&Contents>,
) -> Result<Contents, TreeError> {
    read_opening(tree, limits, placement, &Opening::Left, previous)
}

/// Reads a tree and the encrypted files in it.
pub fn read_opening(
    tree: &impl FileTree,
    limits: &Limits,
    placement: &Placement,
    opening: &Opening,
    previous: Option<&Contents>,
) -> Result<Contents, TreeError> {
    let listing = tree.list(limits, previous.map(|previous| &previous.listing))?;
    let settings = read_settings(tree, &listing, limits, placement)?;
    let placement = match &settings {
        Ok(settings) => settings.narrow(placement),
        Err(_) => placement.clone(),
    };
    let previous = previous.filter(|previous| previous.placement == placement && previous.opening == *opening);
    let mut files = previous.map(|previous| previous.files.clone()).unwrap_or_default();
    let changed: Vec<(String, Option<File>)> = match previous {
        Some(previous) => previous.listing.diff(&listing).into_iter().map(|change| (change.path, change.new)).collect(),
        None => listing.files().into_iter().map(|(path, file)| (path, Some(file.clone()))).collect(),
    };
    // what is refused is no file that could have changed
    let refused = [Some(&listing), previous.map(|previous| &previous.listing)].into_iter().flatten();
    let refused = refused.flat_map(Listing::refused).map(|refusal| &refusal.path);
    let touched: BTreeSet<String> = changed
        .iter()
        .map(|(path, _)| path)
        .chain(refused)
        .filter_map(|path| packages::folder(path, &placement))
        .collect();
    packages::read(tree, &listing, limits, &placement, &touched, &mut files)?;
    let within = |path: &str| holds_objects(path.strip_prefix(placement.folder.as_str()).unwrap_or(path));
    for (path, file) in changed.into_iter().filter(|(path, _)| within(path)) {
        match file {
            None => {
                files.remove(&path);
            }
            Some(file) => {
                let reading = read_file(tree, &path, &file, limits, &placement, opening)?;
                files.insert(path, Arc::new(reading));
            }
        }
    }
    Ok(Contents { listing, placement, opening: opening.clone(), settings, files })
}

/// What the repository says of itself, or why that cannot be read.
fn read_settings(
    tree: &impl FileTree,
    listing: &Listing,
    limits: &Limits,
    placement: &Placement,
) -> Result<Result<Arc<RepositorySettings>, Vec<FileError>>, TreeError> {
    let path = format!("{}{SETTINGS}", placement.folder);
    let Some(file) = listing.get(&path).cloned() else {
        if listing.refused().iter().any(|refusal| refusal.path == path) {
            // the refusal is told with the others
            return Ok(Err(Vec::new()));
        }
        let below = format!("{path}/");
        if listing.files().iter().any(|(path, _)| path.starts_with(&below)) {
            let message = "is a folder, and has to be the file with the repository's settings; rename it".to_owned();
            return Ok(Err(vec![refused(path, "settings", message)]));
        }
        return Ok(Ok(Arc::default()));
    };
    let documents = match documents(tree, &path, &file, limits)? {
        Ok(documents) => documents,
        Err(errors) => return Ok(Err(errors)),
    };
    Ok(match documents.as_slice() {
        [] => Ok(Arc::default()),
        [document] => settings::read(&path, &document.value, &document.places).map(Arc::new),
        [_, second, ..] => {
            let place = second.places.start();
            let message = "the settings are one document; remove the second".to_owned();
            Err(vec![FileError {
                path,
                line: Some(place.line),
                column: Some(place.column),
                code: "too-many-documents".into(),
                message,
            }])
        }
    })
}

/// The documents of a file, or what is wrong with its text.
fn documents(
    tree: &impl FileTree,
    path: &str,
    file: &File,
    limits: &Limits,
) -> Result<Result<Vec<Document>, Vec<FileError>>, TreeError> {
    let bytes = match tree.read(path, file, limits) {
        Ok(bytes) => bytes,
        Err(TreeError::Refused(refusal)) => {
            return Ok(Err(vec![refused(refusal.path, refusal.code.as_str(), refusal.reason)]));
        }
        Err(error) => return Err(error),
    };
    let explain = |problems: Vec<Problem>| problems.into_iter().map(explained).collect();
    Ok(parse(path, &bytes, &ParseLimits::default()).map_err(explain))
}

fn explained(problem: Problem) -> FileError {
    FileError {
        message: match problem.hint {
            Some(hint) => format!("{}; {hint}", problem.reason),
            None => problem.reason,
        },
        path: problem.path,
        line: Some(problem.position.line),
        column: Some(problem.position.column),
        code: problem.code.as_str().to_owned(),
    }
}

fn read_file(
    tree: &impl FileTree,
    path: &str,
    file: &File,
    limits: &Limits,
    placement: &Placement,
    opening: &Opening,
) -> Result<Reading, TreeError> {
    let documents = match documents(tree, path, file, limits)? {
        Ok(documents) => documents,
        Err(errors) => return Ok(Reading::unreadable(errors)),
    };
    if sealed::is_sealed(&documents) {
        return Ok(sealed::read(path, documents, placement, opening));
    }
    let mut whole = Reading::default();
    for document in documents {
        whole.extend(manifest::read(path, document.value, &document.places, placement));
    }
    Ok(whole)
}

fn refused(path: String, code: &str, reason: String) -> FileError {
    FileError { path, line: None, column: None, code: code.to_owned(), message: reason }
}

impl Contents {
    /// What the repository says of itself; none where that cannot be read.
    pub fn settings(&self) -> Option<&Arc<RepositorySettings>> {
        self.settings.as_ref().ok()
    }

    /// All objects that one file alone defines, and all errors.
    pub fn defined(&self) -> Defined {
        let mut objects: Vec<Manifest> =
            self.files.values().flat_map(|reading| reading.objects.iter().cloned()).collect();
        let mut errors: Vec<FileError> =
            self.files.values().flat_map(|reading| reading.errors.iter().cloned()).collect();
        let mut unknown = self.unknown();
        let before: BTreeSet<ObjectId> = objects.iter().map(|manifest| manifest.id.clone()).collect();
        errors.extend(defined_twice(&mut objects));
        let after: BTreeSet<&ObjectId> = objects.iter().map(|manifest| &manifest.id).collect();
        unknown.objects.extend(before.iter().filter(|id| !after.contains(id)).cloned());
        errors.extend(self.settings.as_ref().err().into_iter().flatten().cloned());
        for refusal in self.listing.refused() {
            errors.push(refused(refusal.path.clone(), refusal.code.as_str(), refusal.reason.clone()));
        }
        errors.sort_by(|a, b| (&a.path, a.line, a.column).cmp(&(&b.path, b.line, b.column)));
        // a package says what is refused in it, too
        errors.dedup();
        unknown.places.extend(errors.iter().map(|error| error.path.clone()));
        Defined { objects, errors, unknown, files: self.files.len() }
    }

    /// What cannot be read: files, packages as a whole, and what stands where files or folders were.
    fn unknown(&self) -> Unknown {
        let mut unknown = Unknown::default();
        for (place, reading) in self.files.iter().filter(|(_, reading)| !reading.errors.is_empty()) {
            unknown.places.insert(place.clone());
            unknown.objects.extend(reading.meant.iter().cloned());
            if reading.unclear {
                unknown.unclear.insert(place.clone());
            }
        }
        for refusal in self.listing.refused() {
            unknown.places.insert(refusal.path.clone());
            if may_hide_objects(refusal) {
                unknown.unclear.insert(refusal.path.clone());
            }
        }
        unknown
    }
}

/// Whether objects may have gone where they are not read any more. A link or a submodule holds none of ours, unless it is
/// named as if it did.
fn may_hide_objects(refusal: &Refusal) -> bool {
    !matches!(refusal.code, Code::Symlink | Code::Submodule | Code::SpecialFile) || holds_objects(&refusal.path)
}

#[cfg(test)]
mod tests;
