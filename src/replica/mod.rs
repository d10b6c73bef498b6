//! The sessions that this process holds: what it knows of Redis, and what was changed while Redis was away, until Redis
//! has it.
//!
//! Both are bounded by bytes together and expire by themselves. What Redis has too is evicted when there is no room. What
//! was changed here exists nowhere else: when that alone fills the table, a write is refused.
//!
//! Calls whose answers did not come from Redis arrive here late, and not always in their order. Each change carries the
//! [`Sequence`] of its call, and an earlier call never undoes a later one.

mod changes;
mod known;
mod lease;
mod pending;
mod seen;
mod sweep;
mod table;
mod touches;
mod view;
mod words;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::{Clock, Timestamp};
use crate::session::Lifetime;
pub use changes::Lookup;
pub use pending::Pending;
use table::Table;
pub use table::{Change, Kind, Sequence};
use view::View;
pub use view::{Found, Shown, Token};
pub use words::Words;

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
