//! Runs the `cue` program: a child with bounded memory, processor time and patience, asked once per question.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::extension::cue::{CueCheck, Mistake, Objection};

/// The variable that names the program.
pub const VARIABLE: &str = "MIDSHIP_CUE";

/// Answers that are remembered before all are forgotten.
const REMEMBERED: usize = 4096;
/// More than this nobody reads.
const MAX_ANSWER: u64 = 64 * 1024;
/// Checks at a time: so many times the memory of one may be used.
const AT_ONCE: usize = 2;
/// Errors shown of one check.
const MAX_ERRORS: usize = 20;
/// The field the checked value stands under; taken out of messages again.
const FIELD: &str = "midship_value";

/// The signal of whoever asks nobody.
const KILL: i32 = 9;
/// A tick of the clock that the kernel tells processor time in.
const TICK: Duration = Duration::from_millis(10);

/// What one check may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Memory it may write to, in bytes.
    pub memory: u64,
    /// Processor time in seconds.
    pub cpu: u64,
    /// Time until an answer, long enough for the processor time to be used up first unless the machine is very busy.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 512 * 1024 * 1024, cpu: 5, time: Duration::from_secs(30) }
    }
}

type Answer = Result<(), Objection>;

/// The `cue` program.
#[derive(Debug)]
pub struct Cue {
    program: PathBuf,
    limits: Limits,
    answers: Mutex<HashMap<[u8; 32], Answer>>,
    turns: Turns,
}

/// Whoever asks waits for one of these.
#[derive(Debug, Default)]
struct Turns {
    taken: Mutex<usize>,
    given_back: Condvar,
}

/// Given back when it is dropped.
struct Turn<'a>(&'a Turns);

impl Turns {
    fn take(&self) -> Turn<'_> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken =
            self.given_back.wait_while(taken, |taken| *taken >= AT_ONCE).unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.given_back.notify_one();
    }
}

impl Default for Cue {
    /// The program `MIDSHIP_CUE` names, else `cue` in `PATH`.
    fn default() -> Self {
        let program = std::env::var_os(VARIABLE).filter(|program| !program.is_empty());
        Self::new(program.map_or_else(|| PathBuf::from("cue"), PathBuf::from), Limits::default())
    }
}

/// Why there is no answer. Only what it would cost is remembered.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("the program {program} cannot be run: {source}; install cue, or name it in {VARIABLE}")]
    Start { program: PathBuf, source: std::io::Error },
    #[error("its limits could not be set: {0}")]
    Limit(std::io::Error),
    #[error("it could not be asked: {0}")]
    Talk(std::io::Error),
    #[error("it took longer than {0} s; make the rules simpler, or give more processor time where they are checked")]
    Slow(u64),
    #[error("it was killed before it needed what it may; give more memory where the rules are checked")]
    Killed,
    #[error("it needs more than {0} MiB of memory or {1} s of processor time")]
    Greedy(u64, u64),
}

impl Cue {
    pub fn new(program: PathBuf, limits: Limits) -> Self {
        Self { program, limits, answers: Mutex::default(), turns: Turns::default() }
    }

    fn ask(&self, question: &str, lines: usize) -> Result<Answer, NoAnswer> {
        let mut command = Command::new(&self.program);
        // nothing of ours is the rules' business, and no rule fetches anything
        command.env_clear().env("CUE_REGISTRY", "none").env("HOME", "/nonexistent").env("GOMAXPROCS", "1");
        // the program is looked for in the PATH it is given
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.args(["vet", "-c", "cue:", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| NoAnswer::Start { program: self.program.clone(), source })?;
        // it waits for its question, so the limits are there before it can use anything
        let outcome = self.limit(&child).map_err(NoAnswer::Limit).and_then(|()| self.talk(&mut child, question, lines));
        if outcome.is_err() {
            let _ = child.kill();
        }
        let _ = child.wait();
        outcome
    }

    fn limit(&self, child: &Child) -> std::io::Result<()> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let to = |limit: u64| Rlimit { current: Some(limit), maximum: Some(limit) };
        prlimit(pid, Resource::Data, to(self.limits.memory))?;
        // it is stopped before that, by whoever waits for it: the kernel would not say why it did
        prlimit(pid, Resource::Cpu, to(self.limits.cpu.saturating_mul(2)))?;
        prlimit(pid, Resource::Core, to(0))?;
        prlimit(pid, Resource::Fsize, to(0))?;
        Ok(())
    }

