//! Midship: middleware on Kubernetes, with Git as its API. `docs/architecture.md` is the map of these rooms.

pub mod api;
pub mod extension;
pub mod names;
