//! Upgrade paths: between known versions, without circles, and for the package itself only forwards.

use std::collections::{BTreeMap, BTreeSet};

use super::Lint;
use crate::extension::problem::{unknown, way};

pub fn check(lint: &mut Lint<'_>) {
    let manifest = &lint.package.manifest;
    let known: Vec<&str> = manifest.versions.iter().map(|version| version.version.as_str()).collect();
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (place, upgrade) in manifest.upgrades.iter().enumerate() {
        let field = format!("upgrades[{place}]");
        for version in [&upgrade.from, &upgrade.to] {
            if !known.contains(&version.as_str()) {
                lint.at(&field, unknown("version", version.as_str(), known.iter().copied()));
            }
        }
        if upgrade.from == upgrade.to {
            lint.at(&field, format!("{} to itself is no upgrade", upgrade.from));
        } else if !edges.entry(upgrade.from.as_str()).or_default().insert(upgrade.to.as_str()) {
            lint.at(&field, format!("{} to {} is there twice", upgrade.from, upgrade.to));
        }
    }
    if let Some(circle) = circle(&edges) {
        lint.at("upgrades", format!("upgrades run in a circle: {}", way(&circle, " to ")));
    }
    for (place, version) in manifest.upgradable_from.iter().enumerate() {
        if version.semver() >= manifest.version.semver() {
            let reason = format!("{version} is not below {}, and upgrades only go up", manifest.version);
            lint.at(&format!("upgradableFrom[{place}]"), reason);
        }
    }
}

/// The first circle found, its first version repeated at its end. A path may be as long as a package is: it lies on the heap.
pub(super) fn circle<'a>(edges: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Option<Vec<&'a str>> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for start in edges.keys() {
        let mut path: Vec<&'a str> = Vec::new();
        // what is still to be looked at: of the start, and of each on the path
        let mut ahead: Vec<Vec<&'a str>> = vec![vec![*start]];
        while let Some(next) = ahead.last_mut() {
            let Some(at) = next.pop() else {
                ahead.pop();
                done.extend(path.pop());
                continue;
            };
            if let Some(begin) = path.iter().position(|one| *one == at) {
                let mut circle = path.split_off(begin);
                circle.push(at);
                return Some(circle);
            }
            if !done.contains(at) {
                path.push(at);
                ahead.push(edges.get(at).into_iter().flatten().rev().copied().collect());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_any_length_is_followed_and_a_circle_at_its_end_is_found() {
        let names: Vec<String> = (0..6_000).map(|number| format!("{number:05}")).collect();
        let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for pair in names.windows(2) {
            edges.insert(&pair[0], BTreeSet::from([pair[1].as_str()]));
        }
        assert_eq!(circle(&edges), None);
        edges.insert(&names[5_999], BTreeSet::from([names[5_998].as_str()]));
        assert_eq!(circle(&edges).map(|found| found.len()), Some(3));
    }
}
