//! The API over gRPC: `lifecycle.proto`, answered by the same calls as REST.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::{Stream, stream};
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::Agent;
use super::calls::{Answer, Caller, Calls};
use crate::lifecycle::backup::{BackupOrder, JobProgress, RestoreOrder};
use crate::lifecycle::backup_messages::archive_order;
use crate::lifecycle::messages::{from_struct, to_struct};
use crate::lifecycle::proto::lifecycle_server::{Lifecycle, LifecycleServer};
use crate::lifecycle::proto::{
    ArchiveReply, ArchiveRequest, BackupRequest, CallReply, CallRequest, CancelBackupRequest, CapabilitiesReply,
    CapabilitiesRequest, EventsRequest, HealthReply, HealthRequest, ProcessReply, ProcessRequest, PromiseReply,
    PromiseRequest, ProveReply, ProveRequest, RestoreRequest, StatusReply, StatusRequest, SwitchoverReply,
    SwitchoverRequest,
};
use crate::lifecycle::{self, Code, Order, Problem, Promised, Task, Transfer, proto};

pub fn routes<A: Agent>(calls: Arc<Calls<A>>) -> Router {
    Routes::new(LifecycleServer::new(Server(calls))).into_axum_router()
}

struct Server<A>(Arc<Calls<A>>);

#[tonic::async_trait]
impl<A: Agent> Lifecycle for Server<A> {
    type EventsStream = Pin<Box<dyn Stream<Item = Result<StatusReply, Status>> + Send>>;
    type BackupStream = Jobs;
    type RestoreStream = Jobs;

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let (caller, _) = parts(request)?;
        Ok(Response::new(self.0.status_for(&caller).await.into()))
    }

    async fn events(&self, _: Request<EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        let (mut changes, permit) = self.0.follow()?;
        // what is there already is the first event
        changes.mark_changed();
        let following = Following { changes, told: None, _place: permit };
        let next = async |mut following: Following| Some((Ok(following.next().await?.into()), following));
        Ok(Response::new(Box::pin(stream::unfold(following, next))))
    }

    async fn capabilities(&self, _: Request<CapabilitiesRequest>) -> Result<Response<CapabilitiesReply>, Status> {
        Ok(Response::new(self.0.capabilities().into()))
    }

    async fn health(&self, request: Request<HealthRequest>) -> Result<Response<HealthReply>, Status> {
        let (caller, _) = parts(request)?;
        Ok(Response::new(self.0.health(&caller).await?.into()))
    }

    async fn call(&self, request: Request<CallRequest>) -> Result<Response<CallReply>, Status> {
        let (caller, CallRequest { action, operation, parameters, idempotency_key }) = parts(request)?;
        let task = match (action.is_empty(), operation.is_empty()) {
            (false, true) => Task::Action(action),
            (true, false) => Task::Operation(operation),
            _ => return Err(Problem::new(Code::BadRequest, "name either an action or an operation").into()),
        };
        let parameters = parameters.map(from_struct).unwrap_or_default();
        let Answer { value, replayed } = self.0.run(&caller, &idempotency_key, task, parameters).await?;
        let ran = value.is_some();
        let result = value.and_then(|value| match value {
            Value::Null => None,
            Value::Object(map) => Some(map),
            other => Some(Map::from_iter([("value".to_owned(), other)])),
        });
        Ok(Response::new(CallReply { ran, result: result.map(to_struct), replayed }))
    }

    async fn start(&self, request: Request<ProcessRequest>) -> Result<Response<ProcessReply>, Status> {
        self.process(Order::Start, request).await
    }

    async fn stop(&self, request: Request<ProcessRequest>) -> Result<Response<ProcessReply>, Status> {
        self.process(Order::Stop, request).await
    }

    async fn restart(&self, request: Request<ProcessRequest>) -> Result<Response<ProcessReply>, Status> {
        self.process(Order::Restart, request).await
    }

    async fn reload(&self, request: Request<ProcessRequest>) -> Result<Response<ProcessReply>, Status> {
        self.process(Order::Reload, request).await
    }

    async fn switchover(&self, request: Request<SwitchoverRequest>) -> Result<Response<SwitchoverReply>, Status> {
        let (caller, SwitchoverRequest { target, idempotency_key, force }) = parts(request)?;
        let transfer = Transfer { target, force };
        let Answer { value, replayed } = self.0.switchover(&caller, &idempotency_key, transfer).await?;
        Ok(Response::new((value, replayed).into()))
    }

    async fn promise(&self, request: Request<PromiseRequest>) -> Result<Response<PromiseReply>, Status> {
        let (caller, plea) = parts(request)?;
        let Promised { pod } = self.0.promise(&caller, plea.into()).await?;
        Ok(Response::new(PromiseReply { pod }))
    }

    async fn backup(&self, request: Request<BackupRequest>) -> Result<Response<Jobs>, Status> {
        let (_, request) = parts(request)?;
        let order = BackupOrder::try_from(request)?;
        Ok(Response::new(jobs(self.0.backup(order).await?)))
    }

    async fn cancel_backup(
        &self,
        request: Request<CancelBackupRequest>,
    ) -> Result<Response<proto::JobProgress>, Status> {
        let (caller, CancelBackupRequest { job }) = parts(request)?;
        Ok(Response::new(self.0.cancel_backup(&caller, &job).await?.into()))
    }

    async fn archive(&self, request: Request<ArchiveRequest>) -> Result<Response<ArchiveReply>, Status> {
        let (caller, request) = parts(request)?;
        let order = archive_order(request)?;
        Ok(Response::new(self.0.archive(&caller, order).await?.into()))
    }

    async fn prove(&self, request: Request<ProveRequest>) -> Result<Response<ProveReply>, Status> {
        let (caller, ProveRequest {}) = parts(request)?;
        Ok(Response::new(ProveReply { ran: self.0.prove(&caller).await? }))
    }

    async fn restore(&self, request: Request<RestoreRequest>) -> Result<Response<Jobs>, Status> {
        let (_, request) = parts(request)?;
        let order = RestoreOrder::try_from(request)?;
        Ok(Response::new(jobs(self.0.restore(order).await?)))
    }
}