    fn talk(&self, child: &mut Child, question: &str, lines: usize) -> Result<Answer, NoAnswer> {
        let (Some(mut input), Some(errors)) = (child.stdin.take(), child.stderr.take()) else {
            return Ok(Ok(()));
        };
        let reader = std::thread::spawn(move || {
            let mut answer = String::new();
            let mut errors = errors.take(MAX_ANSWER);
            let mut bytes = Vec::new();
            if errors.read_to_end(&mut bytes).is_ok() {
                answer = String::from_utf8_lossy(&bytes).into_owned();
            }
            // what is longer is read and dropped, so that the program is not held up
            let _ = std::io::copy(&mut errors.into_inner(), &mut std::io::sink());
            answer
        });
        let question = question.to_owned();
        let writer = std::thread::spawn(move || input.write_all(question.as_bytes()));
        let greedy = || NoAnswer::Greedy(self.limits.memory >> 20, self.limits.cpu);
        let end = Instant::now() + self.limits.time;
        let status = loop {
            match child.try_wait().map_err(NoAnswer::Talk)? {
                Some(status) => break status,
                None if used(child).map_err(NoAnswer::Talk)?.as_secs() >= self.limits.cpu => return Err(greedy()),
                None if Instant::now() >= end => return Err(NoAnswer::Slow(self.limits.time.as_secs())),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let answer = reader.join().unwrap_or_default();
        // a program that ended before it read everything says itself why
        let _ = writer.join();
        match status.code() {
            Some(0) => Ok(Ok(())),
            Some(1) => Ok(Err(readable(&answer, lines))),
            // by a node that is short of memory, and not by us: without the memory it may use, it ends with a code
            None if status.signal() == Some(KILL) => Err(NoAnswer::Killed),
            _ => Err(greedy()),
        }
    }
}

/// The processor time that a child has used.
fn used(child: &Child) -> std::io::Result<Duration> {
    let stat = std::fs::read(format!("/proc/{}/stat", child.id()))?;
    let stat = String::from_utf8_lossy(&stat);
    // the program's name stands in parentheses, and anything may stand in it
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: Result<Vec<u32>, _> = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>).collect();
    match ticks.as_deref() {
        Ok([user, system]) => Ok(TICK * user.saturating_add(*system)),
        _ => Err(std::io::Error::other("its processor time cannot be read")),
    }
}

impl CueCheck for Cue {
    fn check(&self, source: &str, value: &Value) -> Result<(), Objection> {
        // JSON is CUE, so one text holds both
        let question = format!("{source}\n{FIELD}: #Parameters & {value}\n");
        let key: [u8; 32] = Sha256::digest(question.as_bytes()).into();
        let remembered = self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(answer) = remembered {
            return answer;
        }
        let turn = self.turns.take();
        let asked = self.ask(&question, source.lines().count().max(1));
        drop(turn);
        let answer = match asked {
            Ok(answer) => answer,
            Err(error @ NoAnswer::Greedy(..)) => Err(Objection::Costly(error.to_string())),
            Err(error) => return Err(Objection::Unchecked(error.to_string())),
        };
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= REMEMBERED {
            answers.clear();
        }
        answers.insert(key, answer.clone());
        answer
    }
}

/// `parameter max: invalid value 2 (out of bound >=3)` for each error of the value. Errors that do not begin with the value
/// are those of the rules, which have `lines` lines: a text that does not end ends in ours.
fn readable(answer: &str, lines: usize) -> Objection {
    let mut broken = Vec::new();
    let mut wrong: Vec<Mistake> = Vec::new();
    let mut placed = true;
    for line in answer.lines().filter(|line| !line.trim().is_empty()) {
        if line.starts_with(' ') {
            // the first place is where it is written; others say what it clashes with
            if let Some(mistake) = wrong.last_mut().filter(|_| !placed)
                && let Some((line, column)) = place(line)
            {
                placed = true;
                (mistake.line, mistake.column) = if line > lines { (lines, 0) } else { (line, column) };
            }
            continue;
        }
        let line = line.trim_end_matches(':');
        placed = true;
        if let Some(rest) = line.strip_prefix(FIELD) {
            broken.push(format!("parameter {}", rest.trim_start_matches('.')));
        } else {
            placed = false;
            wrong.push(Mistake { line: 1, column: 1, reason: line.to_owned() });
        }
    }
    wrong.truncate(MAX_ERRORS);
    broken.truncate(MAX_ERRORS);
    if !wrong.is_empty() {
        return Objection::Wrong(wrong);
    }
    if broken.is_empty() {
        broken.push("the rules are not fulfilled".to_owned());
    }
    Objection::Broken(broken)
}

/// Line and column of `    -:3:11`.
fn place(line: &str) -> Option<(usize, usize)> {
    let (line, column) = line.trim().strip_prefix("-:")?.split_once(':')?;
    Some((line.parse().ok()?, column.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::*;

    /// What is said of rules where a shell does this in place of the program, having a second of processor time.
    fn ended(how: &str) -> Objection {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("cue (of a test)");
        std::fs::write(&program, format!("#!/bin/sh\nread -r question\n{how}\n")).expect("a program");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("one that can be run");
        let cue = Cue::new(program, Limits { cpu: 1, ..Limits::default() });
        cue.check("#Parameters: _", &json!({})).expect_err("it says nothing of the rules")
    }

    #[test]
    fn a_program_that_somebody_else_kills_was_not_too_costly() {
        let killed = "it was killed before it needed what it may; give more memory where the rules are checked";
        assert_eq!(ended("kill -KILL $$"), Objection::Unchecked(killed.to_owned()));
        let costly = "it needs more than 512 MiB of memory or 1 s of processor time";
        assert_eq!(ended("while :; do :; done"), Objection::Costly(costly.to_owned()));
        assert_eq!(ended("exit 2"), Objection::Costly(costly.to_owned()));
    }

    #[test]
    fn errors_name_the_parameter() {
        let answer = "midship_value.b: invalid value 2 (out of bound >=3):\n    -:3:11\n    -:7:12\n";
        let expected = Objection::Broken(vec!["parameter b: invalid value 2 (out of bound >=3)".to_owned()]);
        assert_eq!(readable(answer, 5), expected);
    }

    #[test]
    fn errors_of_the_rules_have_a_place_in_them() {
        let answer = "#Parameters.b: reference \"c\" not found:\n    -:3:11\n    -:2:1\nexpected '}', found 'EOF':\n    -:7:33\n";
        let mistake = |line, column, reason: &str| Mistake { line, column, reason: reason.to_owned() };
        let expected = vec![
            mistake(3, 11, "#Parameters.b: reference \"c\" not found"),
            mistake(5, 0, "expected '}', found 'EOF'"),
        ];
        assert_eq!(readable(answer, 5), Objection::Wrong(expected));
    }

    #[test]
    fn a_program_that_is_not_there_says_what_to_do() {
        let cue = Cue::new(PathBuf::from("/nonexistent/cue"), Limits::default());
        let Err(Objection::Unchecked(why)) = cue.check("#Parameters: _", &json!({})) else { panic!("no program") };
        assert!(why.ends_with("install cue, or name it in MIDSHIP_CUE"), "{why}");
    }
}
