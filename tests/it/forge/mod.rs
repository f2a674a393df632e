//! Tests against a real Git server, over smart HTTP with TLS and over SSH.

mod bench;
pub mod fixture;
pub mod listener;
mod remotes;
mod servers;
