//! Signals by name and number.

use std::borrow::Cow;
use std::fmt;

use nix::libc;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const NAMES: [(&str, i32); 31] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// The first signal that programs may give a meaning of their own, as the C library counts them.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// What a signal is called: `SIGTERM`, `SIGRTMIN+3`.
pub fn name(number: i32) -> Cow<'static, str> {
    match NAMES.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => Cow::Owned(format!("SIG{name}")),
        None if (RTMIN..=RTMAX).contains(&number) => Cow::Owned(format!("SIGRTMIN+{}", number - RTMIN)),
        None => Cow::Owned(format!("signal {number}")),
    }
}

/// A signal as people write it: `TERM`, `SIGTERM`, `RTMIN+3`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signal(i32);

impl Signal {
    pub const TERM: Self = Self(libc::SIGTERM);
    pub const KILL: Self = Self(libc::SIGKILL);
    pub const STOP: Self = Self(libc::SIGSTOP);
    pub const CHLD: Self = Self(libc::SIGCHLD);

    pub fn number(self) -> i32 {
        self.0
    }

    pub fn parse(text: &str) -> Option<Self> {
        let short = text.strip_prefix("SIG").unwrap_or(text);
        if let Some(offset) = short.strip_prefix("RTMIN") {
            let offset: i32 = if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse().ok()? };
            return (0..=RTMAX - RTMIN).contains(&offset).then_some(Self(RTMIN + offset));
        }
        NAMES.iter().find(|(name, _)| *name == short).map(|(_, number)| Self(*number))
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name(self.0))
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Signal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Signal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("{text:?} is no signal; write it like TERM, HUP or RTMIN+3")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_read_with_and_without_its_prefix() {
        assert_eq!(Signal::parse("TERM"), Some(Signal::TERM));
        assert_eq!(Signal::parse("SIGTERM"), Some(Signal::TERM));
        assert_eq!(Signal::parse("SIGRTMIN+3").map(Signal::number), Some(37));
        assert_eq!(Signal::parse("term"), None);
        assert_eq!(Signal::parse("RTMIN+99"), None);
    }

    #[test]
    fn every_signal_is_written_as_it_is_read() {
        for number in (1..32).chain(34..65) {
            assert_eq!(Signal::parse(&name(number)).map(Signal::number), Some(number), "{}", name(number));
        }
    }
}
