//! What a GitSource says of itself: computed purely, written only when it changed.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::PatchParams;
use kube::{Api, Client, ResourceExt};

use super::apply::Outcome;
use super::descent::Descent;
use super::drift::{Drift, Drifted};
use super::failed::{self, Failed};
use super::look::Seen;
use super::problem::Problem as LookProblem;
use super::settings::{self, Settings};
use crate::api::conditions::{self, ConditionStatus, Finding, READY, RECONCILING, STALLED};
use crate::api::git_source::{AppliedSettings, Applying, AuditStatus, FileError, SyncCounts};
use crate::api::{GitSource, GitSourceStatus, labels};
use crate::cluster::problem::Problem as ClusterProblem;
use crate::controller::frame::Failure;
use crate::controller::said::whole;
use crate::plan::source::{ObjectId, Plan};
use crate::repo::short;

/// How many errors, held deletions and drifted objects are listed.
const LISTED: usize = 50;

/// How many commits are remembered that began to be applied and are not recorded.
const MOST_UNRECORDED: usize = 100;

/// The newest commit was read.
const FETCHED: &str = "Fetched";

/// What there is to say.
pub enum Report<'a> {
    Suspended,
    /// It is deleted, and something keeps it.
    Leaving(String),
    Unusable(settings::Problem),
    NotFetched(LookProblem),
    /// What the repository says of environments, told before anything is applied that depends on it.
    Assumes(Option<AppliedSettings>),
    /// A new commit is about to be applied, with so many changes.
    Applying {
        seen: &'a Seen,
        changes: usize,
    },
    /// How the record stands, and the commit that cannot get lost to it any more; the last thing said of a look that went
    /// well.
    Recorded {
        audit: AuditStatus,
        noted: Option<String>,
    },
    /// A look that could not be ended: what was applied stays, and it is tried again.
    Failed {
        failure: &'a Failure,
        /// What was read before it failed.
        fetched: Option<(&'a Seen, &'a Settings)>,
    },
    Synced {
        seen: &'a Seen,
        plan: &'a Plan,
        drift: &'a Drift,
        results: &'a [Outcome],
        settings: &'a Settings,
        /// How the commit relates to the one before, where that is news.
        descent: Option<Descent>,
    },
}

impl Report<'_> {
    /// Whether this is the last thing that is said of a look, so that whoever asked for it knows how it ended.
    fn is_last(&self) -> bool {
        !matches!(self, Self::Assumes(_) | Self::Applying { .. } | Self::Synced { .. })
    }
}

/// Publishes what is new. `said` remembers what was published last.
pub async fn publish(
    client: &Client,
    source: &GitSource,
    said: &mut Option<GitSourceStatus>,
    report: Report<'_>,
) -> Result<(), Failure> {
    let before = said.clone().or_else(|| source.status.clone()).unwrap_or_default();
    let now = Timestamp::now();
    let mut status = next(&before, source.metadata.generation, &report, now);
    say_what_is_not_built(source, &mut status, now);
    if report.is_last() {
        status.handled_reconcile_at = source.annotations().get(labels::RECONCILE_AT).cloned();
    }
    if said.is_some() && *said == Some(status.clone()) || source.status.as_ref() == Some(&status) {
        *said = Some(status);
        return Ok(());
    }
    let api: Api<GitSource> = Api::namespaced(client.clone(), &source.namespace().unwrap_or_default());
    match api.patch_status(&source.name_any(), &PatchParams::default(), &whole(&status)?).await {
        Ok(_) => {
            *said = Some(status);
            Ok(())
        }
        // it was deleted meanwhile
        Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
        Err(error) => Err(Failure::new("StatusNotWritten", ClusterProblem::from_kube(&error))),
    }
}

