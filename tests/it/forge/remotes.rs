//! Reading from and appending to repositories on a real server, and every way in which it says no.

use midship::repo::{
    Access, Appended, AuditLog, Cache, Credentials, Draft, Edit, Fetched, FileTree, Follow, Limits, ObjectId, Person,
    Record, Remote, Secret,
};

use super::fixture::{bounds, forge, remote};

fn file(path: &str, content: &str) -> (String, String) {
    (path.to_owned(), content.to_owned())
}

fn code(remote: &Remote) -> &'static str {
    match remote.open(&bounds()) {
        Ok(mut session) => session.resolve(&Follow::Head).map_or_else(|error| error.code(), |_| "good"),
        Err(error) => error.code(),
    }
}

fn record(id: &str) -> Record {
    let person =
        Person { name: "midship".into(), email: "m@example.test".into(), seconds: 1_700_000_000, offset_minutes: 0 };
    Record {
        id: id.to_owned(),
        marker: String::new(),
        draft: Draft {
            author: person.clone(),
            committer: person,
            message: format!("Apply {id}"),
            trailers: Vec::new(),
            edits: vec![Edit { path: format!("inst/{id}.yaml"), content: Some(id.as_bytes().to_vec()) }],
        },
    }
}

#[test]
fn a_commit_is_resolved_fetched_and_read_over_https_and_ssh() {
    let repository = forge().repository("read");
    for (way, remote) in repository.remotes() {
        let empty = remote.open(&bounds()).expect(way).resolve(&Follow::branch("main").expect("a name"));
        assert!(empty.is_err(), "{way}: nothing was pushed yet");
    }
    let first = repository.push(&[file("a.yaml", "a: 1\n"), file("dir/b.yaml", "b: 1\n")]);
    let second = repository.push(&[file("dir/b.yaml", "b: 2\n")]);
    for (way, remote) in repository.remotes() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(folder.path().join("cache"));
        for (follow, expected) in [(Follow::commit(&first), &first), (Follow::branch("main"), &second)] {
            let mut session = remote.open(&bounds()).expect(way);
            let found = session.resolve(&follow.expect("a name")).expect(way);
            assert_eq!(&found.commit.to_string(), expected, "{way}");
            assert!(matches!(cache.fetch(session, found.commit).expect(way), Fetched::New { .. }), "{way}");
            let commits = cache.history().expect(way).commits(found.commit).expect(way).count();
            assert_eq!(commits, 1, "{way}: no history comes along");
            let tree = cache.tree(found.commit).expect(way);
            let listing = tree.list(&Limits::default(), None).expect(way);
            let paths: Vec<_> = listing.files().into_iter().map(|(path, _)| path).collect();
            assert_eq!(paths, ["a.yaml", "dir/b.yaml"], "{way}");
        }
    }
}

#[test]
fn each_refusal_over_https_is_told_apart() {
    let repository = forge().repository("refusals");
    repository.push(&[file("a.yaml", "a: 1\n")]);
    let good = forge().basic();
    assert_eq!(code(&remote(&repository.https, good.clone())), "good");
    let wrong = Credentials::Basic { username: "midship".into(), password: Secret::new("wrong") };
    let with = |credentials: Credentials| remote(&repository.https, Access { credentials, ..good.clone() });
    assert_eq!(code(&with(wrong)), "credentials-refused");
    assert_eq!(code(&with(Credentials::Bearer(Secret::new("wrong")))), "credentials-refused");
    assert_eq!(code(&with(Credentials::Anonymous)), "credentials-missing");
    assert_eq!(code(&remote(&repository.https, Access { ca: None, ..good.clone() })), "tls");
    assert_eq!(code(&remote(&format!("{}-not", repository.https), good.clone())), "repository-not-found");
    assert_eq!(code(&remote("https://127.0.0.1:1/a.git", good.clone())), "unreachable");
    assert_eq!(code(&remote("https://no-such-host.invalid/a.git", good)), "unreachable");
}

