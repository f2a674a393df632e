//! `midship extension`: packages on disk and in a cluster.

mod diff;
mod install;
mod lint;
mod list;
mod new;
mod registry;
mod show;
mod test;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Outcome;
use super::connection::Connection;
use super::error::CommandError;
use super::output::{Format, printable};
use super::snapshot::EXTENSIONS;
use crate::cue::Cue;
use crate::extension::files::MANIFEST;
use crate::extension::problem::listed;
use crate::extension::proof::{self, Proof};
use crate::extension::{Package, PackageFiles, Problem, Problems, cases};
use crate::repo::{FileTree, FolderTree, Limits};

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Begin a package that is right as it stands, in a folder named <type>/<version>.
    New(new::Arguments),
    /// Check packages: every file, field, template and step. Needs no cluster.
    Lint(lint::Arguments),
    /// Run the tests in the packages' own tests/ folders. Needs no cluster.
    Test(test::Arguments),
    /// Show what a package runs, and every parameter with its default and what a change needs.
    Show(show::Arguments),
    /// List the packages of a folder, or those that are installed in the cluster.
    List(list::Arguments),
    /// Show how two packages differ, as far as people who run them care.
    Diff(diff::Arguments),
    /// Install a package in the cluster. An installed version never changes.
    Install(install::Arguments),
    /// Publish a package in an OCI registry. A published version never changes.
    Push(registry::Push),
    /// Fetch a package from an OCI registry.
    Pull(registry::Pull),
}

pub fn run(arguments: Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    match arguments.command {
        Command::New(arguments) => new::run(&arguments),
        Command::Lint(arguments) => lint::run(&arguments, format),
        Command::Test(arguments) => test::run(&arguments, format),
        Command::Show(arguments) => show::run(&arguments, format),
        Command::List(arguments) => list::run(&arguments, connection, format),
        Command::Diff(arguments) => diff::run(&arguments, format),
        Command::Install(arguments) => super::in_background(install::run(&arguments, connection, format)),
        Command::Push(arguments) => super::in_background(registry::push(&arguments)),
        Command::Pull(arguments) => super::in_background(registry::pull(&arguments)),
    }
}

/// The packages that paths name.
#[derive(Args)]
struct Packages {
    /// Folders of packages: each with an extension.yaml, or with packages somewhere below it.
    #[arg(value_name = "FOLDER", default_value = ".")]
    paths: Vec<PathBuf>,
}

