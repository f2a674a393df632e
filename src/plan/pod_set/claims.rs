//! Volumes that exist: they grow where their storage class lets them, and are refused clearly where it does not.

use super::Planner;
use super::observed::{Attempt, Claim, Phase};
use super::steps::What;
use crate::api::values::Storage;
use crate::extension::naming;

impl Planner<'_> {
    /// The claims of an ordinal, by the volumes of the spec.
    pub(super) fn claim_names(&self, ordinal: u16) -> Vec<String> {
        let pod = self.seen.pod_name(ordinal);
        let volumes = self.current.pod.volumes.iter().flatten();
        volumes.map(|(volume, _)| naming::claim(volume, &pod)).collect()
    }

    pub(super) fn volumes(&mut self) {
        let seen = self.seen;
        let wanted: Vec<u16> = self.wanted.iter().copied().collect();
        for ordinal in wanted {
            let pod = seen.pod_name(ordinal);
            for (volume, storage) in seen.spec.template.volumes.iter().flatten() {
                let name = naming::claim(volume, &pod);
                let unplaced = seen
                    .pods
                    .get(&ordinal)
                    .is_some_and(|pod| pod.phase == Phase::Pending && pod.node.is_none() && !pod.leaving());
                if unplaced && !seen.claims.contains_key(&name) {
                    let reason = format!("{pod} cannot start without its volume {volume}, which is gone");
                    let what = What::CreateClaim { name, volume: volume.clone() };
                    self.plan.actions.push(super::Action { ordinal, what, reason });
                    continue;
                }
                let Some(claim) = seen.claims.get(&name).filter(|claim| claim.ours && !claim.deleting) else {
                    continue;
                };
                let labels = super::manifest::claim_labels(seen.spec, volume, ordinal);
                if labels.iter().any(|(key, value)| claim.labels.get(key) != Some(value)) {
                    self.plan.actions.push(super::Action {
                        ordinal,
                        what: What::LabelClaim { name: name.clone(), labels },
                        reason: "its labels are not as the spec says".to_owned(),
                    });
                }
                self.grow(ordinal, &name, claim, storage);
            }
        }
    }

    fn grow(&mut self, ordinal: u16, name: &str, claim: &Claim, storage: &Storage) {
        let seen = self.seen;
        let (Some(asked), Some(wanted)) = (claim.asked, storage.size.bytes()) else { return };
        let size = &storage.size.0;
        if wanted < asked {
            let message = format!(
                "volume {name} cannot shrink to {size}; set it back to what it was, or restore a backup into a new instance"
            );
            self.wait(ordinal, "VolumeCannotShrink", message).stalled();
            return;
        }
        if wanted == asked {
            if let Some(growing) = &claim.growing {
                self.wait(ordinal, "VolumeGrows", format!("volume {name} grows: {growing}"));
            }
            return;
        }
        if !claim.bound {
            self.wait(ordinal, "VolumePending", format!("volume {name} grows to {size} once it is bound"));
            return;
        }
        let class = claim.class.as_deref().unwrap_or_default();
        let of_class = match seen.classes.as_ref().map(|classes| classes.get(class)) {
            Some(Some(false)) => {
                Some(format!("storage class {class} does not let volumes grow (allowVolumeExpansion)"))
            }
            Some(None) => Some(format!("its storage class \"{class}\" does not exist")),
            Some(Some(true)) | None => None,
        };
        let never = of_class.is_some() || seen.refusal(&claim.uid, Attempt::Expand).is_some();
        let refused = seen.trouble(&claim.uid, Attempt::Expand).filter(|trouble| trouble.refused);
        if let Some(refusal) = of_class.or_else(|| refused.map(|trouble| trouble.message.clone())) {
            let message = format!("volume {name} cannot grow to {size}: {refusal}");
            self.wait(ordinal, "VolumeCannotGrow", message).stalled();
        }
        if never {
            return;
        }
        self.plan.actions.push(super::Action {
            ordinal,
            what: What::GrowClaim { name: name.to_owned(), uid: claim.uid.clone(), size: storage.size.clone() },
            reason: format!("the spec asks for {size}"),
        });
    }
}