fn next(before: &GitSourceStatus, generation: Option<i64>, report: &Report<'_>, now: Timestamp) -> GitSourceStatus {
    let mut status = before.clone();
    status.observed_generation = generation;
    let findings = match report {
        Report::Assumes(settings) => {
            status.settings.clone_from(settings);
            return status;
        }
        Report::Applying { seen, changes } => {
            let commit = seen.commit.id.to_string();
            let begun = before.applying.clone();
            let is_this_one = begun.as_ref().is_none_or(|begun| begun.commit == commit);
            if before.fetched_commit.as_ref() == Some(&commit) && is_this_one {
                return before.clone();
            }
            // what began before and was never recorded goes on from where that began
            let Applying { commit: last, previous, mut unrecorded } = begun.unwrap_or_default();
            unrecorded.extend((!last.is_empty()).then_some(last));
            unrecorded.retain(|begun| *begun != commit);
            unrecorded.drain(..unrecorded.len().saturating_sub(MOST_UNRECORDED));
            let previous = previous.or_else(|| before.fetched_commit.clone());
            let at = format!("{}@{}", seen.branch, short(&seen.commit.id));
            let message = format!("applies {at}: {}", plural(*changes, "change"));
            status.applying = Some(Applying { commit, previous, unrecorded });
            let finding = Finding::new(RECONCILING, ConditionStatus::True, "Applying", message);
            status.conditions = conditions::merge_into(&before.conditions, &finding, generation, &Time(now));
            return status;
        }
        Report::Recorded { audit, noted } => {
            status.applying.take_if(|applying| noted.as_ref() == Some(&applying.commit));
            status.audit = (*audit != AuditStatus::default()).then(|| audit.clone());
            if let Some(finding) = super::audit::finding(audit, &before.conditions) {
                status.conditions = conditions::merge_into(&before.conditions, &finding, generation, &Time(now));
            }
            return status;
        }
        Report::Suspended => vec![Finding::new(
            READY,
            ConditionStatus::False,
            "Suspended",
            "suspended: nothing is fetched or applied; set spec.suspend to false to go on",
        )],
        Report::Leaving(message) => not_ready("Deleting", message, true),
        Report::Failed { failure, fetched: read } => {
            let mut findings = not_ready(failure.reason, &failure.message, true);
            findings.extend(read.map(|(seen, settings)| fetched(seen, settings)));
            findings
        }
        Report::Unusable(problem) => {
            let mut findings = not_ready(problem.reason, &problem.message, problem.passing);
            findings.push(not_fetched(problem.reason, &problem.message));
            findings
        }
        Report::NotFetched(problem) => {
            let message = match &before.applied {
                Some(applied) => format!("{}; {applied} stays applied", problem.message),
                None => problem.message.clone(),
            };
            let mut findings = not_ready(&camel(problem.code), &message, problem.passing);
            findings.push(not_fetched(&camel(problem.code), &problem.message));
            findings
        }
        Report::Synced { seen, plan, drift, results, settings, descent } => {
            let mut findings = synced(&mut status, seen, plan, results, settings, now);
            status.drifted = drift.objects.iter().take(LISTED).map(Drifted::shown).collect();
            findings.push(drifted(plan, drift));
            findings.extend(left(plan, &before.conditions));
            findings.extend(descent.and_then(|descent| descended(descent, seen, &before.conditions)));
            findings
        }
    };
    status.conditions = conditions::merge(&before.conditions, &findings, generation, &Time(now));
    status
}

/// Whether the repository could be read when the source was last told of; none if it was never told of.
pub fn answered(source: &GitSource) -> Option<bool> {
    let conditions = &source.status.as_ref()?.conditions;
    conditions::find(conditions, READY)?;
    Some(conditions::find(conditions, FETCHED).is_some_and(|fetched| fetched.status == ConditionStatus::True))
}

fn fetched(seen: &Seen, settings: &Settings) -> Finding {
    let message = format!("{}@{} from {}", seen.branch, short(&seen.commit.id), settings.url);
    Finding::new(FETCHED, ConditionStatus::True, FETCHED, message)
}

/// Beside what else may be wrong since long ago, this one tells since when nothing new is seen.
fn not_fetched(reason: &str, message: &str) -> Finding {
    Finding::new(FETCHED, ConditionStatus::False, reason, message)
}

fn not_ready(reason: &str, message: &str, passing: bool) -> Vec<Finding> {
    let also = if passing { RECONCILING } else { STALLED };
    vec![
        Finding::new(READY, ConditionStatus::False, reason, message),
        Finding::new(also, ConditionStatus::True, reason, message),
    ]
}

