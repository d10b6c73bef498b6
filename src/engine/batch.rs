//! Requests that go to Redis together, and what becomes of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::contention::Waiting;
use super::ticket::Tickets;
use super::{Event, Observer, Operation, Outcome, Shared};
use crate::error::Error;
use crate::redis::{Connection, Reply, Request, Session, Trouble};
use crate::replica::Sequence;
use crate::session::{Record, SessionId};
use crate::telemetry;

/// Requests that go to Redis together, and who waits for them.
pub(super) struct Batch {
    tickets: Tickets,
    sequences: Vec<Sequence>,
    requests: Vec<Request>,
}

/// A batch with its replies.
pub(super) struct Answered {
    batch: Batch,
    pub(super) round_trip: Duration,
    replies: Result<Vec<Result<Reply, Error>>, Trouble>,
}

impl Batch {
    pub(super) fn new(observer: Arc<dyn Observer>) -> Self {
        Self { tickets: Tickets::none(observer), sequences: Vec::new(), requests: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(super) fn add(&mut self, operation: Operation, sequence: Sequence, request: Request) {
        self.tickets.add(operation);
        self.sequences.push(sequence);
        self.requests.push(request);
    }

    pub(super) async fn run(self, shared: Arc<Shared>, connection: Connection) -> Answered {
        let sent = Instant::now();
        let replies = connection.run(&shared.keys, &self.requests, shared.now()).await;
        Answered { batch: self, round_trip: sent.elapsed(), replies }
    }
}

impl Answered {
    /// Tells those who wait. Without replies, memory answers. Returns the sessions on which two saves have met, with what
    /// stands there.
    pub(super) fn settle(self, shared: &Shared) -> Result<Vec<(SessionId, String)>, Trouble> {
        let Batch { tickets, sequences, requests } = self.batch;
        let trouble = match &self.replies {
            Ok(replies) => replies.iter().find_map(|reply| reply.as_ref().err().and_then(Trouble::from_refusal)),
            Err(trouble) => Some(trouble.clone()),
        };
        let calls = requests.into_iter().zip(sequences);
        let (Ok(replies), None) = (self.replies, &trouble) else {
            // What it did of the batch and what not is all one: memory has it, and Redis gets it when it can.
            let outcomes = calls.map(|(request, sequence)| {
                if trouble == Some(Trouble::TimedOut) {
                    shared.stats.timeouts.increment();
                }
                shared.answer_request_from_memory(&request.unsure(), sequence)
            });
            tickets.answer(outcomes);
            return trouble.map_or(Ok(Vec::new()), Err);
        };
        let mut met = Vec::new();
        let outcomes = calls.zip(replies).map(|((request, sequence), reply)| match (request, reply) {
            (Request::Save(id, save), Ok(Reply::Conflict(stored))) => {
                met.push((id, save, sequence, stored));
                None
            }
            (request, reply) => Some(shared.outcome(&request, sequence, reply)),
        });
        let open: Vec<_> = tickets.answer_some(outcomes).collect();
        let mut contended = Vec::new();
        for (ticket, (id, save, sequence, stored)) in open.into_iter().zip(met) {
            shared.stats.conflicts.increment();
            if shared.contended.add(&id, Waiting { ticket, sequence, save }) {
                contended.push((id, stored));
            }
        }
        Ok(contended)
    }
}

impl Shared {
    /// Redis's reply, as the caller sees it.
    fn outcome(&self, request: &Request, sequence: Sequence, reply: Result<Reply, Error>) -> Result<Outcome, Error> {
        let id = request.id();
        match (request, reply?) {
            // Changed in memory since it was sent, because an answer before this one did not come.
            (Request::Load(_), _) if self.replica.holds(id) => self.answer_request_from_memory(request, sequence),
            (Request::Load(_), Reply::Loaded(session)) => Ok(Outcome::Session(self.session(id, session))),
            (Request::Save(..) | Request::Destroy(_), reply) => {
                self.replica.supersede(id, sequence);
                if reply == Reply::Gone {
                    self.refuse(id);
                }
                Ok(Outcome::Done)
            }
            _ => Ok(Outcome::Done),
        }
    }

    fn session(&self, id: &SessionId, session: Session) -> Option<Record> {
        match session {
            Session::Found(record) => Some(record),
            Session::Missing => None,
            Session::Unreadable(reason) => {
                self.report_unreadable(id, reason);
                None
            }
        }
    }

    /// Takes note of a save that was not made, because its session is gone (P3). Its caller need not care.
    pub(super) fn refuse(&self, id: &SessionId) {
        self.stats.refused.increment();
        tracing::debug!("A save was refused: its session is gone. session={}", telemetry::log_name(id));
        self.observer.event(Event::Refused);
    }
}
