//! Sources that go to one repository in the same way share a connection; whoever has other credentials does not.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kube::api::PostParams;
use midship::api::GitSource;
use midship::api::conditions::find;
use serde_json::json;

use super::repository::instance;
use super::{SOON, Team, team_test};
use crate::forge::fixture::forge;
use crate::harness::wait_for;

/// A port that passes everything on to a server, and how many connections it took.
fn counting(server: String) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(&server)) else { continue };
            count.fetch_add(1, Ordering::Relaxed);
            let ends = [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))];
            for (from, to) in ends {
                let (Ok(mut from), Ok(mut to)) = (from, to) else { continue };
                std::thread::spawn(move || {
                    // either side may end it
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    (port, taken)
}

async fn follow(team: &Team<'_>, name: &str, url: &str, secret: &str) {
    let source = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "GitSource", "metadata": { "name": name },
        "spec": { "url": url, "ref": { "branch": "main" }, "interval": "1s", "path": name, "audit": { "enabled": false },
                  "credentials": { "name": secret } } });
    let source: GitSource = serde_json::from_value(source).expect("a source");
    team.sources().create(&PostParams::default(), &source).await.expect("it can be made");
}

#[test]
fn sources_of_one_repository_share_a_connection_and_nobody_uses_it_with_other_credentials() {
    team_test(async |team| {
        let repository = forge().repository("shared");
        let folders = ["one", "two", "three"];
        repository.push(&folders.map(|folder| (format!("{folder}/{folder}.yaml"), instance(folder, "1"))));
        let address = repository.https.strip_prefix("https://").expect("https");
        let (server, path) = address.split_once('/').expect("a path");
        let host = server.rsplit_once(':').expect("a port").0;
        let (port, connections) = counting(server.to_owned());
        let url = format!("https://{host}:{port}/{path}");
        let (user, ca) = (forge().get("FORGE_USER"), forge().file("FORGE_CA"));
        let login = [("username", user), ("password", forge().get("FORGE_PASSWORD")), ("ca.crt", ca.as_str())];
        team.secret("login", &login).await;
        team.secret("wrong", &[("username", user), ("password", "a guess"), ("ca.crt", ca.as_str())]).await;
        for folder in &folders[..2] {
            follow(team, folder, &url, "login").await;
        }
        team.has(&["one 1", "two 1"]).await;
        let count = || (connections.load(Ordering::Relaxed), team.polls());
        let before = count();
        let (made, looked) = wait_for("both to look again and again", SOON, async || {
            let (made, looked) = count();
            let since = (made - before.0, looked - before.1);
            if since.1 >= 12 { Ok(since) } else { Err(format!("{since:?}")) }
        })
        .await;
        assert!(made * 2 <= looked, "{made} connections for {looked} looks");

        follow(team, "three", &url, "wrong").await;
        wait_for("the third to be refused", SOON, async || {
            let status = team.sources().get("three").await.expect("it is there").status.unwrap_or_default();
            let ready = find(&status.conditions, "Ready").filter(|ready| ready.reason == "CredentialsRefused");
            if ready.is_some() { Ok(()) } else { Err(format!("{status:#?}")) }
        })
        .await;
        assert_eq!(team.running().await, ["one 1", "two 1"]);
    });
}
