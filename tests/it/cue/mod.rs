//! Rules in CUE, checked by the real program.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use midship::cue::{Cue, Limits};
use midship::extension::cue::{CueCheck, Objection};
use serde_json::json;

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

#[test]
fn rules_that_eat_memory_or_time_are_stopped() {
    let limits = Limits { memory: 384 << 20, cpu: 3, time: Duration::from_secs(20) };
    let cue = Cue::new(program(), limits);
    let mut bomb = String::from("a0: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n");
    for level in 1..9 {
        let before = level - 1;
        bomb.push_str(&format!("a{level}: [for x in a{before} for y in a0 {{x: x, y: y}}]\n"));
    }
    bomb.push_str("#Parameters: {...}\n");
    let begun = Instant::now();
    let answer = cue.check(&bomb, &json!({}));
    let Err(Objection::Costly(why) | Objection::Unchecked(why)) = answer else { panic!("{answer:?}") };
    assert!(why.contains("384 MiB") || why.contains("20 s"), "{why}");
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
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
