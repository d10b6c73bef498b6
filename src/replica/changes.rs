//! What was changed here and Redis does not have yet: the doors to [`Table`].

use std::sync::atomic::Ordering;

use super::table::{Change, Entry, Sequence, Table};
use super::{Replica, remaining};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::session::{Base, Record, Save, SessionId};

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

impl Replica {
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
            Some(Entry {
                change: Change::Save { text, base }, deadline, sequence: held, first: held_first, ..
            }) if *held > sequence => {
                // It comes late: what was made of the session since is the later save. And Redis may not even have this.
                let later = Save::new(text.clone(), *deadline, save.base.clone());
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
                    (merged, Base::Text(known.clone()), save.deadline, sequence)
                }
                _ => (save.text.clone(), save.base.clone(), save.deadline, sequence),
            },
            _ => (save.text.clone(), save.base.clone(), save.deadline, sequence),
        };
        Self::put(&mut table, self.max_bytes, id, Change::Save { text, base }, deadline, sequence)?;
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
        table.clear();
        self.entries.store(0, Ordering::Release);
    }

    /// Renews a session, if the table holds it.
    pub fn touch(&self, id: &SessionId, deadline: Option<Timestamp>, sequence: Sequence) {
        let now = self.clock.now();
        let mut table = self.table();
        if let Some(entry) = table.get(id).filter(|entry| entry.is_session(now) && entry.sequence < sequence) {
            let (change, first) = (entry.change.clone(), entry.first);
            table.put(id.clone(), change, deadline, sequence);
            table.set_first(id, first);
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

    pub(super) fn remove_if(&self, id: &SessionId, condition: impl FnOnce(&Entry) -> bool) {
        if self.is_empty() {
            return;
        }
        let mut table = self.table();
        if table.get(id).is_some_and(condition) {
            table.remove(id);
            self.note_size(&table);
        }
    }

    pub(super) fn put(
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

    pub(super) fn note_size(&self, table: &Table) {
        self.entries.store(table.len(), Ordering::Release);
        self.view().known.set_max_bytes(self.max_bytes.saturating_sub(table.total_bytes()) as u64);
        self.occupied.notify_one();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;
    use crate::session::Lifetime;

    pub(in crate::replica) fn replica(max_bytes: usize) -> (Replica, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::default());
        (Replica::new(clock.clone(), max_bytes, Duration::from_secs(1), None), clock)
    }

    pub(in crate::replica) fn id(text: &str) -> SessionId {
        SessionId::parse(text).expect("a usable id")
    }

    pub(in crate::replica) fn new(text: &str, deadline: u64) -> Save {
        Save::new(text.to_owned(), Some(Timestamp(deadline)), Base::None)
    }

    pub(in crate::replica) fn record(text: &str, millis: u64) -> Record {
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
}
