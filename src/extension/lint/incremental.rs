//! Incremental backups: what a method has to say besides, so that one is never put back as if it were all of the data.

use crate::api::operation::BackupType;
use crate::extension::contract::BackupMethod;

/// Why a method cannot make incremental backups as it says.
pub fn refused(method: &BackupMethod) -> Option<&'static str> {
    match (method.types.contains(&BackupType::Incremental), &method.incremental) {
        (false, Some(_)) => Some("there is `incremental`, and Incremental is not among the types"),
        (true, _) if !method.types.contains(&BackupType::Full) => {
            Some("incremental backups add to a full one: Full has to be among the types")
        }
        (true, _) if method.stream.exec.is_none() || method.restore.exec.is_none() => Some(
            "incremental backups are made by stream.exec, which reads job.keep and job.parent, and put back by restore.exec, \
             which reads restore.index",
        ),
        (true, _) if method.each_group => Some(
            "a group does not find the backups of its own that it could add to: leave Incremental or eachGroup out",
        ),
        (false, None) | (true, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn refusal(fields: Value) -> Option<&'static str> {
        let mut method = json!({ "types": ["Full", "Incremental"], "stream": { "exec": ["read"], "format": "tar" },
            "restore": { "exec": ["write"] } });
        method.as_object_mut().expect("a map").extend(fields.as_object().expect("a map").clone());
        refused(&serde_json::from_value(method).expect("a method"))
    }

    #[test]
    fn incremental_backups_are_made_and_put_back_by_commands_that_know_of_others() {
        let needs = json!({ "when": "version == '2'", "needs": "needs version 2" });
        assert_eq!(refusal(json!({})), None);
        assert_eq!(refusal(json!({ "incremental": needs })), None);
        assert_eq!(refusal(json!({ "types": [] })), None);
        for (fields, reason) in [
            (json!({ "types": ["Full"], "incremental": needs }), "there is `incremental`"),
            (json!({ "types": ["Incremental"] }), "incremental backups add to a full one"),
            (json!({ "restore": { "volume": "data" } }), "incremental backups are made by stream.exec"),
            (
                json!({ "stream": { "file": "/data/a", "endsWith": "ff" } }),
                "incremental backups are made by stream.exec",
            ),
            (json!({ "eachGroup": true }), "a group does not find"),
        ] {
            assert!(refusal(fields.clone()).is_some_and(|said| said.starts_with(reason)), "{fields}");
        }
    }
}
