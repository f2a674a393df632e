//! Between the values of the API and its messages over gRPC.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as Message};
use serde_json::{Map, Value};

use super::proto;
use super::values::{Capabilities, Capability, Health, Plea, ProcessResult, Status, Switched};

/// Beyond this a number of the protocol, a float, no longer counts exactly.
const EXACT: i64 = 1 << 53;

/// JSON as the protocol has it. Whole numbers too large for it become text.
pub fn to_struct(map: Map<String, Value>) -> Struct {
    Struct { fields: map.into_iter().map(|(name, value)| (name, to_message(value))).collect() }
}

pub fn from_struct(message: Struct) -> Map<String, Value> {
    message.fields.into_iter().map(|(name, value)| (name, from_message(value))).collect()
}

fn to_message(value: Value) -> Message {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(truth) => Kind::BoolValue(truth),
        Value::Number(number) => match number.as_i64() {
            Some(whole) if !(-EXACT..=EXACT).contains(&whole) => Kind::StringValue(whole.to_string()),
            _ if number.as_u64().is_some_and(|whole| i64::try_from(whole).is_err()) => {
                Kind::StringValue(number.to_string())
            }
            _ => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Kind::StringValue(text),
        Value::Array(values) => Kind::ListValue(ListValue { values: values.into_iter().map(to_message).collect() }),
        Value::Object(map) => Kind::StructValue(to_struct(map)),
    };
    Message { kind: Some(kind) }
}

fn from_message(message: Message) -> Value {
    match message.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(truth)) => truth.into(),
        Some(Kind::NumberValue(number)) => from_number(number),
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(from_message).collect(),
        Some(Kind::StructValue(map)) => from_struct(map).into(),
    }
}

/// Whole numbers are whole again.
fn from_number(number: f64) -> Value {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    if number.fract() == 0.0 && number.abs() <= EXACT as f64 { (number as i64).into() } else { number.into() }
}

impl From<Status> for proto::StatusReply {
    fn from(status: Status) -> Self {
        let Status {
            pod,
            namespace,
            instance,
            component,
            group,
            process,
            ready,
            reason,
            pid,
            restarts,
            role,
            role_since,
            holder,
            epoch,
            data_epoch,
            position,
            position_exact,
            lag,
            follows,
            config_revision,
            pending_restart,
            agent,
            archive,
            waits_for_restore,
        } = status;
        Self {
            pod,
            namespace,
            instance,
            component,
            group,
            process,
            ready,
            reason,
            pid,
            restarts,
            role,
            role_since,
            holder,
            epoch,
            data_epoch,
            position,
            position_exact,
            lag,
            follows,
            config_revision,
            pending_restart,
            agent,
            archive: archive.map(Into::into),
            waits_for_restore,
        }
    }
}

impl From<proto::StatusReply> for Status {
    fn from(reply: proto::StatusReply) -> Self {
        let proto::StatusReply {
            pod,
            namespace,
            instance,
            component,
            group,
            process,
            ready,
            reason,
            pid,
            restarts,
            role,
            role_since,
            holder,
            epoch,
            data_epoch,
            position,
            position_exact,
            lag,
            follows,
            config_revision,
            pending_restart,
            agent,
            archive,
            waits_for_restore,
        } = reply;
        Self {
            pod,
            namespace,
            instance,
            component,
            group,
            process,
            ready,
            reason,
            pid,
            restarts,
            role,
            role_since,
            holder,
            epoch,
            data_epoch,
            position,
            position_exact,
            lag,
            follows,
            config_revision,
            pending_restart,
            agent,
            // of another version, which says it in a way that is not known here: as if it said nothing
            archive: archive.and_then(|archive| archive.try_into().ok()),
            waits_for_restore,
        }
    }
}

impl From<Capability> for proto::Capability {
    fn from(Capability { name, description, timeout_millis }: Capability) -> Self {
        Self { name, description, timeout_millis }
    }
}

impl From<proto::Capability> for Capability {
    fn from(proto::Capability { name, description, timeout_millis }: proto::Capability) -> Self {
        Self { name, description, timeout_millis }
    }
}

impl From<Capabilities> for proto::CapabilitiesReply {
    fn from(Capabilities { actions, operations, switchover, roles, agent }: Capabilities) -> Self {
        let all = |list: Vec<Capability>| list.into_iter().map(Into::into).collect();
        Self { actions: all(actions), operations: all(operations), switchover, roles, agent }
    }
}

impl From<proto::CapabilitiesReply> for Capabilities {
    fn from(reply: proto::CapabilitiesReply) -> Self {
        let proto::CapabilitiesReply { actions, operations, switchover, roles, agent } = reply;
        let all = |list: Vec<proto::Capability>| list.into_iter().map(Into::into).collect();
        Self { actions: all(actions), operations: all(operations), switchover, roles, agent }
    }
}

impl From<Health> for proto::HealthReply {
    fn from(Health { healthy, reason, details }: Health) -> Self {
        Self { healthy, reason, details: details.map(to_struct) }
    }
}

impl From<proto::HealthReply> for Health {
    fn from(proto::HealthReply { healthy, reason, details }: proto::HealthReply) -> Self {
        Self { healthy, reason, details: details.map(from_struct) }
    }
}

impl From<(ProcessResult, bool)> for proto::ProcessReply {
    fn from((ProcessResult { process, pid, changed, forced }, replayed): (ProcessResult, bool)) -> Self {
        Self { process, pid, changed, forced, replayed }
    }
}

impl From<proto::ProcessReply> for ProcessResult {
    fn from(proto::ProcessReply { process, pid, changed, forced, replayed: _ }: proto::ProcessReply) -> Self {
        Self { process, pid, changed, forced }
    }
}

impl From<(Switched, bool)> for proto::SwitchoverReply {
    fn from((Switched { holder, epoch }, replayed): (Switched, bool)) -> Self {
        Self { holder, epoch, replayed }
    }
}

impl From<proto::SwitchoverReply> for Switched {
    fn from(proto::SwitchoverReply { holder, epoch, replayed: _ }: proto::SwitchoverReply) -> Self {
        Self { holder, epoch }
    }
}

impl From<Plea> for proto::PromiseRequest {
    fn from(Plea { pod, uid, epoch, duration }: Plea) -> Self {
        Self { pod, uid, epoch, duration_millis: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX) }
    }
}

impl From<proto::PromiseRequest> for Plea {
    fn from(proto::PromiseRequest { pod, uid, epoch, duration_millis }: proto::PromiseRequest) -> Self {
        Self { pod, uid, epoch, duration: std::time::Duration::from_millis(duration_millis) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_the_same_after_its_way_through_the_protocol() {
        let value = json!({
            "text": "a", "whole": 42, "least": -9_007_199_254_740_992_i64, "part": 0.5, "yes": true, "none": null,
            "list": [1, "b", { "deep": [] }], "map": {},
        });
        let Value::Object(map) = value.clone() else { panic!() };
        assert_eq!(Value::Object(from_struct(to_struct(map))), value);
    }

    #[test]
    fn numbers_the_protocol_cannot_hold_become_text_instead_of_wrong() {
        let Value::Object(map) = json!({ "a": 9_007_199_254_740_993_i64, "b": u64::MAX }) else { panic!() };
        let seen = from_struct(to_struct(map));
        assert_eq!(Value::Object(seen), json!({ "a": "9007199254740993", "b": "18446744073709551615" }));
    }
}
