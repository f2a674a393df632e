//! Whose turn it is.

use serde_json::json;

use crate::api::operation::{OperationPhase, OperationStatus, OperationType};
use crate::api::{API_VERSION, Operation};
use crate::plan::operation::turn::ahead;

fn operation(name: &str, created: &str, status: Option<&OperationStatus>) -> Operation {
    let object = json!({
        "apiVersion": API_VERSION, "kind": "Operation",
        "metadata": { "name": name, "uid": name, "creationTimestamp": format!("2026-03-01T12:00:{created}Z") },
        "spec": { "instance": "cache", "type": "Restart" },
        "status": status,
    });
    serde_json::from_value(object).expect("an operation")
}

fn first(me: &Operation, all: &[Operation]) -> Option<String> {
    ahead(me, all.iter(), |one| one.status.clone().unwrap_or_default(), false)
}

#[test]
fn operations_on_an_instance_go_in_the_order_they_were_asked_for() {
    let all = [operation("c", "01", None), operation("a", "02", None), operation("b", "02", None)];
    assert_eq!(first(&all[0], &all), None);
    assert_eq!(first(&all[1], &all).as_deref(), Some("c"));
    assert_eq!(first(&all[2], &all).as_deref(), Some("c"));
    assert_eq!(first(&all[2], &all[1..]).as_deref(), Some("a"));
}

#[test]
fn who_began_goes_on_and_who_ended_is_in_nobodys_way() {
    let begun = OperationStatus {
        started_at: Some("2026-03-01T12:01:00Z".to_owned()),
        phase: Some(OperationPhase::Paused),
        ..OperationStatus::default()
    };
    let over = OperationStatus { phase: Some(OperationPhase::Failed), ..begun.clone() };
    let all = [operation("a", "01", None), operation("b", "02", Some(&begun)), operation("c", "00", Some(&over))];
    assert_eq!(first(&all[0], &all).as_deref(), Some("b"));
    assert_eq!(first(&all[1], &all), None);
}

#[test]
fn who_is_suspended_before_it_began_lets_others_pass() {
    let mut all = [operation("a", "01", None), operation("b", "02", None)];
    all[0].spec.suspend = Some(true);
    assert_eq!(first(&all[1], &all), None);
}

#[test]
fn who_waits_for_the_end_of_a_change_lets_those_pass_that_do_not() {
    let mut all = [operation("restart", "01", None), operation("stop", "02", None), operation("reload", "03", None)];
    all[1].spec.type_ = OperationType::Process;
    all[2].spec.type_ = OperationType::Reload;
    let first = |me: usize, changes| ahead(&all[me], all.iter(), |_| OperationStatus::default(), changes);
    assert_eq!((first(1, false).as_deref(), first(1, true)), (Some("restart"), None));
    assert_eq!((first(2, true).as_deref(), first(0, true)), (Some("restart"), None));
}
