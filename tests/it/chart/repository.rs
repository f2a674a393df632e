//! The repository template: in order as it stands, and its hooks and pipelines do what they say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use midship::api::Instance;
use midship::extension::defaults::Defaults;
use midship::extension::{Asked, Package, PackageFiles, Surroundings, resolve};
use midship::names::{InstanceName, NamespaceName};
use serde_json::Value;
use tempfile::TempDir;

use super::helm::{name_of, objects, root};
use crate::harness::Run;

pub fn template() -> PathBuf {
    root().join("repo-template")
}

/// Every file below a folder, by its path in it.
fn below(folder: &Path) -> Vec<(String, Vec<u8>)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(folder, &mut found);
    found.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(folder).expect("inside").display().to_string();
        (name, fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    };
    found.into_iter().map(read).collect()
}

/// Every file of the template, by its path in the repository.
fn files() -> Vec<(String, String)> {
    let text = |(name, bytes)| (name, String::from_utf8(bytes).expect("text"));
    below(&template()).into_iter().map(text).collect()
}

/// The objects of the files Midship reads, and those that pages show as examples, with the file each is in.
pub fn manifests() -> Vec<(String, Value)> {
    let read = ["instances/", "backups/", "operations/", "secrets/"];
    let mut found = Vec::new();
    for (file, text) in files() {
        let texts: Vec<String> = if Path::new(&file).extension().is_some_and(|end| end == "md") {
            text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().expect("a block").to_owned()).collect()
        } else if read.iter().any(|folder| file.starts_with(folder)) {
            vec![text]
        } else {
            continue;
        };
        found.extend(texts.iter().flat_map(|text| objects(text)).map(|object| (file.clone(), object)));
    }
    found
}

pub fn settings() -> Value {
    let text = fs::read_to_string(template().join("midship.yaml")).expect("midship.yaml");
    objects(&text).remove(0)
}

#[test]
fn an_instance_lies_where_its_namespace_and_name_say() {
    let settings = settings();
    let instances: Vec<_> = manifests().into_iter().filter(|(_, object)| object["kind"] == "Instance").collect();
    assert_eq!(instances.len(), 4, "a cache and a database in each of two environments");
    for (file, instance) in instances {
        let (namespace, name) = (&instance["metadata"]["namespace"], &instance["metadata"]["name"]);
        let expected = format!("instances/{}/{}.yaml", namespace.as_str().expect("text"), name.as_str().expect("text"));
        assert_eq!(file, expected);
        let environment = settings["namespaces"][namespace.as_str().expect("text")]["environment"].as_str();
        let environment = environment.unwrap_or_else(|| panic!("midship.yaml knows no {namespace}"));
        assert!(settings["environments"][environment].is_object(), "midship.yaml knows no {environment}");
    }
}

#[test]
fn instances_of_types_that_are_shipped_resolve_with_what_their_environment_assumes() {
    let settings = settings();
    let mut resolved = 0;
    for (file, instance) in manifests().into_iter().filter(|(_, object)| object["kind"] == "Instance") {
        let instance: Instance = serde_json::from_value(instance).unwrap_or_else(|error| panic!("{file}: {error}"));
        let (name, namespace) = (instance.metadata.name.expect("a name"), instance.metadata.namespace.expect("one"));
        let environment = settings["namespaces"][&namespace]["environment"].as_str().expect("an environment");
        let defaults: Defaults = serde_json::from_value(settings["environments"][environment].clone())
            .unwrap_or_else(|error| panic!("midship.yaml: {environment}: {error}"));
        let package = root().join(format!("extensions/{}/{}", instance.spec.type_, instance.spec.extension_version));
        if !package.is_dir() {
            continue;
        }
        let package = PackageFiles::new(below(&package)).expect("plain files");
        let package = Package::load(package).unwrap_or_else(|problems| panic!("{problems}"));
        let name = InstanceName::parse(&name).expect("a name");
        let namespace = NamespaceName::parse(&namespace).expect("a namespace");
        let asked = Asked { name: &name, namespace: &namespace, spec: &instance.spec };
        let surroundings = Surroundings { defaults: vec![defaults], ..Surroundings::default() };
        if let Err(refusals) = resolve(&package, asked, &surroundings) {
            panic!("{file}: {refusals}");
        }
        resolved += 1;
    }
    assert!(resolved >= 2, "only {resolved}");
}

