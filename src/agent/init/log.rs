//! What PID 1 itself has to say, on the container's stderr; never waits for whoever reads it.

use std::io::Write;
use std::os::fd::AsRawFd;

use super::sys;

/// A pipe takes this much at once or, where it has no room, is not writable.
const MOST: usize = 4096;

/// Writes one line, or nothing where it would have to wait.
pub fn say(message: &str) {
    let mut stderr = std::io::stderr().lock();
    let mut ready = [sys::watch(stderr.as_raw_fd(), sys::WRITABLE)];
    if sys::poll(&mut ready, Some(0)).is_err() || ready[0].revents & sys::WRITABLE == 0 {
        return;
    }
    let mut line = format!("midship: {}", message.replace('\n', " ")).into_bytes();
    line.truncate(MOST - 1);
    line.push(b'\n');
    // whoever should read it is gone: there is nobody left to tell
    let _ = stderr.write_all(&line);
}
