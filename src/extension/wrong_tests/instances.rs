//! Templates that fail or run wild, and instances that ask for what is not there.

use serde_json::json;

use super::{MANIFEST_TEXT, compare, load, refusals};
use crate::extension::defaults::Defaults;
use crate::extension::{Asked, Surroundings, cases};
use crate::names::{EnvironmentName, InstanceName, NamespaceName};

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
            "a bomb of concatenations",
            "{% set a = params.count ~ 'x' %}\n{% set a = a ~ a ~ a ~ a %}{{ a }}",
            "config/demo.conf.j2:2: \"a\" was put together from other values and cannot be put together again; write it in one expression",
        ),
        (
            "endless recursion",
            "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
            "config/demo.conf.j2:1: \"macro\" is not available in packages; repeat the text, or include a file",
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
        (
            "a huge text",
            "\n{{ 'x' * 99999999 }}",
            "config/demo.conf.j2:2: invalid operation: only numbers can be multiplied; to repeat something, use a loop over range()",
        ),
        (
            "a huge list",
            "{{ (1,) * 99999999 }}",
            "config/demo.conf.j2:1: invalid operation: only numbers can be multiplied; to repeat something, use a loop over range()",
        ),
        (
            "a huge text by way of names",
            "{% set s = 'x' %}{% set t = s * 99999999 %}",
            "config/demo.conf.j2:1: invalid operation: only numbers can be multiplied; to repeat something, use a loop over range()",
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
fn an_instance_of_more_pods_than_could_be_told_of_each_other_is_refused() {
    let package =
        load(MANIFEST_TEXT, "count {{ params.count }}\n", None).unwrap_or_else(|problems| panic!("{problems}"));
    let told = |replicas: i32| {
        let groups = ["shard-0", "shard-1", "shard-2"].map(|name| json!({ "name": name, "replicas": replicas }));
        let server = json!({ "name": "server", "groups": groups });
        refusals(&package, &json!({ "topology": "sharded", "components": [server] }))
    };
    assert_eq!(told(1000), "spec.components: 3000 pods are asked for; an instance has at most 2000");
    assert_eq!(told(600), "nothing wrong");
}

#[test]
fn templates_that_are_fine_one_by_one_share_what_an_instance_may_take() {
    let told = |manifest: &str, config: &str, groups: usize| {
        let package = load(manifest, config, None).unwrap_or_else(|problems| panic!("{problems}"));
        let groups: Vec<_> =
            (0..groups).map(|number| json!({ "name": format!("shard-{number}"), "replicas": 1 })).collect();
        let server = json!({ "name": "server", "groups": groups });
        refusals(&package, &json!({ "topology": "sharded", "components": [server] }))
    };
    let says_where = |told: &str, place: &str| {
        let begin =
            format!("{place}all templates of an instance may take 20000000 steps together, and more were needed, ");
        let end = " of them here; make its loops shorter, or have fewer groups";
        assert!(told.starts_with(&begin) && told.ends_with(end) && !told.contains('\n'), "{told}");
    };
    let long = "{% for a in range(90000) %}{% endfor %}\ncount {{ params.count }}\n";
    assert_eq!(told(MANIFEST_TEXT, long, 3), "nothing wrong");
    says_where(&told(MANIFEST_TEXT, long, 80), "config/demo.conf.j2:1: ");
    // what makes it restart is found by trying it with defaults alone, which fails where there is none as such
    let restarts = MANIFEST_TEXT
        .replacen("demo.conf: config/demo.conf.j2", "demo.conf: {template: config/demo.conf.j2, onChange: restart}", 1)
        .replacen("low: {type: integer, default: 1}", "low: {type: integer, default: \"{{ 1 + 1 }}\"}", 1);
    assert_eq!(told(&restarts, "low {{ params.low }}\n", 80), "nothing wrong");
    // defaults are worked out before anything is rendered
    let default = "low: {type: integer, default: \"{% for a in range(90000) %}{% endfor %}1\"}";
    let manifest = MANIFEST_TEXT.replacen("low: {type: integer, default: 1}", default, 1);
    let place = "extension.yaml:33:28: components.server.parameters.low.default: ";
    says_where(&told(&manifest, "count {{ params.count }}\n", 80), place);
}

#[test]
fn a_secret_in_a_file_can_be_printed_and_nothing_else() {
    let told = |shown: &str| {
        format!(
            "config/demo.conf.j2: a secret can only be printed as it is, with no filter: it is filled in in the pod; this renders \"{shown}\""
        )
    };
    let cases = [
        ("printed", "token {{ secret.token }}{{ ' ' ~ secret.token }}\n", "nothing wrong".to_owned()),
        ("in a condition", "{% if secret.token %}a {{ secret.token }}{% endif %}\n", "nothing wrong".to_owned()),
        ("its length", "a\n{{ secret.token | length }}\n", told("15")),
        ("in capitals", "{{ secret.token | upper }}\n", told("${SECRET:TOKEN}")),
        ("in quotes", "{{ secret.token | quote }}\n", told("\\\"${secret:token}\\\"")),
        ("in Base64", "{{ secret.token | base64 }}\n", told("JHtzZWNyZXQ6dG9rZW59")),
    ];
    let found = cases.iter().map(|(name, config, expected)| {
        let package = load(MANIFEST_TEXT, config, None).unwrap_or_else(|problems| panic!("{name}: {problems}"));
        (*name, refusals(&package, &json!({})), expected.as_str())
    });
    compare(&found.collect::<Vec<_>>());
    let compared = load(MANIFEST_TEXT, "a\n{% if secret.token == 'x' %}b{% endif %}\n", None).map(|_| ());
    assert_eq!(
        compared.map_err(|problems| problems.to_string()),
        Err("config/demo.conf.j2:2: a secret cannot be compared: it is filled in in the pod, after rendering"
            .to_owned())
    );
}

#[test]
fn what_only_the_pod_knows_decides_nothing_before_there_is_a_pod() {
    let told = |place: &str, fact: &str| {
        format!(
            "{place}: \"{fact}\" can only be printed here, with no condition, filter or arithmetic: it is filled in in the pod, \
             after rendering; ${{pod:ordinal+N}} adds to the ordinal, and steps read the value itself"
        )
    };
    let file = |line: &str, fact: &str| told(&format!("config/demo.conf.j2:{line}"), fact);
    let cases = [
        ("printed", "id ${pod:ordinal+1} {{ pod.ordinal }} {{ pod.host ~ ':1' }}\n", "nothing wrong".to_owned()),
        ("compared", "a\n{% if pod.ordinal == 0 %}first{% endif %}\n", file("2:7", "pod.ordinal")),
        ("compared as another name", "{% set me = pod.name %}\n{{ 1 if me == 'a' else 2 }}\n", file("2:9", "me")),
        ("searched", "{{ 'kv' in pod.name }}\n", file("1:12", "pod.name")),
        ("filtered", "a {{ pod.name | upper }}\n", file("1:6", "pod.name")),
        ("added to", "{{ pod.ordinal + 1 }}\n", file("1:4", "pod.ordinal")),
    ];
    let said = |manifest: &str, config: &str| {
        load(manifest, config, None).map_or_else(|problems| problems.to_string(), |_| "nothing wrong".to_owned())
    };
    let of_variable = told("extension.yaml:21:11", "pod.ordinal");
    let mut found: Vec<(&str, String, &str)> =
        cases.iter().map(|(name, config, expected)| (*name, said(MANIFEST_TEXT, config), expected.as_str())).collect();
    let variable = MANIFEST_TEXT.replacen("env: {}", "env: {FIRST: \"{{ pod.ordinal == 0 }}\"}", 1);
    found.push(("in a variable", said(&variable, "a\n"), &of_variable));
    let left_out = MANIFEST_TEXT.replacen(
        "demo.conf: config/demo.conf.j2",
        "demo.conf: {template: config/demo.conf.j2, when: pod.ordinal == 0}",
        1,
    );
    let of_condition =
        "extension.yaml:24:50: this is decided once for all pods of a group, so it cannot be decided by `pod`";
    found.push(("a file's condition", said(&left_out, "a\n"), of_condition));
    compare(&found);
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
            "a label of pods that is Midship's own",
            json!({"components": [{"name": "server", "podMetadata": {"labels": {"midship.dev/role": "primary"}}}]}),
            "spec.components[server].podMetadata.labels: midship.dev/role is how Midship marks pods, such as the one that clients write to; choose another name",
        ),
        (
            "a label of Services that is Midship's own",
            json!({"components": [{"name": "server", "service": {"metadata": {"labels": {"midship.dev/instance": "other"}}}}]}),
            "spec.components[server].service.metadata.labels: midship.dev/instance is how Midship marks Services; choose another name",
        ),
        (
            "an annotation with a space in its name",
            json!({"components": [{"name": "server", "podMetadata": {"annotations": {"a b": "c"}}}]}),
            "spec.components[server].podMetadata.annotations: \"a b\" is no key for Kubernetes; write at most 63 letters, digits and inner '-', '_' and '.', and before them a domain and '/' where there is one",
        ),
        (
            "a variable with a secret of the package",
            json!({"components": [{"name": "server", "env": [{"name": "A", "value": "x ${secret:token}"}]}]}),
            "spec.components[server].env[A].value: ${secret:token} would be filled in in the pod, which is for packages alone; write it otherwise, or give secrets in secretParameters",
        ),
        (
            "an affinity with a typing mistake",
            json!({"components": [{"name": "server", "scheduling": {"affinity": {"nodeAfinity": {"a": 1}}}}]}),
            "spec.components[server].scheduling.affinity.nodeAfinity: Kubernetes has no such field",
        ),
        (
            "a toleration that is none",
            json!({"components": [{"name": "server", "scheduling": {"tolerations": [{"key": "a"}, {"key": 1}]}}]}),
            "spec.components[server].scheduling.tolerations[1]: Kubernetes cannot read it: invalid type: integer `1`, expected a string",
        ),
        (
            "too many replicas",
            json!({"components": [{"name": "server", "replicas": 10}]}),
            "spec.components[server].replicas: replicas of component server: 10 is not allowed; allowed is 1 to 5",
        ),
        (
            "parameters beside other mistakes",
            json!({"components": [{"name": "server", "replicas": 10, "parameters": {"cuont": 3, "count": 30}}]}),
            "spec.components[server].replicas: replicas of component server: 10 is not allowed; allowed is 1 to 5\n\
             spec.components[server].parameters.count: parameter count: 30 is too large; allowed is 1 to 9\n\
             spec.components[server].parameters.cuont: there is no parameter \"cuont\"; did you mean \"count\"?",
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
            "memory in thousandths of a byte",
            json!({"components": [{"name": "server", "resources": {"limits": {"memory": "1m"}}}]}),
            "spec.components[server].resources.limits.memory: 1m is less than 1 byte: m stands for thousandths; write 1Mi for mebibytes",
        ),
        (
            "a number in quotes",
            json!({"components": [{"name": "server", "parameters": {"count": "3"}}]}),
            "spec.components[server].parameters.count: parameter count: \"3\" is text; write it without quotes",
        ),
        (
            "a secret of somebody else's",
            json!({"components": [{"name": "server", "parameters": {"count": "${secret:nope}"}}]}),
            "spec.components[server].parameters.count: ${secret:nope} would be filled in in the pod, which is for packages alone; write it otherwise, or give secrets in secretParameters",
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

#[test]
fn what_is_wrong_with_parameters_is_said_once_for_all_groups_and_not_without_end() {
    let package = load(MANIFEST_TEXT, "count {{ params.count }}\n", None).expect("a right package");
    let said = |number: usize| {
        let wrong: serde_json::Map<_, _> = (0..number).map(|place| (format!("wrong-{place}"), json!(1))).collect();
        let spec = json!({ "topology": "sharded", "components": [{ "name": "server", "parameters": wrong }] });
        refusals(&package, &spec).lines().count()
    };
    assert_eq!((said(3), said(1500)), (3, 1000));
}

#[test]
fn what_a_file_of_the_user_s_sets_is_held_to_the_rules_as_well() {
    for how in ["Included", "Replaces"] {
        let file = format!("demo.conf: {{template: config/demo.conf.j2, userFile: {how}, format: words}}");
        let manifest = MANIFEST_TEXT.replace("demo.conf: config/demo.conf.j2", &file);
        let package = load(&manifest, "count {{ params.count }}\n{{ user_file }}\n", None).expect("a right package");
        let given = |content: &str, parameters: serde_json::Value| {
            let server = json!({ "name": "server", "parameters": parameters, "configFiles": { "demo.conf": { "content": content } } });
            refusals(&package, &json!({ "components": [server] }))
        };
        let wrong = "spec.components[server].configFiles: parameter high: 3 is less than the minimum of 4";
        assert_eq!(given("low 8\nhigh 3\n", json!({})), wrong, "{how}");
        assert_eq!(given("high 3\n", json!({ "low": 8 })), wrong, "{how}: one in the file, one in the spec");
        assert_eq!(given("low 8\n", json!({})), "nothing wrong", "{how}");
    }
}

#[test]
fn a_number_that_the_repository_sets_is_refused_as_the_repository_s() {
    let three = "watcher: {replicas: {default: 3, min: 3, max: 7, odd: true}}";
    let manifest = MANIFEST_TEXT.replacen("watcher: {replicas: {default: 1, odd: true}}", three, 1);
    let package = load(&manifest, "count {{ params.count }}\n", None).unwrap_or_else(|problems| panic!("{problems}"));
    let defaults: Defaults =
        serde_json::from_value(json!({ "components": { "*": { "replicas": 1 } } })).expect("defaults");
    let environment = EnvironmentName::parse("development").expect("a name");
    let surroundings =
        Surroundings { environment: Some(environment), defaults: vec![defaults], ..Surroundings::default() };
    let (name, namespace) =
        (InstanceName::parse("sample").expect("a name"), NamespaceName::parse("default").expect("a name"));
    let told = |components: serde_json::Value| {
        let spec = json!({ "type": "demo", "extensionVersion": "1.0.0", "version": "2.0", "components": components });
        let spec = serde_json::from_value(spec).expect("a spec");
        let asked = Asked { name: &name, namespace: &namespace, spec: &spec };
        match cases::preview(&package, asked, &surroundings) {
            Ok(_) => "nothing wrong".to_owned(),
            Err(refusals) => refusals.to_string(),
        }
    };
    assert_eq!(
        told(json!([])),
        "spec.components[watcher].replicas: replicas of component watcher (environments.development of midship.yaml): 1 is not \
         allowed; allowed is 3 to 7, odd"
    );
    assert_eq!(
        told(json!([{ "name": "watcher", "replicas": 1 }])),
        "spec.components[watcher].replicas: replicas of component watcher: 1 is not allowed; allowed is 3 to 7, odd"
    );
    assert_eq!(told(json!([{ "name": "watcher", "replicas": 5 }])), "nothing wrong");
}
