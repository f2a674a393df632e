//! Whether the kernel killed something here because memory ran out: the counter of the container's control group.

use std::fs;
use std::path::{Path, PathBuf};

/// The file that counts, if there is one.
#[derive(Clone, Debug, Default)]
pub struct OomCounter(Option<PathBuf>);

impl OomCounter {
    pub fn find() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self(candidates(&groups, Path::new("/sys/fs/cgroup")).into_iter().find(|path| count(path).is_some()))
    }

    /// Processes killed so far.
    pub fn read(&self) -> Option<u64> {
        count(self.0.as_ref()?)
    }
}

/// Where the counter can be, in the unified hierarchy and in the old one, seen from inside the container or not.
fn candidates(groups: &str, root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            found.extend([root.join(path).join("memory.events"), root.join("memory.events")]);
        } else if controllers.split(',').any(|controller| controller == "memory") {
            let root = root.join("memory");
            found.extend([root.join(path).join("memory.oom_control"), root.join("memory.oom_control")]);
        }
    }
    found
}

fn count(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_looked_for_in_both_kinds_of_hierarchy() {
        let found = candidates("4:cpu,memory:/pod/a\n0::/b\n", Path::new("/g"));
        let found: Vec<_> = found.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(
            found,
            [
                "/g/memory/pod/a/memory.oom_control",
                "/g/memory/memory.oom_control",
                "/g/b/memory.events",
                "/g/memory.events"
            ]
        );
    }

    #[test]
    fn kills_are_counted_and_other_lines_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory.events");
        fs::write(&path, "low 0\noom 7\noom_kill 3\noom_group_kill 0\n").unwrap();
        assert_eq!(count(&path), Some(3));
        fs::write(&path, "oom_kill_disable 0\nunder_oom 0\n").unwrap();
        assert_eq!(count(&path), None);
    }
}
