//! Where the parts meet: one [`Engine`] per store.
//!
//! A call comes in with an operation number. Either the answer is known at once ([`Answer::Now`]), or it is queued
//! ([`Answer::Later`]) and comes through the [`Observer`], exactly once per operation. What is queued when the engine's
//! thread looks goes to Redis together, in the order of the calls.

mod batch;
mod contention;
mod life;
mod listing;
mod memory;
mod placement;
mod queue;
mod recovery;
mod replay;
mod serve;
mod ticket;
mod tracker;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use once_cell::sync::Lazy;
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;

use crate::clock::{Clock, Timestamp};
use crate::config::StoreConfig;
use crate::error::Error;
use crate::failover::State;
use crate::redis::{Identity, Keys, Request};
use crate::replica::{Found, Replica, Token};
use crate::session::{Record, SessionId};
use crate::stats::Stats;
use crate::telemetry::{self, LogSink};
use contention::Contended;
pub use listing::{Entries, Listing};
use queue::{Job, Queue, Task};
use recovery::Recovery;
use ticket::Tickets;

/// The number under which a caller waits for an answer.
pub type Operation = u32;

/// The number of an operation that nobody waits for: its outcome is of no interest.
pub const NOBODY: Operation = Operation::MAX;

/// Calls that came together. A call that could not be understood comes with the reason.
pub type Calls = Box<dyn ExactSizeIterator<Item = (Operation, Result<Request, Error>)> + Send>;

/// An answer at once, or one to wait for.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// This is it.
    Now(Outcome),
    /// It will come through the [`Observer`].
    Later,
}

/// What came of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// The session was written, and what JavaScript keeps of it has this version.
    Kept(u64),
    /// The session that was asked for, if there is one.
    Session(Option<Record>),
    /// A number of sessions.
    Count(u64),
    /// The next entries of a listing, `None` after the last.
    Entries(Option<Entries>),
    /// Who serves.
    State(State),
}

/// Something that a program may want to react to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A connection to Redis was made.
    Connect,
    /// Redis serves.
    Ready,
    /// A try to reach Redis failed; the next one, number `attempt`, comes after `delay_ms`.
    Reconnecting {
        /// Which try it will be, counted from 1.
        attempt: u32,
        /// Milliseconds until then.
        delay_ms: u64,
    },
    /// Memory serves, because Redis is away.
    Fallback,
    /// Redis is back and has all that changed meanwhile.
    Recovered {
        /// How many changes that were.
        replayed: u64,
    },
    /// A save was not made, because the session that it was made from is gone.
    Refused,
    /// Why Redis could not be reached, or was lost.
    Error(Error),
    /// The store is closed.
    Close,
}

/// Who is told of outcomes and events. Every method is called from the engine's threads and must not block.
pub trait Observer: LogSink {
    /// Operations that were answered [`Answer::Later`] have their outcomes.
    fn complete(&self, outcomes: &mut dyn Iterator<Item = (Operation, Result<Outcome, Error>)>);
    /// Something happened.
    fn event(&self, event: Event);
    /// Hand on what has come together since the last call.
    fn flush(&self);
}

/// One store's connection, table and tasks. The tasks end when it is dropped.
pub struct Engine {
    shared: Arc<Shared>,
    tasks: [AbortHandle; 2],
}

/// What the engine and its tasks have in common.
struct Shared {
    config: StoreConfig,
    keys: Keys,
    clock: Arc<dyn Clock>,
    replica: Arc<Replica>,
    queue: Queue,
    stats: Stats,
    contended: Contended,
    /// Reads that wait for the same read, which was under way.
    joined: Mutex<HashMap<Token, Vec<Operation>>>,
    /// It was said that scripts are forbidden.
    scripts_reported: AtomicBool,
    /// It was said that Redis does not tell of changes.
    tracking_reported: AtomicBool,
    /// It was said that Redis takes no writes.
    write_refusal_reported: AtomicBool,
    recovery: Mutex<Recovery>,
    /// What Redis calls the connection that was made last.
    former_connection: Mutex<Option<Identity>>,
    suspects: Mutex<HashMap<SessionId, u32>>,
    observer: Arc<dyn Observer>,
    /// Turns `tracing` events into the observer's log lines.
    subscriber: Dispatch,
}

