//! Repositories, policies and backups as a real API server has them, with real stores. Agents are not needed: what they
//! would have written, the tests write.

mod commands;
mod kit;
mod policies;
mod repositories;
mod wrong;
