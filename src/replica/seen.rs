//! What Redis had when it was last seen: the doors to [`View`].

use std::sync::Arc;

use super::table::Change;
use super::view::{Found, Shown, Token, View};
use super::words::Words;
use super::{Replica, remaining, touches};
use crate::clock::{Moment, Timestamp};
use crate::session::{Record, SessionId};

impl Replica {
    /// What is known of a session, to JavaScript: it keeps this beside a slot, and its steady clock shows `steady`.
    pub fn find(&self, id: &str, slot: u32, steady: f64) -> Found {
        let (now, moment) = (self.clock.now(), self.clock.moment());
        // As long as the table is locked, nothing gets into it that the slot does not show.
        let table = (!self.is_empty()).then(|| self.table());
        if table.as_ref().is_some_and(|table| table.contains(id)) {
            return Found::Nothing;
        }
        let mut view = self.view();
        let found = view.find(id, now, moment);
        if let Found::Text { version, .. } = &found
            && let Ok(id) = SessionId::parse(id)
        {
            view.keep(slot, id, *version);
            view.set_clock(moment, steady);
        }
        found
    }

    /// Whether what is known of a session may be relied on without asking Redis.
    pub fn trusts(&self, id: &SessionId) -> bool {
        let holds = !self.is_empty() && self.table().contains(id.as_str());
        !holds && self.view().find(id.as_str(), self.clock.now(), self.clock.moment()) != Found::Nothing
    }

    /// Renews sessions that JavaScript keeps beside slots: slot, version, deadline. Redis is told later, by
    /// [`Replica::take_touches`]. Returns the places of those of which that cannot be said any more.
    pub fn touch_kept(&self, renewals: impl Iterator<Item = (u32, u64, Option<Timestamp>)>) -> Vec<u32> {
        let now = self.clock.now();
        let mut view = self.view();
        let renewals = (0..).zip(renewals);
        let failed = renewals.filter_map(|(at, (slot, version, deadline))| {
            let id = view.kept(slot, version).cloned();
            let is_renewed = id.is_some_and(|id| self.touch_in(&mut view, &id, deadline, now));
            (!is_renewed).then_some(at)
        });
        failed.collect()
    }

    /// The words of this table.
    pub fn words(&self) -> Arc<Words> {
        self.view().words.clone()
    }

    /// What Redis had when it was last seen, fresh or not.
    pub fn last_seen(&self, id: &SessionId) -> Option<Record> {
        let now = self.clock.now();
        let view = self.view();
        let entry = view.known.peek(id).filter(|entry| entry.is_live(now))?;
        Some(Record { text: entry.text.as_ref()?.to_string(), lifetime: remaining(entry.deadline, now) })
    }

    /// All sessions that Redis had when it was last seen, and that were not destroyed here since.
    pub fn all_last_seen(&self) -> Vec<(SessionId, Arc<str>, Option<Timestamp>)> {
        let known = self.view().known.live(self.clock.now());
        let table = self.table();
        let is_destroyed = |id: &SessionId| table.get(id).is_some_and(|entry| entry.change == Change::Destroy);
        known.into_iter().filter(|(id, ..)| !is_destroyed(id)).collect()
    }

    pub(super) fn is_known_missing(&self, id: &SessionId) -> bool {
        let now = self.clock.now();
        self.view().known.peek(id).is_some_and(|entry| entry.text.is_none() && entry.is_live(now))
    }

    /// A session was destroyed in Redis: a request that still holds it must not bring it back, whatever happens to Redis.
    pub fn note_destroyed(&self, id: &SessionId) {
        self.view().note_destroyed(id, self.clock.now());
        self.occupied.notify_one();
    }

    /// A session was written by a connection that is told of no changes: nothing is known of it, not even that it was destroyed.
    pub fn note_made(&self, id: &SessionId) {
        self.view().known.remove(id);
    }

    /// A write showed that a session is gone from Redis.
    pub fn note_gone(&self, id: &SessionId, token: Option<Token>) {
        if let Some(token) = token {
            self.view().end(id, token);
        }
        self.note_destroyed(id);
    }

    pub(super) fn known_text(&self, id: &SessionId) -> Option<Arc<str>> {
        let now = self.clock.now();
        self.view().known.peek(id).filter(|entry| entry.is_live(now)).and_then(|entry| entry.text.clone())
    }

