//! `midship rollback`: a commit, on a branch of its own, that makes an object what it was. The watched branch is never
//! pushed to: people look at the branch, and merge it.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::Args;

use super::Outcome;
use super::blame::{everything, find, short};
use super::connection::Connection;
use super::error::CommandError;
use super::origin::{Need, Opened, Origin, damaged};
use super::output::{Format, printable};
use super::session::{Target, target};
use crate::api::Kind;
use crate::diff::{Changes, Objects, Redaction, compare};
use crate::names::NamespaceName;
use crate::plan::source::Manifest;
use crate::repo::{
    Draft, Edit, FileTree, Limits, MemoryTree, ObjectId, Person, PushOutcome, TreeError, documents, propose,
};
use crate::source::{self, Defined};

#[derive(Args)]
pub struct Arguments {
    /// NAME of an instance, KIND NAME, or KIND/NAME.
    #[arg(value_name = "KIND/NAME", num_args = 1..=2, required = true)]
    words: Vec<String>,

    /// The commit of the watched branch whose state is wanted: an id, or the like of HEAD~2.
    #[arg(long, value_name = "REVISION")]
    to: String,

    /// The branch that is made; midship/rollback/<object>-<commit> where left out.
    #[arg(long, value_name = "NAME")]
    on: Option<String>,

    /// Who makes the commit, as "Name <address>"; what Git knows of you where left out.
    #[arg(long, value_name = "PERSON")]
    author: Option<String>,

    /// Only show what would change.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    origin: Origin,
}

pub async fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let target = target(&arguments.words, Some(Kind::Instance))?;
    let need = if arguments.dry_run { Need::Watched } else { Need::Writable };
    let opened = arguments.origin.open(connection, need).await?;
    let wrong = |error: TreeError| damaged(&opened.place, &error);
    let to = opened.resolve(&arguments.to).map_err(|error| {
        CommandError::new(error.to_string())
            .at(opened.place.clone())
            .remedy("`midship history` and `git log` name the commits there are")
    })?;
    let namespace = connection.namespace.as_ref().map(NamespaceName::as_str);
    let was = find(&opened, to, &target, namespace)?;
    let namespace = was.id.namespace.as_deref();
    let Defined { objects, unknown, .. } = everything(&opened, opened.tip).map_err(wrong)?;
    let now = objects.into_iter().find(|one| one.id == was.id);
    if now.as_ref().is_some_and(|now| now.digest == was.digest) {
        if format.is_for_programs() {
            super::diff::print(&Changes { unchanged: 1, ..Changes::default() }, format)?;
        } else {
            println!("{} is what it was in {} already", was.id, short(&to.to_string()));
        }
        return Ok(Outcome::Done);
    }
    let changes = changes(&was, now.as_ref());
    super::diff::print(&changes, format)?;
    if arguments.dry_run {
        return Ok(Outcome::Changes);
    }
    let edit = edit(&opened, to, &was, (now.as_ref(), &unknown.places)).map_err(wrong)??;
    check(&opened, &was, &edit).map_err(wrong)??;
    let name = format!(
        "{}-{}",
        namespace.map_or_else(String::new, |name| format!("{name}-")) + &was.id.name,
        short(&to.to_string())
    );
    let branch = arguments.on.clone().unwrap_or_else(|| format!("midship/rollback/{name}"));
    if branch == opened.branch {
        return Err(CommandError::new("the watched branch is never pushed to by this command")
            .at(branch)
            .remedy("leave --on out, and merge the branch that is made"));
    }
    let draft = draft(arguments, &target, &opened, to, &was, edit)?;
    push(arguments, opened, &branch, &draft).await?;
    Ok(Outcome::Changes)
}

fn changes(was: &Manifest, now: Option<&Manifest>) -> Changes {
    let one = |manifest: &Manifest| Objects::from([(manifest.id.clone(), Arc::clone(&manifest.body))]);
    // no secret is among our kinds, so that no digest has to be compared with another
    compare(&now.map(one).unwrap_or_default(), &one(was), &Redaction::new(was.digest.as_bytes()))
}

/// The file that changes: the document as it was in the place of what it is now.
fn edit(
    opened: &Opened,
    to: ObjectId,
    was: &Manifest,
    (now, broken): (Option<&Manifest>, &BTreeSet<String>),
) -> Result<Result<Edit, CommandError>, TreeError> {
    let read = |commit: ObjectId, path: &str| -> Result<Option<String>, TreeError> {
        let tree = opened.history.tree(commit)?.at(&opened.placement.folder)?;
        let limits = Limits::default();
        let listing = tree.list(&limits, None)?;
        let Some(file) = listing.get(path) else { return Ok(None) };
        Ok(Some(String::from_utf8_lossy(&tree.read(path, file, &limits)?).into_owned()))
    };
    let path = now.map_or(&*was.path, |now| &*now.path);
    let old = read(to, &was.path)?.unwrap_or_default();
    if broken.contains(path) {
        // where documents begin and end in a broken file nobody knows: the old one takes its place
        if path != &*was.path {
            return Ok(Err(unclear(path, opened.tip)));
        }
        eprintln!("{} has mistakes now, and becomes as a whole what it was", printable(path));
        return Ok(Ok(Edit { path: path.to_owned(), content: Some(old.into_bytes()) }));
    }
    let Some(document) = documents::document(&old, was.line) else {
        return Ok(Err(unclear(&was.path, to)));
    };
    let content = match (read(opened.tip, path)?, now) {
        (None, _) => document.to_owned(),
        (Some(current), Some(now)) => match documents::replaced(&current, now.line, document) {
            Some(content) => content,
            None => return Ok(Err(unclear(path, opened.tip))),
        },
        (Some(current), None) => documents::appended(&current, document),
    };
    Ok(Ok(Edit { path: path.to_owned(), content: Some(content.into_bytes()) }))
}

