//! What an incremental backup adds to. Where anything is missing for it there is a reason, and a full one is made.

use std::path::PathBuf;

use super::kept::{Kept, patiently};
use super::{BackupError, Surroundings, data};
use crate::agent::actions::Actor;
use crate::api::operation::BackupType;
use crate::backup::id::Id;
use crate::backup::read::{Catalog, Found, Target};
use crate::backup::write::WriteError;
use crate::extension::contract::BackupMethod;
use crate::lifecycle::backup::BackupOrder;

/// The backup that is added to, and what it left here for that.
pub struct Parent {
    pub found: Found,
    pub left: PathBuf,
}

/// Where backups by this method leave something for the next one, or why there are no incremental ones.
pub fn place(around: &dyn Surroundings, actor: &Actor, method: &BackupMethod) -> Result<Kept, String> {
    if !method.types.contains(&BackupType::Incremental) {
        return Err("the method makes none that add to others".to_owned());
    }
    if let Some(incremental) = &method.incremental {
        let holds = actor.holds("incremental.when", &incremental.when, &around.extras());
        if !holds.map_err(|error| error.to_string())? {
            return Err(format!("an incremental one {}", incremental.needs));
        }
    }
    data(actor.config()).map(Kept::below).map_err(|error| error.to_string())
}

/// What is added to, or why that cannot be done.
pub async fn parent(
    catalog: &Catalog,
    order: &BackupOrder,
    engine: &str,
    kept: &Result<Kept, String>,
    id: Id,
) -> Result<Parent, String> {
    let kept = kept.clone()?;
    let chain = catalog.chain(&order.owner, Target::Backup(id)).map_err(|error| error.to_string())?;
    let found = chain.last().copied().ok_or_else(|| format!("there is no backup {id}"))?;
    if found.manifest.method != order.method {
        return Err(format!("backup {id} was made by the method {}", found.manifest.method));
    }
    if found.manifest.engine != engine {
        return Err(format!("backup {id} is of version {}, and the data is of {engine} by now", found.manifest.engine));
    }
    match patiently(move || kept.of(id)).await {
        Ok(Some(left)) => Ok(Parent { found: found.clone(), left }),
        Ok(None) => Err(format!(
            "this pod does not have what backup {id} left for the next one: another pod made it, it was made before \
             incremental ones could be, or the pod's data was replaced since"
        )),
        Err(error) => Err(format!("what backup {id} left for the next one cannot be looked at: {error}")),
    }
}

/// Whether a full backup may come about where this one did not: the source refused what it was to add to, or that is going.
pub fn refused(error: &BackupError) -> bool {
    matches!(
        error,
        BackupError::Command { .. }
            | BackupError::Write(WriteError::Parent(_) | WriteError::Gate { .. } | WriteError::Source { .. })
    )
}
