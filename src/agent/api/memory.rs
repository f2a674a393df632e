//! Answers to calls with an idempotency key: the same key gets the same answer, while the call runs and for some time
//! after. Bounded in number, size and age.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::lifecycle::{Code, Problem};

/// How a call ended.
pub type Outcome = Result<Value, Problem>;
/// Whoever waits for it.
pub type Waiting = watch::Receiver<Option<Arc<Outcome>>>;

/// Keys are at most so long.
const LONGEST_KEY: usize = 128;

/// A caller's name for one call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    caller: String,
    text: String,
}

impl Key {
    /// Nothing where the caller gives none.
    pub fn parse(caller: &str, text: &str) -> Result<Option<Self>, Problem> {
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > LONGEST_KEY || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Problem::new(Code::BadRequest, "the idempotency key cannot be used")
                .hint(format!("use 1 to {LONGEST_KEY} letters, digits and signs, without spaces; a UUID does well")));
        }
        Ok(Some(Self { caller: caller.to_owned(), text: text.to_owned() }))
    }
}

#[derive(Clone)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    most: usize,
    bytes: usize,
    age: Duration,
}

#[derive(Default)]
struct State {
    known: HashMap<Key, Entry>,
    /// Those that have ended, oldest first.
    ended: VecDeque<(Key, Instant, usize)>,
    bytes: usize,
}

struct Entry {
    request: [u8; 32],
    answer: Waiting,
}

/// What a key turned out to be.
pub enum Found {
    /// The call has to be made; the ticket takes its outcome.
    New(Ticket, Waiting),
    /// The call was made, or is being made.
    Known(Waiting),
    /// The key stands for another call.
    Other,
}

impl Memory {
    pub fn new(most: usize, bytes: usize, age: Duration) -> Self {
        Self { state: Arc::default(), most, bytes, age }
    }

    /// `request` is everything that makes a call this call.
    pub fn find(&self, key: Option<&Key>, request: &str) -> Found {
        let (sender, answer) = watch::channel(None);
        let mut ticket = Ticket { memory: self.clone(), key: None, sender };
        let Some(key) = key else { return Found::New(ticket, answer) };
        let request = Sha256::digest(request).into();
        let mut state = self.lock();
        state.forget(|ended, _| ended.elapsed() >= self.age);
        if let Some(entry) = state.known.get(key) {
            return if entry.request == request { Found::Known(entry.answer.clone()) } else { Found::Other };
        }
        state.known.insert(key.clone(), Entry { request, answer: answer.clone() });
        ticket.key = Some(key.clone());
        Found::New(ticket, answer)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// From the oldest on, for as long as `is_old` says so.
    fn forget(&mut self, is_old: impl Fn(Instant, &Self) -> bool) {
        while let Some((_, ended, size)) = self.ended.front()
            && is_old(*ended, self)
        {
            self.bytes -= size;
            if let Some((key, ..)) = self.ended.pop_front() {
                self.known.remove(&key);
            }
        }
    }
}

/// The duty to say how a call ended. Dropped without, the call is as if it had never been asked for.
pub struct Ticket {
    memory: Memory,
    key: Option<Key>,
    sender: watch::Sender<Option<Arc<Outcome>>>,
}

impl Ticket {
    pub fn ended(mut self, outcome: Outcome) {
        // callers take it for a call that goes on, and ask again with the same key: then it is begun anew
        let passes = |code| matches!(code, Code::Timeout | Code::Unavailable);
        let forgotten = |problem: &Problem| problem.code.nothing_happened() || passes(problem.code);
        let remembered = !outcome.as_ref().is_err_and(forgotten);
        if remembered && let Some(key) = self.key.take() {
            let size = size_of(&key, &outcome);
            let Memory { most, bytes, .. } = self.memory;
            let mut state = self.memory.lock();
            state.ended.push_back((key, Instant::now(), size));
            state.bytes += size;
            state.forget(|_, state| state.ended.len() > most || state.bytes > bytes);
        }
        self.sender.send_replace(Some(Arc::new(outcome)));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.memory.lock().known.remove(&key);
        }
    }
}

