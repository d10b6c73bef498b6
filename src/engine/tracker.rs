//! What a connection shows of the sessions, noted in the table.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Operation, Shared};
use crate::clock::{Moment, Timestamp};
use crate::error::Error;
use crate::redis::{Connection, Reply, Request, Session, Trouble, Watch};
use crate::replica::{Shown, Token};
use crate::session::{Record, Save, SessionId};

/// Takes note of what one connection is told.
pub(super) struct Tracker {
    shared: Arc<Shared>,
    /// The number of the connection. What comes late, from one that was given up, is not for the next.
    connection: u64,
}

impl Tracker {
    /// For a new connection.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let connection = shared.replica.connect();
        Self { shared, connection }
    }
}

impl Watch for Tracker {
    fn sending(&self) -> Moment {
        self.shared.replica.moment()
    }

    fn answered(&self, sent: Moment) {
        self.shared.replica.renew_lease(self.connection, sent);
    }

    fn changed(&self, key: &[u8]) {
        if let Some(id) = self.shared.keys.id(key)
            && self.shared.replica.invalidate(&id)
        {
            self.shared.stats.invalidations.increment();
        }
    }

    fn flushed(&self) {
        self.shared.stats.invalidations.increment();
        self.shared.replica.flush();
        // The marker is gone too, and whoever removed everything meant it: nothing is to be put back.
        self.shared.recovery().forget_marker();
    }

    fn lost(&self) {
        if self.shared.replica.disconnect(self.connection) {
            self.shared.stats.lease_losses.increment();
        }
    }
}

/// With what replies came.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) round_trip: Duration,
    /// Redis tells of changes.
    pub(super) tracks: bool,
    /// When they are looked at.
    pub(super) now: Timestamp,
}

impl Shared {
    /// What a request may note when it is answered. It has to be asked for before the request is sent. Reads of the same
    /// session may wait for a read that is `shared`: whoever sends it answers them.
    pub(super) fn token(&self, connection: &Connection, request: &Request, shared: bool) -> Option<Token> {
        match request {
            Request::Load(id) if connection.tracks() => self.replica.begin_load(id, shared),
            Request::Save(id, _) if connection.tracks() => Some(self.replica.begin_write(id)),
            Request::Save(id, _) | Request::Destroy(id) | Request::Bury(id) => {
                self.replica.forget_known(id);
                None
            }
            Request::Load(_) | Request::LoadText(_) | Request::Touch(..) => None,
        }
    }

    /// Who waits for a read that was under way when they asked.
    pub(super) fn joined(&self) -> MutexGuard<'_, HashMap<Token, Vec<Operation>>> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends requests that nobody waits for, and notes what comes of them.
    pub(super) async fn run(
        &self,
        connection: &Connection,
        requests: Vec<Request>,
    ) -> Result<Vec<Result<Reply, Error>>, Trouble> {
        let tokens: Vec<_> = requests.iter().map(|request| self.token(connection, request, false)).collect();
        let sent = self.now();
        let replies = connection.run(&self.keys, &requests, sent).await;
        let now = self.now();
        let arrival = Arrival { round_trip: Duration::from_millis(now.since(sent)), tracks: connection.tracks(), now };
        for (at, (request, token)) in requests.iter().zip(tokens).enumerate() {
            if let Ok(Some(Ok(reply))) = replies.as_ref().map(|replies| replies.get(at)) {
                self.note(request, token, reply, arrival);
            } else if let Some(token) = token {
                self.replica.end(request.id(), token);
            }
        }
        replies
    }

    /// Notes what a reply shows, and is done with the token. Returns the version of what was written, when JavaScript may
    /// keep it.
    pub(super) fn note(&self, request: &Request, token: Option<Token>, reply: &Reply, arrival: Arrival) -> Option<u64> {
        match (request, reply, token) {
            (Request::Load(id), Reply::Loaded(Session::Found(record)), Some(token)) => {
                self.note_loaded(id, token, Some(record), arrival);
            }
            (Request::Load(id), Reply::Loaded(Session::Missing), Some(token)) => {
                self.note_loaded(id, token, None, arrival);
            }
            (Request::Save(id, save), reply, token) if arrival.tracks => {
                return self.note_saved(id, token, save, reply, arrival);
            }
            (Request::Save(id, save), Reply::Gone, _) if save.is_of_a_loaded_session() => {
                self.replica.note_destroyed(id);
            }
            (Request::Save(id, _), Reply::Done | Reply::Untracked | Reply::Late, _) => self.replica.note_made(id),
            (Request::Destroy(id) | Request::Bury(id), ..) => self.replica.note_destroyed(id),
            // Redis does not tell of the next change, or has no such session any more.
            (Request::Touch(id, _), Reply::Untracked | Reply::Gone, _) => drop(self.replica.invalidate(id)),
            (request, _, Some(token)) => self.replica.end(request.id(), token),
            _ => {}
        }
        None
    }

    /// Notes what Redis had at the latest when it was asked.
    fn note_loaded(&self, id: &SessionId, token: Token, record: Option<&Record>, arrival: Arrival) {
        let deadline = record.and_then(|record| arrival.now.after(record.lifetime)).map(|deadline| {
            Timestamp(deadline.0.saturating_sub(u64::try_from(arrival.round_trip.as_millis()).unwrap_or(u64::MAX)))
        });
        let text = record.map(|record| record.text.as_str().into());
        self.replica.enter(id, token, Shown { text, deadline, slot: None }, true, arrival.now);
    }

    fn note_saved(
        &self,
        id: &SessionId,
        token: Option<Token>,
        save: &Save,
        reply: &Reply,
        arrival: Arrival,
    ) -> Option<u64> {
        let is_written = matches!(reply, Reply::Done | Reply::Untracked);
        let version = token.filter(|_| is_written).and_then(|token| {
            let shown = Shown { text: Some(save.text.clone()), deadline: save.deadline, slot: save.slot };
            self.replica.enter(id, token, shown, *reply == Reply::Done, arrival.now)
        });
        match reply {
            // Later writes that are under way say what Redis had before this one.
            Reply::Late => self.replica.forget_known(id),
            // Redis does not tell of the end of what was not read.
            Reply::Gone if save.is_of_a_loaded_session() => self.replica.note_gone(id, token),
            _ if version.is_none() => self.replica.forget_unless_written(id),
            _ => {}
        }
        if let Some(token) = token.filter(|_| !is_written) {
            self.replica.end(id, token);
        }
        version.filter(|_| save.slot.is_some() && *reply == Reply::Done)
    }
}
