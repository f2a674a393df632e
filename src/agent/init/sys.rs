//! The few system calls that the safe libraries do not offer; the only file with unsafe code.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;

use super::protocol::STREAMS;
use super::state::{Exit, Millis};

/// Signals that reach PID 1 as data instead of interrupting it.
pub struct SignalFd(OwnedFd);

/// Those a program raises in itself by a fault; blocking them would hide the fault.
const FAULTS: [i32; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGABRT, libc::SIGSYS];

impl SignalFd {
    /// Blocks every signal that can be and hands them out through a descriptor.
    pub fn new() -> io::Result<Self> {
        // SAFETY: `set` is a plain C structure that sigfillset initialises before it is read; the calls only write to it.
        let fd = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut set);
            for fault in FAULTS {
                libc::sigdelset(&raw mut set, fault);
            }
            check(libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()))?;
            check(libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC))?
        };
        // SAFETY: signalfd returned a new descriptor that nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next signal that arrived.
    pub fn next(&self) -> Option<i32> {
        // SAFETY: signalfd_siginfo is plain data, for which all zeroes are valid.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is as large as the size given and lives through the call.
        let got = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut info).cast(), size) };
        (usize::try_from(got) == Ok(size)).then(|| i32::try_from(info.ssi_signo).unwrap_or(0))
    }
}

impl AsRawFd for SignalFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Milliseconds since the machine started, also those it slept; the same in all its containers.
pub fn boottime() -> Millis {
    // SAFETY: timespec is plain data, for which all zeroes are valid.
    let mut now: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: `now` lives through the call, which only writes to it.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// Becomes readable at a moment of [`boottime`], also when the machine slept through it.
pub struct FuseTimer {
    fd: OwnedFd,
    set: Option<Millis>,
}

impl FuseTimer {
    pub fn new() -> io::Result<Self> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: timerfd_create takes two integers and returns a descriptor or -1.
        let fd = check(unsafe { libc::timerfd_create(libc::CLOCK_BOOTTIME, flags) })?;
        // SAFETY: the call returned a new descriptor that nobody else owns.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, set: None })
    }

    pub fn set(&mut self, at: Option<Millis>) {
        if self.set == at {
            return;
        }
        // all zeroes take the timer away, so the first moment of all is one later
        let at_ms = at.map_or(0, |at| at.max(1));
        let value = libc::timespec {
            tv_sec: libc::time_t::try_from(at_ms / 1_000).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::try_from(at_ms % 1_000 * 1_000_000).unwrap_or(0),
        };
        let interval = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let timer = libc::itimerspec { it_interval: interval, it_value: value };
        // SAFETY: the descriptor is open, `timer` lives through the call, and a null old value is allowed.
        unsafe {
            libc::timerfd_settime(self.fd.as_raw_fd(), libc::TFD_TIMER_ABSTIME, &raw const timer, ptr::null_mut())
        };
        self.set = at;
    }
}

impl AsRawFd for FuseTimer {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// A child that has ended and was not collected yet. Its pid cannot mean another process before [`reap`].
pub fn ended_child() -> Option<(i32, Exit)> {
    // SAFETY: siginfo_t is plain data, for which all zeroes are valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` lives through the call, which only writes to it.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) };
    if result != 0 {
        return None;
    }
    // SAFETY: waitid filled the fields that belong to SIGCHLD, or left the pid zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let exit = if info.si_code == libc::CLD_EXITED { Exit::Code(status) } else { Exit::Signal(status) };
    (pid > 0).then_some((pid, exit))
}

/// Collects a child that has ended.
pub fn reap(pid: i32) {
    // SAFETY: waitpid accepts a null status; the child is ours and has ended, so this does not wait.
    unsafe { libc::waitpid(pid, ptr::null_mut(), libc::WNOHANG) };
}

/// Sends a signal to one of our children, or with a negative pid to its group.
pub fn send_signal(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill reads no memory of ours.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Kills one of our children and its group.
pub fn kill_with_group(pid: i32) {
    let _ = send_signal(-pid, libc::SIGKILL);
    // before it has made its own session there is no such group
    let _ = send_signal(pid, libc::SIGKILL);
}

/// A process that stays the same however pids are reused.
pub struct Pidfd(OwnedFd);

impl Pidfd {
    pub fn open(pid: i32) -> io::Result<Self> {
        // SAFETY: pidfd_open takes two integers and returns a descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = check(i32::try_from(fd).unwrap_or(-1))?;
        // SAFETY: the call returned a new descriptor that nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub fn kill(&self) -> io::Result<()> {
        let null = ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is open and the null siginfo is allowed.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), libc::SIGKILL, null, 0) };
        check(i32::try_from(result).unwrap_or(-1)).map(drop)
    }
}

