//! Filling an instance whose groups each have a part of the data: the parts that one operation made of all groups go into as
//! many groups. Until each has its own, none of the instance counts as restored.

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::Work;
use super::decide::Going;
use super::restore::{Ended, RESTORED};
use crate::api::conditions::{ConditionStatus, Finding};
use crate::api::instance::RestoreSource;
use crate::backup::read::{SetError, in_order};
use crate::controller::repositories::restores::{Around, Restore, RestoreError};
use crate::extension::methods;
use crate::extension::problem::Code;
use crate::extension::resolved::ResolvedComponent;
use crate::extension::{Refusal, Refusals};
use crate::names::ComponentName;
use crate::plan::instance::health::Verdict;

/// Nothing is made yet: what is to be restored is not known.
pub const WAITS: &str = "RestoreWaits";

/// The names of a component's groups in the order in which parts go into them.
fn groups(component: &ResolvedComponent) -> Vec<&str> {
    let mut groups: Vec<&str> = component.groups.iter().map(|group| group.name.as_str()).collect();
    groups.sort_by_key(|group| in_order(group));
    groups
}

impl Work<'_> {
    pub(super) fn around<'a>(&'a self, namespace: &'a str) -> Around<'a> {
        let shared = self.shared;
        Around { client: &shared.client, caches: &shared.caches, known: &shared.known, namespace }
    }

    /// Before anything is made of an instance that is to be restored: why not, where parts of a backup do not fit its groups.
    pub(super) async fn misfit(&self, going: &Going) -> Option<Verdict> {
        let source = self.instance.spec.restore.as_ref().filter(|_| going.resolved.restore.is_some())?;
        if self.before.resolved.is_some() || !methods::makes_parts(&going.package) {
            return None;
        }
        let namespace = self.instance.namespace().unwrap_or_default();
        let around = self.around(&namespace);
        let refused = |error: RestoreError| {
            Some(Verdict::Refused(Refusals(vec![Refusal::new("spec.restore", Code::Invalid, error.to_string())])))
        };
        match methods::filled(&going.package, &going.resolved) {
            Some(component) => {
                match around.orders(source, &groups(component), |_| String::new(), self.asked_at()).await {
                    Ok(_) => None,
                    Err(
                        error @ (RestoreError::Groups { .. }
                        | RestoreError::NoSet(_)
                        | RestoreError::Set(SetError::Damaged { .. } | SetError::Moved(_))
                        | RestoreError::NoMomentOfAll),
                    ) => refused(error),
                    // a Secret, a repository or a missing part may come, and what is to be read may be read later
                    Err(error) => Some(Verdict::Waits { reason: WAITS, message: error.to_string() }),
                }
            }
            // the first pod waits for everything else
            None => match around.order(source, String::new(), None).await {
                Err(error @ RestoreError::Parts { .. }) => refused(error),
                Ok(_) | Err(_) => None,
            },
        }
    }

    /// What is still to be done until each group has its part, and the condition that tells of it.
    pub(super) async fn restore_groups(
        &mut self,
        going: &Going,
        source: &RestoreSource,
        component: &ResolvedComponent,
    ) -> (Option<String>, Option<Finding>) {
        let finding = |status, reason, message: &str| Some(Finding::new(RESTORED, status, reason, message));
        let waits =
            |reason, message: String| (Some(message.clone()), finding(ConditionStatus::False, reason, &message));
        let uid = self.instance.uid().unwrap_or_default();
        let namespace = self.instance.namespace().unwrap_or_default();
        let groups = groups(component);
        let job = |group: &str| format!("restore-{uid}-{group}-{}", self.tries(group));
        let orders = match self.around(&namespace).orders(source, &groups, job, self.asked_at()).await {
            Ok(orders) => orders,
            Err(error) => return waits("Waits", error.to_string()),
        };
        let asked = groups.iter().zip(&orders).map(|(group, restore)| self.ask(going, restore, Some(*group)));
        let answers = join_all(asked).await;
        let (mut done, mut goes, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for ((group, order), answer) in groups.iter().zip(&orders).zip(answers) {
            match answer {
                // the agent keeps what it has: a part of another set stays there
                Ok(Some(id)) if order.order.backup.is_none_or(|part| part.to_string() != id) => {
                    let message = format!(
                        "{group} was filled from {id}, which is no part of the backup that the other groups are filled from: \
                         delete this instance with its volumes, and name the backup in the one that takes its place"
                    );
                    return waits("Mixed", message);
                }
                Ok(Some(id)) => done.push(format!("{id} into {group}")),
                Ok(None) => goes.push(format!("{group}: its first pod is not there yet")),
                Err(Ended::Goes(message)) => {
                    goes.push(self.with_failure(&tries_of(group), format!("{group}: {message}")));
                }
                Err(Ended::Failed(problem)) => failed.push((*group, problem)),
            }
        }
        let from = orders.first().map(|restore: &Restore| restore.from.clone()).unwrap_or_default();
        for (group, problem) in &failed {
            // what was half restored is cleared away by the next attempt; parts that are there stay
            let attempt = self.tries(group);
            self.remembered.attempts.insert(tries_of(group), attempt + 1);
            self.remembered.failures.insert(tries_of(group), problem.to_string());
            let message = format!("the restore of {group} failed and is tried again: {problem}");
            let about = format!("attempt {attempt} of {group}");
            self.shared.events.warning(self.instance, "RestoreFailed", &about, message).await;
        }
        let far = format!("{} of {} groups have their part of a backup of {from}", done.len(), groups.len());
        if let Some((group, problem)) = failed.first() {
            return waits("Failed", format!("{far}; the restore of {group} failed and is tried again: {problem}"));
        }
        if !goes.is_empty() {
            return waits("Restoring", format!("{far}; {}", goes.join("; ")));
        }
        let note = format!("restored the parts of a backup of {from}: {}", done.join(", "));
        self.shared.events.normal(self.instance, "Restored", "restore", note.clone()).await;
        (Some("its processes may start now".to_owned()), finding(ConditionStatus::True, "Restored", &note))
    }

    /// When the instance was asked for, to the end of the second it is told in.
    fn asked_at(&self) -> Timestamp {
        let created = self.instance.metadata.creation_timestamp.as_ref();
        let end = created.and_then(|time| time.0.checked_add(SignedDuration::from_millis(999)).ok());
        end.unwrap_or(Timestamp::MAX)
    }

    /// How often putting a part into a group has failed.
    fn tries(&self, group: &str) -> u32 {
        self.remembered.attempts.get(&tries_of(group)).copied().unwrap_or(0)
    }

    /// Where data is to be proven: once in each of these components, or in each group of one whose groups have data of their own.
    pub(super) fn proven_in<'g>(
        going: &'g Going,
        components: &'g [Option<ComponentName>],
    ) -> Vec<(Option<&'g ComponentName>, Option<&'g str>)> {
        let parted = methods::parted(&going.package, &going.resolved);
        let main = going.package.main_component();
        let places = components.iter().map(Option::as_ref).flat_map(|component| {
            let parted = parted.filter(|parted| component.or(main) == Some(&parted.name));
            let groups = parted.map_or_else(|| vec![None], |parted| groups(parted).into_iter().map(Some).collect());
            groups.into_iter().map(move |group| (component, group))
        });
        places.collect()
    }
}

fn tries_of(group: &str) -> String {
    format!("{RESTORED}/{group}")
}
