//! The API over REST: JSON each way, and one form of error. `docs/agent-openapi.yaml` describes it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::Agent;
use super::calls::{Answer, Caller, Calls};
use crate::api::values;
use crate::lifecycle::{Code, KEY_HEADER, Order, Problem, REPLAYED_HEADER, Task, Transfer};

/// Every route, as the description has it.
pub const ROUTES: [(&str, &str); 10] = [
    ("get", "/v1/status"),
    ("get", "/v1/capabilities"),
    ("get", "/v1/health"),
    ("post", "/v1/actions/{name}"),
    ("post", "/v1/operations/{name}"),
    ("post", "/v1/process/start"),
    ("post", "/v1/process/stop"),
    ("post", "/v1/process/restart"),
    ("post", "/v1/process/reload"),
    ("post", "/v1/switchover"),
];

type Shared<A> = State<Arc<Calls<A>>>;

pub fn routes<A: Agent>(calls: Arc<Calls<A>>) -> Router {
    let mut router = Router::new();
    for (_, path) in ROUTES {
        router = router.route(path, handler::<A>(path));
    }
    router.fallback(unknown).method_not_allowed_fallback(wrong_method).with_state(calls)
}

fn handler<A: Agent>(path: &str) -> MethodRouter<Arc<Calls<A>>> {
    match path {
        "/v1/status" => get(async |State(calls): Shared<A>| Json(calls.status())),
        "/v1/capabilities" => get(async |State(calls): Shared<A>| Json(calls.capabilities())),
        "/v1/health" => get(health::<A>),
        "/v1/actions/{name}" => post(async |calls: Shared<A>, Path(name): Path<String>, request: Asked| {
            run(calls, Task::Action(name), request).await
        }),
        "/v1/operations/{name}" => post(async |calls: Shared<A>, Path(name): Path<String>, request: Asked| {
            run(calls, Task::Operation(name), request).await
        }),
        "/v1/switchover" => post(switchover::<A>),
        _ => {
            let order = Order::ALL.into_iter().find(|order| path.ends_with(order.name()));
            let order = order.expect("ROUTES has no other paths");
            post(async move |calls: Shared<A>, request: Asked| process(calls, order, request).await)
        }
    }
}

/// An error as everybody gets it.
pub fn refusal(problem: &Problem) -> impl IntoResponse + use<> {
    (problem.code.http(), Json(json!(problem)))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        refusal(&self).into_response()
    }
}

/// A request with a body.
struct Asked {
    caller: Caller,
    key: String,
    body: Bytes,
}

impl<S: Send + Sync> axum::extract::FromRequest<S> for Asked {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Problem> {
        let caller = request.extensions().get::<Caller>().cloned();
        let caller = caller.ok_or_else(|| Problem::new(Code::Forbidden, "it is not known who asks"))?;
        let key = key_of(request.headers())?;
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|error| Problem::new(Code::BadRequest, error.to_string()))?;
        Ok(Self { caller, key, body })
    }
}

fn key_of(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(key) = headers.get(KEY_HEADER) else { return Ok(String::new()) };
    match key.to_str() {
        Ok(key) if !key.is_empty() => Ok(key.to_owned()),
        _ => Err(Problem::new(Code::BadRequest, "the idempotency key is empty or has signs that cannot be printed")),
    }
}

impl Asked {
    /// The body as JSON; left out, it has no fields.
    fn fields<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let body: &[u8] = if self.body.trim_ascii().is_empty() { b"{}" } else { &self.body };
        // by way of a map: a list would be taken for the fields in order
        let fields = serde_json::from_slice::<Map<String, Value>>(body);
        fields.and_then(|fields| serde_json::from_value(fields.into())).map_err(|error| {
            Problem::new(Code::BadRequest, format!("the body cannot be understood: {error}"))
                .hint("docs/agent-openapi.yaml says what it may hold")
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunBody {
    #[serde(default)]
    parameters: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProcessBody {
    timeout: Option<values::Duration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchoverBody {
    target: Option<String>,
    #[serde(default)]
    force: bool,
}

async fn health<A: Agent>(State(calls): Shared<A>, Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    let health = calls.health(&caller).await?;
    if health.healthy {
        return Ok(Json(health).into_response());
    }
    // for scripts: an exit code is all they look at
    let mut body = json!(Problem::new(Code::Unhealthy, health.reason));
    if let Some(details) = health.details {
        body["details"] = details.into();
    }
    Ok((Code::Unhealthy.http(), Json(body)).into_response())
}

async fn run<A: Agent>(State(calls): Shared<A>, task: Task, asked: Asked) -> Result<Response, Problem> {
    let RunBody { parameters } = asked.fields()?;
    let Answer { value, replayed } = calls.run(&asked.caller, &asked.key, task, parameters).await?;
    let body = match value {
        None => json!({ "ran": false }),
        Some(Value::Null) => json!({ "ran": true }),
        Some(result) => json!({ "ran": true, "result": result }),
    };
    Ok(answer(body, replayed))
}

async fn process<A: Agent>(State(calls): Shared<A>, order: Order, asked: Asked) -> Result<Response, Problem> {
    let ProcessBody { timeout } = asked.fields()?;
    let kill_after: Option<Duration> = timeout.map(|time| time.0);
    let Answer { value, replayed } = calls.process(&asked.caller, &asked.key, order, kill_after).await?;
    Ok(answer(json!(value), replayed))
}

async fn switchover<A: Agent>(State(calls): Shared<A>, asked: Asked) -> Result<Response, Problem> {
    let SwitchoverBody { target, force } = asked.fields()?;
    let transfer = Transfer { target, force };
    let Answer { value, replayed } = calls.switchover(&asked.caller, &asked.key, transfer).await?;
    Ok(answer(json!(value), replayed))
}

fn answer(body: Value, replayed: bool) -> Response {
    let mut response = Json(body).into_response();
    if replayed {
        response.headers_mut().insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
    }
    response
}

async fn unknown(uri: Uri) -> Problem {
    let known: Vec<&str> = ROUTES.iter().map(|(_, path)| *path).collect();
    Problem::new(Code::NotFound, format!("there is nothing at {}", uri.path()))
        .hint(format!("there is {}", known.join(", ")))
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let other = if method == Method::GET || method == Method::HEAD { "POST" } else { "GET" };
    let problem = Problem::new(Code::MethodNotAllowed, format!("{} does not take {method}", uri.path()));
    let mut response = problem.hint(format!("use {other}")).into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(other));
    response
}
