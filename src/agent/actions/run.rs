//! Runs steps one after another: conditions, loops, tries, deadlines, and what they save.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep, timeout_at};

use super::error::{FailedStep, FailureKind};
use super::render;
use super::scope::Scope;
use crate::agent::drivers::{Drivers, Session};
use crate::extension::agent::AgentConfig;
pub use crate::extension::contract::action::ACTION_TIMEOUT;
use crate::extension::contract::{Action, Step};

const PAUSE: Duration = Duration::from_millis(500);
/// How much of an answer is shown to people.
const SHOWN: usize = 200;

/// Why steps did not succeed.
pub struct Failure {
    pub step: Option<FailedStep>,
    pub kind: FailureKind,
    pub reason: String,
}

impl Failure {
    pub fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self { step: None, kind, reason: reason.into() }
    }

    fn invalid(reason: impl ToString) -> Self {
        Self::new(FailureKind::Invalid, reason.to_string())
    }
}

/// When steps have to be done.
#[derive(Clone, Copy)]
pub struct Clock {
    until: Instant,
    /// Somebody named the time. Where nobody did, a step that names its own gets it.
    fixed: bool,
}

impl Clock {
    pub fn new(timeout: Option<Duration>, otherwise: Duration) -> Self {
        Self { until: Instant::now() + timeout.unwrap_or(otherwise), fixed: timeout.is_some() }
    }

    /// Within this one.
    #[must_use]
    pub fn within(self, timeout: Option<Duration>) -> Self {
        match timeout {
            None => self,
            Some(timeout) => {
                let own = Instant::now() + timeout;
                Self { until: if self.fixed { own.min(self.until) } else { own }, fixed: true }
            }
        }
    }
}

/// What steps run on.
pub struct Runner<'a> {
    pub config: &'a AgentConfig,
    pub drivers: &'a dyn Drivers,
    pub session: &'a Session,
}

/// What one try came to.
enum Tried {
    Done(Value),
    /// What is waited for does not hold yet.
    NotYet(String),
}

