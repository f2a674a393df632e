//! Packages that are spoilt in one place each.

use super::{MANIFEST_TEXT, compare, load};

#[test]
fn a_wrong_package_says_where_and_why() {
    let cases = [
        (
            "a type with capitals",
            "type: demo",
            "type: Demo",
            "extension.yaml:1:7: type: \"Demo\": use lower-case letters, digits and inner '-', starting with a letter",
        ),
        (
            "a version range",
            "version: 1.0.0",
            "version: ^1.0",
            "extension.yaml:2:10: version: \"^1.0\": use an exact version of three numbers, such as 1.0.0 (no range, no leading 'v')",
        ),
        (
            "a misspelt field",
            "title: Demo",
            "titel: Demo",
            "extension.yaml:3:1: titel: unknown field \"titel\"; did you mean \"title\"?",
        ),
        (
            "a missing command",
            "    command: [demod, \"{{ files['demo.conf'] }}\"]\n",
            "",
            "extension.yaml:18:3: components.server: command is missing",
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
            "extension.yaml:5:91: versions[1].images: 7 is not a mapping",
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
            "extension.yaml:22:21: components.server.ports.client: 70000 is more than 65535",
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
            "ports: {client: 7441}",
            "extension.yaml:22:13: port 7441 is the agent's",
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
            "a volume over the agent's program",
            "data: {path: /data, size: 1Gi}",
            "data: {path: /bin/, size: 1Gi}",
            "extension.yaml:26:7: a volume at /bin/ would cover /bin, which the agent needs; mount it at a folder of its own, such as /data",
        ),
        (
            "a volume over the account of the pod",
            "data: {path: /data, size: 1Gi}",
            "data: {path: /var/run, size: 1Gi}",
            "extension.yaml:26:7: a volume at /var/run would cover /var/run/secrets, which the agent needs; mount it at a folder of its own, such as /data",
        ),
        (
            "a volume over the processes",
            "data: {path: /data, size: 1Gi}",
            "data: {path: /proc/self, size: 1Gi}",
            "extension.yaml:26:7: a volume at /proc/self would cover /proc, which the agent needs; mount it at a folder of its own, such as /data",
        ),
        (
            "volumes that are nobody else's",
            "data: {path: /data, size: 1Gi}",
            "data: {path: /usr/lib/demo, size: 1Gi}\n      shm: {path: /dev/shm, kind: Memory}\n      run: {path: /var/run/demo}\n      etc: {path: /etc/demo}",
            "nothing wrong",
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
            "a user that Kubernetes does not know",
            "    user: 1000",
            "    user: 3000000000",
            "extension.yaml:19:5: 3000000000 is no user of a pod; the largest is 2147483647",
        ),
        (
            "a component called as Midship's own",
            "    command: [watchd]\n",
            "    command: [watchd]\n  midship-x: {command: [x]}\n",
            "extension.yaml:37:3: a component called midship-x would have the name of Midship's containers; call it otherwise",
        ),
        (
            "a port called as Midship's own",
            "ports: {client: 7000}",
            "ports: {client: 7000, midship: 7100}",
            "extension.yaml:22:27: a port called midship is Midship's own; call it otherwise",
        ),
        (
            "a name that no label keeps",
            "type: demo\nversion: 1.0.0",
            "type: demodemodemodemodemodemodemode\nversion: 1.0.0-rc.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "extension.yaml:2:1: demodemodemodemodemodemodemode-1.0.0-rc.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa has 71 characters; type and version together have at most 62",
        ),
        (
            "a parameter of an unknown type",
            "count: {type: integer, minimum: 1, maximum: 9, default: 3}",
            "count: {type: int}",
            "extension.yaml:29:21: components.server.parameters.count.type: \"int\" is not one of string, integer, number, boolean, list, object, bytes, duration",
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
            "extension.yaml:29:7: parameter count: pattern \"[a\" is no pattern that can be used: it is wrong, too large, or looks ahead or back",
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
            "a step that reads the agent's key",
            "    env: {}",
            "    actions: {started: {steps: [{file: /midship/agent-tls/tls.key}]}}",
            "extension.yaml:21:33: /midship/agent-tls/tls.key is no place for a step's file; give one on a volume of the component, in /tmp or below /midship/files",
        ),
        (
            "a step that climbs out of a volume",
            "    env: {}",
            "    actions: {started: {steps: [{file: /data/../proc/self/environ}]}}",
            "extension.yaml:21:33: /data/../proc/self/environ is no place for a step's file; give one on a volume of the component, in /tmp or below /midship/files",
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
            "extension.yaml:21:15: components.server.actions.startet: unknown field \"startet\"; did you mean \"started\"?",
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
            "    actions: {started: {steps: [{oracle: SELECT 1}]}}",
            "extension.yaml:21:34: components.server.actions.started.steps[0].oracle: unknown field \"oracle\"; known are every, exec, expect, fail, file, forEach, http, ignoreFailure, name, postgres, process, resp, retries, run, save, set, signal, tcp, timeout, until, when",
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
            "backup: {methods: {a: {stream: {file: /a, endsWith: ff}, restore: {file: /a}}, b: {stream: {file: /a, endText: done}, restore: {file: /a}}}}",
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
            "extension.yaml:14:50: monitoring.alerts.Down.severity: \"error\" is not one of critical, warning, info",
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
        ("a key twice", "title: Demo", "type: other", "extension.yaml:3:1: type: \"type\" is there twice"),
        ("a tab", "title: Demo", "\ttitle: Demo", "extension.yaml:2:10: while scanning a plain scalar, found a tab"),
        (
            "a boolean where a number belongs",
            "ports: {client: 7000}",
            "ports: {client: true}",
            "extension.yaml:22:21: components.server.ports.client: true is neither a mapping nor a number",
        ),
        (
            "components that wait for each other",
            "    command: [watchd]\n",
            "    command: [watchd]\n    after: [relay]\n  relay: {command: [relayd], after: [watcher]}\n",
            "extension.yaml:38:30: components wait for each other in a circle: relay after watcher after relay",
        ),
        (
            "rules in CUE that define nothing",
            "rules: {schema: params/rules.json}",
            "rules: {cue: params/rules.json}",
            "params/rules.json:1:1: defines no #Parameters, which the parameters are checked against",
        ),
        (
            "an unknown contract",
            "title: Demo",
            "contract: v2",
            "extension.yaml:3:11: contract: \"v2\" is not one of v1",
        ),
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
fn more_files_than_an_instance_should_wait_for_are_refused() {
    let files: Vec<String> = (0..200).map(|number| format!("      f{number}: config/demo.conf.j2\n")).collect();
    let first = "      demo.conf: config/demo.conf.j2\n";
    let manifest = MANIFEST_TEXT.replacen(first, &format!("{first}{}", files.concat()), 1);
    let problems = load(&manifest, "count {{ params.count }}\n", None).expect_err("too many");
    assert_eq!(
        problems.to_string(),
        "extension.yaml:18:3: 201 configuration files are too many; all components have at most 200"
    );
}
