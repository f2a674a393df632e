//! Packages whose shape is spoilt in one place each: versions, upgrades, topologies, files, ports and volumes.

use super::{MANIFEST_TEXT, each_says, load};

#[test]
fn a_wrong_package_says_where_and_why() {
    each_says(&[
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
    ]);
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
