//! Definitions as the chart's own: upgraded with it, left when it goes, taken over when it comes back.
//!
//! The server's real definitions belong to all tests, so these install a copy of the chart whose kinds and roles for
//! people are in a group of the test's own.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use super::SOON;
use crate::chart::helm::chart;
use crate::harness::{Scene, api_test, definitions_gone, remove_definitions, wait_for};

/// A copy of the chart with `midship.dev` and `midship:` turned into names of this test.
struct Copy {
    folder: TempDir,
    group: String,
    roles: String,
}

impl Copy {
    fn of_the_chart(scene: &Scene) -> Self {
        let (group, roles) = (format!("{}.test", scene.namespace), format!("{}:", scene.namespace));
        let folder = tempfile::tempdir().expect("a directory");
        // whoever lists everything of ours by one word meanwhile sees nothing of these, which come and go
        let category = format!("categories:\n    - {}\n", scene.namespace);
        copy(&chart(), folder.path(), &|text| {
            let text = text.replace("midship.dev", &group).replace("midship:", &roles);
            text.replace("categories:\n    - midship\n", &category)
        });
        Self { folder, group, roles }
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.folder.path().join(file);
        let text = fs::read_to_string(&path).expect("a file");
        assert!(text.contains(from), "{file} has no {from:?}");
        fs::write(path, text.replacen(from, to, 1)).expect("it can be written");
    }

    fn kind(&self, plural: &str) -> String {
        format!("{plural}.{}", self.group)
    }

    fn kinds(&self) -> Vec<String> {
        midship::api::Kind::ALL.iter().map(|kind| self.kind(&kind.plural())).collect()
    }
}

pub fn copy(from: &Path, to: &Path, change: &dyn Fn(&str) -> String) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to, change);
        } else {
            let text = fs::read_to_string(entry.path()).expect("text");
            fs::write(to, change(&text)).expect("it can be written");
        }
    }
}

fn definitions(scene: &Scene, copy: &Copy) -> usize {
    let all = scene.kubectl(["get", "customresourcedefinitions", "-o", "name"]).stdout();
    all.lines().filter(|line| line.ends_with(&copy.group)).count()
}

#[test]
fn definitions_are_upgraded_left_and_taken_over() {
    api_test(async |scene| {
        let copy = Copy::of_the_chart(scene);
        let release = |action: &str| scene.helm([action, "midship"]).arg(copy.folder.path());
        release("install").stdout();
        let all = midship::api::Kind::ALL.len();
        assert_eq!(definitions(scene, &copy), all);

        let podset = copy.kind("podsets");
        let column = |name: &str| {
            let path =
                format!("jsonpath={{.spec.versions[0].additionalPrinterColumns[?(@.name==\"{name}\")].jsonPath}}");
            scene.kubectl(["get", "customresourcedefinition", &podset, "-o", &path]).stdout()
        };
        assert_eq!(column("Newer"), "");
        let file = "files/crds/podsets.midship.dev.yaml";
        copy.edit(
            file,
            "additionalPrinterColumns:\n",
            "additionalPrinterColumns:\n    - {name: Newer, type: string, jsonPath: .spec.newer}\n",
        );
        release("upgrade").stdout();
        assert_eq!(column("Newer"), ".spec.newer", "the upgrade of the chart has upgraded the definition");

        let established = scene.kubectl([
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "customresourcedefinition",
            &copy.kind("extensions"),
        ]);
        established.stdout();
        let extension = json!({ "apiVersion": format!("{}/v1alpha1", copy.group), "kind": "Extension", "metadata": { "name": "cache-1.0.0" },
            "spec": { "type": "cache", "version": "1.0.0", "digest": format!("sha256:{}", "0".repeat(64)),
                "parts": [{ "kind": "ConfigMap", "namespace": "default", "name": "cache" }] } });
        wait_for("the kind to be served", SOON, async || {
            let output = scene.kubectl(["apply", "-f", "-"]).input(extension.to_string()).output();
            if output.code == 0 { Ok(()) } else { Err(output.stderr) }
        })
        .await;
        let goodbye = scene.helm(["uninstall", "midship"]).stdout();
        assert!(goodbye.contains("kept due to the resource policy"), "{goodbye}");
        assert_eq!(definitions(scene, &copy), all);
        scene.kubectl(["get", &copy.kind("extensions"), "cache-1.0.0"]).stdout();

        release("install").stdout();
        scene.kubectl(["get", &copy.kind("extensions"), "cache-1.0.0"]).stdout();

        release("upgrade").args(["--set", "crds.keep=false"]).stdout();
        scene.helm(["uninstall", "midship"]).stdout();
        definitions_gone(&scene.client, &copy.kinds()).await;
        assert_eq!(definitions(scene, &copy), 0);
    });
}

#[test]
fn leaving_definitions_to_somebody_else_does_not_delete_them() {
    api_test(async |scene| {
        let copy = Copy::of_the_chart(scene);
        let release = |action: &str| scene.helm([action, "midship"]).arg(copy.folder.path());
        release("install").stdout();
        release("upgrade").args(["--set", "crds.install=false"]).stdout();
        assert_eq!(definitions(scene, &copy), midship::api::Kind::ALL.len());
        scene.helm(["uninstall", "midship"]).stdout();
        remove_definitions(&scene.client, &copy.kinds()).await;
    });
}

#[test]
fn the_clusters_own_roles_cover_midships_kinds() {
    api_test(async |scene| {
        let copy = Copy::of_the_chart(scene);
        let install = scene.helm(["install", "midship"]).arg(copy.folder.path());
        install.args(["--set", "crds.install=false"]).stdout();
        for (who, role) in
            [("vera", "view"), ("ed", "edit"), ("ada", "admin"), ("paul", &format!("{}platform", copy.roles))]
        {
            scene.kubectl(["create", "rolebinding", who, "--user", who, "--clusterrole", role]).stdout();
        }
        let of = |verb: &str, plural: &str| format!("{verb} {}/{plural}", copy.group);
        // the cluster gathers the rules of its own roles one after another
        for who in ["vera", "ed", "ada"] {
            scene.assert_can(who, &scene.namespace, &[&of("list", "instances")]).await;
        }
        for (who, edits, connects) in
            [("vera", false, false), ("ed", true, false), ("ada", true, false), ("paul", true, true)]
        {
            for (verb, plural, expected) in [
                ("create", "instances", edits),
                ("create", "operations", edits),
                ("patch", "components/scale", edits),
                ("create", "gitsources", connects),
                ("create", "podsets", false),
            ] {
                scene.decides(who, &scene.namespace, &of(verb, plural), expected).await;
            }
        }
        scene.helm(["uninstall", "midship"]).stdout();
    });
}
