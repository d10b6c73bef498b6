//! Sessions as Redis has them. What does not fit goes, the least used first; what has expired goes by itself.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;
use quick_cache::unsync::Cache;
use quick_cache::{Lifecycle, Weighter};

use super::words::Mark;
use crate::clock::Timestamp;
use crate::session::SessionId;

/// How long it is remembered that there is no such session, in milliseconds.
const MISSING_MILLIS: u64 = 60_000;

/// What an entry costs beside its id and text: its slots in the cache and in the order of deadlines, with the room that
/// both leave free, two reference counts for each of the two texts, and what the allocator rounds up.
const OVERHEAD_BYTES: u64 = 320;

/// The number of no connection: nobody tells of changes.
pub(super) const NO_CONNECTION: u64 = 0;

/// A session as Redis has it.
#[derive(Debug)]
pub(super) struct Entry {
    /// `None` when there is no such session.
    pub(super) text: Option<Arc<str>>,
    /// When it ends, `None` when it does not. A touch moves it before Redis hears of it.
    pub(super) deadline: Option<Timestamp>,
    /// When it ends in Redis.
    pub(super) deadline_in_redis: Option<Timestamp>,
    /// Another number for each text.
    pub(super) version: u64,
    /// The connection that is told of its changes.
    pub(super) connection: u64,
    /// Where JavaScript sees that its version is still what Redis has.
    pub(super) mark: Option<Mark>,
    /// Where it stands in the order of deadlines.
    listed: Option<Timestamp>,
}

impl Entry {
    pub(super) fn new(text: Option<Arc<str>>, deadline: Option<Timestamp>, version: u64, connection: u64) -> Self {
        Self { text, deadline, deadline_in_redis: deadline, version, connection, mark: None, listed: None }
    }

    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        self.deadline.is_none_or(|deadline| deadline > now)
    }
}

/// The table of known sessions, bounded by bytes.
pub(super) struct Known {
    entries: Cache<SessionId, Entry, Weigh, RandomState, Evictions>,
    deadlines: BTreeSet<(Timestamp, SessionId)>,
    evicted: Arc<Mutex<Vec<(Timestamp, SessionId)>>>,
    max_bytes: u64,
}

