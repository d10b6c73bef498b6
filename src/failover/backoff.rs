//! Exponential backoff with jitter, bounded above.

use std::time::Duration;

/// How long to wait before each try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second try.
    pub first: Duration,
    /// Never longer than this.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(50), longest: Duration::from_secs(2) }
    }
}

impl Backoff {
    /// The wait after failure number `attempt` (1 is the first). `jitter`, from 0 to 1, takes away up to half of it, so
    /// that the processes that lost one Redis together do not come back together.
    #[must_use]
    pub fn delay(self, attempt: u32, jitter: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(20);
        let full = self.first.saturating_mul(1 << doublings).min(self.longest);
        full.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn stays_within_half_and_all_of_its_bounds(attempt in 0u32.., jitter in -1.0f64..2.0) {
            let backoff = Backoff::default();
            let delay = backoff.delay(attempt, jitter);
            prop_assert!(delay <= backoff.longest);
            prop_assert!(delay >= backoff.first / 2);
        }

        #[test]
        fn never_shrinks_from_one_attempt_to_the_next(attempt in 1u32..1000, jitter in 0.0f64..1.0) {
            let backoff = Backoff::default();
            prop_assert!(backoff.delay(attempt + 1, jitter) >= backoff.delay(attempt, jitter));
        }
    }
}
