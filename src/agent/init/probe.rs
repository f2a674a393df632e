//! One look at whether the process serves: a connection that is tried without waiting, or a file.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, connect, getsockopt, socket, sockopt::SocketError,
};

use super::config::{FileCheck, TcpCheck};
use super::state::Millis;

/// A connection on its way.
pub struct TcpProbe {
    socket: OwnedFd,
    address: SocketAddr,
    pub began: Millis,
    pub give_up_at: Millis,
}

/// Either the answer is there at once, or it has to be waited for.
pub enum Begun {
    Now(Result<String, String>),
    Later(TcpProbe),
}

impl TcpProbe {
    pub fn begin(check: &TcpCheck, now: Millis, timeout: Millis) -> Begun {
        let address = SocketAddr::new(check.host, check.port);
        let family = match check.host {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = match socket(family, SockType::Stream, flags, None) {
            Ok(socket) => socket,
            Err(error) => return Begun::Now(Err(format!("cannot make a socket: {}", error.desc()))),
        };
        let begun = match address {
            SocketAddr::V4(address) => connect(socket.as_raw_fd(), &SockaddrIn::from(address)),
            SocketAddr::V6(address) => connect(socket.as_raw_fd(), &SockaddrIn6::from(address)),
        };
        match begun {
            Err(Errno::EINPROGRESS) => {
                Begun::Later(Self { socket, address, began: now, give_up_at: now.saturating_add(timeout) })
            }
            result => Begun::Now(verdict(address, result)),
        }
    }

    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The connection was made, or was refused.
    pub fn finish(&self) -> Result<String, String> {
        let error = getsockopt(&self.socket, SocketError).unwrap_or(0);
        verdict(self.address, if error == 0 { Ok(()) } else { Err(Errno::from_raw(error)) })
    }

    pub fn timed_out(&self) -> Result<String, String> {
        Err(format!("{} did not answer within {} ms", self.address, self.give_up_at - self.began))
    }
}

fn verdict(address: SocketAddr, result: Result<(), Errno>) -> Result<String, String> {
    match result {
        Ok(()) => Ok(format!("{address} takes connections")),
        Err(error) => Err(format!("{address}: {}", error.desc())),
    }
}

pub fn look_at_file(check: &FileCheck) -> Result<String, String> {
    let path = check.path.display();
    let changed =
        std::fs::metadata(&check.path).and_then(|meta| meta.modified()).map_err(|error| format!("{path}: {error}"))?;
    let age = SystemTime::now().duration_since(changed).unwrap_or_default();
    match check.max_age {
        Some(limit) if age > limit.0 => Err(format!("{path} was last written {} s ago", age.as_secs())),
        _ => Ok(format!("{path} is there")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
    use std::time::Duration as StdDuration;

    use nix::sys::socket::{bind, getsockname};

    use super::*;
    use crate::agent::init::sys;
    use crate::api::values::Duration;

    fn connect_to(host: IpAddr, port: u16) -> Result<String, String> {
        match TcpProbe::begin(&TcpCheck { host, port }, 0, 1000) {
            Begun::Now(result) => result,
            Begun::Later(probe) => {
                sys::poll(&mut [sys::watch(probe.fd(), sys::WRITABLE)], Some(5_000)).unwrap();
                probe.finish()
            }
        }
    }

    #[test]
    fn an_open_port_answers_and_a_closed_one_does_not() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(connect_to(Ipv4Addr::LOCALHOST.into(), port), Ok(format!("127.0.0.1:{port} takes connections")));
        // a port that was given back could be somebody else's by now, so it is one where nobody listens
        let taken = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(taken.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
        let port = getsockname::<SockaddrIn>(taken.as_raw_fd()).unwrap().port();
        assert_eq!(connect_to(Ipv4Addr::LOCALHOST.into(), port), Err(format!("127.0.0.1:{port}: Connection refused")));
        assert!(connect_to(Ipv6Addr::LOCALHOST.into(), port).unwrap_err().starts_with("[::1]:"));
    }

    #[test]
    fn a_file_must_be_there_and_young_enough() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ready");
        let mut check = FileCheck { path: path.clone(), max_age: None };
        assert!(look_at_file(&check).unwrap_err().contains("No such file"));
        let file = std::fs::File::create(&path).unwrap();
        assert!(look_at_file(&check).is_ok());
        file.set_modified(SystemTime::now() - StdDuration::from_secs(100)).unwrap();
        check.max_age = Some(Duration::from_secs(50));
        let told = look_at_file(&check).unwrap_err();
        let ago = told.strip_prefix(&format!("{} was last written ", path.display())).unwrap();
        let seconds: u64 = ago.strip_suffix(" s ago").unwrap().parse().unwrap();
        assert!((100..500).contains(&seconds), "{told}");
        check.max_age = Some(Duration::from_secs(500));
        assert!(look_at_file(&check).is_ok());
    }
}
