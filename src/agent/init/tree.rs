//! The processes below this one: found through /proc however they detached themselves, and killed.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

use super::sys::{self, Pidfd};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    pid: i32,
    parent: i32,
    zombie: bool,
    /// Together with the pid this means one process for ever.
    started: u64,
}

/// Sends SIGKILL to everything below this process and says how many still lived.
///
/// Processes that entered the container from outside (`kubectl exec`) are not below this one and are left alone.
/// Children that have ended are collected on the way, except those that are `awaited`: whoever looks whether the pid of
/// a stray is still taken finds that it is not.
pub fn kill_all(own_group: Option<i32>, awaited: &[i32]) -> usize {
    strike(own_group, |ended| !awaited.contains(&ended))
}

/// The same, but whoever has ended is left to be collected by others.
pub fn kill_only(own_group: Option<i32>) {
    strike(own_group, |_| false);
}

fn strike(own_group: Option<i32>, collects: impl Fn(i32) -> bool) -> usize {
    // the group of the process dies at one stroke, before any of it can fork again
    if let Some(group) = own_group {
        let _ = sys::send_signal(-group, nix::libc::SIGKILL);
    }
    let own = std::process::id().cast_signed();
    if !proc_is_ours(own) {
        return 0;
    }
    let mut living = 0;
    for entry in below(own, &entries()) {
        if entry.zombie {
            if entry.parent == own && collects(entry.pid) {
                sys::reap(entry.pid);
            }
            continue;
        }
        living += 1;
        match Pidfd::open(entry.pid) {
            // the pid could have been given away since it was read; through the descriptor it cannot any more
            Ok(handle) if read(entry.pid).is_some_and(|now| now.started == entry.started) => {
                let _ = handle.kill();
            }
            Ok(_) => living -= 1,
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => living -= 1,
            Err(_) => {
                let _ = sys::send_signal(entry.pid, nix::libc::SIGKILL);
            }
        }
    }
    living
}

/// In a pid namespace without a /proc of its own, the pids read there would mean other processes.
fn proc_is_ours(own: i32) -> bool {
    fs::read_link("/proc/self").is_ok_and(|link| link == Path::new(&own.to_string()))
}

fn entries() -> Vec<Entry> {
    let Ok(dir) = fs::read_dir("/proc") else { return Vec::new() };
    dir.filter_map(|entry| read(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

fn read(pid: i32) -> Option<Entry> {
    parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// `12 (a) name) S 1 …`: the name may hold anything, so what follows its last parenthesis counts.
fn parse(pid: i32, stat: &[u8]) -> Option<Entry> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 2..)?).ok()?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let threads: u32 = fields.nth(15)?.parse().ok()?;
    let started = fields.nth(1)?.parse().ok()?;
    // a process whose first thread has ended looks dead but is not while other threads go on
    Some(Entry { pid, parent, zombie: matches!(state, "Z" | "X") && threads <= 1, started })
}

fn below(root: i32, all: &[Entry]) -> Vec<Entry> {
    let mut children: BTreeMap<i32, Vec<&Entry>> = BTreeMap::new();
    for entry in all {
        children.entry(entry.parent).or_default().push(entry);
    }
    let mut found = Vec::new();
    let mut seen = HashSet::from([root]);
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if seen.insert(child.pid) {
                open.push(child.pid);
                found.push((*child).clone());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pid: i32, parent: i32) -> Entry {
        Entry { pid, parent, zombie: false, started: 0 }
    }

    #[test]
    fn a_name_with_parentheses_and_blanks_is_no_obstacle() {
        let stat = b"7 (a) R (b) S 3 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99";
        assert_eq!(parse(7, stat), Some(Entry { pid: 7, parent: 3, zombie: false, started: 4711 }));
        assert!(!parse(7, b"7 (x) Z 3 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 2 0 4711 99").unwrap().zombie);
        assert!(parse(7, b"7 (x) Z 3 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99").unwrap().zombie);
        assert_eq!(parse(7, b"7 (cut"), None);
    }

    #[test]
    fn all_generations_below_are_found_and_nobody_else() {
        let all = [entry(2, 1), entry(3, 2), entry(4, 3), entry(5, 9), entry(9, 0), entry(1, 0)];
        let mut pids: Vec<_> = below(1, &all).into_iter().map(|entry| entry.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [2, 3, 4]);
    }

    #[test]
    fn this_process_is_found_in_proc() {
        let own = read(std::process::id().cast_signed()).unwrap();
        assert_eq!(own.parent, std::os::unix::process::parent_id().cast_signed());
        assert!(own.started > 0);
    }
}
