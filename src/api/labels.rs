//! Labels, annotations and finalizers that Midship puts on objects.

/// The instance an object was made for.
pub const INSTANCE: &str = "midship.dev/instance";
/// The component an object was made for.
pub const COMPONENT: &str = "midship.dev/component";
/// The group of pods within a component.
pub const GROUP: &str = "midship.dev/group";
/// The place of a pod in its group.
pub const ORDINAL: &str = "midship.dev/ordinal";
/// The confirmed role of a pod; Services select it.
pub const ROLE: &str = "midship.dev/role";
/// The middleware's type.
pub const TYPE: &str = "midship.dev/type";
/// The Extension whose files an object holds.
pub const EXTENSION: &str = "midship.dev/extension";
/// The GitSource that applied an object.
pub const SOURCE: &str = "midship.dev/source";

/// The file an object comes from.
pub const SOURCE_PATH: &str = "midship.dev/source-path";
/// The commit an object was last applied from.
pub const SOURCE_COMMIT: &str = "midship.dev/source-commit";
/// Digest of the template a pod was made from.
pub const REVISION: &str = "midship.dev/revision";
/// What the agent of a pod reports, as JSON: see [`super::pod_report`].
pub const REPORT: &str = "midship.dev/report";
/// Asks a controller to look again now; any new value will do.
pub const RECONCILE_AT: &str = "midship.dev/reconcile-at";

/// Lets a deletion go through without the clean-up or the wait that holds it, when it says `true`.
pub const DELETE_ANYWAY: &str = "midship.dev/delete-anyway";
/// What an instance has besides the kinds that are watched: a list of objects, on its metadata ConfigMap.
pub const INVENTORY: &str = "midship.dev/inventory";
/// The volumes that go with an instance, by name and UID, written before the first one is deleted.
pub const VOLUMES_TO_DELETE: &str = "midship.dev/volumes-to-delete";

/// Who manages an object, in Kubernetes' own words.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`], and the one field manager of every write.
pub const MANAGER: &str = "midship";

/// Holds an object until Midship has cleaned up after it.
pub const FINALIZER: &str = "midship.dev/cleanup";
