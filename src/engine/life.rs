//! The life of a store: connect, serve, fall back, try again.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

use super::serve::{Ended, Service};
use super::ticket::Tickets;
use super::tracker::Tracker;
use super::{Event, Outcome, Shared};
use crate::config::Fallback;
use crate::error::Error;
use crate::failover::{Backoff, Happening, Life, State};
use crate::redis::{Connection, Identity};

const NO_THREAD: &str = "the attempt to connect failed inside, most likely because no thread could be started to look up \
                         its name. Expected room for one more: raise the limit of threads, or give its IP address";

/// Runs a store until it is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let (first, longest) = shared.config.reconnect;
    let mut life = Life::new(Backoff { first, longest });
    let mut close_by = None;
    loop {
        let trouble = tokio::select! {
            biased;
            () = shared.closing_with_nothing_to_write() => break,
            opened = AssertUnwindSafe(shared.open()).catch_unwind() => match opened {
                // To look up a name takes a thread, and tokio panics where none can be started.
                Err(_) => Error::Unavailable(NO_THREAD.to_owned()),
                Ok(Err(error)) => error,
                Ok(Ok(connection)) => {
                    life.next(Happening::Opened, shared.now(), 0.0);
                    match Service::new(shared.clone(), connection).run().await {
                        Ended::Closing => break,
                        Ended::Trouble { trouble, recovered } => {
                            if recovered {
                                life.next(Happening::Recovered, shared.now(), 0.0);
                            }
                            trouble.into()
                        }
                    }
                }
            },
        };
        let step = life.next(Happening::Failed, shared.now(), rand::random());
        shared.fall_back();
        if step.is_news {
            shared.warn_of_outage();
        }
        let (attempt, delay) = step.retry.unwrap_or_default();
        shared.announce(trouble, attempt, delay);
        tokio::select! {
            biased;
            () = shared.queue.closing(), if close_by.is_none() => {
                if shared.replica.is_empty() || !shared.queue.was_reached() {
                    break;
                }
                close_by = Some(Instant::now() + shared.config.close_timeout);
            }
            () = sleep(delay) => {}
        }
        if close_by.is_some_and(|close_by| Instant::now() >= close_by) {
            break;
        }
    }
    life.next(Happening::Closed, shared.now(), 0.0);
    shared.end();
}

impl Shared {
    /// Changes the state, announces it, and then tells those who wait to know who serves. Returns the state before.
    pub(super) fn enter(&self, state: State, announce: impl FnOnce()) -> State {
        let (before, undecided) = self.queue.enter(state);
        let waiting = Tickets::all(undecided, self.observer.clone());
        announce();
        waiting.answer(std::iter::repeat(Ok(Outcome::State(state))));
        before
    }

    /// Ends when the store is to be closed and Redis is not needed for it.
    async fn closing_with_nothing_to_write(&self) {
        self.queue.closing().await;
        if !self.queue.is_empty() || !self.replica.is_empty() {
            std::future::pending::<()>().await;
        }
    }

    async fn open(self: &Arc<Self>) -> Result<Connection, Error> {
        let config = &self.config;
        let tracker = Arc::new(Tracker::new(self.clone()));
        let track = config.cache_max_stale.is_some();
        let timeouts = (config.connect_timeout, config.command_timeout);
        let former = self.former_connection().clone();
        let connection = Connection::open(&config.endpoint, timeouts, tracker, track, former.as_ref()).await?;
        *self.former_connection() = connection.identity();
        let restored = self.prepare(&connection).await.inspect_err(|_| connection.abandon())?;
        if restored > 0 {
            self.stats.restored.add(restored);
            tracing::warn!(
                "Redis came back without its data: sessions that this process held were put back, {restored}"
            );
        }
        Ok(connection)
    }

    /// Before anyone reads from a connection: what Redis has lost is to be there again. Returns how many sessions were.
    async fn prepare(&self, connection: &Connection) -> Result<u64, Error> {
        // Before anything is sent on it: what the former one sent is done, or never will be.
        if self.resolve(connection).await? {
            connection.begin(&self.keys).await?;
        } else {
            connection.note_nothing();
        }
        self.recover(connection).await
    }

    fn former_connection(&self) -> MutexGuard<'_, Option<Identity>> {
        self.former_connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn warn_of_outage(&self) {
        match self.config.fallback {
            Fallback::Memory => tracing::warn!(
                "WARN: Redis unavailable, falling back to memory session store (not recommended for production)"
            ),
            Fallback::Error => tracing::warn!("WARN: Redis unavailable, session operations fail until it is back"),
        }
    }

    /// Memory serves from here on, if it does not yet. What was queued for Redis is answered now.
    pub(super) fn fall_back(&self) {
        if self.queue.state() == State::Degraded {
            return;
        }
        self.enter(State::Degraded, || self.observer.event(Event::Fallback));
        self.observer.flush();
        self.answer_queued();
    }

    /// Says why Redis is away and when it is tried again: each time to listeners, ever more rarely to the log.
    fn announce(&self, trouble: Error, attempt: u32, delay: Duration) {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        if attempt.is_power_of_two() {
            tracing::error!("{trouble}");
            tracing::info!("Reconnecting to Redis, attempt {attempt} in {delay_ms} ms");
        }
        self.observer.event(Event::Error(trouble));
        self.observer.event(Event::Reconnecting { attempt, delay_ms });
        self.observer.flush();
    }

    /// Nobody serves from here on. What is still queued is answered from memory.
    pub(super) fn end(&self) {
        self.enter(State::Degraded, || {});
        self.answer_queued();
        if !self.replica.is_empty() {
            tracing::warn!("Closed before Redis was back: changes in memory are lost, {}", self.replica.len());
        }
        let waiting = Tickets::all(self.queue.closed(), self.observer.clone());
        self.observer.event(Event::Close);
        waiting.answer(std::iter::repeat(Ok(Outcome::Done)));
    }
}
