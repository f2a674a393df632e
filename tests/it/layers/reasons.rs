//! Each reason that a status or an event can have is explained in docs/status.md, and none that is not there any more.

use std::collections::BTreeSet;

use super::{files, read, report};

const PAGE: &str = "docs/status.md";

/// Words that are written like reasons and are none: kinds and states of Kubernetes, actions of events, units, names.
const OTHERS: [&str; 52] = [
    "Ada",
    "Adopt",
    "AlreadyExists",
    "Backup",
    "BackupPolicy",
    "BackupRepository",
    "Begins",
    "BestEffort",
    "Bound",
    "Burstable",
    "Certificate",
    "Component",
    "ConfigMap",
    "ContainerCreating",
    "ControllerResizeError",
    "ControllerRevision",
    "CrashLoop",
    "Create",
    "Delete",
    "Extension",
    "False",
    "FileSystemResizePending",
    "GiB",
    "GitSource",
    "Guaranteed",
    "Infeasible",
    "Instance",
    "KiB",
    "MiB",
    "Midship",
    "Namespace",
    "NodeResizeError",
    "Opaque",
    "Operation",
    "PersistentVolumeClaim",
    "Pod",
    "PodInitializing",
    "PodReadyToStartContainers",
    "PodResizeInProgress",
    "PodResizePending",
    "PodScheduled",
    "PodSet",
    "ReadWriteOnce",
    "Record",
    "Refuse",
    "Revert",
    "Secret",
    "Service",
    "TiB",
    "True",
    "Unknown",
    "Update",
];

/// Put together of two words.
const BUILT: [&str; 1] = ["OperationBegins"];

/// Where errors have names like `host-key`, which conditions write as `HostKey`.
const CODES: [&str; 4] = ["src/repo/error.rs", "src/repo/resolve.rs", "src/repo/verify.rs", "src/repo/cache.rs"];

#[test]
fn every_reason_is_explained() {
    let (mut reasons, mut known) = (BTreeSet::new(), BTreeSet::from(BUILT.map(str::to_owned)));
    for file in
        files(&["src"]).iter().filter(|file| !file.path.contains("test") && !file.path.ends_with("properties.rs"))
    {
        let text = without_tests(&file.text);
        if file.path.starts_with("src/plan/") || file.path.starts_with("src/controller/") {
            reasons.extend(words(text).map(str::to_owned));
        }
        if CODES.contains(&file.path.as_str()) {
            reasons.extend(codes(text, "=> \""));
        }
        if file.path.starts_with("src/controller/git_source/") {
            reasons.extend(codes(text, "code: \""));
        }
    }
    assert!(
        reasons.contains("UpdateFailed") && reasons.contains("HostKey"),
        "reasons are looked for where they are not"
    );
    known.extend(reasons.iter().cloned());
    reasons.retain(|word| !OTHERS.contains(&word.as_str()));
    let page = read(PAGE);
    let told: BTreeSet<&str> = ticked(&page).collect();
    let missing = reasons.iter().filter(|word| !told.contains(word.as_str()));
    let mut wrong: Vec<String> = missing
        .map(|word| format!("{PAGE}: {word} is not explained; where it is no reason, name it in OTHERS of this test"))
        .collect();
    let rows = page.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next());
    let gone = rows.flat_map(ticked).filter(|word| !known.contains(*word));
    wrong.extend(gone.map(|word| format!("{PAGE}: nothing in src has the reason {word}")));
    report(&wrong);
}

/// What stands between backticks.
fn ticked(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The text up to the module of tests in it.
fn without_tests(text: &str) -> &str {
    let begins = |at: usize| text[at..].lines().nth(1).is_some_and(|line| line.ends_with('{'));
    let inline = text.match_indices("#[cfg(test)]\nmod ").map(|(at, _)| at).find(|at| begins(*at));
    inline.map_or(text, |at| &text[..at])
}

/// Words in CamelCase that stand in quotes by themselves.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('"').filter_map(|(at, _)| {
        let rest = &text[at + 1..];
        let end = rest.find(|letter: char| !letter.is_ascii_alphabetic())?;
        let word = &rest[..end];
        let camel = word.starts_with(|letter: char| letter.is_ascii_uppercase())
            && word.contains(|letter: char| letter.is_ascii_lowercase());
        (camel && rest[end..].starts_with('"')).then_some(word)
    })
}

/// Names like `host-key` after these letters, as `HostKey`.
fn codes(text: &str, after: &str) -> Vec<String> {
    let named = text.lines().filter_map(|line| line.split_once(after)?.1.split_once('"').map(|(code, _)| code));
    let is_code = |code: &&str| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    named.filter(is_code).map(camel).collect()
}

fn camel(code: &str) -> String {
    let part = |part: &str| part[..1].to_ascii_uppercase() + &part[1..];
    code.split('-').filter(|one| !one.is_empty()).map(part).collect()
}

#[test]
fn words_and_codes_are_found_and_tests_left_out() {
    let text = "wait(\"NodeLost\"); let a = \"GB\"; say(\"Pod is gone\");\n#[cfg(test)]\nmod more;\nf(\"Held\");\n\
                #[cfg(test)]\nmod tests {\n\"Gone\"\n}\n";
    assert_eq!(words(without_tests(text)).collect::<Vec<_>>(), ["NodeLost", "Held"]);
    assert_eq!(codes("a => \"host-key\",\nb => \"Host\",\nc => \"tls\"", "=> \""), ["HostKey", "Tls"]);
    assert_eq!(ticked("| `A`, **`B`** | c |").collect::<Vec<_>>(), ["A", "B"]);
}
