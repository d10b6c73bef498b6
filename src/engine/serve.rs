//! The life of a store: connect, serve, fall back, try again.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};

use super::queue::{Job, Task};
use super::ticket::Ticket;
use super::{Event, Outcome, Shared, listing};
use crate::error::Error;
use crate::failover::{Backoff, State};
use crate::redis::{Connection, Reply, Request, Session, Trouble};
use crate::replica::{Change, Pending};
use crate::session::Record;

/// How often a connection without traffic is asked for a sign of life.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Batches under way at a time. When Redis is slower than the callers, batches grow instead of becoming more.
const BATCHES: usize = 64;

/// Changes replayed in one batch.
const REPLAY_BATCH: usize = 128;

/// Runs a store until it is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let backoff = Backoff::default();
    let mut attempt = 0;
    loop {
        let trouble = tokio::select! {
            biased;
            () = shared.queue.closing() => break,
            opened = shared.open() => match opened {
                Err(error) => error,
                Ok(connection) => {
                    attempt = 0;
                    match Service::new(shared.clone(), connection).run().await {
                        Ended::Closing => break,
                        Ended::Trouble(trouble) => trouble.into(),
                    }
                }
            },
        };
        attempt += 1;
        if attempt == 1 {
            shared.fall_back();
        }
        let delay = backoff.delay(attempt, rand::random());
        shared.announce(trouble, attempt, delay);
        tokio::select! {
            biased;
            () = shared.queue.closing() => break,
            () = sleep(delay) => {}
        }
    }
    shared.end();
}

/// Why a service ended.
enum Ended {
    Closing,
    Trouble(Trouble),
}

/// What a piece of work on the connection came to.
enum Done {
    /// It was done; its callers have their answers.
    Work,
    /// A batch's answers did not come; its callers were answered from memory.
    Failed(Trouble),
    /// The connection is alive, or not.
    Heartbeat(Result<(), Trouble>),
    /// Changes made while Redis was away are in Redis, or what came between.
    Replay(Result<u64, Error>),
}

/// Serving from one connection.
struct Service {
    shared: Arc<Shared>,
    connection: Connection,
    /// All work is polled in one place and started in order, so commands reach Redis in the order of the calls.
    work: FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send>>>,
    heartbeat: Interval,
    asking_for_life: bool,
    replaying: bool,
    /// Set until Redis has what changed while it was away.
    recovering: bool,
}

impl Service {
    fn new(shared: Arc<Shared>, connection: Connection) -> Self {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            shared,
            connection,
            work: FuturesUnordered::new(),
            heartbeat,
            asking_for_life: false,
            replaying: false,
            recovering: false,
        }
    }

    async fn run(mut self) -> Ended {
        self.begin();
        let shared = self.shared.clone();
        let connection = self.connection.clone();
        let lost = connection.lost();
        tokio::pin!(lost);
        loop {
            tokio::select! {
                biased;
                Some(done) = self.work.next(), if !self.work.is_empty() => {
                    if let Some(trouble) = self.take_note(done) {
                        return self.give_up(trouble).await;
                    }
                    shared.observer.flush();
                }
                () = shared.queue.woken(), if self.work.len() < BATCHES => self.take_jobs(),
                () = &mut lost => return self.give_up(Trouble::Lost("the connection was lost".to_owned())).await,
                _ = self.heartbeat.tick() => {
                    self.ask_for_life();
                    self.replay();
                }
                () = shared.queue.closing() => return self.finish().await,
            }
        }
    }

    fn begin(&mut self) {
        let shared = &self.shared;
        shared.stats.connections.increment();
        shared.observer.event(Event::Connect);
        let before = shared.queue.enter(State::Ready);
        self.recovering = before == State::Degraded;
        tracing::info!("Connected to Redis at {}", shared.config.endpoint.address);
        shared.observer.event(Event::Ready);
        shared.observer.flush();
        shared.queue.wake();
        self.replay();
        if self.recovering && !self.replaying {
            self.recovered(0);
        }
    }

    fn take_jobs(&mut self) {
        let mut batch = Batch::default();
        for Job { ticket, task } in self.shared.queue.take() {
            match task {
                Task::Request(request) => batch.push(ticket, request),
                task => self.work.push(Box::pin(errand(self.shared.clone(), self.connection.clone(), ticket, task))),
            }
        }
        if !batch.requests.is_empty() {
            self.work.push(Box::pin(batch.run(self.shared.clone(), self.connection.clone())));
        }
    }

    /// What follows from a piece of work. Returns why the connection has to be given up, if it has to.
    fn take_note(&mut self, done: Done) -> Option<Trouble> {
        match done {
            Done::Work => {}
            Done::Failed(Trouble::Lost(reason)) => return Some(Trouble::Lost(reason)),
            // One slow answer is not an outage: a heartbeat decides.
            Done::Failed(Trouble::TimedOut) => self.ask_for_life(),
            Done::Heartbeat(Ok(())) => self.asking_for_life = false,
            Done::Heartbeat(Err(trouble)) => return Some(trouble),
            Done::Replay(Ok(replayed)) => {
                self.replaying = false;
                self.recovered(replayed);
            }
            Done::Replay(Err(error)) => {
                // The next heartbeat tries again.
                self.replaying = false;
                tracing::warn!("Sessions changed while Redis was away could not be written to it yet: {error}");
            }
        }
        None
    }

    fn ask_for_life(&mut self) {
        if !self.asking_for_life {
            self.asking_for_life = true;
            let connection = self.connection.clone();
            self.work.push(Box::pin(async move { Done::Heartbeat(connection.ping().await) }));
        }
    }

    fn replay(&mut self) {
        if !self.replaying && !self.shared.replica.is_empty() {
            self.replaying = true;
            let (shared, connection) = (self.shared.clone(), self.connection.clone());
            self.work.push(Box::pin(async move { Done::Replay(replay(&shared, &connection).await) }));
        }
    }

    fn recovered(&mut self, replayed: u64) {
        if std::mem::take(&mut self.recovering) {
            tracing::info!("Redis is back, {replayed} changed sessions were written to it");
            self.shared.observer.event(Event::Recovered { replayed });
            self.shared.observer.flush();
        }
    }

    /// Answers from memory all that still waits for this connection.
    async fn give_up(mut self, trouble: Trouble) -> Ended {
        self.shared.queue.enter(State::Degraded);
        self.connection.abandon();
        while self.work.next().await.is_some() {}
        self.shared.observer.flush();
        Ended::Trouble(trouble)
    }

    /// Finishes what was asked for before `close`.
    async fn finish(mut self) -> Ended {
        self.take_jobs();
        self.replay();
        while self.work.next().await.is_some() {
            self.shared.observer.flush();
        }
        Ended::Closing
    }
}