/// Whether the changed file is read as what is wanted.
fn check(opened: &Opened, was: &Manifest, edit: &Edit) -> Result<Result<(), CommandError>, TreeError> {
    let tree = MemoryTree::default().with(&edit.path, edit.content.clone().unwrap_or_default());
    let read = source::read(&tree, &Limits::default(), &opened.placement, None)?.defined();
    let problem = match read.errors.first() {
        Some(error) => {
            let line = error.line.map(|line| format!(":{line}")).unwrap_or_default();
            Some(format!("{}{line} would be wrong afterwards: {}", error.path, error.message))
        }
        None if read.objects.iter().any(|one| one.id == was.id && one.digest == was.digest) => None,
        None => Some(format!("{} would not be in {} as it was", was.id, edit.path)),
    };
    Ok(problem.map_or(Ok(()), |what| {
        Err(CommandError::new(what)
            .at(edit.path.clone())
            .remedy("take the file back by hand: git checkout COMMIT -- FILE"))
    }))
}

fn unclear(path: &str, commit: ObjectId) -> CommandError {
    CommandError::new("where the object begins and ends in its file is not clear")
        .at(format!("{path} in {}", short(&commit.to_string())))
        .remedy("take the file back by hand: git checkout COMMIT -- FILE")
}

fn draft(
    arguments: &Arguments,
    target: &Target,
    opened: &Opened,
    to: ObjectId,
    was: &Manifest,
    edit: Edit,
) -> Result<Draft, CommandError> {
    let person = person(arguments.author.as_deref())?;
    let commit = opened.history.tree(to).map_err(|error| damaged(&opened.place, &error))?.commit().clone();
    let message = format!(
        "Take {} {} back to {}\n\nIt becomes what it was with \"{}\" ({}).",
        target.kind.as_str(),
        target.name,
        short(&to.to_string()),
        commit.summary(),
        commit.author.name
    );
    Ok(Draft {
        author: person.clone(),
        committer: person,
        message,
        trailers: vec![
            ("Midship-Rollback".to_owned(), was.id.to_string()),
            ("Midship-Rollback-To".to_owned(), to.to_string()),
        ],
        edits: vec![edit],
    })
}

fn person(given: Option<&str>) -> Result<Person, CommandError> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (name, email) = if let Some(given) = given {
        given
            .split_once('<')
            .and_then(|(name, rest)| Some((name.trim().to_owned(), rest.strip_suffix('>')?.trim().to_owned())))
            .filter(|(name, email)| !name.is_empty() && !email.is_empty())
            .ok_or_else(|| {
                CommandError::new("this names no person")
                    .at(format!("--author {given:?}"))
                    .remedy("write it like --author \"Ada Lovelace <ada@example.com>\"")
            })?
    } else {
        let said = variable("GIT_AUTHOR_NAME").zip(variable("GIT_AUTHOR_EMAIL"));
        said.or_else(Person::configured).ok_or_else(|| {
            CommandError::new("it is not known who makes the commit").remedy(
                "say so with --author \"Name <address>\", with git config --global user.name and user.email, or in \
                     GIT_AUTHOR_NAME and GIT_AUTHOR_EMAIL",
            )
        })?
    };
    Ok(Person { name, email, seconds: jiff::Timestamp::now().as_second(), offset_minutes: 0 })
}

async fn push(arguments: &Arguments, opened: Opened, branch: &str, draft: &Draft) -> Result<(), CommandError> {
    let Opened { tip, branch: watched, place, writable, folder, .. } = opened;
    let Some((remote, cache)) = writable else {
        return Err(CommandError::new("this repository cannot be pushed to").at(place));
    };
    let (bounds, name, draft) = (arguments.origin.bounds(), branch.to_owned(), draft.clone());
    let work = move || {
        let done = propose(&remote, &cache, tip, &name, &draft, None, &bounds);
        drop(folder);
        done
    };
    let pushed = tokio::task::spawn_blocking(work).await;
    let pushed =
        pushed.map_err(|_| CommandError::new("pushing panicked; this is a defect of Midship, please report it"))?;
    let failed =
        |reason: String, remedy: &str| Err(CommandError::new(reason).at(format!("{branch} of {place}")).remedy(remedy));
    match pushed {
        Ok((commit, PushOutcome::Pushed)) => {
            let commit = short(&commit.to_string());
            eprintln!("pushed {commit} to {}", printable(branch));
            eprintln!("nothing has changed yet: look at it, and merge it into {}", printable(&watched));
            Ok(())
        }
        Ok((_, PushOutcome::LostRace { .. })) => {
            failed("there is another branch of this name".to_owned(), "name one with --on that is not there yet")
        }
        Ok((_, PushOutcome::Refused { reason })) => {
            failed(format!("the push was refused: {reason}"), "use credentials that may push branches below midship/")
        }
        Ok((_, PushOutcome::Unreachable(error))) => {
            failed(error.to_string(), "try again when the repository can be reached")
        }
        Err(error) => failed(error.to_string(), "name another branch with --on"),
    }
}
