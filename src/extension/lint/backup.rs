//! Backup methods: one way out, one way back, and an end that shows that a stream is whole.

use super::{Lint, incremental};
use crate::extension::contract::Stream;
use crate::extension::problem::unknown;
use crate::names::{ComponentName, VolumeName};

pub fn check(lint: &mut Lint<'_>) {
    let manifest = &lint.package.manifest;
    let Some(backup) = &manifest.backup else { return };
    if backup.methods.is_empty() {
        lint.at("backup.methods", "there is no method");
    }
    match &backup.default {
        Some(name) if !backup.methods.contains_key(name) => {
            lint.at("backup.default", unknown("method", name, backup.methods.keys().map(String::as_str)));
        }
        None if backup.methods.len() > 1 => lint.at("backup", "one of several methods has to be `default`"),
        _ => {}
    }
    for (name, method) in &backup.methods {
        let field = format!("backup.methods.{name}");
        let component = method.component.as_ref().or_else(|| lint.package.main_component());
        let Some(component) = component.and_then(|name| manifest.components.get(name)) else {
            let known = manifest.components.keys().map(ComponentName::as_str);
            let named = method.component.as_ref().map_or("", ComponentName::as_str);
            lint.at(&field, unknown("component", named, known));
            continue;
        };
        let sources = [method.stream.exec.is_some(), method.stream.volume.is_some(), method.stream.file.is_some()];
        if sources.iter().filter(|there| **there).count() != 1 {
            lint.at(&format!("{field}.stream"), "give exactly one of exec, volume and file");
        }
        if method.set.is_some() && !method.each_group {
            lint.at(&format!("{field}.set"), "parts of a set come from eachGroup: say that too, or leave it out");
        }
        if method.set.is_some() && method.logs.is_some() {
            lint.at(&format!("{field}.set"), "the log of one group leads to no moment of all: leave set or logs out");
        }
        if let Some(reason) = end_mark(&method.stream) {
            lint.at(&format!("{field}.stream"), reason);
        }
        if let Some(logs) = &method.logs
            && let Err(error) = regex::Regex::new(&logs.pattern)
        {
            lint.at(&format!("{field}.logs.pattern"), format!("it is no regular expression: {error}"));
        }
        let targets = [method.restore.exec.is_some(), method.restore.volume.is_some(), method.restore.file.is_some()];
        if targets.iter().filter(|there| **there).count() != 1 {
            lint.at(&format!("{field}.restore"), "give exactly one of exec, volume and file");
        }
        if let Some(reason) = incremental::refused(method) {
            lint.at(&format!("{field}.types"), reason);
        }
        let volumes = [method.stream.volume.as_ref().map(|volume| &volume.name), method.restore.volume.as_ref()];
        for volume in volumes.into_iter().flatten().filter(|volume| !component.volumes.contains_key(*volume)) {
            let known = component.volumes.keys().map(VolumeName::as_str);
            lint.at(&field, unknown("volume", volume.as_str(), known));
        }
        if let Some(role) = &method.prefer
            && !component.roles.iter().any(|known| known.name == *role)
        {
            let known = component.roles.iter().map(|role| role.name.as_str());
            lint.at(&field, unknown("role", role.as_str(), known));
        }
    }
}

/// A stream that ends is no proof that it is whole: what is wrong with the way it says so.
fn end_mark(stream: &Stream) -> Option<&'static str> {
    let marks = [stream.ends_with.is_some(), stream.end_text.is_some(), stream.format.is_some()];
    if stream.exec.is_none() && stream.file.is_none() && stream.volume.is_none() {
        return None;
    }
    match (marks.iter().filter(|there| **there).count(), stream.volume.is_some()) {
        (1.., true) => return Some("the files of a volume have an end mark of their own"),
        (0, false) => return Some("say how the end of a whole stream looks: one of endsWith, endText and format"),
        (2.., false) => return Some("give one of endsWith, endText and format"),
        _ => {}
    }
    let digits = stream.ends_with.as_deref()?.trim_end_matches("??");
    let fine = !digits.is_empty() && digits.len().is_multiple_of(2) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    (!fine).then_some("endsWith has to be pairs of hexadecimal digits, and after them ?? for any byte")
}
