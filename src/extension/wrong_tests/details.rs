//! Mistakes in the details: values, names and steps that read well and cannot work.

use super::{CONFIG, MANIFEST_TEXT, RULES};
use crate::extension::files::MANIFEST;
use crate::extension::{Package, PackageFiles};

const GOOD: &str = "count {{ params.count }}\n";

/// What is said of the package with these files.
fn said(manifest: &str, rules: &str) -> String {
    said_of(&[(MANIFEST, manifest), (CONFIG, GOOD), ("params/rules.json", rules)])
}

fn said_of(files: &[(&str, &str)]) -> String {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
    Package::load(PackageFiles::new(files).expect("plain files"))
        .map_or_else(|problems| problems.to_string(), |_| "nothing wrong".to_owned())
}

#[test]
fn a_parameter_that_is_in_two_files_is_told_with_its_place() {
    let rules = "    rules: {schema: params/rules.json}\n";
    let manifest = MANIFEST_TEXT.replacen(rules, &format!("{rules}    parametersFile: params/more.yaml\n"), 1);
    let more = "extra: {type: integer}\ncount: {type: integer}\n";
    let told =
        said_of(&[(MANIFEST, &manifest), (CONFIG, GOOD), ("params/rules.json", RULES), ("params/more.yaml", more)]);
    assert_eq!(told, "params/more.yaml:2:1: parameter count is also in extension.yaml");
}

#[test]
fn texts_for_people_hide_nothing_and_move_nothing() {
    let of = |from: &str, to: &str| said(&MANIFEST_TEXT.replacen(from, to, 1), RULES);
    let turned = of("title: Demo", "title: \"De\\u202Emo\"");
    assert_eq!(turned, "extension.yaml:3:1: title has the invisible character U+202E; leave it out");
    let coloured = of("title: Demo", "description: \"a\\e[31mred\"");
    assert_eq!(coloured, "extension.yaml:3:1: description has the invisible character U+001B; leave it out");
    let broken = of("title: Demo", "keywords: [one, \"two\\nthree\"]");
    assert!(broken.ends_with("keywords has the invisible character U+000A; leave it out"), "{broken}");
    assert_eq!(of("title: Demo", "description: \"one\\ntwo\""), "nothing wrong");

    let rules = "    rules: {schema: params/rules.json}\n";
    let manifest = MANIFEST_TEXT.replacen(rules, &format!("{rules}    parametersFile: params/more.yaml\n"), 1);
    let more = "extra: {type: integer, description: \"a\\u200Bb\"}\n";
    let told =
        said_of(&[(MANIFEST, &manifest), (CONFIG, GOOD), ("params/rules.json", RULES), ("params/more.yaml", more)]);
    assert!(told.starts_with("params/more.yaml:1:"), "{told}");
    assert!(told.ends_with("description has the invisible character U+200B; leave it out"), "{told}");
}

#[test]
fn a_port_whose_condition_fails_is_told_with_its_place() {
    let manifest = MANIFEST_TEXT.replacen("client: 7000", "client: {port: 7000, when: \"1 + 'a'\"}", 1);
    let package = super::load(&manifest, GOOD, None).unwrap_or_else(|problems| panic!("{problems}"));
    let told = super::refusals(&package, &serde_json::json!({}));
    assert!(told.starts_with("extension.yaml:22:"), "{told}");
    assert!(told.contains(": components.server.ports.client.when: "), "{told}");
}

