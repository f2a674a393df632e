//! Names and paths of files and volumes: none that Midship uses, none where nobody can write, none twice.

use std::collections::BTreeMap;
use std::path::{Component as PathPart, Path};

use super::Lint;
use crate::extension::agent::{AGENT_FILE, PROCESS_FILE};
use crate::extension::context::{file_path, paths};
use crate::extension::contract::Component;

/// Folders that volumes would cover in the agent's container: its program, what that loads, trusts and is known by.
const AGENTS: [&str; 12] = [
    "/bin",
    "/dev",
    "/etc/ssl",
    "/lib",
    "/lib64",
    "/proc",
    "/run/secrets",
    "/sys",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/var/run/secrets",
];
/// What lies below one of them and is the middleware's to use.
const FREE: &str = "/dev/shm";

pub fn check(lint: &mut Lint<'_>) {
    for (name, component) in &lint.package.manifest.components {
        let field = format!("components.{name}");
        files(lint, &field, component);
        for (volume, declared) in &component.volumes {
            let field = format!("{field}.volumes.{volume}");
            let own = volume.as_str() == "tmp" && declared.path != "/tmp";
            if own || volume.as_str().starts_with("midship") {
                lint.at(&field, format!("a volume called {volume} is Midship's own; call it otherwise"));
            }
        }
    }
}

/// Why no volume can be mounted at a path: the agent has the volumes as well.
pub fn taken(path: &str) -> Option<String> {
    let path = Path::new(path);
    if path.starts_with("/midship") {
        return Some("/midship is taken".to_owned());
    }
    let touches = |folder: &&str| path.starts_with(folder) || Path::new(folder).starts_with(path);
    let folder = AGENTS.into_iter().find(touches).filter(|_| !path.starts_with(FREE))?;
    let path = path.display();
    Some(format!(
        "a volume at {path} would cover {folder}, which the agent needs; mount it at a folder of its own, such as /data"
    ))
}

/// Why a step cannot have a file at this path.
pub fn out_of_reach(path: &str, component: &Component) -> Option<String> {
    let climbs = Path::new(path).components().any(|part| part == PathPart::ParentDir);
    let below = |folder: &str| Path::new(path).starts_with(folder);
    let reached =
        paths::FOR_STEPS.into_iter().any(below) || component.volumes.values().any(|volume| below(&volume.path));
    let private = paths::PRIVATE.into_iter().any(below);
    (climbs || private || !reached).then(|| {
        format!(
            "{} is no place for a step's file; give one on a volume of the component, in /tmp or below {}",
            path.escape_default(),
            paths::FILES
        )
    })
}

fn files(lint: &mut Lint<'_>, field: &str, component: &Component) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (file, config) in &component.config {
        let field = format!("{field}.config.{file}");
        if [AGENT_FILE, PROCESS_FILE].contains(&file.as_str()) {
            lint.at(&field, format!("a file called {file} is Midship's own; call it otherwise and give it a path"));
        }
        let path = file_path(file, config);
        let within = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let writable = [paths::FILES, paths::RUN, "/tmp"].into_iter().any(within)
            || component.volumes.values().any(|volume| within(volume.path.trim_end_matches('/')));
        if path.starts_with('/') && !config.once && !writable {
            lint.at(
                &field,
                format!(
                    "{path} lies on no volume, and nothing else can be written; leave the path out or add a volume"
                ),
            );
        }
        // of two with conditions only one may be there at a time
        if config.when.is_none()
            && let Some(other) = seen.insert(path.clone(), file)
        {
            lint.at(&field, format!("{path} is written by {other} as well"));
        }
    }
}
