//! What a certificate says, and the decision whether it can stay or has to be renewed.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{KeyPair, PublicKeyData as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{KeyPem, PkiError, names};

/// What a certificate is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Server,
    Client,
    Both,
}

/// The certificate somebody needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// DNS names and IP addresses.
    pub names: Vec<String>,
    pub usage: Usage,
    pub lifetime: Duration,
}

/// A certificate that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    names: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
    public_key: Vec<u8>,
    authority: bool,
    server: bool,
    client: bool,
}

impl Certificate {
    /// The first of a PEM text. `what` names it in errors.
    pub fn read(what: &'static str, pem: &str) -> Result<Self, PkiError> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| PkiError::Certificate { what, reason: error.to_string() })?;
        Self::from_der(what, der)
    }

    pub fn from_der(what: &'static str, der: CertificateDer<'static>) -> Result<Self, PkiError> {
        let wrong = |reason: String| PkiError::Certificate { what, reason };
        let (rest, read) = X509Certificate::from_der(&der).map_err(|error| wrong(error.to_string()))?;
        if !rest.is_empty() {
            return Err(wrong("something follows it".to_owned()));
        }
        let alternatives = read.subject_alternative_name().map_err(|error| wrong(error.to_string()))?;
        let names = alternatives.iter().flat_map(|found| &found.value.general_names).filter_map(name).collect();
        let uses = read.extended_key_usage().map_err(|error| wrong(error.to_string()))?;
        let stamp = |seconds| Timestamp::from_second(seconds).map_err(|error| wrong(error.to_string()));
        let may = |one: fn(&x509_parser::extensions::ExtendedKeyUsage<'_>) -> bool| {
            uses.as_ref().is_none_or(|uses| uses.value.any || one(uses.value))
        };
        Ok(Self {
            names,
            not_before: stamp(read.validity().not_before.timestamp())?,
            not_after: stamp(read.validity().not_after.timestamp())?,
            public_key: read.public_key().raw.to_vec(),
            authority: read.is_ca(),
            server: may(|uses| uses.server_auth),
            client: may(|uses| uses.client_auth),
            der,
        })
    }

    /// DNS names and IP addresses it is for.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// When it ends.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// When two thirds of its life are over: enough is left to renew it in peace.
    pub fn renew_at(&self) -> Timestamp {
        let life = self.not_after.duration_since(self.not_before);
        self.not_before.saturating_add(life / 3 * 2).unwrap_or(self.not_after)
    }

