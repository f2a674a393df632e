//! Upgrade gates: one step at a time, extension and middleware separately, and a refusal that names the path.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::contract::{Manifest, VersionUpgrade};
use super::problem::{Code, Refusal, listed, way};

/// Where an instance stands, or is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand<'a> {
    pub extension: &'a str,
    pub version: &'a str,
}

/// A step that may be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing changes.
    None,
    Extension {
        from: String,
        to: String,
        rollback: bool,
    },
    Version {
        upgrade: VersionUpgrade,
        rollback: bool,
    },
}

/// Whether an instance may go from one stand to another. `installed` are the installed versions of its type.
pub fn step(installed: &[&Manifest], from: Stand<'_>, to: Stand<'_>) -> Result<Step, Refusal> {
    match (from.extension == to.extension, from.version == to.version) {
        (true, true) => Ok(Step::None),
        (false, false) => Err(Refusal::new(
            "spec.extensionVersion",
            Code::UpgradePath,
            format!(
                "extension version ({} to {}) and middleware version ({} to {}) change at once; change one, wait until the instance runs, then change the other",
                from.extension, to.extension, from.version, to.version
            ),
        )),
        (false, true) => extension(installed, from, to),
        (true, false) => version(installed, from, to),
    }
}

fn extension(installed: &[&Manifest], from: Stand<'_>, to: Stand<'_>) -> Result<Step, Refusal> {
    let refuse = |reason: String| Refusal::new("spec.extensionVersion", Code::UpgradePath, reason);
    let find = |version: &str| installed.iter().find(|manifest| manifest.version.as_str() == version);
    let Some(target) = find(to.extension) else {
        let known = listed(installed.iter().map(|manifest| manifest.version.as_str()));
        return Err(refuse(format!("version {} is not installed; installed is {known}", to.extension)));
    };
    if target.version(from.version).is_none() {
        let known = listed(target.versions.iter().map(|version| version.version.as_str()));
        return Err(refuse(format!(
            "{} does not run middleware version {} of this instance; it runs {known}: upgrade the middleware first",
            to.extension, from.version
        )));
    }
    let names =
        |manifest: &Manifest, version: &str| manifest.upgradable_from.iter().any(|known| known.as_str() == version);
    let (from_text, to_text) = (from.extension.to_owned(), to.extension.to_owned());
    if names(target, from.extension) {
        return Ok(Step::Extension { from: from_text, to: to_text, rollback: false });
    }
    if find(from.extension).is_some_and(|current| names(current, to.extension)) {
        return Ok(Step::Extension { from: from_text, to: to_text, rollback: true });
    }
    let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for manifest in installed {
        for lower in &manifest.upgradable_from {
            edges.entry(lower.as_str()).or_default().push(manifest.version.as_str());
        }
    }
    Err(refuse(no_single_step(&edges, from.extension, to.extension, "upgradableFrom of the installed versions")))
}

fn version(installed: &[&Manifest], from: Stand<'_>, to: Stand<'_>) -> Result<Step, Refusal> {
    let refuse = |reason: String| Refusal::new("spec.version", Code::UpgradePath, reason);
    let Some(manifest) = installed.iter().find(|manifest| manifest.version.as_str() == from.extension) else {
        return Err(refuse(format!("extension version {} of this instance is not installed", from.extension)));
    };
    if manifest.version(to.version).is_none() {
        let known = listed(manifest.versions.iter().map(|version| version.version.as_str()));
        return Err(refuse(format!("{} does not run version {}; it runs {known}", manifest.version, to.version)));
    }
    let find = |from: &str, to: &str| {
        manifest.upgrades.iter().find(|upgrade| upgrade.from.as_str() == from && upgrade.to.as_str() == to)
    };
    if let Some(upgrade) = find(from.version, to.version) {
        return Ok(Step::Version { upgrade: upgrade.clone(), rollback: false });
    }
    if let Some(upgrade) = find(to.version, from.version) {
        if upgrade.rollback == Some(false) {
            return Err(refuse(format!(
                "{} cannot read what {} wrote, so there is no way back from {} to {}: restore a backup instead",
                to.version, from.version, from.version, to.version
            )));
        }
        return Ok(Step::Version { upgrade: upgrade.clone(), rollback: true });
    }
    let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for upgrade in &manifest.upgrades {
        edges.entry(upgrade.from.as_str()).or_default().push(upgrade.to.as_str());
    }
    Err(refuse(no_single_step(&edges, from.version, to.version, "the upgrades this package declares")))
}

fn no_single_step(edges: &BTreeMap<&str, Vec<&str>>, from: &str, to: &str, source: &str) -> String {
    if let Some(path) = path(edges, from, to) {
        return format!(
            "{from} to {to} is {} steps; take one at a time: {}; next is {}",
            path.len() - 1,
            way(&path, " to "),
            path.get(1).copied().unwrap_or(to)
        );
    }
    match edges.get(from) {
        Some(next) => format!(
            "there is no way from {from} to {to} in {source}; from {from} one can go to {}",
            listed(next.iter().copied())
        ),
        None => format!("there is no way from {from} to {to} in {source}; nothing leads on from {from}"),
    }
}

