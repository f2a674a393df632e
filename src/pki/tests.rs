//! Certificates of every kind, judged.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::*;

const YEAR: Duration = Duration::from_hours(24 * 365);

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn after(hours: i64) -> Timestamp {
    now() + SignedDuration::from_hours(hours)
}

fn wanted(names: &[&str]) -> Wanted {
    Wanted {
        names: names.iter().map(ToString::to_string).collect(),
        usage: Usage::Both,
        lifetime: Duration::from_hours(24 * 90),
    }
}

fn verdict(issued: &Issued, wanted: &Wanted, authority: &Authority, at: Timestamp) -> Verdict {
    let held = Held { certificate: &issued.certificate, key: &issued.key };
    judge(Some(held), wanted, authority.certificate(), at)
}

#[test]
fn what_is_issued_is_good_and_says_what_was_asked_for() {
    let authority = Authority::create("agents", 10 * YEAR, now()).unwrap();
    let wanted = wanted(&["Shop.example", "*.pods.shop.svc", "10.0.0.7", "fd00::1"]);
    let issued = authority.issue(&wanted, now()).unwrap();
    let read = Certificate::read("it", &issued.certificate).unwrap();
    assert_eq!(read.names(), ["shop.example", "*.pods.shop.svc", "10.0.0.7", "fd00::1"]);
    assert!(!read.is_authority() && read.is_for(Usage::Both) && read.signed_by(authority.certificate()));
    assert_eq!((read.not_before(), read.not_after()), (after(-1), after(24 * 90)));
    assert!(matches(&read, "a.pods.shop.svc") && matches(&read, "10.0.0.7") && matches(&read, "SHOP.example"));
    assert!(!matches(&read, "a.b.pods.shop.svc") && !matches(&read, "pods.shop.svc") && !matches(&read, "10.0.0.8"));
    let Verdict::Good { renew_at } = verdict(&issued, &wanted, &authority, now()) else { panic!() };
    assert!(renew_at > after(24 * 59) && renew_at < after(24 * 60), "{renew_at}");
    assert_eq!(read.pem(), issued.certificate);
}

#[test]
fn an_authority_that_was_kept_goes_on() {
    let made = Authority::create("agents", 10 * YEAR, now()).unwrap();
    let read = Authority::read(made.pem(), made.key().clone()).unwrap();
    let wanted = wanted(&["a"]);
    let issued = read.issue(&wanted, now()).unwrap();
    assert!(matches!(verdict(&issued, &wanted, &made, now()), Verdict::Good { .. }));
    let other = Authority::create("agents", YEAR, now()).unwrap();
    let error = Authority::read(made.pem(), other.key().clone()).unwrap_err();
    assert_eq!(error.to_string(), "the private key of the authority does not belong to its certificate");
    let error = Authority::read(&issued.certificate, issued.key.clone()).unwrap_err();
    assert_eq!(error.to_string(), "the certificate of the authority is none that may sign others");
    assert!(Authority::read("nonsense", made.key().clone()).is_err());
    assert!(Authority::read(made.pem(), KeyPem::new("nonsense")).is_err());
}

#[test]
fn every_reason_to_renew_is_told() {
    let authority = Authority::create("agents", 10 * YEAR, now()).unwrap();
    let other = Authority::create("agents", 10 * YEAR, now()).unwrap();
    let asked = wanted(&["a.b"]);
    let issued = authority.issue(&asked, now()).unwrap();
    let reason = |issued: &Issued, asked: &Wanted, by: &Authority, at| match verdict(issued, asked, by, at) {
        Verdict::Renew(reason) => reason.to_string(),
        Verdict::Good { renew_at } => panic!("good until {renew_at}"),
    };
    assert_eq!(judge(None, &asked, authority.certificate(), now()), Verdict::Renew(Reason::Missing));
    assert_eq!(
        reason(&issued, &asked, &other, now()),
        "another authority signed the certificate",
        "though it has the same name"
    );
    assert_eq!(
        reason(&issued, &wanted(&["c", "10.0.0.1"]), &authority, now()),
        "the certificate lacks c, 10.0.0.1 and no longer needs a.b"
    );
    let stolen = Issued { key: other.key().clone(), ..issued.clone() };
    assert_eq!(reason(&stolen, &asked, &authority, now()), "the key does not belong to the certificate");
    let server = authority.issue(&Wanted { usage: Usage::Server, ..asked.clone() }, now()).unwrap();
    assert_eq!(reason(&server, &asked, &authority, now()), "the certificate is for another use");
    assert_eq!(
        reason(&issued, &asked, &authority, after(-2)),
        "the certificate is not valid before 2026-03-01T11:00:00Z"
    );
    assert_eq!(reason(&issued, &asked, &authority, after(24 * 61)), "the certificate ends 2026-05-30T12:00:00Z");
    let broken = Issued { certificate: "x".into(), ..issued };
    assert!(reason(&broken, &asked, &authority, now()).starts_with("the certificate cannot be used: "));
}

