//! Upgrade paths: between known versions, without circles, and for the package itself only forwards.

use std::collections::{BTreeMap, BTreeSet};

use super::Lint;
use crate::extension::problem::unknown;

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
        lint.at("upgrades", format!("upgrades run in a circle: {}", circle.join(" to ")));
    }
    for (place, version) in manifest.upgradable_from.iter().enumerate() {
        if version.semver() >= manifest.version.semver() {
            let reason = format!("{version} is not below {}, and upgrades only go up", manifest.version);
            lint.at(&format!("upgradableFrom[{place}]"), reason);
        }
    }
}

/// The first circle found, its first version repeated at its end.
pub(super) fn circle<'a>(edges: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Option<Vec<&'a str>> {
    fn walk<'a>(
        at: &'a str,
        edges: &BTreeMap<&'a str, BTreeSet<&'a str>>,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<&'a str>> {
        if let Some(start) = path.iter().position(|version| *version == at) {
            let mut circle = path[start..].to_vec();
            circle.push(at);
            return Some(circle);
        }
        if done.contains(at) {
            return None;
        }
        path.push(at);
        let found = edges.get(at).and_then(|next| next.iter().find_map(|to| walk(to, edges, path, done)));
        path.pop();
        done.insert(at);
        found
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|start| walk(start, edges, &mut Vec::new(), &mut done))
}
