//! `midship blame`, `rollback`, `history` and `audit` on clones, without a cluster.

use insta::assert_snapshot;

use super::{seen, team};
use crate::api::git_source::repository::Repository;
use crate::harness::{Output, midship};

const FILE: &str = "instances/shop/orders.yaml";

fn on(repository: &Repository, args: &[&str]) -> Output {
    midship().args(args).arg("--repo").arg(repository.path()).output()
}

fn edit(repository: &Repository, from: &str, to: &str, message: &str) -> String {
    let text = std::fs::read_to_string(repository.path().join(FILE)).expect("it can be read");
    assert!(text.contains(from), "{text}");
    repository.write(FILE, &text.replace(from, to));
    repository.commit(message)
}

#[test]
fn blame_names_file_line_commit_and_author_of_each_field() {
    let repository = team();
    let first = repository.head();
    let second = edit(&repository, "allkeys-lru", "allkeys-lfu", "Keep what is used often");
    let output = on(&repository, &["blame", "inst/orders"]);
    assert_eq!(output.code, 0, "{output}");
    let line = |field: &str| blamed(&output, field);
    assert!(line("spec.components[redis].parameters").contains(&format!("allkeys-lfu {FILE}:11 {}", &second[..10])));
    assert!(line("spec.version").contains(&format!("7.0 {FILE}:6 {}", &first[..10])), "{}", line("spec.version"));
    assert!(line("spec.type").ends_with("Ada Lovelace"));
}

/// The line of a field, with single spaces.
fn blamed(output: &Output, field: &str) -> String {
    let found = output.stdout.lines().find(|line| line.starts_with(field));
    let words: Vec<&str> = found.unwrap_or_else(|| panic!("no {field}: {output}")).split_whitespace().collect();
    words.join(" ")
}

fn commit_by(repository: &Repository, author: &str, message: &str) -> String {
    repository.git(&["add", "-A"]);
    repository.git(&["commit", "-q", "--author", &format!("{author} <{author}@example.com>"), "-m", message]);
    repository.head()
}

#[test]
fn blame_follows_an_object_to_whoever_wrote_its_fields() {
    let repository = team();
    let ada = repository.head();
    let moved = "instances/shop/stock.yaml";
    repository.git(&["mv", FILE, moved]);
    let text = std::fs::read_to_string(repository.path().join(moved)).expect("it can be read");
    repository.write(moved, &text.replace("allkeys-lru", "allkeys-lfu"));
    let bob = commit_by(&repository, "Bob", "Call the file what it holds, and keep what is used often");
    let holds = |output: &Output, field: &str, place: &str, commit: &str, author: &str| {
        let line = blamed(output, field);
        assert!(line.contains(&format!(" {place} {} ", &commit[..10])) && line.ends_with(author), "{line}");
    };
    let output = on(&repository, &["blame", "orders"]);
    holds(&output, "spec.version", &format!("{moved}:6"), &ada, "Ada Lovelace");
    holds(&output, "spec.components[redis].parameters", &format!("{moved}:11"), &bob, "Bob");

    // into a file with others, one of them of the same name in another namespace
    let other = "apiVersion: midship.dev/v1alpha1\nkind: Instance\nmetadata: {name: orders, namespace: test}\n\
                 spec: {type: redis, extensionVersion: 1.0.0, version: \"7.4\"}\n";
    let all = "instances/all.yaml";
    repository.write(all, other);
    let carol = commit_by(&repository, "Carol", "Try the next version");
    let text = std::fs::read_to_string(repository.path().join(moved)).expect("it can be read");
    repository.remove(moved);
    let placed = text.replace("{name: orders}", "{name: orders, namespace: shop}");
    repository.write(all, &format!("{other}---\n{placed}"));
    let dan = commit_by(&repository, "Dan", "One file is enough");
    let of = |namespace: &str| on(&repository, &["blame", "orders", "-n", namespace]);
    let (shop, test) = (of("shop"), of("test"));
    holds(&shop, "spec.version", &format!("{all}:11"), &ada, "Ada Lovelace");
    holds(&shop, "spec.components[redis].parameters", &format!("{all}:16"), &bob, "Bob");
    holds(&shop, "metadata.namespace", &format!("{all}:8"), &dan, "Dan");
    holds(&test, "spec.version", &format!("{all}:4"), &carol, "Carol");

    // whoever mends a file wrote what they changed; a merge wrote nothing
    repository.write(all, &format!("{other}---\n{}", placed.replace("spec:", "spec: [")));
    commit_by(&repository, "Eve", "Break it");
    repository.git(&["checkout", "-q", "-b", "other", "HEAD~2"]);
    repository.write("instances/shop/more.yaml", &other.replace("test", "shop").replace("orders", "more"));
    commit_by(&repository, "Frank", "Something else");
    repository.git(&["checkout", "-q", "main"]);
    repository.write(all, &format!("{other}---\n{}", placed.replace("replicas: 3", "replicas: 5")));
    let grace = commit_by(&repository, "Grace", "Mend it");
    repository.git(&["merge", "-q", "--no-edit", "other"]);
    let shop = of("shop");
    holds(&shop, "spec.version", &format!("{all}:11"), &ada, "Ada Lovelace");
    holds(&shop, "spec.components[redis].replicas", &format!("{all}:15"), &grace, "Grace");
    holds(&shop, "spec.components[redis].parameters", &format!("{all}:16"), &bob, "Bob");
    holds(&of("test"), "spec.type", &format!("{all}:4"), &carol, "Carol");

    let package = on(&repository, &["blame", "extension", "redis-1.0.0"]);
    assert!(package.code == 1 && package.stderr.contains("git log --stat -- extensions/redis/1.0.0"), "{package}");
}

