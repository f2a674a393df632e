//! Backups in the agent: what they need of it, and starts that wait for a restore.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::mark;
use super::shared::Shared;
use crate::agent::actions::{Actor, Extras};
use crate::agent::backup::{Backups, Begun, Facts, Hold, Marker, Surroundings, hold};
use crate::agent::pid1::Pid1;
use crate::lifecycle::ArchiveStatus;

/// How often a start that is held looks whether it may go on.
const LOOK: Duration = Duration::from_millis(500);

impl Surroundings for Shared {
    fn actor(&self) -> Arc<Actor> {
        Shared::actor(self)
    }

    fn pid1(&self) -> Pid1 {
        self.pid1.clone()
    }

    fn extras(&self) -> Extras {
        Shared::extras(self)
    }

    fn records(&self) -> PathBuf {
        self.options.socket.parent().map(Path::to_owned).unwrap_or_default()
    }

    fn archives(&self, status: Option<ArchiveStatus>) {
        self.find(|findings| findings.archive = status);
    }
}

/// Comes back when no restore stands in the way of a start.
pub async fn restored(shared: &Arc<Shared>, backups: &Arc<Backups>) {
    let (mut said, mut silent) = (None, false);
    loop {
        let (of, looks) = (Arc::clone(shared), Arc::clone(backups));
        let held = match shared.disk.ask(move || held(&of, &looks)).await {
            Ok(held) => held,
            Err(error) => {
                if !std::mem::replace(&mut silent, true) {
                    tracing::warn!(%error, "the process does not start yet");
                }
                sleep(LOOK).await;
                continue;
            }
        };
        silent = false;
        if held != said {
            if held == Some(Hold::Interrupted) {
                tracing::warn!(
                    "a restore was interrupted: the process does not start on what is left; restore anew, or where others have the data, delete this pod and its volume"
                );
            } else if let Some(hold) = &held {
                tracing::info!(?hold, "the process does not start yet");
            } else {
                tracing::info!("the process may start");
            }
        }
        let waits = match &held {
            Some(Hold::Restore(name)) => Some(name.clone()),
            Some(Hold::Interrupted) => Some(
                "a new one: the last was interrupted; where others have the data, delete this pod and its volume instead"
                    .to_owned(),
            ),
            Some(Hold::Restoring | Hold::First) | None => None,
        };
        shared.find(|findings| findings.waits_for_restore = waits);
        if held.is_none() {
            let of = Arc::clone(shared);
            if let Err(error) = shared.disk.ask(move || forget_interrupted(&of)).await {
                tracing::warn!(%error, "it cannot be seen whether a restore was interrupted before");
            }
            return;
        }
        said = held;
        sleep(LOOK).await;
    }
}

/// Data of its set that a pod has by now is whole: an earlier restore that broke off is nothing any more.
fn forget_interrupted(shared: &Shared) {
    let place = shared.place();
    let Some(data) = place.config.data.as_deref().map(Path::new) else { return };
    if matches!(mark::read(data), Ok(Some(_)))
        && let Err(error) = Begun::remove(data)
    {
        tracing::warn!(%error, "the note of a restore that was interrupted stays");
    }
}

fn held(shared: &Shared, backups: &Backups) -> Option<Hold> {
    let place = shared.place();
    let config = &place.config;
    let data = config.data.as_deref().map(Path::new);
    let marker = data.and_then(|data| match Marker::read(data) {
        Ok(marker) => marker,
        Err(error) => {
            // a start without the data that was asked for would be worse than none
            tracing::error!(%error, "what was restored cannot be read");
            None
        }
    });
    let pods = place.pods();
    let lowest = pods.iter().min_by_key(|pod| pod["ordinal"].as_u64()).and_then(|pod| pod["name"].as_str());
    let holder = shared.findings.borrow().summary.as_ref().and_then(|summary| summary.holder.clone());
    hold(Facts {
        wanted: config.restore.as_deref(),
        restored: marker.as_ref().and_then(|marker| marker.restore.as_deref()),
        restoring: backups.restores(),
        interrupted: data.is_some_and(|data| Begun::interrupted(data, config.restore.as_deref(), marker.is_some())),
        first: lowest.is_none_or(|name| name == place.pod),
        handed_out: place.handed_out(),
        member: data.is_some_and(|data| matches!(mark::read(data), Ok(Some(_)))),
        led: holder.is_some_and(|holder| holder != place.pod),
    })
}
