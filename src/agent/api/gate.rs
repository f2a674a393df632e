//! What every request passes, over either protocol: who may ask what, the size and speed of its body, its deadline.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response, header};
use axum::response::IntoResponse as _;
use futures::StreamExt as _;
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::calls::{Caller, Calls};
use super::{Agent, Bounds, deadline, grpc, rest};
use crate::lifecycle::{Code, Peer, Problem};

/// What agents of the same instance may ask.
const FOR_SIBLINGS: [&str; 3] =
    ["/v1/status", "/midship.lifecycle.v1.Lifecycle/Status", "/midship.lifecycle.v1.Lifecycle/Promise"];

/// Requests to answers.
#[derive(Clone)]
pub struct Gate {
    grpc: Router,
    rest: Router,
    bounds: Arc<Bounds>,
}

impl Gate {
    pub fn new<A: Agent>(agent: Arc<A>, bounds: &Bounds) -> Self {
        let calls = Arc::new(Calls::new(agent, bounds.clone()));
        Self { grpc: grpc::routes(calls.clone()), rest: rest::routes(calls), bounds: Arc::new(bounds.clone()) }
    }

    pub async fn answer(&self, caller: Caller, request: Request<Body>) -> Response<Body> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_grpc = kind.is_some_and(|kind| kind.starts_with("application/grpc"));
        match self.admitted(caller, request, is_grpc).await {
            Ok(request) => {
                let routes = if is_grpc { &self.grpc } else { &self.rest };
                routes.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
            }
            Err(problem) if is_grpc => tonic::Status::from(problem).into_http(),
            Err(problem) => rest::refusal(&problem).into_response(),
        }
    }

    async fn admitted(
        &self,
        mut caller: Caller,
        request: Request<Body>,
        is_grpc: bool,
    ) -> Result<Request<Body>, Problem> {
        let path = request.uri().path();
        let allowed = match caller.peer {
            Some(Peer::Controller) => true,
            Some(Peer::Sibling) => FOR_SIBLINGS.contains(&path),
            None => false,
        };
        if !allowed {
            tracing::warn!(caller = &*caller.name, path, "refused");
            let hint = match caller.peer {
                Some(_) => "agents of the same instance may ask for the status alone",
                None => "only the controller and agents of the same instance are answered",
            };
            return Err(Problem::new(Code::Forbidden, format!("{} may not ask for {path}", caller.name)).hint(hint));
        }
        caller.waits = deadline::asked(request.headers(), is_grpc)?;
        let (mut head, body) = request.into_parts();
        let read = timeout(self.bounds.reading, self.whole(body));
        let body = read.await.unwrap_or_else(|_| {
            let time = self.bounds.reading.as_secs();
            Err(Problem::new(Code::BadRequest, format!("the body did not arrive within {time}s")))
        })?;
        head.extensions.insert(caller);
        Ok(Request::from_parts(head, Body::from(body)))
    }

    async fn whole(&self, body: Body) -> Result<Bytes, Problem> {
        let mut all = Vec::new();
        let mut parts = body.into_data_stream();
        while let Some(part) = parts.next().await {
            let part =
                part.map_err(|error| Problem::new(Code::BadRequest, format!("the body could not be read: {error}")))?;
            if all.len() + part.len() > self.bounds.body {
                return Err(Problem::new(Code::TooLarge, format!("the body has more than {} bytes", self.bounds.body)));
            }
            all.extend_from_slice(&part);
        }
        Ok(all.into())
    }
}
