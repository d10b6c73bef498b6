//! Answers without Redis: while it is away, and to a command of which it is unknown whether Redis executed it.

use super::queue::{Job, Task};
use super::ticket::Tickets;
use super::{NOBODY, Outcome, Shared};
use crate::clock::Timestamp;
use crate::config::Fallback;
use crate::error::Error;
use crate::redis::Request;
use crate::replica::{Lookup, Sequence};

impl Shared {
    /// Does a job without Redis.
    pub(super) fn answer_from_memory(&self, job: &Job) -> Result<Outcome, Error> {
        if self.config.fallback == Fallback::Error && !matches!(job.task, Task::Refuse(_)) {
            return Err(Error::Unavailable("it is away, and memory is not to answer instead".to_owned()));
        }
        match &job.task {
            Task::Request(request) => {
                self.count(request);
                self.answer_request_from_memory(request, job.sequence)
            }
            Task::List(listing) => listing.next_from_memory(&self.replica, self.config.scan_count),
            Task::Refuse(error) => Err(error.clone()),
            Task::Count => Ok(Outcome::Count(self.replica.count())),
            // Redis has sessions that are not in the table, and would still have them afterwards.
            Task::Clear if self.queue.was_reached() => {
                Err(Error::Unavailable("the sessions in it cannot be removed now".to_owned()))
            }
            Task::Clear => {
                self.replica.clear();
                Ok(Outcome::Done)
            }
        }
    }

    /// What the table has to say. This is the answer while Redis is away, and to a command of which it is unknown
    /// whether Redis executed it.
    pub(super) fn answer_request_from_memory(&self, request: &Request, sequence: Sequence) -> Result<Outcome, Error> {
        if self.config.fallback == Fallback::Error {
            return Err(Error::Unavailable("it did not answer, and memory is not to answer instead".to_owned()));
        }
        self.stats.served_from_memory.increment();
        match request {
            Request::Load(id) | Request::LoadText(id) => Ok(Outcome::Session(match self.replica.load(id) {
                Lookup::Held(record) => Some(record),
                Lookup::Destroyed => None,
                Lookup::Unknown => self.replica.last_seen(id),
            })),
            Request::Save(id, save) => {
                if !self.replica.save(id, save, self.queue.was_reached(), sequence)? {
                    self.refuse(id);
                }
                Ok(Outcome::Done)
            }
            Request::Touch(id, deadline) => {
                self.replica.touch(id, *deadline, sequence);
                self.replica.keep_touch(id, *deadline);
                Ok(Outcome::Done)
            }
            Request::Destroy(id) | Request::Bury(id) if self.queue.was_reached() => {
                self.replica.destroy(id, self.longest_life(), sequence).map(|()| Outcome::Done)
            }
            Request::Destroy(id) | Request::Bury(id) => {
                self.replica.forget(id);
                Ok(Outcome::Done)
            }
        }
    }

    /// Until when a destroyed session has to be remembered: it may live on in Redis for as long as any session does.
    pub(super) fn longest_life(&self) -> Timestamp {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds were checked to be positive, and far below 2^53"
        )]
        let millis = (self.config.ttl_seconds * 1000.0).max(86_400_000.0) as u64;
        Timestamp(self.now().0.saturating_add(millis))
    }

    /// Answers from memory what was queued for a Redis that is away.
    pub(super) fn answer_queued(&self) {
        self.answer_jobs(&self.queue.take_while_away().collect::<Vec<_>>());
    }

    pub(super) fn answer_jobs(&self, jobs: &[Job]) {
        if !jobs.is_empty() {
            let operations: Vec<_> = jobs.iter().map(|job| job.operation).collect();
            self.queue.end_renewals(operations.iter().filter(|operation| **operation == NOBODY).count());
            let tickets = Tickets::all(operations, self.observer.clone());
            tickets.answer(jobs.iter().map(|job| self.answer_from_memory(job)));
        }
    }
}
