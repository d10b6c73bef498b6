//! The sessions that this process holds: what it knows of Redis, and what was changed while Redis was away, until Redis
//! has it.
//!
//! Both are bounded by bytes together and expire by themselves. What Redis has too is evicted when there is no room. What
//! was changed here exists nowhere else: when that alone fills the table, a write is refused.
//!
//! Calls whose answers did not come from Redis arrive here late, and not always in their order. Each change carries the
//! [`Sequence`] of its call, and an earlier call never undoes a later one.

mod known;
mod lease;
mod sweep;
mod table;
mod touches;
mod view;
mod words;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::{Clock, Moment, Timestamp};
use crate::error::Error;
use crate::session::{Base, Lifetime, Record, Save, SessionId};
pub use table::{Change, Kind, Sequence};
use table::{Entry, Table};
use view::View;
pub use view::{Found, Token};
pub use words::Words;

/// What the table knows of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Nothing: ask Redis.
    Unknown,
    /// It was destroyed here.
    Destroyed,
    /// It was written here.
    Held(Record),
}

/// A change that Redis has to be told of.
#[derive(Debug, Clone)]
pub struct Pending {
    /// The session.
    pub id: SessionId,
    /// What to tell.
    pub change: Change,
    /// When the session ends, `None` when it does not.
    pub deadline: Option<Timestamp>,
    sequence: Sequence,
}

impl Pending {
    fn new(id: &SessionId, entry: &Entry) -> Self {
        Self { id: id.clone(), change: entry.change.clone(), deadline: entry.deadline, sequence: entry.sequence }
    }
}

/// The table of one store. Every method is short and safe to call from the event loop's thread.
pub struct Replica {
    clock: Arc<dyn Clock>,
    max_bytes: usize,
    table: Mutex<Table>,
    /// Entries in the table, to be read without its lock.
    entries: AtomicUsize,
    /// Locked after the table, where both are.
    view: Mutex<View>,
    /// How long a renewal may wait, when that was configured.
    touch_window: Option<Duration>,
    /// Wakes the sweep of a table that was empty.
    occupied: Notify,
}

