//! Complete configuration files that users bring along: from the spec, a ConfigMap or a Secret.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::PostParams;
use midship::api::conditions::find;
use serde_json::{Value, json};

use crate::api::extension::kit::{Kit, kit_test};

/// Installs a package that takes one of its files from users, and the other never.
async fn install(kit: &Kit<'_>) {
    let files = kit.files("1.0.0", "", |path, text| match path {
        "extension.yaml" => text.replace(
            "config: {server.conf: config/server.conf.j2}",
            "config: {server.conf: {template: config/server.conf.j2, userFile: Replaces, format: properties}, fixed.conf: \
             config/server.conf.j2}",
        ),
        _ => text,
    });
    kit.create(&kit.objects_of(files)).await;
    kit.extension("1.0.0", "True", "Installed").await;
}

fn with(file: &str, place: &Value) -> Value {
    let mut server = json!({ "name": "server", "replicas": 2 });
    server["configFiles"][file] = place.clone();
    json!({ "components": [server] })
}

/// What is said of an instance that asks for this.
async fn told(kit: &Kit<'_>, spec: Value, reason: &str) -> String {
    kit.patch("cache", json!({ "spec": spec })).await;
    let status = kit.becomes("cache", reason).await;
    find(&status.conditions, "Ready").expect("it is told").message.clone()
}

#[test]
fn a_complete_file_is_taken_held_to_the_rules_and_kept_secret_where_it_was() {
    kit_test(async |kit| {
        install(kit).await;
        let map = json!({ "metadata": { "name": "mine" },
            "data": { "good": "# mine\nconnections = 20\nother = 1\n", "wrong": "other = 1\nconnections = 1000\n" } });
        let map: ConfigMap = serde_json::from_value(map).expect("a ConfigMap");
        kit.scene.objects::<ConfigMap>().create(&PostParams::default(), &map).await.expect("it can be made");
        let secret = json!({ "metadata": { "name": "hidden" },
            "stringData": { "good": "# swordfish\nconnections = 30\n", "wrong": "connections = hunter2\n" } });
        let secret: Secret = serde_json::from_value(secret).expect("a Secret");
        kit.scene.objects::<Secret>().create(&PostParams::default(), &secret).await.expect("it can be made");
        let of_map = |key: &str| with("server.conf", &json!({ "configMap": { "name": "mine", "key": key } }));
        let of_secret = |key: &str| with("server.conf", &json!({ "secret": { "name": "hidden", "key": key } }));
        let field = "spec.components[server].configFiles.server.conf: server.conf: ";

        kit.instance("cache", of_map("good")).await;
        kit.becomes("cache", "Creating").await;
        let files = kit.there::<ConfigMap>("cache-server-config").await.data.expect("files");
        assert_eq!(files["server.conf"], "# mine\nconnections = 20\nother = 1\n");

        let wrong = told(kit, of_map("wrong"), "Invalid").await;
        let wanted = format!("{field}line 2: parameter connections: 1000 is too large; allowed is 1 to 100; ");
        assert!(wrong.starts_with(&wanted), "{wrong}");
        let files = kit.there::<ConfigMap>("cache-server-config").await.data.expect("files");
        assert!(files["server.conf"].starts_with("# mine\n"), "what runs stays as it is");

        told(kit, of_secret("good"), "Creating").await;
        let files = kit.there::<Secret>("cache-server-config").await.data.expect("files");
        assert_eq!(files["server.conf"].0, b"# swordfish\nconnections = 30\n");
        let files = kit.there::<ConfigMap>("cache-server-config").await.data.expect("files");
        assert!(!files.contains_key("server.conf") && !format!("{files:?}").contains("swordfish"), "{files:?}");

        let wrong = told(kit, of_secret("wrong"), "Invalid").await;
        let wanted = format!(
            "{field}line 1: parameter connections: its value is not allowed, and not shown: the file lies in a Secret; "
        );
        assert!(wrong.starts_with(&wanted), "{wrong}");
        let instance = kit.instances().get("cache").await.expect("it is there");
        let seen = serde_json::to_string(&instance).expect("plain data") + &kit.controller.log_text();
        assert!(!seen.contains("hunter2") && !seen.contains("swordfish"), "a secret was told");

        let missing = told(kit, of_secret("missing"), "Missing").await;
        assert!(missing.contains("configFiles.server.conf: the content of server.conf is not there"), "{missing}");
        let refused = told(kit, with("fixed.conf", &json!({ "content": "a = 1" })), "Invalid").await;
        let wanted = "spec.components[server].configFiles.fixed.conf: fixed.conf of component server cannot be replaced; set \
                      parameters instead; ";
        assert!(refused.starts_with(wanted), "{refused}");
    });
}
