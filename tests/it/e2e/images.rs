//! Images of the tests, brought onto the nodes.

use std::path::{Path, PathBuf};

use crate::harness::Run;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Loads an image by the name it has in `tests/images` and returns the tag pods ask for. A cluster that is not ours is
/// expected to pull it.
pub fn load(name: &str) -> String {
    load_with(super::cluster::program(), name)
}

/// The same into the cluster that this program is told about.
pub fn load_with(cluster: Option<Run>, name: &str) -> String {
    let tag = Run::new(root().join("tests/images/build")).args(["--ref", name]).stdout().trim().to_owned();
    let Some(load) = cluster else { return tag };
    let folder =
        std::env::var_os("MIDSHIP_TEST_IMAGES").map(PathBuf::from).expect("MIDSHIP_TEST_IMAGES names the archives");
    let archive = folder.join(format!("{name}.tar"));
    load.arg("load").arg(archive).stdout();
    tag
}
