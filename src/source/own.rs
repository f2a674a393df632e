//! What a repository says of itself, in its own settings, or why that cannot be read.

use std::sync::Arc;

use super::ignore::{self, Ignore};
use super::{documents, refused};
use crate::api::git_source::FileError;
use crate::plan::source::manifest::{Placement, SETTINGS};
use crate::plan::source::{RepositorySettings, settings};
use crate::repo::{Document, FileTree, Limits, Listing, TreeError};

/// What a repository says of itself.
#[derive(Clone)]
pub struct Own {
    pub settings: Result<Arc<RepositorySettings>, Vec<FileError>>,
    /// What it leaves out; none where nobody can tell.
    pub ignore: Option<Arc<Ignore>>,
}

impl Own {
    fn nothing() -> Self {
        Self { settings: Ok(Arc::default()), ignore: Some(Arc::default()) }
    }

    fn unreadable(errors: Vec<FileError>) -> Self {
        Self { settings: Err(errors), ignore: None }
    }
}

/// Reads the settings of a tree.
pub fn read(tree: &impl FileTree, listing: &Listing, limits: &Limits, placement: &Placement) -> Result<Own, TreeError> {
    let path = format!("{}{SETTINGS}", placement.folder);
    let Some(file) = listing.get(&path).cloned() else {
        if listing.refused().iter().any(|refusal| refusal.path == path) {
            // the refusal is told with the others
            return Ok(Own::unreadable(Vec::new()));
        }
        let below = format!("{path}/");
        if listing.files().iter().any(|(path, _)| path.starts_with(&below)) {
            let message = "is a folder, and has to be the file with the repository's settings; rename it".to_owned();
            return Ok(Own::unreadable(vec![refused(path, "settings", message)]));
        }
        return Ok(Own::nothing());
    };
    let documents = match documents(tree, &path, &file, limits)? {
        Ok(documents) => documents,
        Err(errors) => return Ok(Own::unreadable(errors)),
    };
    Ok(match documents.as_slice() {
        [] => Own::nothing(),
        [document] => said(&path, document),
        [_, second, ..] => {
            let place = second.places.start();
            let message = "the settings are one document; remove the second".to_owned();
            Own::unreadable(vec![FileError {
                path,
                line: Some(place.line),
                column: Some(place.column),
                code: "too-many-documents".into(),
                message,
            }])
        }
    })
}

fn said(path: &str, document: &Document) -> Own {
    let ignore::Read { ignore, errors: wrong } = ignore::read(path, &document.value, &document.places);
    let settings = match settings::read(path, &document.value, &document.places) {
        Ok(settings) if wrong.is_empty() => Ok(Arc::new(settings)),
        Ok(_) => Err(wrong),
        Err(mut errors) => {
            errors.extend(wrong);
            Err(errors)
        }
    };
    Own { settings, ignore: ignore.map(Arc::new) }
}