#[test]
fn rollback_pushes_a_branch_and_never_the_watched_one() {
    let repository = team();
    let before = repository.head();
    let other = "# another\napiVersion: midship.dev/v1alpha1\nkind: Instance\nmetadata: {name: other, namespace: shop}\n\
                 spec: {type: redis, extensionVersion: 1.0.0, version: \"7.0\"}\n";
    let text = std::fs::read_to_string(repository.path().join(FILE)).expect("it can be read");
    repository.write(FILE, &format!("{other}---\n{}", text.replace("replicas: 3", "replicas: 5")));
    let after = repository.commit("Grow, and one more");

    let seen_only = on(&repository, &["rollback", "orders", "--to", &before, "--dry-run"]);
    assert_eq!(seen_only.code, 2, "{seen_only}");
    assert!(seen_only.stdout.contains("-     replicas: 5"), "{seen_only}");

    let nobody = on(&repository, &["rollback", "orders", "--to", &before]);
    assert!(nobody.stderr.contains("it is not known who makes the commit"), "{nobody}");
    let author = ["--author", "Grace Hopper <grace@example.com>"];
    let output = on(&repository, &[&["rollback", "orders", "--to", &before][..], &author].concat());
    assert_eq!(output.code, 2, "{output}");
    let branch = format!("midship/rollback/shop-orders-{}", &before[..10]);
    assert!(output.stderr.contains(&branch), "{output}");
    assert_eq!(repository.head(), after, "the watched branch stays");
    let file = repository.git(&["show", &format!("{branch}:{FILE}")]);
    assert!(file.starts_with("# another\n") && file.contains("replicas: 3"), "{file}");
    let log = repository.git(&["log", "-1", "--format=%an <%ae>%n%B", &branch]);
    assert!(log.starts_with("Grace Hopper <grace@example.com>\nTake Instance orders back to"), "{log}");
    assert!(log.contains(&format!("Midship-Rollback-To: {before}")), "{log}");

    let known = repository.path().join(".git/person");
    std::fs::write(&known, "[user]\n  name = Alan Turing\n  email = alan@example.com\n").expect("it can be written");
    let args = ["rollback", "orders", "--to", &before, "--on", "by-alan", "--repo"];
    let output = midship().env("GIT_CONFIG_GLOBAL", &known).args(args).arg(repository.path()).output();
    assert_eq!(output.code, 2, "{output}");
    let log = repository.git(&["log", "-1", "--format=%an <%ae>", "by-alan"]);
    assert_eq!(log.trim(), "Alan Turing <alan@example.com>", "{log}");

    let again = on(&repository, &[&["rollback", "orders", "--to", "HEAD"][..], &author].concat());
    assert_eq!(again.code, 0, "{again}");
    let watched = on(
        &repository,
        &[&["rollback", "orders", "--to", &before, "--on", "main", "--branch", "main"][..], &author].concat(),
    );
    assert!(watched.stderr.contains("the watched branch is never pushed to"), "{watched}");
}

#[test]
fn a_deleted_instance_can_be_taken_back() {
    let repository = team();
    let before = repository.head();
    repository.remove(FILE);
    repository.commit("Remove it");
    let author = ["--author", "Grace Hopper <grace@example.com>", "--on", "back"];
    let output = on(&repository, &[&["rollback", "orders", "--to", &before][..], &author].concat());
    assert_eq!(output.code, 2, "{output}");
    assert!(repository.git(&["show", &format!("back:{FILE}")]).contains("name: redis"));
}

