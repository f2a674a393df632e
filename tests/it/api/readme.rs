//! "A first instance" of README.md, followed to the letter: its blocks are run as they stand, but for the Git server's address.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use midship::api::instance::Phase;
use midship::api::{GitSource, Instance};
use serde_json::json;

use super::controller::create_namespace;
use super::controller::process::Controller;
use super::controller::scratch::{Scratch, scratch_test};
use crate::forge::fixture::forge;
use crate::harness::{Output, Run, find, install_definitions, wait_for};

/// What the section calls the repository.
const ADDRESS: &str = "https://git.example.com/team/middleware.git";
/// For packages that are taken up, and pods that are made, on a busy machine.
const IN_TIME: Duration = Duration::from_secs(90);

#[test]
fn a_first_instance_comes_up_as_the_readme_tells_it() {
    scratch_test(async |scratch| {
        install_definitions(&scratch.client).await;
        let home = "midship-system";
        create_namespace(&scratch.client, home).await;
        let _controller =
            Controller::start("readme", &scratch.kubeconfig(), &["--lease-namespace", home, "--leader-elect=false"]);
        let newcomer = Newcomer::new(scratch);

        let [files, push, follow] = &newcomer.blocks("sh")[..] else { panic!("three blocks of commands") };
        let [instance, source] = &newcomer.blocks("yaml")[..] else { panic!("two objects") };
        newcomer.does("midship", files);
        newcomer.writes("middleware/instances/shop-dev/orders-cache.yaml", instance);
        let validated = newcomer.does("middleware", push);
        assert!(validated.stdout.contains("all is well") && !validated.stderr.contains("note:"), "{validated}");
        newcomer.writes("gitsource.yaml", source);
        newcomer.does("middleware", follow);
        // the server of the tests has an authority of its own
        let ca = json!({ "stringData": { "ca.crt": forge().file("FORGE_CA") } }).to_string();
        newcomer.does("middleware", &format!("kubectl -n team patch secret middleware-git -p '{ca}'"));

        let sources: Api<GitSource> = Api::namespaced(scratch.client.clone(), "team");
        wait_for("the source to be ready, and recorded", IN_TIME, async || {
            let source = sources.get("middleware").await.map_err(|error| error.to_string())?;
            let status = serde_json::to_value(&source.status).map_err(|error| error.to_string())?;
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.iter().any(|one| one["type"] == "Ready" && one["reason"] == "Applied");
            if ready && status["audit"]["commit"].is_string() { Ok(()) } else { Err(format!("{status:#}")) }
        })
        .await;
        for (name, pods) in [("orders-cache", 3), ("orders-db", 1)] {
            is_made(scratch, name, pods).await;
        }
        newcomer.sees();
    });
}

/// Waits until the instance is taken up and its pods are there. None runs without nodes.
async fn is_made(scratch: &Scratch, name: &str, number: usize) {
    let instances: Api<Instance> = Api::namespaced(scratch.client.clone(), "shop-dev");
    let pods: Api<Pod> = Api::namespaced(scratch.client.clone(), "shop-dev");
    wait_for(&format!("the pods of {name}"), IN_TIME, async || {
        let instance = instances.get(name).await.map_err(|error| error.to_string())?;
        let status = instance.status.unwrap_or_default();
        let own = ListParams::default().labels(&format!("midship.dev/instance={name}"));
        let pods = pods.list(&own).await.map_err(|error| error.to_string())?.items;
        // the first may have to be ready before the next is made
        let made = status.phase == Some(Phase::Creating) && !pods.is_empty();
        let wanted = status.ready.as_deref() == Some(format!("0/{number}").as_str());
        let names: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
        if made && wanted { Ok(()) } else { Err(format!("{names:?} of {status:#?}")) }
    })
    .await;
}

/// Somebody with a clone of Midship, beside which their repository comes to lie.
struct Newcomer {
    section: String,
    address: String,
    kubeconfig: std::path::PathBuf,
    programs: tempfile::TempDir,
    folder: tempfile::TempDir,
}

impl Newcomer {
    fn new(scratch: &Scratch) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let readme = std::fs::read_to_string(root.join("README.md")).expect("it can be read");
        let section = readme.split("\n## ").find(|section| section.starts_with("A first instance\n"));
        let section = section.expect("README.md has the section \"A first instance\"").to_owned();
        assert!(section.contains(ADDRESS), "{section}");
        let (programs, folder) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let clone = folder.path().join("midship");
        std::fs::create_dir(&clone).expect("a folder");
        for part in ["repo-template", "extensions"] {
            Run::new("cp").arg("-r").arg(root.join(part)).arg(clone.join(part)).stdout();
        }
        let cue = find("cue").expect("MIDSHIP_TEST_BIN has cue");
        let ours = env!("CARGO_BIN_EXE_midship").into();
        for (name, program) in [("midship", ours), ("kubectl", scratch.kubectl()), ("cue", cue)] {
            std::os::unix::fs::symlink(program, programs.path().join(name)).expect("a link");
        }
        let address = forge().repository("readme").https;
        Self { section, address, kubeconfig: scratch.kubeconfig(), programs, folder }
    }

    /// The blocks of the section in this language.
    fn blocks(&self, language: &str) -> Vec<String> {
        let open = format!("```{language}\n");
        let blocks = self.section.split(&open).skip(1);
        blocks.map(|rest| rest.split("```").next().unwrap_or_default().replace(ADDRESS, &self.address)).collect()
    }

    fn writes(&self, path: &str, text: &str) {
        std::fs::write(self.folder.path().join(path), text).expect("it can be written");
    }

    /// Runs a block where the one before ended. What fails ends it.
    fn does(&self, place: &str, block: &str) -> Output {
        let forge = forge();
        let path = std::env::var("PATH").unwrap_or_default();
        let run = Run::new("bash").args(["-euo", "pipefail", "-c", block]).within(&self.folder.path().join(place));
        let login = format!(
            "!f() {{ echo username={}; echo password={}; }}; f",
            forge.get("FORGE_USER"),
            forge.get("FORGE_PASSWORD")
        );
        let settings = [("user.name", "Ada"), ("user.email", "ada@example.com"), ("credential.helper", &login)];
        let mut run = run
            .env("PATH", format!("{}:{path}", self.programs.path().display()))
            .env("KUBECONFIG", &self.kubeconfig)
            .env("GIT_SSL_CAINFO", forge.get("FORGE_CA"))
            .env("GIT_USER", forge.get("FORGE_USER"))
            .env("GIT_TOKEN", forge.get("FORGE_PASSWORD"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (at, (name, value)) in settings.iter().enumerate() {
            run = run.env(&format!("GIT_CONFIG_KEY_{at}"), name).env(&format!("GIT_CONFIG_VALUE_{at}"), value);
        }
        let output = run.output();
        assert_eq!(output.code, 0, "{output}");
        output
    }

    /// Asks all that the section shows, and compares the first line: columns, or the record but for the commit.
    fn sees(&self) {
        let shown: Vec<(&str, &str)> =
            self.section.split("\n$ ").skip(1).filter_map(|rest| rest.split_once('\n')).collect();
        assert_eq!(shown.len(), 3, "{shown:?}");
        let words = |line: Option<&str>| -> Vec<String> {
            let words = line.unwrap_or_default().split_whitespace();
            words.map(|word| word.split_once('@').map_or(word, |(branch, _)| branch).to_owned()).collect()
        };
        for (command, rest) in shown {
            let output = self.does("middleware", command);
            assert_eq!(words(output.stdout.lines().next()), words(rest.lines().next()), "{output}");
        }
    }
}
