//! A container's worth of the agent: the real program with a configuration, a socket and a directory of its own.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use midship::agent::ctl::{Client, CtlError};
use midship::agent::init::protocol::{Code, Op, OrderResult, Problem, Request, Status};
use midship::agent::init::state::Shown;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::skip;

/// What runs in the container of the middleware.
pub const AGENT: &str = env!("CARGO_BIN_EXE_midship-init");
/// Nothing here takes nearly as long; a busy machine may.
pub const LONG: Duration = Duration::from_secs(30);

/// How the process manager is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An ordinary process.
    Here,
    /// The real PID 1 of a pid namespace, as in a container.
    Namespace,
}

pub struct Pod {
    pub dir: TempDir,
    outer: Child,
    /// The process manager, as we see it.
    pub init: i32,
    place: Place,
}

/// A program that obeys and is there at once.
pub fn sleeper() -> Value {
    json!({ "command": ["sleep", "1000"] })
}

pub fn shell(script: &str) -> Value {
    json!({ "command": ["sh", "-c", script] })
}

/// `base` with the fields of `more`.
pub fn with(mut base: Value, more: Value) -> Value {
    let (Value::Object(base_map), Value::Object(more)) = (&mut base, more) else { panic!("both are objects") };
    base_map.extend(more);
    base
}

/// Runs a test as an ordinary process and as the real PID 1; the latter is skipped by name where namespaces are denied.
pub fn everywhere(name: &str, test: impl Fn(Place)) {
    test(Place::Here);
    if namespaces_work() {
        test(Place::Namespace);
    } else {
        skip(name, "its half as PID 1: this machine lets us make no pid namespace");
    }
}

pub fn namespaces_work() -> bool {
    unshare(&["--pid", "--fork", "--mount-proc"]).arg("true").stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// `unshare`, in a user namespace where we are not root.
pub fn unshare(options: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.arg("-r");
    }
    command.args(options);
    command
}

/// Looks until it is so.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => assert!(start.elapsed() < LONG, "waited {LONG:?} for {what}\n  last seen: {seen}"),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Measures until one attempt took less time than this: on a busy machine any of them may be held up.
#[track_caller]
pub fn quick(what: &str, most: Duration, mut attempt: impl FnMut() -> Duration) {
    let mut all = Vec::new();
    while all.len() < 20 {
        let took = attempt();
        println!("{what}: {took:?}");
        if took < most {
            return;
        }
        all.push(took);
    }
    panic!("{what}: {all:?}, and none within {most:?}");
}

/// Waits for a file.
#[track_caller]
pub fn appears(path: &Path) {
    until(&path.display().to_string(), || if path.exists() { Ok(()) } else { Err("it is not there".to_owned()) });
}

impl Pod {
    pub fn start(config: &Value) -> Self {
        Self::start_in(Place::Here, config)
    }

