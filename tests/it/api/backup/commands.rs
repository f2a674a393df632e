//! `midship backup` against a cluster and, without one, against the store itself.

use kube::ResourceExt;
use midship::api::{Backup, BackupPolicy, BackupRepository};
use midship::backup::keys::Identity;
use serde_json::json;

use super::kit::{Kit, backup_test, object};
use crate::harness::{Output, Run};

async fn three(kit: &Kit<'_>) -> Vec<Backup> {
    kit.folder_repository("vault").await;
    kit.repository("vault", "Available").await;
    let orders = kit.instance("orders").await;
    let store = kit.folder_store("vault").await;
    for rows in [&b"one"[..], b"two", b"three"] {
        kit.back_up(store.clone(), "vault", &orders, rows).await;
    }
    kit.look_again("vault").await;
    kit.until("all three to be shown", |all| all.len() == 3).await
}

fn midship<'a>(args: impl IntoIterator<Item = &'a str>) -> Run {
    crate::harness::midship().args(args)
}

fn in_cluster<'a>(kit: &Kit<'_>, args: impl IntoIterator<Item = &'a str>) -> Output {
    done(midship(args).env("KUBECONFIG", kit.scene.kubeconfig()))
}

fn done(run: Run) -> Output {
    let output = run.output();
    assert_eq!(output.code, 0, "{output}");
    output
}

#[test]
fn backups_are_listed_from_the_cluster() {
    backup_test(async |kit| {
        let backups = three(kit).await;
        let listed = in_cluster(kit, ["backup", "list"]);
        for backup in &backups {
            assert!(listed.stdout.contains(&backup.name_any()), "{}", listed.stdout);
        }
        assert!(listed.stdout.starts_with("BACKUP") && listed.stdout.contains("orders"), "{}", listed.stdout);
        let none = in_cluster(kit, ["backup", "list", "users"]);
        assert!(none.stderr.contains("there are no backups of users"), "{}", none.stderr);
        assert_eq!(in_cluster(kit, ["backup", "list", "users", "-o", "json"]).stdout, "[]\n");
    });
}

#[test]
fn a_store_is_read_without_any_cluster() {
    backup_test(async |kit| {
        three(kit).await;
        let from = format!("file://{}", kit.folder("vault").display());
        let listed = done(midship(["backup", "list", "--from", &from]));
        assert_eq!(listed.stdout.lines().count(), 4, "{}", listed.stdout);
        assert!(!listed.stdout.contains("orders"), "names are for those with a key: {}", listed.stdout);
        let key = kit.folders.path().join("key");
        std::fs::write(&key, kit.identity.secret().expose()).expect("a file");
        let key = key.to_string_lossy();
        let printed = done(midship(["backup", "kit", "--from", &from]));
        assert!(printed.stdout.contains("signer: ed25519:"), "{}", printed.stdout);
        let page = kit.folders.path().join("kit");
        std::fs::write(&page, &printed.stdout).expect("a file");
        let page = page.to_string_lossy();
        let named = midship(["backup", "list", "orders", "--from", &from, "--identity", &key, "--kit", &page]);
        let named = done(named);
        assert_eq!(named.stdout.matches("orders").count(), 3, "{}", named.stdout);
        let verified = done(midship(["backup", "verify", "--read", "--from", &from, "--kit", &page]));
        assert!(verified.stdout.contains("3 backups: every byte"), "{}", verified.stdout);
        let other = kit.folders.path().join("other-key");
        std::fs::write(&other, Identity::generate().secret().expose()).expect("a file");
        let refused = midship(["backup", "list", "--from", &from, "--identity", &other.to_string_lossy()]).output();
        assert_eq!(refused.code, 1, "{refused}");
        assert!(refused.stderr.contains("the private key opens no backup: no slot of epoch 0001-"), "{refused}");
    });
}

