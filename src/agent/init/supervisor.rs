//! The loop: waits for signals, timers, clients and files, and feeds the state machine with what has happened.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::libc;

use super::config::{Config, ConfigError, Loaded, Start};
use super::control::{ControlError, Key, Server};
use super::exec::Execution;
use super::fence::Fence;
use super::helper::{Helper, Job};
use super::log::say;
use super::memory::OomCounter;
use super::output::Pump;
use super::own_files;
use super::probe::TcpProbe;
use super::protocol::{NoticeKind, Response, Wanted};
use super::readiness::Judge;
use super::record::Record;
use super::signals;
use super::state::{self, Event, Exit, Millis, Phase, Shown, State, Ticket, Wish};
use super::sys::{self, Outcome, PollFd, READABLE, SignalFd, WRITABLE, watch};
use super::watch::Watcher;

/// How often to look whether the control socket is still in its place.
const MAINTAIN_EVERY: Millis = 2_000;
/// Ended children that are collected before everybody else has a turn again.
const REAPED_AT_ONCE: usize = 256;

/// How PID 1 was called.
pub struct Options {
    /// Read and watched; nothing where a command was given.
    pub config: Option<PathBuf>,
    pub socket: PathBuf,
    pub command: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("cannot take over signals: {0}")]
    Signals(std::io::Error),
    #[error("cannot watch over the permission to run: {0}")]
    Timer(std::io::Error),
    #[error("cannot wait for events: {0}")]
    Poll(std::io::Error),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// The hook or process that was started and not yet collected.
pub(super) struct Child {
    pub pid: i32,
    pub hook: bool,
    pub command: String,
    pub started_at: String,
    pub failure: Option<OwnedFd>,
    /// Why it did not become its program.
    pub why: Option<String>,
    /// What the kernel's counter said before.
    pub oom_kills: Option<u64>,
    pub out_of_memory: bool,
}

/// A request that is answered once the state machine says so.
pub(super) struct Waiter {
    pub ticket: Ticket,
    pub client: Key,
    pub id: u64,
}

/// What was last told to the world, to notice changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub state: Shown,
    pub pid: Option<i32>,
    pub since: String,
}

pub(super) struct Init {
    origin: Instant,
    signals: SignalFd,
    pub(super) config_path: Option<PathBuf>,
    pub(super) config: Option<Rc<Loaded>>,
    pub(super) config_error: Option<String>,
    pub(super) config_loaded_at: Option<String>,
    watcher: Option<Watcher>,
    pub(super) state: State,
    /// What the process was started from, or is about to be.
    pub(super) launch: Option<Rc<Loaded>>,
    /// `launch` was chosen by the first hook of this start.
    pub(super) launch_fixed: bool,
    pub(super) child: Option<Child>,
    /// The one that has just been collected.
    pub(super) ended_child: Option<Child>,
    pub(super) helpers: Vec<Helper>,
    pub(super) execs: Vec<Execution>,
    pub(super) judge: Judge,
    pub(super) judged: Option<i32>,
    pub(super) probe: Option<TcpProbe>,
    pub(super) server: Server,
    pub(super) fence: Fence,
    maintain_at: Millis,
    socket_error: Option<String>,
    pub(super) waiters: Vec<Waiter>,
    /// What to tell whom once it is written down.
    pub(super) answers: Vec<(Key, Response)>,
    pub(super) next_ticket: Ticket,
    pub(super) pump: Option<Pump>,
    pub(super) oom: OomCounter,
    pub(super) record: Record,
    record_path: PathBuf,
    saved: Option<Record>,
    pub(super) notices: VecDeque<(u64, String)>,
    pub(super) next_notice: u64,
    pub(super) told: Told,
    pub(super) started_at: String,
    /// Something was done since the last pause.
    pub(super) busy: bool,
    quit: Option<i32>,
}

/// Runs until the process has ended for good or PID 1 is told to end; returns the exit code.
pub fn run(options: Options) -> Result<i32, InitError> {
    let mut init = Init::new(options)?;
    let code = init.serve()?;
    init.leave(code);
    Ok(code)
}

/// The time of day, as it is written in answers.
pub(super) fn wall() -> String {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now).to_string()
}

