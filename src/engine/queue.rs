//! Operations on their way to Redis, and the state that decides where they go.
//!
//! Both are behind one lock, so that no operation can be queued for a Redis that was just given up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::listing::Listing;
use super::placement::EventLoop;
use super::{Calls, NOBODY, Operation};
use crate::error::Error;
use crate::failover::State;
use crate::redis::Request;
use crate::replica::Sequence;

/// Renewals that wait for Redis, at the most. Nobody waits for them, so nobody else counts them: for each other operation
/// there is a caller, and `lib/callback.js` has a bound on those. A renewal on top is done here, as one is that Redis did
/// not answer.
const RENEWALS: usize = 100_000;

/// What a [`Job`] asks for.
pub(super) enum Task {
    /// Something with one session.
    Request(Request),
    /// The next entries of a listing.
    List(Arc<Listing>),
    /// The number of sessions.
    Count,
    /// All sessions gone.
    Clear,
    /// Nothing: it could not be understood.
    Refuse(Error),
}

/// A task, and the operation that it is done for.
pub(super) struct Job {
    pub(super) operation: Operation,
    /// Its place among all calls.
    pub(super) sequence: Sequence,
    pub(super) task: Task,
}

/// What is queued: one job, or calls that came together and are jobs as soon as someone looks.
enum Queued {
    Job(Job),
    Calls { first: Sequence, calls: Calls },
}

impl Queued {
    fn into_jobs(self) -> Box<dyn Iterator<Item = Job> + Send> {
        match self {
            Self::Job(job) => Box::new(std::iter::once(job)),
            Self::Calls { first, calls } => Box::new(calls.zip(first..).map(|((operation, request), sequence)| Job {
                operation,
                sequence,
                task: request.map_or_else(Task::Refuse, Task::Request),
            })),
        }
    }
}

#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    wake: Notify,
    /// A reply of Redis is about to wake who works on the queue.
    reply_is_due: AtomicBool,
    reached: AtomicBool,
    closing: Notify,
    /// The one that the calls come from.
    pub(super) event_loop: EventLoop,
}

struct Inner {
    state: State,
    /// Calls so far.
    calls: Sequence,
    queued: Vec<Queued>,
    /// Operations that nobody waits for, queued or sent.
    renewals: usize,
    /// Who waits to know who serves.
    undecided: Vec<Operation>,
    /// Who waits for the end. `Some` from the first call of `close` on.
    closing: Option<Vec<Operation>>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            state: State::Connecting,
            calls: 0,
            queued: Vec::new(),
            renewals: 0,
            undecided: Vec::new(),
            closing: None,
        }
    }
}

impl Queue {
    pub(super) fn state(&self) -> State {
        self.inner().state
    }

    /// Queues a task for Redis. Gives it back when it is to be done `here`, in this process, or Redis is away.
    pub(super) fn push(&self, operation: Operation, task: Task, here: bool) -> Result<Option<Job>, Error> {
        let mut inner = self.inner();
        if inner.is_closed() {
            return Err(Error::Closed);
        }
        inner.calls += 1;
        let job = Job { operation, sequence: inner.calls, task };
        let is_renewal = operation == NOBODY;
        if here || inner.state == State::Degraded || (is_renewal && !inner.takes_renewals()) {
            return Ok(Some(job));
        }
        inner.renewals += usize::from(is_renewal);
        inner.queued.push(Queued::Job(job));
        Ok(None)
    }

    /// Queues calls that came together, whoever serves. Gives them back when nobody does any more.
    pub(super) fn push_calls(&self, calls: Calls) -> Result<(), Calls> {
        self.event_loop.note_processor();
        let mut inner = self.inner();
        if inner.is_closed() {
            return Err(calls);
        }
        let first = inner.calls + 1;
        inner.calls += calls.len() as u64;
        inner.queued.push(Queued::Calls { first, calls });
        Ok(())
    }

    /// The place of a renewal that the store itself sends.
    pub(super) fn next_renewal(&self) -> Sequence {
        let mut inner = self.inner();
        inner.calls += 1;
        inner.renewals += 1;
        inner.calls
    }

    /// Whether there is room for more renewals.
    pub(super) fn takes_renewals(&self) -> bool {
        self.inner().takes_renewals()
    }

