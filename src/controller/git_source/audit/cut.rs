//! An audit branch that others cut: what people are told of it, and how they say that they know.

use crate::api::conditions::{self, Condition, ConditionStatus, Finding};
use crate::api::git_source::{AuditRewrite, AuditStatus};
use crate::api::labels::ACCEPT_AUDIT_REWRITE as ACCEPT_CUT;

/// What people are told of a branch that others cut.
pub fn told_of(cut: &AuditRewrite) -> String {
    let short = |id: &str| id.chars().take(10).collect::<String>();
    let found =
        cut.found.as_deref().map_or_else(|| "it was gone".to_owned(), |id| format!("its tip was {}", short(id)));
    format!(
        "somebody rewrote the audit branch: {} was on it and is not any more, {found} at {}. What is applied is recorded \
         anew; what was recorded in between is lost unless somebody has a clone. Find out who can push there, look with \
         midship audit verify, and set the annotation {ACCEPT_CUT}: {} on the GitSource to say that it is known",
        short(&cut.before),
        cut.at,
        cut.before
    )
}

/// Others cut the audit branch.
const REWRITTEN: &str = "AuditRewritten";

/// The condition that says whether the branch lost what was pushed; none where that never happened.
pub fn finding(status: &AuditStatus, before: &[Condition]) -> Option<Finding> {
    if let Some(cut) = &status.rewritten {
        return Some(Finding::new(REWRITTEN, ConditionStatus::True, "Rewritten", told_of(cut)));
    }
    let message = "somebody agreed to what was cut off; what was recorded since is on the branch";
    let known = || Finding::new(REWRITTEN, ConditionStatus::False, "Known", message);
    conditions::find(before, REWRITTEN).map(|_| known())
}