fn synced(
    status: &mut GitSourceStatus,
    seen: &Seen,
    plan: &Plan,
    results: &[Outcome],
    settings: &Settings,
    now: Timestamp,
) -> Vec<Finding> {
    let id = seen.commit.id.to_string();
    let all = failed::all(seen, plan, results);
    let (failed, applied) = (all.iter().any(Failed::was_tried), failed::is_applied(&all, plan, results));
    let done = results.iter().any(|result| result.failure.is_none());
    let errors: Vec<FileError> = all.into_iter().map(|one| one.error).collect();
    status.fetched_commit = Some(id.clone());
    if let Some(settings) = &seen.settings {
        status.settings = settings.applied();
    }
    status.counts = Some(SyncCounts {
        files: saturated(seen.files),
        objects: saturated(seen.desired.len()),
        applied: saturated(failed::there(plan, results)),
        failed: saturated(errors.len()),
        held: saturated(plan.held.len()),
    });
    if applied && (status.applied_commit.as_deref() != Some(&id) || done) {
        status.applied_at = Some(now.to_string());
    }
    if applied {
        status.applied = Some(format!("{}@{}", seen.branch, short(&seen.commit.id)));
        status.applied_commit = Some(id);
    }
    status.held = plan.held.iter().take(LISTED).map(|id| held(plan, id)).collect();
    let findings = findings(seen, plan, &errors, failed, settings);
    status.errors = errors.into_iter().take(LISTED).collect();
    findings
}

/// A deletion that waits, and for whom, where somebody else needs the object.
fn held(plan: &Plan, id: &ObjectId) -> String {
    plan.needed.get(id).map_or_else(|| id.to_string(), |by| format!("{id}: {by}"))
}

fn findings(seen: &Seen, plan: &Plan, errors: &[FileError], failed: bool, settings: &Settings) -> Vec<Finding> {
    let at = format!("{}@{}", seen.branch, short(&seen.commit.id));
    let mut findings = Vec::new();
    match errors {
        [] if plan.held.is_empty() && returning(seen, plan).is_some() => {
            let message = format!(
                "{at}: {} is still being deleted, and made again once it is gone",
                returning(seen, plan).map(ToString::to_string).unwrap_or_default()
            );
            findings.extend(not_ready("StillDeleting", &message, true));
        }
        [] if plan.held.is_empty() => {
            let objects = plural(seen.desired.len(), "object");
            findings.push(Finding::new(READY, ConditionStatus::True, "Applied", format!("{at}: {objects} applied")));
        }
        [] => {
            let because = plan.held_because.clone().unwrap_or_default();
            findings.push(Finding::new(READY, ConditionStatus::False, "Held", because.clone()));
            findings.push(Finding::new(STALLED, ConditionStatus::True, "Held", because));
        }
        [first, rest @ ..] => {
            let place = match (first.line, first.column) {
                (Some(line), Some(column)) => format!("{}:{line}:{column}", first.path),
                _ => first.path.clone(),
            };
            let more =
                if rest.is_empty() { String::new() } else { format!(" (and {} more in status.errors)", rest.len()) };
            let message = format!("{at}: {place}: {}{more}; everything else is applied", first.message);
            let reason = if failed { "NotAllApplied" } else { "InvalidFiles" };
            findings.push(Finding::new(READY, ConditionStatus::False, reason, message.clone()));
            let also = if failed { RECONCILING } else { STALLED };
            findings.push(Finding::new(also, ConditionStatus::True, reason, message));
        }
    }
    let held = if plan.held.is_empty() { ConditionStatus::False } else { ConditionStatus::True };
    let because = plan.held_because.clone().unwrap_or_else(|| "no deletion waits".to_owned());
    findings.push(Finding::new("Held", held, if plan.held.is_empty() { "NothingHeld" } else { "Held" }, because));
    findings.push(fetched(seen, settings));
    findings
}

/// What is defined, and cannot be made yet.
fn returning<'a>(seen: &Seen, plan: &'a Plan) -> Option<&'a ObjectId> {
    plan.leaving.iter().find(|id| seen.find(id).is_some())
}