#[test]
fn what_objects_name_is_there() {
    let manifests = manifests();
    let has = |kind: &str, namespace: &Value, name: &Value| {
        manifests.iter().any(|(_, object)| {
            object["kind"] == kind
                && object["metadata"]["namespace"] == *namespace
                && object["metadata"]["name"] == *name
        })
    };
    for (file, object) in &manifests {
        let (namespace, spec) = (&object["metadata"]["namespace"], &object["spec"]);
        let found = match object["kind"].as_str().expect("a kind") {
            "BackupPolicy" => has("BackupRepository", namespace, &spec["repository"]),
            "Operation" => has("Instance", namespace, &spec["instance"]),
            _ => true,
        };
        assert!(found, "{file}: what {} names is missing", name_of(object));
    }
    let settings = settings();
    let policy = &settings["environments"]["production"]["backup"]["policy"];
    assert!(has("BackupPolicy", &Value::from("shop-prod"), policy), "no policy {policy}");
}

#[test]
fn whatever_has_to_be_replaced_says_so() {
    for (file, text) in files() {
        for (number, line) in text.lines().enumerate() {
            let stand_in = ["replaceme", "example.com", "registry.midship.dev"].iter().any(|word| line.contains(word));
            assert!(!stand_in || line.contains("REPLACE"), "{file}:{}: {line}", number + 1);
        }
    }
}

#[test]
fn pipelines_take_the_command_line_from_where_the_image_has_it() {
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).expect("it can be read");
    let entry = dockerfile.lines().find_map(|line| line.strip_prefix("ENTRYPOINT [\"")?.strip_suffix("\"]"));
    let from = format!("\"$container:{}\"", entry.expect("an entry point"));
    let files = files();
    let copies: Vec<&str> =
        files.iter().flat_map(|(_, text)| text.lines()).filter(|line| line.contains("docker cp")).collect();
    assert!(!copies.is_empty() && copies.iter().all(|line| line.contains(&from)), "{from}: {copies:?}");
}

#[test]
fn every_file_keeps_to_the_editor_settings() {
    for (file, text) in files() {
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{file}: its end");
        assert!(!text.contains('\r') && !text.contains('\t'), "{file}: tabs or carriage returns");
        assert!(text.lines().all(|line| line.trim_end() == line), "{file}: space at the end of a line");
    }
}

#[test]
fn midship_finds_nothing_to_complain_of() {
    let output = Run::new(env!("CARGO_BIN_EXE_midship")).arg("validate").arg(template()).output();
    assert_eq!(output.code, 0, "{output}");
    assert!(output.stdout.contains("6 objects"), "{output}");
}

/// A folder with a `midship` that tells what it was asked and what it saw, and ends as it is told.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn set(status: i32) -> Self {
        let stage = Self { folder: tempfile::tempdir().expect("a directory") };
        let script = format!("#!/bin/sh\necho \"asked: $*\"; ls instances 2>/dev/null\nexit {status}\n");
        stage.program("midship", &script);
        stage.run("git init --quiet repository && git -C repository config user.email a@b && git -C repository config user.name a");
        stage
    }

    fn program(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let file = self.folder.path().join("bin").join(name);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a directory");
        fs::write(&file, script).expect("a program");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a program can be run");
    }

    fn command(&self, shell: &[&str], path: &str) -> Command {
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).current_dir(self.folder.path()).env("PATH", path);
        command.env("HOME", self.folder.path()).env("GIT_CONFIG_NOSYSTEM", "1");
        command
    }

    fn path(&self) -> String {
        let path = std::env::var("PATH").expect("there is a PATH");
        format!("{}:{path}", self.folder.path().join("bin").display())
    }

    #[track_caller]
    fn run(&self, script: &str) -> Output {
        let output = self.command(&["sh", "-euc", script], &self.path()).output().expect("a shell");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn commit_with_hook(&self, path: &str) -> Output {
        let hooks = template().join(".githooks");
        self.run(
            "cd repository && mkdir -p instances && touch instances/staged && git add . && touch instances/not-staged",
        );
        let commit = format!("cd repository && git -c core.hooksPath='{}' commit --quiet -m change", hooks.display());
        self.command(&["sh", "-c", &commit], path).output().expect("a shell")
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_hook_validates_what_is_staged_and_nothing_else() {
    let stage = Stage::set(0);
    let output = stage.commit_with_hook(&stage.path());
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output), "asked: validate .\nstaged\n");
}

#[test]
fn the_hook_refuses_what_midship_refuses() {
    let stage = Stage::set(1);
    let output = stage.commit_with_hook(&stage.path());
    assert!(!output.status.success(), "{}", said(&output));
}

