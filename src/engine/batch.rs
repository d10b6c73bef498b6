//! Requests that go to Redis together, and what becomes of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::ticket::Tickets;
use super::{Observer, Operation, Outcome, Shared};
use crate::error::Error;
use crate::redis::{Connection, Reply, Request, Session, Trouble};
use crate::replica::Sequence;

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
    /// Tells those who wait. Without replies, memory answers.
    pub(super) fn settle(self, shared: &Shared) -> Result<(), Trouble> {
        let Batch { tickets, sequences, requests } = self.batch;
        let calls = requests.iter().zip(sequences);
        match self.replies {
            Ok(replies) => {
                let trouble = replies.iter().find_map(|reply| reply.as_ref().err().and_then(Trouble::from_refusal));
                if let Some(trouble) = trouble {
                    // What it did of the batch and what not is all one: memory has it, and Redis gets it when it can.
                    tickets
                        .answer(calls.map(|(request, sequence)| shared.answer_request_from_memory(request, sequence)));
                    return Err(trouble);
                }
                let outcomes = calls.zip(replies).map(|((request, sequence), reply)| match request {
                    // Changed in memory since it was sent, because an answer before this one did not come.
                    Request::Load(id) if shared.replica.holds(id) => {
                        shared.answer_request_from_memory(request, sequence)
                    }
                    Request::Load(_) | Request::Touch(..) => Ok(shared.outcome(request, reply?)),
                    Request::Save(id, ..) | Request::Destroy(id) => {
                        let outcome = shared.outcome(request, reply?);
                        shared.replica.supersede(id, sequence);
                        Ok(outcome)
                    }
                });
                tickets.answer(outcomes);
                Ok(())
            }
            Err(trouble) => {
                if trouble == Trouble::TimedOut {
                    shared.stats.timeouts.add(requests.len() as u64);
                }
                tickets.answer(calls.map(|(request, sequence)| shared.answer_request_from_memory(request, sequence)));
                Err(trouble)
            }
        }
    }
}

impl Shared {
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
}