/// One thread for all stores of the process: it waits for sockets, and has little else to do. It is never joined, so it
/// never delays the exit.
static RUNTIME: Lazy<Runtime> = Lazy::new(|| {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("meetabl-session")
        // One that was left is of no use any more: see `placement`.
        .thread_keep_alive(Duration::ZERO)
        .enable_all()
        .build()
        .expect("the system can start a thread, or Node.js could not have started")
});

impl Engine {
    /// Starts to connect, in the background.
    #[must_use]
    pub fn start(config: StoreConfig, clock: Arc<dyn Clock>, observer: Arc<dyn Observer>) -> Self {
        let subscriber = telemetry::dispatch(observer.clone());
        let max_stale = config.cache_max_stale.unwrap_or_default();
        let replica = Arc::new(Replica::new(clock.clone(), config.cache_max_bytes, max_stale, config.touch_window));
        let shared = Arc::new(Shared {
            keys: Keys::new(config.prefix.clone()),
            config,
            clock,
            replica: replica.clone(),
            queue: Queue::default(),
            stats: Stats::default(),
            contended: Contended::default(),
            joined: Mutex::default(),
            scripts_reported: AtomicBool::default(),
            tracking_reported: AtomicBool::default(),
            write_refusal_reported: AtomicBool::default(),
            recovery: Mutex::default(),
            former_connection: Mutex::default(),
            suspects: Mutex::default(),
            observer,
            subscriber: subscriber.clone(),
        });
        let serve = RUNTIME.spawn(run_to_the_end(shared.clone()).with_subscriber(subscriber));
        let sweep = RUNTIME.spawn(replica.sweep());
        Self { shared, tasks: [serve.abort_handle(), sweep.abort_handle()] }
    }

    /// What it was started with.
    #[must_use]
    pub fn config(&self) -> &StoreConfig {
        &self.shared.config
    }

