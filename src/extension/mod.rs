//! Extensions: what a package says, whether it is right, and what an instance of it becomes. Pure: bytes and specs in,
//! objects and reasons out.

pub mod agent;
pub mod budget;
pub mod cases;
pub mod changes;
pub mod check;
pub mod compare;
pub mod context;
pub mod contract;
pub mod cue;
pub mod defaults;
pub mod describe;
mod elsewhere;
pub mod files;
pub mod gates;
mod growth;
pub mod install;
mod lint;
mod load;
pub mod methods;
pub mod naming;
pub mod package;
pub mod parameters;
pub mod placeholders;
pub mod problem;
mod product;
pub mod proof;
pub mod quantity;
pub mod render;
pub mod resolve;
pub mod resolved;
mod rules;
pub mod schema;
pub mod secret;
pub mod template;
mod unread;
pub mod user_file;
pub mod versions;
pub mod yaml;

pub use files::PackageFiles;
pub use package::Package;
pub use problem::{Code, Problem, Problems, Refusal, Refusals};
pub use render::{Inputs, Rendered, render};
pub use resolve::{Asked, Collectors, Surroundings, resolve};
pub use resolved::Resolved;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wrong_tests;
