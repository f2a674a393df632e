//! How an instance is: its phase, and conditions in words a person understands.

use crate::api::conditions::{ConditionStatus, Finding, READY, RECONCILING, STALLED};
use crate::api::instance::Phase;
use crate::extension::problem::{Code, Refusals};

/// What was decided about the instance this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What is asked for is in force.
    InForce,
    /// Midship leaves it as it is, as it was told.
    Suspended,
    /// It cannot go on yet, and will by itself.
    Waits { reason: &'static str, message: String },
    /// It cannot go on until somebody changes something; what runs stays as it is.
    Refused(Refusals),
    /// It is being deleted.
    Deleting { waits: Option<String>, overdue: bool },
}

/// A component as its own controller sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComponentSeen {
    pub name: String,
    /// All its pods are as was last asked for.
    pub updated: bool,
    /// Everything about it is as it is to be.
    pub ready: bool,
    /// What it says while it is not.
    pub message: String,
    /// Why it cannot go on.
    pub stalled: Option<String>,
}

/// Everything that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    pub verdict: &'a Verdict,
    pub before: Option<Phase>,
    /// Something of it was applied once.
    pub in_force: bool,
    pub stopped: bool,
    /// Where an upgrade leads that is under way: `from 7.0 to 7.2`.
    pub upgrading: Option<String>,
    pub components: &'a [ComponentSeen],
    /// Pods that are to run.
    pub wanted: usize,
    pub ready: usize,
    pub existing: usize,
    /// Why single pods are not ready.
    pub reasons: &'a [String],
    /// What is still to be done once all pods run, and why it is not done.
    pub unfinished: Option<String>,
    /// How the restore goes that its pods wait for.
    pub restoring: Option<String>,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub phase: Phase,
    pub findings: Vec<Finding>,
}

impl Facts<'_> {
    /// Every pod that is to run does, and as was asked for.
    pub fn settled(&self) -> bool {
        let components = self.components.iter().all(|component| component.updated && component.ready);
        if self.stopped { self.existing == 0 } else { components && self.ready >= self.wanted }
    }
}

/// Whether some pod of it served before it came to this phase.
fn served(before: Option<Phase>) -> bool {
    !matches!(before, None | Some(Phase::Pending | Phase::Creating))
}

/// The same, where a new one may have failed already. `seen` is what its pod sets tell.
pub fn has_served(before: Option<Phase>, seen: bool) -> bool {
    served(before) && (seen || before != Some(Phase::Failed))
}

/// Decides.
pub fn health(facts: &Facts<'_>) -> Health {
    let phase = phase(facts);
    Health { phase, findings: findings(facts, phase) }
}

fn phase(facts: &Facts<'_>) -> Phase {
    if matches!(facts.verdict, Verdict::Deleting { .. }) {
        return Phase::Deleting;
    }
    if !facts.in_force {
        return Phase::Pending;
    }
    if facts.stopped {
        return if facts.existing > 0 { Phase::Stopping } else { Phase::Stopped };
    }
    let stalled = facts.components.iter().any(|component| component.stalled.is_some());
    if stalled && facts.ready < facts.wanted {
        return Phase::Failed;
    }
    let settled = facts.settled() && facts.unfinished.is_none();
    if facts.upgrading.is_some() && !settled {
        return Phase::Upgrading;
    }
    if settled {
        return Phase::Running;
    }
    if !served(facts.before) {
        return Phase::Creating;
    }
    if facts.components.iter().all(|component| component.updated) && facts.before == Some(Phase::Running) {
        // a pod that fails now and then does not make a change of it
        return Phase::Running;
    }
    Phase::Updating
}

