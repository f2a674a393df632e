//! Webhooks: a signed hint to look now, and nothing more.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::repository::instance;
use super::{SOON, Team, team_test};
use crate::harness::wait_for;

const SECRET: &str = "s3cret of the hook";

fn signature(body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

async fn post(team: &Team<'_>, path: &str, headers: &[(&str, String)], body: &str) -> (u16, String) {
    let url = format!("http://{}/hooks/{path}", team.controller.webhooks().await);
    // while the API server takes its time, whoever delivers is told to come again
    wait_for("a word on the delivery", SOON, async || {
        let mut request = reqwest::Client::new().post(&url).timeout(SOON).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = request.send().await.expect("it answers");
        let (status, text) = (answer.status().as_u16(), answer.text().await.expect("it says something"));
        if status == 503 { Err(text) } else { Ok((status, text)) }
    })
    .await
}

#[test]
fn a_signed_delivery_makes_the_source_look_at_once() {
    team_test(async |team| {
        team.secret("hook", &[("secret", SECRET)]).await;
        team.repository.write("a.yaml", &instance("a", "0"));
        team.repository.commit("A cache");
        // without a webhook nobody would look for an hour
        team.follow(json!({ "interval": "1h", "webhook": { "secret": { "name": "hook" } } })).await;
        team.becomes("Applied").await;
        let path = format!("{}/main", team.scene.namespace);
        let body = json!({ "ref": "refs/heads/main", "after": "0123" }).to_string();
        let hex = signature(&body);
        let deliveries = [
            ("x-hub-signature-256", format!("sha256={hex}")),
            ("x-gitlab-token", SECRET.to_owned()),
            ("x-gitea-signature", hex.clone()),
            ("x-midship-signature", format!("sha256={hex}")),
        ];
        for (number, (header, value)) in deliveries.into_iter().enumerate() {
            team.repository.write("a.yaml", &instance("a", &number.to_string()));
            team.repository.commit(&format!("Version {number}"));
            let (status, text) = post(team, &path, &[(header, value)], &body).await;
            assert_eq!((status, text.as_str()), (202, "the repository is looked at now\n"), "{header}");
            team.has(&[&format!("a {number}")]).await;
        }
    });
}

#[test]
fn what_is_not_signed_as_it_should_be_is_refused_before_it_is_read() {
    team_test(async |team| {
        team.secret("hook", &[("secret", SECRET)]).await;
        team.follow(json!({ "interval": "1h", "webhook": { "secret": { "name": "hook" } } })).await;
        team.becomes("Applied").await;
        let before = team.source().await.metadata.annotations;
        let path = format!("{}/main", team.scene.namespace);
        let body = json!({ "ref": "refs/heads/main" }).to_string();
        let good = [("x-hub-signature-256", format!("sha256={}", signature(&body)))];
        let refused = |(status, text): (u16, String)| format!("{status} {}", text.trim());
        let wrong = "401 the signature does not fit; use the secret that spec.webhook.secret of the GitSource names";
        assert_eq!(refused(post(team, &path, &good, "{}").await), wrong);
        assert_eq!(refused(post(team, &path, &[("x-gitlab-token", "guess".into())], &body).await), wrong);
        assert_eq!(refused(post(team, &format!("{}/other", team.scene.namespace), &good, &body).await), wrong);
        assert!(refused(post(team, &path, &[], &body).await).starts_with("401 the delivery is not signed; "));
        assert!(refused(post(team, "Not/a-namespace", &good, &body).await).starts_with("404 the address is /hooks/"));
        let large = "x".repeat((1 << 20) + 1);
        let signed = [("x-hub-signature-256", format!("sha256={}", signature(&large)))];
        assert_eq!(post(team, &path, &signed, &large).await.0, 413);
        let elsewhere = json!({ "ref": "refs/heads/midship/audit/test" }).to_string();
        let signed = [("x-hub-signature-256", format!("sha256={}", signature(&elsewhere)))];
        let (status, text) = post(team, &path, &signed, &elsewhere).await;
        assert_eq!((status, text.as_str()), (200, "the source follows something else; nothing to do\n"));
        assert_eq!(team.source().await.metadata.annotations, before, "nobody was asked to look");
        assert!(!team.controller.log_text().contains(SECRET));
    });
}

#[tokio::test]
async fn with_a_certificate_deliveries_come_over_tls_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).expect("it can be written");
    write("tls.crt", made.cert.pem());
    let (_client, none) = watch::channel(None);
    let stop = CancellationToken::new();
    let address = || "127.0.0.1:0".parse().expect("an address");
    let serve = midship::serve::webhook::serve(address(), Some(folder.path().to_owned()), none.clone(), stop.clone());
    let error = serve.await.expect_err("the key is missing").to_string();
    assert!(
        error.contains("tls.key: ") && error.ends_with("as a Secret of the type kubernetes.io/tls does"),
        "{error}"
    );
    write("tls.key", made.signing_key.serialize_pem());
    let serve = midship::serve::webhook::serve(address(), Some(folder.path().to_owned()), none, stop.clone());
    let bound = serve.await.expect("it serves");
    let http = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().expect("a client");
    let answer = http.post(format!("https://{bound}/hooks/a/b")).send().await.expect("it answers");
    assert_eq!(answer.status(), 503, "there is no cluster here");
    assert!(http.post(format!("http://{bound}/hooks/a/b")).send().await.is_err());
    stop.cancel();
}

#[tokio::test]
async fn silent_connections_of_one_address_leave_places_to_others() {
    use tokio::io::AsyncReadExt;
    let (_client, none) = watch::channel(None);
    let stop = CancellationToken::new();
    let address = "127.0.0.1:0".parse().expect("an address");
    let bound = midship::serve::webhook::serve(address, None, none, stop.clone()).await.expect("it serves");
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(tokio::net::TcpStream::connect(bound).await.expect("it is taken"));
    }
    let other = "127.0.0.2".parse::<std::net::IpAddr>().expect("an address");
    let http = reqwest::Client::builder().local_address(other).timeout(SOON).build().expect("a client");
    let answer = http.post(format!("http://{bound}/hooks/a/b")).send().await.expect("it answers");
    assert_eq!(answer.status(), 503, "there is no cluster here");
    // and they do not stay: those that were taken are closed as well
    for mut one in silent {
        let ended = tokio::time::timeout(SOON, one.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "it is closed");
    }
    stop.cancel();
}
