//! Values as the server writes and reads them.

use serde_json::{Number, Value};
use tokio_postgres::types::Type;

/// A field of an answer as JSON: numbers, truth values and JSON as what they are, all else as the server's text.
pub fn value(field: Option<&str>, kind: Option<&Type>) -> Value {
    let Some(text) = field else { return Value::Null };
    let Some(kind) = kind else { return text.into() };
    match *kind {
        Type::BOOL => Value::Bool(text == "t"),
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID | Type::NUMERIC | Type::FLOAT4 | Type::FLOAT8 => number(text),
        Type::JSON | Type::JSONB => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        _ => text.into(),
    }
}

/// A whole number where it is one; what no number of ours can hold, such as NaN, stays a text.
fn number(text: &str) -> Value {
    let whole = text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok();
    let number = whole.or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64));
    number.map_or_else(|| text.into(), Value::Number)
}

/// A value in a statement, quoted for every setting of the server.
pub fn literal(value: &Value) -> String {
    let text = match value {
        Value::Null => return "NULL".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_what_they_are() {
        for (text, kind, expected) in [
            (Some("t"), Type::BOOL, json!(true)),
            (Some("50331648"), Type::NUMERIC, json!(50_331_648)),
            (Some("18446744073709551615"), Type::NUMERIC, json!(u64::MAX)),
            (Some("1.5"), Type::FLOAT8, json!(1.5)),
            (Some("NaN"), Type::FLOAT8, json!("NaN")),
            (Some("{\"a\": [1]}"), Type::JSONB, json!({ "a": [1] })),
            (Some("0/16B3748"), Type::PG_LSN, json!("0/16B3748")),
            (Some("007"), Type::TEXT, json!("007")),
            (None, Type::INT4, Value::Null),
        ] {
            assert_eq!(value(text, Some(&kind)), expected);
        }
        assert_eq!(value(Some("1"), None), json!("1"));
    }

    #[test]
    fn a_value_cannot_leave_its_quotes() {
        assert_eq!(literal(&json!("it's; --")), "'it''s; --'");
        assert_eq!(literal(&json!("\\'")), "E'\\\\'''");
        assert_eq!(literal(&json!(7)), "'7'");
        assert_eq!(literal(&Value::Null), "NULL");
    }
}
