//! Serving from one connection, until it is lost or the store is closed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesOrdered, FuturesUnordered, StreamExt};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use super::batch::{Answered, Batch};
use super::contention::{self, Waiting};
use super::placement::Placement;
use super::queue::Task;
use super::replay::replay;
use super::ticket::Tickets;
use super::{Event, NOBODY, Operation, Shared, listing};
use crate::error::Error;
use crate::failover::State;
use crate::redis::{Connection, Request, Trouble};
use crate::replica::Sequence;
use crate::session::SessionId;

/// How often a connection without traffic is asked for a sign of life, at the least.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Renewals that are sent together.
const TOUCHES: usize = 1024;

/// Batches under way at a time. When Redis is slower than the callers, batches grow instead of becoming more.
const BATCHES: usize = 64;

/// With round trips shorter than this, what is asked for while a batch is under way waits for its reply and goes next.
const SOON: Duration = Duration::from_micros(500);

/// Why a service ended.
pub(super) enum Ended {
    Closing,
    /// Whether Redis had all changes by then tells one outage from the next.
    Trouble {
        trouble: Trouble,
        recovered: bool,
    },
}

/// What a piece of work on the connection came to.
enum Done {
    /// It was done, and its caller has the answer.
    Errand,
    /// The connection is alive, or not.
    Heartbeat(Result<(), Trouble>),
    /// Changes made while Redis was away are in Redis, or what came between.
    Replay(Result<u64, Error>),
}

/// Serving from one connection.
pub(super) struct Service {
    shared: Arc<Shared>,
    connection: Connection,
    /// Started in order and settled in order, so the calls take effect in the order in which they were made.
    batches: FuturesOrdered<Pin<Box<dyn Future<Output = Answered> + Send>>>,
    work: FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send>>>,
    /// When the latest answer came.
    answered: Instant,
    /// How long a batch takes, as a moving average.
    round_trip: Duration,
    /// What is asked for meanwhile waits for the reply to the batches under way, but only until then.
    reply_due: Option<Instant>,
    heartbeat: Interval,
    asking_for_life: bool,
    replaying: bool,
    /// Set until Redis has what changed while it was away.
    recovering: bool,
    placement: Placement,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.connection.abandon();
    }
}

