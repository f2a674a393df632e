//! What `midship validate` tells that no look at one object finds.

use super::{ORDERS, team};
use crate::api::git_source::repository::Repository;
use crate::harness::{Output, midship};

const BACKUPS: &str = "apiVersion: midship.dev/v1alpha1
kind: BackupRepository
metadata: {name: store, namespace: shop}
spec: {s3: {bucket: shop, credentials: {name: store}}, encryption: {recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]}}
---
apiVersion: midship.dev/v1alpha1
kind: BackupPolicy
metadata: {name: nightly, namespace: shop}
spec:
  repository: store
  schedules: [{name: night, cron: \"30 1 * * *\"}]
  retention: {count: 7}
";

fn validate(repository: &Repository, args: &[&str]) -> Output {
    midship().arg("validate").args(args).arg(repository.path()).env("MIDSHIP_CUE", "/nonexistent/cue").output()
}

/// The notes, but for those of rules that could not be checked here.
fn notes(output: &Output) -> Vec<String> {
    let notes = output.stderr.lines().filter_map(|line| line.strip_prefix("note: "));
    notes.filter(|note| !note.starts_with("the rules of ")).map(str::to_owned).collect()
}

#[test]
fn names_that_no_file_defines_are_noted_with_those_that_may_be_meant() {
    let repository = team();
    repository.write("instances/shop/orders.yaml", &format!("{ORDERS}  backup: {{policy: nightly}}\n"));
    repository.write("backups/shop.yaml", BACKUPS);
    let restart = "apiVersion: midship.dev/v1alpha1\nkind: Operation\nmetadata: {name: again, namespace: shop}\n\
                   spec: {instance: orders, type: Restart}\n";
    repository.write("operations/again.yaml", restart);
    let output = validate(&repository, &[]);
    assert!(output.code == 0 && notes(&output).is_empty(), "{output}");

    repository.write("operations/again.yaml", &restart.replace("type: Restart", "type: Rotate"));
    let told = "operations/again.yaml: spec.type: operations of the type Rotate are not built yet, and fail";
    assert_eq!(notes(&validate(&repository, &[])), [told]);

    repository.write("instances/shop/orders.yaml", &format!("{ORDERS}  backup: {{policy: nihgtly}}\n"));
    repository.write("backups/shop.yaml", &BACKUPS.replace("repository: store", "repository: stor"));
    repository.write("operations/again.yaml", &restart.replace("instance: orders", "instance: order"));
    let output = validate(&repository, &[]);
    assert_eq!(
        (output.code, notes(&output)),
        (
            0,
            vec![
                "instances/shop/orders.yaml: spec.backup.policy: in these files there is no BackupPolicy \"nihgtly\"; did you mean \"nightly\"?".to_owned(),
                "backups/shop.yaml: spec.repository: in these files there is no BackupRepository \"stor\"; did you mean \"store\"?".to_owned(),
                "operations/again.yaml: spec.instance: in these files there is no Instance \"order\"; did you mean \"orders\"?".to_owned(),
            ]
        )
    );
}

#[test]
fn a_package_that_is_not_here_is_noted_with_the_one_that_may_be_meant() {
    let repository = team();
    repository.write("instances/shop/orders.yaml", &ORDERS.replace("type: redis", "type: rediss"));
    let [note] = &notes(&validate(&repository, &[]))[..] else { panic!("one note") };
    assert!(note.ends_with("; here there is no type \"rediss\"; did you mean \"redis\"?"), "{note}");
}

#[test]
fn an_environment_that_nobody_says_anything_of_is_noted() {
    let repository = team();
    let settings = "namespaces: {shop: {environment: prod}}\nenvironments: {production: {deletionPolicy: Retain}}\n";
    repository.write("midship.yaml", settings);
    let told = "midship.yaml: namespaces.shop.environment: there is no environment \"prod\"; there is production";
    assert_eq!(notes(&validate(&repository, &[])), [told]);
    repository.write("midship.yaml", &settings.replace("prod}", "production}"));
    assert!(notes(&validate(&repository, &[])).is_empty());
}

#[test]
fn a_secret_that_everybody_can_read_is_noted() {
    let repository = team();
    let secret =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: login, namespace: shop}\nstringData: {password: hunter2}\n";
    repository.write("secrets/login.yaml", secret);
    let output = validate(&repository, &[]);
    let [note] = &notes(&output)[..] else { panic!("one note: {output}") };
    assert!(note.starts_with("secrets/login.yaml:1: Secret shop/login is not encrypted: "), "{note}");
    assert!(!note.contains("hunter2") && output.code == 0, "{output}");
}

#[test]
fn a_file_that_nobody_reads_for_its_ending_in_capitals_is_noted() {
    let repository = team();
    repository.write("instances/shop/second.YAML", ORDERS);
    repository.write("README.MD", "# Ours\n");
    let told = "instances/shop/second.YAML is not read: its ending is in capitals; name it instances/shop/second.yaml if it is \
                meant for Midship, or under ignore in midship.yaml if it is not";
    let output = validate(&repository, &[]);
    assert_eq!((output.code, notes(&output)), (0, vec![told.to_owned()]));
    repository.write("midship.yaml", "ignore: [second.YAML]\n");
    let output = validate(&repository, &[]);
    assert_eq!((output.code, notes(&output)), (0, Vec::new()));
}

#[test]
fn an_encrypted_file_that_nobody_could_open_is_refused_at_its_place() {
    let repository = team();
    let sealed = "\"ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]\"";
    let plain = |password: &str, sops: &str| {
        let object = "apiVersion: v1\nkind: Secret\nmetadata: {name: login, namespace: shop}\n";
        format!("{object}stringData: {{password: {password}}}\nsops:\n{sops}")
    };
    let good = format!(
        "  age: [{{recipient: age1x, enc: x}}]\n  mac: {sealed}\n  lastmodified: \"2026-01-01T00:00:00Z\"\n  encrypted_regex: \
         ^(data|stringData)$\n"
    );
    let bare = "  age: []\n  pgp: []\n";
    for (password, sops, told) in [
        (sealed, good.clone(), None),
        (sealed, good.replace("age: [{recipient: age1x, enc: x}]", "pgp: [{fp: x, enc: x}]"), None),
        (
            sealed,
            "  mac: x\n".to_owned(),
            Some(("5:", "lastmodified is missing or no text; the file was not written by sops, or was cut")),
        ),
        (
            sealed,
            good.replace("  age: [{recipient: age1x, enc: x}]\n", bare),
            Some(("5:", "the file is encrypted for no age recipient, so that nobody can open it; ")),
        ),
        (
            sealed,
            good.replace(&format!("mac: {sealed}"), "mac: ENC[x]"),
            Some(("7:", "the MAC is none that sops writes; restore the file and edit it with sops")),
        ),
        ("hunter2", good.clone(), Some(("4:", "this value has to be encrypted and is not; edit the file with sops"))),
    ] {
        repository.write("secrets/login.yaml", &plain(password, &sops));
        let output = validate(&repository, &[]);
        assert!(!output.to_string().contains("hunter2"), "{output}");
        let Some((line, reason)) = told else {
            assert_eq!(output.code, 0, "{output}");
            continue;
        };
        assert!(output.code == 1 && output.stdout.contains(&format!("secrets/login.yaml:{line}")), "{output}");
        assert!(output.stdout.contains(reason), "{output}");
    }
}

#[test]
fn a_schedule_that_never_comes_is_refused_at_its_place() {
    let repository = team();
    repository.write("backups/shop.yaml", &BACKUPS.replace("30 1 * * *", "30 25 * * *"));
    let output = validate(&repository, &[]);
    let told = "BackupPolicy shop/nightly: spec.schedules[0].cron: \"30 25 * * *\" is no schedule: ";
    assert!(output.code == 1 && output.stdout.contains(told), "{output}");
    assert!(output.stdout.contains("backups/shop.yaml:11:35   refused"), "{output}");
}

#[test]
fn writes_that_nobody_could_confirm_are_refused_and_a_window_that_does_nothing_is_told() {
    let repository = team();
    let more = "  failover: {synchronous: 3}\n  maintenance: {window: \"0 2 * * 0\", duration: 3h}\n";
    repository.write("instances/shop/orders.yaml", &format!("{ORDERS}{more}"));
    let output = validate(&repository, &[]);
    let told = "Instance shop/orders: spec.failover.synchronous: 3 replicas are to confirm each write, and redis has 3 pods \
                with the primary among them: no write would ever end; ask for at most 2, or give it more pods";
    assert!(output.code == 1 && output.stdout.contains(told), "{output}");
    repository
        .write("instances/shop/orders.yaml", &format!("{ORDERS}{more}").replace("synchronous: 3", "synchronous: 2"));
    let output = validate(&repository, &[]);
    let told = "instances/shop/orders.yaml: Instance shop/orders: spec.maintenance is not built yet: what disturbs clients \
                is done at once, whatever the window";
    assert_eq!((output.code, notes(&output)), (0, vec![told.to_owned()]));
}

#[test]
fn confirmations_that_a_topology_has_no_pods_for_or_that_are_assumed_are_told_and_stop_nothing() {
    let repository = team();
    let path = "instances/shop/orders.yaml";
    let alone = ORDERS.replace("replicas: 3", "replicas: 1");
    let told = [format!(
        "{path}: Instance shop/orders: failover.synchronous: 1 replica is to confirm each write, and redis has 1 pod, the \
         primary: no write ends, unless the package leaves that out here; say spec.failover.synchronous: 0"
    )];
    let topology = |name: &str| format!("{alone}  topology: {name}\n");
    repository.write(path, &format!("{}  failover: {{synchronous: 1}}\n", topology("standalone")));
    let output = validate(&repository, &[]);
    assert_eq!((output.code, &notes(&output)[..]), (0, &told[..]), "{output}");
    repository.write(
        "midship.yaml",
        "namespaces: {shop: {environment: safe}}\nenvironments: {safe: {failover: {synchronous: 1}}}\n",
    );
    for name in ["standalone", "replication"] {
        repository.write(path, &topology(name));
        let output = validate(&repository, &[]);
        assert_eq!((output.code, &notes(&output)[..]), (0, &told[..]), "{name}: {output}");
    }
    repository.write(path, &topology("sentinel"));
    assert!(notes(&validate(&repository, &[])).is_empty(), "who hands the role out there is the middleware");
}

#[test]
fn of_a_folder_and_files_in_it_only_these_files_are_judged() {
    let repository = team();
    repository.write("broken.yaml", "a: [\n");
    let run = |args: &[&str]| midship().arg("validate").args(args).within(repository.path()).output();
    let good = run(&[".", "instances/shop/orders.yaml"]);
    assert!(good.code == 0 && good.stdout.starts_with("all is well: 1 file, 1 object"), "{good}");
    let bad = run(&[".", "instances/shop/orders.yaml", "broken.yaml"]);
    assert!(bad.code == 1 && bad.stdout.contains("\nbroken.yaml:"), "{bad}");
    let folder = run(&[".", "instances"]);
    let told = "error: among several paths this is no file\n  where: instances\n";
    assert!(folder.code == 1 && folder.stderr.starts_with(told), "{folder}");
}

#[test]
fn a_namespace_that_is_none_is_told_once_where_it_was_given() {
    let repository = team();
    let told = "error: namespace \"A B\" is not valid; use lower-case letters, digits and inner '-'\n  where: ";
    for option in ["--default-namespace", "--allowed-namespaces"] {
        let output = validate(&repository, &[option, "A B"]);
        assert!(output.code == 1 && output.stderr.starts_with(&format!("{told}{option}\n")), "{output}");
    }
}

#[test]
fn a_folder_that_is_not_the_whole_or_holds_nothing_is_told() {
    let repository = team();
    repository.write("midship.yaml", "namespaces: {shop: {}}\n");
    std::fs::create_dir(repository.path().join("empty")).expect("it can be made");
    let within = |folder: &str| {
        midship().args(["validate", "--default-namespace", "shop"]).within(&repository.path().join(folder)).output()
    };
    let top = repository.path().canonicalize().expect("it is there");
    let told = format!(
        "midship.yaml lies in {}: what it says, and the packages beside it, count only where that folder is looked at",
        top.display()
    );
    for folder in ["instances", "empty"] {
        assert!(notes(&within(folder)).contains(&told), "{folder}");
    }
    assert!(notes(&within(".")).is_empty());
    repository.commit("Settings");
    let diff = midship().arg("diff").within(&repository.path().join("instances")).output();
    assert_eq!((diff.code, notes(&diff)), (0, vec![told]));
    let mistaken = midship().args(["diff", "main..HEAD"]).within(&top).output();
    let remedy = "to do: name a folder that exists; commits are named by options, such as --base and --revision\n";
    assert!(mistaken.code == 1 && mistaken.stderr.ends_with(remedy), "{mistaken}");
    std::fs::remove_file(top.join("midship.yaml")).expect("it is there");
    let told = "no file here ends in .yaml, .yml or .json: is this the folder that the GitSource reconciles?";
    assert_eq!(notes(&within("empty")), [told]);
}
