//! Changed configuration: files are written anew, and parameters that can be changed while the process runs are taken over
//! by the package's `reload`; the others are reported until the process starts again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use super::shared::Shared;
use super::{deeds, place};
use crate::agent::files;
use crate::agent::init::protocol::Op;
use crate::agent::secrets::Secrets;
use crate::extension::agent::{AgentConfig, FilePlan, PROCESS_FILE};
use crate::extension::contract::Change;

/// How often mounted files are looked at; the kubelet replaces a link when they change.
const LOOK: Duration = Duration::from_millis(500);
/// Between two tries of a reload that failed.
const RETRY: Duration = Duration::from_secs(5);
const RELOAD_PATIENCE: Duration = Duration::from_secs(30);
/// The actions that take new passwords and new certificates over.
const CREDENTIALS: &str = "rotateCredentials";
const CERTIFICATES: &str = "rotateCertificates";
/// What was in effect when this was written, beside the sockets.
const RECORD: &str = "effective.json";

/// What a running process goes by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Effective {
    /// Which process, since a new one begins with everything.
    process: Option<String>,
    revision: String,
    parameters: Map<String, Value>,
    /// The certificates it began with, where only a start takes new ones over.
    #[serde(default)]
    certificates: Option<String>,
    /// The mounts of secrets and of certificates that it was told of.
    #[serde(default)]
    told_of: [Option<String>; 2],
    /// Files were written that it has not read.
    #[serde(default)]
    stale: bool,
}

/// What differs, by what it needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Differences {
    /// For the process while it runs.
    pub reload: Vec<Value>,
    /// Names of those that need a start.
    pub restart: Vec<String>,
}

/// Compares two sets of parameters; what nobody declares needs a start.
pub fn differences(old: &Map<String, Value>, new: &Map<String, Value>, config: &AgentConfig) -> Differences {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut found = Differences::default();
    for name in names {
        let (from, to) = (old.get(name), new.get(name));
        if from == to {
            continue;
        }
        match config.changes.get(name).copied().unwrap_or(Change::Restart) {
            Change::None => {}
            Change::Reload => found.reload.push(deeds::changed(name, from, to)),
            Change::Restart | Change::Recreate | Change::Immutable => found.restart.push(name.clone()),
        }
    }
    found
}

/// Parameters, and with them files that only a start takes over: nobody declares what those need, so they restart.
fn parameters(config: &AgentConfig) -> Map<String, Value> {
    let mut all = config.context["params"].as_object().cloned().unwrap_or_default();
    all.extend(config.user_files.iter().map(|(name, digest)| (format!("file {name}"), json!(digest))));
    all
}

/// Whether the process has to hear of what was written.
fn concern_process(written: &[PathBuf], plans: &[FilePlan]) -> bool {
    let quiet = |path: &Path| plans.iter().any(|plan| plan.quiet && Path::new(&plan.path) == path);
    written.iter().any(|path| !path.ends_with(PROCESS_FILE) && !quiet(path))
}

/// What tells certificates from others; nothing where a running process takes new ones over.
fn certificates(shared: &Shared) -> Option<String> {
    let place = shared.place();
    let config = &place.config;
    let by_start = config.renewal.is_some_and(|renewal| renewal > Change::Reload);
    let taken_over = config.actions.rotate_certificates.is_some();
    let read = |name: &str| std::fs::read(shared.options.tls.join(name)).ok();
    let certificate = read("tls.crt").filter(|_| by_start && !taken_over)?;
    let authority = read("ca.crt").unwrap_or_default();
    Some(hex::encode(Sha256::digest([certificate, authority].concat())))
}

/// A fingerprint of what is mounted in these places.
type Fingerprint = [Option<(u64, SystemTime)>; 4];

/// Those of secrets and of certificates, as they are written down.
fn mounts([_, _, secrets, tls]: &Fingerprint) -> [Option<String>; 2] {
    let text = |(number, at): (u64, SystemTime)| {
        let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        format!("{number} {}", at.as_nanos())
    };
    [secrets.map(text), tls.map(text)]
}

fn fingerprint(shared: &Shared) -> Fingerprint {
    use std::os::unix::fs::MetadataExt;
    let link = |dir: Option<&Path>| {
        let metadata = std::fs::symlink_metadata(dir?.join("..data")).ok()?;
        Some((metadata.ino(), metadata.modified().ok()?))
    };
    let options = &shared.options;
    let file = std::fs::metadata(&options.config).ok();
    [
        file.and_then(|metadata| Some((metadata.ino(), metadata.modified().ok()?))),
        link(options.config.parent()),
        link(Some(&options.secrets)),
        link(Some(&options.tls)),
    ]
}

