//! `midship extension install` and `list`.

use std::path::Path;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::DeleteParams;
use midship::api::Extension;

use super::run;
use crate::harness::{api_test, midship};

#[test]
fn a_package_is_installed_once_and_never_changed() {
    api_test(async |scene| {
        let folder = tempfile::tempdir().expect("a folder");
        // extensions are there for the whole cluster: one of this test's own
        let type_ = format!("x{}", &scene.namespace[scene.namespace.len() - 6..]);
        midship().args(["extension", "new", &type_, "--to"]).arg(folder.path()).stdout();
        let package = folder.path().join(&type_).join("0.1.0").display().to_string();
        let install = || {
            let home = ["--installed-in", &scene.namespace, "--timeout", "0"];
            run(scene, &[&["extension", "install", &package][..], &home].concat())
        };
        let nowhere = run(scene, &["extension", "install", &package, "--installed-in", "not-there"]);
        assert_eq!(nowhere.code, 1, "{nowhere}");
        assert!(nowhere.stderr.contains("there is no namespace not-there"), "{nowhere}");
        assert!(nowhere.stderr.contains("name its namespace: --installed-in NAME"), "{nowhere}");
        let first = install();
        assert_eq!(first.code, 0, "{first}");
        assert!(first.stderr.contains(&format!("{type_}-0.1.0 installed: 1 ConfigMap, sha256:")), "{first}");
        assert!(install().stderr.contains("was installed already"));
        let extensions: Api<Extension> = Api::all(scene.client.clone());
        let name = format!("{type_}-0.1.0");
        let made = extensions.get(&name).await.expect("it is there");
        let part = scene.objects::<ConfigMap>().get(made.spec.parts[0].name.as_str()).await.expect("it is there");
        assert_eq!(part.immutable, Some(true));
        let list = run(scene, &["extension", "list", "--search", &type_]);
        assert!(list.stdout.contains("was not looked at by a controller yet"), "{list}");

        let file = Path::new(&package).join("config/server.conf.j2");
        let text = std::fs::read_to_string(&file).expect("it can be read");
        std::fs::write(&file, format!("{text}# more\n")).expect("it can be written");
        let other = install();
        assert_eq!(other.code, 1, "{other}");
        assert!(other.stderr.contains("is installed with other contents, and a version never changes"), "{other}");
        let both = [format!("{} in the cluster, sha256:", made.spec.digest), format!(" in {package}\n")];
        assert!(both.iter().all(|text| other.stderr.contains(text)), "{other}\n{both:?}");
        extensions.delete(&name, &DeleteParams::default()).await.expect("deleted");
    });
}
