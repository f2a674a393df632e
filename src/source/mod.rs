//! A repository's files read into objects: where `repo` (files) and `plan` (decisions) meet, for controller and command
//! line alike.

mod edited;
mod ignore;
mod own;
mod packages;
mod places;
mod sealed;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::api::Kind;
use crate::api::git_source::FileError;
use crate::extension::check;
use crate::plan::source::manifest::{
    self, FOREIGN, Manifest, Placement, Reading, defined_twice, folder_of, holds_objects,
};
use crate::plan::source::{ObjectId, RepositorySettings, Unknown};
use crate::repo::{
    Code, Document, File, FileTree, Limits, Listing, ObjectId as BlobId, ParseLimits, Problem, Refusal, TreeError,
    parse,
};

use ignore::Ignore;
use own::Own;

pub use edited::edited;
pub use sealed::{Opening, in_order, unopenable};

/// Everything a tree defines, and what is wrong with it. Reading a later tree reuses what has not changed.
#[derive(Clone)]
pub struct Contents {
    listing: Listing,
    /// Where objects may go, as the repository itself narrows it.
    placement: Placement,
    opening: Opening,
    own: Own,
    /// What is left out as if it were not there.
    ignore: Arc<Ignore>,
    /// What was read, by the path of a file, or of the folder of a package.
    places: BTreeMap<String, Place>,
}

/// A file, or the folder of a package, and what it turned out to be.
#[derive(Clone)]
struct Place {
    /// The content it was read from, and its size; none of a package, which is many files.
    blob: Option<(BlobId, u64)>,
    reading: Arc<Reading>,
}

/// All that decides what a file is read as: its content, and the namespace that its folder names.
type Content<'a> = ((BlobId, u64), Option<&'a str>);

/// The objects of a tree, and all errors in it.
#[derive(Clone, Debug, Default)]
pub struct Defined {
    pub objects: Vec<Manifest>,
    pub errors: Vec<FileError>,
    /// What cannot be read, and so may define anything it defined before.
    pub unknown: Unknown,
    /// Objects that mistakes are about, as far as that can be told, and the files these are in.
    pub wrong: BTreeSet<(ObjectId, String)>,
    /// How many files hold objects.
    pub files: usize,
    /// Files that would hold objects, and the place of the pattern that leaves each out.
    pub ignored: BTreeMap<String, String>,
    /// Whether any file may be one that is left out, because nobody can read what the repository says of that.
    pub may_be_ignored: bool,
}

/// Makes ready what nearly every repository is read with; it can be done while one is fetched.
pub fn make_ready() {
    check::make_ready(Kind::Instance);
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
    let own = own::read(tree, &listing, limits, placement)?;
    let placement = match &own.settings {
        Ok(settings) => settings.narrow(placement),
        Err(_) => placement.clone(),
    };
    // what was left out before is no news while nobody can tell what is left out now
    let ignore = own.ignore.clone().or_else(|| previous.map(|previous| previous.ignore.clone())).unwrap_or_default();
    let is_as_before = |previous: &&Contents| {
        previous.placement == placement && previous.opening == *opening && previous.ignore == ignore
    };
    let previous = previous.filter(is_as_before);
    let mut places = previous.map(|previous| previous.places.clone()).unwrap_or_default();
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
    packages::read((tree, &listing), limits, &placement, &ignore, &touched, &mut places)?;
    let within = |path: &str| is_below(path, &placement) && ignore.of(path).is_none();
    let mut known = Known::of(previous, &placement);
    for (path, file) in changed.iter().filter(|(path, _)| within(path)) {
        match file {
            None => {
                places.remove(path);
            }
            Some(file) => {
                let read = || read_file(tree, path, file, limits, &placement, opening);
                let reading = known.or_read((file.id, file.size), path, &placement, read)?;
                places.insert(path.clone(), Place { blob: Some((file.id, file.size)), reading });
            }
        }
    }
    Ok(Contents { listing, placement, opening: opening.clone(), own, ignore, places })
}

