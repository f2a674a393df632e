//! GitSources against a real API server: from push to applied, with guards and the audit branch.

mod applied;
mod audit;
mod guards;
mod killed;
mod leaving;
mod encrypted;
mod hostile;
mod settings;
mod trusted;
mod webhook;
pub mod repository;
pub mod team;

use team::{SOON, Team, team_test};
