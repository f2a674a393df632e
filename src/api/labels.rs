//! Labels, annotations and finalizers that Midship puts on objects.

/// The instance an object was made for.
pub const INSTANCE: &str = "midship.dev/instance";
/// The component an object was made for.
pub const COMPONENT: &str = "midship.dev/component";
/// The group of pods within a component.
pub const GROUP: &str = "midship.dev/group";
/// A backup is of one group of pods and has a part of the data.
pub const PART: &str = "midship.dev/part";
/// The backups that one operation made of all groups of pods: the operation's UID.
pub const SET: &str = "midship.dev/set";
/// How many parts such a set has.
pub const SET_SIZE: &str = "midship.dev/set-size";
/// Digest of what has to be the same in all parts of a set.
pub const SET_SAME: &str = "midship.dev/set-same";
/// The place of a pod in its group.
pub const ORDINAL: &str = "midship.dev/ordinal";
/// The confirmed role of a pod; Services select it.
pub const ROLE: &str = "midship.dev/role";
/// The middleware's type.
pub const TYPE: &str = "midship.dev/type";
/// The Extension whose files an object holds.
pub const EXTENSION: &str = "midship.dev/extension";
/// The UID of the BackupPolicy whose turn an Operation is.
pub const BACKUP_POLICY: &str = "midship.dev/backup-policy";
/// The backup that a scratch instance tries.
pub const DRILL: &str = "midship.dev/drill";
/// The GitSource that applied an object.
pub const SOURCE: &str = "midship.dev/source";

/// The file an object comes from.
pub const SOURCE_PATH: &str = "midship.dev/source-path";
/// The commit an object was last applied from.
pub const SOURCE_COMMIT: &str = "midship.dev/source-commit";
/// Digest of the template a pod was made from.
pub const REVISION: &str = "midship.dev/revision";
/// Revision of the configuration a pod was last told of; a new one makes the kubelet refresh its volumes at once.
pub const CONFIG_REVISION: &str = "midship.dev/config-revision";
/// For what a pod was last changed so that its kubelet refreshes its volumes at once.
pub const FILES_BROUGHT_FOR: &str = "midship.dev/files-brought-for";
/// Digests of the parts of the template a pod has, as JSON, so that it is known what a change needs.
pub const MADE_FROM: &str = "midship.dev/made-from";
/// When a pod was last changed in place.
pub const CHANGED_AT: &str = "midship.dev/changed-at";
/// Containers that a change in place replaces: their identifiers, separated by commas.
pub const REPLACES: &str = "midship.dev/replaces";
/// The pod has handed over what it had and may go: its UID.
pub const DEPARTED: &str = "midship.dev/departed";
/// The revision of the configuration a pod's process was last started anew for.
pub const RESTARTED_FOR: &str = "midship.dev/restarted-for";
/// The ordinals that belong to a pod set as its package was told, separated by commas.
pub const MEMBERS: &str = "midship.dev/members";
/// The group of a pod set has its share: its package was told that it was added.
pub const GROUP_JOINED: &str = "midship.dev/group-joined";
/// The group of a pod set has given its share away and may go: the pod set's UID.
pub const GROUP_DEPARTED: &str = "midship.dev/group-departed";
/// The volume of the template a claim is for.
pub const VOLUME: &str = "midship.dev/volume";
/// The claim is to be deleted once its pod is gone: the claim's UID.
pub const DELETE_UID: &str = "midship.dev/delete-uid";
/// What the agent of a pod reports, as JSON: see [`super::pod_report`].
pub const REPORT: &str = "midship.dev/report";
/// What an Operation is about to change of its instance, as it was before: so that it can be taken back.
pub const BEFORE: &str = "midship.dev/before";
/// Asks a controller to look again now; any new value will do.
pub const RECONCILE_AT: &str = "midship.dev/reconcile-at";
/// Tells a source that somebody pushed, as far as a webhook says: it looks for what is new.
pub const PUSHED_AT: &str = "midship.dev/pushed-at";

/// Lets a deletion go through without the clean-up or the wait that holds it, when it says `true`.
pub const DELETE_ANYWAY: &str = "midship.dev/delete-anyway";
/// What an instance has besides the kinds that are watched: a list of objects, on its metadata ConfigMap.
pub const INVENTORY: &str = "midship.dev/inventory";
/// The volumes that go with an instance, by name and UID, written before the first one is deleted.
pub const VOLUMES_TO_DELETE: &str = "midship.dev/volumes-to-delete";

/// What the names of our own labels and annotations begin with.
pub const OURS: &str = "midship.dev/";
/// Agrees to an audit branch that others cut, with the commit that was cut off as its value.
pub const ACCEPT_AUDIT_REWRITE: &str = "midship.dev/accept-audit-rewrite";
/// The annotations of ours that people set; all others are written by Midship.
pub const SETTABLE: [&str; 6] = [
    DELETE_ANYWAY,
    RECONCILE_AT,
    ACCEPT_AUDIT_REWRITE,
    "midship.dev/accept-rewrite",
    "midship.dev/add-signer",
    "midship.dev/new-epoch",
];

/// Who manages an object, in Kubernetes' own words.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`], and the one field manager of every write.
pub const MANAGER: &str = "midship";

/// Holds an object until Midship has cleaned up after it.
pub const FINALIZER: &str = "midship.dev/cleanup";