fn drifted(plan: &Plan, drift: &Drift) -> Finding {
    let number = plan.drifted.len();
    if number == 0 {
        let message = "every applied object is as the repository says; Namespaces, Secrets and ConfigMaps were when they \
                       were last looked at, which is every few minutes";
        return Finding::new("Drifted", ConditionStatus::False, "NoDrift", message);
    }
    let proposal = drift.proposal.as_ref().map(|proposal| format!("; {proposal}")).unwrap_or_default();
    let message = format!("{} changed by somebody and left so, as spec.drift says{proposal}", plural(number, "object"));
    Finding::new("Drifted", ConditionStatus::True, "Drifted", message)
}

/// What no file defines any more and stays nevertheless; none where there never was any.
fn left(plan: &Plan, before: &[conditions::Condition]) -> Option<Finding> {
    const LEFT: &str = "Left";
    if plan.left.is_empty() {
        conditions::find(before, LEFT)?;
        return Some(Finding::new(LEFT, ConditionStatus::False, "NothingLeft", "everything is defined by a file"));
    }
    let messages: Vec<&str> = plan.left.values().map(String::as_str).take(LISTED).collect();
    Some(Finding::new(LEFT, ConditionStatus::True, "NeverDeleted", messages.join(". ")))
}

/// Whether history was rewritten, once it was; what follows from there ends that.
fn descended(descent: Descent, seen: &Seen, before: &[conditions::Condition]) -> Option<Finding> {
    const REWRITTEN: &str = "HistoryRewritten";
    match descent {
        Descent::Rewritten(rewrite) => {
            Some(Finding::new(REWRITTEN, ConditionStatus::True, "NotAnAncestor", rewrite.told()))
        }
        Descent::Follows => {
            conditions::find(before, REWRITTEN)?;
            let message = format!("{}@{} follows from what was applied before", seen.branch, short(&seen.commit.id));
            Some(Finding::new(REWRITTEN, ConditionStatus::False, "Follows", message))
        }
    }
}

/// What a source asks for that nobody does yet is said, and said no more once it is not asked for.
fn say_what_is_not_built(source: &GitSource, status: &mut GitSourceStatus, now: Timestamp) {
    const FORGE: &str = "ForgeReports";
    if source.spec.forge.is_none() {
        status.conditions.retain(|condition| condition.type_ != FORGE);
        return;
    }
    let message = "spec.forge is accepted and not acted on yet: no plan is posted on pull requests, and no status is set on \
                   commits. Let CI run `midship plan -o markdown`, as the template of a repository does with diff";
    let finding = Finding::new(FORGE, ConditionStatus::False, "NotBuilt", message);
    status.conditions = conditions::merge_into(&status.conditions, &finding, source.metadata.generation, &Time(now));
}