/// Requests that go to Redis together, and who waits for them.
#[derive(Default)]
struct Batch {
    tickets: Vec<Ticket>,
    requests: Vec<Request>,
}

impl Batch {
    fn push(&mut self, ticket: Ticket, request: Request) {
        self.tickets.push(ticket);
        self.requests.push(request);
    }

    async fn run(self, shared: Arc<Shared>, connection: Connection) -> Done {
        let count = self.tickets.len();
        let done = match connection.run(&shared.keys, &self.requests).await {
            Ok(replies) => {
                for ((ticket, request), reply) in self.tickets.into_iter().zip(&self.requests).zip(replies) {
                    ticket.complete(reply.map(|reply| shared.outcome(request, reply)));
                }
                Done::Work
            }
            Err(trouble) => {
                if trouble == Trouble::TimedOut {
                    shared.stats.timeouts.add(count as u64);
                }
                for (ticket, request) in self.tickets.into_iter().zip(&self.requests) {
                    ticket.complete(shared.answer_request_from_memory(request));
                }
                Done::Failed(trouble)
            }
        };
        shared.queue.done(count);
        done
    }
}

async fn errand(shared: Arc<Shared>, connection: Connection, ticket: Ticket, task: Task) -> Done {
    let outcome = match task {
        Task::List(listing) => listing.next(&shared, &connection).await,
        Task::Count => listing::count(&shared, &connection).await,
        Task::Clear => listing::clear(&shared, &connection).await,
        Task::Request(_) => Err(Error::Internal),
    };
    ticket.complete(outcome);
    shared.queue.done(1);
    Done::Work
}

/// Writes to Redis what changed while it was away, until nothing is left.
async fn replay(shared: &Shared, connection: &Connection) -> Result<u64, Error> {
    let mut replayed = 0;
    loop {
        let pending = shared.replica.pending(REPLAY_BATCH);
        if pending.is_empty() {
            return Ok(replayed);
        }
        let requests: Vec<_> = pending.iter().map(Pending::request).collect();
        for (change, reply) in pending.iter().zip(connection.run(&shared.keys, &requests).await?) {
            reply?;
            shared.replica.settle(change);
            shared.stats.replayed.increment();
            replayed += 1;
        }
    }
}

impl Pending {
    fn request(&self) -> Request {
        match &self.change {
            Change::Save(text) => {
                Request::Save(self.id.clone(), Record { text: text.clone(), lifetime: self.lifetime })
            }
            Change::Destroy => Request::Destroy(self.id.clone()),
        }
    }
}

impl Shared {
    async fn open(&self) -> Result<Connection, Error> {
        let config = &self.config;
        Connection::open(&config.endpoint, config.connect_timeout, config.command_timeout).await
    }

    /// Redis's reply, as the caller sees it.
    fn outcome(&self, request: &Request, reply: Reply) -> Outcome {
        match reply {
            Reply::Loaded(Session::Found(record)) => Outcome::Session(Some(record)),
            Reply::Loaded(Session::Missing) => Outcome::Session(None),
            Reply::Loaded(Session::Unreadable(reason)) => {
                self.report_unreadable(request.id(), reason);
                Outcome::Session(None)
            }
            Reply::Done => Outcome::Done,
        }
    }

    /// Memory serves from here on. What was queued for Redis is answered now.
    fn fall_back(&self) {
        self.queue.enter(State::Degraded);
        tracing::warn!(
            "WARN: Redis unavailable, falling back to memory session store (not recommended for production)"
        );
        self.observer.event(Event::Fallback);
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

    fn end(&self) {
        self.queue.enter(State::Degraded);
        self.answer_queued();
        if !self.replica.is_empty() {
            tracing::warn!("The store is closed; {} sessions in memory could not be written to Redis", self.replica.len());
        }
        self.queue.closed(|event| self.observer.event(event));
        self.observer.flush();
    }

    fn answer_queued(&self) {
        let jobs = self.queue.take();
        self.queue.done(jobs.len());
        for Job { ticket, task } in jobs {
            ticket.complete(self.answer_from_memory(&task));
        }
    }
}
