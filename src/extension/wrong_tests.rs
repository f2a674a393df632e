//! Wrong packages and wrong instances, each with the exact error its author sees.

use serde_json::json;

use super::files::MANIFEST;
use super::*;
use crate::names::{InstanceName, NamespaceName};

/// A package that is right; each case spoils one thing.
const MANIFEST_TEXT: &str = r#"type: demo
version: 1.0.0
title: Demo
upgradableFrom: []
versions: [{version: "1.0", image: "demo:1.0"}, {version: "2.0", image: "demo:2.0"}]
upgrades: []
topologies:
  pair: {default: true, components: {server: {replicas: {default: 2, min: 1, max: 5}}, watcher: {replicas: {default: 1, odd: true}}}}
  single: {components: {server: {}}}
  sharded: {components: {server: {groups: {prefix: shard, count: {default: 3, min: 2}}}}}
secrets: {token: 32}
connection: {}
backup: null
monitoring: {thresholds: {memory: 0.9}}
environments: {}
objects: []
components:
  server:
    user: 1000
    command: [demod, "{{ files['demo.conf'] }}"]
    env: {}
    ports: {client: 7000}
    config:
      demo.conf: config/demo.conf.j2
    volumes:
      data: {path: /data, size: 1Gi}
    rules: {schema: params/rules.json}
    parameters:
      count: {type: integer, minimum: 1, maximum: 9, default: 3}
      newer: {type: integer, versions: ">=2.0"}
      shards-only: {type: boolean, when: topology == 'sharded'}
      license: {type: string, secret: true}
      low: {type: integer, default: 1}
      high: {type: integer, default: 5}
  watcher:
    command: [watchd]
"#;
const CONFIG: &str = "config/demo.conf.j2";
const RULES: &str =
    r#"{"if": {"properties": {"low": {"minimum": 4}}}, "then": {"properties": {"high": {"minimum": 4}}}}"#;

fn load(manifest: &str, config: &str, more: Option<&str>) -> Result<Package, Problems> {
    let mut files = vec![(MANIFEST, manifest), (CONFIG, config), ("params/rules.json", RULES)];
    files.extend(more.map(|path| (path, "")));
    let files = files.into_iter().map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    Package::load(PackageFiles::new(files).expect("plain files"))
}

fn refusals(package: &Package, spec: &serde_json::Value) -> String {
    let mut whole = json!({ "type": "demo", "extensionVersion": "1.0.0", "version": "2.0" });
    for (key, value) in spec.as_object().expect("an object") {
        whole[key] = value.clone();
    }
    let spec = serde_json::from_value(whole).expect("a spec");
    let (name, namespace) =
        (InstanceName::parse("sample").expect("a name"), NamespaceName::parse("default").expect("a name"));
    let asked = Asked { name: &name, namespace: &namespace, spec: &spec };
    match cases::preview(package, asked, &Surroundings::default()) {
        Ok(_) => "nothing wrong".to_owned(),
        Err(refusals) => refusals.to_string(),
    }
}

