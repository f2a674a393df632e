//! The role's machine at work: feeds it with what happens, one thing after another, and has its orders carried out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::disk::DiskError;
use super::shared::{Input, Permission, Shared};
use super::{deeds, lease, mark, parked, peers, publish};
use crate::agent::init::boottime;
use crate::agent::init::protocol::{Op, Request, Status};
use crate::agent::init::state::Shown;
use crate::agent::role::{self, Event, Holder, Order, Process, State, Ticket};
use crate::lifecycle::Transfer;

/// How long PID 1 may take to move a fuse.
const FUSE_PATIENCE: Duration = Duration::from_secs(2);
/// Between two questions to a volume that does not answer.
const LOOK: Duration = Duration::from_millis(500);

struct Engine {
    shared: Arc<Shared>,
    state: State,
    permit: Option<Permit>,
    fuse: mpsc::UnboundedSender<Option<u64>>,
    tickets: BTreeMap<Ticket, oneshot::Sender<Result<(), String>>>,
    next_ticket: Ticket,
    exited: bool,
    told: String,
    /// Whether it is written down that the process was stopped for the role's sake.
    parked: bool,
}

/// A request for permission that waits.
struct Permit {
    id: u64,
    answer: Permission,
    preparing: Option<AbortHandle>,
}

pub async fn run(shared: Arc<Shared>, mut inbox: mpsc::UnboundedReceiver<Input>) {
    let place = shared.place();
    let data = match &place.config.data {
        Some(dir) => marked_at_last(&shared, dir).await,
        None => None,
    };
    let parked = parked::read(&shared.options.socket);
    let (fuse, orders) = mpsc::unbounded_channel();
    tokio::spawn(move_fuse(Arc::clone(&shared), orders));
    let mut engine = Engine {
        state: State::new(place.settings(), data, boottime()).resumed(parked),
        shared,
        permit: None,
        fuse,
        tickets: BTreeMap::new(),
        next_ticket: 1,
        exited: false,
        told: String::new(),
        parked,
    };
    while !engine.exited {
        let now = boottime();
        let wait = Duration::from_millis(engine.state.wake_at(now).saturating_sub(now));
        tokio::select! {
            input = inbox.recv() => match input {
                Some(input) => engine.hear(input).await,
                None => return,
            },
            () = sleep(wait), if engine.handed_out() => engine.feed(Event::Tick).await,
        }
    }
}

/// The term the data is from.
async fn marked(shared: &Shared, dir: &str) -> Result<Option<u64>, DiskError> {
    let path = PathBuf::from(dir);
    Ok(shared.disk.ask(move || mark::read(&path)).await?.unwrap_or_else(|error| {
        // better one pod too few that can take over than one with the wrong data
        tracing::error!(%error, "the mark cannot be read; this pod counts as empty");
        None
    }))
}

/// The same, however long the volume takes: a pod that counted as empty for good would keep others waiting for its data.
async fn marked_at_last(shared: &Shared, dir: &str) -> Option<u64> {
    let mut silent = false;
    loop {
        match marked(shared, dir).await {
            Ok(data) => return data,
            Err(_) if shared.is_stopping() => return None,
            Err(error) => {
                if !std::mem::replace(&mut silent, true) {
                    tracing::warn!(%error, "it is not known yet which term the data is from");
                }
                sleep(LOOK).await;
            }
        }
    }
}

/// Tells PID 1 about the fuse, in the order in which it was decided.
async fn move_fuse(shared: Arc<Shared>, mut orders: mpsc::UnboundedReceiver<Option<u64>>) {
    while let Some(at) = orders.recv().await {
        let mut request = Request::new(Op::Fuse);
        request.deadline = at;
        let deadline = Instant::now() + FUSE_PATIENCE;
        let done = shared.pid1.ask(&request, deadline).await.is_ok();
        shared.tell(Input::Role(Event::Fused { at, done }));
    }
}

impl Engine {
    fn handed_out(&self) -> bool {
        self.shared.place().handed_out()
    }

