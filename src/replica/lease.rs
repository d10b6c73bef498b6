//! How long what is known of Redis may be trusted without asking.
//!
//! Invalidations and replies come on one socket, in the order in which Redis executed what caused them. So when a reply
//! has come, every change that Redis made before is known here; all changes that are not known are younger than the
//! moment when the answered command was sent.

use std::time::Duration;

use crate::clock::Moment;

/// Held while a command was sent no longer than `longest` ago and has been answered.
#[derive(Debug)]
pub(super) struct Lease {
    longest: Duration,
    since: Option<Moment>,
}

impl Lease {
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest, since: None }
    }

    /// A command that was sent at this moment was answered.
    pub(super) fn renew(&mut self, sent: Moment) {
        if self.since.is_none_or(|since| since.is_before(sent)) {
            self.since = Some(sent);
        }
    }

    pub(super) fn lose(&mut self) {
        self.since = None;
    }

    /// When it ends on the steady and on the wall clock, in milliseconds. It holds while both say so.
    pub(super) fn end(&self) -> Option<(f64, f64)> {
        let longest = self.longest.as_secs_f64() * 1000.0;
        self.since.map(|since| (since.steady_millis() + longest, since.wall_millis() + longest))
    }

    pub(super) fn holds(&self, now: Moment) -> bool {
        self.since.is_some_and(|since| now.elapsed_since(since) <= self.longest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::{Clock, ManualClock};

    proptest! {
        #[test]
        fn never_trusts_anything_older_than_its_length(steps in prop::collection::vec((0u64..800, any::<bool>()), 1..40)) {
            let clock = ManualClock::default();
            let mut lease = Lease::new(Duration::from_secs(1));
            let mut answered: Option<u64> = None;
            for (millis, is_answered) in steps {
                let sent = clock.moment();
                clock.advance(millis);
                if is_answered {
                    lease.renew(sent);
                    answered = Some(clock.now().0 - millis);
                }
                let fresh = answered.is_some_and(|at| clock.now().0 - at <= 1000);
                prop_assert_eq!(lease.holds(clock.moment()), fresh);
            }
        }
    }

    #[test]
    fn an_answer_that_comes_late_does_not_shorten_it() {
        let clock = ManualClock::default();
        let mut lease = Lease::new(Duration::from_secs(1));
        let early = clock.moment();
        clock.advance(500);
        lease.renew(clock.moment());
        lease.renew(early);
        clock.advance(1000);
        assert!(lease.holds(clock.moment()));
        lease.lose();
        assert!(!lease.holds(clock.moment()));
    }
}
