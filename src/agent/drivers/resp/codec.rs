//! RESP2 and RESP3: commands to bytes, answers to JSON. Bounded in size and depth, whoever answers.

use serde_json::{Map, Number, Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// The largest answer.
pub const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// How deep lists may lie in lists.
const MAX_DEPTH: usize = 32;
/// The longest line that is no text of its own.
const MAX_LINE: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum RespError {
    #[error("the connection broke: {0}")]
    Broken(#[from] std::io::Error),
    #[error("the server closed the connection without an answer")]
    Closed,
    #[error("the answer is larger than {MAX_ANSWER} bytes")]
    TooLarge,
    #[error("the answer is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("the answer is no RESP: {0}")]
    Garbled(String),
}

/// What a server answers: a value, or an error in its own words.
pub type Answer = Result<Value, String>;

pub fn encode(command: &[String]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for word in command {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A list, set or map whose parts are still being read.
struct Open {
    kind: Kind,
    left: usize,
    items: Vec<Value>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    List,
    Map,
    /// Said without being asked, or about the answer that follows: passed over.
    Aside,
}

/// One part of an answer.
enum Part {
    Value(Value),
    Error(String),
    Begin(Kind, usize),
}

/// Reads one answer.
pub async fn read(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<Answer, RespError> {
    let mut budget = MAX_ANSWER;
    let mut open: Vec<Open> = Vec::new();
    loop {
        let mut value = match part(stream, &mut budget).await? {
            Part::Begin(kind, left) if left > 0 => {
                if open.len() >= MAX_DEPTH {
                    return Err(RespError::TooDeep);
                }
                open.push(Open { kind, left, items: Vec::new() });
                continue;
            }
            Part::Begin(Kind::List, _) => json!([]),
            Part::Begin(Kind::Map, _) => json!({}),
            Part::Begin(Kind::Aside, _) => continue,
            Part::Error(error) if open.is_empty() => return Ok(Err(error)),
            // within a list it is one answer among others
            Part::Error(error) => json!({ "error": error }),
            Part::Value(value) => value,
        };
        loop {
            let Some(mut last) = open.pop() else { return Ok(Ok(value)) };
            last.items.push(value);
            last.left -= 1;
            if last.left > 0 {
                open.push(last);
                break;
            }
            match last.kind {
                Kind::List => value = Value::Array(last.items),
                Kind::Map => value = map(last.items),
                Kind::Aside => break,
            }
        }
    }
}

fn map(items: Vec<Value>) -> Value {
    let mut map = Map::new();
    let mut items = items.into_iter();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        let key = match key {
            Value::String(key) => key,
            other => other.to_string(),
        };
        map.insert(key, value);
    }
    Value::Object(map)
}

async fn part(stream: &mut (impl AsyncBufRead + Unpin), budget: &mut usize) -> Result<Part, RespError> {
    let line = line(stream, budget).await?;
    let Some((kind, rest)) = line.split_at_checked(1) else {
        return Err(RespError::Garbled("an empty line".to_owned()));
    };
    Ok(match kind {
        // a text, or a number too large for one of ours
        "+" | "(" => Part::Value(rest.into()),
        "-" => Part::Error(rest.to_owned()),
        ":" => Part::Value(Value::Number(rest.parse::<i64>().map_err(|_| garbled(&line))?.into())),
        "_" => Part::Value(Value::Null),
        "#" => Part::Value(Value::Bool(rest == "t")),
        "," => {
            Part::Value(rest.parse::<f64>().ok().and_then(Number::from_f64).map_or_else(|| rest.into(), Value::Number))
        }
        "$" | "=" | "!" => match text(stream, rest, budget).await? {
            None => Part::Value(Value::Null),
            Some(text) if kind == "!" => Part::Error(text),
            // three letters say what kind of text it is
            Some(text) if kind == "=" => Part::Value(text.get(4..).unwrap_or_default().into()),
            Some(text) => Part::Value(text.into()),
        },
        "*" | "~" if rest == "-1" => Part::Value(Value::Null),
        "*" | "~" => Part::Begin(Kind::List, count(rest, &line)?),
        ">" => Part::Begin(Kind::Aside, count(rest, &line)?),
        "%" => Part::Begin(Kind::Map, count(rest, &line)?.saturating_mul(2)),
        "|" => Part::Begin(Kind::Aside, count(rest, &line)?.saturating_mul(2)),
        _ => return Err(garbled(&line)),
    })
}

fn count(text: &str, line: &str) -> Result<usize, RespError> {
    text.parse().map_err(|_| garbled(line))
}

async fn text(
    stream: &mut (impl AsyncBufRead + Unpin),
    length: &str,
    budget: &mut usize,
) -> Result<Option<String>, RespError> {
    if length == "-1" {
        return Ok(None);
    }
    let length: usize = length.parse().map_err(|_| garbled(length))?;
    *budget = budget.checked_sub(length.saturating_add(2)).ok_or(RespError::TooLarge)?;
    let mut bytes = vec![0; length + 2];
    stream.read_exact(&mut bytes).await?;
    if !bytes.ends_with(b"\r\n") {
        return Err(RespError::Garbled("a text is longer than it says".to_owned()));
    }
    bytes.truncate(length);
    Ok(Some(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }))
}

async fn line(stream: &mut (impl AsyncBufRead + Unpin), budget: &mut usize) -> Result<String, RespError> {
    let mut bytes = Vec::new();
    let most = MAX_LINE.min(*budget);
    let got = stream.take(most as u64).read_until(b'\n', &mut bytes).await?;
    *budget -= got;
    match bytes.strip_suffix(b"\r\n") {
        Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
        None if got == 0 && *budget > 0 => Err(RespError::Closed),
        None if got >= most => Err(RespError::TooLarge),
        None if bytes.ends_with(b"\n") => Err(garbled(&String::from_utf8_lossy(&bytes))),
        None => Err(RespError::Closed),
    }
}

fn garbled(line: &str) -> RespError {
    RespError::Garbled(format!("\"{}\"", line.chars().take(40).collect::<String>().escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(bytes: &str) -> Result<Answer, String> {
        read(&mut bytes.as_bytes()).await.map_err(|error| error.to_string())
    }

    #[test]
    fn a_command_is_a_list_of_texts_with_their_lengths() {
        let words = ["SET".to_owned(), "a b".to_owned(), "ü\r\n".to_owned(), String::new()];
        assert_eq!(encode(&words), "*4\r\n$3\r\nSET\r\n$3\r\na b\r\n$4\r\nü\r\n\r\n$0\r\n\r\n".as_bytes());
    }

    #[tokio::test]
    async fn answers_of_the_second_version_become_json() {
        for (bytes, expected) in [
            ("+PONG\r\n", json!("PONG")),
            (":-42\r\n", json!(-42)),
            ("$5\r\na\r\nbc\r\n", json!("a\r\nbc")),
            ("$-1\r\n", Value::Null),
            ("*-1\r\n", Value::Null),
            ("*0\r\n", json!([])),
            ("*3\r\n$6\r\nmaster\r\n:7\r\n*1\r\n*2\r\n+a\r\n$-1\r\n", json!(["master", 7, [["a", null]]])),
            ("*2\r\n+OK\r\n-ERR no\r\n", json!(["OK", { "error": "ERR no" }])),
        ] {
            assert_eq!(answer(bytes).await, Ok(Ok(expected)), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn answers_of_the_third_version_become_json() {
        for (bytes, expected) in [
            ("_\r\n", Value::Null),
            ("#t\r\n", json!(true)),
            (",1.5\r\n", json!(1.5)),
            (",inf\r\n", json!("inf")),
            ("(3492890328409238509324850943850943825024385\r\n", json!("3492890328409238509324850943850943825024385")),
            ("=7\r\ntxt:a:b\r\n", json!("a:b")),
            ("%2\r\n+a\r\n:1\r\n:2\r\n~1\r\n+x\r\n", json!({ "a": 1, "2": ["x"] })),
            (">2\r\n+invalidate\r\n*1\r\n+k\r\n|1\r\n+ttl\r\n:3\r\n+OK\r\n", json!("OK")),
        ] {
            assert_eq!(answer(bytes).await, Ok(Ok(expected)), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn an_error_is_told_in_the_servers_words() {
        assert_eq!(
            answer("-NOAUTH Authentication required.\r\n").await,
            Ok(Err("NOAUTH Authentication required.".into()))
        );
        assert_eq!(answer("!9\r\nERR a\r\nb!\r\n").await, Ok(Err("ERR a\r\nb!".into())));
    }

    #[tokio::test]
    async fn whoever_answers_nonsense_is_found_out_at_no_cost() {
        for (bytes, reason) in [
            ("", "the server closed the connection without an answer"),
            ("HTTP/1.1 400 Bad Request\r\n", "the answer is no RESP: \"HTTP/1.1 400 Bad Request\""),
            ("$99999999999\r\n", "the answer is larger than 4194304 bytes"),
            ("$x\r\n", "the answer is no RESP: \"x\""),
            ("$1\r\nabc\r\n", "the answer is no RESP: a text is longer than it says"),
            ("*1000000000\r\n:1\r\n", "the server closed the connection without an answer"),
            (&"*1\r\n".repeat(99), "the answer is nested deeper than 32 levels"),
            (&"x".repeat(99_999), "the answer is larger than 4194304 bytes"),
        ] {
            assert_eq!(answer(bytes).await, Err(reason.to_owned()), "{bytes:.40}");
        }
    }
}