#[test]
fn mistakes_are_answered_with_what_was_meant() {
    let repository = team();
    assert_snapshot!(
        "unknown-object",
        seen(&on(&repository, &["blame", "ordrs"]), repository.path()).replace(&repository.head()[..10], "COMMIT")
    );
    assert_snapshot!("no-audit-branch", seen(&on(&repository, &["history", "orders"]), repository.path()));
    let output = on(&repository, &["rollback", "orders", "--to", "v9"]);
    assert!(output.stderr.contains("`v9` names no commit of this repository"), "{output}");
    let output = midship().args(["blame", "orders", "--repo", "http://example.com/x.git"]).output();
    assert!(output.stderr.contains("--allow-insecure-git"), "{output}");
}

#[test]
fn a_record_that_midship_did_not_write_is_found() {
    let repository = team();
    repository.git(&["branch", "midship/audit/test"]);
    let output = on(&repository, &["audit", "verify"]);
    assert_eq!(output.code, 1, "{output}");
    assert!(output.stdout.contains("it has no trailer Midship-Record: Midship did not write it"), "{output}");
    repository.git(&["branch", "midship/audit/other"]);
    let output = on(&repository, &["audit", "verify"]);
    assert!(output.stderr.contains("there are several audit branches"), "{output}");
}

#[test]
fn a_file_that_is_broken_now_is_taken_back_as_a_whole() {
    let repository = team();
    let before = repository.head();
    repository.write(FILE, "apiVersion: midship.dev/v1alpha1\nkind: Instance\n  metadata: [\n");
    repository.commit("Break it");
    let author = ["--author", "Grace Hopper <grace@example.com>", "--on", "back"];
    let output = on(&repository, &[&["rollback", "orders", "--to", &before][..], &author].concat());
    assert_eq!(output.code, 2, "{output}");
    assert!(output.stderr.contains("has mistakes now, and becomes as a whole what it was"), "{output}");
    let (old, new) = (format!("{before}:{FILE}"), format!("back:{FILE}"));
    assert_eq!(repository.git(&["show", &new]), repository.git(&["show", &old]));
}

#[test]
fn an_object_in_another_namespace_is_named_with_it() {
    let repository = team();
    let output = midship().args(["blame", "orders", "-n", "elsewhere", "--repo"]).arg(repository.path()).output();
    assert!(output.stderr.contains("there is no Instance orders in the namespace elsewhere"), "{output}");
    assert!(output.stderr.contains("name the namespace with -n"), "{output}");
}

#[test]
fn a_folder_for_each_cluster_is_a_repository_of_its_own() {
    let repository = Repository::new();
    for (cluster, replicas) in [("east", "3"), ("west", "5")] {
        let text = super::ORDERS.replace("replicas: 3", &format!("replicas: {replicas}"));
        repository.write(&format!("{cluster}/{FILE}"), &text);
    }
    let before = repository.commit("Two clusters");
    let west = repository.path().join("west");
    let blame = midship().args(["blame", "orders", "-n", "shop", "--repo"]).arg(&west).output();
    assert!(blamed(&blame, "spec.components[redis].replicas").contains(&format!("5 west/{FILE}:10 ")), "{blame}");
    repository.write(&format!("west/{FILE}"), &super::ORDERS.replace("replicas: 3", "replicas: 7"));
    repository.commit("Grow in the west");
    let author = ["--author", "Grace Hopper <grace@example.com>", "--on", "back"];
    let back = midship().args(["rollback", "orders", "--to", &before]).args(author).arg("--repo").arg(&west).output();
    assert_eq!(back.code, 2, "{back}");
    let files = repository.git(&["diff", "--name-only", "main", "back"]);
    assert_eq!(files, format!("west/{FILE}"), "{back}");
}

#[test]
fn single_files_can_be_validated_as_a_hook_before_a_commit_does() {
    let repository = team();
    repository.write("broken.yaml", "apiVersion: midship.dev/v1alpha1\nkind: Instence\nmetadata: {name: x}\n");
    let file = |path: &str| repository.path().join(path);
    let output = midship().arg("validate").arg(file(FILE)).output();
    assert_eq!(output.code, 0, "{output}");
    let output = midship().arg("validate").arg(file(FILE)).arg(file("broken.yaml")).output();
    assert_eq!(output.code, 1, "{output}");
    assert!(output.stdout.contains("broken.yaml:2:"), "{output}");
    let output = midship().arg("validate").arg(file(FILE)).arg(file("missing.yaml")).output();
    assert!(output.code == 1 && output.stderr.contains("missing.yaml"), "{output}");
}