    /// Renews a session that is known. Redis is told later, by [`Replica::take_touches`]. `false` when it has to be told
    /// now.
    pub fn touch_known(&self, id: &SessionId, deadline: Option<Timestamp>) -> bool {
        let mut view = self.view();
        let waits = self.touch_in(&mut view, id, deadline, self.clock.now());
        if !waits {
            view.known.set_deadline_in_redis(id, deadline);
        }
        waits
    }

    /// `false` when the renewal has to be sent now, by a caller who says so in the table.
    fn touch_in(&self, view: &mut View, id: &SessionId, deadline: Option<Timestamp>, now: Timestamp) -> bool {
        let Some(entry) = view.known.get(id).filter(|entry| entry.is_live(now)) else { return false };
        if entry.text.is_none() {
            return true;
        }
        let in_redis = entry.deadline_in_redis;
        view.known.touch(id, deadline);
        if view.touches.holds(id) {
            return view.touches.put(id, deadline, now);
        }
        let due = touches::due(now, deadline, in_redis, self.touch_window);
        if let Some(due) = due {
            view.touches.put(id, deadline, due);
        }
        due.is_some()
    }

    /// Keeps a renewal that Redis could not be told of.
    pub fn keep_touch(&self, id: &SessionId, deadline: Option<Timestamp>) {
        let mut view = self.view();
        if view.known.peek(id).is_some() && !view.touches.holds(id) {
            let now = self.clock.now();
            view.known.touch(id, deadline);
            view.touches.put(id, deadline, now);
        }
    }

    /// Renewals that Redis has to be told of now, up to `limit` of them; of `all`, when nobody can tell it later.
    pub fn take_touches(&self, all: bool, limit: usize) -> Vec<(SessionId, Option<Timestamp>)> {
        let mut view = self.view();
        let taken = view.touches.take((!all).then(|| self.clock.now()), limit);
        for (id, deadline) in &taken {
            view.known.set_deadline_in_redis(id, *deadline);
        }
        taken
    }

    /// How many renewals wait.
    pub fn waiting_touches(&self) -> usize {
        self.view().touches.len()
    }

    /// A session is about to be read. Others may wait for the same read when it is `shared`. `None`: nothing is to be noted.
    pub fn begin_load(&self, id: &SessionId, shared: bool) -> Option<Token> {
        self.view().begin_load(id, shared)
    }

    /// The read of a session that is under way and still shows what is so.
    pub fn load_under_way(&self, id: &SessionId) -> Option<Token> {
        self.view().load_under_way(id)
    }

    /// A session is about to be written.
    pub fn begin_write(&self, id: &SessionId) -> Token {
        self.view().begin_write(id)
    }

    /// Notes what a command has shown, which Redis tells of the next change of when it is `tracked`. Returns its version, `None`
    /// when another change has spoiled the token.
    pub fn enter(&self, id: &SessionId, token: Token, shown: Shown, tracked: bool, now: Timestamp) -> Option<u64> {
        let version = self.view().enter(id, token, shown, tracked, now);
        self.occupied.notify_one();
        version
    }

    /// A command is over that showed nothing to note.
    pub fn end(&self, id: &SessionId, token: Token) {
        self.view().end(id, token);
    }

    /// A session is about to be destroyed, or nobody knows what has become of it.
    pub fn forget_known(&self, id: &SessionId) {
        self.view().forget(id);
    }

    /// A write has come to nothing. What has become of the session is unknown, unless a later write tells.
    pub fn forget_unless_written(&self, id: &SessionId) {
        let mut view = self.view();
        if !view.is_written(id) {
            view.forget(id);
        }
    }

    /// Another client changed a session. `true` when it was known.
    pub fn invalidate(&self, id: &SessionId) -> bool {
        self.view().invalidate(id)
    }

    /// Another client removed everything.
    pub fn flush(&self) {
        self.view().flush();
    }

    /// A new connection is made. Returns its number.
    pub fn connect(&self) -> u64 {
        self.view().connect()
    }

    /// A connection is lost. `true` when it was the one that told of changes.
    pub fn disconnect(&self, connection: u64) -> bool {
        let mut view = self.view();
        let was_it = view.is_connection(connection);
        if was_it {
            view.lose();
        }
        was_it
    }

    /// The present moment, for [`Replica::renew_lease`].
    pub fn moment(&self) -> Moment {
        self.clock.moment()
    }

    /// A command that was sent at this moment, on this connection, was answered.
    pub fn renew_lease(&self, connection: u64, sent: Moment) {
        self.view().renew_lease(connection, sent);
    }

    /// Whether what is known of Redis may be trusted now.
    pub fn holds_lease(&self) -> bool {
        self.view().holds_lease(self.clock.moment())
    }
}