impl Replica {
    /// An empty table of at most `max_bytes`. What is known of Redis is trusted for `max_stale`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, max_bytes: usize, max_stale: Duration, touch_window: Option<Duration>) -> Self {
        Self {
            clock,
            max_bytes,
            table: Mutex::default(),
            entries: AtomicUsize::new(0),
            view: Mutex::new(View::new(max_bytes as u64, max_stale)),
            touch_window,
            occupied: Notify::new(),
        }
    }

    /// Whether nothing was changed that Redis does not have, at the cost of one load.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many changes Redis does not have, destroyed sessions included.
    pub fn len(&self) -> usize {
        self.entries.load(Ordering::Acquire)
    }

    /// How many entries it holds: what it knows of Redis, and changes that Redis does not have.
    pub fn entries(&self) -> usize {
        self.len() + self.view().known.len()
    }

    /// How many bytes all of them account for.
    pub fn bytes(&self) -> usize {
        let changes = self.table().total_bytes();
        changes + usize::try_from(self.view().known.bytes()).unwrap_or(usize::MAX)
    }

    /// Whether anything is known of a session.
    pub fn holds(&self, id: &SessionId) -> bool {
        !self.is_empty() && self.table().get(id).is_some_and(|entry| entry.is_live(self.clock.now()))
    }

    /// What is known of a session.
    pub fn load(&self, id: &SessionId) -> Lookup {
        if self.is_empty() {
            return Lookup::Unknown;
        }
        let now = self.clock.now();
        match self.table().get(id).filter(|entry| entry.is_live(now)) {
            None => Lookup::Unknown,
            Some(Entry { change: Change::Destroy, .. }) => Lookup::Destroyed,
            Some(Entry { change: Change::Save { text, .. }, deadline, .. }) => {
                Lookup::Held(Record { text: text.to_string(), lifetime: remaining(*deadline, now) })
            }
        }
    }

    /// Holds a session until Redis has it. `false` when it is refused, because the session that it was made from is gone.
    /// One that the table does not know may be in Redis, if there is one to be `in_redis`.
    ///
    /// # Errors
    ///
    /// [`Error::Full`]; then the table is as before.
    pub fn save(&self, id: &SessionId, save: &Save, in_redis: bool, sequence: Sequence) -> Result<bool, Error> {
        let now = self.clock.now();
        let mut table = self.table();
        let mut first = sequence;
        let (text, base, deadline, sequence) = match table.get(id).filter(|entry| entry.is_live(now)) {
            Some(Entry { change: Change::Save { text, base }, deadline, sequence: held, first: held_first })
                if *held > sequence =>
            {
                // It comes late: what was made of the session since is the later save. And Redis may not even have this.
                let later = Save { text: text.to_string(), deadline: *deadline, base: save.base.clone() };
                let text = if matches!(save.base, Base::Text(_)) { later.merged_with(&save.text) } else { None };
                // The base of the earliest is what Redis had for certain.
                let base = if *base == Base::None || *held_first < sequence { base.clone() } else { save.base.clone() };
                first = first.min(*held_first);
                (text.unwrap_or(later.text), base, *deadline, *held)
            }
            Some(Entry { sequence: held, .. }) if *held > sequence => return Ok(false),
            Some(Entry { change: Change::Save { text, base }, first: held_first, .. }) => {
                first = *held_first;
                let merged = save.merged_with(text).unwrap_or_else(|| save.text.clone());
                let base = if save.base == Base::None { Base::None } else { base.clone() };
                (merged, base, save.deadline, sequence)
            }
            Some(_) if save.is_of_a_loaded_session() => return Ok(false),
            None if save.is_of_a_loaded_session() && !in_redis => return Ok(false),
            None if save.is_of_a_loaded_session() && self.is_known_missing(id) => return Ok(false),
            None if matches!(save.base, Base::Text(_)) => match self.known_text(id) {
                // What Redis had when it was last seen is what this is merged with, and what Redis is to be asked for.
                Some(known) if let Some(merged) = save.merged_with(&known) => {
                    (merged, Base::Text(known.to_string()), save.deadline, sequence)
                }
                _ => (save.text.clone(), save.base.clone(), save.deadline, sequence),
            },
            _ => (save.text.clone(), save.base.clone(), save.deadline, sequence),
        };
        Self::put(&mut table, self.max_bytes, id, Change::Save { text: text.into(), base }, deadline, sequence)?;
        table.set_first(id, first);
        self.note_size(&table);
        self.view().known.unmark(id);
        Ok(true)
    }

    /// Whether such a save means merging, which takes time.
    pub fn would_merge(&self, id: &SessionId, save: &Save) -> bool {
        let Base::Text(base) = &save.base else { return false };
        let held = self.table().get(id).map(|entry| match &entry.change {
            Change::Save { text, .. } => **text != **base,
            Change::Destroy => false,
        });
        held.unwrap_or_else(|| self.known_text(id).is_some_and(|text| *text != **base))
    }

    /// It is not known whether this change was written.
    pub fn may_be_in_redis(&self, pending: &Pending) {
        self.table().rebase(&pending.id, |base| if base == Base::None { Base::Unsure } else { base });
    }

    /// Something else than the base of this change stands in Redis: what came of the two is to be written over that.
    pub fn rebase(&self, pending: &Pending, merged: &str, stored: String) {
        let mut table = self.table();
        if table.get(&pending.id).is_some_and(|entry| entry.sequence == pending.sequence) {
            let change = Change::Save { text: merged.into(), base: Base::Text(stored) };
            table.put(pending.id.clone(), change, pending.deadline, pending.sequence);
        }
    }

    /// Remembers that a session is destroyed, until `deadline`: by then Redis has forgotten it too.
    ///
    /// # Errors
    ///
    /// [`Error::Full`]; then the table is as before. Fail closed: a logout that cannot be remembered is not done.
    pub fn destroy(&self, id: &SessionId, deadline: Timestamp, sequence: Sequence) -> Result<(), Error> {
        let mut table = self.table();
        if table.get(id).is_none_or(|entry| entry.sequence <= sequence) {
            Self::put(&mut table, self.max_bytes, id, Change::Destroy, Some(deadline), sequence)?;
            self.note_size(&table);
            self.view().forget(id);
        }
        Ok(())
    }

    /// Forgets a session that only this process ever had.
    pub fn forget(&self, id: &SessionId) {
        self.remove_if(id, |_| true);
    }

    /// Forgets every session: only this process ever had them.
    pub fn clear(&self) {
        let mut table = self.table();
        *table = Table::default();
        self.entries.store(0, Ordering::Release);
    }

    /// Renews a session, if the table holds it.
    pub fn touch(&self, id: &SessionId, deadline: Option<Timestamp>, sequence: Sequence) {
        let now = self.clock.now();
        let mut table = self.table();
        if let Some(entry) = table.get(id).filter(|entry| entry.is_session(now) && entry.sequence < sequence) {
            let change = entry.change.clone();
            table.put(id.clone(), change, deadline, sequence);
        }
    }

    /// Destroys every session that the table holds.
    pub fn destroy_all(&self, deadline: Timestamp, sequence: Sequence) {
        self.table().destroy_all(deadline, sequence);
        self.view().flush();
    }

    /// Redis did what a call asked for: what an earlier call of the same session left here is past.
    pub fn supersede(&self, id: &SessionId, sequence: Sequence) {
        self.remove_if(id, |entry| entry.sequence < sequence);
    }

    /// How many sessions it holds.
    pub fn count(&self) -> u64 {
        let now = self.clock.now();
        self.table().after(None).filter(|(_, entry)| entry.is_session(now)).count() as u64
    }

    /// The next `limit` sessions after `id`, in the order of their ids, with their texts.
    pub fn page(&self, id: Option<&SessionId>, limit: usize) -> Vec<(SessionId, String)> {
        let now = self.clock.now();
        let table = self.table();
        let sessions =
            table.after(id).filter(|(_, entry)| entry.is_live(now)).filter_map(|(id, entry)| match &entry.change {
                Change::Save { text, .. } => Some((id.clone(), text.to_string())),
                Change::Destroy => None,
            });
        sessions.take(limit).collect()
    }

    /// Changes of a kind for Redis, those after `id` in the order of their ids: at most `limit` of them, and of `bytes`,
    /// but one at least.
    pub fn pending(&self, kind: Kind, id: Option<&SessionId>, limit: usize, bytes: usize) -> Vec<Pending> {
        let now = self.clock.now();
        let table = self.table();
        let live = table.after(id).filter(|(_, entry)| entry.is_live(now) && entry.change.kind() == kind);
        let mut room = bytes;
        let fitting = live.take(limit).take_while(|(_, entry)| {
            let fits = room > 0;
            room = room.saturating_sub(entry.change.bytes());
            fits
        });
        fitting.map(|(id, entry)| Pending::new(id, entry)).collect()
    }

    /// The change of one session, if there is one.
    pub fn pending_for(&self, id: &SessionId) -> Option<Pending> {
        let now = self.clock.now();
        self.table().get(id).filter(|entry| entry.is_live(now)).map(|entry| Pending::new(id, entry))
    }

    /// Redis has this change: lets go of it, unless it has changed again since.
    pub fn settle(&self, pending: &Pending) {
        self.remove_if(&pending.id, |entry| entry.sequence == pending.sequence);
    }

    fn remove_if(&self, id: &SessionId, condition: impl FnOnce(&Entry) -> bool) {
        if self.is_empty() {
            return;
        }
        let mut table = self.table();
        if table.get(id).is_some_and(condition) {
            table.remove(id);
            self.note_size(&table);
        }
    }

    fn put(
        table: &mut Table,
        max_bytes: usize,
        id: &SessionId,
        change: Change,
        deadline: Option<Timestamp>,
        sequence: Sequence,
    ) -> Result<(), Error> {
        if table.bytes_with(id, &change) > change.share_of(max_bytes) {
            return Err(Error::Full { max_bytes });
        }
        table.put(id.clone(), change, deadline, sequence);
        Ok(())
    }

    fn note_size(&self, table: &Table) {
        self.entries.store(table.len(), Ordering::Release);
        self.view().known.set_max_bytes(self.max_bytes.saturating_sub(table.total_bytes()) as u64);
        self.occupied.notify_one();
    }

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
            view.keep(slot, id, *version, moment, steady);
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

    /// Redis has lost what it had: what was changed here is written even where nothing stands.
    pub fn redis_lost_everything(&self) {
        self.table().rebase_all(|base| match base {
            Base::Text(text) => Base::Lost(text),
            Base::Any => Base::Unsure,
            other => other,
        });
    }

    /// All sessions that Redis had when it was last seen, and that were not destroyed here since.
    pub fn all_last_seen(&self) -> Vec<(SessionId, Arc<str>, Option<Timestamp>)> {
        let known = self.view().known.live(self.clock.now());
        let table = self.table();
        let is_destroyed = |id: &SessionId| table.get(id).is_some_and(|entry| entry.change == Change::Destroy);
        known.into_iter().filter(|(id, ..)| !is_destroyed(id)).collect()
    }

    /// Keeps a session that Redis has lost and could not be given yet.
    pub fn keep_for_later(&self, id: &SessionId, text: &Arc<str>, deadline: Option<Timestamp>) {
        let mut table = self.table();
        if table.get(id).is_none() {
            let change = Change::Save { text: text.clone(), base: Base::Absent };
            // No room: it is as if it had been evicted.
            let _ = Self::put(&mut table, self.max_bytes, id, change, deadline, 0);
            self.note_size(&table);
            self.view().known.unmark(id);
        }
    }

    fn is_known_missing(&self, id: &SessionId) -> bool {
        let now = self.clock.now();
        self.view().known.peek(id).is_some_and(|entry| entry.text.is_none() && entry.is_live(now))
    }

    /// A session was destroyed in Redis: a request that still holds it must not bring it back, whatever happens to Redis.
    pub fn note_destroyed(&self, id: &SessionId) {
        self.note_untracked(id, None, None);
    }

    /// A session was written to Redis, which does not tell of the next change.
    pub fn note_written(&self, id: &SessionId, text: &str, deadline: Option<Timestamp>) {
        self.note_untracked(id, Some(text.into()), deadline);
    }

    fn note_untracked(&self, id: &SessionId, text: Option<Arc<str>>, deadline: Option<Timestamp>) {
        self.view().enter_untrusted(id, text, deadline, self.clock.now());
        self.occupied.notify_one();
    }

    fn known_text(&self, id: &SessionId) -> Option<Arc<str>> {
        let now = self.clock.now();
        self.view().known.peek(id).filter(|entry| entry.is_live(now)).and_then(|entry| entry.text.clone())
    }

    /// Renews a session that is known. Redis is told later, by [`Replica::take_touches`]. `false` when it has to be told
    /// now.
    pub fn touch_known(&self, id: &SessionId, deadline: Option<Timestamp>) -> bool {
        self.touch_in(&mut self.view(), id, deadline, self.clock.now())
    }

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
        } else {
            view.known.set_deadline_in_redis(id, deadline);
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

    /// A session is about to be read. Others may wait for the same read when it is `shared`.
    pub fn begin_load(&self, id: &SessionId, shared: bool) -> Token {
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

    /// Notes what Redis has. `None`: no such session. `false` when another change has spoiled the token.
    pub fn enter(&self, id: &SessionId, token: Token, text: Option<&str>, deadline: Option<Timestamp>) -> bool {
        let is_entered = self.view().enter(id, token, text.map(Arc::from), deadline, self.clock.now());
        self.occupied.notify_one();
        is_entered
    }

    /// A command is over that showed nothing to note.
    pub fn end(&self, id: &SessionId, token: Token) {
        self.view().end(id, token);
    }

    /// A session is about to be written without a token.
    pub fn spoil(&self, id: &SessionId) {
        self.view().spoil(id);
    }

    /// A session is about to be destroyed, or nobody knows what has become of it.
    pub fn forget_known(&self, id: &SessionId) {
        self.view().forget(id);
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

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table is whole at every point where a panic could leave the lock poisoned.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remaining(deadline: Option<Timestamp>, now: Timestamp) -> Lifetime {
    deadline.map_or(Lifetime::Unlimited, |deadline| Lifetime::Millis(deadline.since(now).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn replica(max_bytes: usize) -> (Replica, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::default());
        (Replica::new(clock.clone(), max_bytes, Duration::from_secs(1), None), clock)
    }

    fn id(text: &str) -> SessionId {
        SessionId::parse(text).expect("a usable id")
    }

    fn new(text: &str, deadline: u64) -> Save {
        Save { text: text.to_owned(), deadline: Some(Timestamp(deadline)), base: Base::None }
    }

    fn record(text: &str, millis: u64) -> Record {
        Record { text: text.into(), lifetime: Lifetime::Millis(millis) }
    }

    #[test]
    fn holds_a_session_until_its_deadline() {
        let (replica, clock) = replica(1 << 20);
        replica.save(&id("a"), &new("text", 100), true, 1).expect("there is room");
        clock.advance(99);
        assert_eq!(replica.load(&id("a")), Lookup::Held(record("text", 1)));
        clock.advance(1);
        assert_eq!(replica.load(&id("a")), Lookup::Unknown);
        replica.touch(&id("a"), Some(Timestamp(100)), 2);
        assert_eq!(replica.load(&id("a")), Lookup::Unknown, "P3: an expired session was brought back");
    }

    #[test]
    fn a_destroyed_session_stays_destroyed() {
        let (replica, _clock) = replica(1 << 20);
        replica.save(&id("a"), &new("text", 100), true, 1).expect("there is room");
        replica.destroy(&id("a"), Timestamp(1000), 2).expect("there is room");
        replica.touch(&id("a"), Some(Timestamp(100)), 3);
        assert_eq!(replica.load(&id("a")), Lookup::Destroyed);
        assert_eq!(replica.count(), 0);
        assert!(replica.page(None, 10).is_empty());
    }

    #[test]
    fn refuses_what_does_not_fit_and_keeps_what_it_has() {
        let (replica, _clock) = replica(4096);
        replica.save(&id("a"), &new("small", 100), true, 1).expect("there is room");
        let error = replica.save(&id("b"), &new(&"x".repeat(5000), 100), true, 2).expect_err("too big");
        assert_eq!(error.code(), "ERR_STORE_FULL");
        assert_eq!(replica.load(&id("a")), Lookup::Held(record("small", 100)));
        assert_eq!(replica.load(&id("b")), Lookup::Unknown);
    }

    #[test]
    fn lets_go_of_what_redis_has_unless_it_changed_again() {
        let (replica, _clock) = replica(1 << 20);
        replica.save(&id("a"), &new("first", 100), true, 1).expect("there is room");
        let sent = replica.pending(Kind::Saved, None, 10, 1 << 20).remove(0);
        replica.save(&id("a"), &new("second", 100), true, 2).expect("there is room");
        replica.settle(&sent);
        assert_eq!(replica.load(&id("a")), Lookup::Held(record("second", 100)));
        replica.settle(&replica.pending(Kind::Saved, None, 10, 1 << 20).remove(0));
        assert!(replica.is_empty());
        assert_eq!(replica.bytes(), 0);
    }

    #[test]
    fn an_earlier_call_never_undoes_a_later_one() {
        let (replica, _clock) = replica(1 << 20);
        replica.destroy(&id("a"), Timestamp(1000), 5).expect("there is room");
        replica.save(&id("a"), &new("late", 100), true, 4).expect("it is ignored");
        assert_eq!(replica.load(&id("a")), Lookup::Destroyed, "P3: a destroyed session was brought back");
        replica.supersede(&id("a"), 4);
        assert_eq!(replica.load(&id("a")), Lookup::Destroyed);
        replica.supersede(&id("a"), 6);
        assert_eq!(replica.load(&id("a")), Lookup::Unknown);
    }

    #[test]
    fn a_listing_goes_on_where_it_stopped() {
        let (replica, _clock) = replica(1 << 20);
        for name in ["a", "b", "c", "d"] {
            replica.save(&id(name), &new(name, 100), true, 1).expect("there is room");
        }
        replica.destroy(&id("b"), Timestamp(100), 2).expect("there is room");
        let entry = |name: &str| (id(name), name.to_owned());
        assert_eq!(replica.count(), 3);
        assert_eq!(replica.page(None, 2), [entry("a"), entry("c")]);
        assert_eq!(replica.page(Some(&id("c")), 2), [entry("d")]);
        assert!(replica.page(Some(&id("d")), 2).is_empty());
    }

    #[test]
    fn destroyed_sessions_take_no_room_from_new_ones() {
        let (replica, _clock) = replica(8192);
        let refused = (0..100).map(|n| replica.destroy(&id(&format!("unknown-{n}")), Timestamp(1000), n));
        assert!(refused.filter(Result::is_err).count() > 0, "a share of the table is theirs, and no more");
        replica.save(&id("a"), &new(&"x".repeat(7000), 100), true, 200).expect("there is room");
    }

    #[test]
    fn a_batch_of_changes_is_bounded() {
        let (replica, _clock) = replica(1 << 20);
        for n in 0..10 {
            replica.save(&id(&format!("{n}")), &new(&"x".repeat(1000), 100), true, n).expect("there is room");
        }
        assert_eq!(replica.pending(Kind::Saved, None, 3, 1 << 20).len(), 3);
        assert_eq!(replica.pending(Kind::Saved, None, 10, 2500).len(), 3);
        assert_eq!(replica.pending(Kind::Saved, Some(&id("7")), 10, 1).len(), 1);
        assert!(replica.pending(Kind::Destroyed, None, 10, 1 << 20).is_empty());
    }
}