impl Known {
    pub(super) fn new(max_bytes: u64) -> Self {
        let evicted = Arc::default();
        Self { entries: empty(max_bytes, &evicted), deadlines: BTreeSet::new(), evicted, max_bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.entries.weight()
    }

    /// Leaves room for what must not be evicted.
    pub(super) fn set_max_bytes(&mut self, max_bytes: u64) {
        // Each time it moves by a little is too often.
        if max_bytes.abs_diff(self.entries.capacity()) > self.max_bytes / 64 {
            self.entries.set_capacity(max_bytes);
            self.forget_evicted();
        }
    }

    pub(super) fn get<Q>(&self, id: &Q) -> Option<&Entry>
    where
        Q: std::hash::Hash + Eq + ?Sized,
        SessionId: Borrow<Q>,
    {
        self.entries.get(id)
    }

    /// As `get`, without counting as a use.
    pub(super) fn peek(&self, id: &SessionId) -> Option<&Entry> {
        self.entries.peek(id)
    }

    /// Lets JavaScript see whether an entry is trusted.
    pub(super) fn mark(&mut self, id: &SessionId, mark: Option<Mark>) {
        if let Some(mut entry) = self.entries.peek_mut(id) {
            entry.mark = mark;
        }
    }

    /// JavaScript has to ask again.
    pub(super) fn unmark(&mut self, id: &SessionId) {
        self.mark(id, None);
    }

    pub(super) fn insert(&mut self, id: &SessionId, mut entry: Entry, now: Timestamp) {
        if entry.text.is_none() {
            entry.deadline = Some(Timestamp(now.0 + MISSING_MILLIS));
        }
        if let Some(mut before) = self.entries.peek_mut(id) {
            entry.listed = before.listed.take();
        }
        self.entries.insert(id.clone(), entry);
        self.forget_evicted();
        self.relist(id);
    }

    /// Moves a session's deadline. Its place in the order of deadlines follows when its old turn comes.
    pub(super) fn touch(&mut self, id: &SessionId, deadline: Option<Timestamp>) {
        if let Some(mut entry) = self.entries.peek_mut(id) {
            entry.deadline = deadline;
        }
        self.relist(id);
    }

    /// Redis has this deadline now.
    pub(super) fn set_deadline_in_redis(&mut self, id: &SessionId, deadline: Option<Timestamp>) {
        if let Some(mut entry) = self.entries.peek_mut(id) {
            entry.deadline_in_redis = deadline;
        }
    }

    /// Keeps an entry for an outage only. `true` when it was trusted.
    pub(super) fn distrust(&mut self, id: &SessionId) -> bool {
        let Some(mut entry) = self.entries.peek_mut(id) else { return false };
        entry.mark = None;
        std::mem::replace(&mut entry.connection, NO_CONNECTION) != NO_CONNECTION
    }

    pub(super) fn remove(&mut self, id: &SessionId) -> bool {
        self.unlist(id);
        self.entries.remove(id).is_some()
    }

    pub(super) fn clear(&mut self) {
        self.entries = empty(self.entries.capacity(), &self.evicted);
        self.deadlines.clear();
    }

    /// Removes up to `limit` entries whose time was up at `now`. `true` when there may be more.
    pub(super) fn expire(&mut self, now: Timestamp, limit: usize) -> bool {
        for _ in 0..limit {
            let Some((listed, id)) = self.deadlines.first().filter(|(deadline, _)| *deadline <= now).cloned() else {
                // An empty cache still has the room for what it held.
                if self.entries.is_empty() && self.entries.memory_used().total() > 1 << 20 {
                    self.clear();
                }
                return false;
            };
            self.deadlines.pop_first();
            match self.entries.peek(&id) {
                Some(entry) if entry.listed == Some(listed) && entry.is_live(now) => {
                    let deadline = entry.deadline;
                    self.list(&id, deadline);
                }
                Some(entry) if entry.listed == Some(listed) => drop(self.entries.remove(&id)),
                _ => {}
            }
        }
        true
    }

    /// All sessions that are live at `now`: their ids, texts and deadlines.
    pub(super) fn live(&self, now: Timestamp) -> Vec<(SessionId, Arc<str>, Option<Timestamp>)> {
        let live = self.entries.iter().filter(|(_, entry)| entry.is_live(now));
        live.filter_map(|(id, entry)| Some((id.clone(), entry.text.clone()?, entry.deadline))).collect()
    }

    /// Puts an entry where it belongs in the order of deadlines, unless it stands at an earlier place: then it follows when
    /// that turn comes.
    fn relist(&mut self, id: &SessionId) {
        let Some(entry) = self.entries.peek(id) else { return };
        let (deadline, listed) = (entry.deadline, entry.listed);
        let is_late = listed.is_none_or(|listed| deadline.is_some_and(|deadline| deadline < listed));
        if is_late && deadline != listed {
            self.unlist(id);
            self.list(id, deadline);
        }
    }

    fn list(&mut self, id: &SessionId, deadline: Option<Timestamp>) {
        if let Some(mut entry) = self.entries.peek_mut(id) {
            entry.listed = deadline;
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, id.clone()));
        }
    }

    fn unlist(&mut self, id: &SessionId) {
        if let Some(listed) = self.entries.peek(id).and_then(|entry| entry.listed) {
            self.deadlines.remove(&(listed, id.clone()));
        }
    }

    fn forget_evicted(&mut self) {
        let evicted = std::mem::take(&mut *self.evicted.lock().unwrap_or_else(PoisonError::into_inner));
        for listed in evicted {
            self.deadlines.remove(&listed);
        }
    }
}

fn empty(
    max_bytes: u64,
    evicted: &Arc<Mutex<Vec<(Timestamp, SessionId)>>>,
) -> Cache<SessionId, Entry, Weigh, RandomState, Evictions> {
    let expected = usize::try_from(max_bytes / 1024).unwrap_or(usize::MAX).min(100_000);
    Cache::with(expected, max_bytes, Weigh, RandomState::default(), Evictions(evicted.clone()))
}

#[derive(Clone)]
struct Weigh;

impl Weighter<SessionId, Entry> for Weigh {
    fn weight(&self, id: &SessionId, entry: &Entry) -> u64 {
        let text = entry.text.as_ref().map_or(0, |text| text.len());
        OVERHEAD_BYTES + (id.as_str().len() + text) as u64
    }
}

/// Takes note of what the cache evicts.
struct Evictions(Arc<Mutex<Vec<(Timestamp, SessionId)>>>);

impl Lifecycle<SessionId, Entry> for Evictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), id: SessionId, entry: Entry) {
        if let Some(listed) = entry.listed {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((listed, id));
        }
    }
}
