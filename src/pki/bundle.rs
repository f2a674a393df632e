//! An authority that is renewed without anybody losing trust: its successor is trusted by all before it signs anything, and
//! it is trusted itself until the last of its certificates has ended.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::certificate::{Certificate, certificates};
use super::{Authority, KeyPem, PkiError, SKEW};

/// For so long everybody learns to trust a successor before it signs.
const SPREAD: Duration = Duration::from_hours(48);

/// The authority that signs, its successor where there is one yet, and those that signed before.
#[derive(Debug)]
pub struct Bundle {
    current: Authority,
    next: Option<Authority>,
    former: Vec<Certificate>,
}

/// As a bundle is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleParts {
    /// All that are trusted; the first signs.
    pub trusted: String,
    pub key: KeyPem,
    pub next: Option<(String, KeyPem)>,
}

impl Bundle {
    pub fn create(name: &str, lifetime: Duration, now: Timestamp) -> Result<Self, PkiError> {
        Ok(Self { current: Authority::create(name, lifetime, now)?, next: None, former: Vec::new() })
    }

    pub fn read(parts: &BundleParts) -> Result<Self, PkiError> {
        let current = Authority::read(&parts.trusted, parts.key.clone())?;
        let next =
            parts.next.as_ref().map(|(certificate, key)| Authority::read(certificate, key.clone())).transpose()?;
        let mut former = certificates("the authority", &parts.trusted)?;
        former.retain(|known| {
            known != current.certificate() && next.as_ref().is_none_or(|next| known != next.certificate())
        });
        Ok(Self { current, next, former })
    }

    pub fn parts(&self) -> BundleParts {
        BundleParts {
            trusted: self.trusted(),
            key: self.current.key().clone(),
            next: self.next.as_ref().map(|next| (next.pem().to_owned(), next.key().clone())),
        }
    }

    /// The one that signs.
    pub fn authority(&self) -> &Authority {
        &self.current
    }

    /// Everybody's `ca.crt`.
    pub fn trusted(&self) -> String {
        let mut all = self.current.pem().to_owned();
        all.extend(self.next.iter().map(Authority::pem));
        all.extend(self.former.iter().map(Certificate::pem));
        all
    }

    /// What is due is done: whether anything was, and when to look again.
    pub fn advance(&mut self, name: &str, lifetime: Duration, now: Timestamp) -> Result<(bool, Timestamp), PkiError> {
        let before = self.former.len();
        self.former.retain(|former| former.not_after() > now);
        let mut changed = self.former.len() != before;
        let ended = self.current.certificate().not_after() <= now;
        if self.next.is_none() && (ended || self.current.certificate().renew_at() <= now) {
            self.next = Some(Authority::create(name, lifetime, now)?);
            changed = true;
        }
        if let Some(next) = self.next.take_if(|next| ended || signs_from(next) <= now) {
            let former = std::mem::replace(&mut self.current, next);
            if !ended {
                self.former.push(former.certificate().clone());
            }
            changed = true;
        }
        let due = self.next.as_ref().map_or_else(|| self.current.certificate().renew_at(), signs_from);
        let due = self.former.iter().map(Certificate::not_after).fold(due, Timestamp::min);
        Ok((changed, due))
    }
}

fn signs_from(next: &Authority) -> Timestamp {
    let wait = SignedDuration::try_from(SKEW + SPREAD).unwrap_or(SignedDuration::MAX);
    next.certificate().not_before().saturating_add(wait).unwrap_or(Timestamp::MAX)
}
