//! Operations on their way to Redis, and the state that decides where they go.
//!
//! Both are behind one lock, so that no operation can be queued for a Redis that was just given up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::listing::Listing;
use super::ticket::Ticket;
use super::{Event, Outcome};
use crate::error::Error;
use crate::failover::State;
use crate::redis::Request;

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
}

/// A task, and who waits for it.
pub(super) struct Job {
    pub(super) ticket: Ticket,
    pub(super) task: Task,
}

#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    /// Jobs queued or being worked on.
    in_flight: AtomicUsize,
    wake: Notify,
    closing: Notify,
}

struct Inner {
    state: State,
    jobs: Vec<Job>,
    /// Who waits to know who serves.
    undecided: Vec<Ticket>,
    /// Who waits for the end. `Some` from the first call of `close` on.
    closing: Option<Vec<Ticket>>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { state: State::Connecting, jobs: Vec::new(), undecided: Vec::new(), closing: None }
    }
}

impl Queue {
    pub(super) fn state(&self) -> State {
        self.inner().state
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Queues a task for Redis. Gives it back when it is to be done `here`, in this process, or Redis is away.
    pub(super) fn push(&self, ticket: Ticket, task: Task, here: bool) -> Result<Option<(Ticket, Task)>, Error> {
        let mut inner = self.inner();
        if inner.is_closed() {
            return Err(ticket.refuse(Error::Closed));
        }
        if here || inner.state == State::Degraded {
            return Ok(Some((ticket, task)));
        }
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        inner.jobs.push(Job { ticket, task });
        Ok(None)
    }

    /// Everything queued so far.
    pub(super) fn take(&self) -> Vec<Job> {
        std::mem::take(&mut self.inner().jobs)
    }

    /// These many jobs were answered.
    pub(super) fn done(&self, jobs: usize) {
        self.in_flight.fetch_sub(jobs, Ordering::Relaxed);
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Ends when there is something to take.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Changes the state, tells those who wait for the first decision, and returns the state before.
    pub(super) fn enter(&self, state: State) -> State {
        let (before, undecided) = {
            let mut inner = self.inner();
            (std::mem::replace(&mut inner.state, state), std::mem::take(&mut inner.undecided))
        };
        for ticket in undecided {
            ticket.complete(Ok(Outcome::State(state)));
        }
        before
    }

    /// Keeps the ticket until it is known who serves. Gives it back when that is known.
    pub(super) fn wait_until_decided(&self, ticket: Ticket) -> Result<Option<(Ticket, State)>, Error> {
        let mut inner = self.inner();
        match inner.state {
            _ if inner.is_closed() => Err(ticket.refuse(Error::Closed)),
            State::Connecting => {
                inner.undecided.push(ticket);
                Ok(None)
            }
            state => Ok(Some((ticket, state))),
        }
    }

    /// Lets nothing more in. Gives the ticket back when the end has already come.
    pub(super) fn close(&self, ticket: Ticket) -> Option<Ticket> {
        let mut inner = self.inner();
        if inner.state == State::Closed {
            return Some(ticket);
        }
        inner.closing.get_or_insert_default().push(ticket);
        self.closing.notify_one();
        None
    }

    /// Ends when `close` was called; again for each who waits for it.
    pub(super) async fn closing(&self) {
        if !self.inner().is_closed() {
            self.closing.notified().await;
        }
    }

    /// The end has come: tells those who wait for it.
    pub(super) fn closed(&self, emit: impl FnOnce(Event)) {
        self.enter(State::Closed);
        let waiting = self.inner().closing.take();
        emit(Event::Close);
        for ticket in waiting.into_iter().flatten() {
            ticket.complete(Ok(Outcome::Done));
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn is_closed(&self) -> bool {
        self.state == State::Closed || self.closing.is_some()
    }
}