impl Runner<'_> {
    /// An action: nothing where its `when` does not hold. `stack` has the actions that run it, outermost first.
    pub fn action<'a>(
        &'a self,
        name: &'a str,
        action: &'a Action,
        scope: &'a Scope,
        clock: Clock,
        stack: Vec<&'a str>,
    ) -> BoxFuture<'a, Result<Option<Value>, Failure>> {
        async move {
            if stack.contains(&name) {
                let way = stack.iter().chain([&name]).copied().collect::<Vec<_>>().join(", then ");
                return Err(Failure::invalid(format!("it runs itself: {way}")));
            }
            if !scope.holds("when", action.when.as_deref()).map_err(Failure::invalid)? {
                return Ok(None);
            }
            let stack: Vec<&str> = stack.into_iter().chain([name]).collect();
            let mut left = action.retries.unwrap_or(0);
            loop {
                let tried = async {
                    let mut scope = scope.clone();
                    let clock = clock.within(action.timeout.map(|timeout| timeout.0));
                    self.steps(&action.steps, &mut scope, clock, &stack).await?;
                    results(&action.result, &scope)
                };
                match tried.await {
                    Ok(result) => return Ok(Some(result)),
                    Err(failure) if left == 0 || failure.kind == FailureKind::Invalid => return Err(failure),
                    Err(failure) => {
                        tracing::debug!(action = name, reason = failure.reason, "tried again");
                        left -= 1;
                        sleep(PAUSE).await;
                    }
                }
            }
        }
        .boxed()
    }

    /// Steps in order. What they save stays in the scope, and the last answer as `reply`.
    pub async fn steps(
        &self,
        steps: &[Step],
        scope: &mut Scope,
        mut clock: Clock,
        stack: &[&str],
    ) -> Result<(), Failure> {
        for (index, step) in steps.iter().enumerate() {
            let began = Instant::now();
            let done = self.step(step, scope, clock, stack).await;
            if step.timeout.is_some() && !clock.fixed {
                clock.until += began.elapsed();
            }
            match done {
                Ok(()) => {}
                // the error of an action it runs names the step there
                Err(failure) if failure.step.is_some() => return Err(failure),
                Err(failure) => {
                    let driver = step.uses().first().copied().unwrap_or("nothing");
                    let name = step.name.clone().unwrap_or_else(|| driver.to_owned());
                    return Err(Failure { step: Some(FailedStep { number: index + 1, name, driver }), ..failure });
                }
            }
        }
        Ok(())
    }

    async fn step(&self, step: &Step, scope: &mut Scope, clock: Clock, stack: &[&str]) -> Result<(), Failure> {
        if !scope.holds("when", step.when.as_deref()).map_err(Failure::invalid)? {
            scope.leave_empty(step.save.iter().chain(step.set.iter().flat_map(BTreeMap::keys)));
            return Ok(());
        }
        let clock = clock.within(step.timeout.map(|timeout| timeout.0));
        let answer = match &step.for_each {
            None => self.careful(step, scope, clock, stack).await?,
            Some(source) => {
                let items = match scope.value("forEach", source).map_err(Failure::invalid)? {
                    Value::Array(items) => items,
                    Value::Null => Vec::new(),
                    other => {
                        return Err(Failure::invalid(format!(
                            "forEach: \"{source}\" is no list but {}",
                            shown(&other)
                        )));
                    }
                };
                let mut answers = Vec::with_capacity(items.len());
                for item in items {
                    scope.set("item", &item);
                    answers.push(self.careful(step, scope, clock, stack).await?);
                }
                Value::Array(answers)
            }
        };
        scope.set("reply", &answer);
        if let Some(name) = &step.save {
            scope.set(name, &answer);
        }
        Ok(())
    }

    /// A step that may be allowed to fail.
    async fn careful(&self, step: &Step, scope: &mut Scope, clock: Clock, stack: &[&str]) -> Result<Value, Failure> {
        match self.tries(step, scope, clock, stack).await {
            Err(failure) if step.ignore_failure => {
                tracing::debug!(step = step.uses().first(), reason = failure.reason, "failed, as it may");
                Ok(Value::Null)
            }
            other => other,
        }
    }

    async fn tries(&self, step: &Step, scope: &mut Scope, clock: Clock, stack: &[&str]) -> Result<Value, Failure> {
        let every = step.every.map_or(PAUSE, |every| every.0);
        let mut left = step.retries.unwrap_or(0);
        let mut last = None;
        let timed_out = |last: Option<String>| {
            let reason = match last {
                Some(reason) => format!("took too long: {reason}"),
                None => "took too long".to_owned(),
            };
            Failure::new(FailureKind::TimedOut, reason)
        };
        loop {
            let once = self.once(step, scope, clock, stack);
            let Ok(tried) = timeout_at(clock.until, once).await else { return Err(timed_out(last)) };
            match tried {
                Ok(Tried::Done(answer)) => return Ok(answer),
                Ok(Tried::NotYet(reason)) => last = Some(reason),
                Err(failure) if step.until.is_some() && failure.kind == FailureKind::Failed => {
                    last = Some(failure.reason);
                }
                Err(failure) if left > 0 && failure.kind != FailureKind::Invalid => {
                    left -= 1;
                    last = Some(failure.reason);
                }
                Err(failure) => return Err(failure),
            }
            if Instant::now() + every >= clock.until {
                return Err(timed_out(last));
            }
            sleep(every).await;
        }
    }

    async fn once(&self, step: &Step, scope: &mut Scope, clock: Clock, stack: &[&str]) -> Result<Tried, Failure> {
        if let Some(variables) = &step.set {
            let mut values = Map::new();
            for (name, source) in variables {
                values.insert(name.clone(), scope.value(name, source).map_err(Failure::invalid)?);
            }
            for (name, value) in &values {
                scope.set(name, value);
            }
            return judge(step, scope, Value::Object(values), None);
        }
        if let Some(message) = &step.fail {
            let message = scope.text("fail", message).map_err(Failure::invalid)?;
            return Err(Failure::new(FailureKind::GivenUp, message));
        }
        if let Some(name) = &step.run {
            let action = self
                .config
                .action(name)
                .ok_or_else(|| Failure::invalid(format!("the component declares no action {name}")))?;
            let inner = self.action(name, action, scope, clock, stack.to_vec()).await;
            let answer = inner.map_err(|failure| Failure {
                // what fails in there is told with its own place
                step: None,
                reason: match &failure.step {
                    Some(at) => format!("{name}: step {} ({}): {}", at.number, at.name, failure.reason),
                    None => format!("{name}: {}", failure.reason),
                },
                kind: failure.kind,
            })?;
            return judge(step, scope, answer.unwrap_or_default(), None);
        }
        let call = render::call(step, scope, self.config).map_err(Failure::invalid)?;
        let call = call.ok_or_else(|| Failure::invalid("the step does nothing"))?;
        let driver = call.driver();
        let answer = self.drivers.call(self.session, call, clock.until).await;
        let answer = answer.map_err(|error| Failure::new(FailureKind::Failed, error.reason))?;
        let fault = fault(driver, &answer);
        judge(step, scope, answer, fault)
    }
}

