//! `midship audit verify`: is the record whole, in order, and signed by whom it should be?

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Outcome;
use super::connection::Connection;
use super::error::CommandError;
use super::history::time;
use super::origin::{Need, Opened, Origin, damaged};
use super::output::{self, Cell, Format, Table, Tone};
use super::validate::counted;
use crate::repo::{Commit, RECORD_TRAILER, TreeError, TrustedSigners};

/// More than this is no record of ours.
const LARGEST: u64 = 64 << 20;

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the audit branch: one unbroken chain, each record whole and there once, signatures where asked for.
    Verify(Verify),
}

#[derive(Args)]
struct Verify {
    #[command(flatten)]
    origin: Origin,

    /// OpenSSH allowed signers file: every commit must be signed by one of them.
    #[arg(long, value_name = "FILE")]
    allowed_signers: Option<PathBuf>,

    /// Armored OpenPGP public keys: every commit must be signed by one of them.
    #[arg(long, value_name = "FILE")]
    openpgp_keys: Vec<PathBuf>,

    /// A commit that has to be on the branch, such as one you noted before; the one the GitSource knows where left out.
    #[arg(long, value_name = "COMMIT")]
    contains: Option<String>,
}

#[derive(Serialize)]
struct Verdict {
    branch: String,
    tip: String,
    commits: usize,
    signed: usize,
    problems: Vec<Problem>,
}

#[derive(Serialize)]
struct Problem {
    commit: String,
    at: i64,
    #[serde(rename = "problem")]
    what: String,
}

pub async fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let Command::Verify(arguments) = &arguments.command;
    let trusted = trusted(arguments)?;
    let opened = arguments.origin.open(connection, Need::Audit).await?;
    let contains = arguments.contains.clone().or_else(|| opened.known_tip.clone());
    let verdict = verify(&opened, trusted.as_ref(), contains.as_deref(), &arguments.origin)
        .map_err(|error| damaged(&opened.place, &error))?;
    let Verdict { branch, tip, commits, signed, problems } = &verdict;
    if problems.is_empty() && !format.is_for_programs() {
        println!(
            "all is well: {} on {branch}, {signed} of them signed, tip {}",
            counted(*commits, "commit"),
            &tip[..10.min(tip.len())]
        );
        return Ok(Outcome::Done);
    }
    output::print(format, &verdict, || {
        let mut table = Table::new(&["COMMIT", "WHEN", "WHAT"]);
        for Problem { commit, at, what } in problems {
            let commit: String = commit.chars().take(10).collect();
            table.row(vec![commit.into(), time(*at).into(), Cell::new(what.as_str(), Tone::Bad)]);
        }
        table
    })?;
    if problems.is_empty() {
        return Ok(Outcome::Done);
    }
    Err(CommandError::new(format!(
        "the record is not what Midship wrote: {} wrong in {}",
        counted(problems.len(), "commit"),
        counted(*commits, "commit")
    ))
    .at(format!("{branch} of {}", opened.place))
    .remedy("find out who can push to this branch besides the controller; protect it so that nobody else can"))
}

fn trusted(arguments: &Verify) -> Result<Option<TrustedSigners>, CommandError> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|error| {
            CommandError::new(format!("the signers cannot be read: {error}"))
                .at(path.display().to_string())
                .remedy("name a file that can be read")
        })
    };
    if arguments.allowed_signers.is_none() && arguments.openpgp_keys.is_empty() {
        return Ok(None);
    }
    let ssh = arguments.allowed_signers.as_ref().map(read).transpose()?.unwrap_or_default();
    let openpgp = arguments.openpgp_keys.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Some(TrustedSigners { ssh, openpgp }))
}

