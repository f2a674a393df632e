//! What docs/extensions.md promises a newcomer is true: its package is right at every step of the tutorial.

mod bench;

use std::path::Path;

use midship::extension::{Package, PackageFiles, cases, cue};

/// The blocks of code in the tutorial, in order, without the words after the fence.
fn blocks() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/extensions.md");
    let text = std::fs::read_to_string(path).expect("the page");
    let tutorial = text.split("\n## ").nth(1).expect("a tutorial").to_owned();
    tutorial
        .split("```")
        .skip(1)
        .step_by(2)
        .map(|block| block.split_once('\n').map_or(String::new(), |(_, code)| code.to_owned()))
        .collect()
}

fn load(manifest: &str, config: &str, tests: &str) -> Package {
    let files = [("extension.yaml", manifest), ("config/nats.conf.j2", config), ("tests/render.yaml", tests)];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    Package::load(PackageFiles::new(files).expect("plain files")).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_package_of_the_tutorial_is_right_from_its_first_step_to_its_last() {
    let blocks = blocks();
    let [manifest, config, tests, credentials, topologies, cluster, health] = blocks.as_slice() else {
        panic!("the tutorial has {} blocks of code", blocks.len());
    };
    let last = format!("{manifest}{health}{credentials}{topologies}");
    for (manifest, config) in [(manifest.clone(), config.clone()), (last, format!("{config}{cluster}"))] {
        for outcome in cases::run(&load(&manifest, &config, tests), &cue::Nobody) {
            assert!(outcome.passed(), "{outcome}");
        }
    }
}