    async fn hear(&mut self, input: Input) {
        match input {
            Input::Role(Event::Stop) if !self.handed_out() => self.exited = true,
            Input::Role(event) => self.feed(event).await,
            Input::Permit { id, answer } => self.asked(id, answer).await,
            Input::PermitGone { id } => {
                if self.permit.as_ref().is_some_and(|permit| permit.id == id) {
                    self.drop_permit();
                    self.feed(Event::Process(Process::Down)).await;
                }
            }
            Input::Prepared { id, result } => self.prepared(id, result).await,
            Input::Pid1 { status, permits } => self.process(&status, permits).await,
            Input::Pid1Gone { nobody } => {
                self.drop_permit();
                let gone = nobody && self.shared.is_stopping();
                self.feed(Event::Process(if gone { Process::Down } else { Process::Unknown })).await;
            }
            Input::Switchover { transfer: Transfer { target, force }, answer } => {
                let ticket = self.ticket(answer);
                self.feed(Event::Switchover { ticket, target, force }).await;
            }
            Input::Plea { plea, answer } => {
                if !self.handed_out() {
                    // whoever asked does not wait for the end of its patience
                    let _ = answer.send(Err("no exclusive role is handed out here".to_owned()));
                    return;
                }
                let ticket = self.ticket(answer);
                let holder = Holder { pod: plea.pod, uid: plea.uid };
                let duration = u64::try_from(plea.duration.as_millis()).unwrap_or(u64::MAX);
                self.feed(Event::Plea { ticket, holder, epoch: plea.epoch, duration }).await;
            }
            Input::Configured => self.feed(Event::Configured(self.shared.place().settings())).await,
        }
    }

