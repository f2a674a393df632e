//! A note beside the sockets: the process was stopped for the role's sake, and nobody but the agent starts it again. It
//! outlives the agent, and goes with the pod.

use std::io::{self, ErrorKind};
use std::path::Path;

use crate::agent::files::write_whole;

const NAME: &str = "stopped-for-role";

/// Whether the note is there.
pub fn read(socket: &Path) -> bool {
    match socket.with_file_name(NAME).try_exists() {
        Ok(there) => there,
        Err(error) => {
            tracing::error!(%error, "it cannot be found out whether the process was stopped for the role");
            false
        }
    }
}

pub fn write(socket: &Path, parked: bool) -> io::Result<()> {
    let path = socket.with_file_name(NAME);
    if parked {
        return write_whole(&path, b"", 0o600);
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_noted_the_next_one_finds() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent.sock");
        assert!(!read(&socket));
        write(&socket, true).unwrap();
        assert!(read(&socket));
        write(&socket, false).unwrap();
        write(&socket, false).unwrap();
        assert!(!read(&socket));
    }
}