/// The shortest path, both ends included.
fn path<'a>(edges: &BTreeMap<&'a str, Vec<&'a str>>, from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut queue = VecDeque::from([vec![from]]);
    let mut seen = BTreeSet::from([from]);
    while let Some(path) = queue.pop_front() {
        let last = *path.last()?;
        if last == to {
            return Some(path);
        }
        for next in edges.get(last).into_iter().flatten() {
            if seen.insert(next) {
                let mut longer = path.clone();
                longer.push(next);
                queue.push_back(longer);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(version: &str, from: &str, versions: &[&str], upgrades: &str) -> Manifest {
        let list: Vec<String> = versions.iter().map(|v| format!("{{version: '{v}', image: 'a:{v}'}}")).collect();
        let text = format!(
            "type: t\nversion: {version}\nupgradableFrom: [{from}]\nversions: [{}]\nupgrades: [{upgrades}]\n\
             components: {{a: {{command: [a]}}}}\n",
            list.join(", ")
        );
        serde_saphyr::from_str(&text).expect("a manifest")
    }

    fn refusal(from: (&str, &str), to: (&str, &str)) -> String {
        let upgrades = "{from: '6.0', to: '6.2'}, {from: '6.2', to: '7.0', rollback: false}";
        let all = [
            manifest("1.0.0", "", &["6.0", "6.2", "7.0"], upgrades),
            manifest("1.1.0", "1.0.0", &["6.0", "6.2", "7.0"], upgrades),
            manifest("1.2.0", "1.1.0", &["6.2", "7.0"], upgrades),
        ];
        let installed: Vec<&Manifest> = all.iter().collect();
        let from = Stand { extension: from.0, version: from.1 };
        let to = Stand { extension: to.0, version: to.1 };
        match step(&installed, from, to) {
            Ok(step) => format!("{step:?}"),
            Err(refusal) => refusal.reason,
        }
    }

    #[test]
    fn a_single_step_is_allowed_and_so_is_the_way_back() {
        assert!(refusal(("1.0.0", "6.0"), ("1.1.0", "6.0")).contains("rollback: false"));
        assert!(refusal(("1.1.0", "6.0"), ("1.0.0", "6.0")).contains("rollback: true"));
        assert!(refusal(("1.0.0", "6.0"), ("1.0.0", "6.2")).starts_with("Version"));
        assert!(refusal(("1.0.0", "6.2"), ("1.0.0", "6.0")).contains("rollback: true"));
        assert_eq!(refusal(("1.0.0", "6.0"), ("1.0.0", "6.0")), "None");
    }

    #[test]
    fn several_steps_are_refused_with_the_path() {
        assert_eq!(
            refusal(("1.0.0", "6.2"), ("1.2.0", "6.2")),
            "1.0.0 to 1.2.0 is 2 steps; take one at a time: 1.0.0 to 1.1.0 to 1.2.0; next is 1.1.0"
        );
        assert_eq!(
            refusal(("1.0.0", "6.0"), ("1.0.0", "7.0")),
            "6.0 to 7.0 is 2 steps; take one at a time: 6.0 to 6.2 to 7.0; next is 6.2"
        );
    }

    #[test]
    fn what_cannot_be_undone_says_so() {
        assert_eq!(
            refusal(("1.0.0", "7.0"), ("1.0.0", "6.2")),
            "6.2 cannot read what 7.0 wrote, so there is no way back from 7.0 to 6.2: restore a backup instead"
        );
    }

    #[test]
    fn both_at_once_unknown_targets_and_missing_ways_are_refused() {
        assert!(refusal(("1.0.0", "6.0"), ("1.1.0", "6.2")).starts_with("extension version (1.0.0 to 1.1.0) and"));
        assert_eq!(
            refusal(("1.0.0", "6.0"), ("3.0.0", "6.0")),
            "version 3.0.0 is not installed; installed is 1.0.0, 1.1.0 and 1.2.0"
        );
        assert_eq!(
            refusal(("1.1.0", "6.0"), ("1.2.0", "6.0")),
            "1.2.0 does not run middleware version 6.0 of this instance; it runs 6.2 and 7.0: upgrade the middleware first"
        );
        assert_eq!(
            refusal(("1.0.0", "7.0"), ("1.0.0", "6.0")),
            "there is no way from 7.0 to 6.0 in the upgrades this package declares; nothing leads on from 7.0"
        );
        assert_eq!(
            refusal(("1.0.0", "6.0"), ("1.0.0", "5.0")),
            "1.0.0 does not run version 5.0; it runs 6.0, 6.2 and 7.0"
        );
    }
}
