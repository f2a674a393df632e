//! What integration tests stand on: an API server, a namespace of one's own, waiting with deadlines, running our programs.

mod command;
mod definitions;
mod files;
mod random;
pub mod report;
mod scene;
mod server;
mod skip;
mod wait;

pub use command::{Output, Run, find, midship};
pub use definitions::{gone as definitions_gone, install as install_definitions, remove as remove_definitions};
pub use files::files_below;
pub use random::Random;
pub use scene::{Scene, api_test, e2e_test, on_another};
pub use skip::skip;
pub use wait::wait_for;
