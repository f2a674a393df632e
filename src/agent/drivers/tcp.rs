//! A connection, with a line each way where the step wants it.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::tls::Tls;
use super::{Answer, DriverError, TcpCall, net};

/// Whatever a step asks for, no more is read.
const MOST: u32 = 64 * 1024;

pub async fn call(call: &TcpCall, tls: Option<&Tls>) -> Answer {
    let target = &call.target;
    if call.send.is_none() && call.read.is_none() {
        return net::connect(target).await.map(|_| Value::Null);
    }
    let broken = |error: std::io::Error| DriverError::new(format!("{target}: the connection broke: {error}"));
    let mut stream = net::open(target, tls).await?;
    if let Some(text) = &call.send {
        stream.write_all(text.as_bytes()).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
    }
    let Some(most) = call.read else { return Ok(Value::Null) };
    let mut line = Vec::new();
    BufReader::new(stream.take(u64::from(most.min(MOST)))).read_until(b'\n', &mut line).await.map_err(broken)?;
    if line.is_empty() {
        return Err(DriverError::new(format!("{target}: closed the connection without an answer")));
    }
    Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).into())
}
