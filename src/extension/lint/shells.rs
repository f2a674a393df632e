//! Words of commands: no secret among them, and nothing of other people's within the text of a shell.

use serde_json::Value;

use super::Lint;
use crate::extension::template::FIELD;
use crate::extension::yaml::join;

/// What only the package and names decide: none of it can be a command of somebody else's.
const SAFE: [&str; 19] = [
    "component",
    "components",
    "files",
    "group",
    "images",
    "instance",
    "namespace",
    "paths",
    "pod",
    "ports",
    "replicas",
    "resources",
    "storage",
    "tls",
    "topology",
    "type",
    "values",
    "version",
    "extension_version",
];

pub fn check(lint: &mut Lint<'_>) {
    let manifest = serde_json::to_value(&lint.package.manifest).unwrap_or_default();
    for part in ["components", "operations", "backup", "monitoring"] {
        walk(lint, part, &manifest[part]);
    }
}

fn walk(lint: &mut Lint<'_>, field: &str, value: &Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let field = join(field, key);
                if matches!(key.as_str(), "command" | "args" | "exec")
                    && let Some(words) = words(value)
                {
                    command(lint, &field, &words);
                }
                walk(lint, &field, value);
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                walk(lint, &format!("{field}[{place}]"), item);
            }
        }
        _ => {}
    }
}

fn words(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

fn command(lint: &mut Lint<'_>, field: &str, words: &[&str]) {
    let talks_to_a_server = field.contains(".resp.");
    // of the program itself rendering says so
    let program = field.starts_with("components.") && field.ends_with(".command") && field.matches('.').count() == 2;
    for (place, word) in words.iter().enumerate() {
        if !word.contains("{{") && !word.contains("{%") {
            continue;
        }
        // what does not compile is told elsewhere
        let Ok(reads) = lint.package.engine.text_reads(&format!("{FIELD}{field}"), word) else { continue };
        let mut roots = reads.iter().map(|read| read.split('.').next().unwrap_or(read));
        if !talks_to_a_server && !program && roots.clone().any(|root| root == "secret") {
            let reason = "a secret among the words of a command is seen by everybody who lists processes; give it in env or stdin";
            lint.at(field, reason);
        }
        if is_shell_text(words, place)
            && let Some(root) = roots.find(|root| !SAFE.contains(root) && !lint.package.engine.knows_function(root))
        {
            let reason = format!(
                "{root} within the text of a shell could be a command; hand it over in env (\"$NAME\") or as an argument (\"$1\")"
            );
            lint.at(field, reason);
        }
    }
}

/// Whether a word is the text of a command such as `sh -c`.
fn is_shell_text(words: &[&str], place: usize) -> bool {
    let shell =
        |word: &&str| ["sh", "bash", "dash", "ash", "zsh", "ksh"].contains(&word.rsplit('/').next().unwrap_or(word));
    let flag = |word: &&str| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
    place >= 2 && words[..place].iter().any(shell) && flag(&words[place - 1])
}