#[test]
fn no_certificate_outlives_its_authority() {
    let authority = Authority::create("agents", Duration::from_hours(48), now()).unwrap();
    let asked = wanted(&["a"]);
    let issued = authority.issue(&asked, after(40)).unwrap();
    assert_eq!(Certificate::read("it", &issued.certificate).unwrap().not_after(), after(48));
    assert!(matches!(verdict(&issued, &asked, &authority, after(46)), Verdict::Good { .. }), "renewing would not help");
    let error = authority.issue(&asked, after(48)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the authority ended 2026-03-03T12:00:00Z and can issue nothing any more: make a new one"
    );
}

#[test]
fn names_that_are_none_are_refused() {
    let authority = Authority::create("agents", YEAR, now()).unwrap();
    let long = "a".repeat(64);
    for name in ["", "a b", "a..b", "-a", "a.*.b", "*", "ä.b", "a/b", &long] {
        let error = authority.issue(&wanted(&[name]), now()).unwrap_err();
        assert!(matches!(error, PkiError::Name { .. }), "{name}: {error}");
    }
    assert!(matches!(authority.issue(&wanted(&[]), now()), Err(PkiError::NoNames)));
}

#[test]
fn keys_do_not_show() {
    let authority = Authority::create("agents", YEAR, now()).unwrap();
    let issued = authority.issue(&wanted(&["a"]), now()).unwrap();
    let secret = issued.key.expose().lines().nth(1).unwrap().to_owned();
    let bundle = Bundle::create("agents", YEAR, now()).unwrap();
    for shown in [format!("{issued:?}"), format!("{authority:?}"), format!("{:?}", bundle.parts())] {
        assert!(!shown.contains(&secret) && !shown.contains("PRIVATE"), "{shown}");
    }
}

#[test]
fn a_successor_is_trusted_before_it_signs_and_the_former_for_as_long_as_it_lasts() {
    let mut bundle = Bundle::create("agents", 3 * YEAR, now()).unwrap();
    let first = bundle.authority().pem().to_owned();
    let (changed, due) = bundle.advance("agents", 3 * YEAR, after(1)).unwrap();
    assert!(!changed && due > after(2 * 365 * 24 - 2) && due < after(2 * 365 * 24));

    let (changed, signs) = bundle.advance("agents", 3 * YEAR, due).unwrap();
    assert!(changed);
    assert_eq!(certificates("it", &bundle.trusted()).unwrap().len(), 2);
    assert_eq!(bundle.authority().pem(), first);
    let mut bundle = Bundle::read(&bundle.parts()).unwrap();
    assert!(!bundle.advance("agents", 3 * YEAR, signs - SignedDuration::from_secs(1)).unwrap().0);

    let (changed, due) = bundle.advance("agents", 3 * YEAR, signs).unwrap();
    assert!(changed);
    assert_ne!(bundle.authority().pem(), first);
    assert!(bundle.trusted().ends_with(&first));
    assert_eq!(due, after(3 * 365 * 24), "until the last certificate of the former has ended");
    let mut bundle = Bundle::read(&bundle.parts()).unwrap();

    assert!(bundle.advance("agents", 3 * YEAR, due).unwrap().0);
    assert_eq!(bundle.trusted(), bundle.authority().pem());
}

#[test]
fn an_authority_that_ended_unnoticed_is_replaced_at_once() {
    let mut bundle = Bundle::create("agents", YEAR, now()).unwrap();
    let first = bundle.authority().pem().to_owned();
    assert!(bundle.advance("agents", YEAR, after(366 * 24)).unwrap().0);
    assert_ne!(bundle.authority().pem(), first);
    assert_eq!(bundle.trusted(), bundle.authority().pem());
}