    fn ticket(&mut self, answer: oneshot::Sender<Result<(), String>>) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.tickets.insert(ticket, answer);
        ticket
    }

    async fn asked(&mut self, id: u64, answer: Permission) {
        self.drop_permit();
        self.permit = Some(Permit { id, answer, preparing: None });
        if self.handed_out() {
            self.feed(Event::Process(Process::Asking)).await;
        } else {
            let place = self.shared.place();
            self.prepare(place.extras(None, false, None));
        }
    }

    fn drop_permit(&mut self) {
        if let Some(preparing) = self.permit.take().and_then(|permit| permit.preparing) {
            preparing.abort();
        }
    }

    /// Has the package prepare the start.
    fn prepare(&mut self, extras: serde_json::Map<String, serde_json::Value>) {
        let Some(permit) = &mut self.permit else { return };
        let (shared, id) = (Arc::clone(&self.shared), permit.id);
        let work = tokio::spawn(async move {
            let result = deeds::prepare(&shared, extras).await;
            shared.tell(Input::Prepared { id, result });
        });
        permit.preparing = Some(work.abort_handle());
    }

    async fn prepared(&mut self, id: u64, result: Result<bool, String>) {
        let Some(permit) = self.permit.take_if(|permit| permit.id == id) else { return };
        let (ok, told) = (result.is_ok(), *result.as_ref().unwrap_or(&false));
        if let Err(reason) = &result {
            tracing::warn!(reason, "the start of the process could not be prepared");
        }
        // somebody who has hung up meanwhile asks again
        let heard = permit.answer.send(result.map(drop)).is_ok();
        if self.handed_out() {
            let place = self.shared.place();
            if let Some(dir) = &place.config.data {
                let data = marked(&self.shared, dir).await;
                if data.is_err() {
                    self.mark_later(dir.clone());
                }
                // until it is known, the data counts as none
                self.feed(Event::Data(data.unwrap_or_default())).await;
            }
            self.feed(Event::Prepared { ok: ok && heard, told }).await;
        }
    }

    fn mark_later(&self, dir: String) {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let data = marked_at_last(&shared, &dir).await;
            if !shared.is_stopping() {
                shared.tell(Input::Role(Event::Data(data)));
            }
        });
    }

    async fn process(&mut self, status: &Status, permits: u64) {
        if permits != self.shared.permits() || self.permit.is_some() {
            // asked before a start was asked for: out of date
            return;
        }
        let process = match status.state {
            Shown::Running | Shown::Ready | Shown::Stopping => Process::Up,
            Shown::Stopped | Shown::Backoff | Shown::CrashLoop | Shown::Failed => Process::Down,
            // where no permission is needed, a start is not waited for
            Shown::Starting => return,
        };
        self.feed(Event::Process(process)).await;
    }

    async fn feed(&mut self, event: Event) {
        if !self.handed_out() {
            return;
        }
        let now = boottime();
        let (state, orders) = role::next(self.state.clone(), event, now);
        self.state = state;
        let summary = self.state.summary();
        if summary.reason != self.told {
            self.told.clone_from(&summary.reason);
            tracing::info!(holds = summary.holds, epoch = summary.epoch, "{}", summary.reason);
        }
        let was_vacant = self.shared.findings.borrow().summary.as_ref().is_some_and(|before| before.vacant);
        if summary.vacant != was_vacant {
            self.shared.vacant.send_replace(summary.vacant.then(Instant::now));
            // how far the data reaches decides now
            self.shared.role_changed.notify_one();
        }
        self.shared.find(|findings| findings.summary = Some(summary));
        self.note_parked();
        for order in orders {
            self.carry_out(order, now).await;
        }
    }

    /// Before anything is stopped, so that whoever goes on after this agent starts it again.
    fn note_parked(&mut self) {
        let parks = self.state.parks();
        if parks == self.parked {
            return;
        }
        match parked::write(&self.shared.options.socket, parks) {
            Ok(()) => self.parked = parks,
            Err(error) => tracing::error!(
                %error,
                "it cannot be written down whether the process is stopped for the role; should the agent end now, start \
                 the process by hand"
            ),
        }
    }

    async fn carry_out(&mut self, order: Order, now: role::Millis) {
        let shared = Arc::clone(&self.shared);
        match order {
            Order::Look => {
                tokio::spawn(async move { lease::look(&shared).await });
            }
            Order::Write { purpose, record, version } => {
                tracing::debug!(?purpose, ?record, "writes the lease");
                tokio::spawn(async move {
                    let result = lease::write(&shared, &record, version).await;
                    shared.tell(Input::Role(Event::Written { purpose, sent: now, result }));
                });
            }
            Order::Fuse { at } => {
                // ends together with the engine
                let _ = self.fuse.send(at);
            }
            Order::Grant(grant) => {
                let place = self.shared.place();
                let mut extras = match &grant {
                    role::Grant::Holder => place.extras(None, true, Some(&place.pod)),
                    role::Grant::Follower { primary } => place.extras(None, false, Some(primary)),
                };
                extras.insert("anew".to_owned(), self.state.anew().into());
                tracing::info!(?grant, "prepares the start of the process");
                self.prepare(extras);
            }
            Order::Do(deed) => {
                tracing::info!(?deed, "begins");
                tokio::spawn(async move {
                    let result = deeds::run(&shared, &deed).await;
                    match &result {
                        Ok(()) => tracing::info!(?deed, "done"),
                        Err(reason) => tracing::warn!(?deed, reason, "failed"),
                    }
                    shared.tell(Input::Role(Event::Did { deed, result }));
                    shared.role_changed.notify_one();
                });
            }
            Order::AskPeers => {
                tokio::spawn(async move {
                    let peers = peers::ask(&shared).await;
                    shared.tell(Input::Role(Event::Peers(peers)));
                });
            }
            Order::Plead { pods, epoch, duration } => {
                tokio::spawn(async move {
                    let by = peers::plead(&shared, &pods, epoch, Duration::from_millis(duration)).await;
                    shared.tell(Input::Role(Event::Promised { epoch, by }));
                });
            }
            Order::LookFor(pods) => {
                tokio::spawn(async move {
                    let gone = peers::gone(&shared, &pods).await;
                    shared.tell(Input::Role(Event::Gone(gone)));
                });
            }
            Order::ClearLabels => {
                tokio::spawn(async move { publish::clear_labels(&shared).await });
            }
            // goes out with the summary
            Order::Label(Some(role)) => tracing::info!(role, "has a confirmed role"),
            Order::Label(None) => tracing::info!("has no confirmed role"),
            Order::Remember(epoch) => self.remember(epoch).await,
            Order::Answer { ticket, result } => {
                if let Some(answer) = self.tickets.remove(&ticket) {
                    // whoever asked may wait no longer
                    let _ = answer.send(result);
                }
            }
            Order::Exit => self.exited = true,
        }
    }

    /// At once: what is told to others afterwards relies on it.
    async fn remember(&self, epoch: u64) {
        let Some(dir) = self.shared.place().config.data.clone() else { return };
        let path = PathBuf::from(dir);
        let error = match self.shared.disk.ask(move || mark::write(&path, epoch)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(error, "the mark cannot be written; after a restart this pod counts as out of date");
    }
}