    pub fn start_in(place: Place, config: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("process.json"), config);
        Self::again(dir, place)
    }

    /// A new process manager where another one was before.
    pub fn again(dir: TempDir, place: Place) -> Self {
        let program = match place {
            Place::Here => Command::new(AGENT),
            Place::Namespace => {
                let mut command = unshare(&["--pid", "--fork", "--mount-proc", "--kill-child"]);
                command.arg(AGENT);
                command
            }
        };
        Self::run(dir, place, program)
    }

    /// With what comes before `init` on the command line given.
    pub fn run(dir: TempDir, place: Place, mut program: Command) -> Self {
        let (config, socket) = (dir.path().join("process.json"), dir.path().join("init.sock"));
        program.arg("init").arg("--config").arg(config).arg("--socket").arg(&socket);
        let log = |name: &str| {
            fs::OpenOptions::new().append(true).create(true).open(dir.path().join(name)).expect("a file for output")
        };
        program.stdin(Stdio::null()).stdout(log("stdout")).stderr(log("stderr"));
        let outer = program.spawn().unwrap();
        let mut pod = Self { dir, init: outer.id().cast_signed(), outer, place };
        until("the control socket", || {
            Client::connect(&socket, LONG).map_err(|error| format!("{error}: {}", pod.log()))
        });
        if pod.place == Place::Namespace {
            pod.init = until("PID 1", || children(pod.init).first().copied().ok_or("no child".to_owned()));
        }
        pod
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("init.sock")
    }

    /// What is in a file of the pod's directory; nothing where there is none.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub fn log(&self) -> String {
        self.read("stderr")
    }

    /// Replaces the configuration, all at once.
    pub fn configure(&self, config: &Value) {
        write(&self.path("new.json"), config);
        fs::rename(self.path("new.json"), self.path("process.json")).unwrap();
    }

    pub fn ask(&self, request: &Request) -> Result<Value, Problem> {
        // an order is answered when it is carried out, and a database may take its time to stop
        match Client::connect(&self.socket(), LONG * 4).and_then(|mut client| client.ask(request)) {
            Ok(answer) => Ok(answer),
            Err(CtlError::Refused(problem)) => Err(problem),
            Err(error) => panic!("{error}\n{}", self.log()),
        }
    }

    pub fn order(&self, op: Op) -> OrderResult {
        match self.ask(&Request::new(op)) {
            Ok(answer) => serde_json::from_value(answer).unwrap(),
            Err(problem) => panic!("{op:?}: {problem:?}\n{}", self.log()),
        }
    }

    pub fn refused(&self, request: &Request) -> Code {
        self.ask(request).expect_err("this must be refused").code
    }

    pub fn status(&self) -> Status {
        serde_json::from_value(self.ask(&Request::new(Op::Status)).unwrap()).unwrap()
    }

    #[track_caller]
    pub fn wait(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
        until(what, || {
            let status = self.status();
            if holds(&status) { Ok(status) } else { Err(format!("{status:?}\n{}", self.log())) }
        })
    }

    #[track_caller]
    pub fn wait_state(&self, state: Shown) -> Status {
        self.wait(&format!("state {state:?}"), |status| status.state == state)
    }

    #[track_caller]
    pub fn wait_ready(&self) -> Status {
        self.wait_state(Shown::Ready)
    }

    /// The process as we see it, whose pid may be another one in the pod.
    pub fn outside(&self, pid: i32) -> i32 {
        match self.place {
            Place::Here => pid,
            Place::Namespace => *descendants(self.init)
                .iter()
                .find(|outside| inner_pid(**outside) == Some(pid))
                .unwrap_or_else(|| panic!("no process {pid} in the pod")),
        }
    }

    pub fn kill_process(&self, signal: Signal) {
        let pid = self.outside(self.status().pid.expect("a process"));
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.init), signal).unwrap();
    }

    /// Waits for the process manager to end by itself.
    pub fn ended(&mut self) -> ExitStatus {
        until("the process manager to end", || self.outer.try_wait().unwrap().ok_or_else(|| "it runs".to_owned()))
    }

    pub fn terminate(&mut self) -> i32 {
        self.signal(Signal::SIGTERM);
        let status = self.ended();
        status.code().unwrap_or_else(|| panic!("ended by signal {:?}", status.signal()))
    }

    /// Ends it as a lost node would, and gives the directory to whoever comes next.
    pub fn lose(mut self) -> TempDir {
        self.signal(Signal::SIGKILL);
        self.ended();
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }

    /// Resident memory, in KiB.
    pub fn memory(&self) -> u64 {
        field(self.init, "VmRSS:").unwrap()
    }

    /// Processor time used, in clock ticks of 10 ms.
    pub fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.init)).unwrap();
        let rest: Vec<u64> =
            stat[stat.rfind(')').unwrap()..].split(' ').map(|word| word.parse().unwrap_or(0)).collect();
        rest[12] + rest[13]
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let left = descendants(self.init);
        let _ = kill(Pid::from_raw(self.init), Signal::SIGKILL);
        let _ = self.outer.wait();
        for pid in left {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

pub fn write(path: &Path, config: &Value) {
    fs::write(path, serde_json::to_vec_pretty(config).unwrap()).unwrap();
}

/// Whether there is such a process and it has not ended.
pub fn alive(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

/// State and parent of a process.
pub fn stat(pid: i32) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat[stat.rfind(')')? + 2..].split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

pub fn children(parent: i32) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, of)| of == parent)).collect()
}

pub fn descendants(root: i32) -> Vec<i32> {
    let mut found = children(root);
    let mut index = 0;
    while index < found.len() {
        found.extend(children(found[index]));
        index += 1;
    }
    found
}

/// A number from /proc/PID/status.
pub fn field(pid: i32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// The pid that a process has in its innermost namespace.
fn inner_pid(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().last()?.parse().ok()
}
