//! Files that the middleware's container and the agent's both see: volumes, files, memory.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::O_NONBLOCK;
use serde_json::{Value, json};

use super::{Answer, DriverError, FileCall, FileDoes};
use crate::agent::files::write_whole;

/// The largest file that is read.
const MAX_CONTENT: u64 = 1024 * 1024;
const MODE: u32 = 0o600;

pub fn call(call: &FileCall) -> Answer {
    let path = Path::new(&call.path);
    if !path.is_absolute() {
        return Err(DriverError::new(format!("{} is no absolute path", call.path)));
    }
    let failed = |what: &str, error: io::Error| DriverError::new(format!("cannot {what} {}: {error}", call.path));
    match &call.does {
        FileDoes::Read => match read(path) {
            Ok(Some(content)) => Ok(json!({ "exists": true, "content": content })),
            Ok(None) => Ok(json!({ "exists": false, "content": null })),
            Err(error) => Err(failed("read", error)),
        },
        FileDoes::Write { content, mode } => {
            let mode = mode.as_deref().map_or(Some(MODE), |mode| u32::from_str_radix(mode, 8).ok());
            let mode = mode.ok_or_else(|| DriverError::new("mode has to be octal digits, such as 0600"))?;
            write_whole(path, content.as_bytes(), mode).map_err(|error| failed("write", error))?;
            Ok(json!({ "exists": true, "content": null }))
        }
        FileDoes::Remove => match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", error)),
            _ => Ok(json!({ "exists": false, "content": Value::Null })),
        },
    }
}

fn read(path: &Path) -> io::Result<Option<String>> {
    // a FIFO that nobody writes to is not waited for
    let file = match OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_CONTENT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_CONTENT {
        return Err(io::Error::other(format!("it is larger than {MAX_CONTENT} bytes")));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