fn findings(facts: &Facts<'_>, phase: Phase) -> Vec<Finding> {
    let pods = format!("{} of {} pods are ready", facts.ready, facts.wanted);
    match facts.verdict {
        Verdict::Refused(refusals) => {
            let reason = reason(refusals);
            let stays = if facts.in_force { "; what runs stays as it is" } else { "" };
            let message = format!("{}{stays}", refusals.to_string().replace('\n', "; "));
            return both(reason, &message, STALLED);
        }
        Verdict::Waits { reason, message } => return both(reason, message, RECONCILING),
        Verdict::Deleting { waits, overdue } => {
            let message = waits.clone().unwrap_or_else(|| "it is being deleted".to_owned());
            return both("Deleting", &message, if *overdue { STALLED } else { RECONCILING });
        }
        Verdict::Suspended => {
            let message = format!("suspended: nothing is changed until spec.suspend is false; {pods}");
            let status = if facts.settled() { ConditionStatus::True } else { ConditionStatus::False };
            return vec![Finding::new(READY, status, "Suspended", message)];
        }
        Verdict::InForce => {}
    }
    let stalled: Vec<String> = facts
        .components
        .iter()
        .filter_map(|component| Some(format!("{}: {}", component.name, component.stalled.as_ref()?)))
        .collect();
    match phase {
        Phase::Stopped => {
            vec![Finding::new(READY, ConditionStatus::True, "Stopped", "stopped; volumes, Services and Secrets stay")]
        }
        Phase::Stopping if stalled.is_empty() => {
            both("Stopping", &format!("{} pods are still there", facts.existing), RECONCILING)
        }
        Phase::Running if facts.settled() => vec![Finding::new(READY, ConditionStatus::True, "Running", pods)],
        _ if !stalled.is_empty() => both("ComponentStalled", &stalled.join("; "), STALLED),
        _ if facts.restoring.is_some() => {
            both("Restoring", facts.restoring.as_deref().unwrap_or_default(), RECONCILING)
        }
        _ => {
            let what = match (phase, &facts.upgrading) {
                (Phase::Upgrading, Some(upgrade)) => format!("upgrade {upgrade}: {pods}"),
                _ => pods,
            };
            let also = if phase == Phase::Running { READY } else { RECONCILING };
            let reason = if phase == Phase::Running { "PodsNotReady" } else { word(phase) };
            both(reason, &format!("{what}{}", waits(facts)), also)
        }
    }
}

/// What it waits for, in a few words.
fn waits(facts: &Facts<'_>) -> String {
    let components = facts.components.iter().filter(|component| !component.ready && !component.message.is_empty());
    let mut said: Vec<String> =
        components.map(|component| format!("{}: {}", component.name, component.message)).collect();
    said.extend(facts.reasons.iter().take(3).cloned());
    if facts.settled() {
        said.extend(facts.unfinished.clone());
    }
    said.dedup();
    if said.is_empty() { String::new() } else { format!("; {}", said.join("; ")) }
}

fn both(reason: &str, message: &str, also: &'static str) -> Vec<Finding> {
    let mut all = vec![Finding::new(READY, ConditionStatus::False, reason, message)];
    if also != READY {
        all.push(Finding::new(also, ConditionStatus::True, reason, message));
    }
    all
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "Pending",
        Phase::Creating => "Creating",
        Phase::Running => "Running",
        Phase::Updating => "Updating",
        Phase::Upgrading => "Upgrading",
        Phase::Stopping => "Stopping",
        Phase::Stopped => "Stopped",
        Phase::Failed => "Failed",
        Phase::Deleting => "Deleting",
    }
}

