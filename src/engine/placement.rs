//! Keeps the engine's thread off the processor of the event loop while both have much to do.
//!
//! Linux wakes a thread where it ran last, and on many virtual machines only there. Two threads that wake each other all the
//! time then share one processor for seconds, with another one idle: each batch interrupts JavaScript, and `set` has two
//! thirds of its speed. To leave once is enough, because then the same habit keeps the two apart. The thread is bound to
//! nothing: the system may move it at any time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// So many batches in a row beside the event loop are too many, when they come within this time: fewer do no harm, and a
/// processor that sleeps takes longer to wake.
const BATCHES: u32 = 16;
const WITHIN: Duration = Duration::from_millis(4);

/// After each time that the thread had to leave, twice as many: a system that brings it back has its reasons.
const MOST_BATCHES: u32 = 4096;

/// After so many in a row elsewhere it counts as settled there.
const SETTLED: u32 = 256;

/// The number of no processor, where the system does not tell.
const UNKNOWN: usize = usize::MAX;

/// Where the thread of an event loop was seen last.
pub(super) struct EventLoop(AtomicUsize);

impl Default for EventLoop {
    fn default() -> Self {
        Self(AtomicUsize::new(UNKNOWN))
    }
}

impl EventLoop {
    /// To be called on its thread.
    pub(super) fn note_processor(&self) {
        self.0.store(system::processor(), Ordering::Relaxed);
    }

    fn processor(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where the engine's thread was seen with the latest batches.
pub(super) struct Placement {
    /// How many it was beside the event loop, in a row, and since when.
    beside: u32,
    since: Instant,
    /// How many are too many.
    most: u32,
    /// How many it was elsewhere, in a row.
    elsewhere: u32,
}

impl Default for Placement {
    fn default() -> Self {
        Self { beside: 0, since: Instant::now(), most: BATCHES, elsewhere: 0 }
    }
}

impl Placement {
    /// To be called on the engine's thread, with each batch of this event loop.
    pub(super) fn check(&mut self, event_loop: &EventLoop) {
        let here = system::processor();
        if self.is_crowded(here, event_loop.processor(), Instant::now()) {
            system::leave(here);
        }
    }

    fn is_crowded(&mut self, here: usize, event_loop: usize, now: Instant) -> bool {
        if here == UNKNOWN || here != event_loop {
            self.beside = 0;
            self.elsewhere = self.elsewhere.saturating_add(1);
            if self.elsewhere == SETTLED {
                self.most = BATCHES;
            }
            return false;
        }
        self.elsewhere = 0;
        if self.beside == 0 {
            self.since = now;
        }
        self.beside += 1;
        if self.beside < self.most {
            return false;
        }
        let is_dense = now.duration_since(self.since) < WITHIN * (self.most / BATCHES);
        self.beside = 0;
        if is_dense {
            self.most = (self.most * 2).min(MOST_BATCHES);
        }
        is_dense
    }
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::thread::{sched_getaffinity, sched_getcpu, sched_setaffinity};

    /// On which the calling thread runs.
    pub(super) fn processor() -> usize {
        sched_getcpu()
    }

    /// Moves the calling thread to another, if it may run on one. Where it may run stays as it was.
    pub(super) fn leave(processor: usize) {
        let Ok(allowed) = sched_getaffinity(None) else { return };
        let mut others = allowed;
        others.unset(processor);
        if others.count() > 0 && sched_setaffinity(None, &others).is_ok() {
            // It was allowed a moment ago.
            let _ = sched_setaffinity(None, &allowed);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn processor() -> usize {
        super::UNKNOWN
    }

    pub(super) fn leave(_processor: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_micros(100);

    /// How many of so many batches, one each step, find that it is crowded.
    fn crowded(placement: &mut Placement, batches: u32, step: Duration, event_loop: impl Fn(u32) -> usize) -> usize {
        let start = Instant::now();
        (0..batches).filter(|n| placement.is_crowded(1, event_loop(*n), start + step * *n)).count()
    }

    #[test]
    fn a_thread_that_is_often_beside_the_event_loop_leaves_once() {
        let mut placement = Placement::default();
        assert_eq!(crowded(&mut placement, BATCHES - 1, STEP, |_| 1), 0);
        assert_eq!(crowded(&mut placement, 1, STEP, |_| 1), 1);
        assert_eq!(crowded(&mut placement, BATCHES, STEP, |_| 1), 0, "the next time it takes longer");
    }

    #[test]
    fn it_stays_where_it_disturbs_nobody() {
        assert_eq!(crowded(&mut Placement::default(), 1000, STEP, |_| 0), 0, "it is elsewhere");
        assert_eq!(crowded(&mut Placement::default(), 1000, STEP, |n| (n % 8 == 0).into()), 0, "it is there at times");
        assert_eq!(crowded(&mut Placement::default(), 1000, WITHIN, |_| 1), 0, "there is little to do");
        let unknown = (0..1000).filter(|_| Placement::default().is_crowded(UNKNOWN, UNKNOWN, Instant::now()));
        assert_eq!(unknown.count(), 0);
    }

    #[test]
    fn where_the_system_brings_it_back_it_gives_way() {
        let mut placement = Placement::default();
        let leaves = crowded(&mut placement, 100_000, STEP, |_| 1);
        assert!((8..40).contains(&leaves), "{leaves} times");
        assert_eq!(crowded(&mut placement, SETTLED, STEP, |_| 0), 0);
        assert_eq!(crowded(&mut placement, BATCHES, STEP, |_| 1), 1, "it had settled elsewhere");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn to_leave_a_processor_binds_a_thread_to_nothing() {
        use rustix::thread::sched_getaffinity;

        let allowed = sched_getaffinity(None).expect("it is known where this may run");
        for _ in 0..100 {
            let before = system::processor();
            system::leave(before);
            assert!(sched_getaffinity(None).expect("as before") == allowed);
        }
        let one = allowed.count() == 1;
        let left = (0..100).any(|_| {
            let before = system::processor();
            system::leave(before);
            system::processor() != before
        });
        assert_eq!(left, !one);
    }
}