fn verify(
    opened: &Opened,
    trusted: Option<&TrustedSigners>,
    contains: Option<&str>,
    origin: &Origin,
) -> Result<Verdict, TreeError> {
    let mut verdict = Verdict {
        branch: opened.branch.clone(),
        tip: opened.tip.to_string(),
        commits: 0,
        signed: 0,
        problems: Vec::new(),
    };
    let mut records = Chain::default();
    let mut found = contains.is_none();
    let mut at = Some(opened.tip);
    while let Some(id) = at {
        let tree = match opened.history.tree(id) {
            Ok(tree) => tree,
            // the chain ends in a commit that is not here: a shallow clone, or somebody removed it
            Err(error) => {
                let what = format!("its parent {id} is not here ({error}); a shallow clone has to be deepened");
                verdict.problems.push(Problem { commit: id.to_string(), at: 0, what });
                break;
            }
        };
        let commit = tree.commit().clone();
        verdict.commits += 1;
        verdict.signed += usize::from(commit.signed);
        found |= contains.is_some_and(|wanted| commit.id.to_string().starts_with(wanted));
        let mut wrong = problems(opened, &commit, &mut records)?;
        if let Some(trusted) = trusted
            && let Err(error) = trusted.verify(&tree, &origin.bounds())
        {
            wrong.push(error.to_string());
        }
        let of = |what| Problem { commit: commit.id.to_string(), at: commit.committer.seconds, what };
        verdict.problems.extend(wrong.into_iter().map(of));
        at = commit.parents.first().copied();
    }
    verdict.problems.extend(records.gaps());
    if let Some(wanted) = contains.filter(|_| !found) {
        let what = format!("{wanted} was on this branch and is not any more: history was rewritten or cut off");
        verdict.problems.push(Problem { commit: wanted.to_owned(), at: 0, what });
    }
    Ok(verdict)
}

/// The records that were met, from the newest on, and those that have to come yet: each names the one before it.
#[derive(Default)]
struct Chain {
    met: BTreeSet<String>,
    /// By the record that has to come: the commits that follow it.
    named: BTreeMap<String, Vec<(String, i64)>>,
}

impl Chain {
    /// Whether it is met for the first time.
    fn met(&mut self, record: &str) -> bool {
        self.named.remove(record);
        self.met.insert(record.to_owned())
    }

    fn follows(&mut self, previous: &str, commit: &Commit) {
        let of = (commit.id.to_string(), commit.committer.seconds);
        self.named.entry(previous.to_owned()).or_default().push(of);
    }

    /// Where records are missing.
    fn gaps(self) -> impl Iterator<Item = Problem> {
        let gap = |(previous, (commit, at)): (String, (String, i64))| {
            let what = format!(
                "its record follows the record {previous}, which is not before it: what was recorded in between was taken \
                 off the branch"
            );
            Problem { commit, at, what }
        };
        let named = self.named.into_iter();
        named.flat_map(move |(previous, of)| of.into_iter().map(move |one| gap((previous.clone(), one))))
    }
}

/// What is wrong with one commit.
fn problems(opened: &Opened, commit: &Commit, records: &mut Chain) -> Result<Vec<String>, TreeError> {
    let mut wrong = Vec::new();
    if commit.parents.len() > 1 {
        wrong.push("it is a merge; Midship never merges into its record".to_owned());
    }
    let Some(record) = commit.trailer(RECORD_TRAILER) else {
        wrong.push(format!("it has no trailer {RECORD_TRAILER}: Midship did not write it"));
        return Ok(wrong);
    };
    if !records.met(&record) {
        wrong.push(format!("its record {record} is on the branch twice"));
    }
    let Some(source) = commit.trailer("Midship-Source") else { return Ok(wrong) };
    let path = format!("{source}/record.json");
    let touched = opened.history.changes(commit)?;
    let Some(blob) = touched.iter().find(|one| one.path == path).and_then(|one| one.new) else {
        wrong.push(format!("it has no record in {path}"));
        return Ok(wrong);
    };
    let bytes = opened.history.blob(blob, LARGEST)?;
    if hex::encode(&Sha256::digest(&bytes)[..16]) != record {
        wrong.push(format!("{path} is not what was recorded: its digest is not that of the trailer {RECORD_TRAILER}"));
    }
    let outside = touched.iter().find(|one| !one.path.starts_with(&format!("{source}/")));
    if let Some(outside) = outside {
        wrong.push(format!("it changes {}, which does not belong to {source}", outside.path));
    }
    let told: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if let Some(previous) = told["previous"].as_str() {
        records.follows(previous, commit);
    }
    let said = commit.trailer("Midship-Commit");
    if told["commit"].as_str() != said.as_deref() {
        wrong.push("its message and its record name different commits".to_owned());
    }
    Ok(wrong)
}