/// Compares all and shows every difference at once.
fn compare(found: &[(&str, String, &str)]) {
    let wrong: Vec<String> = found
        .iter()
        .filter(|(_, found, expected)| found != expected)
        .map(|(name, found, expected)| format!("{name}\n   found: {found}\nexpected: {expected}"))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_package_that_the_cases_spoil_is_right() {
    let package =
        load(MANIFEST_TEXT, "count {{ params.count }}\n", None).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(refusals(&package, &json!({})), "nothing wrong");
    assert_eq!(refusals(&package, &json!({ "topology": "sharded" })), "nothing wrong");
}

#[test]
fn a_wrong_package_says_where_and_why() {
    let cases = [
        (
            "a type with capitals",
            "type: demo",
            "type: Demo",
            "extension.yaml:1:7: extension type \"Demo\" is not valid; use lower-case letters, digits and inner '-', starting with a letter",
        ),
        (
            "a version range",
            "version: 1.0.0",
            "version: ^1.0",
            "extension.yaml:2:10: extension version \"^1.0\" is not valid; use an exact version of three numbers, such as 1.0.0 (no range, no leading 'v')",
        ),
        (
            "a misspelt field",
            "title: Demo",
            "titel: Demo",
            "extension.yaml:3:1: there is no field \"titel\"; did you mean \"title\"?",
        ),
        (
            "a missing command",
            "    command: [demod, \"{{ files['demo.conf'] }}\"]\n",
            "",
            "extension.yaml:27:5: \"command\" is missing",
        ),
        (
            "an empty command",
            "command: [demod, \"{{ files['demo.conf'] }}\"]",
            "command: []",
            "extension.yaml:20:5: a component has a command",
        ),
        (
            "no versions",
            "versions: [{version: \"1.0\", image: \"demo:1.0\"}, {version: \"2.0\", image: \"demo:2.0\"}]",
            "versions: []",
            "extension.yaml:5:1: a package runs at least one version of the middleware",
        ),
        (
            "a version twice",
            "{version: \"2.0\", image: \"demo:2.0\"}",
            "{version: \"1.0\", image: \"demo:2.0\"}",
            "extension.yaml:5:49: version 1.0 is there twice",
        ),
        (
            "images that are a number",
            "{version: \"2.0\", image: \"demo:2.0\"}",
            "{version: 2.0, image: \"demo:2.0\", images: 7}",
            "extension.yaml:5:91: expected mapping start",
        ),
        (
            "a version without an image",
            "{version: \"2.0\", image: \"demo:2.0\"}",
            "{version: \"2.0\"}",
            "extension.yaml:5:49: version 2.0 has no image for component server\nextension.yaml:5:49: version 2.0 has no image for component watcher",
        ),
        (
            "an image without a tag",
            "image: \"demo:2.0\"",
            "image: demo",
            "extension.yaml:5:66: image \"demo\" has neither tag nor digest: which version is it?",
        ),
        (
            "the latest image",
            "image: \"demo:2.0\"",
            "image: \"demo:latest\"",
            "extension.yaml:5:66: image \"demo:latest\": \"latest\" means something else every day",
        ),
        (
            "an image with a broken digest",
            "image: \"demo:2.0\"",
            "image: \"demo@sha256:abc\"",
            "extension.yaml:5:66: \"sha256:abc\" is no digest; it is sha256: and 64 hexadecimal digits",
        ),
        (
            "an image that is an address",
            "image: \"demo:2.0\"",
            "image: \"https://demo:2.0\"",
            "extension.yaml:5:66: \"https://demo:2.0\" is no image; write it like docker.io/library/name:1.2",
        ),
        (
            "a circle of upgrades",
            "upgrades: []",
            "upgrades: [{from: \"1.0\", to: \"2.0\"}, {from: \"2.0\", to: \"1.0\"}]",
            "extension.yaml:6:1: upgrades run in a circle: 1.0 to 2.0 to 1.0",
        ),
        (
            "an upgrade to an unknown version",
            "upgrades: []",
            "upgrades: [{from: \"1.0\", to: \"2.1\"}]",
            "extension.yaml:6:12: there is no version \"2.1\"; did you mean \"2.0\"?",
        ),
        (
            "an upgrade to itself",
            "upgrades: []",
            "upgrades: [{from: \"1.0\", to: \"1.0\"}]",
            "extension.yaml:6:12: 1.0 to itself is no upgrade",
        ),
        (
            "an upgrade twice",
            "upgrades: []",
            "upgrades: [{from: \"1.0\", to: \"2.0\"}, {from: \"1.0\", to: \"2.0\"}]",
            "extension.yaml:6:38: 1.0 to 2.0 is there twice",
        ),
        (
            "an upgrade from the future",
            "upgradableFrom: []",
            "upgradableFrom: [1.1.0]",
            "extension.yaml:4:18: 1.1.0 is not below 1.0.0, and upgrades only go up",
        ),
        (
            "two default topologies",
            "  single: {components: {server: {}}}",
            "  single: {default: true, components: {server: {replicas: 1}}}",
            "extension.yaml:7:1: more than one topology has default: true",
        ),
        (
            "a topology of strangers",
            "  single: {components: {server: {}}}",
            "  single: {components: {sever: {replicas: 1}}}",
            "extension.yaml:9:25: there is no component \"sever\"; did you mean \"server\"?",
        ),
        (
            "a topology of nothing",
            "  single: {components: {server: {}}}",
            "  single: {components: {}}",
            "extension.yaml:9:3: a topology has at least one component",
        ),
        (
            "a default outside its range",
            "  single: {components: {server: {}}}",
            "  single: {components: {server: {replicas: {default: 9, max: 3}}}}",
            "extension.yaml:9:34: the default 9 is not from 0 to 3",
        ),
        (
            "an even default",
            "  single: {components: {server: {}}}",
            "  single: {components: {server: {replicas: {default: 2, odd: true}}}}",
            "extension.yaml:9:34: the default 2 is not odd",
        ),
        (
            "a group prefix with capitals",
            "  single: {components: {server: {}}}",
            "  single: {components: {server: {groups: {prefix: Shard, count: 3}}}}",
            "extension.yaml:9:43: \"Shard\" cannot start a group's name; use at most 16 lower-case letters, digits and '-'",
        ),
        (
            "a change to an unknown topology",
            "  single: {components: {server: {}}}",
            "  single: {components: {server: {}}, changeTo: [par]}",
            "extension.yaml:9:38: there is no topology \"par\"; did you mean \"pair\"?",
        ),
        (
            "a port that is none",
            "ports: {client: 7000}",
            "ports: {client: 70000}",
            "extension.yaml:22:13: found integer `70000`, expected a port number, or port, protocol, when and internal",
        ),
        (
            "a port twice",
            "ports: {client: 7000}",
            "ports: {client: 7000, other: 7000}",
            "extension.yaml:22:27: port 7000 is also client",
        ),
        (
            "the agent's port",
            "ports: {client: 7000}",
            "ports: {client: 7440}",
            "extension.yaml:22:13: port 7440 is the agent's",
        ),
        (
            "a long port name",
            "ports: {client: 7000}",
            "ports: {client-port-of-all: 7000}",
            "extension.yaml:22:13: a port's name has at most 15 lower-case letters, digits and '-'",
        ),
        (
            "a template that is not there",
            "demo.conf: config/demo.conf.j2",
            "demo.conf: config/demo.conf",
            "extension.yaml:24:7: there is no file \"config/demo.conf\"; did you mean \"config/demo.conf.j2\"?",
        ),
        (
            "a file once without a volume",
            "demo.conf: config/demo.conf.j2",
            "demo.conf: {template: config/demo.conf.j2, once: true, path: /etc/demo.conf}",
            "extension.yaml:24:7: is written once, so /etc/demo.conf has to lie on a lasting volume",
        ),
        (
            "a mode in decimal",
            "demo.conf: config/demo.conf.j2",
            "demo.conf: {template: config/demo.conf.j2, mode: rw}",
            "extension.yaml:24:7: a mode is four octal digits, such as 0600",
        ),
        (
            "a volume below /midship",
            "data: {path: /data, size: 1Gi}",
            "data: {path: /midship/data, size: 1Gi}",
            "extension.yaml:26:7: /midship is taken",
        ),
        (
            "a volume with a relative path",
            "data: {path: /data, size: 1Gi}",
            "data: {path: data, size: 1Gi}",
            "extension.yaml:26:7: path \"data\" does not start with /",
        ),
        (
            "a size that is none",
            "data: {path: /data, size: 1Gi}",
            "data: {path: /data, size: big}",
            "extension.yaml:26:7: \"big\" is no size; write it like 1Gi",
        ),
        (
            "a lasting volume without a size",
            "data: {path: /data, size: 1Gi}",
            "data: {path: /data, kind: Lasting}",
            "extension.yaml:26:7: a lasting volume needs a size",
        ),
        (
            "root",
            "    user: 1000",
            "    user: 0",
            "extension.yaml:19:5: pods never run as root; give the user the image has for its program",
        ),
        (
            "a parameter of an unknown type",
            "count: {type: integer, minimum: 1, maximum: 9, default: 3}",
            "count: {type: int}",
            "extension.yaml:29:21: \"int\" is not one of string, integer, number, boolean, bytes, duration, list and object",
        ),
        (
            "a default out of range",
            "count: {type: integer, minimum: 1, maximum: 9, default: 3}",
            "count: {type: integer, minimum: 1, maximum: 9, default: 10}",
            "extension.yaml:29:7: parameter count: its default is not allowed: 10 is too large; allowed is 1 to 9",
        ),
        (
            "a minimum above the maximum",
            "count: {type: integer, minimum: 1, maximum: 9, default: 3}",
            "count: {type: integer, minimum: 10, maximum: 9}",
            "extension.yaml:29:7: parameter count: minimum is above maximum",
        ),
        (
            "a pattern that is none",
            "count: {type: integer, minimum: 1, maximum: 9, default: 3}",
            "count: {type: string, pattern: \"[a\"}",
            "extension.yaml:29:7: parameter count: pattern \"[a\" is no regular expression",
        ),
        (
            "a secret with a default",
            "count: {type: integer, minimum: 1, maximum: 9, default: 3}",
            "count: {type: string, secret: true, default: hunter2}",
            "extension.yaml:29:7: parameter count: a secret parameter has no default: a package is no place for secrets",
        ),
        (
            "a role nobody can find",
            "    env: {}",
            "    roles: [leader]",
            "extension.yaml:21:5: roles need `role`: how is a pod's role found?",
        ),
        (
            "a role that is found but not declared",
            "    env: {}",
            "    role: {steps: [{tcp: client}], role: \"'leader'\"}",
            "extension.yaml:21:5: `role` finds roles, but `roles` declares none",
        ),
        (
            "an exclusive role without promotion",
            "    env: {}",
            "    roles: [{name: leader, exclusive: true}]\n    role: {steps: [{tcp: client}], role: \"'leader'\"}",
            "extension.yaml:18:3: role leader is exclusive and handed out by Midship, so there has to be an action promote",
        ),
        (
            "a service for an unknown role",
            "    env: {}",
            "    services: {main: {role: leader}}",
            "extension.yaml:21:16: there is no role \"leader\"; there are none at all",
        ),
        (
            "a service with an unknown port",
            "    env: {}",
            "    services: {main: {ports: [clent]}}",
            "extension.yaml:21:16: there is no port \"clent\"; did you mean \"client\"?",
        ),
        (
            "a step that does nothing",
            "    env: {}",
            "    actions: {started: {steps: [{when: \"true\"}]}}",
            "extension.yaml:21:33: a step uses one of exec, http, tcp, signal, process, file, resp, postgres, set, fail and run",
        ),
        (
            "a step that does two things",
            "    env: {}",
            "    actions: {started: {steps: [{tcp: client, signal: SIGHUP}]}}",
            "extension.yaml:21:33: a step does one thing; this one has tcp and signal",
        ),
        (
            "an action without steps",
            "    env: {}",
            "    actions: {started: {steps: []}}",
            "extension.yaml:21:15: an action has at least one step",
        ),
        (
            "an unknown action",
            "    env: {}",
            "    actions: {startet: {steps: [{tcp: client}]}}",
            "extension.yaml:21:15: there is no field \"startet\"; did you mean \"started\"?",
        ),
        (
            "an action that runs itself",
            "    env: {}",
            "    actions: {started: {steps: [{run: reload}]}, reload: {steps: [{run: started}]}}",
            "extension.yaml:21:15: action started runs itself\nextension.yaml:21:50: action reload runs itself",
        ),
        (
            "an unknown script",
            "    env: {}",
            "    actions: {started: {steps: [{exec: {script: go.sh}}]}}",
            "extension.yaml:21:33: there is no file \"scripts/go.sh\"; there is config/demo.conf.j2, extension.yaml and params/rules.json",
        ),
        (
            "an unknown signal",
            "    env: {}",
            "    actions: {started: {steps: [{signal: SIGHOP}]}}",
            "extension.yaml:21:33: there is no signal \"SIGHOP\"; write it like SIGHUP",
        ),
        (
            "an unknown driver",
            "    env: {}",
            "    actions: {started: {steps: [{mysql: SELECT 1}]}}",
            "extension.yaml:21:34: there is no field \"mysql\"; there is name, when, forEach, exec, http, tcp, signal, process, file, resp, postgres, set, fail, run, save, expect, until, every, timeout, retries and 1 more",
        ),
        (
            "an action on nobody",
            "    env: {}",
            "    actions: {started: {on: leader, steps: [{tcp: client}]}}",
            "extension.yaml:21:25: \"leader\" is neither pod, any, all nor a role",
        ),
        (
            "an unknown port in a step",
            "    env: {}",
            "    actions: {started: {steps: [{tcp: clients}]}}",
            "extension.yaml:21:33: there is no port \"clients\"; did you mean \"client\"?",
        ),
        (
            "an undefined variable in a step",
            "    env: {}",
            "    actions: {started: {steps: [{resp: [GET, \"{{ primry.host }}\"]}]}}",
            "extension.yaml:21:33: \"primry\" is not defined; did you mean \"primary\"?",
        ),
        (
            "a variable that is saved too late",
            "    env: {}",
            "    actions: {started: {steps: [{resp: [GET, \"{{ answer }}\"]}, {resp: [PING], save: answer}]}}",
            "extension.yaml:21:33: \"answer\" is not defined; there is instance, namespace, type, version, extension_version, topology, environment, component, group, replicas, components, params, resources, storage, ports, paths, files, tls, username, secret and 18 more",
        ),
        (
            "an expression that does not parse",
            "    env: {}",
            "    actions: {started: {when: \"a ==\", steps: [{tcp: client}]}}",
            "extension.yaml:21:25: syntax error: unexpected end of input, expected expression",
        ),
        (
            "an undefined variable in the command",
            "command: [demod, \"{{ files['demo.conf'] }}\"]",
            "command: [demod, \"{{ file }}\"]",
            "extension.yaml:20:22: \"file\" is not defined; did you mean \"files\"?",
        ),
        (
            "an undeclared parameter in the command",
            "command: [demod, \"{{ files['demo.conf'] }}\"]",
            "command: [demod, \"{{ params.cuont }}\"]",
            "extension.yaml:20:22: \"params.cuont\" is not defined; did you mean \"params.count\"?",
        ),
        (
            "an undeclared secret",
            "    env: {}",
            "    env: {TOKEN: \"{{ secret.tokem }}\"}",
            "extension.yaml:21:11: \"secret.tokem\" is not defined; did you mean \"secret.token\"?",
        ),
        (
            "a template that does not close",
            "command: [demod, \"{{ files['demo.conf'] }}\"]",
            "command: [demod, \"{{ files\"]",
            "extension.yaml:20:22: syntax error: unexpected end of input, expected end of variable block",
        ),
        (
            "a file in no folder",
            "#file",
            "#file helpers/x.sh",
            "helpers/x.sh: belongs to no folder of a package; there are config, templates, params, scripts, monitoring, tests and docs",
        ),
        (
            "a connection to an unknown port",
            "connection: {}",
            "connection: {port: admin}",
            "extension.yaml:12:14: there is no port \"admin\"; there is client",
        ),
        (
            "a connection to an unknown component",
            "connection: {}",
            "connection: {component: sever}",
            "extension.yaml:12:14: there is no component \"sever\"; did you mean \"server\"?",
        ),
        (
            "a backup that reads nothing",
            "backup: null",
            "backup: {methods: {full: {stream: {}, restore: {volume: data}}}}",
            "extension.yaml:13:27: give exactly one of exec, volume and file",
        ),
        (
            "a backup of an unknown volume",
            "backup: null",
            "backup: {methods: {full: {stream: {volume: {name: date}}, restore: {volume: data}}}}",
            "extension.yaml:13:20: there is no volume \"date\"; did you mean \"data\"?",
        ),
        (
            "two methods and no default",
            "backup: null",
            "backup: {methods: {a: {stream: {file: /a}, restore: {file: /a}}, b: {stream: {file: /a}, restore: {file: /a}}}}",
            "extension.yaml:13:1: one of several methods has to be `default`",
        ),
        (
            "metrics at an unknown port",
            "monitoring: {thresholds: {memory: 0.9}}",
            "monitoring: {metrics: {port: metrics}}",
            "extension.yaml:14:24: there is no port \"metrics\"; there is client",
        ),
        (
            "an alert with an unknown variable",
            "monitoring: {thresholds: {memory: 0.9}}",
            "monitoring: {alerts: {Down: {expr: \"up < {{ threshold.x }}\", severity: critical, summary: down}}}",
            "extension.yaml:14:23: \"threshold\" is not defined; did you mean \"thresholds\"?",
        ),
        (
            "an alert of an unknown severity",
            "monitoring: {thresholds: {memory: 0.9}}",
            "monitoring: {alerts: {Down: {expr: up, severity: error, summary: down}}}",
            "extension.yaml:14:50: \"error\" is not one of critical, warning and info",
        ),
        (
            "an environment with an unknown parameter",
            "environments: {}",
            "environments: {production: {components: {server: {parameters: {cont: 3}}}}}",
            "extension.yaml:15:64: there is no parameter \"cont\"; did you mean \"count\"?",
        ),
        (
            "an environment with a wrong value",
            "environments: {}",
            "environments: {production: {components: {server: {parameters: {count: 30}}}}}",
            "extension.yaml:15:64: parameter count: 30 is too large; allowed is 1 to 9",
        ),
        (
            "an environment with an unknown component",
            "environments: {}",
            "environments: {production: {components: {sever: {replicas: 3}}}}",
            "extension.yaml:15:42: there is no component \"sever\"; did you mean \"server\"?",
        ),
        (
            "a secret called password",
            "secrets: {token: 32}",
            "secrets: {token: 32, password: 32}",
            "extension.yaml:11:22: password is the administrator's: see `credentials`",
        ),
        (
            "a short secret",
            "secrets: {token: 32}",
            "secrets: {token: 4}",
            "extension.yaml:11:11: a secret has 8 to 1024 characters",
        ),
        (
            "an object template that is not there",
            "objects: []",
            "objects: [{template: templates/x.yaml.j2}]",
            "extension.yaml:16:11: there is no file \"templates/x.yaml.j2\"; there is config/demo.conf.j2, extension.yaml and params/rules.json",
        ),
        ("a key twice", "title: Demo", "type: other", "extension.yaml:3:1: \"type\" is there twice"),
        ("a tab", "title: Demo", "\ttitle: Demo", "extension.yaml:2:10: while scanning a plain scalar, found a tab"),
        (
            "a boolean where a number belongs",
            "ports: {client: 7000}",
            "ports: {client: true}",
            "extension.yaml:22:13: found boolean `true`, expected a port number, or port, protocol, when and internal",
        ),
        ("an unknown contract", "title: Demo", "contract: v2", "extension.yaml:3:11: \"v2\" is not one of v1"),
    ];
    let found = cases.iter().map(|(name, from, to, expected)| {
        let more = to.strip_prefix("#file ");
        assert!(more.is_some() || MANIFEST_TEXT.contains(from), "{name}: the base has no {from}");
        let manifest = if more.is_some() { MANIFEST_TEXT.to_owned() } else { MANIFEST_TEXT.replacen(from, to, 1) };
        let found = load(&manifest, "count {{ params.count }}\n", more)
            .map_or_else(|problems| problems.to_string(), |_| "nothing wrong".to_owned());
        (*name, found, *expected)
    });
    compare(&found.collect::<Vec<_>>());
}

#[test]
fn a_wrong_template_is_found_when_the_package_is_loaded() {
    let cases = [
        (
            "an undefined variable in a file",
            "count {{ count }}\n",
            "config/demo.conf.j2:1: \"count\" is not defined; there is instance, namespace, type, version, extension_version, topology, environment, component, group, replicas, components, params, resources, storage, ports, paths, files, tls, username, secret and 10 more",
        ),
        (
            "a parameter in a file that is not declared",
            "a\ncount {{ params.cuont }}\n",
            "config/demo.conf.j2:2: \"params.cuont\" is not defined; did you mean \"params.count\"?",
        ),
        (
            "a loop that is not closed",
            "{% for a in [1] %}\n",
            "config/demo.conf.j2:1: syntax error: unexpected end of input, expected end of block",
        ),
        (
            "a filter that is never closed",
            "{{ params.count | \n",
            "config/demo.conf.j2:1: syntax error: unexpected end of input, expected identifier",
        ),
    ];
    let found = cases.iter().map(|(name, config, expected)| {
        let found = load(MANIFEST_TEXT, config, None)
            .map_or_else(|problems| problems.to_string(), |_| "nothing wrong".to_owned());
        (*name, found, *expected)
    });
    compare(&found.collect::<Vec<_>>());
}

#[test]
fn a_template_that_fails_or_runs_wild_is_stopped_when_it_renders() {
    let cases = [
        (
            "an unknown filter",
            "a\n\n{{ params.count | upcase }}\n",
            "config/demo.conf.j2:3: unknown filter: filter upcase is unknown",
        ),
        (
            "a loop without an end",
            "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
            "config/demo.conf.j2:1: takes too long: is there a loop without an end, or a list without a bound?",
        ),
        (
            "huge output",
            "{% for a in range(60000) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}",
            "config/demo.conf.j2:1: its output is larger than 1048576 bytes",
        ),
        ("a huge text", "{{ 'x' * 99999999 }}", "config/demo.conf.j2:1: its output is larger than 1048576 bytes"),
        (
            "endless recursion",
            "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
            "config/demo.conf.j2:1: invalid operation: recursion limit exceeded",
        ),
        (
            "an item that is not there",
            "x\n{{ components.server.pods[7].host }}\n",
            "config/demo.conf.j2:2: \"[7].host\" is not defined",
        ),
        (
            "a number that is text",
            "{{ params.count + 'a' }}",
            "config/demo.conf.j2:1: invalid operation: tried to use + operator on unsupported types number and string",
        ),
        (
            "an include from outside",
            "{% include '../other' %}",
            "config/demo.conf.j2:1: tried to include non-existing template '../other'",
        ),
    ];
    let found = cases.iter().map(|(name, config, expected)| {
        let package = load(MANIFEST_TEXT, config, None).unwrap_or_else(|problems| panic!("{name}: {problems}"));
        (*name, refusals(&package, &json!({})), *expected)
    });
    compare(&found.collect::<Vec<_>>());
}

#[test]
fn a_wrong_instance_says_which_field_and_what_is_allowed() {
    let package =
        load(MANIFEST_TEXT, "count {{ params.count }}\n", None).unwrap_or_else(|problems| panic!("{problems}"));
    let cases = [
        ("another type", json!({"type": "other"}), "spec.type: asks for other 1.0.0, but this package is demo 1.0.0"),
        (
            "another extension version",
            json!({"extensionVersion": "1.0.1"}),
            "spec.extensionVersion: asks for demo 1.0.1, but this package is demo 1.0.0",
        ),
        (
            "a version the package does not run",
            json!({"version": "3.0"}),
            "spec.version: demo 1.0.0 does not run version 3.0; it runs 1.0 and 2.0",
        ),
        (
            "an unknown topology",
            json!({"topology": "pear"}),
            "spec.topology: there is no topology \"pear\"; there is pair, sharded and single",
        ),
        (
            "an unknown environment",
            json!({"environment": "produktion"}),
            "spec.environment: there is no environment \"produktion\"; there are none at all",
        ),
        (
            "an unknown component",
            json!({"components": [{"name": "sever"}]}),
            "spec.components[sever]: there is no component \"sever\"; did you mean \"server\"?",
        ),
        (
            "a component of another topology",
            json!({"topology": "single", "components": [{"name": "watcher"}]}),
            "spec.components[watcher]: component watcher is no part of topology single; it is in pair",
        ),
        (
            "a component twice",
            json!({"components": [{"name": "server"}, {"name": "server"}]}),
            "spec.components[server]: component server is there twice",
        ),
        (
            "too many replicas",
            json!({"components": [{"name": "server", "replicas": 10}]}),
            "spec.components[server].replicas: replicas of component server: 10 is not allowed; allowed is 1 to 5",
        ),
        (
            "too few replicas",
            json!({"components": [{"name": "server", "replicas": 0}]}),
            "spec.components[server].replicas: replicas of component server: 0 is not allowed; allowed is 1 to 5",
        ),
        (
            "negative replicas",
            json!({"components": [{"name": "server", "replicas": -1}]}),
            "spec.components[server].replicas: -1 is no number of pods",
        ),
        (
            "an even number of watchers",
            json!({"components": [{"name": "watcher", "replicas": 4}]}),
            "spec.components[watcher].replicas: replicas of component watcher: 4 is even, and a majority needs an odd number",
        ),
        (
            "an ordinal that is not there",
            json!({"components": [{"name": "server", "replicas": 3, "offline": [7]}]}),
            "spec.components[server].offline: there is no ordinal 7 to take offline: with 3 replicas and 1 offline the ordinals are 0 to 3",
        ),
        (
            "groups where there are none",
            json!({"components": [{"name": "server", "groups": [{"name": "shard-0", "replicas": 1}]}]}),
            "spec.components[server].groups: component server has no groups in topology pair, so there is no group shard-0; give replicas",
        ),
        (
            "replicas where there are groups",
            json!({"topology": "sharded", "components": [{"name": "server", "replicas": 3}]}),
            "spec.components[server].replicas: component server has groups in topology sharded: give groups such as shard-0, each with its replicas",
        ),
        (
            "a group of another name",
            json!({"topology": "sharded", "components": [{"name": "server", "groups": [{"name": "shard-0", "replicas": 1}, {"name": "part-1", "replicas": 1}]}]}),
            "spec.components[server].groups[part-1]: group part-1 is called otherwise than shard-0, shard-1 and so on",
        ),
        (
            "too few groups",
            json!({"topology": "sharded", "components": [{"name": "server", "groups": [{"name": "shard-0", "replicas": 1}]}]}),
            "spec.components[server].groups: groups of component server: 1 is not allowed; allowed is 2 to 1000",
        ),
        (
            "a group twice",
            json!({"topology": "sharded", "components": [{"name": "server", "groups": [{"name": "shard-0", "replicas": 1}, {"name": "shard-0", "replicas": 1}]}]}),
            "spec.components[server].groups: group shard-0 is there twice",
        ),
        (
            "an ordinal that is not there in a group",
            json!({"topology": "sharded", "components": [{"name": "server", "groups": [{"name": "shard-0", "replicas": 1, "offline": [3]}, {"name": "shard-1", "replicas": 1}]}]}),
            "spec.components[server].groups[shard-0].offline: there is no ordinal 3 to take offline: with 1 replicas and 1 offline the ordinals are 0 to 1",
        ),
        (
            "an unknown parameter",
            json!({"components": [{"name": "server", "parameters": {"cuont": 3}}]}),
            "spec.components[server].parameters.cuont: there is no parameter \"cuont\"; did you mean \"count\"?",
        ),
        (
            "a parameter out of range",
            json!({"components": [{"name": "server", "parameters": {"count": 30}}]}),
            "spec.components[server].parameters.count: parameter count: 30 is too large; allowed is 1 to 9",
        ),
        (
            "a parameter of another kind",
            json!({"components": [{"name": "server", "parameters": {"count": "three"}}]}),
            "spec.components[server].parameters.count: parameter count: \"three\" is no integer",
        ),
        (
            "a parameter of a later version",
            json!({"version": "1.0", "components": [{"name": "server", "parameters": {"newer": 1}}]}),
            "spec.components[server].parameters.newer: parameter newer: version 1.0 does not have it; it needs >=2.0",
        ),
        (
            "a parameter of another topology",
            json!({"components": [{"name": "server", "parameters": {"shards-only": true}}]}),
            "spec.components[server].parameters.shards-only: parameter shards-only cannot be set here: topology == 'sharded'",
        ),
        (
            "a secret in the clear",
            json!({"components": [{"name": "server", "parameters": {"license": "abc"}}]}),
            "spec.components[server].parameters.license: parameter license is secret: give it in secretParameters, from a Secret",
        ),
        (
            "an unknown secret parameter",
            json!({"components": [{"name": "server", "secretParameters": {"licence": {"name": "a", "key": "b"}}}]}),
            "spec.components[server].secretParameters.licence: there is no parameter \"licence\"; did you mean \"license\"?",
        ),
        (
            "parameters that do not fit together",
            json!({"components": [{"name": "server", "parameters": {"low": 8, "high": 3}}]}),
            "spec.components[server].parameters: parameter high: 3 is less than the minimum of 4",
        ),
        (
            "an unknown volume",
            json!({"components": [{"name": "server", "storage": {"date": {"size": "1Gi"}}}]}),
            "spec.components[server].storage.date: there is no volume \"date\"; did you mean \"data\"?",
        ),
        (
            "a size that is none",
            json!({"components": [{"name": "server", "storage": {"data": {"size": "much"}}}]}),
            "spec.components[server].storage.data.size: \"much\" is no size; write it like 1Gi",
        ),
        (
            "a request above the limit",
            json!({"components": [{"name": "server", "resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}]}),
            "spec.components[server].resources.requests.memory: the request of 2Gi memory is above the limit of 1Gi",
        ),
        (
            "an amount that is none",
            json!({"components": [{"name": "server", "resources": {"limits": {"cpu": "lots"}}}]}),
            "spec.components[server].resources.limits.cpu: \"lots\" is no amount; write it like 100m, 2 or 1Gi",
        ),
        (
            "an image of another version",
            json!({"components": [{"name": "server", "image": {"tag": "1.0-alpine"}}]}),
            "spec.components[server].image.tag: tag 1.0-alpine is version 1.0, but spec.version is 2.0; to upgrade, change spec.version",
        ),
        (
            "an unknown configuration file",
            json!({"components": [{"name": "server", "configFiles": {"dem.conf": {"content": "x"}}}]}),
            "spec.components[server].configFiles.dem.conf: there is no configuration file \"dem.conf\"; did you mean \"demo.conf\"?",
        ),
        (
            "a configuration file that is fixed",
            json!({"components": [{"name": "server", "configFiles": {"demo.conf": {"content": "x"}}}]}),
            "spec.components[server].configFiles.demo.conf: demo.conf of component server cannot be replaced; set parameters instead",
        ),
        ("TLS where there is none", json!({"tls": {"issuer": "builtin"}}), "spec.tls: demo 1.0.0 has no TLS"),
        (
            "credentials where there are none",
            json!({"credentials": {"secretName": "mine"}}),
            "spec.credentials: demo knows no administrator",
        ),
        (
            "a backup where there is none",
            json!({"backup": {"policy": "nightly"}}),
            "spec.backup: demo declares no way to back it up",
        ),
        (
            "an unknown threshold",
            json!({"monitoring": {"thresholds": {"memroy": 0.5}}}),
            "spec.monitoring.thresholds.memroy: there is no threshold \"memroy\"; did you mean \"memory\"?",
        ),
        (
            "a threshold that is no number",
            json!({"monitoring": {"thresholds": {"memory": "much"}}}),
            "spec.monitoring.thresholds.memory: threshold memory: \"much\" is no number",
        ),
    ];
    let found = cases.iter().map(|(name, spec, expected)| (*name, refusals(&package, spec), *expected));
    compare(&found.collect::<Vec<_>>());
}
