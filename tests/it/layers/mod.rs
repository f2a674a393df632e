//! The layers of docs/architecture.md and the habits of this code base, held by reading every file. Whoever breaks one is
//! told where, and what to do instead.

mod circles;
mod dependencies;
mod image;
mod paths;
mod reasons;

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use paths::{Named, Said};

/// Rooms that turn values into values, and nothing else.
const PURE: [&str; 3] = ["plan", "extension", "diff"];
const PURE_ADVICE: &str = "plans must be the same wherever they are made: let the caller look and pass in the value";

/// What a pure room may not reach for: the cluster, the machine, the clock, chance.
const IMPURE: [&str; 27] = [
    "kube::Api",
    "kube::Client",
    "kube::Config",
    "kube::Discovery",
    "kube::api::Api",
    "kube::client",
    "kube::config",
    "kube::discovery",
    "kube::runtime",
    "tokio",
    "tokio_util",
    "reqwest",
    "hyper",
    "axum",
    "gix",
    "nix",
    "tempfile",
    "rand",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "jiff::Timestamp::now",
    "jiff::Zoned::now",
];

/// A room, those of our rooms it may use (or, where `all_but`, those it may not), and why. `docs/architecture.md` says the
/// same in its table of rooms.
struct Rule {
    room: &'static str,
    all_but: bool,
    rooms: &'static [&'static str],
    advice: &'static str,
}

