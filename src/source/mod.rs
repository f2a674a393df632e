//! A repository's files read into objects: where `repo` (files) and `plan` (decisions) meet, for controller and command
//! line alike.

mod packages;
mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::api::git_source::FileError;
use crate::plan::source::manifest::{self, Manifest, Placement, Reading, defined_twice, holds_objects};
use crate::repo::{File, FileTree, Limits, Listing, ParseLimits, TreeError, parse};

/// Everything a tree defines, and what is wrong with it. Reading a later tree reuses what has not changed.
#[derive(Clone)]
pub struct Contents {
    listing: Listing,
    placement: Placement,
    files: BTreeMap<String, Arc<Reading>>,
}

/// The objects of a tree, and all errors in it.
#[derive(Clone, Debug, Default)]
pub struct Defined {
    pub objects: Vec<Manifest>,
    pub errors: Vec<FileError>,
    /// Files with errors.
    pub broken: BTreeSet<String>,
    /// How many files hold objects.
    pub files: usize,
}

/// Reads a tree. Files that are as they were in `previous` are not read again.
pub fn read(
    tree: &impl FileTree,
    limits: &Limits,
    placement: &Placement,
    previous: Option<&Contents>,
) -> Result<Contents, TreeError> {
    let previous = previous.filter(|previous| previous.placement == *placement);
    let listing = tree.list(limits, previous.map(|previous| &previous.listing))?;
    let mut files = previous.map(|previous| previous.files.clone()).unwrap_or_default();
    let changed: Vec<(String, Option<File>)> = match previous {
        Some(previous) => previous.listing.diff(&listing).into_iter().map(|change| (change.path, change.new)).collect(),
        None => listing.files().into_iter().map(|(path, file)| (path, Some(file.clone()))).collect(),
    };
    let touched: BTreeSet<String> = changed.iter().filter_map(|(path, _)| packages::folder(path, placement)).collect();
    packages::read(tree, &listing, limits, placement, &touched, &mut files)?;
    for (path, file) in changed.into_iter().filter(|(path, _)| holds_objects(path)) {
        match file {
            None => {
                files.remove(&path);
            }
            Some(file) => {
                let reading = read_file(tree, &path, &file, limits, placement)?;
                files.insert(path, Arc::new(reading));
            }
        }
    }
    Ok(Contents { listing, placement: placement.clone(), files })
}

fn read_file(
    tree: &impl FileTree,
    path: &str,
    file: &File,
    limits: &Limits,
    placement: &Placement,
) -> Result<Reading, TreeError> {
    let bytes = match tree.read(path, file, limits) {
        Ok(bytes) => bytes,
        Err(TreeError::Refused(refusal)) => {
            let error = refused(refusal.path, refusal.code.as_str(), refusal.reason);
            return Ok(Reading { objects: Vec::new(), errors: vec![error] });
        }
        Err(error) => return Err(error),
    };
    let documents = match parse(path, &bytes, &ParseLimits::default()) {
        Ok(documents) => documents,
        Err(problems) => {
            let errors = problems.into_iter().map(|problem| FileError {
                message: match problem.hint {
                    Some(hint) => format!("{}; {hint}", problem.reason),
                    None => problem.reason,
                },
                path: problem.path,
                line: Some(problem.position.line),
                column: Some(problem.position.column),
                code: problem.code.as_str().to_owned(),
            });
            return Ok(Reading { objects: Vec::new(), errors: errors.collect() });
        }
    };
    let mut whole = Reading::default();
    for document in documents {
        let Reading { objects, errors } = manifest::read(path, document.value, &document.places, placement);
        whole.objects.extend(objects);
        whole.errors.extend(errors);
    }
    Ok(whole)
}

fn refused(path: String, code: &str, reason: String) -> FileError {
    FileError { path, line: None, column: None, code: code.to_owned(), message: reason }
}

impl Contents {
    /// All objects that one file alone defines, and all errors.
    pub fn defined(&self) -> Defined {
        let mut objects: Vec<Manifest> =
            self.files.values().flat_map(|reading| reading.objects.iter().cloned()).collect();
        let mut errors: Vec<FileError> =
            self.files.values().flat_map(|reading| reading.errors.iter().cloned()).collect();
        errors.extend(defined_twice(&mut objects));
        for refusal in self.listing.refused() {
            errors.push(refused(refusal.path.clone(), refusal.code.as_str(), refusal.reason.clone()));
        }
        errors.sort_by(|a, b| (&a.path, a.line, a.column).cmp(&(&b.path, b.line, b.column)));
        let broken = errors.iter().map(|error| error.path.clone()).collect();
        Defined { objects, errors, broken, files: self.files.len() }
    }
}

#[cfg(test)]
mod tests;