impl Packages {
    /// Every folder with a package, and how people call it.
    fn folders(&self) -> Result<Vec<PathBuf>, CommandError> {
        let mut found = Vec::new();
        for path in &self.paths {
            let before = found.len();
            if path.join(MANIFEST).is_file() {
                found.push(path.clone());
                continue;
            }
            // editors name the file they show
            if path.ends_with(MANIFEST) && path.is_file() {
                found.push(path.parent().unwrap_or(Path::new(".")).to_owned());
                continue;
            }
            let tree = open(path)?;
            let listing = tree.list(&Limits::default(), None).map_err(|error| unreadable(path, &error))?;
            for (file, _) in listing.files() {
                if let Some(folder) = file.strip_suffix(&format!("/{MANIFEST}")) {
                    found.push(path.join(folder));
                }
            }
            if found.len() == before {
                return Err(CommandError::new("there is no package here")
                    .at(path.display().to_string())
                    .remedy(format!("name a folder that has an {MANIFEST}, or one above such folders"))
                    .remedy("to begin one: midship extension new TYPE"));
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }
}

fn open(path: &Path) -> Result<FolderTree, CommandError> {
    FolderTree::open(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &crate::repo::TreeError) -> CommandError {
    CommandError::new(error.to_string())
        .at(path.display().to_string())
        .remedy("name a folder that exists and can be read")
}

/// The files of the package in a folder, as all other ways of delivery hold them.
fn files(folder: &Path) -> Result<Result<PackageFiles, Problems>, CommandError> {
    let tree = open(folder)?;
    let limits = Limits::default();
    let listing = tree.list(&limits, None).map_err(|error| unreadable(folder, &error))?;
    let refused = listing.refused();
    if !refused.is_empty() {
        let problem = |refusal: &&crate::repo::Refusal| Problem::in_file(refusal.path.clone(), refusal.reason.clone());
        return Ok(Err(Problems(refused.iter().map(problem).collect())));
    }
    let mut all = Vec::new();
    for (path, file) in listing.files() {
        // an editor's or Git's own files are no part of a package
        if path.split('/').any(|part| part.starts_with('.')) {
            continue;
        }
        let bytes = tree.read(&path, file, &limits).map_err(|error| unreadable(folder, &error))?;
        all.push((path, bytes));
    }
    Ok(PackageFiles::new(all).map_err(Problems))
}

/// The package in a folder, or everything that is wrong with it.
fn load(folder: &Path) -> Result<Result<Package, Problems>, CommandError> {
    if !folder.join(MANIFEST).is_file() {
        let below = (Packages { paths: vec![folder.to_owned()] }).folders().map_err(|error| match of_type(folder) {
            Some(there) => error.remedy(format!("or is one of these meant? {there}")),
            None => error,
        })?;
        let below: Vec<String> = below.iter().map(|one| one.display().to_string()).collect();
        return Err(CommandError::new("this is a folder of packages, and one is needed")
            .at(folder.display().to_string())
            .remedy(format!("name one: {}", listed(below.iter().map(String::as_str)))));
    }
    Ok(files(folder)?.and_then(Package::load))
}

/// The folders of packages of a type, where somebody gave its name for a folder.
fn of_type(name: &Path) -> Option<String> {
    let known = (Packages { paths: vec![PathBuf::from(EXTENSIONS)] }).folders().ok()?;
    let of_it = known.iter().filter(|one| one.iter().any(|part| part == name.as_os_str()));
    let of_it: Vec<String> = of_it.map(|one| one.display().to_string()).collect();
    (!of_it.is_empty()).then(|| listed(of_it.iter().map(String::as_str)))
}

/// What is wrong with the package in a folder, also what only rendering shows, and what could not be looked at.
fn proven(folder: &Path, rules: &Cue) -> Result<Proof, CommandError> {
    Ok(match load(folder)? {
        Ok(package) => proof::check(&package, rules),
        Err(problems) => Proof { problems: problems.0, ..Proof::default() },
    })
}

/// The package in a folder, which has to be right.
fn good(folder: &Path) -> Result<Package, CommandError> {
    load(folder)?.map_err(|problems| wrong(folder, &problems))
}

fn wrong(folder: &Path, problems: &Problems) -> CommandError {
    all_wrong(&[Wrong::new(folder, problems)])
}

/// A package that is wrong, among others that are not.
#[derive(Serialize)]
struct Wrong {
    path: String,
    /// Each with its place.
    errors: Vec<String>,
}

impl Wrong {
    fn new(folder: &Path, problems: &Problems) -> Self {
        let path = folder.display().to_string();
        let errors = problems.0.iter().map(|problem| format!("{path}/{problem}")).collect();
        Self { path, errors }
    }
}

/// What programs read of packages, right or wrong.
#[derive(Serialize)]
#[serde(untagged)]
enum Entry<'a, T> {
    Right(&'a T),
    Wrong(&'a Wrong),
}

fn entries<'a, T>(right: &'a [T], wrong: &'a [Wrong]) -> Vec<Entry<'a, T>> {
    right.iter().map(Entry::Right).chain(wrong.iter().map(Entry::Wrong)).collect()
}

fn all_wrong(wrong: &[Wrong]) -> CommandError {
    let places: Vec<&str> = wrong.iter().flat_map(|one| &one.errors).map(String::as_str).collect();
    let number = times(places.len(), "place");
    let what = match wrong {
        [_] => format!("the package is wrong in {number}"),
        several => format!("{} are wrong, in {number}", times(several.len(), "package")),
    };
    CommandError::new(what)
        .at(places.join("\n         "))
        .remedy("mend the places named above; docs/extensions.md explains every field")
}

/// What `--strict` says of checks that could not be made.
pub fn unchecked_is_refused() -> CommandError {
    CommandError::new("not everything could be checked, and --strict asks for it")
        .remedy("see the notes above; rules in CUE need the program cue, in PATH or named by MIDSHIP_CUE")
}

/// A package whose own tests fail is neither installed nor published.
fn tested(path: &Path, package: &Package) -> Result<(), CommandError> {
    let rules = Cue::default();
    let Proof { problems, notes, unchecked: _ } = proof::check(package, &rules);
    for note in &notes {
        eprintln!("note: {}", printable(note));
    }
    if !problems.is_empty() {
        return Err(wrong(path, &Problems(problems)));
    }
    let outcomes = cases::run(package, &rules);
    let failed: Vec<String> =
        outcomes.iter().filter(|outcome| !outcome.passed()).map(|outcome| printable(&outcome.to_string())).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(CommandError::new(format!("{} of the package's own tests failed", times(failed.len(), "case")))
        .at(failed.join("\n         "))
        .remedy(format!("mend the package or its tests: midship extension test {}", path.display())))
}

/// Writes a package's files into a new folder.
fn write(folder: &Path, files: &PackageFiles) -> Result<(), CommandError> {
    let failed = |error: std::io::Error| {
        CommandError::new(format!("the package cannot be written: {error}"))
            .at(folder.display().to_string())
            .remedy("name a folder that can be written to with --to")
    };
    for (path, bytes) in files.iter() {
        let file = folder.join(path);
        std::fs::create_dir_all(file.parent().unwrap_or(folder)).map_err(failed)?;
        std::fs::write(&file, bytes).map_err(failed)?;
    }
    Ok(())
}

fn times(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}