const fn knows(room: &'static str, rooms: &'static [&'static str], advice: &'static str) -> Rule {
    Rule { room, all_but: false, rooms, advice }
}

const fn knows_all_but(room: &'static str, rooms: &'static [&'static str], advice: &'static str) -> Rule {
    Rule { room, all_but: true, rooms, advice }
}

const RULES: [Rule; 19] = [
    knows("names", &[], "names stand alone: everything else is built on them"),
    knows("secret", &[], "text that is never printed stands alone: everything else is built on it"),
    knows("api", &["names"], "kinds are plain data; put what works with them elsewhere"),
    knows("repo", &["secret"], "repo reads Git and knows nothing of ours; let `source` translate"),
    knows("extension", &["api", "names"], PURE_ADVICE),
    knows(
        "registry",
        &["extension", "names"],
        "registry carries packages and knows neither clusters nor Git; let the caller decide what becomes of them",
    ),
    knows("cue", &["extension"], "cue runs a program for `extension`, which says what is asked of it"),
    knows("sops", &[], "sops opens files and knows nothing of ours; let `source` say what they are"),
    knows("plan", &["api", "names", "extension"], PURE_ADVICE),
    knows(
        "source",
        &["repo", "sops", "plan", "api", "names", "extension"],
        "source turns files into objects; what becomes of them is for the controller and the command line",
    ),
    knows("diff", &["plan"], PURE_ADVICE),
    knows("cluster", &["api", "names"], "cluster is the edge to Kubernetes; let the caller decide what to do with it"),
    knows("serve", &["cluster", "api", "names"], "serve answers requests and holds the lease; pass in what it shows"),
    knows_all_but(
        "controller",
        &["cli", "agent"],
        "the agent is another program, and the command line the outermost layer",
    ),
    knows("pki", &[], "certificates are issued and judged alike for everybody; let the caller say for whom"),
    knows(
        "lifecycle",
        &["api", "names", "pki", "backup", "secret"],
        "lifecycle is what controllers and agents say to each other; let either side decide",
    ),
    knows("backup", &["api", "plan", "secret"], "backups are read where there is no cluster; pass in what it says"),
    knows(
        "agent",
        &["api", "names", "extension", "lifecycle", "pki", "backup"],
        "the agent is small and runs in pods; move what both need into a room of its own",
    ),
    knows_all_but("cli", &[], "the command line is the outermost layer"),
];

/// The one room that may say `unsafe`: PID 1, for signals and children.
const UNSAFE_ROOM: &str = "src/agent/init/";

/// Products. `resp` and `postgres` are protocols that drivers speak, and are not among them.
const PRODUCTS: [&str; 20] = [
    "activemq",
    "cassandra",
    "clickhouse",
    "elasticsearch",
    "kafka",
    "keydb",
    "mariadb",
    "memcached",
    "mongo",
    "mysql",
    "nginx",
    "opensearch",
    "postgresql",
    "pulsar",
    "rabbit",
    "redis",
    "rocketmq",
    "tidb",
    "valkey",
    "zookeeper",
];

const LONGEST_FILE: usize = 600;

struct File {
    path: String,
    text: String,
}

#[test]
fn the_layers_hold() {
    report(&layers(&files(&["src"])));
}

#[test]
fn the_map_of_rooms_says_what_is_held_here() {
    let map = read("docs/architecture.md");
    let said: Vec<(String, bool, BTreeSet<String>)> = map.lines().filter_map(row).collect();
    for (room, all_but, rooms) in &said {
        let rule = RULES.iter().find(|rule| rule.room == room);
        let rule = rule.unwrap_or_else(|| panic!("docs/architecture.md: no rule holds the row of src/{room}"));
        let held: BTreeSet<String> = rule.rooms.iter().map(ToString::to_string).collect();
        assert_eq!((all_but, rooms), (&rule.all_but, &held), "docs/architecture.md: the row of src/{room}");
    }
    let mapped: BTreeSet<&str> = said.iter().map(|(room, ..)| room.as_str()).collect();
    let sources = files(&["src"]);
    let root = sources.iter().filter(|file| file.path == "src/lib.rs");
    let tests: Vec<String> = root.flat_map(|file| paths::read(&file.text, &[]).test_modules).collect();
    let rooms: BTreeSet<String> = sources.iter().filter_map(|file| module_of(&file.path).into_iter().next()).collect();
    let rooms = rooms.iter().filter(|room| !tests.contains(room));
    let rooms = rooms.map(String::as_str).filter(|room| !["bin", "lib", "main"].contains(room));
    assert_eq!(rooms.collect::<BTreeSet<_>>(), mapped, "rooms of src/, and rows of docs/architecture.md");
}

/// A row of the table of rooms: the room, whether it may know all but those named, and these.
fn row(line: &str) -> Option<(String, bool, BTreeSet<String>)> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let ["", room, _, may_know, ""] = cells[..] else { return None };
    let room = room.strip_prefix("`src/")?.trim_end_matches('`').trim_end_matches('/').trim_end_matches(".rs");
    let rooms = may_know.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((room.to_owned(), may_know.starts_with("all"), rooms))
}

#[test]
fn every_file_says_what_it_is_for_and_stays_short() {
    report(&shape(&files(&["src", "tests"])));
}

#[test]
fn unsafe_code_stays_in_one_room() {
    report(&unsafe_code(&files(&["src"])));
}

#[test]
fn no_middleware_is_named_in_src() {
    report(&products(&files(&["src"])));
}

/// A file of this repository.
fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn report(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// Every Rust file in these folders.
fn files(folders: &[&str]) -> Vec<File> {
    fn collect(root: &Path, folder: &Path, found: &mut Vec<File>) {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("a folder can be listed").path();
            if path.is_dir() {
                collect(root, &path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let path = path.strip_prefix(root).expect("it is inside").to_string_lossy().into_owned();
                found.push(File { path, text });
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in folders {
        collect(root, &root.join(folder), &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.iter().any(|file| file.path == "src/lib.rs"), "the sources were not found in {}", root.display());
    found
}

/// `src/plan/source/mod.rs` is the module `plan::source`.
fn module_of(path: &str) -> Vec<String> {
    let inside = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let mut module: Vec<String> = inside.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        module.pop();
    }
    module
}

fn layers(files: &[File]) -> Vec<String> {
    let read: Vec<(&File, Vec<String>, Said)> = files
        .iter()
        .map(|file| {
            let module = module_of(&file.path);
            let said = paths::read(&file.text, &module);
            (file, module, said)
        })
        .collect();
    let for_tests: HashSet<Vec<String>> = read
        .iter()
        .flat_map(|(_, module, said)| {
            said.test_modules.iter().map(|name| [module.clone(), vec![name.clone()]].concat())
        })
        .collect();
    let kinds: HashSet<&str> = read
        .iter()
        .filter(|(file, ..)| file.path.starts_with("src/controller/") && file.path.ends_with("/mod.rs"))
        .filter_map(|(_, module, _)| module.get(1).map(String::as_str))
        .filter(|folder| !["frame", "repositories"].contains(folder))
        .collect();
    // a module of the root that is there for tests alone: the compiler keeps everything else from it
    let shared_by_tests = |named: &Named| {
        named.path.first().is_some_and(|one| one == "crate")
            && named.path.get(1..2).is_some_and(|name| for_tests.contains(name))
    };
    let mut broken = Vec::new();
    for (file, module, said) in &read {
        let test_file = (1..=module.len()).any(|length| for_tests.contains(&module[..length]));
        for named in said.paths.iter().filter(|named| !shared_by_tests(named)) {
            let advice = forbidden(&file.path, module, named, &kinds, test_file);
            if let Some(advice) = advice {
                broken.push(format!("{}:{}: names {}; {advice}", file.path, named.line, named.path.join("::")));
            }
        }
    }
    broken
}

/// Why a file of `module` may not name this, where it may not.
fn forbidden(file: &str, module: &[String], named: &Named, kinds: &HashSet<&str>, test: bool) -> Option<String> {
    let room = module.first().map(String::as_str).unwrap_or_default();
    let path: Vec<&str> = named.path.iter().map(String::as_str).collect();
    if let ["crate" | "midship", target, rest @ ..] = &path[..] {
        let target = *target;
        if target == "cli" && room != "cli" && file != "src/main.rs" {
            return Some(
                "the command line is the outermost layer, used by src/main.rs alone; move what is shared inwards"
                    .into(),
            );
        }
        if target != room
            && let Some(rule) = RULES.iter().find(|rule| rule.room == room)
            && rule.rooms.contains(&target) == rule.all_but
        {
            return Some(format!("`{room}` may not use `{target}`: {}", rule.advice));
        }
        let from = module.get(1).map(String::as_str).filter(|from| room == "controller" && kinds.contains(from));
        let to = rest.first().copied().filter(|to| target == "controller" && kinds.contains(to));
        if let (Some(from), Some(to)) = (from, to)
            && from != to
        {
            return Some(format!(
                "the controller of one kind may not use another's ({from}, {to}); move what both need into src/controller/frame or repositories, src/plan or src/cluster"
            ));
        }
        return None;
    }
    if PURE.contains(&room) && !test && !named.in_test {
        let reaches = IMPURE.iter().any(|impure| {
            let impure: Vec<&str> = impure.split("::").collect();
            let everything = path.last() == Some(&"*") && impure.starts_with(&path[..path.len() - 1]);
            path.starts_with(&impure) || everything
        });
        return reaches.then(|| format!("`{room}` may not touch clusters, files, clocks or chance: {PURE_ADVICE}"));
    }
    None
}

fn shape(files: &[File]) -> Vec<String> {
    let mut broken = Vec::new();
    for File { path, text } in files {
        if !text.lines().next().is_some_and(|line| line.starts_with("//! ") && line.len() > 20) {
            broken.push(format!("{path}:1: open the file with a `//!` line that says what this room is for"));
        }
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            broken.push(format!("{path}: {lines} lines; past {LONGEST_FILE} split it by what its parts are for"));
        }
    }
    broken
}

fn unsafe_code(files: &[File]) -> Vec<String> {
    let elsewhere = files.iter().filter(|file| !file.path.starts_with(UNSAFE_ROOM));
    let lines = elsewhere.flat_map(|file| {
        let said = paths::read(&file.text, &module_of(&file.path));
        said.unsafe_lines.into_iter().map(|line| format!("{}:{line}", file.path))
    });
    lines
        .map(|place| {
            format!("{place}: unsafe code belongs in {UNSAFE_ROOM} alone; use nix, rustix or a safe crate here")
        })
        .collect()
}

fn products(files: &[File]) -> Vec<String> {
    let mut broken = Vec::new();
    for File { path, text } in files {
        for (number, line) in text.lines().enumerate() {
            if let Some(product) = named_product(line) {
                broken.push(format!(
                    "{path}:{}: names {product}; a kind of middleware is data: say what it is in general (a protocol such as `resp` or `postgres`, a role, a capability), or move it into an extension package",
                    number + 1
                ));
            }
        }
    }
    broken
}

/// The first product a line names, as a word or as the beginning of one in `CamelCase`.
fn named_product(line: &str) -> Option<&'static str> {
    let runs = line.split(|c: char| !c.is_alphabetic()).filter(|run| !run.is_empty());
    for run in runs {
        let humps = run.char_indices().filter(|(at, c)| *at == 0 || c.is_uppercase());
        for (at, _) in humps {
            let word = run[at..].to_lowercase();
            if let Some(product) = PRODUCTS.into_iter().find(|product| word.starts_with(product)) {
                return Some(product);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    /// The one complaint about a file, without the file's own name.
    #[track_caller]
    fn complaint(path: &str, text: &str) -> String {
        let kinds = [file("src/controller/one/mod.rs", ""), file("src/controller/two/mod.rs", "")];
        let files: Vec<File> = kinds.into_iter().chain([file(path, text)]).collect();
        let broken = layers(&files);
        assert_eq!(broken.len(), 1, "{path}: {text}: {broken:?}");
        assert!(broken[0].starts_with(path), "{}", broken[0]);
        broken[0].clone()
    }

    #[track_caller]
    fn accepted(path: &str, text: &str) {
        assert_eq!(layers(&[file(path, text)]), [""; 0], "{path}: {text}");
    }

    #[test]
    fn what_stands_below_never_uses_what_stands_above() {
        complaint("src/names.rs", "use crate::api::Kind;");
        complaint("src/api/instance.rs", "use crate::plan::Plan;");
        complaint("src/api/instance.rs", "fn f() -> super::super::plan::Plan { todo() }");
        complaint("src/repo/fetch.rs", "use crate::names::Name;");
        complaint("src/agent/serve.rs", "use crate::{names::Name, cluster::Key};");
        complaint("src/agent/mod.rs", "fn f() { crate::controller::run() }");
        complaint("src/plan/sync.rs", "use super::super::cluster::Cache;");
        complaint("src/diff/mod.rs", "use crate::repo;");
        complaint("src/backup/mod.rs", "use crate::cluster::Key;");
        complaint("src/lifecycle/client.rs", "use crate::controller::agents;");
        complaint("src/secret.rs", "use crate::names::Name;");
        complaint("src/controller/mod.rs", "use crate::agent::serve;");
        accepted("src/api/instance.rs", "use crate::names::Name; use super::values::X;");
        accepted("src/plan/sync.rs", "use crate::{api::Kind, names::Name, extension}; use super::object;");
        accepted("src/agent/mod.rs", "use crate::names::Name;");
        accepted("src/cluster/cache.rs", "use crate::api::Kind;");
    }

    #[test]
    fn the_message_says_where_and_what_to_do() {
        assert_eq!(
            complaint("src/plan/sync.rs", "//! x\n\nuse crate::cluster::Key;"),
            "src/plan/sync.rs:3: names crate::cluster::Key; `plan` may not use `cluster`: plans must be the same wherever they are made: let the caller look and pass in the value"
        );
    }

    #[test]
    fn pure_rooms_reach_for_nothing_outside() {
        for text in [
            "use kube::Client;",
            "use kube::{Api, ResourceExt};",
            "use kube::*;",
            "use kube::runtime::watcher;",
            "use std::{collections::HashMap, fs};",
            "use std::time::{Duration, SystemTime};",
            "use std::time; fn f() { time::Instant::now(); }",
            "fn f() { std::process::exit(1) }",
            "use jiff::Timestamp; fn f() { Timestamp::now(); }",
            "fn f() { tokio::spawn(async {}) }",
            "#[tokio::main]\nasync fn f() {}",
        ] {
            for room in PURE {
                complaint(&format!("src/{room}/mod.rs"), text);
            }
            accepted("src/cluster/mod.rs", text);
        }
        accepted("src/plan/mod.rs", "use kube::api::ObjectMeta; use std::time::Duration; use jiff::Timestamp;");
    }

    #[test]
    fn tests_of_pure_rooms_may_read_their_examples() {
        accepted("src/plan/mod.rs", "#[cfg(test)]\nmod tests { fn f() { std::fs::read(\"x\"); } }");
        let files = [file("src/plan/mod.rs", "#[cfg(test)]\nmod golden;"), file("src/plan/golden.rs", "use std::fs;")];
        assert!(layers(&files).is_empty());
        complaint("src/plan/golden.rs", "use std::fs;");
    }

    #[test]
    fn what_is_there_for_tests_alone_may_be_used_in_all_rooms() {
        let drawn = "#[cfg(test)]\nmod tests { fn f() { crate::chance::fixed(); } }";
        complaint("src/api/values.rs", drawn);
        let root = file("src/lib.rs", "pub mod api;\n#[cfg(test)]\nmod chance;");
        assert_eq!(layers(&[root, file("src/api/values.rs", drawn)]), [""; 0]);
    }

    #[test]
    fn kinds_do_not_know_each_other_and_nobody_knows_the_command_line() {
        complaint("src/controller/one/apply.rs", "use super::super::two::Thing;");
        complaint("src/controller/one/mod.rs", "use crate::controller::two;");
        complaint("src/controller/mod.rs", "use crate::cli::Format;");
        complaint("src/bin/midship-agent.rs", "fn main() { midship::cli::run() }");
        accepted("src/controller/one/mod.rs", "use super::frame::Queue; use crate::controller::caches::Caches;");
        accepted("src/main.rs", "fn main() { midship::cli::run() }");
        accepted("src/cli/doctor.rs", "use crate::cli::output; use super::error::CommandError;");
    }

    #[test]
    fn long_files_and_silent_ones_are_found() {
        let long = format!("//! What this room is for.\n{}", "\n".repeat(LONGEST_FILE));
        let files = [file("a.rs", "use x;"), file("b.rs", &long), file("c.rs", "//! What this room is for.\n")];
        let broken = shape(&files);
        assert_eq!(broken.len(), 2, "{broken:?}");
        assert!(broken[0].starts_with("a.rs:1: open") && broken[1].starts_with("b.rs: 601 lines"), "{broken:?}");
    }

    #[test]
    fn unsafe_code_is_found_but_not_in_words() {
        let text = "// unsafe here\nfn f() { \"unsafe\"; unsafe { g() } }\n#![allow(unsafe_code)]";
        assert_eq!(unsafe_code(&[file("src/agent/serve.rs", text)]).len(), 2);
        assert!(unsafe_code(&[file("src/agent/init/sys.rs", text)]).is_empty());
    }

    #[test]
    fn products_are_found_wherever_they_hide() {
        for line in [
            "/// Asks Redis",
            "let redis_port = 1;",
            "struct MyKafkaDriver;",
            "MySQL",
            "\"mongodb://\"",
            "// PostgreSQL",
        ] {
            assert!(named_product(line).is_some(), "{line}");
        }
        for line in ["predisposed", "resp", "postgres", "PostgresDriver", "a harbour for ships"] {
            assert_eq!(named_product(line), None, "{line}");
        }
    }
}
