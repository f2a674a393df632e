//! HTTP requests, in the clear or with TLS, and their answers as JSON.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Method};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::tls::Tls;
use super::{Answer, DriverError, HttpCall};
use crate::agent::secrets::Secrets;

/// The largest answer.
const MAX_BODY: usize = 1024 * 1024;

/// A client; where TLS is on, one for each set of certificates.
pub fn client(tls: Option<&Tls>) -> Result<Client, DriverError> {
    let mut builder = Client::builder().no_proxy().redirect(Policy::none()).pool_idle_timeout(Duration::from_secs(30));
    if let Some(tls) = tls {
        builder = builder.tls_backend_preconfigured(tls.config()?);
    }
    builder.build().map_err(|error| DriverError::new(format!("cannot make requests: {}", causes(&error))))
}

pub async fn call(client: &Client, call: HttpCall, secrets: &Secrets, deadline: Instant) -> Answer {
    let scheme = if call.secure { "https" } else { "http" };
    let slash = if call.path.starts_with('/') { "" } else { "/" };
    let url = format!("{scheme}://{}{slash}{}", call.target, call.path);
    let method = Method::from_bytes(call.method.to_ascii_uppercase().as_bytes())
        .map_err(|_| DriverError::new(format!("\"{}\" is no HTTP method", call.method)))?;
    let mut request = client.request(method, &url).timeout(deadline.saturating_duration_since(Instant::now()));
    for (name, value) in &call.headers {
        request = request.header(name, value);
    }
    if call.login {
        let secret = |name: &str| secrets.get(name).map(|value| value.expose().to_owned());
        let name = secret("username").ok_or_else(|| DriverError::new("there is no name to log in with"))?;
        request = request.basic_auth(name, secret("password"));
    }
    match call.body {
        None => {}
        Some(Value::String(text)) => request = request.body(text),
        Some(other) => {
            if !call.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")) {
                request = request.header("content-type", "application/json");
            }
            request = request.body(other.to_string());
        }
    }
    let failed = |error: reqwest::Error| DriverError::new(format!("{url}: {}", causes(&error.without_url())));
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let headers: Map<String, Value> = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(DriverError::new(format!("{url}: the answer is larger than {MAX_BODY} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    let parsed: Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok(json!({ "status": status, "headers": headers, "body": String::from_utf8_lossy(&body), "json": parsed }))
}

/// An error with what caused it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