/// Gives back the pages of our own program that were needed once, to start with or for a rare task. What is needed
/// again comes back by itself. The copy of the program in each pod is charged to that pod, page by page.
pub fn forget_code() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    let Ok(program) = std::fs::read_link("/proc/self/exe") else { return };
    for line in maps.lines().filter(|line| program.to_str().is_some_and(|program| line.ends_with(program))) {
        let mut fields = line.split(' ');
        let (Some(range), Some(access), Some(offset)) = (fields.next(), fields.next(), fields.next()) else { continue };
        // other read-only parts were written to once, when the program was relocated
        if access != "r-xp" && !(access == "r--p" && offset == "00000000") {
            continue;
        }
        let bounds = range.split_once('-').map(|(start, end)| (address(start), address(end)));
        if let Some((Some(start), Some(end))) = bounds {
            // SAFETY: the range is a mapping of our own program that nothing has ever written to, so that its pages
            // can be read again from the file at any time with the same content.
            unsafe { libc::madvise(ptr::without_provenance_mut(start), end - start, libc::MADV_DONTNEED) };
        }
    }
}

fn address(text: &str) -> Option<usize> {
    usize::from_str_radix(text, 16).ok()
}

/// What the poll below looks at.
pub type PollFd = libc::pollfd;
pub const READABLE: i16 = libc::POLLIN;
pub const WRITABLE: i16 = libc::POLLOUT;

pub fn watch(fd: RawFd, events: i16) -> PollFd {
    PollFd { fd, events, revents: 0 }
}

/// Waits until something is ready or the time is over; an interrupted wait is one in which nothing happened.
pub fn poll(fds: &mut [PollFd], timeout_ms: Option<u64>) -> io::Result<()> {
    let timeout = timeout_ms.map_or(-1, |ms| i32::try_from(ms).unwrap_or(i32::MAX));
    // SAFETY: pointer and length describe the slice, which lives through the call.
    let result = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) };
    match check(result) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

/// What came over a socket at once.
pub struct Received {
    pub bytes: usize,
    pub descriptors: Vec<OwnedFd>,
    /// More descriptors were sent than came.
    pub cut: bool,
}

/// Room for one descriptor more than anybody may send; the kernel closes itself what does not fit.
const ROOM: usize = size_of::<libc::cmsghdr>() + (STREAMS + 1) * size_of::<RawFd>();

/// Reads from a socket, with the descriptors that came along: each that was made for us is owned, and so closed, also
/// where others were lost on the way. The safe libraries give none of them then.
pub fn receive(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<Received> {
    let mut room = [0_u64; ROOM.div_ceil(size_of::<u64>())];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: msghdr is plain data, for which all zeroes are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = room.as_mut_ptr().cast();
    message.msg_controllen = ROOM;
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: the message describes `part`, `room` and `buffer`, which are as large as it says and live through the call.
    let got = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut message, flags) };
    let Ok(bytes) = usize::try_from(got) else { return Err(io::Error::last_os_error()) };
    let mut descriptors = Vec::new();
    // SAFETY: as far as the message says now, the kernel filled `room` with headers and what belongs to each. The
    // descriptors in there it made for us just now; nobody else owns them.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while let Some(control) = header.as_ref() {
            if (control.cmsg_level, control.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let length = control.cmsg_len.saturating_sub(size_of::<libc::cmsghdr>());
                let data = std::slice::from_raw_parts(libc::CMSG_DATA(header), length);
                for word in data.chunks_exact(size_of::<RawFd>()) {
                    let fd = RawFd::from_ne_bytes([word[0], word[1], word[2], word[3]]);
                    descriptors.push(OwnedFd::from_raw_fd(fd));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok(Received { bytes, descriptors, cut: message.msg_flags & libc::MSG_CTRUNC != 0 })
}

/// Everything a new process needs, made before the fork, after which nothing may be allocated.
#[derive(Default)]
pub struct Program {
    /// Paths to try in turn.
    pub candidates: Vec<CString>,
    pub arguments: Vec<CString>,
    pub environment: Vec<CString>,
    pub directory: Option<CString>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub groups: Option<Vec<u32>>,
    pub nofile: Option<u64>,
    /// Where it reads from, if not from nothing.
    pub stdin: Option<RawFd>,
    /// Where its output goes, if not where ours goes.
    pub stdout: Option<RawFd>,
    pub stderr: Option<RawFd>,
}

pub struct Spawned {
    pub pid: i32,
    /// Closed once the program runs; says before why it does not.
    pub failure: OwnedFd,
}

/// What a new process was doing when it failed to become the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Limit,
    Groups,
    Gid,
    Uid,
    Directory,
    Execute,
}

