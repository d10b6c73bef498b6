//! Renewals that Redis has not been told of yet: at most one a session and window, the last.

use std::collections::BTreeSet;
use std::time::Duration;

use foldhash::HashMap;

use crate::clock::Timestamp;
use crate::session::{Lifetime, SessionId};

/// The longest window.
const LONGEST: Duration = Duration::from_secs(60);

/// A window shorter than this is none: such sessions are renewed at once.
const SHORTEST: Duration = Duration::from_millis(500);

/// What the way to Redis and back makes of the same deadline, in milliseconds.
const ROUNDING_MILLIS: u64 = 20;

/// A renewal to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Renewal {
    deadline: Option<Timestamp>,
    due: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Touches {
    renewals: HashMap<SessionId, Renewal>,
    order: BTreeSet<(Timestamp, SessionId)>,
}

impl Touches {
    /// Keeps a renewal until it is `due`, or replaces the one that is kept. `true` when one was kept already.
    pub(super) fn put(&mut self, id: &SessionId, deadline: Option<Timestamp>, due: Timestamp) -> bool {
        if let Some(renewal) = self.renewals.get_mut(id) {
            renewal.deadline = deadline;
            return true;
        }
        self.renewals.insert(id.clone(), Renewal { deadline, due });
        self.order.insert((due, id.clone()));
        false
    }

    pub(super) fn holds(&self, id: &SessionId) -> bool {
        self.renewals.contains_key(id)
    }

    pub(super) fn remove(&mut self, id: &SessionId) {
        if !self.renewals.is_empty()
            && let Some(renewal) = self.renewals.remove(id)
        {
            self.order.remove(&(renewal.due, id.clone()));
        }
    }

    pub(super) fn clear(&mut self) {
        self.renewals.clear();
        self.order.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.renewals.len()
    }

    /// Takes up to `limit` of those that are due at `now`, or of all.
    pub(super) fn take(&mut self, now: Option<Timestamp>, limit: usize) -> Vec<(SessionId, Option<Timestamp>)> {
        let mut taken = Vec::new();
        while taken.len() < limit
            && let Some((due, _)) = self.order.first()
            && now.is_none_or(|now| *due <= now)
            && let Some((_, id)) = self.order.pop_first()
        {
            if let Some(renewal) = self.renewals.remove(&id) {
                taken.push((id, renewal.deadline));
            }
        }
        taken
    }
}

/// When Redis has to be told of a renewal at the latest: 1 % of the lifetime later, or the given window, and long before
/// the session would end there. `None` when at once.
pub(super) fn due(
    now: Timestamp,
    deadline: Option<Timestamp>,
    deadline_in_redis: Option<Timestamp>,
    window: Option<Duration>,
) -> Option<Timestamp> {
    let lifetime = Duration::from_millis(deadline?.since(now));
    let window =
        window.unwrap_or_else(|| Some((lifetime / 100).min(LONGEST)).filter(|w| *w >= SHORTEST).unwrap_or_default());
    let left = Duration::from_millis(deadline_in_redis?.since(now));
    let wait = u64::try_from(window.min(left / 2).as_millis()).unwrap_or(u64::MAX);
    // One that is about to end has no time to wait, and one that is to end earlier must not live on meanwhile.
    let is_shortened = deadline?.after(Lifetime::Millis(ROUNDING_MILLIS)) < deadline_in_redis;
    (wait > 0 && window < left / 2 && !is_shortened).then(|| Timestamp(now.0 + wait))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn redis_is_told_within_the_window_and_before_the_session_ends(
            life in 0u64..200_000_000, left in 0u64..200_000_000, window in prop::option::of(0u64..100_000),
        ) {
            let now = Timestamp(1_000_000);
            let window = window.map(Duration::from_millis);
            if let Some(due) = due(now, Some(Timestamp(now.0 + life)), Some(Timestamp(now.0 + left)), window) {
                let wait = Duration::from_millis(due.since(now));
                prop_assert!(wait <= window.unwrap_or((Duration::from_millis(life) / 100).min(LONGEST)));
                prop_assert!(wait < Duration::from_millis(left));
                prop_assert!(life + ROUNDING_MILLIS >= left);
            }
        }
    }

    #[test]
    fn the_last_renewal_of_a_window_is_sent_once() {
        let id = SessionId::parse("a").expect("usable");
        let mut touches = Touches::default();
        assert!(!touches.put(&id, Some(Timestamp(100)), Timestamp(10)));
        assert!(touches.put(&id, Some(Timestamp(200)), Timestamp(15)));
        assert!(touches.take(Some(Timestamp(9)), 10).is_empty());
        assert_eq!(touches.take(Some(Timestamp(10)), 10), [(id, Some(Timestamp(200)))]);
        assert!(touches.take(None, 10).is_empty());
    }
}
