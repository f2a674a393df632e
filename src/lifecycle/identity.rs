//! Who is who: the names in the certificates of controllers and agents, and what each may ask for.

use crate::pki::Certificate;

/// The controller's name in its certificate.
pub const CONTROLLER: &str = "controller.midship";
const AGENTS: &str = "agents.midship";

/// The name of the agents of an instance in their certificates.
pub fn agents_of(instance: &str, namespace: &str) -> String {
    format!("{instance}.{namespace}.{AGENTS}")
}

/// Who asks an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    Controller,
    /// An agent of the same instance.
    Sibling,
}

impl Peer {
    /// Who that is to the agents called `own`; nobody they talk to where the certificate names neither.
    pub fn of(certificate: &Certificate, own: &str) -> Option<Self> {
        // exact, so that no star ever makes somebody the controller
        let names = |wanted: &str| certificate.names().iter().any(|name| name == wanted);
        if names(CONTROLLER) {
            Some(Self::Controller)
        } else {
            names(&own.to_ascii_lowercase()).then_some(Self::Sibling)
        }
    }
}
