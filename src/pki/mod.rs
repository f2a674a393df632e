//! Certificates: authorities that issue them, and judges whether one is still good. Used between controllers and agents,
//! and for the TLS that Midship gives to middleware. Time comes in as a value; only keys and serial numbers are chance.

mod authority;
mod bundle;
mod certificate;
mod names;

use std::fmt;

use zeroize::Zeroizing;

pub use authority::{Authority, Issued};
pub use bundle::{Bundle, BundleParts};
pub use certificate::{Certificate, matches};
pub use certificate::{Held, Reason, Usage, Verdict, Wanted, certificates, judge};

/// How far clocks may be apart: certificates are valid from so long before they were issued.
pub const SKEW: std::time::Duration = std::time::Duration::from_hours(1);

/// Why something could not be issued or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("{name:?} is no name for a certificate: {reason}")]
    Name { name: String, reason: &'static str },
    #[error("a certificate without names is of no use: give at least one")]
    NoNames,
    #[error("{what} is no certificate: {reason}")]
    Certificate { what: &'static str, reason: String },
    #[error("{what} is no private key that can be used: {reason}")]
    Key { what: &'static str, reason: String },
    #[error("the private key of {what} does not belong to its certificate")]
    OtherKey { what: &'static str },
    #[error("the certificate of {what} is none that may sign others")]
    NoAuthority { what: &'static str },
    #[error("the authority ended {at} and can issue nothing any more: make a new one")]
    Ended { at: jiff::Timestamp },
    #[error("the certificate could not be made: {0}")]
    Issue(rcgen::Error),
    #[error("there are no random numbers to be had")]
    Chance,
    #[error("the time {0} is outside of what certificates can say")]
    Time(jiff::Timestamp),
}

/// A private key as PEM. It leaves no copy behind and printing it shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPem(Zeroizing<String>);

impl KeyPem {
    pub fn new(pem: impl Into<String>) -> Self {
        Self(Zeroizing::new(pem.into()))
    }

    /// The key itself: for a Secret, a file of its owner or a TLS library, and for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests;
