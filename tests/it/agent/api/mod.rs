//! The agent's network API, asked over real connections with real certificates.

mod calls;
mod description;
mod limits;
mod programs;
mod who;
mod world;
