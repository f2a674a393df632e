//! Notices that the configuration file may have changed: told by the kernel, and by looking once a second.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::state::Millis;

/// Whoever writes a file in several pieces is given this long between them…
const SETTLE: Millis = 50;
/// … but no longer than this in all.
const SETTLE_AT_MOST: Millis = 300;
const LOOK_EVERY: Millis = 1_000;

/// What tells one state of a file from another.
type Fingerprint = (u64, u64, u64, i64, i64, i64, i64);

pub struct Watcher {
    path: PathBuf,
    inotify: Option<Inotify>,
    seen: Option<Fingerprint>,
    look_at: Millis,
    restless_since: Option<Millis>,
}

impl Watcher {
    pub fn new(path: &Path, now: Millis) -> Self {
        let mut watcher = Self {
            path: path.to_owned(),
            inotify: None,
            seen: None,
            look_at: now.saturating_add(LOOK_EVERY),
            restless_since: None,
        };
        watcher.attach();
        watcher.seen = fingerprint(path);
        watcher
    }

    /// Watches the directory: a mounted ConfigMap changes by a symlink in it being replaced.
    fn attach(&mut self) {
        let flags = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let dir = match self.path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        self.inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .ok()
            .filter(|inotify| inotify.add_watch(dir, flags).is_ok());
    }

    pub fn fd(&self) -> Option<RawFd> {
        self.inotify.as_ref().map(|inotify| inotify.as_fd().as_raw_fd())
    }

    /// The kernel has told something.
    pub fn told(&mut self, now: Millis) {
        let Some(inotify) = &self.inotify else { return };
        let mut lost = false;
        while let Ok(events) = inotify.read_events() {
            let gone = AddWatchFlags::IN_IGNORED | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
            lost |= events.iter().any(|event| event.mask.intersects(gone));
        }
        if lost {
            self.inotify = None;
        }
        let since = *self.restless_since.get_or_insert(now);
        self.look_at = now.saturating_add(SETTLE).min(since.saturating_add(SETTLE_AT_MOST));
    }

    pub fn due(&self) -> Millis {
        self.look_at
    }

    /// Whether the file is another one than when this was last asked.
    pub fn changed(&mut self, now: Millis) -> bool {
        self.look_at = now.saturating_add(LOOK_EVERY);
        self.restless_since = None;
        if self.inotify.is_none() {
            self.attach();
        }
        let seen = fingerprint(&self.path);
        std::mem::replace(&mut self.seen, seen) != seen
    }
}

fn fingerprint(path: &Path) -> Option<Fingerprint> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_noticed_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.json");
        fs::write(&path, "1").unwrap();
        let mut watcher = Watcher::new(&path, 0);
        assert!(!watcher.changed(0));
        fs::write(dir.path().join("n"), "2").unwrap();
        fs::rename(dir.path().join("n"), &path).unwrap();
        assert!(watcher.changed(0));
        assert!(!watcher.changed(0));
        fs::remove_file(&path).unwrap();
        assert!(watcher.changed(0));
    }

    #[test]
    fn news_are_waited_for_until_they_settle_but_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.json");
        fs::write(&path, "1").unwrap();
        let mut watcher = Watcher::new(&path, 0);
        assert_eq!(watcher.due(), 1_000);
        watcher.told(10);
        assert_eq!(watcher.due(), 60);
        watcher.told(290);
        assert_eq!(watcher.due(), 310);
    }
}