#[test]
fn the_hook_stands_aside_where_midship_is_not_installed() {
    let stage = Stage::set(1);
    let plain: Vec<_> = std::env::split_paths(&std::env::var_os("PATH").expect("there is a PATH"))
        .filter(|folder| !folder.join("midship").exists())
        .collect();
    let plain = std::env::join_paths(plain).expect("a PATH");
    let output = stage.commit_with_hook(&plain.to_string_lossy());
    assert!(output.status.success() && said(&output).contains("CI will do it"), "{}", said(&output));
}

/// A step of the GitHub workflow by the name people read.
fn github(step: &str) -> String {
    step_of(".github/workflows/midship.yaml", step)
}

/// The same of the one for Gitea.
fn gitea(step: &str) -> String {
    step_of(".gitea/workflows/midship.yaml", step)
}

fn step_of(workflow: &str, step: &str) -> String {
    let workflow = fs::read_to_string(template().join(workflow)).expect("a workflow");
    let workflow = objects(&workflow).remove(0);
    let steps = workflow["jobs"]["check"]["steps"].as_array().expect("steps");
    let found = steps.iter().find(|one| one["name"] == step).unwrap_or_else(|| panic!("no step {step}"));
    found["run"].as_str().expect("a script").to_owned()
}

fn gitlab() -> String {
    let pipeline = fs::read_to_string(template().join(".gitlab-ci.yml")).expect("a pipeline");
    let job = &objects(&pipeline)[0]["midship"];
    let lines = job["script"].as_array().expect("a script").iter().filter_map(Value::as_str).collect::<Vec<_>>();
    format!("set -eo pipefail\n{}", lines.join("\n"))
}

#[test]
fn pipelines_pass_with_changes_and_without_and_fail_on_errors() {
    for (status, passes) in [(0, true), (2, true), (1, false)] {
        let stage = Stage::set(status);
        let mut command = stage.command(&["bash", "-eo", "pipefail", "-c", &github("What it changes")], &stage.path());
        let output = command.env("GITHUB_STEP_SUMMARY", "summary.md").output().expect("bash");
        assert_eq!(output.status.success(), passes, "GitHub, {status}: {}", said(&output));
        let plan = fs::read_to_string(stage.folder.path().join("summary.md")).unwrap_or_default();
        assert_eq!(plan, "<!-- midship -->\nasked: diff --base HEAD^1 --head HEAD -o markdown\n", "{status}");
        let mut command = stage.command(&["bash", "-eo", "pipefail", "-c", &gitea("What it changes")], &stage.path());
        let output = command.env("BASE", "abc").output().expect("bash");
        assert_eq!(output.status.success(), passes, "Gitea, {status}: {}", said(&output));
    }
    for (status, passes) in [(0, true), (2, true), (1, false)] {
        let stage = Stage::set(0);
        stage.program("midship", &format!("#!/bin/sh\n[ $1 != diff ] || {{ echo \"asked: $*\"; exit {status}; }}\n"));
        let mut command = stage.command(&["bash", "-c", &gitlab()], &stage.path());
        command
            .env("CI_MERGE_REQUEST_IID", "7")
            .env("CI_MERGE_REQUEST_DIFF_BASE_SHA", "abc")
            .env("CI_COMMIT_SHA", "def");
        let output = command.output().expect("bash");
        assert_eq!(output.status.success(), passes, "GitLab, {status}: {}", said(&output));
        let plan = fs::read_to_string(stage.folder.path().join("plan.md")).unwrap_or_default();
        assert_eq!(plan, "<!-- midship -->\nasked: diff --base abc --head def -o markdown\n", "{status}");
    }
}

#[test]
fn a_failed_validation_fails_the_pipeline() {
    let stage = Stage::set(1);
    let mut command = stage.command(&["bash", "-eo", "pipefail", "-c", &github("Validate")], &stage.path());
    let output = command.env("GITHUB_STEP_SUMMARY", "summary.md").output().expect("bash");
    assert!(!output.status.success() && said(&output).starts_with("asked: validate -o markdown"), "{}", said(&output));
    let mut command = stage.command(&["bash", "-eo", "pipefail", "-c", &gitea("Validate")], &stage.path());
    assert!(!command.output().expect("bash").status.success());
    let output = stage.command(&["bash", "-c", &gitlab()], &stage.path()).output().expect("bash");
    assert!(!output.status.success(), "{}", said(&output));
}