#[test]
fn each_refusal_over_ssh_is_told_apart() {
    let repository = forge().repository("refusals");
    repository.push(&[file("a.yaml", "a: 1\n")]);
    let good = forge().key("FORGE_SSH_KEY");
    let Credentials::Ssh { private_key, known_hosts } = good.credentials.clone() else { panic!("a key") };
    let with = |key: Secret, hosts: &str| {
        let credentials = Credentials::Ssh { private_key: key, known_hosts: hosts.to_owned() };
        remote(&repository.ssh, Access { credentials, ..Access::default() })
    };
    assert_eq!(code(&with(private_key.clone(), &known_hosts)), "good");
    assert_eq!(code(&with(private_key.clone(), "")), "host-key");
    let other = known_hosts.replace("AAAAC3NzaC1lZDI1NTE5AAAAI", "AAAAC3NzaC1lZDI1NTE5AAAAIA").replace("==", "");
    assert_eq!(code(&with(private_key.clone(), &other)), "host-key");
    let stranger = tempfile::tempdir().expect("a folder");
    let key = stranger.path().join("key");
    let made =
        std::process::Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.expect("ssh-keygen runs").success());
    let unknown = Secret::new(std::fs::read_to_string(&key).expect("a key"));
    assert_eq!(code(&with(unknown, &known_hosts)), "credentials-refused");
    assert_eq!(code(&with(Secret::new("no key at all"), &known_hosts)), "credentials-refused");
    assert_eq!(code(&remote(&format!("{}-not", repository.ssh), good.clone())), "repository-not-found");
    assert_eq!(code(&remote("ssh://git@127.0.0.1:1/a.git", good)), "unreachable");
    assert_eq!(code(&remote(&repository.ssh, forge().basic())), "credentials-unfit");
}

#[test]
fn audit_commits_are_appended_over_https_and_ssh() {
    let repository = forge().repository("audit");
    let folder = tempfile::tempdir().expect("a folder");
    for (way, remote) in repository.remotes() {
        let log = AuditLog::new(remote.clone(), Cache::new(folder.path().join(way)), &format!("midship/audit/{way}"));
        let mut all: Vec<Record> = Vec::new();
        for n in 0..3 {
            all.push(record(&format!("{way}-{n}")));
            let appended = log.append(&all, None, &bounds()).expect(way);
            assert!(matches!(&appended, Appended::Pushed { commits, .. } if commits.len() == 1), "{way}: {appended:?}");
        }
        let other =
            AuditLog::new(remote, Cache::new(folder.path().join(format!("{way}-2"))), &format!("midship/audit/{way}"));
        all.push(record(&format!("{way}-3")));
        assert!(
            matches!(other.append(&all, None, &bounds()).expect(way), Appended::Pushed { commits, .. } if commits.len() == 1)
        );
        let subjects = repository.on_server(&["log", "--reverse", "--format=%s", &format!("midship/audit/{way}")]);
        let expected: Vec<_> = (0..4).map(|n| format!("Apply {way}-{n}")).collect();
        assert_eq!(subjects, expected.join("\n"));
    }
    repository.on_server(&["fsck", "--strict", "--full"]);
}

#[test]
fn who_may_only_read_is_refused_with_the_reason() {
    let repository = forge().repository("readers");
    repository.push(&[file("a.yaml", "a: 1\n")]);
    for (way, url, access) in
        [("https", &repository.https, forge().reader()), ("ssh", &repository.ssh, forge().key("FORGE_SSH_READER_KEY"))]
    {
        let folder = tempfile::tempdir().expect("a folder");
        let reader = remote(url, access);
        assert_eq!(code(&reader), "good", "{way}");
        let log = AuditLog::new(reader, Cache::new(folder.path().join("cache")), "midship/audit/x");
        let refused = log.append(&[record("1")], None, &bounds()).expect(way);
        let Appended::Refused { reason } = refused else { panic!("{way}: {refused:?}") };
        println!("{way}: {reason}");
        assert!(!reason.is_empty(), "{way}");
    }
}

#[test]
fn a_hook_is_quoted_over_https_and_ssh() {
    let repository = forge().repository("hooks");
    repository.push(&[file("a.yaml", "a: 1\n")]);
    repository.hook("#!/bin/sh\necho 'protected branch: ask ops' >&2\nexit 1\n");
    for (way, remote) in repository.remotes() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = AuditLog::new(remote, Cache::new(folder.path().join("cache")), "midship/audit/x");
        let refused = log.append(&[record("1")], None, &bounds()).expect(way);
        assert!(matches!(&refused, Appended::Refused { reason } if reason.contains("ask ops")), "{way}: {refused:?}");
    }
}

#[test]
fn a_commit_the_server_does_not_have_is_said_so() {
    let repository = forge().repository("missing");
    repository.push(&[file("a.yaml", "a: 1\n")]);
    for (way, remote) in repository.remotes() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = ObjectId::from_hex("1".repeat(40).as_bytes()).expect("an id");
        let session = remote.open(&bounds()).expect(way);
        let error = Cache::new(folder.path().join("cache")).fetch(session, missing).expect_err(way);
        assert!(error.to_string().contains("not in the repository"), "{way}: {error}");
    }
}
