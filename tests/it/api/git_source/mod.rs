//! GitSources against a real API server: from push to applied, with guards and the audit branch.

mod applied;
mod audit;
mod guards;
mod killed;
mod leaving;
mod encrypted;
mod hostile;
mod repository;
mod settings;
mod team;
mod trusted;
mod webhook;

use team::{SOON, Team, team_test};
