//! Results, events and log lines on their way to JavaScript: collected, and handed over with one wake of the event loop
//! for all that has come together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use napi::Env;
use napi::bindgen_prelude::{Either5, FnArgs, Function, Null, Undefined};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use tracing::Level;

use crate::engine::{Entries, Event, Observer, Operation, Outcome};
use crate::error::Error;
use crate::session::{Lifetime, Record};
use crate::telemetry::LogSink;

/// One value of a batch. Batches are flat arrays: an object for each result would cost more than the result.
pub type Cell = Either5<Undefined, Null, f64, String, Vec<String>>;

/// `deliver(results, notices)`.
///
/// `results` holds four values for each operation: its number, an error code or null, the value or the error's message,
/// and what is left of a session's life in milliseconds. `notices` holds four for each event or log line: its kind
/// (`event` or `log`), its name or level, and two values that depend on these.
type Batch = FnArgs<(Vec<Cell>, Vec<Cell>)>;
pub type Deliver<'a> = Function<'a, Batch, ()>;

/// A wake that does not keep the event loop alive.
type Waker = ThreadsafeFunction<(), (), Batch, napi::Status, false, true>;

pub struct Completions {
    waiting: Arc<Waiting>,
    waker: Waker,
}

#[derive(Default)]
struct Waiting {
    cells: Mutex<(Vec<Cell>, Vec<Cell>)>,
    /// Whether the event loop was woken for what is waiting.
    woken: AtomicBool,
}

impl Completions {
    pub fn new(deliver: &Deliver<'_>) -> napi::Result<Self> {
        let waiting = Arc::new(Waiting::default());
        let source = waiting.clone();
        let waker = deliver
            .build_threadsafe_function::<()>()
            .callee_handled::<false>()
            .weak::<true>()
            .build_callback(move |_| Ok(source.take().into()))?;
        Ok(Self { waiting, waker })
    }
}

impl Waiting {
    fn cells(&self) -> MutexGuard<'_, (Vec<Cell>, Vec<Cell>)> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> (Vec<Cell>, Vec<Cell>) {
        // Before the cells are taken: what comes after that wakes again.
        self.woken.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.cells())
    }
}

impl Observer for Completions {
    fn complete(&self, operation: Operation, outcome: Result<Outcome, Error>) {
        let [value, life] = match &outcome {
            Ok(outcome) => values(outcome),
            Err(error) => [text(&error.to_string()), Either5::A(())],
        };
        let code = outcome.err().map_or(Either5::B(Null), |error| text(error.code()));
        self.waiting.cells().0.extend([Either5::C(operation.into()), code, value, life]);
    }

    fn event(&self, event: Event) {
        let (name, [first, second]) = match event {
            Event::Connect => ("connect", nothing()),
            Event::Ready => ("ready", nothing()),
            Event::Fallback => ("fallback", nothing()),
            Event::Close => ("close", nothing()),
            Event::Reconnecting { attempt, delay_ms } => ("reconnecting", [number(attempt), count(delay_ms)]),
            Event::Recovered { replayed } => ("recovered", [count(replayed), Either5::A(())]),
            Event::Error(error) => ("error", [text(error.code()), text(&error.to_string())]),
        };
        self.waiting.cells().1.extend([text("event"), text(name), first, second]);
    }

    fn flush(&self) {
        if !self.waiting.woken.swap(true, Ordering::SeqCst) {
            let status = self.waker.call((), ThreadsafeFunctionCallMode::NonBlocking);
            if status != napi::Status::Ok {
                // The environment is going away, and everyone who waits with it.
                drop(self.waiting.take());
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
        self.waiting.cells().1.extend([text("log"), text(level), Either5::D(line), Either5::A(())]);
    }
}

/// What an outcome puts into a batch.
pub fn values(outcome: &Outcome) -> [Cell; 2] {
    match outcome {
        Outcome::Done => nothing(),
        Outcome::Session(None) | Outcome::Entries(None) => [Either5::B(Null), Either5::A(())],
        Outcome::Session(Some(Record { text: session, lifetime })) => [text(session), life(*lifetime)],
        Outcome::Count(number) => [count(*number), Either5::A(())],
        Outcome::State(state) => [text(state.as_str()), Either5::A(())],
        Outcome::Entries(Some(Entries::Ids(ids))) => {
            [Either5::E(ids.iter().map(|id| id.as_str().to_owned()).collect()), Either5::A(())]
        }
        Outcome::Entries(Some(Entries::Sessions(sessions))) => {
            let flat = sessions.iter().flat_map(|(id, text)| [id.as_str().to_owned(), text.to_string()]);
            [Either5::E(flat.collect()), Either5::A(())]
        }
    }
}

fn nothing() -> [Cell; 2] {
    [Either5::A(()), Either5::A(())]
}

fn text(text: &str) -> Cell {
    Either5::D(text.to_owned())
}

fn number(number: u32) -> Cell {
    Either5::C(number.into())
}

#[expect(clippy::cast_precision_loss, reason = "counts and milliseconds stay far below 2^53")]
fn count(count: u64) -> Cell {
    Either5::C(count as f64)
}

fn life(lifetime: Lifetime) -> Cell {
    lifetime.millis().map_or(Either5::B(Null), count)
}

/// Holds the event loop while someone waits for an answer, and only then.
pub struct Hold(Waker);

impl Hold {
    pub fn new(deliver: &Deliver<'_>) -> napi::Result<Self> {
        let never_called = deliver
            .build_threadsafe_function::<()>()
            .callee_handled::<false>()
            .weak::<true>()
            .build_callback(|_| Ok((Vec::new(), Vec::new()).into()))?;
        Ok(Self(never_called))
    }

    #[expect(deprecated, reason = "the replacement that the note names cannot hold and let go again")]
    pub fn set(&mut self, env: &Env, held: bool) -> napi::Result<()> {
        if held { self.0.refer(env) } else { self.0.unref(env) }
    }
}