fn size_of(key: &Key, outcome: &Outcome) -> usize {
    let answer = match outcome {
        Ok(value) => value.to_string().len(),
        Err(problem) => problem.message.len() + problem.hint.as_ref().map_or(0, String::len),
    };
    2 * (key.caller.len() + key.text.len()) + answer + 256
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(text: &str) -> Option<Key> {
        Key::parse("somebody", text).unwrap()
    }

    #[track_caller]
    fn new(memory: &Memory, text: &str, request: &str) -> Ticket {
        match memory.find(key(text).as_ref(), request) {
            Found::New(ticket, _) => ticket,
            _ => panic!("{text} is known"),
        }
    }

    #[track_caller]
    fn known(memory: &Memory, text: &str, request: &str) -> Option<Outcome> {
        match memory.find(key(text).as_ref(), request) {
            Found::Known(answer) => answer.borrow().as_ref().map(|outcome| outcome.as_ref().clone()),
            _ => panic!("{text} is not known"),
        }
    }

    #[test]
    fn the_same_key_gets_the_same_answer_and_belongs_to_one_request() {
        let memory = Memory::new(8, 1 << 20, Duration::from_mins(1));
        let ticket = new(&memory, "a", "stop");
        assert_eq!(known(&memory, "a", "stop"), None, "it still runs");
        ticket.ended(Ok(json!(1)));
        assert_eq!(known(&memory, "a", "stop"), Some(Ok(json!(1))));
        assert!(matches!(memory.find(key("a").as_ref(), "start"), Found::Other));
        let other = Key::parse("somebody-else", "a").unwrap();
        assert!(matches!(memory.find(other.as_ref(), "start"), Found::New(..)), "keys belong to their caller");
    }

    #[test]
    fn failures_are_remembered_but_not_that_nothing_was_done() {
        let memory = Memory::new(8, 1 << 20, Duration::from_mins(1));
        let failed: Outcome = Err(Problem::new(Code::Failed, "it broke"));
        new(&memory, "a", "x").ended(failed.clone());
        assert_eq!(known(&memory, "a", "x"), Some(failed));
        new(&memory, "b", "x").ended(Err(Problem::new(Code::Busy, "later")));
        new(&memory, "b", "x").ended(Err(Problem::new(Code::Timeout, "PID 1 did not answer in time")));
        new(&memory, "b", "x").ended(Err(Problem::new(Code::Unavailable, "PID 1 does not answer")));
        new(&memory, "b", "x").ended(Ok(json!(1)));
        assert_eq!(known(&memory, "b", "x"), Some(Ok(json!(1))));
        drop(new(&memory, "c", "x"));
        drop(new(&memory, "c", "x"));
    }

    #[test]
    fn memory_stays_within_its_bounds() {
        let memory = Memory::new(4, 4000, Duration::from_mins(1));
        for number in 0..100 {
            new(&memory, &format!("k{number}"), "x").ended(Ok(json!(number)));
        }
        assert_eq!(memory.lock().known.len(), 4);
        assert_eq!(known(&memory, "k99", "x"), Some(Ok(json!(99))));
        new(&memory, "large", "x").ended(Ok(json!("y".repeat(5000))));
        assert_eq!(memory.lock().known.len(), 0, "one that is too large is not kept at all");
        assert_eq!(memory.lock().bytes, 0);
        for number in 0..100 {
            new(&memory, "", &number.to_string()).ended(Ok(json!(number)));
        }
        assert_eq!(memory.lock().known.len(), 0, "without a key nothing is kept");
        let brief = Memory::new(4, 4000, Duration::ZERO);
        new(&brief, "a", "x").ended(Ok(json!(1)));
        new(&brief, "a", "y").ended(Ok(json!(2)));
    }

    #[test]
    fn keys_are_short_and_printable() {
        assert!(Key::parse("a", &"x".repeat(128)).is_ok());
        for text in [&"x".repeat(129), "a b", "a\n", "ä"] {
            assert_eq!(Key::parse("a", text).unwrap_err().code, Code::BadRequest);
        }
    }
}