    /// Who serves now.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.queue.state()
    }

    /// Its counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// The table of this process.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.shared.replica
    }

    /// The present moment, as deadlines have it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.now()
    }

    /// Does something with one session. The outcome of [`Request::Load`] is [`Outcome::Session`].
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::Full`].
    pub fn ask(&self, operation: Operation, request: Request) -> Result<Answer, Error> {
        let held_here = self.shared.replica.holds(request.id());
        match self.perform(operation, Task::Request(request.clone()), held_here)? {
            // Redis got it, and the table let go of it, between the two looks.
            Answer::Now(Outcome::Session(None)) if held_here => self.perform(operation, Task::Request(request), false),
            answer => Ok(answer),
        }
    }

    /// Does many such things, in their order. Every answer comes through the [`Observer`]. This is the cheap way while
    /// Redis serves: what the calls are is looked at on the engine's own thread.
    pub fn submit(&self, calls: Calls) {
        let shared = &self.shared;
        match shared.queue.push_calls(calls) {
            Ok(()) if shared.queue.state() == State::Degraded => shared.answer_queued(),
            Ok(()) => shared.queue.wake(),
            Err(calls) => {
                let refused = Tickets::all(calls.map(|(operation, _)| operation).collect(), shared.observer.clone());
                refused.answer(std::iter::repeat(Err(Error::Closed)));
            }
        }
    }

    /// What is known of a session without asking Redis: see [`Replica::find`].
    #[must_use]
    pub fn find(&self, id: &str, slot: u32, steady: f64) -> Found {
        let found = self.shared.replica.find(id, slot, steady);
        let stats = &self.shared.stats;
        if found != Found::Nothing {
            stats.gets.increment();
            stats.hits.increment();
        }
        found
    }

    /// Renews sessions that JavaScript keeps: see [`Replica::touch_kept`].
    pub fn touch_kept(&self, renewals: impl ExactSizeIterator<Item = (u32, u64, Option<Timestamp>)>) -> Vec<u32> {
        let count = renewals.len();
        let failed = self.shared.replica.touch_kept(renewals);
        let stats = &self.shared.stats;
        stats.touches.add((count - failed.len()) as u64);
        stats.coalesced_touches.add((count - failed.len()) as u64);
        failed
    }

    /// Renews a session. Nobody waits for it: Redis is told at once, or together with later renewals.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn touch(&self, id: SessionId, deadline: Option<Timestamp>) -> Result<(), Error> {
        let shared = &self.shared;
        let changed_here = shared.replica.holds(&id);
        if !changed_here && shared.queue.is_open() && shared.replica.touch_known(&id, deadline) {
            shared.stats.touches.increment();
            shared.stats.coalesced_touches.increment();
            return Ok(());
        }
        self.perform(NOBODY, Task::Request(Request::Touch(id, deadline)), changed_here).map(|_| ())
    }

    /// Counts the sessions under the prefix: [`Outcome::Count`].
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn length(&self, operation: Operation) -> Result<Answer, Error> {
        self.perform(operation, Task::Count, false)
    }

    /// Removes every session under the prefix, and nothing else.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn clear(&self, operation: Operation) -> Result<Answer, Error> {
        self.perform(operation, Task::Clear, false)
    }

    /// Reads the next entries of a listing: [`Outcome::Entries`].
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], and [`Error::Unavailable`] when Redis went away in the middle of it.
    pub fn next(&self, operation: Operation, listing: &Arc<Listing>) -> Result<Answer, Error> {
        self.perform(operation, Task::List(listing.clone()), false)
    }

    /// Waits until it is known who serves: [`Outcome::State`].
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn ready(&self, operation: Operation) -> Result<Answer, Error> {
        let decided = self.shared.queue.wait_until_decided(operation)?;
        Ok(decided.map_or(Answer::Later, |state| Answer::Now(Outcome::State(state))))
    }

    /// Finishes what is under way and lets go of Redis. Afterwards everything fails with [`Error::Closed`].
    #[must_use]
    pub fn close(&self, operation: Operation) -> Answer {
        if self.shared.queue.close(operation) { Answer::Later } else { Answer::Now(Outcome::Done) }
    }

    /// Takes note of a text that was read and turned out to be no session.
    pub fn report_unreadable(&self, id: &SessionId, reason: &str) {
        tracing::dispatcher::with_default(&self.shared.subscriber, || self.shared.report_unreadable(id, reason));
        self.shared.observer.flush();
    }

    fn perform(&self, operation: Operation, task: Task, here: bool) -> Result<Answer, Error> {
        let shared = &self.shared;
        match shared.queue.push(operation, task, here)? {
            None => {
                shared.queue.wake();
                Ok(Answer::Later)
            }
            Some(Job { operation, sequence, task: Task::Request(Request::Save(id, save)) })
                if shared.replica.would_merge(&id, &save) =>
            {
                let (ticket, shared) = (Tickets::one(operation, shared.observer.clone()), shared.clone());
                RUNTIME.spawn(async move {
                    let request = Request::Save(id, save);
                    ticket.answer(std::iter::once(shared.answer_request_from_memory(&request, sequence)));
                });
                Ok(Answer::Later)
            }
            Some(job) => shared.answer_from_memory(&job).map(Answer::Now),
        }
    }
}

/// Runs a store. Should that panic, the store is closed: whoever calls is told, and nobody waits for ever.
async fn run_to_the_end(shared: Arc<Shared>) {
    if AssertUnwindSafe(life::run(shared.clone())).catch_unwind().await.is_err() {
        tracing::error!(
            "The session store failed and is closed. This is a defect of meetabl-session: please report it."
        );
        shared.end();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for Shared {
    /// Nobody works on what is still queued: it is refused.
    fn drop(&mut self) {
        let queued = self.queue.take().map(|job| job.operation);
        let joined = std::mem::take(&mut *self.joined()).into_values().flatten();
        let unanswered = queued.chain(joined).collect();
        drop(Tickets::all(unanswered, self.observer.clone()));
    }
}

impl Shared {
    fn count(&self, request: &Request) {
        match request {
            Request::Load(_) | Request::LoadText(_) => &self.stats.gets,
            Request::Save(..) => &self.stats.sets,
            Request::Touch(..) => &self.stats.touches,
            Request::Destroy(_) | Request::Bury(_) => &self.stats.destroys,
        }
        .increment();
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn report_unreadable(&self, id: &SessionId, reason: &str) {
        self.stats.corrupt.increment();
        tracing::warn!(
            "A session in Redis cannot be read and counts as missing: {reason}. \
             Its key is left for inspection. session={}",
            telemetry::log_name(id)
        );
    }
}
