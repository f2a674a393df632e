//! How long a caller waits, as HTTP headers say it.

use std::time::Duration;

use http::HeaderMap;

use crate::api::values;
use crate::lifecycle::{Code, Problem, TIMEOUT_HEADER};

/// The shortest time a caller gives; nothing where it gives none. Whoever speaks gRPC may give it in either way.
pub fn asked(headers: &HeaderMap, grpc: bool) -> Result<Option<Duration>, Problem> {
    let ours = read(headers, TIMEOUT_HEADER, |text| values::Duration::parse(text).map(|read| read.0))
        .map_err(|problem| problem.hint("write it like 500ms, 30s or 5m"))?;
    let theirs = if grpc { read(headers, "grpc-timeout", of_grpc)? } else { None };
    Ok(ours.into_iter().chain(theirs).min())
}

fn read(
    headers: &HeaderMap,
    name: &str,
    parse: impl Fn(&str) -> Option<Duration>,
) -> Result<Option<Duration>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let wrong = || Problem::new(Code::BadRequest, format!("the header {name} has no time in it: {text:?}"));
    parse(text).filter(|time| !time.is_zero()).map(Some).ok_or_else(wrong)
}

/// Up to eight digits and a unit.
fn of_grpc(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn given(grpc: bool, text: &'static str) -> Result<Option<Duration>, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(if grpc { "grpc-timeout" } else { TIMEOUT_HEADER }, HeaderValue::from_static(text));
        asked(&headers, grpc)
    }

    #[test]
    fn both_protocols_say_how_long_they_wait() {
        assert_eq!(given(false, "1m30s"), Ok(Some(Duration::from_secs(90))));
        for (text, millis) in [("1H", 3_600_000), ("2M", 120_000), ("3S", 3000), ("4m", 4), ("5000u", 5)] {
            assert_eq!(given(true, text), Ok(Some(Duration::from_millis(millis))));
        }
        assert_eq!(asked(&HeaderMap::new(), true), Ok(None));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "5", "S", "123456789S", "-1S", "1x", "0S"] {
            assert_eq!(given(true, text).unwrap_err().code, Code::BadRequest, "{text}");
        }
        for text in ["soon", "0s", "-5s"] {
            assert_eq!(given(false, text).unwrap_err().code, Code::BadRequest, "{text}");
        }
    }
}
