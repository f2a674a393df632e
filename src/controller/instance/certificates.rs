//! TLS of an instance by an authority of its own: made once, renewed in time, kept in Secrets.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::inputs::Reader;
use super::memory::{Remembered, Values};
use crate::api::instance::Tls;
use crate::controller::frame::Failure;
use crate::extension::render::CertificateNeed;
use crate::extension::secret::{SecretObject, SecretValue};
use crate::extension::{Resolved, naming};
use crate::pki::{Bundle, BundleParts, Certificate, Held, KeyPem, PkiError, Usage, Verdict, Wanted, judge};

/// How long an authority of an instance lasts.
const AUTHORITY: Duration = Duration::from_hours(10 * 365 * 24);
/// How long its certificates last where nothing is said.
const CERTIFICATE: Duration = Duration::from_hours(90 * 24);

/// The authority of an instance, where Midship is it.
pub struct Authority {
    bundle: Bundle,
    due: Timestamp,
}

/// What stands for the instance to the outside, and how Midship came by it.
pub enum Trust {
    None,
    Own(Box<Authority>),
    /// Somebody else's certificate: what its Secret says of who is to be trusted.
    Others(Option<String>),
}

impl Trust {
    pub fn ca(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Own(authority) => Some(authority.bundle.trusted()),
            Self::Others(ca) => ca.clone(),
        }
    }
}

/// Finds or makes out whom clients are to trust.
pub async fn trust(
    reader: &mut Reader<'_>,
    remembered: &mut Remembered,
    resolved: &Resolved,
    now: Timestamp,
) -> Result<Trust, Failure> {
    let instance = resolved.name.as_str();
    let Some(tls) = &resolved.tls else { return Ok(Trust::None) };
    let of_others = match (&tls.secret_name, &tls.cert_manager) {
        (Some(name), _) => Some(name.to_string()),
        (None, Some(_)) => Some(naming::tls(instance)),
        (None, None) => None,
    };
    if let Some(name) = of_others {
        let values = reader.given(&name).await?.unwrap_or_default();
        return Ok(Trust::Others(values.get("ca.crt").map(|ca| ca.expose().to_owned())));
    }
    let values = reader.own(remembered, instance, &naming::authority(instance)).await?;
    let title = format!("{}/{instance}", resolved.namespace);
    let mut bundle = match parts(&values) {
        Some(parts) => Bundle::read(&parts).map_err(|error| broken(&naming::authority(instance), &error))?,
        None => Bundle::create(&title, AUTHORITY, now).map_err(|error| failed(&error))?,
    };
    let (_, due) = bundle.advance(&title, AUTHORITY, now).map_err(|error| failed(&error))?;
    Ok(Trust::Own(Box::new(Authority { bundle, due })))
}

impl Authority {
    /// The Secrets that hold the authority and the certificate, and when to look at them again.
    pub async fn secrets(
        &self,
        reader: &mut Reader<'_>,
        remembered: &mut Remembered,
        resolved: &Resolved,
        need: &CertificateNeed,
        now: Timestamp,
    ) -> Result<([SecretObject; 2], Timestamp), Failure> {
        let instance = resolved.name.as_str();
        let tls = resolved.tls.clone().unwrap_or_default();
        let lifetime = tls.duration.map_or(CERTIFICATE, |duration| duration.0);
        let wanted = Wanted { names: need.names.clone(), usage: Usage::Both, lifetime };
        let held = reader.own(remembered, instance, &need.secret_name).await?;
        let held = held.get("tls.crt").zip(held.get("tls.key"));
        let held = held.map(|(certificate, key)| (certificate.expose().to_owned(), KeyPem::new(key.expose())));
        let (certificate, key, due) = self.certificate(held, &wanted, &tls, now).map_err(|error| failed(&error))?;
        let BundleParts { trusted, key: authority_key, next } = self.bundle.parts();
        let mut authority = BTreeMap::from([
            ("ca.crt".to_owned(), SecretValue::new(trusted.clone())),
            ("ca.key".to_owned(), SecretValue::new(authority_key.expose())),
        ]);
        if let Some((certificate, key)) = next {
            authority.insert("next.crt".to_owned(), SecretValue::new(certificate));
            authority.insert("next.key".to_owned(), SecretValue::new(key.expose()));
        }
        let served = BTreeMap::from([
            ("tls.crt".to_owned(), SecretValue::new(certificate)),
            ("tls.key".to_owned(), SecretValue::new(key.expose())),
            ("ca.crt".to_owned(), SecretValue::new(trusted)),
        ]);
        // what is written has to be what is judged next time, even before caches have heard of it
        remembered.expect(&naming::authority(instance), &authority);
        remembered.expect(&need.secret_name, &served);
        let object = |name: String, type_: &str, data| SecretObject {
            name,
            namespace: resolved.namespace.to_string(),
            labels: crate::extension::render::object_labels(resolved, None),
            type_: type_.to_owned(),
            data,
        };
        let secrets = [
            object(naming::authority(instance), "Opaque", authority),
            object(need.secret_name.clone(), "kubernetes.io/tls", served),
        ];
        Ok((secrets, due.min(self.due)))
    }

    /// The certificate that is held, where it does, else a new one; and when it is to be renewed.
    fn certificate(
        &self,
        held: Option<(String, KeyPem)>,
        wanted: &Wanted,
        tls: &Tls,
        now: Timestamp,
    ) -> Result<(String, KeyPem, Timestamp), PkiError> {
        let authority = self.bundle.authority();
        if let Some((certificate, key)) = held {
            let verdict =
                judge(Some(Held { certificate: &certificate, key: &key }), wanted, authority.certificate(), now);
            match verdict {
                Verdict::Good { renew_at } => {
                    let due = asked_for(&certificate, tls)?.map_or(renew_at, |asked| asked.min(renew_at));
                    if now < due {
                        return Ok((certificate, key, due));
                    }
                }
                Verdict::Renew(reason) => tracing::info!(%reason, "the certificate is renewed"),
            }
        }
        let issued = authority.issue(wanted, now)?;
        let renew_at = Certificate::read("it", &issued.certificate)?.renew_at();
        let due = asked_for(&issued.certificate, tls)?.map_or(renew_at, |asked| asked.min(renew_at));
        Ok((issued.certificate, issued.key, due))
    }
}

/// When the instance asks for a certificate to be renewed.
fn asked_for(certificate: &str, tls: &Tls) -> Result<Option<Timestamp>, PkiError> {
    let Some(before) = tls.renew_before else { return Ok(None) };
    let ends = Certificate::read("it", certificate)?.not_after();
    let before = SignedDuration::try_from(before.0).unwrap_or(SignedDuration::MAX);
    Ok(ends.checked_sub(before).ok())
}

fn parts(values: &Values) -> Option<BundleParts> {
    let text = |key: &str| values.get(key).map(|value| value.expose().to_owned());
    let next = text("next.crt").zip(text("next.key")).map(|(certificate, key)| (certificate, KeyPem::new(key)));
    Some(BundleParts { trusted: text("ca.crt")?, key: KeyPem::new(text("ca.key")?), next })
}

fn broken(secret: &str, error: &PkiError) -> Failure {
    Failure::new(
        "AuthorityBroken",
        format!("Secret {secret}: {error}; put it back, or delete it to get a new authority"),
    )
}

fn failed(error: &PkiError) -> Failure {
    Failure::new("NoCertificate", error)
}
