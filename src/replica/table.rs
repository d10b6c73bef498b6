//! The table itself: entries by id, and by deadline, and what they weigh. It knows no time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::session::{Base, SessionId};

/// The place of a call among all calls of a store.
pub type Sequence = u64;

/// What was done to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was written.
    Save {
        /// Its text.
        text: Arc<str>,
        /// What Redis had when the first of these changes was made.
        base: Base,
    },
    /// It was destroyed.
    Destroy,
}

impl Change {
    /// Which of the two it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Save { .. } => Kind::Saved,
            Self::Destroy => Kind::Destroyed,
        }
    }

    /// How long its texts are.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Save { text, base } => text.len() + base.bytes(),
            Self::Destroy => 0,
        }
    }

    /// How much of a table of `bytes` its kind may fill. Destroyed sessions have a share of their own, because anyone can
    /// make them: a visitor who logs in gives up the id that was made for the login page.
    pub(super) fn share_of(&self, bytes: usize) -> usize {
        match self {
            Self::Save { .. } => bytes,
            Self::Destroy => bytes / 4,
        }
    }
}

/// The two kinds of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Change::Save`].
    Saved,
    /// [`Change::Destroy`].
    Destroyed,
}

/// A session that was changed here.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) change: Change,
    /// When the entry means nothing any more.
    pub(super) deadline: Option<Timestamp>,
    /// The call that made it: a later one has a higher number.
    pub(super) sequence: Sequence,
    /// Changes with everything that is put here, also by an earlier call that comes late.
    pub(super) revision: u64,
    /// The earliest call that it holds a change of, to which the base belongs.
    pub(super) first: Sequence,
}

impl Entry {
    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        self.deadline.is_none_or(|deadline| deadline > now)
    }

    /// Changes what it was made from. Returns how long that was, and is now.
    fn rebase(&mut self, rebased: &impl Fn(Base) -> Base) -> (usize, usize) {
        let Change::Save { base, .. } = &mut self.change else { return (0, 0) };
        let before = base.bytes();
        *base = rebased(std::mem::replace(base, Base::None));
        (before, base.bytes())
    }

    /// Whether Redis can be told of it.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.is_live(now) && !self.was_sent()
    }

    /// Whether it is open if Redis has it.
    pub(super) fn was_sent(&self) -> bool {
        matches!(self.change, Change::Save { base: Base::Sent { .. }, .. })
    }

    pub(super) fn is_session(&self, now: Timestamp) -> bool {
        self.is_live(now) && matches!(self.change, Change::Save { .. })
    }
}

/// What an entry costs beside its id and text: two table slots, the id's and the text's headers, and the allocator.
const OVERHEAD_BYTES: usize = 224;

#[derive(Debug, Default)]
pub(super) struct Table {
    /// In order, so that a listing can go on where it stopped.
    entries: BTreeMap<SessionId, Entry>,
    deadlines: BTreeSet<(Timestamp, SessionId)>,
    saved_bytes: usize,
    destroyed_bytes: usize,
    /// The last that was given.
    revision: u64,
    /// False when it is open of no entry whether Redis has it.
    may_have_sent: bool,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self, kind: Kind) -> usize {
        match kind {
            Kind::Saved => self.saved_bytes,
            Kind::Destroyed => self.destroyed_bytes,
        }
    }

    pub(super) fn total_bytes(&self) -> usize {
        self.saved_bytes + self.destroyed_bytes
    }

    fn bytes_mut(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Saved => &mut self.saved_bytes,
            Kind::Destroyed => &mut self.destroyed_bytes,
        }
    }

    /// What the changes of this kind would weigh after such a `put`.
    pub(super) fn bytes_with(&self, id: &SessionId, change: &Change) -> usize {
        let replaced = self.entries.get(id).filter(|entry| entry.change.kind() == change.kind());
        self.bytes(change.kind()) - replaced.map_or(0, |entry| weight(id, &entry.change)) + weight(id, change)
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.entries.contains_key(id)
    }

    pub(super) fn get(&self, id: &SessionId) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// The entries in the order of their ids, those after `id` only when there is one.
    pub(super) fn after(&self, id: Option<&SessionId>) -> impl Iterator<Item = (&SessionId, &Entry)> {
        let start = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries.range::<SessionId, _>((start, Bound::Unbounded))
    }

    pub(super) fn put(&mut self, id: SessionId, change: Change, deadline: Option<Timestamp>, sequence: Sequence) {
        self.remove(&id);
        *self.bytes_mut(change.kind()) += weight(&id, &change);
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, id.clone()));
        }
        self.revision += 1;
        self.may_have_sent |= matches!(change, Change::Save { base: Base::Sent { .. }, .. });
        self.entries.insert(id, Entry { change, deadline, sequence, revision: self.revision, first: sequence });
    }

    pub(super) fn remove(&mut self, id: &SessionId) {
        if let Some(entry) = self.entries.remove(id) {
            *self.bytes_mut(entry.change.kind()) -= weight(id, &entry.change);
            if let Some(deadline) = entry.deadline {
                self.deadlines.remove(&(deadline, id.clone()));
            }
        }
    }

    /// The entry holds a change of this earlier call too.
    pub(super) fn set_first(&mut self, id: &SessionId, first: Sequence) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.first = first;
        }
    }

    /// Changes what all changes were made from.
    pub(super) fn rebase_all(&mut self, rebased: impl Fn(Base) -> Base) {
        self.may_have_sent = false;
        for entry in self.entries.values_mut() {
            let (before, after) = entry.rebase(&rebased);
            self.saved_bytes = self.saved_bytes - before + after;
            self.may_have_sent |= entry.was_sent();
        }
    }

    /// Changes what one was made from.
    pub(super) fn rebase(&mut self, id: &SessionId, rebased: impl Fn(Base) -> Base) {
        if let Some(entry) = self.entries.get_mut(id) {
            let (before, after) = entry.rebase(&rebased);
            self.saved_bytes = self.saved_bytes - before + after;
            self.may_have_sent |= entry.was_sent();
        }
    }

    pub(super) fn may_have_sent(&self) -> bool {
        self.may_have_sent
    }

    /// Removes all entries, and returns them.
    pub(super) fn clear(&mut self) -> BTreeMap<SessionId, Entry> {
        let emptied = Self { revision: self.revision, ..Self::default() };
        std::mem::replace(self, emptied).entries
    }

    /// Turns every entry into a destroyed one.
    pub(super) fn destroy_all(&mut self, deadline: Timestamp, sequence: Sequence) {
        for id in self.clear().into_keys() {
            self.put(id, Change::Destroy, Some(deadline), sequence);
        }
    }

    /// Removes up to `limit` entries whose time was up at `now`. `true` when there may be more.
    pub(super) fn expire(&mut self, now: Timestamp, limit: usize) -> bool {
        for _ in 0..limit {
            match self.deadlines.first() {
                Some((deadline, id)) if *deadline <= now => {
                    let id = id.clone();
                    self.remove(&id);
                }
                _ => return false,
            }
        }
        true
    }
}

fn weight(id: &SessionId, change: &Change) -> usize {
    OVERHEAD_BYTES + id.as_str().len() + change.bytes()
}