#[test]
fn a_comment_is_made_once_and_then_changed() {
    for (known, github_asks, gitlab_asks) in [
        ("", "--method POST repos/o/r/issues/7/comments", "v4/projects/1/merge_requests/7/notes --data-urlencode"),
        ("42", "--method PATCH repos/o/r/issues/comments/42", "--request PUT v4/projects/1/merge_requests/7/notes/42"),
    ] {
        let stage = Stage::set(0);
        let tell = |list: &str| {
            format!("#!/bin/sh\ncase \"$*\" in *{list}*) echo {known};; *) echo \"asked: $*\" >>asked;; esac\n")
        };
        stage.program("gh", &tell("--paginate"));
        stage.program("curl", &tell("per_page"));
        stage.program("jq", "#!/bin/sh\ncat\n");
        let asked = stage.folder.path().join("asked");
        fs::write(stage.folder.path().join("plan.md"), "plan").expect("a file");

        let mut command = stage.command(&["bash", "-eo", "pipefail", "-c", &github("Comment")], &stage.path());
        let output = command.env("COMMENTS", "repos/o/r/issues/7/comments").env("GITHUB_REPOSITORY", "o/r").output();
        assert!(output.expect("bash").status.success());
        let text = fs::read_to_string(&asked).expect("gh was asked");
        assert!(text.contains(github_asks) && text.contains("body=@comment.md"), "{text}");
        fs::remove_file(&asked).expect("it was there");

        let mut command = stage.command(&["bash", "-c", &gitlab()], &stage.path());
        command
            .env("CI_MERGE_REQUEST_IID", "7")
            .env("CI_MERGE_REQUEST_DIFF_BASE_SHA", "abc")
            .env("CI_COMMIT_SHA", "def");
        command.env("MIDSHIP_COMMENT_TOKEN", "t").env("CI_API_V4_URL", "v4").env("CI_PROJECT_ID", "1");
        assert!(command.output().expect("bash").status.success());
        let text = fs::read_to_string(&asked).expect("curl was asked");
        assert!(text.contains(gitlab_asks) && text.contains("body@plan.md"), "{text}");
    }
}

#[test]
fn a_comment_on_gitea_is_made_once_and_then_changed() {
    for (known, asks) in [("", "f/issues/7/comments --data"), ("42", "--request PATCH f/issues/comments/42 --data")] {
        let stage = Stage::set(0);
        let curl = format!("#!/bin/sh\ncase \"$*\" in *--data*) echo \"asked: $*\" >asked;; *) echo {known};; esac\n");
        stage.program("curl", &curl);
        stage.program("jq", "#!/bin/sh\ncat\n");
        fs::write(stage.folder.path().join("plan.md"), "plan").expect("a file");
        let mut command = stage.command(&["bash", "-eo", "pipefail", "-c", &gitea("Comment")], &stage.path());
        let output = command.env("TOKEN", "t").env("ISSUES", "f/issues").env("NUMBER", "7").output().expect("bash");
        assert!(output.status.success(), "{}", said(&output));
        let text = fs::read_to_string(stage.folder.path().join("asked")).expect("curl was asked");
        assert!(text.contains(asks), "{text}");
    }
}

#[test]
fn the_pipeline_shows_what_a_pull_request_changes() {
    let stage = Stage::set(0);
    stage.program("midship", &format!("#!/bin/sh\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_midship")));
    let prod = "instances/shop-prod/orders-cache.yaml";
    stage.run(&format!(
        "cp -R '{}/.' repository && cd repository && git add . && git commit --quiet -m one",
        template().display()
    ));
    // the merge of a forge: somebody else changed another file since, which is no change of this pull request
    let dev = "instances/shop-dev/orders-cache.yaml";
    stage.run(&format!(
        "cd repository && git branch -m main && git checkout --quiet -b pull \
         && sed -i 's/replicas: 3/replicas: 5/' {prod} && git commit --quiet --all -m two && git checkout --quiet main \
         && sed -i 's/allkeys-lru/allkeys-lfu/' {dev} && git commit --quiet --all -m other \
         && git merge --quiet --no-edit pull"
    ));
    for step in ["Validate", "What it changes"] {
        let script = format!("cd repository\n{}", github(step));
        let mut command = stage.command(&["bash", "-eo", "pipefail", "-c", &script], &stage.path());
        let output = command.env("GITHUB_STEP_SUMMARY", "summary.md").output().expect("bash");
        assert!(output.status.success(), "{step}: {}", said(&output));
    }
    let plan = fs::read_to_string(stage.folder.path().join("repository/plan.md")).expect("a plan");
    assert!(plan.starts_with("<!-- midship -->\n**0 to create, 1 to change, 0 to delete"), "{plan}");
    assert!(plan.contains("-    replicas: 3\n+    replicas: 5\n"), "{plan}");
}
