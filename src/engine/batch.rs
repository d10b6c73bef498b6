//! Requests that go to Redis together, and what becomes of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::contention::Waiting;
use super::ticket::Tickets;
use super::tracker::Arrival;
use super::{Event, NOBODY, Observer, Operation, Outcome, Shared};
use crate::error::Error;
use crate::redis::{Connection, Reply, Request, Session, Trouble};
use crate::replica::{Sequence, Token};
use crate::session::{Record, SessionId};
use crate::telemetry;

/// Requests that go to Redis together, and who waits for them.
pub(super) struct Batch {
    tickets: Tickets,
    calls: Vec<Call>,
    requests: Vec<Request>,
    /// How many of them nobody waits for.
    renewals: usize,
}

/// What has to be known of a request when it is answered.
struct Call {
    sequence: Sequence,
    token: Option<Token>,
}

impl Call {
    /// Nothing is to be noted any more.
    fn end(&self, shared: &Shared, id: &SessionId) {
        if let Some(token) = self.token {
            shared.replica.end(id, token);
        }
    }
}

/// A batch with its replies.
pub(super) struct Answered {
    batch: Batch,
    pub(super) round_trip: Duration,
    tracks: bool,
    replies: Result<Vec<Result<Reply, Error>>, Trouble>,
}

impl Batch {
    pub(super) fn new(observer: Arc<dyn Observer>) -> Self {
        Self { tickets: Tickets::none(observer), calls: Vec::new(), requests: Vec::new(), renewals: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn add(&mut self, operation: Operation, sequence: Sequence, request: Request, token: Option<Token>) {
        self.tickets.add(operation);
        self.renewals += usize::from(operation == NOBODY);
        self.calls.push(Call { sequence, token });
        self.requests.push(request);
    }

    pub(super) async fn run(mut self, shared: Arc<Shared>, connection: Connection) -> Answered {
        let sent = Instant::now();
        let loads = self.requests.iter().filter(|request| request.is_load()).count();
        let _in_flight = shared.stats.loads_in_flight.hold(loads as u64);
        connection.place(&mut self.requests);
        let replies = connection.run(&shared.keys, &self.requests, shared.now()).await;
        Answered { batch: self, round_trip: sent.elapsed(), tracks: connection.tracks(), replies }
    }
}

impl Answered {
    pub(super) fn len(&self) -> usize {
        self.batch.len()
    }

    /// Tells those who wait. Without replies, memory answers. Returns the sessions on which two saves have met, with what
    /// stands there.
    pub(super) fn settle(self, shared: &Shared) -> Result<Vec<(SessionId, Arc<str>)>, Trouble> {
        let Batch { tickets, calls, requests, renewals } = self.batch;
        shared.queue.end_renewals(renewals);
        let trouble = match &self.replies {
            Ok(replies) => replies.iter().find_map(|reply| reply.as_ref().err().and_then(Trouble::from_refusal)),
            Err(trouble) => Some(trouble.clone()),
        };
        let calls = requests.into_iter().zip(calls);
        let (Ok(replies), None) = (self.replies, &trouble) else {
            // What it did of the batch and what not is all one: memory has it, and Redis gets it when it can.
            let outcomes = calls.map(|(request, call)| {
                if trouble == Some(Trouble::TimedOut) {
                    shared.stats.timeouts.increment();
                }
                call.end(shared, request.id());
                let outcome = shared.answer_request_from_memory(&request.unsure(), call.sequence);
                shared.answer_joined(call.token, &outcome);
                outcome
            });
            tickets.answer(outcomes);
            return trouble.map_or(Ok(Vec::new()), Err);
        };
        let arrival = Arrival { round_trip: self.round_trip, tracks: self.tracks, now: shared.now() };
        let mut met = Vec::new();
        let outcomes = calls.zip(replies).map(|((request, call), reply)| match (request, reply) {
            (Request::Save(id, save), Ok(Reply::Conflict(stored))) => {
                call.end(shared, &id);
                met.push((id, save, call.sequence, stored));
                None
            }
            (request, Err(error)) if error.is_write_refusal() => {
                shared.report_write_refusal(&error);
                call.end(shared, request.id());
                let outcome = shared.answer_request_from_memory(&request, call.sequence);
                shared.answer_joined(call.token, &outcome);
                Some(outcome)
            }
            (request, reply) => {
                let outcome = shared.outcome(&request, &call, arrival, reply);
                shared.answer_joined(call.token, &outcome);
                Some(outcome)
            }
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
    fn outcome(
        &self,
        request: &Request,
        call: &Call,
        arrival: Arrival,
        reply: Result<Reply, Error>,
    ) -> Result<Outcome, Error> {
        let id = request.id();
        let reply = reply.inspect_err(|_| call.end(self, id))?;
        let version = self.note(request, call.token, &reply, arrival);
        match (request, reply) {
            // Changed in memory since it was sent, because an answer before this one did not come.
            (request, _) if request.is_load() && self.replica.holds(id) => {
                self.answer_request_from_memory(request, call.sequence)
            }
            (_, Reply::Loaded(session)) => Ok(Outcome::Session(self.session(id, session))),
            (Request::Save(..) | Request::Destroy(_) | Request::Bury(_), reply) => {
                self.replica.supersede(id, call.sequence);
                if reply == Reply::Gone {
                    self.refuse(id);
                }
                Ok(version.map_or(Outcome::Done, Outcome::Kept))
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

    /// Reads that were asked for while the same read was under way.
    fn answer_joined(&self, token: Option<Token>, outcome: &Result<Outcome, Error>) {
        let Some(token) = token else { return };
        let joined = {
            let mut all = self.joined();
            // As it is nearly always, without a hash.
            if all.is_empty() { None } else { all.remove(&token) }
        };
        if let Some(joined) = joined {
            let operations = joined.len();
            Tickets::all(joined, self.observer.clone()).answer(std::iter::repeat_n(outcome.clone(), operations));
        }
    }

    /// Says, once until it is over, that Redis takes no writes.
    fn report_write_refusal(&self, error: &Error) {
        if !self.write_refusal_reported.swap(true, Ordering::Relaxed) {
            tracing::error!("Redis takes no writes, sessions that change are kept in memory until it does: {error}");
        }
    }

    /// Takes note of a save that was not made, because its session is gone (P3). Its caller need not care.
    pub(super) fn refuse(&self, id: &SessionId) {
        self.stats.refused.increment();
        tracing::debug!("A save was refused: its session is gone. session={}", telemetry::log_name(id));
        self.observer.event(Event::Refused);
    }
}