#[test]
fn a_mistake_in_the_details_says_where_and_what_would_be_right() {
    let cases = [
        ("an empty manifest", "#manifest", ""),
        ("a list for a manifest", "#manifest", "- type: demo\n"),
        ("two documents", "#manifest+", "---\ntype: other\n"),
        ("a command that is a text", "command: [demod, \"{{ files['demo.conf'] }}\"]", "command: demod --config x"),
        ("a negative number of tries", "    env: {}", "    actions: {started: {steps: [{tcp: client, retries: -1}]}}"),
        (
            "a minimum of a text",
            "count: {type: integer, minimum: 1, maximum: 9, default: 3}",
            "count: {type: string, minimum: 1}",
        ),
        (
            "a pattern of a number",
            "count: {type: integer, minimum: 1, maximum: 9, default: 3}",
            "count: {type: integer, pattern: \"^1\"}",
        ),
        (
            "a value among many that is of another kind",
            "count: {type: integer, minimum: 1, maximum: 9, default: 3}",
            "count: {type: integer, enum: [one, 2], default: 2}",
        ),
        (
            "a default that is none of many",
            "count: {type: integer, minimum: 1, maximum: 9, default: 3}",
            "count: {type: string, enum: [low, high], default: lo}",
        ),
        (
            "a reload that nobody tells the process of",
            "count: {type: integer, minimum: 1, maximum: 9, default: 3}",
            "count: {type: integer, default: 3, change: reload}",
        ),
        (
            "an unknown need of a change",
            "count: {type: integer, minimum: 1, maximum: 9, default: 3}",
            "count: {type: integer, default: 3, change: hot}",
        ),
        ("a probe without a slash", "    env: {}", "    probes: {ready: {steps: [{http: healthz}]}}"),
        ("an unknown method", "    env: {}", "    actions: {started: {steps: [{http: {path: /, method: FETCH}}]}}"),
        (
            "an answer saved over what is there",
            "    env: {}",
            "    actions: {started: {steps: [{http: /, save: params}]}}",
        ),
        (
            "an answer saved under no name",
            "    env: {}",
            "    actions: {started: {steps: [{http: /, save: the-answer}]}}",
        ),
        ("a variable set over what is there", "    env: {}", "    actions: {started: {steps: [{set: {pod: \"1\"}}]}}"),
        (
            "an expression in braces",
            "    env: {}",
            "    actions: {started: {when: \"{{ is_primary }}\", steps: [{tcp: client}]}}",
        ),
        ("a duration without a unit", "    env: {}", "    process: {stopTimeout: 40}"),
        ("an unknown signal to stop with", "    env: {}", "    process: {stopSignal: SIGQUIET}"),
        ("a volume over the whole image", "data: {path: /data, size: 1Gi}", "data: {path: /, size: 1Gi}"),
        (
            "two volumes at one place",
            "data: {path: /data, size: 1Gi}",
            "data: {path: /data, size: 1Gi}\n      more: {path: /data}",
        ),
        ("a volume of no size", "data: {path: /data, size: 1Gi}", "data: {path: /data, size: -1Gi}"),
        ("a resource nobody has", "    env: {}", "    resources: {requests: {memroy: 1Gi}}"),
        ("an amount that is none", "    env: {}", "    resources: {requests: {cpu: two}}"),
        ("a request above its limit", "    env: {}", "    resources: {requests: {memory: 2Gi}, limits: {memory: 1Gi}}"),
        (
            "an environment with a request above its limit",
            "environments: {}",
            "environments: {production: {components: {server: {resources: {requests: {cpu: 2}, limits: {cpu: 1}}}}}}",
        ),
        (
            "a topology that changes to itself",
            "  single: {components: {server: {}}}",
            "  single: {components: {server: {}}, changeTo: [single]}",
        ),
        ("an operation with a space", "connection: {}", "operations: {\"flush all\": {steps: [{signal: SIGHUP}]}}"),
        (
            "an operation of a stranger",
            "connection: {}",
            "operations: {flush: {component: sever, steps: [{signal: SIGHUP}]}}",
        ),
        (
            "an end mark that is no number",
            "backup: null",
            "backup: {methods: {full: {stream: {file: /data/a, endsWith: end}, restore: {file: /data/a}}}}",
        ),
        (
            "a stream whose end nobody knows",
            "backup: null",
            "backup: {methods: {full: {stream: {file: /data/a}, restore: {file: /data/a}}}}",
        ),
        (
            "a volume with an end mark",
            "backup: null",
            "backup: {methods: {full: {stream: {volume: {name: data}, format: tar}, restore: {volume: data}}}}",
        ),
        (
            "a backup that is never put back",
            "backup: null",
            "backup: {methods: {full: {stream: {volume: {name: data}}}}}",
        ),
        ("a user's name", "    user: 1000", "    user: nobody"),
        ("a switch for TLS", "connection: {}", "tls: true"),
        ("a variable with a space", "    env: {}", "    env: {\"MY VAR\": x}"),
        (
            "a component of eighty letters",
            "  watcher:\n",
            "  wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww:\n",
        ),
        ("a file of Midship's name", "demo.conf: config/demo.conf.j2", "process.json: config/demo.conf.j2"),
        (
            "a file where nobody can write",
            "demo.conf: config/demo.conf.j2",
            "demo.conf: {template: config/demo.conf.j2, path: /etc/passwd}",
        ),
        (
            "two files at one path",
            "demo.conf: config/demo.conf.j2",
            "demo.conf: {template: config/demo.conf.j2, path: /data/a}\n      other.conf: {template: config/demo.conf.j2, path: /data/a}",
        ),
        ("a path that goes up", "data: {path: /data, size: 1Gi}", "data: {path: /etc/../usr, size: 1Gi}"),
        ("a volume of Midship's", "data: {path: /data, size: 1Gi}", "midship-run: {path: /data, size: 1Gi}"),
        ("memory in thousandths of a byte", "    env: {}", "    resources: {requests: {memory: 1m}}"),
        ("a target in a probe", "    env: {}", "    probes: {ready: {steps: [{resp: [PING, \"{{ target.host }}\"]}]}}"),
        ("an item of no list", "    env: {}", "    actions: {started: {steps: [{resp: [PING, \"{{ item }}\"]}]}}"),
        ("a probe that never fails", "    env: {}", "    probes: {ready: {failures: 0, steps: [{tcp: client}]}}"),
        ("no time at all", "    env: {}", "    actions: {started: {timeout: 0s, steps: [{tcp: client}]}}"),
        ("years of patience", "    env: {}", "    process: {stopTimeout: 1000d}"),
        (
            "tries without an end",
            "    env: {}",
            "    actions: {started: {retries: 4000000000, steps: [{tcp: client}]}}",
        ),
        (
            "an operation with a parameter it has not",
            "connection: {}",
            "operations: {flush: {parameters: {mode: {type: string}}, steps: [{resp: [A, \"{{ request.m }}\"]}]}}",
        ),
        (
            "an operation nobody can run",
            "connection: {}",
            "operations: {flush: {concurrency: 0, steps: [{signal: SIGHUP}]}}",
        ),
        (
            "somebody's words in a shell",
            "connection: {}",
            "operations: {say: {parameters: {words: {type: string}}, steps: [{exec: [sh, -c, \"echo {{ request.words }}\"]}]}}",
        ),
        (
            "a secret among the words of a command",
            "    env: {}",
            "    actions: {started: {steps: [{exec: [demo, \"{{ secret.token }}\"]}]}}",
        ),
        ("many mistakes at once", "title: Demo", "titel: Demo\nkeywords: word\nenviroments: {}\nlicense: {name: free}"),
        (
            "mistakes in what has a short form",
            "ports: {client: 7000}",
            "ports: {client: {prot: 7000}, other: {port: true, internal: 1}, third: [7000]}",
        ),
        (
            "a file for which there has to be another pod",
            "demo.conf: config/demo.conf.j2",
            "demo.conf: {template: config/demo.conf.j2, onChange: recreate}",
        ),
        (
            "a file of which nobody tells the process",
            "demo.conf: config/demo.conf.j2",
            "demo.conf: {template: config/demo.conf.j2, onChange: reload}",
        ),
        ("TLS that nobody speaks", "    env: {}", "    probes: {ready: {steps: [{tcp: {port: client, tls: true}}]}}"),
        (
            "a password in the clear",
            "    env: {}",
            "    actions: {started: {steps: [{http: {path: /, host: far, login: true, tls: false}}]}}",
        ),
        ("a rule fetched from elsewhere", "#rules", "{\"$ref\": \"https://example.com/rules.json\"}"),
        ("a rule that is no schema", "#rules", "{\"type\": \"objekt\"}"),
        ("a rule that is no JSON", "#rules", "{\"type\": "),
    ];
    let found = cases.iter().map(|(name, from, to)| {
        let found = match *from {
            "#manifest" => said(to, RULES),
            "#manifest+" => said(&format!("{MANIFEST_TEXT}{to}"), RULES),
            "#rules" => said(MANIFEST_TEXT, to),
            from => {
                assert!(MANIFEST_TEXT.contains(from), "{name}: the base has no {from}");
                said(&MANIFEST_TEXT.replacen(from, to, 1), RULES)
            }
        };
        format!("{name}\n  {}\n", found.replace('\n', "\n  "))
    });
    insta::assert_snapshot!(found.collect::<String>());
}
