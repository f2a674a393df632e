//! An authority: a key that signs certificates, and the certificate that vouches for it. ECDSA on P-256 throughout.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};

use super::certificate::{Certificate, Usage, Wanted, key_pair};
use super::{KeyPem, PkiError, SKEW, names};

/// Common names have at most so many characters; longer names stand in the alternative names alone.
const COMMON_NAME: usize = 64;

/// A certificate with its key, as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    pub certificate: String,
    pub key: KeyPem,
}

/// Signs certificates. Printing it shows its certificate only.
#[derive(Debug)]
pub struct Authority {
    certificate: Certificate,
    pem: String,
    key: KeyPem,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one with a key of its own.
    pub fn create(name: &str, lifetime: Duration, now: Timestamp) -> Result<Self, PkiError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(PkiError::Issue)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        params.serial_number = Some(serial()?);
        params.not_before = time(before(now, SKEW))?;
        params.not_after = time(after(now, lifetime))?;
        let pem = params.self_signed(&key).map_err(PkiError::Issue)?.pem();
        Self::read(&pem, KeyPem::new(key.serialize_pem()))
    }

    /// One that was kept. Of several certificates the first counts.
    pub fn read(certificate: &str, key: KeyPem) -> Result<Self, PkiError> {
        const WHAT: &str = "the authority";
        let read = Certificate::read(WHAT, certificate)?;
        if !read.is_authority() {
            return Err(PkiError::NoAuthority { what: WHAT });
        }
        let pair = key_pair(WHAT, &key)?;
        if !read.has_key(&pair) {
            return Err(PkiError::OtherKey { what: WHAT });
        }
        let issuer = Issuer::from_ca_cert_der(&read.der().clone(), pair)
            .map_err(|error| PkiError::Certificate { what: WHAT, reason: error.to_string() })?;
        Ok(Self { pem: read.pem(), certificate: read, key, issuer })
    }

    /// Its certificate as PEM: what those who trust it hold.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    pub fn key(&self) -> &KeyPem {
        &self.key
    }

    /// A new key with a certificate. It never outlives the authority.
    pub fn issue(&self, wanted: &Wanted, now: Timestamp) -> Result<Issued, PkiError> {
        let ends = self.certificate.not_after();
        if now >= ends {
            return Err(PkiError::Ended { at: ends });
        }
        let first = wanted.names.first().ok_or(PkiError::NoNames)?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = wanted.names.iter().map(|name| names::subject(name)).collect::<Result<_, _>>()?;
        params.distinguished_name = common_name(first);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match wanted.usage {
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Both => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial()?);
        params.not_before = time(before(now, SKEW).max(self.certificate.not_before()))?;
        params.not_after = time(after(now, wanted.lifetime).min(ends))?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(PkiError::Issue)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(PkiError::Issue)?.pem();
        Ok(Issued { certificate, key: KeyPem::new(key.serialize_pem()) })
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if name.len() <= COMMON_NAME {
        subject.push(DnType::CommonName, name);
    }
    subject
}

/// Positive, and of 126 random bits: the same one never comes twice.
fn serial() -> Result<SerialNumber, PkiError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| PkiError::Chance)?;
    bytes[0] = (bytes[0] & 0x3f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn before(now: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    now.checked_sub(by).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn after(now: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// The library's kind of time, in whole seconds.
fn time<T>(at: Timestamp) -> Result<T, PkiError>
where
    T: From<std::time::SystemTime>,
{
    let seconds = u64::try_from(at.as_second()).map_err(|_| PkiError::Time(at))?;
    let at = std::time::SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(PkiError::Time(at))?;
    Ok(T::from(at))
}
