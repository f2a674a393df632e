//! Tests against a real Git server, over smart HTTP with TLS and over SSH.

mod fixture;
mod remotes;
mod servers;
mod speed;
