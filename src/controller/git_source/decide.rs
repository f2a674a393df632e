//! The plan of a sync: from what the repository says and what is in the cluster to what is to be done.

use kube::Client;

use super::GitSources;
use super::live::{self, Observed, Part, Settled};
use super::look::Seen;
use super::once::Operations;
use super::settings::Settings;
use crate::controller::frame::Failure;
use crate::plan::source::{ObjectId, ObjectKind, Plan, Situation, plan};

impl GitSources {
    /// The plan for everything, made from a part where nothing but actions follows from that; and the part it was made from.
    pub(super) async fn decide_from(
        &self,
        client: &Client,
        settings: &Settings,
        seen: &Seen,
        part: Part,
        (settled, operations, newest): (&mut Settled, &Operations, bool),
    ) -> Result<(Plan, Observed, Part), Failure> {
        if !part.is_everything() {
            let (mut plan, live) = self.decide(client, settings, seen, &part, (settled, operations, newest)).await?;
            if plan.is_plain() {
                plan.in_sync = seen.desired.len().saturating_sub(plan.actions.len() + plan.done.len());
                return Ok((plan, live, part));
            }
        }
        let (plan, live) =
            self.decide(client, settings, seen, &Part::Everything, (settled, operations, newest)).await?;
        Ok((plan, live, Part::Everything))
    }

    /// The plan for a part of the objects, and what it was made from.
    pub(super) async fn decide(
        &self,
        client: &Client,
        settings: &Settings,
        seen: &Seen,
        part: &Part,
        (settled, operations, newest): (&mut Settled, &Operations, bool),
    ) -> Result<(Plan, Observed), Failure> {
        let mut live = live::observe(&self.caches, client, settings, seen, part, settled).await?;
        let desired = part.desired(seen);
        let prune = settings.prune(&seen.commit);
        let goes = |id: &&ObjectId| {
            let deleting = live.objects.get(*id).is_some_and(|there| there.deleting);
            prune.enabled && id.kind != ObjectKind::Namespace && !deleting
        };
        let gone: Vec<ObjectId> = live.uids.keys().filter(goes).cloned().collect();
        live.powerless = self.powerless(&settings.label, &gone).await;
        let mut plan = plan(&Situation {
            source: &settings.label,
            desired: &desired,
            live: &live.objects,
            unknown: &seen.unknown,
            untrusted: &|path| seen.is_untrusted(path),
            ignored: &|path| seen.ignored.get(path).cloned(),
            may_be_ignored: seen.may_be_ignored,
            needed: &|id| self.needed_by(id, &settings.label, &live.powerless),
            // what a repository says of deletions counts, and cannot be known while it cannot be read; it may define by now
            // what it did not when it was last seen
            whole_tree_read: part.is_everything() && seen.settings.is_some() && newest,
            prune: seen.settings.as_ref().map_or(prune, |settings| settings.limit(prune)),
            drift: settings.drift,
        });
        operations.hold_back(&mut plan, seen);
        Ok((plan, live))
    }
}
