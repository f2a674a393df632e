//! The Helm chart and the repository template: what people install and what they start from.

pub mod helm;
mod permissions;
mod render;
pub mod repository;
mod values;
