//! What outlives PID 1: what was wanted, how often the process started, and how it last ended.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::protocol::{EndReason, Ending, Wanted};

/// Endings that are kept.
const KEPT: usize = 16;
/// Far more than what is kept can need.
const MAX_BYTES: u64 = 64 * 1024;
/// Longest text kept of one ending.
const MAX_MESSAGE: usize = 512;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Record {
    pub wanted: Option<Wanted>,
    pub starts: u64,
    pub history: Vec<Ending>,
    /// The process that ran when this was written.
    pub running: Option<Running>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    pub pid: i32,
    pub started_at: String,
}

impl Record {
    /// What was written last; nothing where there is nothing usable.
    pub fn load(path: &Path) -> Self {
        let mut bytes = Vec::new();
        let read = fs::File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
        read.ok().and_then(|_| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// PID 1 begins: a process that still ran according to the record was lost with the PID 1 before.
    pub fn resume(mut self, now: &str) -> Self {
        if let Some(running) = self.running.take() {
            self.push(Ending {
                at: now.to_owned(),
                pid: Some(running.pid),
                started_at: Some(running.started_at),
                code: None,
                signal: None,
                reason: EndReason::Lost,
                message: "the container ended without having stopped the process".to_owned(),
            });
        }
        self
    }

    pub fn push(&mut self, mut ending: Ending) {
        if let Some((cut, _)) = ending.message.char_indices().nth(MAX_MESSAGE) {
            ending.message.truncate(cut);
        }
        if self.history.len() >= KEPT {
            self.history.drain(..=self.history.len() - KEPT);
        }
        self.history.push(ending);
    }

    pub fn save(&self, path: &Path) -> io::Result<()> {
        let fresh = Self::fresh(path);
        fs::write(&fresh, serde_json::to_vec(self)?)?;
        fs::rename(&fresh, path)
    }

    /// Where it is written before it takes the place of the one before.
    pub fn fresh(path: &Path) -> PathBuf {
        let mut fresh = PathBuf::from(path).into_os_string();
        fresh.push(".new");
        fresh.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(number: usize) -> Ending {
        Ending {
            at: format!("t{number}"),
            pid: Some(1),
            started_at: None,
            code: Some(1),
            signal: None,
            reason: EndReason::Crashed,
            message: "ä".repeat(1000),
        }
    }

    #[test]
    fn the_last_sixteen_endings_are_kept_and_none_is_long() {
        let mut record = Record::default();
        (0..40).for_each(|number| record.push(ending(number)));
        assert_eq!(record.history.len(), KEPT);
        assert_eq!((record.history[0].at.as_str(), record.history[15].at.as_str()), ("t24", "t39"));
        assert_eq!(record.history[0].message.chars().count(), MAX_MESSAGE);
    }

    #[test]
    fn what_was_saved_is_found_again_and_rubbish_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("init.state.json");
        assert_eq!(Record::load(&path), Record::default());
        let mut record = Record { wanted: Some(Wanted::Stopped), starts: 3, ..Record::default() };
        record.push(ending(1));
        record.save(&path).unwrap();
        assert_eq!(Record::load(&path), record);
        fs::write(&path, "{\"starts\": \"many\"}").unwrap();
        assert_eq!(Record::load(&path), Record::default());
    }

    #[test]
    fn a_process_that_ran_until_the_container_died_is_reported_as_lost() {
        let running = Some(Running { pid: 7, started_at: "then".to_owned() });
        let record = Record { running, ..Record::default() }.resume("now");
        assert_eq!(record.running, None);
        assert_eq!((record.history[0].pid, record.history[0].reason), (Some(7), EndReason::Lost));
    }
}
