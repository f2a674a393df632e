//! Rules in CUE, in a running controller: what breaks them is refused; what cannot be checked waits.

use std::path::{Path, PathBuf};

use midship::api::conditions::find;
use midship::api::instance::Phase;
use serde_json::{Value, json};

use super::kit::{kit_test, kit_test_with};
use crate::api::controller::process::Controller;

fn with_cache(size: &str) -> Value {
    json!({ "version": "4", "components": [{ "name": "data", "parameters": { "cache": size } }] })
}

#[test]
fn values_that_break_the_rules_are_refused_by_name() {
    kit_test(async |kit| {
        kit.install_other("sharded").await;
        kit.instance("docs", with_cache("9Gi")).await;
        let status = kit.becomes("docs", "Invalid").await;
        let message = &find(&status.conditions, "Stalled").expect("somebody has to act").message;
        assert!(message.starts_with("spec.components[data].parameters: parameter cache: invalid value"), "{message}");
        kit.patch("docs", json!({ "spec": with_cache("1Gi") })).await;
        kit.becomes("docs", "Creating").await;
    });
}

#[test]
fn without_the_program_that_checks_rules_an_instance_waits_and_goes_on_once_it_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let cue: PathBuf = folder.path().join("cue");
    let start = |identity: &str, kubeconfig: &Path, args: &[&str]| {
        Controller::start_with(identity, kubeconfig, args, Some(&cue))
    };
    kit_test_with(start, async |kit| {
        kit.begin_other("sharded").await;
        let unchecked = kit.extension("1.0.0", "False", "RulesUnchecked").await;
        let conditions = unchecked.status.expect("a status").conditions;
        let message = &find(&conditions, "Reconciling").expect("it is tried again").message;
        assert!(message.starts_with("the rules of data could not be checked: the program "), "{message}");
        assert!(message.contains("install cue, or name it in MIDSHIP_CUE; nothing begins to use"), "{message}");
        kit.instance("docs", with_cache("1Gi")).await;
        let status = kit.becomes("docs", "RulesUnchecked").await;
        let waits = find(&status.conditions, "Reconciling").expect("it waits");
        assert!(waits.message.contains("install cue, or name it in MIDSHIP_CUE"), "{}", waits.message);
        assert_ne!(status.phase, Some(Phase::Failed));
        let program = std::env::var_os("MIDSHIP_TEST_BIN").expect("MIDSHIP_TEST_BIN names the programs of the tests");
        std::os::unix::fs::symlink(Path::new(&program).join("cue"), &cue).expect("a link");
        // it is tried again by itself, and who waited goes on
        kit.extension("1.0.0", "True", "Installed").await;
        kit.becomes("docs", "Creating").await;
        std::fs::remove_file(&cue).expect("the link");
        kit.patch("docs", json!({ "spec": with_cache("2Gi") })).await;
        kit.becomes("docs", "RulesUnchecked").await;
    });
}
