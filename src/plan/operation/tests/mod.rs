//! What operations do, told as scenarios, and what holds whatever happens.

mod backups;
mod changes;
mod crashes;
mod order;
mod restores;
mod scenarios;
pub(super) mod world;
