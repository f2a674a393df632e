//! One package, however it comes: from ConfigMaps, from Secrets and from a repository it has the same digest.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, PostParams};
use midship::api::conditions::find;
use midship::api::extension::{PackagePart, PartKind};
use midship::api::{Extension, GitSource};
use midship::extension::install;
use midship::names::{NamespaceName, ObjectName};
use serde_json::json;

use super::kit::{Kit, SOON, kit_test};
use crate::api::git_source::repository::Repository;
use crate::harness::wait_for;

const VERSION: &str = "1.0.0";

/// Takes the installed version away, so that it can be installed in another way.
async fn take_away(kit: &Kit<'_>) {
    kit.extensions().delete(&kit.name(VERSION), &DeleteParams::default()).await.expect("it can be deleted");
    wait_for("the Extension to be gone", SOON, async || match kit.extensions().get_opt(&kit.name(VERSION)).await {
        Ok(None) => Ok(()),
        other => Err(format!("{:?}", other.map(|found| found.is_some()))),
    })
    .await;
}

#[test]
fn a_package_has_one_digest_from_config_maps_secrets_and_a_repository() {
    kit_test(async |kit| {
        let files = kit.files(VERSION, "", |_, text| text);
        // the controller makes the digest itself of what it reads, and accepts no other
        let from_maps = kit.install(VERSION, "").await;
        assert_eq!(from_maps.spec.digest, files.digest());
        take_away(kit).await;
        for part in &from_maps.spec.parts {
            kit.gone::<ConfigMap>(part.name.as_str()).await;
        }

        let data = files.iter().map(|(path, bytes)| (install::key(path), ByteString(bytes.to_vec()))).collect();
        let mut secret = Secret { data: Some(data), ..Secret::default() };
        secret.metadata.name = Some("package".to_owned());
        kit.scene.objects::<Secret>().create(&PostParams::default(), &secret).await.expect("a Secret");
        let part = PackagePart {
            kind: PartKind::Secret,
            namespace: NamespaceName::parse(&kit.scene.namespace).expect("a namespace"),
            name: ObjectName::parse("package").expect("a name"),
        };
        let mut spec = from_maps.spec.clone();
        spec.parts = vec![part];
        let made = Extension::new(&kit.name(VERSION), spec);
        kit.extensions().create(&PostParams::default(), &made).await.expect("an Extension");
        let from_secret = kit.extension(VERSION, "True", "Installed").await;
        assert_eq!(from_secret.spec.digest, from_maps.spec.digest);
        take_away(kit).await;

        let repository = Repository::new();
        for (path, bytes) in files.iter() {
            repository.write_bytes(&format!("extensions/{}/{VERSION}/{path}", kit.type_), bytes);
        }
        repository.commit("A package");
        let source = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "GitSource", "metadata": { "name": "main" },
            "spec": { "url": repository.url(), "ref": { "branch": "main" }, "interval": "1s" } });
        let source: GitSource = serde_json::from_value(source).expect("a source");
        kit.scene.objects::<GitSource>().create(&PostParams::default(), &source).await.expect("it can be made");
        let from_git = kit.extension(VERSION, "True", "Installed").await;
        assert_eq!(from_git.spec.digest, from_maps.spec.digest);
        let conditions = from_git.status.unwrap_or_default().conditions;
        assert!(find(&conditions, "Ready").is_some());
        assert!(from_git.metadata.labels.unwrap_or_default().contains_key("midship.dev/source"), "it came from there");
        // the same version once more, with another file
        let changed = "config/server.conf.j2";
        let other = kit.files(VERSION, "", |path, text| if path == changed { text + "# more\n" } else { text });
        repository.write_bytes(
            &format!("extensions/{}/{VERSION}/{changed}", kit.type_),
            other.get(changed).expect("it is one of its files"),
        );
        repository.commit("Another package under the same version");
        let told = format!(
            "an installed version never changes: it was installed as {}, and this is {}; publish the change under a new version",
            files.digest(),
            other.digest()
        );
        wait_for("both digests to be named", SOON, async || {
            let source = kit.scene.objects::<GitSource>().get("main").await.map_err(|error| error.to_string())?;
            let status = serde_json::to_string(&source.status).expect("plain data");
            if status.contains(&told) { Ok(()) } else { Err(status) }
        })
        .await;
        let still = kit.extension(VERSION, "True", "Installed").await;
        assert_eq!(still.spec, from_git.spec);
        for part in &still.spec.parts {
            kit.there::<ConfigMap>(part.name.as_str()).await;
        }
        // a source that went would take what it brought along, and the test clears up after it
        kit.scene.objects::<GitSource>().delete("main", &DeleteParams::default()).await.expect("it can be deleted");
        kit.gone::<GitSource>("main").await;
    });
}