fn plural(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

fn saturated(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// `repository-not-found` as `RepositoryNotFound`, the way reasons of conditions are written.
fn camel(code: &str) -> String {
    code.split('-')
        .map(|part| {
            let mut letters = part.chars();
            letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn not_seen(code: &'static str, message: &str) -> Report<'static> {
        Report::NotFetched(LookProblem { code, message: message.into(), passing: true })
    }

    fn unreachable() -> Report<'static> {
        not_seen("unreachable", "git.example.com cannot be reached")
    }

    #[test]
    fn a_repository_that_cannot_be_reached_leaves_what_is_applied_and_says_so() {
        let before = GitSourceStatus { applied: Some("main@0123456789".into()), ..GitSourceStatus::default() };
        let status = next(&before, Some(1), &unreachable(), at(100));
        assert_eq!(status.applied, before.applied);
        let ready = conditions::find(&status.conditions, READY).expect("ready is told");
        assert_eq!((ready.status, ready.reason.as_str()), (ConditionStatus::False, "Unreachable"));
        assert_eq!(ready.message, "git.example.com cannot be reached; main@0123456789 stays applied");
    }

    #[test]
    fn since_when_nothing_is_fetched_is_told_whatever_was_wrong_before() {
        let findings = [
            Finding::new(READY, ConditionStatus::False, "InvalidFiles", "a.yaml:1:1: no kind"),
            Finding::new(FETCHED, ConditionStatus::True, FETCHED, "main@0123456789"),
        ];
        let conditions = conditions::merge(&[], &findings, Some(1), &Time(at(10)));
        let before = GitSourceStatus { conditions, ..GitSourceStatus::default() };
        let told = |status: &GitSourceStatus, what: &str| {
            let one = conditions::find(&status.conditions, what).expect("it is told").clone();
            (one.status, one.reason, one.last_transition_time)
        };
        let away = next(&before, Some(1), &unreachable(), at(100));
        let fetched = told(&away, FETCHED);
        assert_eq!(fetched, (ConditionStatus::False, "Unreachable".to_owned(), Time(at(100))));
        assert_eq!(told(&away, READY).2, Time(at(10)), "it was not well before");
        let refused = next(&away, Some(1), &not_seen("credentials-refused", "no"), at(200));
        let fetched = told(&refused, FETCHED);
        assert_eq!(fetched, (ConditionStatus::False, "CredentialsRefused".to_owned(), Time(at(100))));

        let failure = Failure::new("NotObserved", "no Namespace can be read");
        let failed = next(&refused, Some(1), &Report::Failed { failure: &failure, fetched: None }, at(300));
        assert_eq!(told(&failed, FETCHED), fetched, "it was not read by this");
        let problem = settings::Problem { reason: "InvalidCredentials", message: "no Secret".into(), passing: true };
        let unusable = next(&before, Some(1), &Report::Unusable(problem), at(400));
        let fetched = told(&unusable, FETCHED);
        assert_eq!(fetched, (ConditionStatus::False, "InvalidCredentials".to_owned(), Time(at(400))));
    }

    #[test]
    fn saying_the_same_twice_changes_nothing() {
        let first = next(&GitSourceStatus::default(), Some(1), &unreachable(), at(100));
        let second = next(&first, Some(1), &unreachable(), at(200));
        assert_eq!(first, second);
    }

    #[test]
    fn whether_a_repository_answered_is_known_from_what_was_told() {
        let source = json!({ "metadata": { "name": "a" }, "spec": { "url": "https://git.example.com/a.git" } });
        let mut source: GitSource = serde_json::from_value(source).expect("a source");
        assert_eq!(answered(&source), None);
        source.status = Some(next(&GitSourceStatus::default(), Some(1), &unreachable(), at(100)));
        assert_eq!(answered(&source), Some(false));
        let well = [READY, FETCHED].map(|what| Finding::new(what, ConditionStatus::True, "Well", "as it should be"));
        let conditions = conditions::merge(&[], &well, Some(1), &Time(at(200)));
        source.status = Some(GitSourceStatus { conditions, ..GitSourceStatus::default() });
        assert_eq!(answered(&source), Some(true));
        let status = source.status.take().unwrap_or_default();
        source.status = Some(next(&status, Some(1), &unreachable(), at(300)));
        assert_eq!(answered(&source), Some(false), "it did once, and does not now");
    }

    #[test]
    fn a_forge_that_nobody_reports_to_is_told_of_as_long_as_it_is_asked_for() {
        let forge = json!({ "provider": "GitHub", "credentials": { "name": "forge" } });
        let source =
            json!({ "metadata": { "name": "a" }, "spec": { "url": "https://git.example.com/a.git", "forge": forge } });
        let mut source: GitSource = serde_json::from_value(source).expect("a source");
        let mut status = next(&GitSourceStatus::default(), Some(1), &unreachable(), at(100));
        say_what_is_not_built(&source, &mut status, at(100));
        let told = conditions::find(&status.conditions, "ForgeReports").expect("it is told");
        assert_eq!((told.status, told.reason.as_str()), (ConditionStatus::False, "NotBuilt"));
        let kinds: Vec<&str> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(kinds, ["Ready", "Reconciling", "Fetched", "ForgeReports"]);
        let said = status.clone();
        say_what_is_not_built(&source, &mut status, at(200));
        assert_eq!(said, status);
        source.spec.forge = None;
        say_what_is_not_built(&source, &mut status, at(200));
        assert!(conditions::find(&status.conditions, "ForgeReports").is_none());
    }

    #[test]
    fn codes_become_reasons() {
        assert_eq!(camel("repository-not-found"), "RepositoryNotFound");
    }
}