const STEPS: [Step; 6] = [Step::Limit, Step::Groups, Step::Gid, Step::Uid, Step::Directory, Step::Execute];

/// Starts a program in a session of its own; returns at once.
pub fn spawn(program: &Program) -> io::Result<Spawned> {
    let pointers = |words: &[CString]| -> Vec<*const c_char> {
        words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(&program.arguments), pointers(&program.environment));
    let null = File::open("/dev/null").ok();
    let (failure, report) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let parent = std::process::id();
    // SAFETY: between fork and exec the child calls only async-signal-safe functions and allocates nothing.
    let pid = check(unsafe { libc::fork() })?;
    if pid == 0 {
        let stdin = program.stdin.or(null.as_ref().map(AsRawFd::as_raw_fd));
        // SAFETY: this is the child; all pointers were made before the fork and its memory is a copy of ours.
        unsafe {
            let (step, error) = become_program(program, stdin, &arguments, &environment, parent);
            let [a, b, c, d] = error.to_le_bytes();
            let message = [step as u8, a, b, c, d];
            libc::write(report.as_raw_fd(), message.as_ptr().cast(), message.len());
            libc::_exit(if error == libc::ENOENT { 127 } else { 126 });
        }
    }
    Ok(Spawned { pid, failure })
}

/// What [`Spawned::failure`] has to say: nothing yet, that the program runs, or why it does not.
pub enum Outcome {
    Unknown,
    Runs,
    Failed(Step, Errno),
}

pub fn outcome(failure: &OwnedFd) -> Outcome {
    let mut message = [0u8; 5];
    match nix::unistd::read(failure, &mut message) {
        Ok(0) => Outcome::Runs,
        Ok(_) => {
            let step = STEPS.get(usize::from(message[0])).copied().unwrap_or(Step::Execute);
            let number = i32::from_le_bytes([message[1], message[2], message[3], message[4]]);
            Outcome::Failed(step, Errno::from_raw(number))
        }
        Err(_) => Outcome::Unknown,
    }
}

/// The child's way from the fork to the program. Comes back only with what failed.
///
/// # Safety
/// To be called in a forked child only; the pointer arrays must end with null.
unsafe fn become_program(
    program: &Program,
    stdin: Option<RawFd>,
    arguments: &[*const c_char],
    environment: &[*const c_char],
    parent: u32,
) -> (Step, i32) {
    let failed = |step| (step, Errno::last_raw());
    // SAFETY: plain system calls on values of this process; every pointer comes from a CString or slice that lives.
    unsafe {
        libc::setsid();
        for (from, to) in [(stdin, 0), (program.stdout, 1), (program.stderr, 2)] {
            if let Some(from) = from {
                libc::dup2(from, to);
            }
        }
        if let Some(files) = program.nofile {
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
            limit.rlim_cur = files;
            limit.rlim_max = limit.rlim_max.max(files);
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0 {
                return failed(Step::Limit);
            }
        }
        let groups = match (&program.groups, program.uid) {
            (Some(groups), _) => Some(groups.as_slice()),
            (None, Some(uid)) if uid != libc::geteuid() => Some(&[] as &[u32]),
            (None, _) => None,
        };
        if let Some(groups) = groups
            && libc::setgroups(groups.len(), groups.as_ptr()) != 0
        {
            return failed(Step::Groups);
        }
        if let Some(gid) = program.gid
            && libc::setgid(gid) != 0
        {
            return failed(Step::Gid);
        }
        if let Some(uid) = program.uid
            && libc::setuid(uid) != 0
        {
            return failed(Step::Uid);
        }
        // what PID 1 supervises ends with PID 1, also where it is not really PID 1
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid().cast_unsigned() != parent {
            libc::_exit(125);
        }
        if let Some(directory) = &program.directory
            && libc::chdir(directory.as_ptr()) != 0
        {
            return failed(Step::Directory);
        }
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        // as a shell would: go on past what is not there, but remember what was and could not be run
        let mut worst = libc::ENOENT;
        for candidate in &program.candidates {
            libc::execve(candidate.as_ptr(), arguments.as_ptr(), environment.as_ptr());
            match Errno::last_raw() {
                libc::ENOENT | libc::ENOTDIR => {}
                other => worst = other,
            }
        }
        (Step::Execute, worst)
    }
}

fn check(result: i32) -> io::Result<i32> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
