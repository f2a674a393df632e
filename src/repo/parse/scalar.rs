//! What a scalar without quotes means: the YAML 1.2 core schema, and no guessing where YAML 1.1 differs.

use serde_json::{Number, Value};

/// Why a scalar has no meaning here: reason and hint.
pub(super) type Unclear = (&'static str, &'static str);

/// The value of a plain scalar without a tag.
pub(super) fn plain(text: &str) -> Result<Value, Unclear> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    // nearly everything is a word
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
        return Ok(Value::String(text.to_owned()));
    }
    Ok(number(text)?.unwrap_or_else(|| Value::String(text.to_owned())))
}

/// The number a text means, if it means one.
pub(super) fn number(text: &str) -> Result<Option<Value>, Unclear> {
    const TOO_LARGE: Unclear = ("this number is too large to be kept exactly", "put it in quotes if it is text");
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16).map_or(Ok(None), |value| value.ok_or(TOO_LARGE).map(Some));
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8).map_or(Ok(None), |value| value.ok_or(TOO_LARGE).map(Some));
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(digits, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(("infinity and not-a-number cannot be kept in an object", "put it in quotes if it is text"));
    }
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        if digits.len() > 1 && digits.starts_with('0') {
            return Err((
                "a number with a leading zero is octal to some programs and decimal to others",
                "write 0o644 for octal, or put it in quotes",
            ));
        }
        let text = text.strip_prefix('+').unwrap_or(text);
        let exact = text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from));
        return exact.map(|n| Some(Value::Number(n))).map_err(|_| TOO_LARGE);
    }
    if !is_float(digits) {
        return Ok(None);
    }
    let value = text.parse::<f64>().ok().filter(|f| f.is_finite()).and_then(Number::from_f64);
    value.map(|n| Some(Value::Number(n))).ok_or(TOO_LARGE)
}

/// None when these are not digits; the inner none when they are too many.
fn radix(digits: &str, radix: u32) -> Option<Option<Value>> {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    Some(u64::from_str_radix(digits, radix).ok().map(Value::from))
}

/// `12.`, `.5`, `1.5e-3`, `1e3`.
fn is_float(digits: &str) -> bool {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_good = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && all_digits(e)
    });
    (!whole.is_empty() || !part.is_empty()) && all_digits(whole) && all_digits(part) && exponent_good
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn plain_words_and_numbers_mean_what_yaml_1_2_says() {
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("null", json!(null)),
            ("true", json!(true)),
            ("FALSE", json!(false)),
            ("yes", json!("yes")),
            ("on", json!("on")),
            ("n", json!("n")),
            ("0", json!(0)),
            ("-12", json!(-12)),
            ("+12", json!(12)),
            ("0x1F", json!(31)),
            ("0o644", json!(420)),
            ("18446744073709551615", json!(u64::MAX)),
            ("1.5", json!(1.5)),
            ("5.", json!(5.0)),
            (".5", json!(0.5)),
            ("-1e3", json!(-1000.0)),
            ("1.2.3", json!("1.2.3")),
            ("1_000", json!("1_000")),
            ("12:30", json!("12:30")),
            ("2024-01-01", json!("2024-01-01")),
            ("100m", json!("100m")),
            ("1Gi", json!("1Gi")),
            ("0x", json!("0x")),
            ("-", json!("-")),
            (".", json!(".")),
            ("1e", json!("1e")),
            ("e5", json!("e5")),
        ] {
            assert_eq!(plain(text), Ok(value), "{text:?}");
        }
    }

    #[test]
    fn what_would_be_changed_silently_is_refused() {
        for text in ["0644", "-007", "18446744073709551616", "1e999", ".inf", "-.INF", ".nan", "0xFFFFFFFFFFFFFFFFF"] {
            assert!(plain(text).is_err(), "{text:?}");
        }
    }
}
