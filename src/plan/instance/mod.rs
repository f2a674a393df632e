//! What happens to an instance: which versions it may go to, what of it is applied and deleted, how it is, how it ends.

pub mod health;
pub mod parts;
pub mod removal;
pub mod versions;

#[cfg(test)]
mod scenario_tests;
