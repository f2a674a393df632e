//! The state machine of operations: from what is seen to the next status and to what is to be done now.

use jiff::Timestamp;

use super::deed::Planned;
use super::kinds::{self, Kind};
use super::waits::{Held, look};
use super::world::World;
use super::{is_end, is_finished, later, patience, read, report, rollback, written};
use crate::api::conditions::{RECONCILING, STALLED};
use crate::api::operation::{FailurePolicy, OperationPhase, OperationStatus, StepStatus};
use crate::api::values::Duration;

/// An instance that is asked about before it is there may come within this time: a push brings both.
const APPEARS: Duration = Duration(std::time::Duration::from_mins(1));
/// What is waited for without being told of is looked at so often.
const LOOK_AGAIN: Duration = Duration(std::time::Duration::from_secs(2));
/// Before a failed step is tried again, for each time it failed.
const RETRY: Duration = Duration(std::time::Duration::from_secs(2));
const LONGEST_RETRY: Duration = Duration(std::time::Duration::from_mins(1));
/// Steps an operation has at most: its status has to fit into an object.
const MOST_STEPS: usize = 2000;

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// To be written before anything is done.
    pub status: OperationStatus,
    /// To be done then, side by side; steps that were begun before are among them.
    pub run: Vec<Run>,
    /// When to look again, even if nothing changes.
    pub again: Option<Timestamp>,
}

/// A step to be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub index: usize,
    pub attempt: i32,
    pub planned: Planned,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done(Option<String>),
    /// It is under way, or nobody could be asked: to be asked again for the same.
    Goes(String),
    Failed {
        message: String,
        /// Trying again changes nothing.
        refused: bool,
    },
    /// A check said "not ready": somebody has to decide.
    NotReady {
        check: String,
        message: String,
    },
}

/// Decides.
pub fn next(world: &World<'_>) -> Decision {
    let mut status = world.status.clone();
    if is_finished(&status) {
        return Decision { status, run: Vec::new(), again: None };
    }
    status.observed_generation = world.operation.metadata.generation;
    let mut machine = Machine { world, status, run: Vec::new(), again: None };
    match kinds::of(world.spec().type_) {
        Some(kind) => {
            if machine.status.started_at.is_none() {
                machine.begin(kind);
            }
            if machine.status.started_at.is_some() && !is_finished(&machine.status) {
                machine.go_on(kind);
            }
        }
        None => machine.end(
            OperationPhase::Failed,
            format!(
                "operations of type {:?} are not carried out by this version of Midship; see CHANGELOG.md",
                world.spec().type_
            ),
        ),
    }
    report::complete(&mut machine.status, world);
    Decision { status: machine.status, run: machine.run, again: machine.again }
}

/// The status after a step was carried out.
pub fn ended(world: &World<'_>, before: &OperationStatus, run: &Run, outcome: Outcome) -> OperationStatus {
    let mut status = before.clone();
    let spec = world.spec();
    let same = status
        .steps
        .get(run.index)
        .is_some_and(|step| step.phase == OperationPhase::Running && step.attempts == run.attempt);
    if same && !is_finished(&status) {
        settle(&mut status.steps[run.index], &run.planned, outcome, spec, world.now);
        report::complete(&mut status, world);
    }
    status
}

/// A step that was carried out, or a wait that ended.
fn settle(
    step: &mut StepStatus,
    planned: &Planned,
    outcome: Outcome,
    spec: &crate::api::operation::OperationSpec,
    now: Timestamp,
) {
    let end = |step: &mut StepStatus, phase, message: Option<String>| {
        step.phase = phase;
        step.message = message;
        step.finished_at = Some(written(now));
    };
    match outcome {
        Outcome::Done(message) => end(step, OperationPhase::Succeeded, message),
        Outcome::Goes(message) => step.message = Some(message),
        Outcome::NotReady { check, message } if approved(spec, &[&check]) => {
            end(step, OperationPhase::Succeeded, Some(format!("{check} was passed over as approved: {message}")));
        }
        Outcome::NotReady { check, message } => {
            let advice = format!("{message}; add {check} to spec.approve to go on all the same, or cancel");
            end(step, OperationPhase::Paused, Some(advice));
        }
        Outcome::Failed { message, refused } => {
            let retries = planned.retries.or(spec.retries).unwrap_or(0);
            if !refused && step.attempts <= retries {
                end(step, OperationPhase::Pending, Some(format!("attempt {} failed: {message}", step.attempts)));
            } else if spec.on_failure == Some(FailurePolicy::Pause) {
                let word = planned.deed.pod().unwrap_or(&step.name);
                let advice = format!("{message}; add {word} to spec.approve to go on without this step, or cancel");
                end(step, OperationPhase::Paused, Some(advice));
            } else {
                end(step, OperationPhase::Failed, Some(message));
            }
        }
    }
}

