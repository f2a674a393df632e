//! What the controllers of several kinds share about repositories of backups: how one is opened from its object, what was
//! found in it, which instances it covers, and what agents are asked to do with it.

pub mod coverage;
pub mod keys;
pub mod known;
pub mod open;
pub mod orders;
pub mod place;
pub mod progress;
pub mod restores;
pub mod words;
