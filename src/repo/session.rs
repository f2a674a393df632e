//! An open connection to a remote: which references it has, and what a failure meant.

use gix::protocol::handshake::Ref;
use gix_transport::client::Capabilities;
use gix_transport::{Protocol, Service};

use super::bounds::Bounds;
use super::error::{RemoteError, chain};
use super::remote::{Remote, Turn};
use super::transport::{self, BoxedTransport, Wire};

impl Remote {
    /// Connects for reading. One session serves a `resolve` and a following fetch. While it is open, nobody else connects
    /// who shares this remote.
    pub fn open(&self, bounds: &Bounds) -> Result<Session, RemoteError> {
        Session::open(self.clone(), Service::UploadPack, bounds)
    }
}

/// An open connection after its handshake.
pub struct Session {
    pub(super) remote: Remote,
    pub(super) wire: Wire,
    pub(super) transport: BoxedTransport,
    pub(super) handshake: gix::protocol::Handshake,
    /// Given back last, when nothing of the connection is in use any more.
    _turn: Turn,
}

impl Session {
    pub(super) fn open(remote: Remote, service: Service, bounds: &Bounds) -> Result<Self, RemoteError> {
        bounds.check()?;
        let turn = remote.turn(bounds)?;
        let wire = Wire::new(bounds.clone());
        let mut transport = transport::connect(&remote, service, &wire)?;
        let nobody = |_| Ok(None);
        let handshake =
            gix::protocol::handshake(&mut transport, service, nobody, Vec::new(), &mut gix::progress::Discard);
        match handshake {
            Ok(mut handshake) => {
                if handshake.server_protocol_version != Protocol::V2 {
                    handshake.capabilities = absolute_depth(&handshake.capabilities);
                }
                Ok(Self { remote, wire, transport, handshake, _turn: turn })
            }
            Err(error) => {
                let error = reason(&wire, &remote, &error);
                turn.failed(&error);
                Err(error)
            }
        }
    }

    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    pub fn bounds(&self) -> &Bounds {
        &self.wire.bounds
    }

    /// The references whose full names start with one of the prefixes.
    pub(super) fn references(&mut self, prefixes: &[String]) -> Result<Vec<Ref>, RemoteError> {
        if let Some(all) = &self.handshake.refs {
            // an old server that sends every reference with its greeting
            let wanted = |r: &&Ref| {
                let name = full_name(r).to_string();
                prefixes.iter().any(|prefix| name.starts_with(prefix))
            };
            return Ok(all.iter().filter(wanted).cloned().collect());
        }
        let mut filter = gix::protocol::ls_refs::RefPrefixes::new();
        filter.extend(prefixes.iter().map(|prefix| prefix.as_str().into()));
        gix::protocol::LsRefsCommand::new(Some(filter), &self.handshake.capabilities, agent())
            .invoke_blocking(&mut self.transport, &mut gix::progress::Discard, false)
            .map_err(|error| reason(&self.wire, &self.remote, &error))
    }

    /// The branches whose names start with this, and the commits they point to.
    pub fn branches(&mut self, prefix: &str) -> Result<Vec<(String, gix::ObjectId)>, RemoteError> {
        const HEADS: &str = "refs/heads/";
        let all = self.references(&[format!("{HEADS}{prefix}")])?;
        let branch = |r: &Ref| {
            let name = full_name(r).to_string().strip_prefix(HEADS)?.to_owned();
            match r {
                Ref::Direct { object, .. } | Ref::Symbolic { object, .. } | Ref::Peeled { object, .. } => {
                    Some((name, *object))
                }
                Ref::Unborn { .. } => None,
            }
        };
        Ok(all.iter().filter_map(branch).collect())
    }

    /// The commit that a reference points to, told by its full name.
    pub(super) fn find(&mut self, reference: &str) -> Result<Option<gix::ObjectId>, RemoteError> {
        let all = self.references(&[reference.to_owned()])?;
        Ok(all.iter().find(|r| full_name(r) == reference).and_then(|r| match r {
            Ref::Direct { object, .. } | Ref::Symbolic { object, .. } | Ref::Peeled { object, .. } => Some(*object),
            Ref::Unborn { .. } => None,
        }))
    }

    /// The true reason behind an error of the library.
    pub(super) fn reason(&self, error: &gix::Error) -> RemoteError {
        reason(&self.wire, &self.remote, error)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.remote.url())
    }
}

fn reason(wire: &Wire, remote: &Remote, error: &gix::Error) -> RemoteError {
    wire.take_failure().unwrap_or_else(|| RemoteError::Protocol { host: remote.host(), reason: chain(error) })
}

/// The first version of the protocol has no way to say "relative" but to name the capability, and the
/// library names every one the server has: the depth would count from a boundary that is not there.
fn absolute_depth(capabilities: &Capabilities) -> Capabilities {
    let mut kept = vec![0];
    for capability in capabilities.iter().filter(|c| c.name() != "deepen-relative") {
        kept.extend_from_slice(capability.name());
        if let Some(value) = capability.value() {
            kept.push(b'=');
            kept.extend_from_slice(value);
        }
        kept.push(b' ');
    }
    Capabilities::from_bytes(&kept).map_or_else(|_| capabilities.clone(), |(capabilities, _)| capabilities)
}

pub(super) fn full_name(reference: &Ref) -> &gix::bstr::BString {
    match reference {
        Ref::Peeled { full_ref_name, .. }
        | Ref::Direct { full_ref_name, .. }
        | Ref::Symbolic { full_ref_name, .. }
        | Ref::Unborn { full_ref_name, .. } => full_ref_name,
    }
}

/// How we introduce ourselves.
pub(super) fn agent() -> (&'static str, Option<String>) {
    ("agent", Some(concat!("git/midship-", env!("CARGO_PKG_VERSION")).to_owned()))
}
