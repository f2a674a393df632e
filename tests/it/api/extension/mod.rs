//! Extensions against a real API server: installed hot, never changed, kept while they are used.

mod installed;
pub mod kit;
mod others;
mod rendered;
mod rules;
mod same;
mod versions;
