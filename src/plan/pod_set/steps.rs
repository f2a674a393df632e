//! What a plan consists of.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::api::values::Quantity;

/// What is to be done, what is waited for, and what has to be remembered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In the order they are carried out in; where one fails, the later ones of the same ordinal are left.
    pub actions: Vec<Action>,
    pub waits: Vec<Wait>,
    pub record: Record,
    /// Ordinals that are to run.
    pub wanted: BTreeSet<u16>,
    /// Since when pods have not been well, by their UIDs: for the next plan.
    pub unwell: BTreeMap<String, Timestamp>,
}

/// One thing to do, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// The pod this is about.
    pub ordinal: u16,
    pub what: What,
    pub reason: String,
}

/// What is done.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    CreateClaim {
        name: String,
        volume: String,
    },
    GrowClaim {
        name: String,
        uid: String,
        size: Quantity,
    },
    LabelClaim {
        name: String,
        labels: BTreeMap<String, String>,
    },
    /// Records the intent to delete a claim once its pod is gone.
    MarkClaim {
        name: String,
        uid: String,
    },
    UnmarkClaim {
        name: String,
    },
    DeleteClaim {
        name: String,
        uid: String,
    },
    /// Made from the template of this revision.
    CreatePod {
        revision: String,
    },
    DeletePod {
        uid: String,
    },
    /// Without waiting for its node, which is proven not to run it any more.
    ForceDelete {
        uid: String,
        node: String,
        proof: Proof,
    },
    /// Changes the live pod; `restarts` some of its containers.
    Patch {
        uid: String,
        patch: Value,
        restarts: bool,
    },
    Resize {
        uid: String,
        patch: Value,
        then: Value,
    },
    RestartProcess {
        uid: String,
        for_config: String,
        parameters: Vec<String>,
    },
    Switchover {
        uid: String,
        to: u16,
    },
    PreScaleIn {
        uid: String,
    },
    /// What the package does after a pod has joined; then the members are these.
    PostScaleOut {
        uid: String,
        members: BTreeSet<u16>,
    },
    /// What the package does after a pod has left; `uid` is that of a pod that stays. Then the members are these.
    PostScaleIn {
        uid: String,
        members: BTreeSet<u16>,
    },
    RecordMembers {
        members: BTreeSet<u16>,
    },
}

/// Why nothing of a pod can run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    NodeGone,
    OutOfService,
}

/// Something that has to come before the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    pub ordinal: Option<u16>,
    /// One word for machines.
    pub reason: &'static str,
    pub message: String,
    /// When to look again even if nothing changed.
    pub until: Option<Timestamp>,
    /// It does not pass by itself.
    pub stalled: bool,
}

impl Wait {
    pub fn until(&mut self, at: Timestamp) {
        self.until = Some(at);
    }

    pub fn stalled(&mut self) {
        self.stalled = true;
    }
}

/// What later plans have to know, kept in the status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// What the spec asks for.
    pub revision: String,
    /// What pods are brought to.
    pub target: String,
    pub last_good: Option<String>,
    pub failed: Option<String>,
    pub last_holder: Option<u16>,
    pub highest: Option<u16>,
    /// Members that have given away what they had.
    pub departed: BTreeSet<u16>,
}

impl What {
    /// Whether the program in the pod stops serving for a while, or for good.
    pub fn disrupts(&self) -> bool {
        match self {
            Self::DeletePod { .. } | Self::ForceDelete { .. } | Self::RestartProcess { .. } => true,
            Self::Patch { restarts, .. } => *restarts,
            Self::CreateClaim { .. }
            | Self::GrowClaim { .. }
            | Self::LabelClaim { .. }
            | Self::MarkClaim { .. }
            | Self::UnmarkClaim { .. }
            | Self::DeleteClaim { .. }
            | Self::CreatePod { .. }
            | Self::Resize { .. }
            | Self::Switchover { .. }
            | Self::PreScaleIn { .. }
            | Self::PostScaleOut { .. }
            | Self::PostScaleIn { .. }
            | Self::RecordMembers { .. } => false,
        }
    }

    /// Whether an agent is asked, which may not answer for long.
    pub fn asks_agents(&self) -> bool {
        matches!(
            self,
            Self::RestartProcess { .. }
                | Self::Switchover { .. }
                | Self::PreScaleIn { .. }
                | Self::PostScaleOut { .. }
                | Self::PostScaleIn { .. }
        )
    }

    /// In one word, for events.
    pub fn word(&self) -> &'static str {
        match self {
            Self::CreateClaim { .. } => "CreateVolume",
            Self::GrowClaim { .. } => "GrowVolume",
            Self::LabelClaim { .. } => "LabelVolume",
            Self::MarkClaim { .. } => "AgreeToDeleteVolume",
            Self::UnmarkClaim { .. } => "KeepVolume",
            Self::DeleteClaim { .. } => "DeleteVolume",
            Self::CreatePod { .. } => "CreatePod",
            Self::DeletePod { .. } => "DeletePod",
            Self::ForceDelete { .. } => "ForceDeletePod",
            Self::Patch { restarts: true, .. } => "ChangeImages",
            Self::Patch { .. } => "ChangePod",
            Self::Resize { .. } => "ResizePod",
            Self::RestartProcess { .. } => "RestartProcess",
            Self::Switchover { .. } => "Switchover",
            Self::PreScaleIn { .. } => "PrepareToLeave",
            Self::PostScaleOut { .. } => "Welcome",
            Self::PostScaleIn { .. } => "TellOfDeparture",
            Self::RecordMembers { .. } => "RecordMembers",
        }
    }
}