#[test]
fn damage_is_found_from_the_command_line() {
    backup_test(async |kit| {
        three(kit).await;
        let found = kit.catalog(kit.folder_store("vault").await).await.found.remove(1);
        let (place, epoch) = (found.place, found.manifest.epoch.expect("it is encrypted"));
        let from = format!("file://{}", kit.folder("vault").display());
        let slot = format!("keys/{epoch}/{}.age", kit.identity.recipient().fingerprint());
        let path = kit.folder("vault").join(&slot);
        let bytes = std::fs::read(&path).expect("the slot");
        let put = |bytes: &[u8]| {
            std::fs::remove_file(&path).expect("it can be removed");
            std::fs::write(&path, bytes).expect("it can be written");
        };
        put(&bytes[..5]);
        let verified = midship(["backup", "verify", "--read", "--from", &from]).output();
        assert_eq!(verified.code, 1, "{verified}");
        assert!(verified.stderr.contains("3 of 3 backups are damaged"), "{verified}");
        let junk = format!("{slot}: it is no file of age, or what is left of one");
        let told = format!(
            "its key epoch {epoch} has no slot that can be read: {junk}; put keys/{epoch}/*.age back from the recovery kit"
        );
        assert_eq!(verified.stdout.matches(&told).count(), 3, "{verified}");
        let refused = midship(["backup", "kit", "--from", &from]).output();
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{refused}");
        assert!(refused.stderr.contains(&format!("a recovery kit would open nothing here: {junk}")), "{refused}");
        put(&bytes);

        std::fs::remove_dir_all(kit.folder("vault").join(place.chunks())).expect("it can be removed");
        let verified = midship(["backup", "verify", "--from", &from]).output();
        assert_eq!(verified.code, 1, "{verified}");
        assert!(verified.stderr.contains("1 of 3 backups are damaged"), "{}", verified.stderr);
        assert!(verified.stdout.contains("chunk 00000000 is not there"), "{}", verified.stdout);
    });
}

#[test]
fn pruning_by_hand_keeps_what_the_controller_keeps_and_writes_nowhere_that_is_only_read() {
    backup_test(async |kit| {
        three(kit).await;
        // the same store, which another policy writes to under another name
        std::os::unix::fs::symlink(kit.folder("vault"), kit.folder("copy")).expect("a link");
        let spec = json!({ "filesystem": { "claim": "backups" }, "access": "ReadOnly",
            "encryption": { "recipients": [kit.identity.recipient().to_string()] } });
        kit.create::<BackupRepository>(object("BackupRepository", "copy", spec)).await;
        kit.repository("copy", "Available").await;
        for (name, repository, count) in [("yearly", "copy", 3), ("daily", "vault", 1)] {
            let spec = json!({ "repository": repository, "instances": ["orders"], "retention": { "count": count },
                "schedules": [{ "name": "once", "cron": "0 0 1 1 *" }] });
            kit.create::<BackupPolicy>(object("BackupPolicy", name, spec)).await;
        }
        let from = format!("file://{}", kit.folder("vault").display());
        let prune = |args: &[&str]| {
            let run = midship(["backup", "prune", "--repository", "vault"]).args(args.iter().copied());
            run.env("KUBECONFIG", kit.scene.kubeconfig()).output()
        };
        let decided = prune(&["--dry-run", "--from", &from]);
        assert_eq!((decided.code, decided.stdout.matches("of the newest 3").count()), (0, 3), "{decided}");
        in_cluster(kit, ["backup", "verify", "--record", "--repository", "vault", "--from", &from]);
        let unmounted = prune(&["--dry-run"]);
        assert!(unmounted.stderr.contains("say so: --repository vault --from file:///FOLDER"), "{unmounted}");

        kit.change::<BackupRepository>("vault", json!({ "spec": { "access": "ReadOnly" } })).await;
        let refused = prune(&["--from", &from]);
        assert!(refused.code == 1 && refused.stderr.contains("spec.access is ReadOnly"), "{refused}");
    });
}