/// Whether an answer is what the step expects or waits for. `fault` is what is wrong with it unless the step has an
/// opinion of its own.
fn judge(step: &Step, scope: &mut Scope, answer: Value, fault: Option<String>) -> Result<Tried, Failure> {
    scope.set("reply", &answer);
    let holds = |what: &str, source: &str| match scope.holds(what, Some(source)) {
        Ok(true) => None,
        Ok(false) => Some(format!("{source} does not hold; the answer was {}", shown(&answer))),
        Err(error) => Some(format!("{}; the answer was {}", error.reason, shown(&answer))),
    };
    let told = |reason: String| match &fault {
        Some(fault) => format!("{fault}; {reason}"),
        None => reason,
    };
    if let Some(reason) = step.expect.as_ref().and_then(|source| holds("expect", source)) {
        return Err(Failure::new(FailureKind::Failed, told(reason)));
    }
    if let Some(reason) = step.until.as_ref().and_then(|source| holds("until", source)) {
        return Ok(Tried::NotYet(told(reason)));
    }
    match fault {
        Some(fault) if step.expect.is_none() && step.until.is_none() => Err(Failure::new(FailureKind::Failed, fault)),
        _ => Ok(Tried::Done(answer)),
    }
}

/// The answer of an action, by name.
pub fn results<'a>(
    sources: impl IntoIterator<Item = (&'a String, &'a String)>,
    scope: &Scope,
) -> Result<Value, Failure> {
    let mut results = Map::new();
    for (name, source) in sources {
        let value = scope.value(&format!("result.{name}"), source).map_err(Failure::invalid)?;
        results.insert(name.clone(), value);
    }
    Ok(Value::Object(results))
}

/// What is wrong with an answer by the rules of its driver.
fn fault(driver: &str, answer: &Value) -> Option<String> {
    let last_line = |field: &str| {
        let text = answer[field].as_str().unwrap_or_default();
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
        if line.is_empty() { String::new() } else { format!(": {}", cut(line)) }
    };
    match driver {
        "exec" => {
            let code = answer["code"].as_i64().filter(|code| *code != 0)?;
            let said = Some(last_line("stderr")).filter(|said| !said.is_empty()).unwrap_or_else(|| last_line("stdout"));
            Some(format!("exited with code {code}{said}"))
        }
        "http" => {
            let status = answer["status"].as_u64().filter(|status| *status >= 400)?;
            Some(format!("answered {status}{}", last_line("body")))
        }
        _ => None,
    }
}

fn shown(value: &Value) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
