//! The certificates of an installation's agents and controllers: pure decisions, from what is kept to what is to be kept.

use std::time::Duration;

use jiff::Timestamp;

use super::identity::{CONTROLLER, agents_of};
use super::tls::Identity;
use crate::pki::{Authority, Bundle, Held, PkiError, Usage, Verdict, Wanted, judge};

/// The authority's name in its certificate.
pub const AUTHORITY: &str = "midship agents";
/// Authorities last long, because renewing one takes a rest of trust in the old one.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_hours(24 * 365 * 10);
/// Certificates are renewed when two thirds of it are over: a controller may be away for a month.
pub const LIFETIME: Duration = Duration::from_hours(24 * 90);

/// A certificate as it has to be, and when to look at it again.
#[derive(Clone, Debug)]
pub struct Kept {
    pub identity: Identity,
    /// Why it is another than before; nothing where it is the same.
    pub renewed: Option<String>,
    pub look_again: Timestamp,
}

/// What the agents of an instance need.
pub fn of_agents(instance: &str, namespace: &str) -> Wanted {
    Wanted { names: vec![agents_of(instance, namespace)], usage: Usage::Both, lifetime: LIFETIME }
}

/// What the controller needs to call agents.
pub fn of_controller() -> Wanted {
    Wanted { names: vec![CONTROLLER.to_owned()], usage: Usage::Client, lifetime: LIFETIME }
}

/// Keeps what is held for as long as it does, and issues anew when it does not.
pub fn keep(held: Option<&Identity>, wanted: &Wanted, bundle: &Bundle, now: Timestamp) -> Result<Kept, PkiError> {
    let authority: &Authority = bundle.authority();
    let trusted = bundle.trusted();
    let verdict = judge(
        held.map(|held| Held { certificate: &held.certificate, key: &held.key }),
        wanted,
        authority.certificate(),
        now,
    );
    match (verdict, held) {
        (Verdict::Good { renew_at }, Some(held)) => {
            let renewed = (held.trusted != trusted).then(|| "other authorities are trusted now".to_owned());
            let identity = Identity { trusted, ..held.clone() };
            Ok(Kept { identity, renewed, look_again: renew_at })
        }
        (verdict, _) => {
            let issued = authority.issue(wanted, now)?;
            let identity = Identity { certificate: issued.certificate, key: issued.key, trusted };
            let held = Some(Held { certificate: &identity.certificate, key: &identity.key });
            let look_again = match judge(held, wanted, authority.certificate(), now) {
                Verdict::Good { renew_at } => renew_at,
                // an authority at its very end: its successor is about to sign
                Verdict::Renew(_) => now,
            };
            let renewed = match verdict {
                Verdict::Renew(reason) => reason.to_string(),
                Verdict::Good { .. } => String::new(),
            };
            Ok(Kept { identity, renewed: Some(renewed), look_again })
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn in_days(days: i64) -> Timestamp {
        now() + SignedDuration::from_hours(24 * days)
    }

    #[test]
    fn a_certificate_stays_the_same_until_it_is_due() {
        let bundle = Bundle::create(AUTHORITY, AUTHORITY_LIFETIME, now()).unwrap();
        let wanted = of_agents("cache", "shop");
        let first = keep(None, &wanted, &bundle, now()).unwrap();
        assert_eq!(first.renewed.as_deref(), Some("there is no certificate yet"));
        let again = keep(Some(&first.identity), &wanted, &bundle, in_days(50)).unwrap();
        assert_eq!((&again.identity, &again.renewed), (&first.identity, &None));
        assert_eq!(again.look_again, first.look_again);
        let later = keep(Some(&first.identity), &wanted, &bundle, first.look_again).unwrap();
        assert_ne!(later.identity.certificate, first.identity.certificate);
        assert!(later.renewed.is_some() && later.look_again > in_days(110));
        assert!(first.identity.server().is_ok() && first.identity.client().is_ok());
    }

    #[test]
    fn a_new_authority_is_trusted_first_and_signs_later() {
        let mut bundle = Bundle::create(AUTHORITY, AUTHORITY_LIFETIME, now()).unwrap();
        let wanted = of_agents("cache", "shop");
        let due = in_days(365 * 7);
        let held = keep(None, &wanted, &bundle, due).unwrap().identity;
        let (changed, signs) = bundle.advance(AUTHORITY, AUTHORITY_LIFETIME, due).unwrap();
        assert!(changed);
        let kept = keep(Some(&held), &wanted, &bundle, due).unwrap();
        assert_eq!(kept.renewed.as_deref(), Some("other authorities are trusted now"));
        assert_eq!(kept.identity.certificate, held.certificate);
        bundle.advance(AUTHORITY, AUTHORITY_LIFETIME, signs).unwrap();
        let moved = keep(Some(&kept.identity), &wanted, &bundle, signs).unwrap();
        assert_eq!(moved.renewed.as_deref(), Some("another authority signed the certificate"));
        assert!(moved.identity.trusted.contains(&held.trusted), "the old one is trusted still");
    }
}
