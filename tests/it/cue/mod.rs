//! Rules in CUE, checked by the real program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use midship::cue::{Cue, Limits};
use midship::extension::cue::{CueCheck, Objection};
use midship::extension::{Package, PackageFiles, proof};
use serde_json::json;

use crate::harness::midship;

fn program() -> PathBuf {
    let tool = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/tool");
    let output = Command::new(tool).arg("cue").output().expect("the tool runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// What a value is told that breaks rules.
fn broken(answer: Result<(), Objection>) -> Vec<String> {
    match answer {
        Err(Objection::Broken(errors)) => errors,
        other => panic!("{other:?}"),
    }
}

const RULES: &str = "#Parameters: {\n\tlow: int & >=1\n\thigh: int & >=low\n\tmode: \"a\" | \"b\"\n\t...\n}\n";

#[test]
fn values_that_do_not_fit_together_are_refused_by_name() {
    let cue = Cue::new(program(), Limits::default());
    assert_eq!(cue.check(RULES, &json!({ "low": 1, "high": 2, "mode": "a", "other": [1] })), Ok(()));
    let errors = broken(cue.check(RULES, &json!({ "low": 3, "high": 2, "mode": "a" })));
    assert_eq!(errors, ["parameter high: invalid value 2 (out of bound >=3)"]);
    let errors = broken(cue.check(RULES, &json!({ "low": 1, "high": 2, "mode": "c" })));
    assert!(errors.iter().any(|error| error.starts_with("parameter mode: ")), "{errors:?}");
}

#[test]
fn the_same_question_is_answered_from_memory() {
    let cue = Cue::new(program(), Limits::default());
    let value = json!({ "low": 1, "high": 2, "mode": "a" });
    assert_eq!(cue.check(RULES, &value), Ok(()));
    let begun = Instant::now();
    for _ in 0..1000 {
        assert_eq!(cue.check(RULES, &value), Ok(()));
    }
    // to ask the program so often would take far longer
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// Small rules that become a hundred million values.
fn bomb() -> String {
    let mut bomb = String::from("a0: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n");
    for level in 1..9 {
        let before = level - 1;
        bomb.push_str(&format!("a{level}: [for x in a{before} for y in a0 {{x: x, y: y}}]\n"));
    }
    bomb.push_str("#Parameters: {...}\n");
    bomb
}

/// Limits of which only the one that is given can be reached.
fn limits(memory: Option<u64>, cpu: Option<u64>, seconds: Option<u64>) -> Limits {
    Limits {
        memory: memory.unwrap_or(64 << 10) << 20,
        cpu: cpu.unwrap_or(3600),
        time: Duration::from_secs(seconds.unwrap_or(3600)),
    }
}

fn costly(memory: u64, cpu: u64) -> String {
    format!("it needs more than {memory} MiB of memory or {cpu} s of processor time")
}

#[test]
fn rules_that_eat_memory_processor_time_or_patience_are_stopped() {
    let check = |limits| Cue::new(program(), limits).check(&bomb(), &json!({}));
    assert_eq!(check(limits(Some(128), None, None)), Err(Objection::Costly(costly(128, 3600))));
    assert_eq!(check(limits(None, Some(1), None)), Err(Objection::Costly(costly(64 << 10, 1))));
    let slow = "it took longer than 1 s; make the rules simpler, or give more processor time where they are checked"
        .to_owned();
    assert_eq!(check(limits(None, None, Some(1))), Err(Objection::Unchecked(slow)));
}

#[test]
fn a_package_with_rules_that_cost_too_much_is_wrong_and_one_that_nobody_waited_for_is_not() {
    let manifest = "type: demo\nversion: 1.0.0\nversions: [{version: \"1\", image: \"demo:1\"}]\n\
                    components: {server: {command: [demo], ports: {client: 7000}, rules: {cue: params/rules.cue}, parameters: {low: {type: integer}}}}\n";
    let files = [("extension.yaml", manifest.to_owned()), ("params/rules.cue", bomb())];
    let files = files.map(|(path, text)| (path.to_owned(), text.into_bytes()));
    let package = Package::load(PackageFiles::new(files).expect("plain files"));
    let package = package.unwrap_or_else(|problems| panic!("{problems}"));
    let judge = |limits| proof::check(&package, &Cue::new(program(), limits));

    for (limits, why) in
        [(limits(Some(128), None, None), costly(128, 3600)), (limits(None, Some(1), None), costly(64 << 10, 1))]
    {
        let judged = judge(limits);
        let told: Vec<String> = judged.problems.iter().map(ToString::to_string).collect();
        assert_eq!(told, [format!("params/rules.cue:1:1: cannot be checked: {why}")]);
        assert_eq!(judged.unchecked, None);
    }
    let judged = judge(limits(None, None, Some(1)));
    assert!(judged.problems.is_empty(), "{:?}", judged.problems);
    let why = "the rules of server could not be checked: it took longer than 1 s; make the rules simpler, or give more \
               processor time where they are checked";
    assert_eq!(judged.unchecked.as_deref(), Some(why));
}

#[test]
fn rules_that_are_no_cue_say_so() {
    let cue = Cue::new(program(), Limits::default());
    for (rules, line, reason) in [
        ("#Parameters: {", 1, "expected '}', found 'EOF'"),
        ("#Parameters: {\n\tlow: <=hihg\n\thigh: int\n}", 2, "reference \"hihg\" not found"),
        ("#Parameters: {\n\tlow: int & string\n}", 2, "conflicting values int and string"),
    ] {
        match cue.check(rules, &json!({})) {
            Err(Objection::Wrong(mistakes)) => {
                let found = mistakes.iter().any(|one| one.line == line && one.reason.contains(reason));
                assert!(found, "{mistakes:?}");
            }
            other => panic!("{rules}: {other:?}"),
        }
    }
}

#[test]
fn the_packages_pass_their_own_tests_with_their_rules_checked() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let others = ["tests/packages/brokers", "tests/packages/pooled", "tests/packages/sharded"];
    let folders = ["extensions"].into_iter().chain(others).map(|folder| root.join(folder));
    let tested = midship().args(["extension", "test"]).args(folders).env("MIDSHIP_CUE", program()).output();
    assert_eq!((tested.code, tested.stderr.as_str()), (0, ""), "{tested}");
    let verdicts: Vec<&str> = tested.stdout.lines().skip(1).collect();
    assert!(verdicts.len() > 50, "{tested}");
    let not_ok = verdicts.iter().filter(|line| line.split_whitespace().nth(1) != Some("ok"));
    assert_eq!(not_ok.collect::<Vec<_>>(), [] as [&&str; 0], "a rule that nobody checked shows nothing");
}
