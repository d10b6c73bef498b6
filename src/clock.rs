//! The time, as everything here reads it.
//!
//! It is the wall clock, in milliseconds, because a session's deadline is: the cookie's `Expires` and the expiry of a
//! Redis key both follow it, and a laptop that sleeps must not keep its sessions alive.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use once_cell::sync::Lazy;

use crate::session::Lifetime;

/// A moment: milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// When a session that lives `lifetime` from now on ends; `None` when it does not.
    #[must_use]
    pub fn after(self, lifetime: Lifetime) -> Option<Self> {
        lifetime.millis().map(|millis| Self(self.0.saturating_add(millis)))
    }

    /// Milliseconds from `earlier` until this moment, 0 when it has passed.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A moment on both clocks of a machine, to tell how much time has passed for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    wall: Timestamp,
    steady: Duration,
}

impl Moment {
    /// How much time has passed since `earlier`: the longer of what the two clocks say. The wall clock may be set back,
    /// and the steady one does not count the time in which the machine sleeps.
    #[must_use]
    pub fn elapsed_since(self, earlier: Self) -> Duration {
        let steady = self.steady.saturating_sub(earlier.steady);
        steady.max(Duration::from_millis(self.wall.since(earlier.wall)))
    }

    /// Milliseconds on the steady clock.
    #[must_use]
    pub fn steady_millis(self) -> f64 {
        self.steady.as_secs_f64() * 1000.0
    }

    /// Milliseconds on the wall clock.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
    pub fn wall_millis(self) -> f64 {
        self.wall.0 as f64
    }

    /// Whether it came before `other`, on the steady clock.
    #[must_use]
    pub fn is_before(self, other: Self) -> bool {
        self.steady < other.steady
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;

    /// The present moment on both clocks.
    fn moment(&self) -> Moment;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    fn moment(&self) -> Moment {
        static START: Lazy<Instant> = Lazy::new(Instant::now);
        Moment { wall: self.now(), steady: START.elapsed() }
    }
}

/// A clock that moves only when it is told to, for tests.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Moves the time forward.
    pub fn advance(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn moment(&self) -> Moment {
        Moment { wall: self.now(), steady: Duration::from_millis(self.now().0) }
    }
}
