//! Frees what has expired, without being asked.

use std::sync::Arc;
use std::time::Duration;

use super::Replica;

/// How long an expired entry may stay. Reads never see it; this is about memory.
const PERIOD: Duration = Duration::from_millis(500);

/// Entries freed under one lock, so that the event loop never waits for more than these.
const SLICE: usize = 1000;

impl Replica {
    /// Sweeps for as long as it is polled: its owner drops it. An empty table costs nothing.
    pub async fn sweep(self: Arc<Self>) {
        loop {
            if self.entries() == 0 {
                self.occupied.notified().await;
            }
            while self.sweep_slice() {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Frees up to [`SLICE`] expired entries. `true` when there may be more.
    fn sweep_slice(&self) -> bool {
        let now = self.clock.now();
        let mut table = self.table();
        let more = table.expire(now, SLICE);
        self.note_size(&table);
        drop(table);
        self.view().known.expire(now, SLICE) || more
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::session::{Base, Save, SessionId};

    #[test]
    fn frees_all_that_expired_and_nothing_else() {
        let clock = Arc::new(ManualClock::default());
        let replica = Replica::new(clock.clone(), 1 << 30, Duration::from_secs(1), None);
        for n in 0..2500u64 {
            let id = SessionId::parse(format!("session-{n}")).expect("a usable id");
            let save = Save::new("text".to_owned(), Some(Timestamp(n + 1)), Base::None);
            replica.save(&id, &save, true, n).expect("there is room");
        }
        clock.advance(2000);
        let slices = std::iter::repeat_with(|| replica.sweep_slice()).take_while(|more| *more).count();
        assert_eq!((replica.len(), slices), (500, 2));
        clock.advance(500);
        while replica.sweep_slice() {}
        assert_eq!((replica.len(), replica.bytes()), (0, 0));
    }
}
