//! GitSources against a real API server: from push to applied, with guards and the audit branch.

mod applied;
mod audit;
mod encrypted;
mod guards;
mod hostile;
mod killed;
mod leaving;
mod repository;
mod encrypted;
mod hostile;
mod settings;
mod trusted;
mod webhook;
pub mod repository;
pub mod team;

use team::{SOON, Team, team_test};
