//! The image of the Dockerfile and the one that tests pack without Docker are the same, as far as reading tells.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::read;

/// What stands between two words.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let rest = text.split_once(from).unwrap_or_else(|| panic!("there is no {from:?} in\n{text}")).1;
    rest.split_once(to).unwrap_or_else(|| panic!("there is no {to:?} after {from:?}")).0
}

/// The last stage of the Dockerfile, all of it, and the recipe for the same image.
fn both() -> (String, String, String) {
    let docker = read("Dockerfile");
    let last = docker.split_once("\nFROM scratch\n").expect("a last stage").1.to_owned();
    let recipe = between(&read("tests/images/recipes.sh"), "\nimage_midship() {", "\n}\n").to_owned();
    (last, docker, recipe)
}

#[test]
fn both_images_start_in_the_same_way() {
    let (last, _, recipe) = both();
    let config: Value = serde_json::from_str(between(&recipe, "<<<'", "'")).expect("the configuration of an image");
    let said = |name: &str| {
        let line = last.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("the Dockerfile says no {name}"))
    };
    let entrypoint: Value = serde_json::from_str(said("ENTRYPOINT")).expect("a list");
    let env: Vec<&str> = said("ENV").split(' ').collect();
    let (user, folder) = (said("USER"), said("WORKDIR"));
    assert_eq!(config, json!({ "Env": env, "User": user, "WorkingDir": folder, "Entrypoint": entrypoint }));
    let known = ["#", "COPY ", "ENV ", "WORKDIR ", "USER ", "ENTRYPOINT "];
    for line in last.lines().filter(|line| !line.is_empty()) {
        assert!(known.iter().any(|known| line.starts_with(known)), "the recipe knows nothing of: {line}");
    }
}

#[test]
fn both_images_hold_the_same_programs_and_files() {
    let (last, docker, recipe) = both();
    let manifest = read("Cargo.toml");
    let made: BTreeSet<&str> =
        manifest.split("[[bin]]\nname = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let copied: BTreeSet<&str> = between(&docker, "for program in ", ";").split(' ').collect();
    let packed: BTreeSet<&str> =
        recipe.split("\"$root/bin/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!((&copied, &packed), (&made, &made), "programs");
    let (theirs, ours) = (between(&docker, "/with-libraries /image ", "\n"), "with-libraries\" \"$WORK/root/git\" ");
    assert_eq!(theirs, between(&recipe, ours, "\n"), "programs with libraries");
    assert!(last.contains(" /bin/cue\n") && recipe.contains("cue/bin/cue\""), "cue");

    let written = |text: &str, file: &str| {
        let line = text.lines().find(|line| line.contains("echo '") && line.contains(file));
        between(line.unwrap_or_else(|| panic!("nothing is written into {file}")), "echo '", "'").to_owned()
    };
    for file in ["/etc/passwd", "/etc/group"] {
        assert_eq!(written(&docker, file), written(&recipe, file), "{file}");
    }
    for (theirs, ours) in [
        ("mkdir -p /image/bin /image/etc/ssl/certs ", "mkdir -p \"$root\"/{bin,etc/ssl/certs,tmp}"),
        ("install -d -m 1777 /image/tmp ", "chmod 1777 \"$root/tmp\""),
        ("ca-certificates.crt /image/etc/ssl/certs/", "ca-certificates.crt \"$root/etc/ssl/certs/\""),
    ] {
        assert!(docker.contains(theirs) && recipe.contains(ours), "{theirs:?} and {ours:?} belong together");
    }
}
