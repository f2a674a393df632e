//! Circles: modules that can only be understood together, because each uses the others. In some rooms there are none.

use std::collections::{BTreeMap, BTreeSet};

use super::{File, files, module_of, paths, report};

/// Rooms whose modules build on one another in one direction.
const STRAIGHT: [&str; 5] = ["controller::git_source", "extension", "plan::source", "repo", "source"];

type Uses = BTreeMap<String, BTreeSet<String>>;

#[test]
fn modules_build_on_one_another_in_one_direction() {
    report(&circles(&files(&["src"])));
}

/// Which module uses which. A module and what is inside it belong together, and what tests use does not count.
fn uses(files: &[File]) -> Uses {
    let names: BTreeSet<String> = files.iter().map(|file| module_of(&file.path).join("::")).collect();
    let inside = |a: &str, b: &str| a.starts_with(&format!("{b}::"));
    let mut uses = Uses::new();
    for file in files {
        let module = module_of(&file.path);
        let name = module.join("::");
        let said = paths::read(&file.text, &module);
        let ours =
            said.paths.iter().filter(|named| !named.in_test && named.path.first().is_some_and(|one| one == "crate"));
        let used = ours.filter_map(|named| {
            let path = &named.path[1..];
            (1..=path.len()).rev().map(|length| path[..length].join("::")).find(|prefix| names.contains(prefix))
        });
        let used = used.filter(|used| *used != name && !inside(used, &name) && !inside(&name, used)).collect();
        uses.insert(name, used);
    }
    uses
}

fn circles(files: &[File]) -> Vec<String> {
    let uses = uses(files);
    let tests = |name: &str| name.split("::").any(|part| part.ends_with("tests") || part == "fixture");
    let mut broken = Vec::new();
    for room in STRAIGHT {
        let inside = |name: &str| (name == room || name.starts_with(&format!("{room}::"))) && !tests(name);
        let mut own = uses.clone();
        own.retain(|name, _| inside(name));
        for name in own.keys() {
            if let Some(way) = way_back(&own, name) {
                broken.push(format!(
                    "{}: these use one another in a circle; move what both need into a module of its own",
                    way.join(" → ")
                ));
            }
        }
    }
    broken
}

/// The shortest way from a module back to itself.
fn way_back(uses: &Uses, start: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.to_owned()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let last = way.last().expect("it has a start");
            for next in uses.get(last).into_iter().flatten() {
                let further = [way.clone(), vec![next.clone()]].concat();
                if next == start {
                    return Some(further);
                }
                if seen.insert(next.clone()) {
                    longer.push(further);
                }
            }
        }
        ways = longer;
    }
    None
}

#[test]
fn a_circle_would_be_noticed() {
    let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
    let tangled = [
        file("src/repo/mod.rs", "mod a;\nmod b;\nmod c;"),
        file("src/repo/a.rs", "use super::b::B;"),
        file("src/repo/b.rs", "use super::c::C;"),
        file("src/repo/c.rs", "use crate::repo::a::A;"),
    ];
    let found = circles(&tangled);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("repo::a → repo::b → repo::c → repo::a: "), "{}", found[0]);
    assert_eq!(circles(&tangled[..3]), Vec::<String>::new());
}
