//! Tests against a real Git server, over smart HTTP with TLS and over SSH.

mod bench;
mod fixture;
mod remotes;
mod servers;