fn reason(refusals: &Refusals) -> &'static str {
    match refusals.0.first().map(|refusal| refusal.code) {
        Some(Code::Unknown) => "UnknownName",
        Some(Code::Immutable) => "Immutable",
        Some(Code::UpgradePath) => "UpgradePath",
        Some(Code::Package) => "PackageFailed",
        Some(Code::Missing) => "Missing",
        Some(Code::Unchecked) => "Unchecked",
        Some(Code::Invalid) | None => "Invalid",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conditions::Finding;
    use crate::extension::Refusal;

    fn component(updated: bool, ready: bool) -> ComponentSeen {
        ComponentSeen { name: "server".to_owned(), updated, ready, ..ComponentSeen::default() }
    }

    fn facts<'a>(verdict: &'a Verdict, before: Option<Phase>, components: &'a [ComponentSeen]) -> Facts<'a> {
        Facts {
            verdict,
            before,
            in_force: true,
            stopped: false,
            upgrading: None,
            components,
            wanted: 3,
            ready: if components.iter().all(|component| component.ready) { 3 } else { 2 },
            existing: 3,
            reasons: &[],
            unfinished: None,
            restoring: None,
        }
    }

    fn of<'a>(health: &'a Health, type_: &str) -> Option<&'a Finding> {
        health.findings.iter().find(|finding| finding.type_ == type_)
    }

    #[test]
    fn an_instance_goes_from_pending_to_running() {
        let half = [component(false, false)];
        let waits = Verdict::Waits { reason: "ExtensionMissing", message: "not installed".to_owned() };
        let first = health(&Facts { in_force: false, ..facts(&waits, None, &[]) });
        assert_eq!(first.phase, Phase::Pending);
        assert!(of(&first, RECONCILING).is_some() && of(&first, STALLED).is_none());
        assert_eq!(health(&facts(&Verdict::InForce, Some(Phase::Pending), &half)).phase, Phase::Creating);
        let done = health(&facts(&Verdict::InForce, Some(Phase::Creating), &[component(true, true)]));
        assert_eq!(done.phase, Phase::Running);
        assert_eq!(of(&done, READY).map(|ready| ready.message.as_str()), Some("3 of 3 pods are ready"));
    }

    #[test]
    fn one_that_failed_before_any_pod_served_has_not_served() {
        assert!(!has_served(Some(Phase::Failed), false) && has_served(Some(Phase::Failed), true));
        assert!(has_served(Some(Phase::Updating), false) && !has_served(Some(Phase::Creating), true));
    }

    #[test]
    fn a_pod_that_fails_is_no_update() {
        let down = [component(true, false)];
        let health = health(&facts(&Verdict::InForce, Some(Phase::Running), &down));
        assert_eq!(health.phase, Phase::Running);
        assert_eq!(of(&health, READY).map(|ready| ready.reason.as_str()), Some("PodsNotReady"));
        assert!(of(&health, RECONCILING).is_none());
    }

    #[test]
    fn a_refused_change_says_so_and_leaves_the_phase() {
        let refused = Verdict::Refused(Refusals(vec![Refusal::new("spec.x", Code::Invalid, "too large")]));
        let health = health(&facts(&refused, Some(Phase::Running), &[component(true, true)]));
        assert_eq!(health.phase, Phase::Running);
        let stalled = of(&health, STALLED).expect("it is stalled");
        assert_eq!(stalled.message, "spec.x: too large; what runs stays as it is");
    }

    #[test]
    fn changes_upgrades_and_stops_have_their_phases() {
        let half = [component(false, false)];
        let updating = facts(&Verdict::InForce, Some(Phase::Running), &half);
        assert_eq!(health(&updating).phase, Phase::Updating);
        let upgrading = Facts { upgrading: Some("from 1 to 2".to_owned()), ..updating.clone() };
        assert_eq!(health(&upgrading).phase, Phase::Upgrading);
        assert!(of(&health(&upgrading), READY).expect("ready").message.starts_with("upgrade from 1 to 2: 2 of 3"));
        let stopping = Facts { stopped: true, wanted: 0, ..updating.clone() };
        assert_eq!(health(&stopping).phase, Phase::Stopping);
        let held = [ComponentSeen { stalled: Some("its node does not answer".to_owned()), ..component(true, false) }];
        let held = health(&Facts { components: &held, ..stopping.clone() });
        assert!(held.phase == Phase::Stopping && of(&held, STALLED).is_some() && of(&held, RECONCILING).is_none());
        let stopped = health(&Facts { existing: 0, ready: 0, ..stopping });
        assert_eq!((stopped.phase, stopped.findings[0].status), (Phase::Stopped, ConditionStatus::True));
        let stuck = [ComponentSeen { stalled: Some("no such image".to_owned()), ..component(false, false) }];
        let failed = health(&facts(&Verdict::InForce, Some(Phase::Updating), &stuck));
        assert_eq!(failed.phase, Phase::Failed);
        assert_eq!(of(&failed, STALLED).map(|stalled| stalled.message.as_str()), Some("server: no such image"));
    }

    #[test]
    fn while_data_is_put_back_that_is_what_is_told() {
        let half = [component(false, false)];
        let restoring = Some("restores a backup of orders: puts the data back: 1 GiB of 4 GiB (25%)".to_owned());
        let facts = Facts { restoring, ..facts(&Verdict::InForce, Some(Phase::Creating), &half) };
        let health = health(&facts);
        assert_eq!(health.phase, Phase::Creating);
        let ready = of(&health, READY).expect("ready");
        assert!(ready.reason == "Restoring" && ready.message.ends_with("(25%)"), "{ready:?}");
    }

    #[test]
    fn it_runs_only_once_everything_is_done() {
        let all = [component(true, true)];
        let creating = facts(&Verdict::InForce, Some(Phase::Creating), &all);
        let facts = Facts { unfinished: Some("the action create did not answer".to_owned()), ..creating };
        let health = health(&facts);
        assert_eq!(health.phase, Phase::Creating);
        assert!(of(&health, READY).expect("ready").message.ends_with("; the action create did not answer"));
    }
}
