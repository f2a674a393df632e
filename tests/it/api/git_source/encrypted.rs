//! Secrets from files that the real `sops` encrypted.

use serde_json::json;

use super::repository::instance;
use super::{SOON, Team, team_test};
use crate::harness::wait_for;
use crate::sops::Person;

const SECRET: &str = "\
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData:
  user: ada
  password: correct-horse-battery
";
const REGEX: [&str; 2] = ["--encrypted-regex", "^(data|stringData)$"];

async fn stored(team: &Team<'_>, name: &str, password: &str) {
    wait_for(&format!("the Secret {name} to hold its password"), SOON, async || {
        let found =
            team.scene.kubectl(["get", "secret", name, "-o", "go-template={{.data.password | base64decode}}"]).output();
        if found.stdout == password { Ok(()) } else { Err(found) }
    })
    .await;
}

#[test]
fn encrypted_secrets_are_written_and_shown_nowhere() {
    team_test(async |team| {
        let person = Person::new();
        team.secret("keys", &[("main.agekey", &person.key_file())]).await;
        team.repository.write("secrets/login.yaml", &person.encrypt(SECRET, "yaml", &REGEX));
        let all = SECRET.replace("login", "all").replace("correct", "purple");
        team.repository.write("secrets/all.yaml", &person.encrypt(&all, "yaml", &["--unencrypted-regex", "^kind$"]));
        let json = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "json" },
            "stringData": { "password": "green-horse-battery" } });
        team.repository.write("secrets/json.json", &person.encrypt(&json.to_string(), "json", &REGEX));
        team.repository.commit("Three secrets");
        team.follow(json!({ "decryption": { "name": "keys" } })).await;
        team.becomes("Applied").await;
        stored(team, "login", "correct-horse-battery").await;
        stored(team, "all", "purple-horse-battery").await;
        stored(team, "json", "green-horse-battery").await;
        team.recorded(1).await;
        team.repository
            .write("secrets/login.yaml", &person.encrypt(&SECRET.replace("correct", "yellow"), "yaml", &REGEX));
        team.repository.commit("Another password");
        stored(team, "login", "yellow-horse-battery").await;
        team.recorded(2).await;
        let audit = team.repository.git(&["log", "-p", "midship/audit/test"]);
        let source = serde_json::to_string(&team.source().await).expect("JSON");
        let events = team.scene.kubectl(["get", "events", "-o", "yaml"]).stdout();
        let log = team.controller.log_text();
        for (place, text) in [("audit", &audit), ("status", &source), ("events", &events), ("log", &log)] {
            for value in ["horse-battery", "LWhvcnNlLWJhdHRlcn", "AGE-SECRET-KEY"] {
                assert!(!text.contains(value), "{value} stands in the {place}");
            }
        }
        assert!(audit.contains("+  password: (secret ") && audit.contains("-  password: (secret "), "{audit}");
    });
}