    /// So many renewals wait no longer.
    pub(super) fn end_renewals(&self, count: usize) {
        if count > 0 {
            let mut inner = self.inner();
            inner.renewals = inner.renewals.saturating_sub(count);
        }
    }

    /// Whether calls are taken.
    pub(super) fn is_open(&self) -> bool {
        !self.inner().is_closed()
    }

    /// Whether anything is queued.
    pub(super) fn is_empty(&self) -> bool {
        self.inner().queued.is_empty()
    }

    /// Everything queued so far, unless Redis is back and will do it.
    pub(super) fn take_while_away(&self) -> impl Iterator<Item = Job> + use<> {
        let mut inner = self.inner();
        let queued = if inner.state == State::Ready { Vec::new() } else { std::mem::take(&mut inner.queued) };
        queued.into_iter().flat_map(Queued::into_jobs)
    }

    /// Whether a Redis was ever reached: it may have sessions that this process does not know.
    pub(super) fn was_reached(&self) -> bool {
        self.reached.load(Ordering::SeqCst)
    }

    pub(super) fn set_reached(&self) {
        self.reached.store(true, Ordering::SeqCst);
    }

    /// Everything queued so far.
    pub(super) fn take(&self) -> impl Iterator<Item = Job> + use<> {
        std::mem::take(&mut self.inner().queued).into_iter().flat_map(Queued::into_jobs)
    }

    /// Says that there is something to take. Waking a thread costs the caller more than all the rest of a call, so when a
    /// reply is due within moments, that is left to the reply.
    pub(super) fn wake(&self) {
        if !self.reply_is_due.load(Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    /// Whoever sets this to true takes what is queued, without being woken, when it sets it to false.
    pub(super) fn set_reply_is_due(&self, is_due: bool) {
        self.reply_is_due.store(is_due, Ordering::SeqCst);
    }

    /// Ends when there is something to take.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Changes the state. Returns the one before, and who waited for the first decision.
    pub(super) fn enter(&self, state: State) -> (State, Vec<Operation>) {
        let mut inner = self.inner();
        (std::mem::replace(&mut inner.state, state), std::mem::take(&mut inner.undecided))
    }

    /// The state, or `None` while it is undecided who serves: then the operation is told when it is.
    pub(super) fn wait_until_decided(&self, operation: Operation) -> Result<Option<State>, Error> {
        let mut inner = self.inner();
        match inner.state {
            _ if inner.is_closed() => Err(Error::Closed),
            State::Connecting => {
                inner.undecided.push(operation);
                Ok(None)
            }
            state => Ok(Some(state)),
        }
    }

    /// Lets nothing more in. `false` when the end has already come; else the operation is told when it does.
    pub(super) fn close(&self, operation: Operation) -> bool {
        let mut inner = self.inner();
        if inner.state == State::Closed {
            return false;
        }
        inner.closing.get_or_insert_default().push(operation);
        self.closing.notify_one();
        true
    }

    /// Ends when `close` was called; again for each who waits for it.
    pub(super) async fn closing(&self) {
        if !self.inner().is_closed() {
            self.closing.notified().await;
        }
    }

    /// The end has come. Returns who waits for it.
    pub(super) fn closed(&self) -> Vec<Operation> {
        let mut inner = self.inner();
        inner.state = State::Closed;
        inner.closing.take().unwrap_or_default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn is_closed(&self) -> bool {
        self.state == State::Closed || self.closing.is_some()
    }

    fn takes_renewals(&self) -> bool {
        self.renewals < RENEWALS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionId;

    fn touch(queue: &Queue, operation: Operation) -> Option<Job> {
        let id = SessionId::parse("a").expect("a usable id");
        queue.push(operation, Task::Request(Request::Touch(id, None)), false).expect("it is open")
    }

    #[test]
    fn renewals_that_wait_are_bounded_and_what_has_a_caller_is_not_their_concern() {
        let queue = Queue::default();
        assert!((0..RENEWALS).all(|_| touch(&queue, NOBODY).is_none()));
        assert!(touch(&queue, NOBODY).is_some(), "it is not queued");
        assert!(touch(&queue, 1).is_none());
        assert_eq!(queue.take().count(), RENEWALS + 1);
        assert!(touch(&queue, NOBODY).is_some(), "those that were taken wait as well");
        queue.end_renewals(1);
        assert!(touch(&queue, NOBODY).is_none());
        assert!(touch(&queue, NOBODY).is_some());
    }
}
