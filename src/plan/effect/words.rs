//! Effects in sentences.

use std::fmt;

use super::{Disturbance, Effect, GroupEffect, Strategy, Whole};
use crate::api::values::DeletionPolicy;
use crate::extension::changes::ParameterChange;
use crate::extension::gates::Step;
use crate::extension::parameters::plain;
use crate::extension::problem::listed;

/// More reasons than these are counted.
const SHOWN: usize = 6;

pub fn parameter(change: &ParameterChange) -> String {
    let shown = |value: Option<&serde_json::Value>| {
        let text = value.map_or_else(|| "not set".to_owned(), plain);
        if text.chars().count() > 40 { format!("{}…", text.chars().take(40).collect::<String>()) } else { text }
    };
    format!("{} from {} to {}", change.name, shown(change.from.as_ref()), shown(change.to.as_ref()))
}

fn pods(number: usize) -> String {
    if number == 1 { "1 pod".to_owned() } else { format!("{number} pods") }
}

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created { pods: 0 } => f.write_str("creates the instance without pods: it is to be stopped"),
            Self::Created { pods: number } => write!(f, "creates {}", pods(*number)),
            Self::Deleted { pods: number, volumes } => {
                let whose = if *number == 1 { "its" } else { "their" };
                match volumes {
                    DeletionPolicy::Delete => {
                        write!(f, "stops and removes {} and {whose} volumes: the data is lost", pods(*number))
                    }
                    DeletionPolicy::Retain => write!(f, "stops and removes {}; {whose} volumes stay", pods(*number)),
                }
            }
            Self::Stopped { pods: number } => {
                write!(
                    f,
                    "stops {}; volumes, Services and Secrets stay; it does not serve until it is started",
                    pods(*number)
                )
            }
            Self::Started { pods: number } => write!(f, "starts {}", pods(*number)),
            Self::Upgrade(Step::None) | Self::Continues => f.write_str("disturbs no pod"),
            Self::Upgrade(Step::Extension { from, to, rollback: false }) => {
                write!(f, "upgrades the extension from {from} to {to}")
            }
            Self::Upgrade(Step::Extension { from, to, rollback: true }) => {
                write!(f, "takes the extension back from {from} to {to}")
            }
            Self::Upgrade(Step::Version { upgrade, rollback }) => {
                let (from, to) = (upgrade.from.as_str(), upgrade.to.as_str());
                if *rollback {
                    return write!(f, "takes the middleware back from {to} to {from}");
                }
                let back = if upgrade.rollback == Some(false) { "; there is no way back" } else { "" };
                let note = upgrade.note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
                write!(f, "upgrades the middleware from {from} to {to}{back}{note}")
            }
            Self::Volumes(DeletionPolicy::Delete) => {
                f.write_str("from now on its volumes are deleted with it: the data is lost when it goes")
            }
            Self::Volumes(DeletionPolicy::Retain) => f.write_str("from now on its volumes stay when it is deleted"),
            Self::Topology { from, to } => write!(f, "changes the topology from {from} to {to}"),
        }
    }
}

impl GroupEffect {
    fn subject(&self) -> String {
        if self.group == "default" { self.component.clone() } else { format!("{} {}", self.component, self.group) }
    }

    /// What happens to the pods that stay.
    fn disturbance(&self) -> Option<String> {
        let number = self.staying;
        let (verb, suffix) = match self.disturbance {
            Disturbance::None => return None,
            Disturbance::Reload => {
                let processes = if number == 1 { "1 process".to_owned() } else { format!("{number} processes") };
                return Some(format!("reloads {processes}; nothing restarts"));
            }
            Disturbance::Resize => {
                return Some(format!("resizes {} in place, where the nodes have room", pods(number)));
            }
            Disturbance::Restart => ("restarts", ""),
            Disturbance::Image => ("restarts", " with the new image"),
            Disturbance::Recreate => ("replaces", ""),
        };
        let short = "it does not serve meanwhile";
        Some(match (self.strategy, number, &self.exclusive) {
            (Strategy::ByHand, _, _) => format!(
                "{} wait{} until somebody deletes them (strategy OnDelete)",
                pods(number),
                if number == 1 { "s" } else { "" }
            ),
            (_, 1, _) => format!("{verb} its only pod{suffix}; {short}"),
            (Strategy::AllAtOnce, _, _) => format!("{verb} all {} at once{suffix}; {short}", pods(number)),
            (Strategy::OneByOne, _, Some(role)) if self.hand_over => {
                let replicas = if number == 2 { "1 replica".to_owned() } else { format!("{} replicas", number - 1) };
                format!("{verb} {replicas}{suffix}, then switches over, then the old {role}; no downtime expected")
            }
            (Strategy::OneByOne, _, Some(role)) => {
                let replicas = if number == 2 { "1 replica".to_owned() } else { format!("{} replicas", number - 1) };
                format!("{verb} {replicas}{suffix}, then the {role}; writes wait until another pod takes over")
            }
            (Strategy::OneByOne, _, None) => {
                format!("{verb} {} one after another{suffix}; the others go on serving", pods(number))
            }
        })
    }

    /// Sentences without the name of the group in front.
    fn sentences(&self) -> Vec<String> {
        let mut all = Vec::new();
        if !self.added.is_empty() {
            all.push(format!("adds {}: {}", pods(self.added.len()), listed(self.added.iter().map(String::as_str))));
        }
        if !self.removed.is_empty() {
            let names = listed(self.removed.iter().map(String::as_str));
            all.push(format!("removes {}: {names}", pods(self.removed.len())));
        }
        if !self.volumes.is_empty() {
            let volumes = listed(self.volumes.iter().map(String::as_str));
            all.push(format!("grows {volumes}, while it is in use where the storage class can"));
        }
        let more = self.reasons.len().saturating_sub(SHOWN);
        let mut reasons = self.reasons.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        if more > 0 {
            reasons.push_str(&format!(" and {more} more"));
        }
        match self.disturbance() {
            Some(text) => all.push(format!("{text} (because of {reasons})")),
            None if !self.reasons.is_empty() => all.push(format!("changes {reasons} without disturbing a pod")),
            None => {}
        }
        all
    }
}

impl Effect {
    /// What it means, a sentence each.
    pub fn sentences(&self) -> Vec<String> {
        let mut all: Vec<String> = self.refusals.iter().map(|refusal| format!("will be refused: {refusal}")).collect();
        if !all.is_empty() {
            return all;
        }
        all.extend(self.whole.iter().map(ToString::to_string));
        for group in &self.groups {
            let subject = group.subject();
            all.extend(group.sentences().into_iter().map(|sentence| format!("{subject}: {sentence}")));
        }
        all
    }
}