    pub fn is_authority(&self) -> bool {
        self.authority
    }

    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// This one alone.
    pub fn pem(&self) -> String {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(&self.der);
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        for line in text.as_bytes().chunks(64) {
            pem.extend(line.iter().map(|byte| char::from(*byte)));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        pem
    }

    /// Whether it is for `usage`.
    pub fn is_for(&self, usage: Usage) -> bool {
        match usage {
            Usage::Server => self.server,
            Usage::Client => self.client,
            Usage::Both => self.server && self.client,
        }
    }

    pub(super) fn has_key(&self, pair: &KeyPair) -> bool {
        self.public_key == pair.subject_public_key_info()
    }

    /// Whether this authority signed it.
    pub fn signed_by(&self, authority: &Self) -> bool {
        let own = X509Certificate::from_der(&self.der);
        let theirs = X509Certificate::from_der(&authority.der);
        let (Ok((_, own)), Ok((_, theirs))) = (own, theirs) else { return false };
        own.issuer() == theirs.subject() && own.verify_signature(Some(theirs.public_key())).is_ok()
    }
}

fn name(found: &GeneralName<'_>) -> Option<String> {
    match found {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// Every certificate of a PEM text, in order. Text without any is an error.
pub fn certificates(what: &'static str, pem: &str) -> Result<Vec<Certificate>, PkiError> {
    let wrong = |reason: String| PkiError::Certificate { what, reason };
    let found: Vec<Certificate> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|der| Certificate::from_der(what, der.map_err(|error| wrong(error.to_string()))?))
        .collect::<Result<_, _>>()?;
    if found.is_empty() { Err(wrong("it holds no PEM block CERTIFICATE".to_owned())) } else { Ok(found) }
}

pub(super) fn key_pair(what: &'static str, key: &KeyPem) -> Result<KeyPair, PkiError> {
    KeyPair::from_pem(key.expose()).map_err(|error| PkiError::Key { what, reason: error.to_string() })
}

/// Whether a certificate is good for a name, counting a star as one label.
pub fn matches(certificate: &Certificate, name: &str) -> bool {
    certificate.names.iter().any(|pattern| names::covers(pattern, name))
}

/// What somebody holds: both parts as PEM, as a Secret has them.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    pub certificate: &'a str,
    pub key: &'a KeyPem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It can stay until then.
    Good {
        renew_at: Timestamp,
    },
    Renew(Reason),
}

/// Why a certificate has to be renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    Missing,
    Unreadable(String),
    OtherKey,
    OtherAuthority,
    Names { missing: Vec<String>, surplus: Vec<String> },
    Usage,
    NotYetValid { from: Timestamp },
    Expires { at: Timestamp },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no certificate yet"),
            Self::Unreadable(reason) => write!(f, "the certificate cannot be used: {reason}"),
            Self::OtherKey => f.write_str("the key does not belong to the certificate"),
            Self::OtherAuthority => f.write_str("another authority signed the certificate"),
            Self::Names { missing, surplus } => {
                let part = |label: &str, names: &[String]| {
                    (!names.is_empty()).then(|| format!("{label} {}", names.join(", ")))
                };
                let parts: Vec<String> =
                    [part("lacks", missing), part("no longer needs", surplus)].into_iter().flatten().collect();
                write!(f, "the certificate {}", parts.join(" and "))
            }
            Self::Usage => f.write_str("the certificate is for another use"),
            Self::NotYetValid { from } => write!(f, "the certificate is not valid before {from}"),
            Self::Expires { at } => write!(f, "the certificate ends {at}"),
        }
    }
}

/// Whether what is held still does for what is wanted. Nothing is held where `held` is `None`.
pub fn judge(held: Option<Held<'_>>, wanted: &Wanted, authority: &Certificate, now: Timestamp) -> Verdict {
    match reason(held, wanted, authority, now) {
        Ok(renew_at) => Verdict::Good { renew_at },
        Err(reason) => Verdict::Renew(reason),
    }
}

fn reason(
    held: Option<Held<'_>>,
    wanted: &Wanted,
    authority: &Certificate,
    now: Timestamp,
) -> Result<Timestamp, Reason> {
    let held = held.ok_or(Reason::Missing)?;
    let unreadable = |error: PkiError| Reason::Unreadable(error.to_string());
    let certificate = Certificate::read("it", held.certificate).map_err(unreadable)?;
    let pair = key_pair("its key", held.key).map_err(unreadable)?;
    if !certificate.has_key(&pair) {
        return Err(Reason::OtherKey);
    }
    if !certificate.signed_by(authority) {
        return Err(Reason::OtherAuthority);
    }
    let asked: Vec<String> = wanted.names.iter().map(|name| names::normal(name)).collect();
    let missing: Vec<String> = asked.iter().filter(|name| !certificate.names.contains(name)).cloned().collect();
    let surplus: Vec<String> = certificate.names.iter().filter(|name| !asked.contains(name)).cloned().collect();
    if !missing.is_empty() || !surplus.is_empty() {
        return Err(Reason::Names { missing, surplus });
    }
    if !certificate.is_for(wanted.usage) {
        return Err(Reason::Usage);
    }
    if now < certificate.not_before {
        return Err(Reason::NotYetValid { from: certificate.not_before });
    }
    let renew_at = certificate.renew_at();
    // one that an ending authority cut short cannot be made to last longer by the same one
    let cut_short = certificate.not_after >= authority.not_after;
    let due = if cut_short { certificate.not_after - SignedDuration::from_hours(1) } else { renew_at };
    if now >= due { Err(Reason::Expires { at: certificate.not_after }) } else { Ok(due) }
}
