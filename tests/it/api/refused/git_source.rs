//! Wrong sources: addresses with secrets in them, references that are none, and doors left open.

use midship::api::Kind;
use serde_json::{Value, json};

use super::{accepted_changes, refused};

fn good() -> Value {
    json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "GitSource", "metadata": { "name": "platform" },
        "spec": { "url": "https://forge.example.com/shop/middleware.git", "ref": { "branch": "main" } } })
}

fn spec(changes: Value) -> Value {
    json!({ "spec": changes })
}

#[test]
fn a_source_has_an_address_without_secrets() {
    refused(Kind::GitSource, &good(), &[
        ("no address", spec(json!({ "url": null })),
            "spec.url: Required value"),
        ("an empty address", spec(json!({ "url": "" })),
            r#"spec.url: Invalid value: "": use https://host/path, ssh://user@host/path or user@host:path"#),
        ("a password in the address", spec(json!({ "url": "https://me:secret@forge.example.com/a.git" })),
            r#"spec.url: Invalid value: "https://me:secret@forge.example.com/a.git": leave user name, password and token out of the address and put them in the Secret that credentials names"#),
        ("a token in the address", spec(json!({ "url": "https://token@forge.example.com/a.git" })),
            r#"spec.url: Invalid value: "https://token@forge.example.com/a.git": leave user name, password and token out of the address and put them in the Secret that credentials names"#),
        ("a password for SSH", spec(json!({ "url": "ssh://git:secret@forge.example.com/a.git" })),
            r#"spec.url: Invalid value: "ssh://git:secret@forge.example.com/a.git": leave user name, password and token out of the address and put them in the Secret that credentials names"#),
        ("an option of a program", spec(json!({ "url": "--upload-pack=sh" })),
            r#"spec.url: Invalid value: "--upload-pack=sh": use https://host/path, ssh://user@host/path or user@host:path"#),
        ("a protocol that runs programs", spec(json!({ "url": "ext::sh -c id" })),
            r#"spec.url: Invalid value: "ext::sh -c id": use https://host/path, ssh://user@host/path or user@host:path"#),
        ("a bare host", spec(json!({ "url": "forge.example.com/a.git" })),
            r#"spec.url: Invalid value: "forge.example.com/a.git": use https://host/path, ssh://user@host/path or user@host:path"#),
        ("a blank in the address", spec(json!({ "url": "https://forge.example.com/a b.git" })),
            r#"spec.url: Invalid value: "https://forge.example.com/a b.git": use https://host/path, ssh://user@host/path or user@host:path"#),
        ("a proxy with a password", spec(json!({ "proxy": { "url": "http://me:secret@proxy.example.com:3128" } })),
            r#"spec.proxy.url: Invalid value: "http://me:secret@proxy.example.com:3128": use an address that starts with https:// or http://, without credentials in it"#),
        ("a forge without http", spec(json!({ "forge": { "provider": "Gitea", "url": "forge.example.com", "credentials": { "name": "f" } } })),
            r#"spec.forge.url: Invalid value: "forge.example.com": use an address that starts with https:// or http://, without credentials in it"#),
        ("a record at an address with a token", spec(json!({ "audit": { "url": "https://token@forge.example.com/audit.git" } })),
            r#"spec.audit.url: Invalid value: "https://token@forge.example.com/audit.git": leave user name, password and token out of the address and put them in the Secret that credentials names"#),
        ("a name too long for a label", json!({ "metadata": { "name": "a".repeat(64) } }),
            "<nil>: Invalid value: the name has at most 63 characters, so that it fits into a label"),
    ]);
}

#[test]
fn a_source_follows_one_thing() {
    refused(Kind::GitSource, &good(), &[
        ("a branch and a tag", spec(json!({ "ref": { "tag": "v1" } })),
            "spec.ref: Invalid value: give exactly one of branch, tag, semver and commit"),
        ("nothing to follow", spec(json!({ "ref": { "branch": null } })),
            "spec.ref: Invalid value: give exactly one of branch, tag, semver and commit"),
        ("a branch with a blank", spec(json!({ "ref": { "branch": "my branch" } })),
            r#"spec.ref.branch: Invalid value: "my branch": use the bare name of a branch or tag, such as main or release/1.2"#),
        ("a branch that is an option", spec(json!({ "ref": { "branch": "--force" } })),
            r#"spec.ref.branch: Invalid value: "--force": use the bare name of a branch or tag, such as main or release/1.2"#),
        ("half a commit", spec(json!({ "ref": { "branch": null, "commit": "1234567" } })),
            r#"spec.ref.commit: Invalid value: "1234567": use a full commit id of 40 or 64 lower-case hexadecimal digits"#),
        ("a branch instead of a reference", spec(json!({ "ref": "main" })),
            r#"spec.ref: Invalid value: "string": spec.ref in body must be of type object: "string""#),
        ("a folder above the repository", spec(json!({ "path": "clusters/../../etc" })),
            r#"spec.path: Invalid value: "clusters/../../etc": use a path such as clusters/east: no '/' at its start or end, no '.' or '..' in it"#),
        ("an absolute folder", spec(json!({ "path": "/clusters/east" })),
            r#"spec.path: Invalid value: "/clusters/east": use a path such as clusters/east: no '/' at its start or end, no '.' or '..' in it"#),
        ("a folder from here", spec(json!({ "path": "./clusters" })),
            r#"spec.path: Invalid value: "./clusters": use a path such as clusters/east: no '/' at its start or end, no '.' or '..' in it"#),
        ("signatures for a folder above", spec(json!({ "verification": { "signers": { "name": "s" }, "paths": ["../a"] } })),
            r#"spec.verification.paths[0]: Invalid value: "../a": use a path such as clusters/east: no '/' at its start or end, no '.' or '..' in it"#),
        ("signatures of nobody", spec(json!({ "verification": {} })),
            "spec.verification.signers: Required value"),
        ("the record on the followed branch", spec(json!({ "audit": { "branch": "main" } })),
            "spec: Invalid value: audit.branch is the branch that is followed, and that one is never written to: name another"),
        ("an interval as a number", spec(json!({ "interval": 60 })),
            r#"spec.interval: Invalid value: "integer": spec.interval in body must be of type string: "integer""#),
    ]);
}

#[test]
fn a_source_is_bounded() {
    refused(Kind::GitSource, &good(), &[
        ("a pattern of namespaces", spec(json!({ "namespaces": ["shop-*"] })),
            r#"spec.namespaces[0]: Invalid value: "shop-*": use names of namespaces, or * for every one"#),
        ("a namespace twice", spec(json!({ "namespaces": ["shop", "shop"] })),
            r#"spec.namespaces[1]: Duplicate value: "shop""#),
        ("fewer than no deletions", spec(json!({ "prune": { "maxCount": -1 } })),
            "spec.prune.maxCount: Invalid value: -1: spec.prune.maxCount in body should be greater than or equal to 0"),
        ("more than all deletions", spec(json!({ "prune": { "maxPercent": 101 } })),
            "spec.prune.maxPercent: Invalid value: 101: spec.prune.maxPercent in body should be less than or equal to 100"),
        ("a drift policy that does not exist", spec(json!({ "drift": "Ignore" })),
            r#"spec.drift: Unsupported value: "Ignore": supported values: "Revert", "Report", "Adopt""#),
        ("an author without an address", spec(json!({ "audit": { "authorEmail": "midship" } })),
            r#"spec.audit.authorEmail: Invalid value: "midship": use an address such as midship@example.com"#),
        ("a forge that is not known", spec(json!({ "forge": { "provider": "Bitbucket", "credentials": { "name": "f" } } })),
            r#"spec.forge.provider: Unsupported value: "Bitbucket": supported values: "GitHub", "GitLab", "Gitea""#),
        ("a forge without credentials", spec(json!({ "forge": { "provider": "GitHub" } })),
            "spec.forge.credentials: Required value"),
        ("a webhook that everybody may call", spec(json!({ "webhook": {} })),
            "spec.webhook.secret: Required value"),
        ("credentials as they are", spec(json!({ "credentials": { "token": "secret" } })),
            r#"unknown field "spec.credentials.token""#),
        ("a size in words", spec(json!({ "limits": { "fileSize": "1 MB" } })),
            r#"spec.limits.fileSize: Invalid value: "1 MB": use a quantity, such as 500m, 2 or 1Gi"#),
        ("no files", spec(json!({ "limits": { "files": 0 } })),
            "spec.limits.files: Invalid value: 0: spec.limits.files in body should be greater than or equal to 1"),
    ]);
}

#[test]
fn every_spelling_of_an_address_is_accepted() {
    let address = |url: &str| ("an address", json!({}), spec(json!({ "url": url })));
    accepted_changes(Kind::GitSource, &good(), &[
        address("ssh://git@forge.example.com:2222/shop/middleware.git"),
        address("git@forge.example.com:shop/middleware.git"),
        address("http://forge.example.com:3000/a"),
        address("file:///srv/git/a.git"),
        address("/srv/git/a.git"),
        address("https://forge.example.com/~me/a@b.git"),
        ("a folder", json!({}), spec(json!({ "path": "clusters/east.example/..a/.b" }))),
        ("all namespaces", json!({}), spec(json!({ "namespaces": ["*"] }))),
        ("another branch for the record", json!({}), spec(json!({ "audit": { "branch": "midship/audit/east" } }))),
        ("the same branch elsewhere", json!({}), spec(json!({ "audit": { "branch": "main", "url": "https://forge.example.com/audit.git" } }))),
    ]);
}
