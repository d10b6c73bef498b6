//! The life of a store's connection, as a pure function of what happens to it.

use std::time::Duration;

use super::{Backoff, State};
use crate::clock::Timestamp;

/// A connection that served for this long was a good one, in milliseconds: after it, trying begins anew.
const LASTING_MILLIS: u64 = 2000;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// A connection was made.
    Opened,
    /// Redis has all that changed while it was away.
    Recovered,
    /// A connection could not be made, or was lost.
    Failed,
    /// The store was closed.
    Closed,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Who serves from here on.
    pub state: State,
    /// How long to wait before the next try, and which one it is, counted from 1.
    pub retry: Option<(u32, Duration)>,
    /// An outage has begun that was not spoken of yet.
    pub is_news: bool,
}

/// Where a store stands.
#[derive(Debug)]
pub struct Life {
    backoff: Backoff,
    state: State,
    attempt: u32,
    ready_since: Timestamp,
    outage_is_known: bool,
}

impl Life {
    /// At the start.
    #[must_use]
    pub fn new(backoff: Backoff) -> Self {
        Self { backoff, state: State::Connecting, attempt: 0, ready_since: Timestamp(0), outage_is_known: false }
    }

    /// What follows. `jitter` is a random number from 0 to 1.
    pub fn next(&mut self, happening: Happening, now: Timestamp, jitter: f64) -> Step {
        match (self.state, happening) {
            (State::Closed, _) | (_, Happening::Closed) => self.state = State::Closed,
            (_, Happening::Opened) => {
                self.state = State::Ready;
                self.ready_since = now;
            }
            (_, Happening::Recovered) => self.outage_is_known = false,
            (before, Happening::Failed) => {
                // One that is lost as soon as it is made does not count: the tries get rarer all the same.
                let was_lasting = before == State::Ready && now.since(self.ready_since) > LASTING_MILLIS;
                self.attempt = if was_lasting { 1 } else { self.attempt.saturating_add(1) };
                self.state = State::Degraded;
                let is_news = !std::mem::replace(&mut self.outage_is_known, true);
                let retry = Some((self.attempt, self.backoff.delay(self.attempt, jitter)));
                return Step { state: self.state, retry, is_news };
            }
        }
        Step { state: self.state, retry: None, is_news: false }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::{Clock, ManualClock};

    fn happenings() -> impl Strategy<Value = Vec<(Happening, u64, f64)>> {
        let happening = prop::sample::select(vec![
            Happening::Opened,
            Happening::Recovered,
            Happening::Failed,
            Happening::Failed,
            Happening::Closed,
        ]);
        prop::collection::vec((happening, 0u64..5000, 0.0f64..1.0), 1..60)
    }

    proptest! {
        #[test]
        fn waits_within_bounds_tells_each_outage_once_and_ends_for_good(happenings in happenings()) {
            let clock = ManualClock::default();
            let backoff = Backoff::default();
            let mut life = Life::new(backoff);
            let (mut told, mut closed) = (false, false);
            for (happening, millis, jitter) in happenings {
                clock.advance(millis);
                let step = life.next(happening, clock.now(), jitter);
                closed |= happening == Happening::Closed;
                prop_assert_eq!(step.state == State::Closed, closed);
                if closed {
                    prop_assert_eq!(step.retry, None);
                    continue;
                }
                prop_assert_eq!(step.retry.is_some(), happening == Happening::Failed);
                if let Some((attempt, delay)) = step.retry {
                    prop_assert!(attempt >= 1 && delay >= backoff.first / 2 && delay <= backoff.longest);
                }
                prop_assert!(!(step.is_news && told), "an outage was told of twice");
                told = (told || step.is_news) && happening != Happening::Recovered;
                match happening {
                    Happening::Opened => prop_assert_eq!(step.state, State::Ready),
                    Happening::Failed => prop_assert_eq!(step.state, State::Degraded),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn a_redis_that_flaps_is_tried_ever_more_rarely() {
        let clock = ManualClock::default();
        let mut life = Life::new(Backoff::default());
        for expected in 1..6 {
            life.next(Happening::Opened, clock.now(), 0.0);
            clock.advance(100);
            let step = life.next(Happening::Failed, clock.now(), 0.0);
            assert_eq!(step.retry.map(|(attempt, _)| attempt), Some(expected));
        }
        life.next(Happening::Opened, clock.now(), 0.0);
        clock.advance(10_000);
        assert_eq!(life.next(Happening::Failed, clock.now(), 0.0).retry.map(|(attempt, _)| attempt), Some(1));
    }
}
