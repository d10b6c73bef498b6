//! What Redis has to be told of the changes that were made here, and what became of it: what a replay asks.

use std::sync::Arc;

use super::Replica;
use super::table::{Change, Entry, Kind, Sequence};
use crate::clock::Timestamp;
use crate::session::{Base, Fate, Place, SessionId};

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
    revision: u64,
}

impl Pending {
    fn new(id: &SessionId, entry: &Entry) -> Self {
        let Entry { change, deadline, sequence, revision, .. } = entry;
        Self { id: id.clone(), change: change.clone(), deadline: *deadline, sequence: *sequence, revision: *revision }
    }
}

impl Replica {
    /// Changes of a kind that Redis can be told of, those after `id` in the order of their ids: at most `limit` of them, and of `bytes`,
    /// but one at least.
    pub fn pending(&self, kind: Kind, id: Option<&SessionId>, limit: usize, bytes: usize) -> Vec<Pending> {
        let now = self.clock.now();
        let table = self.table();
        let live = table.after(id).filter(|(_, entry)| entry.is_due(now) && entry.change.kind() == kind);
        let mut room = bytes;
        let fitting = live.take(limit).take_while(|(_, entry)| {
            let fits = room > 0;
            room = room.saturating_sub(entry.change.bytes());
            fits
        });
        fitting.map(|(id, entry)| Pending::new(id, entry)).collect()
    }

    /// The change of one session, if there is one that Redis can be told of.
    pub fn pending_for(&self, id: &SessionId) -> Option<Pending> {
        let now = self.clock.now();
        self.table().get(id).filter(|entry| entry.is_due(now)).map(|entry| Pending::new(id, entry))
    }

    /// Redis has this change: lets go of it. What came on top of it meanwhile was made from it.
    pub fn settle(&self, pending: &Pending) {
        self.drop_change(pending);
        if let Change::Save { text, .. } = &pending.change {
            let mut table = self.table();
            table.rebase(&pending.id, |_| Base::Text(text.clone()));
            self.note_size(&table);
        }
    }

    /// Redis is not to have this change: lets go of it, unless it has changed again since.
    pub fn drop_change(&self, pending: &Pending) {
        self.remove_if(&pending.id, |entry| entry.revision == pending.revision);
    }

    /// It is not known whether this change was written, which was sent at `place`.
    pub fn may_be_in_redis(&self, pending: &Pending, place: Option<Place>) {
        let Change::Save { text, .. } = &pending.change else { return };
        let mut table = self.table();
        table.rebase(&pending.id, |base| if base == Base::None { Base::sent(text, place) } else { base });
        self.note_size(&table);
    }

    /// Writes of which it is open whether Redis has them, and the texts that were sent.
    pub fn sent(&self) -> Vec<(SessionId, Arc<str>, Place)> {
        let table = self.table();
        if !table.may_have_sent() {
            return Vec::new();
        }
        let sent = table.after(None).filter_map(|(id, entry)| match &entry.change {
            Change::Save { base: Base::Sent { text, place }, .. } => Some((id.clone(), text.clone(), *place)),
            _ => None,
        });
        sent.collect()
    }

    /// It became known what became of writes.
    pub fn resolve(&self, fate: impl Fn(Place) -> Fate) {
        let mut table = self.table();
        table.rebase_all(|base| match base {
            Base::Sent { text, place } => match fate(place) {
                // Others may have changed or destroyed it since.
                Fate::Executed => Base::Text(text),
                Fate::Never => Base::None,
                Fate::Unknown => Base::Unsure,
                Fate::Open => Base::Sent { text, place },
            },
            other => other,
        });
        self.note_size(&table);
    }

    /// Something else than the base of this change stands in Redis: what came of the two is to be written over that.
    pub fn rebase(&self, pending: &Pending, merged: Arc<str>, stored: Arc<str>) {
        let mut table = self.table();
        if table.get(&pending.id).is_some_and(|entry| entry.revision == pending.revision) {
            let change = Change::Save { text: merged, base: Base::Text(stored) };
            table.put(pending.id.clone(), change, pending.deadline, pending.sequence);
        }
    }

    /// Redis has lost what it had: what was changed here is written even where nothing stands.
    pub fn redis_lost_everything(&self) {
        self.table().rebase_all(|base| match base {
            Base::Text(text) | Base::Sent { text, .. } => Base::Lost(text),
            Base::Any => Base::Unsure,
            other => other,
        });
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::Lookup;
    use crate::replica::changes::tests::{id, new, record, replica};
    use crate::session::Save;

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
    fn what_an_earlier_call_adds_late_is_not_lost_with_what_was_being_written() {
        let (replica, _clock) = replica(1 << 20);
        let save = |text: &str| Save::new(text.to_owned(), None, Base::Text("{}".into()));
        let pending = || replica.pending(Kind::Saved, None, 10, 1 << 20).remove(0);
        replica.save(&id("a"), &save(r#"{"later":1}"#), true, 2).expect("there is room");
        let sent = pending();
        replica.save(&id("a"), &save(r#"{"earlier":1}"#), true, 1).expect("there is room");
        // Its answer: another stands there.
        replica.rebase(&sent, r#"{"later":1,"other":1}"#.into(), r#"{"other":1}"#.into());
        let Change::Save { text, base } = pending().change else { panic!("it is a save") };
        assert!(text.contains("earlier") && text.contains("later"), "{text}");
        assert_eq!(base, Base::Text("{}".into()));
        // Or it was written.
        replica.settle(&sent);
        let Change::Save { text, base } = pending().change else { panic!("it is a save") };
        assert!(text.contains("earlier") && text.contains("later"), "{text}");
        assert_eq!(base, Base::Text(r#"{"later":1}"#.into()));
        replica.settle(&pending());
        assert!(replica.is_empty());
        assert_eq!(replica.bytes(), 0);
    }

    #[test]
    fn what_redis_may_have_waits_until_that_is_known() {
        let (replica, _clock) = replica(1 << 20);
        let place = Place { connection: 1, count: 1 };
        for (fate, base) in [
            (Fate::Executed, Some(Base::Text("sent".into()))),
            (Fate::Never, Some(Base::None)),
            (Fate::Unknown, Some(Base::Unsure)),
            (Fate::Open, None),
        ] {
            let save = Save { place: Some(place), ..new("sent", 100) };
            replica.save(&id("a"), &save.unsure(), true, 1).expect("there is room");
            assert!(replica.pending_for(&id("a")).is_none(), "Redis was told although it may have it");
            replica.resolve(|_| fate);
            let found = replica.pending_for(&id("a")).map(|pending| match pending.change {
                Change::Save { base, .. } => base,
                Change::Destroy => Base::Absent,
            });
            assert_eq!(found, base);
            replica.forget(&id("a"));
            assert_eq!(replica.bytes(), 0, "the bytes of what was sent are still counted");
        }
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