#[test]
fn a_file_that_cannot_be_opened_harms_no_other() {
    team_test(async |team| {
        let (person, stranger) = (Person::new(), Person::new());
        team.secret("keys", &[("main.agekey", &person.key_file())]).await;
        let sealed = |name: &str| person.encrypt(&SECRET.replace("login", name), "yaml", &REGEX);
        let write = |path: &str, text: &str| team.repository.write(path, text);
        write("stranger.yaml", &stranger.encrypt(&SECRET.replace("login", "stranger"), "yaml", &REGEX));
        write("changed.yaml", &sealed("changed").replace("name: changed", "name: other"));
        write("typo.yaml", &sealed("typo").replace("type:str]", "type:int]"));
        let wrong = SECRET.replace("login", "wrong").replace("stringData", "data");
        write("wrong.yaml", &person.encrypt(&wrong, "yaml", &REGEX));
        let map = SECRET.replace("login", "map").replace("Secret", "ConfigMap").replace("stringData", "data");
        write("map.yaml", &person.encrypt(&map, "yaml", &REGEX));
        write("good.yaml", &sealed("good"));
        write("cache.yaml", &instance("cache", "7.0"));
        team.repository.commit("Some cannot be opened");
        team.follow(json!({ "decryption": { "name": "keys" } })).await;
        team.becomes("InvalidFiles").await;
        let errors = team.errors().await;
        let (ours, theirs) = (&person.recipient, &stranger.recipient);
        let expected = [
            "changed.yaml:LINE sops-mac: the MAC does not fit the values: some were changed, moved or removed without sops; restore the file and edit it with sops".to_owned(),
            "map.yaml:2:1 encrypted: kind: only Secrets are applied from encrypted files, everything else is shown in the audit branch; leave kind and metadata readable with encrypted_regex: ^(data|stringData)$".to_owned(),
            format!("stranger.yaml:LINE sops-key: it is encrypted for {theirs}, and this source has the identity of {ours}; add the identity to the Secret that spec.decryption names, or the recipient to the file: sops rotate -i --add-age {ours} FILE"),
            "typo.yaml:6:5 sops-value: the value cannot be decrypted: it says that it is of a type that it is not; restore the file and edit it with sops".to_owned(),
            "wrong.yaml:6:11 wrong-type: data.user: the encrypted value is not what belongs here".to_owned(),
            "wrong.yaml:7:15 wrong-type: data.password: the encrypted value is not what belongs here".to_owned(),
        ];
        let without_line = |error: &String| {
            let (place, rest) = error.split_once(' ').expect("a place");
            let sops = rest.starts_with("sops-mac") || rest.starts_with("sops-key");
            let place =
                if sops { format!("{}:LINE", place.split(':').next().expect("a path")) } else { place.to_owned() };
            format!("{place} {rest}")
        };
        assert_eq!(errors.iter().map(without_line).collect::<Vec<_>>(), expected, "{errors:#?}");
        stored(team, "good", "correct-horse-battery").await;
        team.has(&["cache 7.0"]).await;
    });
}

#[test]
fn without_a_key_or_with_a_bad_one_the_source_says_what_to_do() {
    team_test(async |team| {
        let person = Person::new();
        team.repository.write("login.yaml", &person.encrypt(SECRET, "yaml", &REGEX));
        team.repository.write("cache.yaml", &instance("cache", "7.0"));
        team.repository.commit("A secret");
        team.follow(json!({})).await;
        let message = team.becomes("InvalidFiles").await;
        assert!(
            message.contains(": this file is encrypted with SOPS, and the GitSource has no key; name a Secret with the age identity in spec.decryption; everything else is applied"),
            "{message}"
        );
        team.has(&["cache 7.0"]).await;
        team.patch_source(json!({ "spec": { "decryption": { "name": "keys" } } })).await;
        let message = team.says("InvalidCredentials").await;
        assert!(message.starts_with("there is no Secret keys in the namespace "), "{message}");
        team.secret("keys", &[("identity", "AGE-SECRET-KEY-1QQQQ")]).await;
        wait_for("the source to say what the Secret lacks", SOON, async || {
            let message = team.says("InvalidCredentials").await;
            if message.starts_with("Secret keys: no entry ends with .agekey") { Ok(()) } else { Err(message) }
        })
        .await;
        team.secret("keys", &[("main.agekey", &person.key_file())]).await;
        stored(team, "login", "correct-horse-battery").await;
    });
}

#[test]
fn a_key_that_is_added_is_used_without_a_new_commit() {
    team_test(async |team| {
        let (person, stranger) = (Person::new(), Person::new());
        team.secret("keys", &[("main.agekey", &person.key_file())]).await;
        team.repository.write("login.yaml", &stranger.encrypt(SECRET, "yaml", &REGEX));
        team.repository.commit("A secret of somebody else");
        team.follow(json!({ "decryption": { "name": "keys" }, "interval": "1h" })).await;
        team.becomes("InvalidFiles").await;
        team.secret("keys", &[("main.agekey", &person.key_file()), ("other.agekey", &stranger.key_file())]).await;
        stored(team, "login", "correct-horse-battery").await;
        team.becomes("Applied").await;
    });
}