/// What contents were read as, wherever they lay: a file that was moved or copied is not read again.
struct Known<'a>(HashMap<Content<'a>, (&'a str, Arc<Reading>)>);

impl<'a> Known<'a> {
    fn of(previous: Option<&'a Contents>, placement: &Placement) -> Self {
        let places = previous.into_iter().flat_map(|previous| &previous.places);
        let known = places.filter_map(|(path, place)| {
            Some(((place.blob?, folder_of(path, placement)), (path.as_str(), place.reading.clone())))
        });
        Self(known.collect())
    }

    /// What a file is read as, told of where it lies now.
    fn or_read(
        &mut self,
        blob: (BlobId, u64),
        path: &'a str,
        placement: &Placement,
        read: impl FnOnce() -> Result<Reading, TreeError>,
    ) -> Result<Arc<Reading>, TreeError> {
        let content = (blob, folder_of(path, placement));
        if let Some((place, reading)) = self.0.get(&content) {
            return Ok(if *place == path { reading.clone() } else { Arc::new(reading.found_at(path)) });
        }
        let reading = Arc::new(read()?);
        self.0.insert(content, (path, reading.clone()));
        Ok(reading)
    }
}

/// Whether a file holds objects that this places.
fn is_below(path: &str, placement: &Placement) -> bool {
    holds_objects(path.strip_prefix(placement.folder.as_str()).unwrap_or(path))
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
        Err(mut errors) => {
            explain_template(tree, path, file, limits, &mut errors);
            return Ok(Reading::unreadable(errors));
        }
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

/// A template of another program cannot be read as what it becomes: it says how to leave it out.
fn explain_template(tree: &impl FileTree, path: &str, file: &File, limits: &Limits, errors: &mut [FileError]) {
    let is_template = tree.read(path, file, limits).is_ok_and(|bytes| bytes.windows(2).any(|pair| pair == b"{{"));
    for error in errors.iter_mut().filter(|_| is_template) {
        error.message.push_str(FOREIGN);
    }
}

fn refused(path: String, code: &str, reason: String) -> FileError {
    FileError { path, line: None, column: None, code: code.to_owned(), message: reason }
}

impl Contents {
    /// What the repository says of itself; none where that cannot be read.
    pub fn settings(&self) -> Option<&Arc<RepositorySettings>> {
        self.own.settings.as_ref().ok()
    }

    /// Whether a file is left out as if it were not there.
    pub fn leaves_out(&self, path: &str) -> bool {
        self.ignore.of(path).is_some()
    }

    /// Files that would hold objects, and the place of the pattern that leaves each out.
    fn ignored(&self) -> BTreeMap<String, String> {
        if self.ignore.is_empty() {
            return BTreeMap::new();
        }
        let holds = |path: &str| is_below(path, &self.placement) || packages::folder(path, &self.placement).is_some();
        let files = self.listing.files().into_iter().map(|(path, _)| path).filter(|path| holds(path));
        files.filter_map(|path| self.ignore.of(&path).map(|place| (path, place))).collect()
    }

    /// Files that are read by nobody, and would be if their endings were in small letters.
    pub fn in_capitals(&self) -> Vec<String> {
        let settings = format!("{}{}", self.placement.folder, manifest::SETTINGS);
        let would_be = |path: &str| is_below(path, &self.placement) || *path == settings;
        let overlooked = |path: &String| {
            let (stem, ending) = path.rsplit_once('.').unwrap_or_default();
            let small = ending.to_ascii_lowercase();
            small != ending && would_be(&format!("{stem}.{small}")) && self.ignore.of(path).is_none()
        };
        self.listing.files().into_iter().map(|(path, _)| path).filter(overlooked).collect()
    }

    /// What cannot be read of what is not left out.
    fn refused(&self) -> impl Iterator<Item = &Refusal> {
        let concerns = |refusal: &&Refusal| {
            let never_read = leads_elsewhere(refusal) && is_hidden(&refusal.path, &self.placement);
            !never_read && self.ignore.of_anything(&refusal.path).is_none()
        };
        self.listing.refused().into_iter().filter(concerns)
    }

    /// All objects that one file alone defines, and all errors.
    pub fn defined(&self) -> Defined {
        let readings = || self.places.values().map(|place| &place.reading);
        let mut objects: Vec<Manifest> = readings().flat_map(|reading| reading.objects.iter().cloned()).collect();
        let mut errors: Vec<FileError> = readings().flat_map(|reading| reading.errors.iter().cloned()).collect();
        let mut unknown = self.unknown();
        let (several, ids) = defined_twice(&mut objects);
        errors.extend(several);
        let mut wrong: BTreeSet<(ObjectId, String)> = BTreeSet::new();
        for (path, place) in &self.places {
            let twice = place.reading.objects.iter().map(|one| &one.id).filter(|id| ids.contains(*id));
            wrong.extend(place.reading.meant.iter().chain(twice).map(|id| (id.clone(), path.clone())));
        }
        unknown.objects.extend(ids);
        errors.extend(self.own.settings.as_ref().err().into_iter().flatten().cloned());
        for refusal in self.refused() {
            errors.push(refused(refusal.path.clone(), refusal.code.as_str(), refusal.reason.clone()));
        }
        errors.sort_by(|a, b| (&a.path, a.line, a.column).cmp(&(&b.path, b.line, b.column)));
        // a package says what is refused in it, too
        errors.dedup();
        unknown.places.extend(errors.iter().map(|error| error.path.clone()));
        let (ignored, may_be_ignored) = (self.ignored(), self.own.ignore.is_none());
        Defined { objects, errors, unknown, wrong, files: self.places.len(), ignored, may_be_ignored }
    }

    /// What cannot be read: files, packages as a whole, and what stands where files or folders were.
    fn unknown(&self) -> Unknown {
        let mut unknown = Unknown::default();
        let wrong = self.places.iter().filter(|(_, place)| !place.reading.errors.is_empty());
        for (place, Place { reading, .. }) in wrong {
            unknown.places.insert(place.clone());
            unknown.objects.extend(reading.meant.iter().cloned());
            if reading.unclear {
                unknown.unclear.insert(place.clone());
            }
        }
        for refusal in self.refused() {
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
    !leads_elsewhere(refusal) || holds_objects(&refusal.path)
}

/// Whether it was refused because it is no file or folder of this tree.
fn leads_elsewhere(refusal: &Refusal) -> bool {
    matches!(refusal.code, Code::Symlink | Code::Submodule | Code::SpecialFile)
}

/// Whether it lies where nothing is ever read.
fn is_hidden(path: &str, placement: &Placement) -> bool {
    let inside = path.strip_prefix(placement.folder.as_str()).unwrap_or(path);
    inside.split('/').any(|part| part.starts_with('.'))
}

#[cfg(test)]
mod tests;
