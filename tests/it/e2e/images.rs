//! Images of the tests, brought onto the nodes.

use std::path::{Path, PathBuf};

use crate::harness::Run;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Loads an image by the name it has in `tests/images` and returns the tag pods ask for. A cluster that is not ours is
/// expected to pull it.
pub fn load(name: &str) -> String {
    let mut ask = Run::new(root().join("tests/images/build")).args(["--ref", name]);
    if let Some(tag) = std::env::var_os("MIDSHIP_TEST_TAG") {
        ask = ask.env("MIDSHIP_TEST_TAG", tag);
    }
    let tag = ask.stdout().trim().to_owned();
    let Some(state) = std::env::var_os("MIDSHIP_CLUSTER") else { return tag };
    let folder =
        std::env::var_os("MIDSHIP_TEST_IMAGES").map(PathBuf::from).expect("MIDSHIP_TEST_IMAGES names the archives");
    let archive = folder.join(format!("{name}.tar"));
    let mut load = Run::new(root().join("tests/cluster/cluster")).env("MIDSHIP_CLUSTER", state);
    for name in ["MIDSHIP_CACHE", "HOME"] {
        if let Some(value) = std::env::var_os(name) {
            load = load.env(name, value);
        }
    }
    load.arg("load").arg(archive).stdout();
    tag
}