impl Service {
    pub(super) fn new(shared: Arc<Shared>, connection: Connection) -> Self {
        // The lease on what is known has to be renewed before it ends.
        let lease = shared.config.cache_max_stale.map_or(HEARTBEAT, |max_stale| max_stale * 6 / 10);
        let touches = shared.config.touch_window.filter(|window| !window.is_zero()).unwrap_or(HEARTBEAT);
        let period = HEARTBEAT.min(lease).min(touches);
        let mut heartbeat = interval_at(Instant::now() + period, period);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            shared,
            connection,
            batches: FuturesOrdered::new(),
            work: FuturesUnordered::new(),
            answered: Instant::now(),
            round_trip: Duration::ZERO,
            reply_due: None,
            heartbeat,
            asking_for_life: false,
            replaying: false,
            recovering: false,
            placement: Placement::default(),
        }
    }

    pub(super) async fn run(mut self) -> Ended {
        self.begin();
        let shared = self.shared.clone();
        let connection = self.connection.clone();
        let lost = connection.lost();
        tokio::pin!(lost);
        loop {
            tokio::select! {
                biased;
                // First what is rare: while callers and Redis are fast enough, some batch is answered always.
                Some(done) = self.work.next(), if !self.work.is_empty() => {
                    if let Some(trouble) = self.take_note(done) {
                        return self.give_up(trouble).await;
                    }
                }
                _ = self.heartbeat.tick() => {
                    self.take_jobs();
                    self.send_touches(false);
                    if self.answered.elapsed() >= self.heartbeat.period() / 2 {
                        self.ask_for_life();
                    }
                    self.replay();
                    self.mark();
                }
                Some(answered) = self.batches.next(), if !self.batches.is_empty() => {
                    match self.settle(answered) {
                        Ok(contended) => self.merge(contended),
                        // One slow answer is not an outage: a heartbeat decides.
                        Err(Trouble::TimedOut) => self.ask_for_life(),
                        Err(trouble) => return self.give_up(trouble).await,
                    }
                    self.take_jobs();
                    self.placement.leave_if_crowded().await;
                }
                () = shared.queue.woken(), if self.batches.len() < BATCHES => {
                    let under_way = self.batches.len();
                    self.take_jobs();
                    if self.batches.len() == under_way {
                        // Memory answered all of it. However fast the next calls come, sockets and timers have their turn.
                        tokio::task::yield_now().await;
                    }
                }
                () = sleep_until(self.reply_due.unwrap_or_else(Instant::now)), if self.reply_due.is_some() => {
                    // It is late: nothing waits for it any longer.
                    self.round_trip = SOON;
                    self.take_jobs();
                }
                () = &mut lost => return self.give_up(Trouble::Lost("the connection was lost".to_owned())).await,
                () = shared.queue.closing() => return self.finish().await,
            }
        }
    }

    fn begin(&mut self) {
        let shared = self.shared.clone();
        shared.stats.connections.increment();
        shared.queue.set_reached();
        self.recovering = shared.enter(State::Ready, || {
            tracing::info!("Connected to Redis at {}", shared.config.endpoint.address);
            shared.observer.event(Event::Connect);
            shared.observer.event(Event::Ready);
        }) == State::Degraded;
        if shared.config.cache_max_stale.is_some()
            && let Some(reason) = self.connection.why_not_tracking()
            && !shared.tracking_reported.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("Redis does not tell of changes, so each read asks it (as with `cache: false`): {reason}");
        }
        // What was queued while the connection was made.
        shared.queue.wake();
        if self.connection.tracks() {
            let (shared, connection) = (shared.clone(), self.connection.clone());
            self.work.push(Box::pin(async move {
                // Should it fail, the connection does too.
                let _ = shared.refresh(&connection).await;
                Done::Errand
            }));
        }
        self.replay();
        if !self.replaying {
            self.recovered(0);
        }
    }

    fn settle(&mut self, answered: Answered) -> Result<Vec<(SessionId, Arc<str>)>, Trouble> {
        self.round_trip = (self.round_trip * 7 + answered.round_trip) / 8;
        self.placement.note(answered.len(), &self.shared.queue.event_loop);
        self.set_reply_is_due(false);
        self.answered = Instant::now();
        let settled = answered.settle(&self.shared);
        self.report_forbidden_scripts();
        settled
    }

    fn report_forbidden_scripts(&self) {
        if !self.connection.may_run_scripts() && !self.shared.scripts_reported.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "This Redis user may not run scripts (EVAL, EVALSHA): parallel changes of one session are not merged, \
                 the last save wins. Allow them to mend that."
            );
            self.shared.observer.flush();
        }
    }

    fn merge(&mut self, contended: Vec<(SessionId, Arc<str>)>) {
        for (id, stored) in contended {
            let merging = contention::settle(self.shared.clone(), self.connection.clone(), id, stored);
            self.work.push(Box::pin(merging.map(|()| Done::Errand)));
        }
    }

    fn set_reply_is_due(&mut self, is_due: bool) {
        self.reply_due = is_due.then(|| Instant::now() + SOON);
        self.shared.queue.set_reply_is_due(is_due);
    }

    fn take_jobs(&mut self) {
        // Before the queue is looked at: what comes after that wakes again.
        self.set_reply_is_due(false);
        let mut batch = Batch::new(self.shared.observer.clone());
        let mut answered_here = Vec::new();
        for job in self.shared.queue.take() {
            match job.task {
                Task::Request(Request::Save(id, save)) if self.shared.contended.holds(&id) => {
                    self.shared.stats.sets.increment();
                    let ticket = Tickets::one(job.operation, self.shared.observer.clone());
                    self.shared.contended.add(&id, Waiting { ticket, sequence: job.sequence, save });
                }
                Task::Request(request) if !self.shared.replica.holds(request.id()) => {
                    self.shared.count(&request);
                    self.add(&mut batch, job.operation, job.sequence, request);
                }
                Task::Request(_) | Task::Refuse(_) => answered_here.push(job),
                task => {
                    let ticket = Tickets::one(job.operation, self.shared.observer.clone());
                    let (shared, connection) = (self.shared.clone(), self.connection.clone());
                    self.work.push(Box::pin(errand(shared, connection, ticket, task, job.sequence)));
                }
            }
        }
        self.shared.answer_jobs(&answered_here);
        if !batch.is_empty() {
            self.batches.push_back(Box::pin(batch.run(self.shared.clone(), self.connection.clone())));
        }
        self.set_reply_is_due(!self.batches.is_empty() && self.round_trip < SOON);
    }

    fn add(&self, batch: &mut Batch, operation: Operation, sequence: Sequence, request: Request) {
        let shared = &self.shared;
        let request = match request {
            Request::Destroy(id) if shared.buries() => Request::Bury(id),
            other => other,
        };
        if request.is_load() {
            shared.stats.misses.increment();
        }
        if let Request::Load(id) = &request
            && self.connection.tracks()
            && let Some(token) = shared.replica.load_under_way(id)
        {
            shared.joined().entry(token).or_default().push(operation);
            return;
        }
        let token = shared.token(&self.connection, &request, true);
        batch.add(operation, sequence, request, token);
    }

    /// Tells Redis of the renewals that are due, or of all. While too many wait for it, they stay where they are: one for a
    /// session that is known.
    fn send_touches(&mut self, all: bool) {
        while all || self.shared.queue.takes_renewals() {
            let mut batch = Batch::new(self.shared.observer.clone());
            for (id, deadline) in self.shared.replica.take_touches(all, TOUCHES) {
                batch.add(NOBODY, self.shared.queue.next_renewal(), Request::Touch(id, deadline), None);
            }
            let is_last = batch.len() < TOUCHES;
            if !batch.is_empty() {
                self.batches.push_back(Box::pin(batch.run(self.shared.clone(), self.connection.clone())));
            }
            if is_last {
                return;
            }
        }
    }

    /// What follows from a piece of work. Returns why the connection has to be given up, if it has to.
    fn take_note(&mut self, done: Done) -> Option<Trouble> {
        match done {
            Done::Errand => {}
            Done::Heartbeat(Ok(())) => {
                self.asking_for_life = false;
                self.answered = Instant::now();
            }
            Done::Heartbeat(Err(trouble)) => return Some(trouble),
            Done::Replay(Ok(replayed)) => {
                self.replaying = false;
                self.shared.write_refusal_reported.store(false, Ordering::Relaxed);
                self.recovered(replayed);
            }
            Done::Replay(Err(error)) => {
                // The next heartbeat tries again.
                self.replaying = false;
                if !self.shared.write_refusal_reported.swap(true, Ordering::Relaxed) {
                    tracing::warn!("Sessions changed while Redis was away could not be written to it yet: {error}");
                    self.shared.observer.flush();
                }
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

    /// After Redis was emptied on purpose.
    fn mark(&mut self) {
        if self.shared.needs_marker() {
            let (shared, connection) = (self.shared.clone(), self.connection.clone());
            self.work.push(Box::pin(async move {
                // The next heartbeat tries again.
                let _ = shared.recover(&connection).await;
                Done::Errand
            }));
        }
    }

    fn recovered(&mut self, replayed: u64) {
        if std::mem::take(&mut self.recovering) {
            tracing::info!("Redis is back: changes made meanwhile and written to it, {replayed}");
            self.shared.observer.event(Event::Recovered { replayed });
            self.shared.observer.flush();
        }
    }

    /// Answers from memory all that still waits for this connection.
    async fn give_up(mut self, trouble: Trouble) -> Ended {
        self.shared.fall_back();
        self.connection.abandon();
        self.settle_all().await;
        Ended::Trouble { trouble, recovered: !self.recovering }
    }

    /// Finishes what was asked for before `close`.
    async fn finish(mut self) -> Ended {
        self.take_jobs();
        self.send_touches(true);
        self.settle_all().await;
        self.replaying = false;
        self.replay();
        self.settle_all().await;
        if self.shared.replica.is_empty() {
            // Should it fail, the key expires.
            let _ = self.connection.end(&self.shared.keys).await;
        }
        Ended::Closing
    }

    async fn settle_all(&mut self) {
        while let Some(answered) = self.batches.next().await {
            // Memory answered what Redis did not: all that can be done now.
            if let Ok(contended) = self.settle(answered) {
                self.merge(contended);
            }
        }
        while self.work.next().await.is_some() {}
    }
}

async fn errand(shared: Arc<Shared>, connection: Connection, ticket: Tickets, task: Task, sequence: Sequence) -> Done {
    let outcome = match task {
        Task::List(listing) => listing.next(&shared, &connection).await,
        Task::Count => listing::count(&shared, &connection).await,
        Task::Clear => listing::clear(&shared, &connection, sequence).await,
        Task::Request(_) | Task::Refuse(_) => Err(Error::Internal),
    };
    ticket.answer([outcome].into_iter());
    Done::Errand
}
