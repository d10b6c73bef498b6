//! Keeps the engine's thread off the processor of the event loop under load.
//!
//! Linux wakes a thread where it ran last, and on many virtual machines only there. Two threads that wake each other all the
//! time then share one processor for seconds, with another one idle: each batch interrupts JavaScript. To leave once is
//! enough, because then the same habit keeps the two apart.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::{block_in_place, yield_now};
use tokio::time::Instant;

/// So many batches in a row beside the event loop are too many, when they come within this time: fewer do no harm, and a
/// processor that sleeps takes longer to wake.
const BATCHES: u32 = 16;
const WITHIN: Duration = Duration::from_millis(4);

/// Twice as many each time that the system has brought it back at once: it has its reasons.
const MOST_BATCHES: u32 = 4096;
const AT_ONCE: Duration = Duration::from_millis(5);

/// How long a new thread may take to start.
const START: Duration = Duration::from_millis(10);

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
        self.0.store(processor(), Ordering::Relaxed);
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
    /// When it left.
    left: Option<Instant>,
    /// The event loop had better have this processor for itself.
    is_crowded: bool,
    /// No thread can be started to move to.
    is_stuck: bool,
}

impl Default for Placement {
    fn default() -> Self {
        Self { beside: 0, since: Instant::now(), most: BATCHES, left: None, is_crowded: false, is_stuck: false }
    }
}

impl Placement {
    /// On this thread, a batch of so many calls of this event loop was answered.
    pub(super) fn note(&mut self, calls: usize, event_loop: &EventLoop) {
        // Who waits for one answer alone has nothing to do meanwhile, and is not disturbed.
        self.is_crowded = calls > 1 && self.crowds(processor(), event_loop.processor(), Instant::now());
    }

    /// Moves the engine to another thread when it had better leave this one's processor.
    pub(super) async fn leave_if_crowded(&mut self) {
        if std::mem::take(&mut self.is_crowded) && !self.is_stuck {
            self.is_stuck = !move_to_new_thread().await;
            self.left = Some(Instant::now());
        }
    }

    fn crowds(&mut self, here: usize, event_loop: usize, now: Instant) -> bool {
        if here == UNKNOWN || here != event_loop {
            self.beside = 0;
            return false;
        }
        if self.beside == 0 {
            self.since = now;
            if self.left.is_some_and(|left| now.duration_since(left) > AT_ONCE) {
                self.most = BATCHES;
            }
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

/// Moves the engine to a new thread: the system starts that where most room is. (To forbid a thread a processor would be
/// simpler, but some services end a process that tries.) `false` where no thread can be started.
async fn move_to_new_thread() -> bool {
    let (starts, start) = std::sync::mpsc::channel();
    tokio::spawn(async move { starts.send(()) });
    // The runtime goes on elsewhere while a thread of it blocks, and does not come back when it has begun to. Where no
    // thread can be started, tokio panics.
    let moved = catch_unwind(AssertUnwindSafe(|| block_in_place(|| start.recv_timeout(START))));
    yield_now().await;
    moved.is_ok()
}

/// The processor on which the calling thread runs. Where it would take a system call to know, it is not asked for.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn processor() -> usize {
    rustix::thread::sched_getcpu()
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn processor() -> usize {
    UNKNOWN
}

#[cfg(test)]
mod tests {
    use std::thread::ThreadId;

    use super::*;

    const STEP: Duration = Duration::from_micros(100);

    /// Batches one after the other, a step of time between them.
    struct Batches {
        placement: Placement,
        now: Instant,
    }

    impl Batches {
        fn new() -> Self {
            Self { placement: Placement::default(), now: Instant::now() }
        }

        /// How many of so many find that it is crowded, with the event loop here or elsewhere.
        fn crowded(&mut self, count: u32, step: Duration, is_here: impl Fn(u32) -> bool) -> usize {
            let mut find = |n| {
                self.now += step;
                self.placement.crowds(1, is_here(n).into(), self.now)
            };
            let crowded = (0..count).filter(|n| find(*n)).count();
            if crowded > 0 {
                self.placement.left = Some(self.now);
            }
            crowded
        }
    }

    #[test]
    fn a_thread_that_is_often_beside_the_event_loop_leaves_once() {
        let mut batches = Batches::new();
        assert_eq!(batches.crowded(BATCHES - 1, STEP, |_| true), 0);
        assert_eq!(batches.crowded(1, STEP, |_| true), 1);
        assert_eq!(batches.crowded(BATCHES, STEP, |_| true), 0, "the next time it takes longer");
    }

    #[test]
    fn it_stays_where_it_disturbs_nobody() {
        assert_eq!(Batches::new().crowded(1000, STEP, |_| false), 0, "it is elsewhere");
        assert_eq!(Batches::new().crowded(1000, STEP, |n| n % 8 > 0), 0, "it is there at times");
        assert_eq!(Batches::new().crowded(1000, WITHIN, |_| true), 0, "there is little to do");
        let mut placement = Placement::default();
        assert!((0..1000).all(|_| !placement.crowds(UNKNOWN, UNKNOWN, Instant::now())));
    }

    #[test]
    fn where_the_system_brings_it_back_it_gives_way() {
        let mut batches = Batches::new();
        let leaves = batches.crowded(100_000, STEP, |_| true);
        assert!((8..40).contains(&leaves), "{leaves} times");
        assert_eq!(batches.crowded(1, AT_ONCE, |_| false), 0);
        assert_eq!(batches.crowded(BATCHES, STEP, |_| true), 1, "it was elsewhere for a while");
    }

    #[test]
    fn a_new_thread_takes_over_all_tasks() {
        fn here() -> ThreadId {
            std::thread::current().id()
        }

        async fn moving() -> [ThreadId; 3] {
            let before = here();
            move_to_new_thread().await;
            [before, here(), tokio::spawn(async { here() }).await.expect("it ends")]
        }

        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("it can start");
        let moved = (0..20).filter(|_| {
            let [before, after, others] = runtime.block_on(runtime.spawn(moving())).expect("it ends");
            assert_eq!(after, others);
            before != after
        });
        assert!(moved.count() > 0, "no thread has started in time, twenty times");
    }
}
