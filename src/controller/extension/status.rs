//! What an Extension says of itself: computed purely.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::read::Unusable;
use crate::api::ExtensionStatus;
use crate::api::conditions::{ConditionStatus, Finding, READY, RECONCILING, STALLED, merge};
use crate::extension::Package;
use crate::extension::describe::Summary;

/// How many of those that hold a deletion are named.
const NAMED: usize = 5;

/// What there is to say.
pub enum Verdict<'a> {
    Ready(&'a Package),
    Unusable(&'a Unusable),
    /// Its deletion waits for these instances.
    Held(&'a [String]),
}

/// The status that follows.
pub fn next(
    before: &ExtensionStatus,
    generation: Option<i64>,
    verdict: &Verdict<'_>,
    instances: usize,
    now: &Time,
) -> ExtensionStatus {
    let mut status = before.clone();
    status.observed_generation = generation;
    status.instances = Some(i32::try_from(instances).unwrap_or(i32::MAX));
    let findings = match verdict {
        Verdict::Ready(package) => {
            let summary = Summary::of(&package.manifest);
            status.summary = Some(summary.line());
            status.description = Some(summary.description).filter(|text| !text.is_empty());
            status.versions = summary.versions;
            status.topologies = summary.topologies;
            status.upgradable_from = summary.upgradable_from;
            status.errors = Vec::new();
            vec![Finding::new(READY, ConditionStatus::True, "Installed", "it can be used")]
        }
        Verdict::Unusable(unusable) => {
            status.errors.clone_from(&unusable.errors);
            let also = if unusable.passing { RECONCILING } else { STALLED };
            vec![
                Finding::new(READY, ConditionStatus::False, unusable.reason, &unusable.message),
                Finding::new(also, ConditionStatus::True, unusable.reason, &unusable.message),
            ]
        }
        Verdict::Held(by) => {
            let message = held(by);
            vec![
                Finding::new(READY, ConditionStatus::False, "DeletionHeld", &message),
                Finding::new(STALLED, ConditionStatus::True, "DeletionHeld", &message),
            ]
        }
    };
    status.conditions = merge(&before.conditions, &findings, generation, now);
    status
}

fn held(by: &[String]) -> String {
    let mut named: Vec<&str> = by.iter().take(NAMED).map(String::as_str).collect();
    let more = format!("{} more", by.len().saturating_sub(NAMED));
    if by.len() > NAMED {
        named.push(&more);
    }
    let many = if by.len() == 1 { "uses" } else { "use" };
    format!(
        "{} {many} this version; it is deleted once none does: move them to another version, or delete them",
        crate::extension::problem::listed(named)
    )
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::api::conditions::find;

    #[test]
    fn a_held_deletion_names_who_holds_it() {
        let by: Vec<String> = (0..7).map(|number| format!("shop/cache-{number}")).collect();
        let now = Time(Timestamp::UNIX_EPOCH);
        let status = next(&ExtensionStatus::default(), Some(1), &Verdict::Held(&by), 7, &now);
        let stalled = find(&status.conditions, STALLED).expect("it is stalled");
        assert!(stalled.message.starts_with("shop/cache-0, shop/cache-1"), "{}", stalled.message);
        assert!(stalled.message.contains("and 2 more use this version"), "{}", stalled.message);
        assert_eq!(held(&by[..1]).split(';').next(), Some("shop/cache-0 uses this version"));
    }
}
