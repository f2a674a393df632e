//! GitSources against a real API server: from push to applied, with guards and the audit branch.

mod accounts;
mod applied;
mod audit;
mod bench;
mod claimed;
mod damaged;
mod drift;
mod encrypted;
mod failed;
mod faulty;
mod followed;
mod guards;
mod hanging;
mod hostile;
mod ignored;
mod killed;
mod leaving;
mod news;
mod once;
mod order;
pub mod repository;
mod rewritten;
mod served;
mod settings;
mod shared;
pub mod team;
mod trusted;
mod undefined;
mod unreadable;
mod webhook;

use team::{SOON, Team, team_test};
