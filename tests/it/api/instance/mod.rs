//! Instances against a real API server: made, changed, refused, repaired, deleted. No pod runs here.

mod bench;
mod changed;
mod deleted;
mod files;
mod made;
mod optional;
