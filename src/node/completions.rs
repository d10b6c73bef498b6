//! Results, events and log lines on their way to JavaScript: collected, and handed over with one wake of the event loop
//! for all that has come together.
//!
//! Crossing costs more than most results are worth, so a batch crosses as three values, whatever its size: numbers in
//! one typed array, texts joined to one string, and what is rare in an ordinary array.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use napi::Env;
use napi::bindgen_prelude::{Either3, Float64ArraySlice, FnArgs, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use tracing::Level;

use crate::engine::{Entries, Event, NOBODY, Observer, Operation, Outcome};
use crate::error::Error;
use crate::session::Lifetime;
use crate::telemetry::LogSink;

/// `deliver(numbers, texts, rare)`, as [`Batch`] has them.
type Arguments = FnArgs<(Float64ArraySlice<'static>, String, Vec<Rare>)>;
pub type Deliver<'a> = Function<'a, Arguments, ()>;

/// A wake that does not keep the event loop alive.
type Waker = ThreadsafeFunction<(), (), Arguments, napi::Status, false, true>;

/// Something that comes seldom enough to cross on its own.
pub type Rare = Either3<f64, String, Vec<String>>;

/// What a result is. Its place in this list is the number that crosses.
#[derive(Clone, Copy)]
enum Kind {
    /// In the place of the length: the version of a session that JavaScript keeps, else 0.
    Done,
    Nothing,
    /// The text is the next piece of `texts`.
    Text,
    /// The number stands in the place of the length.
    Number,
    /// The value is the next of `rare`.
    List,
    /// A code and a message are the next two of `rare`.
    Failure,
    /// Not a result: a name and two values are the next three of `rare`.
    Event,
    /// Not a result: a level and a line are the next two of `rare`.
    Log,
}

/// The longest text that crosses, in UTF-16 units: half of what V8 allows, because others may be in the batch before it.
const LONGEST: usize = 1 << 28;

/// A batch with more text than this takes nothing more.
const MUCH: usize = 8 << 20;

/// What has come together.
#[derive(Default)]
struct Batch {
    /// Four for each result: operation, [`Kind`], length of its text in UTF-16 units, and what is left of the session's
    /// life in milliseconds (infinite when it does not end).
    numbers: Vec<f64>,
    texts: String,
    rare: Vec<Rare>,
}

impl Batch {
    fn push(&mut self, operation: Operation, kind: Kind, length: f64, life: f64) {
        self.numbers.extend([operation.into(), f64::from(kind as u8), length, life]);
    }

    fn push_text(&mut self, operation: Operation, text: &str, life: f64) {
        let length = if text.is_ascii() { text.len() } else { text.encode_utf16().count() };
        if length > LONGEST {
            let error = Error::Redis("a session in it is longer than a string of JavaScript can be".to_owned());
            return self.push_failure(operation, &error);
        }
        self.texts.push_str(text);
        self.push(operation, Kind::Text, to_f64(length as u64), life);
    }

    fn push_outcome(&mut self, operation: Operation, outcome: Outcome) {
        match outcome {
            Outcome::Done => self.push(operation, Kind::Done, 0.0, 0.0),
            Outcome::Kept(version) => self.push(operation, Kind::Done, to_f64(version), 0.0),
            Outcome::Session(None) | Outcome::Entries(None) => self.push(operation, Kind::Nothing, 0.0, 0.0),
            Outcome::Session(Some(record)) => self.push_text(operation, &record.text, life(record.lifetime)),
            Outcome::Count(count) => self.push(operation, Kind::Number, to_f64(count), 0.0),
            Outcome::State(state) => self.push_text(operation, state.as_str(), 0.0),
            Outcome::Entries(Some(entries)) => {
                self.push(operation, Kind::List, 0.0, 0.0);
                self.rare.push(Either3::C(flat(entries)));
            }
        }
    }

    fn push_failure(&mut self, operation: Operation, error: &Error) {
        self.push_rare(operation, Kind::Failure, [text(error.code()), Either3::B(error.to_string())]);
    }

    fn push_rare<const N: usize>(&mut self, operation: Operation, kind: Kind, values: [Rare; N]) {
        self.push(operation, kind, 0.0, 0.0);
        self.rare.extend(values);
    }
}

pub struct Completions {
    waiting: Arc<Waiting>,
    /// `None` when nobody is there to be woken any more.
    waker: Mutex<Option<Waker>>,
}

#[derive(Default)]
struct Waiting(Mutex<Batches>);

/// Batches in order, the last of them growing.
#[derive(Default)]
struct Batches {
    all: VecDeque<Batch>,
    /// For how many of them the event loop was woken.
    announced: usize,
    /// Lengths of numbers and texts in the last batch that was taken: the next is likely to have as many.
    usual: (usize, usize),
}

impl Batches {
    /// The batch that takes the next result. One that has much to carry is left as it is: a string of JavaScript's has an
    /// end, and so has the patience of the event loop.
    fn growing(&mut self) -> &mut Batch {
        if self.all.back().is_none_or(|batch| batch.texts.len() > MUCH) {
            let (numbers, texts) = self.usual;
            self.all.push_back(Batch {
                numbers: Vec::with_capacity(numbers),
                texts: String::with_capacity(texts),
                rare: Vec::new(),
            });
        }
        let last = self.all.len() - 1;
        &mut self.all[last]
    }
}

impl Completions {
    pub fn new(deliver: &Deliver<'_>) -> napi::Result<Self> {
        let waiting = Arc::new(Waiting::default());
        let source = waiting.clone();
        let waker = deliver.build_threadsafe_function::<()>().callee_handled::<false>().weak::<true>().build_callback(
            move |call| {
                let Batch { numbers, texts, rare } = source.take();
                // A copy: an array on top of Rust's memory needs a finalizer, and costs more than a batch is worth.
                Ok((Float64ArraySlice::copy_from(&call.env, numbers)?, texts, rare).into())
            },
        )?;
        Ok(Self { waiting, waker: Mutex::new(Some(waker)) })
    }

    /// Lets go of the event loop. This has to happen on its thread: at the end of an environment the waker is torn down
    /// there, and the engine's thread must not be about to do the same.
    pub fn detach(&self) {
        drop(self.waker().take());
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn batches(&self) -> MutexGuard<'_, Batches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Batch {
        let mut batches = self.batches();
        batches.announced = batches.announced.saturating_sub(1);
        let batch = batches.all.pop_front().unwrap_or_default();
        batches.usual = (batch.numbers.len(), batch.texts.len().min(MUCH));
        batch
    }
}

impl Observer for Completions {
    fn complete(&self, outcomes: &mut dyn Iterator<Item = (Operation, Result<Outcome, Error>)>) {
        let mut batches = self.waiting.batches();
        for (operation, outcome) in outcomes.filter(|(operation, _)| *operation != NOBODY) {
            let batch = batches.growing();
            match outcome {
                Ok(outcome) => batch.push_outcome(operation, outcome),
                Err(error) => batch.push_failure(operation, &error),
            }
        }
    }

    fn event(&self, event: Event) {
        const NONE: Rare = Either3::A(0.0);
        let (name, first, second) = match event {
            Event::Connect => ("connect", NONE, NONE),
            Event::Ready => ("ready", NONE, NONE),
            Event::Fallback => ("fallback", NONE, NONE),
            Event::Close => ("close", NONE, NONE),
            Event::Refused => ("refused", NONE, NONE),
            Event::Reconnecting { attempt, delay_ms } => {
                ("reconnecting", Either3::A(attempt.into()), Either3::A(to_f64(delay_ms)))
            }
            Event::Recovered { replayed } => ("recovered", Either3::A(to_f64(replayed)), NONE),
            Event::Error(error) => ("error", text(error.code()), Either3::B(error.to_string())),
        };
        self.waiting.batches().growing().push_rare(0, Kind::Event, [text(name), first, second]);
    }

    fn flush(&self) {
        let unannounced = {
            let mut batches = self.waiting.batches();
            let all = batches.all.len();
            all - std::mem::replace(&mut batches.announced, all)
        };
        if let Some(waker) = &*self.waker() {
            for _ in 0..unannounced {
                // It only fails when the environment goes away, and everyone who waits with it.
                let _ = waker.call((), ThreadsafeFunctionCallMode::NonBlocking);
            }
        }
    }
}

impl LogSink for Completions {
    fn log(&self, level: Level, line: String) {
        let level = match level {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            _ => "debug",
        };
        self.waiting.batches().growing().push_rare(0, Kind::Log, [text(level), Either3::B(line)]);
    }
}

/// Milliseconds, infinite without end.
pub fn life(lifetime: Lifetime) -> f64 {
    lifetime.millis().map_or(f64::INFINITY, to_f64)
}

/// Ids, or ids and texts in turn.
pub fn flat(entries: Entries) -> Vec<String> {
    match entries {
        Entries::Ids(ids) => ids.into_iter().map(Into::into).collect(),
        Entries::Sessions(sessions) => sessions.into_iter().flat_map(|(id, text)| [id.into(), text]).collect(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts and milliseconds stay far below 2^53")]
pub fn to_f64(count: u64) -> f64 {
    count as f64
}

fn text(text: &str) -> Rare {
    Either3::B(text.to_owned())
}

/// Holds the event loop while someone waits for an answer, and only then.
pub struct Hold(Waker);

impl Hold {
    pub fn new(deliver: &Deliver<'_>) -> napi::Result<Self> {
        let never_called =
            deliver.build_threadsafe_function::<()>().callee_handled::<false>().weak::<true>().build_callback(
                |call| Ok((Float64ArraySlice::copy_from(&call.env, [])?, String::new(), Vec::new()).into()),
            )?;
        Ok(Self(never_called))
    }

    #[expect(deprecated, reason = "the replacement that the note names cannot hold and let go again")]
    pub fn set(&mut self, env: Env, held: bool) -> napi::Result<()> {
        if held { self.0.refer(&env) } else { self.0.unref(&env) }
    }
}