/// How a job goes, until it is over.
type Jobs = Pin<Box<dyn Stream<Item = Result<proto::JobProgress, Status>> + Send>>;

fn jobs((mut changes, place): (watch::Receiver<JobProgress>, OwnedSemaphorePermit)) -> Jobs {
    // how it is now is told first
    changes.mark_changed();
    let next = async |following: Option<(watch::Receiver<JobProgress>, OwnedSemaphorePermit)>| {
        let (mut changes, place) = following?;
        changes.changed().await.ok()?;
        let progress = changes.borrow_and_update().clone();
        let on = (!progress.state.is_over()).then_some((changes, place));
        Some((Ok(progress.into()), on))
    };
    Box::pin(stream::unfold(Some((changes, place)), next))
}

/// Somebody who follows the status.
struct Following {
    changes: watch::Receiver<Arc<lifecycle::Status>>,
    told: Option<lifecycle::Status>,
    _place: OwnedSemaphorePermit,
}

impl Following {
    /// The next status that is worth telling; nothing once the agent has ended.
    async fn next(&mut self) -> Option<lifecycle::Status> {
        loop {
            self.changes.changed().await.ok()?;
            let status = self.changes.borrow_and_update().as_ref().clone();
            let essence = status.without_progress();
            if self.told.as_ref() != Some(&essence) {
                self.told = Some(essence);
                return Some(status);
            }
        }
    }
}

impl<A: Agent> Server<A> {
    async fn process(&self, order: Order, request: Request<ProcessRequest>) -> Result<Response<ProcessReply>, Status> {
        let (caller, ProcessRequest { timeout_millis, idempotency_key }) = parts(request)?;
        let kill_after = timeout_millis.map(Duration::from_millis);
        let Answer { value, replayed } = self.0.process(&caller, &idempotency_key, order, kill_after).await?;
        Ok(Response::new((value, replayed).into()))
    }
}

fn parts<T>(request: Request<T>) -> Result<(Caller, T), Problem> {
    let (_, extensions, message) = request.into_parts();
    let caller = extensions.get::<Caller>().cloned();
    Ok((caller.ok_or_else(|| Problem::new(Code::Forbidden, "it is not known who asks"))?, message))
}