pub async fn follow(shared: Arc<Shared>) {
    let record = shared.options.socket.with_file_name(RECORD);
    let mut effective: Option<Effective> =
        std::fs::read(&record).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mut seen = None;
    let mut retry_at: Option<Instant> = None;
    loop {
        let now = fingerprint(&shared);
        let process = process(&shared);
        let started = process.is_some() && effective.as_ref().is_none_or(|known| known.process != process);
        let due = retry_at.is_some_and(|at| Instant::now() >= at);
        if started || due || seen.as_ref() != Some(&now) {
            if started {
                let config = shared.place();
                effective = Some(Effective {
                    process: process.clone(),
                    revision: config.config.revision.clone(),
                    parameters: parameters(&config.config),
                    certificates: certificates(&shared),
                    told_of: mounts(&now),
                    stale: false,
                });
            }
            let result = take_over(&shared, effective.as_mut(), mounts(&now)).await;
            retry_at = result.is_err().then(|| Instant::now() + RETRY);
            let error = result.err();
            if let Some(error) = &error {
                tracing::warn!(error, "the configuration cannot be taken over; it is tried again");
            }
            shared.find(|findings| findings.config_error = error);
            if let Some(bytes) = effective.as_ref().and_then(|effective| serde_json::to_vec(effective).ok())
                && let Err(error) = files::write_whole(&record, &bytes, 0o600)
            {
                tracing::warn!(%error, "what is in effect cannot be written down");
            }
            seen = Some(now);
        }
        sleep(LOOK).await;
    }
}

/// The process that runs, by what no other one has.
fn process(shared: &Shared) -> Option<String> {
    let findings = shared.findings.borrow();
    let status = findings.process.as_ref()?;
    Some(format!("{} {}", status.pid?, status.started_at.as_deref()?))
}

/// Reads what is mounted, writes files, and tells the process.
async fn take_over(
    shared: &Shared,
    effective: Option<&mut Effective>,
    mounts: [Option<String>; 2],
) -> Result<(), String> {
    let fresh = place::read(&shared.options.config).map_err(|error| error.to_string())?;
    let place = shared.place();
    let news = *place.config != fresh;
    if news {
        tracing::info!(revision = fresh.revision, "another configuration");
        shared.move_to(place.with(fresh));
    }
    let place = shared.place();
    let config = &place.config;
    let secrets = Secrets::read(&shared.options.secrets).map_err(|error| error.to_string())?;
    let written = files::write(&config.files, &secrets, &place.facts).map_err(|error| error.to_string())?;
    let wanted = parameters(config);
    let Some(effective) = effective else { return Ok(()) };
    let mut found = differences(&effective.parameters, &wanted, config);
    let certificates = certificates(shared);
    if effective.certificates != certificates {
        let which: String = certificates.unwrap_or_default().chars().take(8).collect();
        found.restart.push(format!("certificates {which}").trim_end().to_owned());
    }
    // what fails is owed until it is done, also by an agent that begins meanwhile
    effective.stale |= concern_process(&written, &config.files);
    for ((told, mount), action) in effective.told_of.iter_mut().zip(mounts).zip([CREDENTIALS, CERTIFICATES]) {
        if *told != mount {
            rotate(shared, action).await?;
            *told = mount;
        }
    }
    if !found.reload.is_empty() || (effective.stale && found.restart.is_empty()) {
        reload(shared, &found.reload).await?;
        effective.stale = false;
        for change in &found.reload {
            let name = change["name"].as_str().unwrap_or_default();
            match wanted.get(name) {
                Some(value) => effective.parameters.insert(name.to_owned(), value.clone()),
                None => effective.parameters.remove(name),
            };
        }
    }
    effective.revision.clone_from(&config.revision);
    let (revision, pending) = (config.revision.clone(), found.restart);
    shared.find(|findings| (findings.revision, findings.pending) = (Some(revision), pending));
    Ok(())
}

async fn reload(shared: &Shared, changed: &[Value]) -> Result<(), String> {
    let mut extras = shared.extras();
    extras.insert("changed".to_owned(), json!(changed));
    tracing::info!(parameters = changed.len(), "has the process take over changes");
    let answer = shared.actor().run("reload", extras).await.map_err(|error| error.to_string())?;
    if answer.is_some() || (changed.is_empty() && shared.place().config.reload_signal.is_none()) {
        return Ok(());
    }
    deeds::order(shared, Op::Reload, None, RELOAD_PATIENCE).await
}

/// New secrets or certificates, for those who can take them over while they run.
async fn rotate(shared: &Shared, action: &str) -> Result<(), String> {
    let answer = shared.actor().run(action, shared.extras()).await.map_err(|error| error.to_string())?;
    let by_reload = shared.place().config.renewal.is_none_or(|renewal| renewal == Change::Reload);
    if action == CERTIFICATES && answer.is_none() && by_reload {
        reload(shared, &[]).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_hears_of_every_file_but_those_it_reads_by_itself() {
        let plan = |path: &str, quiet| FilePlan {
            source: "/none".to_owned(),
            path: path.to_owned(),
            mode: "0600".to_owned(),
            once: false,
            quiet,
        };
        let plans = [plan("/midship/files/peers", true), plan("/midship/files/server.conf", false)];
        let heard = |paths: &[&str]| concern_process(&paths.iter().map(PathBuf::from).collect::<Vec<_>>(), &plans);
        assert!(!heard(&[]) && !heard(&["/midship/files/peers", "/midship/run/process.json"]));
        assert!(heard(&["/midship/files/peers", "/midship/files/server.conf"]));
    }
}