impl Init {
    fn new(options: Options) -> Result<Self, InitError> {
        let signals = SignalFd::new().map_err(InitError::Signals)?;
        if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
            say(&format!("orphans go elsewhere: cannot become their reaper: {}", error.desc()));
        }
        let command = if options.command.is_empty() { None } else { Some(Config::ad_hoc(&options.command)?) };
        let origin = Instant::now();
        let record_path = options.socket.with_extension("state.json");
        let now = wall();
        let mut init = Self {
            origin,
            signals,
            watcher: options.config.as_deref().map(|path| Watcher::new(path, 0)),
            config_path: options.config,
            config: None,
            config_error: None,
            config_loaded_at: None,
            state: State::default(),
            launch: None,
            launch_fixed: false,
            child: None,
            ended_child: None,
            helpers: Vec::new(),
            execs: Vec::new(),
            judge: Judge::default(),
            judged: None,
            probe: None,
            server: Server::new(&options.socket),
            fence: Fence::start().map_err(InitError::Timer)?,
            maintain_at: MAINTAIN_EVERY,
            socket_error: None,
            waiters: Vec::new(),
            answers: Vec::new(),
            next_ticket: 1,
            pump: None,
            oom: OomCounter::find(),
            record: Record::load(&record_path).resume(&now),
            record_path,
            saved: None,
            notices: VecDeque::new(),
            next_notice: 1,
            told: Told { state: Shown::Failed, pid: None, since: now.clone() },
            started_at: now,
            busy: true,
            quit: None,
        };
        init.state.starts = init.record.starts;
        init.listen(true)?;
        match command {
            Some(loaded) => init.configure(loaded),
            None => init.reload_config(),
        }
        Ok(init)
    }

    pub(super) fn now(&self) -> Millis {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The time of day at a moment of our own clock.
    pub(super) fn wall_at(&self, moment: Millis) -> String {
        let from_now = Duration::from_millis(moment.saturating_sub(self.now()));
        Timestamp::now()
            .checked_add(from_now)
            .and_then(|at| Timestamp::from_millisecond(at.as_millisecond()))
            .map(|at| at.to_string())
            .unwrap_or_default()
    }

    fn serve(&mut self) -> Result<i32, InitError> {
        let mut fds = Vec::with_capacity(48);
        let mut more = false;
        while self.quit.is_none() {
            let timeout = if more { 0 } else { self.next_due().saturating_sub(self.now()) };
            self.watched(&mut fds);
            sys::poll(&mut fds, Some(timeout)).map_err(InitError::Poll)?;
            self.look_at_fuse();
            self.take_signals();
            more = self.reap();
            self.look(&fds);
            self.timers();
        }
        Ok(self.quit.unwrap_or(0))
    }

    /// What to wait for. [`Self::look`] goes through it in the same order.
    fn watched(&self, fds: &mut Vec<PollFd>) {
        fds.clear();
        fds.push(watch(self.signals.as_raw_fd(), READABLE));
        fds.push(watch(self.fence.as_raw_fd(), READABLE));
        let failure = self.child.as_ref().and_then(|child| child.failure.as_ref());
        fds.push(watch(failure.map_or(-1, AsRawFd::as_raw_fd), READABLE));
        fds.push(watch(self.probe.as_ref().map_or(-1, TcpProbe::fd), WRITABLE));
        fds.push(watch(self.watcher.as_ref().and_then(Watcher::fd).unwrap_or(-1), READABLE));
        self.server.watched(self.now(), fds);
        fds.extend(self.helpers.iter().filter_map(Helper::fd).map(|fd| watch(fd, READABLE)));
        fds.extend(self.execs.iter().flat_map(Execution::fds).map(|fd| watch(fd, READABLE)));
    }

    fn look(&mut self, fds: &[PollFd]) {
        let now = self.now();
        let [_, _, failure, probe, config, rest @ ..] = fds else { return };
        for helper in &mut self.helpers {
            if rest.iter().any(|fd| Some(fd.fd) == helper.fd() && fd.revents != 0) {
                helper.listen();
            }
        }
        for execution in &mut self.execs {
            let heard = execution.fds().any(|own| rest.iter().any(|fd| fd.fd == own && fd.revents != 0));
            if heard {
                execution.listen();
            }
        }
        if failure.revents != 0 {
            self.hear_child();
        }
        if probe.revents != 0 {
            self.probe_answered();
        }
        if config.revents != 0
            && let Some(watcher) = &mut self.watcher
        {
            watcher.told(now);
        }
        for (client, request) in self.server.serve(rest, now) {
            self.request(client, &request);
        }
    }

    fn next_due(&self) -> Millis {
        let now = self.now();
        [
            self.state.wake_at(),
            self.server.due(now),
            self.check_due(),
            self.watcher.as_ref().map(Watcher::due),
            Some(self.maintain_at),
        ]
        .into_iter()
        .flatten()
        .chain(self.helpers.iter().map(|helper| helper.kill_at))
        .chain(self.execs.iter().map(|execution| execution.kill_at))
        .min()
        .unwrap_or(now)
    }

    fn timers(&mut self) {
        let now = self.now();
        if self.state.wake_at().is_some_and(|at| now >= at) {
            self.step(Event::Tick);
        }
        for helper in self.helpers.iter_mut().filter(|helper| now >= helper.kill_at) {
            helper.kill(now);
        }
        self.end_execs();
        self.run_checks();
        if self.watcher.as_mut().is_some_and(|watcher| now >= watcher.due() && watcher.changed(now)) {
            self.reload_config();
        }
        if now >= self.maintain_at {
            self.maintain_at = now.saturating_add(MAINTAIN_EVERY);
            // refused only at the start, when somebody else may be there
            let _ = self.listen(false);
            if std::mem::take(&mut self.busy) {
                sys::forget_code();
            }
        }
    }

    /// Looked at before anything else, however late we are.
    pub(super) fn look_at_fuse(&mut self) {
        if self.state.fuse.is_some_and(|at| sys::boottime() >= at) {
            self.step(Event::Burnt);
        }
    }

    fn listen(&mut self, first: bool) -> Result<(), InitError> {
        match self.server.maintain() {
            Ok(()) => self.socket_error = None,
            Err(error @ ControlError::InUse { .. }) if first => return Err(error.into()),
            Err(error) => {
                let error = error.to_string();
                if self.socket_error.as_ref() != Some(&error) {
                    say(&format!("nobody can control the process: {error}"));
                    self.socket_error = Some(error);
                }
            }
        }
        Ok(())
    }

    fn take_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            match signal {
                libc::SIGTERM | libc::SIGINT | libc::SIGQUIT => {
                    if !self.state.quit {
                        say(&format!("{}: the container is being stopped", signals::name(signal)));
                    }
                    self.step(Event::Terminate);
                }
                libc::SIGHUP | libc::SIGUSR1 | libc::SIGUSR2 | libc::SIGWINCH | libc::SIGCONT | 34..=64 => {
                    if let Some(pid) = self.state.up() {
                        let _ = sys::send_signal(pid, signal);
                    }
                }
                _ => {}
            }
        }
    }

    /// Collects children that have ended; true if there may be more.
    fn reap(&mut self) -> bool {
        let mut orphans = false;
        for _ in 0..REAPED_AT_ONCE {
            let Some((pid, exit)) = sys::ended_child() else {
                self.after_orphans(orphans);
                return false;
            };
            if self.child.as_ref().is_some_and(|child| child.pid == pid) {
                self.child_ended(pid, exit);
            } else if let Some(index) = self.helpers.iter().position(|helper| helper.pid == pid) {
                let _ = sys::send_signal(-pid, libc::SIGKILL);
                sys::reap(pid);
                let helper = self.helpers.swap_remove(index);
                self.helper_ended(helper, exit);
            } else if let Some(index) = self.execs.iter().position(|execution| execution.pid == pid) {
                let _ = sys::send_signal(-pid, libc::SIGKILL);
                sys::reap(pid);
                let execution = self.execs.swap_remove(index);
                self.exec_ended(execution, exit);
            } else {
                sys::reap(pid);
                orphans = true;
            }
        }
        self.after_orphans(orphans);
        true
    }

    /// Something that was being killed is gone: perhaps it was the last.
    fn after_orphans(&mut self, any: bool) {
        if any && matches!(self.state.phase, Phase::Sweeping { .. }) {
            let left = self.kill_all();
            self.step(Event::Swept { left });
        }
    }

    fn child_ended(&mut self, pid: i32, exit: Exit) {
        // perhaps it was killed for that
        self.look_at_fuse();
        // until it is collected, its group cannot become another one
        let _ = sys::send_signal(-pid, libc::SIGKILL);
        self.hear_child();
        self.fence.guard(None);
        sys::reap(pid);
        let Some(mut child) = self.child.take() else { return };
        let stopping = matches!(self.state.phase, Phase::Stopping { .. });
        child.out_of_memory = exit == Exit::Signal(libc::SIGKILL) && !stopping && self.oom.read() > child.oom_kills;
        let what = match &child.why {
            None if child.out_of_memory => {
                Some("the process was killed by the kernel because the memory limit was reached".to_owned())
            }
            why => why.clone(),
        };
        self.ended_child = Some(child);
        self.step(Event::Exited { pid, exit, what });
    }

    /// Whether the child became its program by now; if it failed to, why.
    fn hear_child(&mut self) {
        let Some(child) = &mut self.child else { return };
        let Some(failure) = &child.failure else { return };
        match sys::outcome(failure) {
            Outcome::Unknown => {}
            Outcome::Runs => {
                child.failure = None;
                let (pid, hook) = (child.pid, child.hook);
                if !hook {
                    self.step(Event::Executed { pid });
                }
            }
            Outcome::Failed(step, error) => {
                child.failure = None;
                let launch = self.launch.as_ref().map(|launch| &launch.config);
                child.why = launch.map(|config| super::program::explain(step, error, &child.command, config));
            }
        }
    }

    fn helper_ended(&mut self, helper: Helper, exit: Exit) {
        let Some(loaded) = self.launch.clone() else { return };
        let (job, began) = (helper.job, helper.began);
        let result = helper.result(exit, &loaded.config);
        match job {
            Job::Check => self.judged(result, began),
            Job::Reload(client, id) => self.reloaded(client, id, result),
            Job::Forgotten => {}
        }
    }

    /// Reads the configuration; one that cannot be used leaves the one before in effect.
    fn reload_config(&mut self) {
        let Some(path) = self.config_path.clone() else { return };
        match Config::load(&path).and_then(|loaded| self.spare_own_files(&path, loaded)) {
            Ok(loaded) if self.config.as_ref().is_some_and(|config| config.digest == loaded.digest) => {
                if self.config_error.take().is_some() {
                    self.notice(NoticeKind::Config, "the configuration file is as it was again");
                }
            }
            Ok(loaded) => self.configure(loaded),
            Err(error) => self.refuse_config(&path, &error),
        }
    }

    /// Refuses a configuration that has output written into what PID 1 lives from.
    fn spare_own_files(&self, path: &Path, loaded: Loaded) -> Result<Loaded, ConfigError> {
        let own = [
            ("the configuration of PID 1", path.to_owned()),
            ("the control socket", self.server.path().to_owned()),
            ("where PID 1 keeps its state", self.record_path.clone()),
            ("where PID 1 writes its state", Record::fresh(&self.record_path)),
        ];
        match own_files::check(&loaded.config.output, &own) {
            Ok(()) => Ok(loaded),
            Err((field, message)) => Err(ConfigError::Invalid { path: path.to_owned(), field, message }),
        }
    }

    fn refuse_config(&mut self, path: &Path, error: &ConfigError) {
        let message = error.to_string();
        if self.config_error.as_ref() == Some(&message) {
            return;
        }
        let kept = if self.config.is_some() { "goes on with the one before" } else { "waits for another one" };
        say(&format!("configuration refused: {message}; {kept}"));
        self.config_error = Some(message);
        if self.config.is_none() {
            self.state.reason = format!("waits for a usable configuration in {}", path.display());
        }
        self.notice(NoticeKind::Config, "the new configuration cannot be used");
    }

    fn configure(&mut self, loaded: Loaded) {
        let new = Rc::new(loaded);
        let old = self.config.replace(Rc::clone(&new));
        self.config_error = None;
        self.config_loaded_at = Some(wall());
        self.server.allow(&new.config.control.allow_uids);
        if let Some(pump) = &self.pump {
            pump.configure(&new.config.output, (new.config.uid, new.config.gid));
        }
        let policy = new.config.policy();
        match old {
            None => {
                let run = match new.config.start {
                    Start::Run => true,
                    Start::Stopped => false,
                    Start::Keep => self.record.wanted != Some(Wanted::Stopped),
                };
                self.step(Event::Boot { policy, run });
            }
            Some(old) => {
                say(&format!("new configuration {}", &new.digest[..12]));
                let launch_changed = !old.config.pending(&new.config).is_empty();
                self.step(Event::Configured { policy, launch_changed });
                if old.config.readiness != new.config.readiness {
                    self.recheck();
                }
                self.notice(NoticeKind::Config, "a new configuration is in effect");
            }
        }
    }

    /// One event, and all that follows from it at once.
    pub(super) fn step(&mut self, event: Event) {
        self.busy = true;
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = self.now();
            let (state, actions) = state::next(std::mem::take(&mut self.state), event, now);
            self.state = state;
            for action in actions {
                events.extend(self.carry_out(action));
            }
            self.follow_process();
        }
        self.fence.set(self.state.fuse);
        self.tell();
        self.keep_record();
        // whoever was answered may rely on what the next PID 1 will say
        let now = self.now();
        for (client, response) in std::mem::take(&mut self.answers) {
            self.server.answer(client, &response, now);
        }
    }

    pub(super) fn quit_with(&mut self, code: i32) {
        self.quit.get_or_insert(code);
    }

    /// Writes down what the next PID 1 has to know.
    fn keep_record(&mut self) {
        self.record.starts = self.state.starts;
        if self.config.is_some() && !self.state.quit {
            self.record.wanted = Some(match self.state.wish {
                Wish::Run => Wanted::Run,
                Wish::Stop => Wanted::Stopped,
            });
        }
        if self.saved.as_ref() != Some(&self.record) {
            // without room to write it down, the next PID 1 knows less; this one is not to stop for that
            let _ = self.record.save(&self.record_path);
            self.saved = Some(self.record.clone());
        }
    }

    fn leave(&mut self, code: i32) {
        self.server.close();
        if let Some(pump) = &self.pump {
            pump.finish();
        }
        self.keep_record();
        say(&format!("ends with exit code {code}"));
    }
}
