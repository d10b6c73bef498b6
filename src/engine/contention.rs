//! Saves that met a change of another's: merged with it and written again.
//!
//! Those of one session are worked on together, in the order of their calls: however many processes and requests write
//! to it, each process sends one save at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use super::ticket::Tickets;
use super::{Outcome, Shared};
use crate::error::Error;
use crate::failover::Backoff;
use crate::redis::{Connection, Reply, Request};
use crate::replica::Sequence;
use crate::session::{Base, Save, SessionId, merge};

/// After so many tries in a row in which another was faster, the callers are told.
const ATTEMPTS: u32 = 40;

const BACKOFF: Backoff = Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(50) };

/// A save that was not written, and who waits for it.
pub(super) struct Waiting {
    pub(super) ticket: Tickets,
    pub(super) sequence: Sequence,
    pub(super) save: Save,
}

/// The sessions that are contended, each with the saves that wait.
#[derive(Default)]
pub(super) struct Contended(Mutex<HashMap<SessionId, Vec<Waiting>>>);

impl Contended {
    pub(super) fn holds(&self, id: &SessionId) -> bool {
        self.sessions().contains_key(id)
    }

    /// Adds one. `true` when it is the first of its session: then someone has to [`settle`] it.
    pub(super) fn add(&self, id: &SessionId, waiting: Waiting) -> bool {
        let mut sessions = self.sessions();
        let is_first = !sessions.contains_key(id);
        sessions.entry(id.clone()).or_default().push(waiting);
        is_first
    }

    fn take(&self, id: &SessionId) -> Vec<Waiting> {
        self.sessions().get_mut(id).map(std::mem::take).unwrap_or_default()
    }

    fn finish(&self, id: &SessionId) {
        self.sessions().remove(id);
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Vec<Waiting>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes all that waits for a session, over `stored` and whatever comes after it.
pub(super) async fn settle(shared: Arc<Shared>, connection: Connection, id: SessionId, mut stored: Arc<str>) {
    let mut attempt = 0;
    let mut group = Vec::new();
    loop {
        group.extend(shared.contended.take(&id));
        if group.is_empty() {
            return shared.contended.finish(&id);
        }
        match write(&shared, &connection, &id, &group, &stored).await {
            Written::As(text) => {
                shared.stats.merged.add(group.len() as u64);
                shared.answer(&id, &mut group, &Ok(Outcome::Done));
                stored = text;
                attempt = 0;
            }
            Written::No(other) => {
                stored = other;
                attempt += 1;
                shared.stats.conflicts.increment();
                if attempt == ATTEMPTS {
                    shared.answer(&id, &mut group, &Err(Error::Contended));
                    attempt = 0;
                } else {
                    sleep(BACKOFF.delay(attempt, rand::random())).await;
                }
            }
            Written::Gone => {
                for _ in &group {
                    shared.refuse(&id);
                }
                shared.answer(&id, &mut group, &Ok(Outcome::Done));
            }
            Written::Refused(error) => shared.answer(&id, &mut group, &Err(error)),
            Written::Unknown => {
                for Waiting { ticket, sequence, save } in group.drain(..) {
                    let request = Request::Save(id.clone(), save);
                    ticket.answer(std::iter::once(shared.answer_request_from_memory(&request, sequence)));
                }
            }
        }
    }
}

/// What came of writing a group.
enum Written {
    /// All of it was written, as this text.
    As(Arc<str>),
    /// Nothing was: this stands there.
    No(Arc<str>),
    Gone,
    Refused(Error),
    /// Redis is away.
    Unknown,
}

async fn write(
    shared: &Shared,
    connection: &Connection,
    id: &SessionId,
    group: &[Waiting],
    stored: &Arc<str>,
) -> Written {
    // An earlier save was refused, or has no answer yet: these are made from it, and follow it from memory.
    if shared.replica.holds(id) {
        return Written::Unknown;
    }
    let merged = group.iter().try_fold(stored.clone(), |text, waiting| waiting.save.merged_with(&text));
    let (Some(text), Some(last)) = (merged, group.last()) else {
        if merge("{}", "{}", stored).is_some() {
            return Written::Refused(Error::Nested);
        }
        shared.report_unreadable(id, "it is no JSON object");
        return Written::Gone;
    };
    let save = Save::new(text.clone(), last.save.deadline, Base::Text(stored.clone()));
    let mut replies = shared.run(connection, vec![Request::Save(id.clone(), save)]).await;
    match replies.as_mut().map(Vec::pop) {
        Ok(Some(Ok(Reply::Done | Reply::Untracked | Reply::Late | Reply::Loaded(_)))) => Written::As(text),
        Ok(Some(Ok(Reply::Conflict(other)))) => Written::No(other),
        Ok(Some(Ok(Reply::Gone))) => Written::Gone,
        Ok(Some(Err(error))) if !error.is_outage() && !error.is_write_refusal() => Written::Refused(error),
        Ok(_) | Err(_) => Written::Unknown,
    }
}

impl Shared {
    fn answer(&self, id: &SessionId, group: &mut Vec<Waiting>, outcome: &Result<Outcome, Error>) {
        for Waiting { ticket, sequence, .. } in group.drain(..) {
            self.replica.supersede(id, sequence);
            ticket.answer(std::iter::once(outcome.clone()));
        }
    }
}