fn approved(spec: &crate::api::operation::OperationSpec, words: &[&str]) -> bool {
    spec.approve.iter().flatten().any(|given| words.contains(&given.as_str()))
}

struct Machine<'a> {
    world: &'a World<'a>,
    status: OperationStatus,
    run: Vec<Run>,
    again: Option<Timestamp>,
}

impl Machine<'_> {
    fn look_at(&mut self, at: Timestamp) {
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }

    fn look_soon(&mut self) {
        self.look_at(later(self.world.now, LOOK_AGAIN));
    }

    fn end(&mut self, phase: OperationPhase, message: impl Into<String>) {
        let now = written(self.world.now);
        for step in self.status.steps.iter_mut().filter(|step| !is_end(step.phase)) {
            step.phase = OperationPhase::Cancelled;
            step.finished_at = Some(now.clone());
        }
        self.status.phase = Some(phase);
        self.status.message = Some(message.into());
        self.status.finished_at = Some(now);
        self.run.clear();
    }

    fn waits(&mut self, phase: OperationPhase, message: impl Into<String>) {
        self.status.phase = Some(phase);
        self.status.message = Some(message.into());
        self.look_soon();
    }

    /// From asked for to started, if nothing stands in its way.
    fn begin(&mut self, kind: &Kind) {
        let world = self.world;
        let spec = world.spec();
        let name = &spec.instance;
        if spec.cancel == Some(true) {
            return self.end(OperationPhase::Cancelled, "cancelled before it began");
        }
        let asked = world.operation.metadata.creation_timestamp.as_ref().map_or(world.now, |time| time.0);
        let patience = patience(spec);
        if world.now >= later(asked, patience) {
            let last = self.status.message.clone().unwrap_or_else(|| "nobody took it up".to_owned());
            return self.end(OperationPhase::Failed, format!("it did not begin within {patience}: {last}"));
        }
        self.look_at(later(asked, patience));
        if spec.suspend == Some(true) {
            return self.waits(OperationPhase::Paused, "suspended before it began");
        }
        let Some(instance) = world.instance else {
            let message = format!("there is no Instance {name} in this namespace");
            if world.now >= later(asked, APPEARS) {
                self.end(OperationPhase::Failed, message);
            } else {
                self.waits(OperationPhase::Pending, message);
            }
            return;
        };
        if instance.metadata.deletion_timestamp.is_some() {
            return self.end(OperationPhase::Failed, format!("Instance {name} is being deleted"));
        }
        if let Some(ahead) = &world.ahead {
            return self.waits(OperationPhase::Pending, format!("waits for Operation {ahead}: one at a time"));
        }
        if instance.spec.suspend == Some(true) {
            return self.waits(OperationPhase::Pending, format!("Instance {name} is suspended (spec.suspend)"));
        }
        if kind.after_changes && !world.instance_is_current() {
            return self.waits(OperationPhase::Pending, format!("Instance {name} was not looked at yet"));
        }
        if kind.after_changes && world.holds(RECONCILING) && !world.holds(STALLED) {
            let what = world.condition(RECONCILING).map(|it| it.message.clone()).unwrap_or_default();
            return self.waits(OperationPhase::Pending, format!("waits until Instance {name} is done: {what}"));
        }
        if (kind.needs_package)(spec) && world.package.is_none() {
            return self.waits(OperationPhase::Pending, "the extension of the instance is not ready");
        }
        if let Some(reason) = self.decided_elsewhere(kind) {
            return self.end(OperationPhase::Failed, reason);
        }
        match (kind.expand)(world) {
            Err(reason) => self.end(OperationPhase::Failed, reason),
            Ok(steps) if steps.len() > MOST_STEPS => {
                let message =
                    format!("it has {} steps, and {MOST_STEPS} are possible; narrow spec.target", steps.len());
                self.end(OperationPhase::Failed, message);
            }
            Ok(steps) => {
                self.status.steps = steps.iter().map(|planned| waiting(&planned.name)).collect();
                self.status.started_at = Some(written(world.now));
                self.status.phase = Some(OperationPhase::Running);
                self.status.message = None;
                self.again = None;
            }
        }
    }

    /// An instance that comes from Git is changed there.
    fn decided_elsewhere(&self, kind: &Kind) -> Option<String> {
        let world = self.world;
        let file = world.file()?;
        let change = (kind.change?)(world.spec(), &world.instance_spec()).ok()?;
        if change.shows(&world.instance_spec()) {
            return None;
        }
        Some(format!(
            "Instance {} comes from Git, and what its file says wins: change {} in {file}, and push it",
            world.spec().instance,
            change.fields_in_words()
        ))
    }

    fn go_on(&mut self, kind: &Kind) {
        let world = self.world;
        let spec = world.spec();
        if world.instance.is_none_or(|instance| instance.metadata.deletion_timestamp.is_some()) {
            return self.end(OperationPhase::Failed, format!("Instance {} was deleted meanwhile", spec.instance));
        }
        if (kind.needs_package)(spec) && world.package.is_none() {
            return self.waits(OperationPhase::Running, "the extension of the instance is not ready");
        }
        let Some(planned) = self.recall(kind) else { return };
        self.pass_over(&planned);
        loop {
            self.look_at_waits(&planned);
            self.time_out(&planned);
            if self.decide(&planned) || !self.begin_steps(&planned) {
                break;
            }
        }
        if is_finished(&self.status) {
            return;
        }
        let steps = self.status.steps.iter().enumerate();
        let running = steps.filter(|(_, step)| step.phase == OperationPhase::Running);
        self.run = running
            .filter(|(index, _)| !planned[*index].deed.only_waits())
            .map(|(index, step)| Run { index, attempt: step.attempts, planned: planned[index].clone() })
            .collect();
    }

    /// What each step does, from its name.
    fn recall(&mut self, kind: &Kind) -> Option<Vec<Planned>> {
        let mut all = Vec::with_capacity(self.status.steps.len());
        for (index, step) in self.status.steps.iter().enumerate() {
            let back = kind.change.and_then(|_| rollback::recall(&step.name, index));
            let known = back.or_else(|| (kind.recall)(self.world, &step.name));
            if let Some(planned) = known {
                all.push(planned);
            } else {
                let message = format!("it is not known any more what the step \"{}\" was to do", step.name);
                self.end(OperationPhase::Failed, message);
                return None;
            }
        }
        Some(all)
    }

    /// Steps that somebody wants to go on without.
    fn pass_over(&mut self, planned: &[Planned]) {
        let spec = self.world.spec();
        for (step, planned) in self.status.steps.iter_mut().zip(planned) {
            let words = [step.name.as_str(), planned.deed.pod().unwrap_or_default()];
            // the check itself is named in the message it left
            let named = step.message.as_deref().is_some_and(|message| {
                spec.approve.iter().flatten().any(|word| message.contains(&format!("add {word} to spec.approve")))
            });
            if step.phase == OperationPhase::Paused && (named || approved(spec, &words)) {
                step.phase = OperationPhase::Succeeded;
                step.message = Some("passed over, as approved".to_owned());
            }
        }
    }

    fn look_at_waits(&mut self, planned: &[Planned]) {
        let world = self.world;
        for (index, planned) in planned.iter().enumerate() {
            let step = &self.status.steps[index];
            if step.phase != OperationPhase::Running || !planned.deed.only_waits() {
                continue;
            }
            let outcome = match look(world, &planned.deed, read(step.started_at.as_ref()).unwrap_or(world.now)) {
                Held::Yes => Outcome::Done(None),
                Held::Never(message) => Outcome::Failed { message, refused: true },
                Held::NotYet { message, until } => {
                    match until {
                        Some(until) => self.look_at(until),
                        None => self.look_soon(),
                    }
                    Outcome::Goes(message)
                }
            };
            settle(&mut self.status.steps[index], planned, outcome, world.spec(), world.now);
        }
    }

    /// Steps that took too long.
    fn time_out(&mut self, planned: &[Planned]) {
        let world = self.world;
        for (step, planned) in self.status.steps.iter_mut().zip(planned) {
            let (Some(timeout), Some(begun)) = (planned.timeout, read(step.started_at.as_ref())) else { continue };
            if step.phase != OperationPhase::Running {
                continue;
            }
            let ends = later(begun, timeout);
            if world.now >= ends {
                let last = step.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
                let message = format!("it did not end within {timeout}{last}{}", planned.deed.way_out());
                settle(step, planned, Outcome::Failed { message, refused: false }, world.spec(), world.now);
            } else {
                self.again = Some(self.again.map_or(ends, |again| again.min(ends)));
            }
        }
    }

    /// What ends or holds it. True where no step begins.
    fn decide(&mut self, planned: &[Planned]) -> bool {
        let world = self.world;
        let spec = world.spec();
        let first_back = rollback::first(&self.status);
        let back = first_back.is_some();
        let timeout = patience(spec);
        let begun = read(self.status.started_at.as_ref()).unwrap_or(world.now);
        let patience = if back { Duration(timeout.0.saturating_mul(2)) } else { timeout };
        if world.now >= later(begun, patience) {
            let doing = report::doing(&self.status);
            let now = written(world.now);
            for step in self.status.steps.iter_mut().filter(|step| step.phase == OperationPhase::Running) {
                step.phase = OperationPhase::Failed;
                step.finished_at = Some(now.clone());
            }
            let message = format!("it did not end within {patience}: {doing}");
            return self.fail(back, message);
        }
        self.look_at(later(begun, patience));
        let running = |status: &OperationStatus, calls: bool| {
            let steps = status.steps.iter().zip(planned);
            steps
                .filter(|(step, _)| step.phase == OperationPhase::Running)
                .any(|(_, planned)| !calls || !planned.deed.only_waits())
        };
        if spec.cancel == Some(true) && !back && !kinds::goes_to_its_end(spec.type_, &self.status) {
            if running(&self.status, true) {
                self.status.message = Some("it is cancelled once the step that runs has ended".to_owned());
            } else {
                self.cancel();
            }
            return true;
        }
        let failed =
            self.status.steps.iter().skip(first_back.unwrap_or(0)).find(|step| step.phase == OperationPhase::Failed);
        if let Some(failed) = failed
            && spec.on_failure != Some(FailurePolicy::Continue)
        {
            let message = format!("{}: {}", failed.name, failed.message.clone().unwrap_or_default());
            if !running(&self.status, false) {
                return self.fail(back, message);
            }
            return true;
        }
        if self.status.steps.iter().all(|step| is_end(step.phase)) {
            self.conclude(back);
            return true;
        }
        let paused = self.status.steps.iter().find(|step| step.phase == OperationPhase::Paused);
        if let Some(paused) = paused {
            let message = format!("{}: {}", paused.name, paused.message.clone().unwrap_or_default());
            self.status.phase = Some(OperationPhase::Paused);
            self.status.message = Some(message);
            return true;
        }
        if spec.suspend == Some(true) && !back {
            self.status.phase = Some(OperationPhase::Paused);
            self.status.message = Some("suspended; it goes on when spec.suspend is false".to_owned());
            return true;
        }
        self.status.phase = Some(OperationPhase::Running);
        self.status.message = None;
        false
    }

    /// It ends where it is, once what was only stopped for it runs again.
    fn cancel(&mut self) {
        let resume = kinds::resume(self.world.spec().type_, &self.status);
        if !resume.is_empty() {
            rollback::resume(&mut self.status, &resume, "cancelled", self.world.now);
            return self.look_at(self.world.now);
        }
        let failed = self.status.steps.iter().find(|step| step.phase == OperationPhase::Failed);
        let failed = failed.map(|step| format!("{}: {}; ", step.name, step.message.clone().unwrap_or_default()));
        let message = format!("cancelled; {}what was done stays", failed.unwrap_or_default());
        self.end(OperationPhase::Cancelled, message);
    }

    /// Nothing more is done, or what was done is taken back. True where it has ended.
    fn fail(&mut self, back: bool, message: String) -> bool {
        if back {
            let (_, told) = rollback::told(&self.status);
            self.end(OperationPhase::Failed, format!("{message}; and {told}"));
            return true;
        }
        let resume = kinds::resume(self.world.spec().type_, &self.status);
        if !resume.is_empty() {
            rollback::resume(&mut self.status, &resume, &message, self.world.now);
            self.look_at(self.world.now);
            return true;
        }
        if self.world.spec().on_failure != Some(FailurePolicy::Rollback) {
            self.end(OperationPhase::Failed, message);
            return true;
        }
        if rollback::begin(&mut self.status, &message, self.world.now) {
            // its steps are planned with the next look
            self.look_at(self.world.now);
        } else {
            self.end(OperationPhase::Failed, format!("{message}; there was nothing to take back"));
        }
        true
    }

    fn conclude(&mut self, back: bool) {
        if back {
            let why = rollback::why(&self.status);
            let (told, _) = rollback::told(&self.status);
            if self.world.spec().cancel == Some(true) && !rollback::changes(&self.status) {
                return self.end(OperationPhase::Cancelled, format!("cancelled; {told}"));
            }
            return self.end(OperationPhase::Failed, format!("{why}; {told}"));
        }
        let all = self.status.steps.len();
        let failed: Vec<&StepStatus> =
            self.status.steps.iter().filter(|step| step.phase == OperationPhase::Failed).collect();
        if let Some(first) = failed.first() {
            let message = first.message.clone().unwrap_or_default();
            let message = format!("{} of {all} steps failed, first {}: {message}", failed.len(), first.name);
            return self.end(OperationPhase::Failed, message);
        }
        let last = self.status.steps.iter().rev().find_map(|step| step.message.clone()).filter(|_| all == 1);
        let done = if all == 1 { "done".to_owned() } else { format!("all {all} steps are done") };
        self.end(OperationPhase::Succeeded, last.unwrap_or(done));
    }

    /// Begins what may begin now. True where something was begun that only waits.
    fn begin_steps(&mut self, planned: &[Planned]) -> bool {
        let now = self.world.now;
        let unfinished = |step: &StepStatus| !is_end(step.phase);
        let steps = self.status.steps.iter().zip(planned);
        let Some(stage) = steps.filter(|(step, _)| unfinished(step)).map(|(_, planned)| planned.stage).min() else {
            return false;
        };
        let members: Vec<usize> = (0..planned.len()).filter(|index| planned[*index].stage == stage).collect();
        let pace = planned[members[0]].pace;
        let mut before: Option<Timestamp> = None;
        for batch in members.chunks(pace.at_once) {
            let open: Vec<usize> =
                batch.iter().copied().filter(|index| unfinished(&self.status.steps[*index])).collect();
            if open.is_empty() {
                let ends = batch.iter().filter_map(|index| read(self.status.steps[*index].finished_at.as_ref()));
                before = ends.chain(before).max();
                continue;
            }
            let untouched = batch.iter().all(|index| self.status.steps[*index].attempts == 0);
            if let (Some(before), Some(interval), true) = (before, pace.interval, untouched) {
                let from = later(before, interval);
                if now < from {
                    self.status.message = Some(format!("pauses for {interval} before the next batch"));
                    self.look_at(from);
                    return false;
                }
            }
            let mut waits = false;
            for index in open {
                waits |= self.begin_step(index, now) && planned[index].deed.only_waits();
            }
            return waits;
        }
        false
    }

    fn begin_step(&mut self, index: usize, now: Timestamp) -> bool {
        let step = &mut self.status.steps[index];
        if step.phase != OperationPhase::Pending {
            return false;
        }
        if let Some(failed) = read(step.finished_at.as_ref()) {
            let tries = u32::try_from(step.attempts.max(1)).unwrap_or(1);
            let from = later(failed, Duration(RETRY.0.saturating_mul(tries).min(LONGEST_RETRY.0)));
            if now < from {
                self.look_at(from);
                return false;
            }
        }
        step.phase = OperationPhase::Running;
        step.attempts += 1;
        step.started_at = Some(written(now));
        step.finished_at = None;
        step.message = None;
        true
    }
}

/// A step before it begins.
pub(super) fn waiting(name: &str) -> StepStatus {
    StepStatus {
        name: name.to_owned(),
        phase: OperationPhase::Pending,
        attempts: 0,
        message: None,
        started_at: None,
        finished_at: None,
    }
}
