//! Decisions: from what is wanted and what is there to what is done, each with its reason. No clock, no I/O, no
//! randomness, so that controller, command line and console decide alike.

#[cfg(test)]
mod chain_tests;
pub mod component;
pub mod drill;
pub mod effect;
pub mod instance;
pub mod operation;
pub mod pod_set;
pub mod retention;
pub mod schedule;
pub mod source;
