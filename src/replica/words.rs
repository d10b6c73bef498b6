//! What the thread of the event loop may look at without a call: which texts are still what Redis has, and until when that
//! may be relied on.
//!
//! A call from JavaScript takes longer than all the rest of a hit. So JavaScript keeps what it parsed beside the number of a
//! slot and the version of the text, and looks into the slot: the version stands there for exactly as long as the entry
//! that it was given is trusted. Only Rust writes. Every number is a double, which JavaScript reads in one piece.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Slots of one store. JavaScript keeps no more sessions than that.
const SLOTS: usize = 1 << 15;

/// Where the lease stands: until when it holds on the steady clock and on the wall clock, in JavaScript's milliseconds.
const STEADY: usize = 0;
const WALL: usize = 1;

/// Where the slots begin.
const FIRST: usize = 2;

/// In a slot: nothing that may be trusted. No version is 0.
const NOTHING: u64 = 0;

/// The numbers, as the bits of doubles.
#[derive(Debug)]
pub struct Words(Box<[AtomicU64]>);

impl Words {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self((0..FIRST + SLOTS).map(|_| AtomicU64::new(NOTHING)).collect()))
    }

    /// All of them, for JavaScript: they live as long as this does.
    #[must_use]
    pub fn numbers(&self) -> &[AtomicU64] {
        &self.0
    }

    /// Until when what stands in the slots may be trusted.
    pub(super) fn set_lease(&self, steady: f64, wall: f64) {
        self.0[STEADY].store(steady.to_bits(), Ordering::Release);
        self.0[WALL].store(wall.to_bits(), Ordering::Release);
    }

    /// Nothing is to be trusted any more.
    pub(super) fn clear(&self) {
        self.0.iter().for_each(|word| word.store(NOTHING, Ordering::Release));
    }

    fn slot(&self, slot: u32) -> Option<&AtomicU64> {
        self.0.get(FIRST + slot as usize)
    }
}

/// A version that stands in a slot until this is dropped, or another takes the slot.
#[derive(Debug)]
pub(super) struct Mark {
    words: Arc<Words>,
    slot: u32,
    bits: u64,
}

impl Mark {
    /// `None` for a slot that there is not.
    #[expect(clippy::cast_precision_loss, reason = "texts are numbered one by one, far below 2^53")]
    pub(super) fn new(words: &Arc<Words>, slot: u32, version: u64) -> Option<Self> {
        let bits = (version as f64).to_bits();
        words.slot(slot)?.store(bits, Ordering::Release);
        Some(Self { words: words.clone(), slot, bits })
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if let Some(word) = self.words.slot(self.slot) {
            // Another's, when it took the slot.
            let _ = word.compare_exchange(self.bits, NOTHING, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version_in(words: &Words, slot: u32) -> f64 {
        f64::from_bits(words.slot(slot).expect("there is such a slot").load(Ordering::Acquire))
    }

    #[test]
    fn a_version_stands_for_as_long_as_its_mark() {
        let words = Words::new();
        let mark = Mark::new(&words, 7, 42).expect("there is such a slot");
        assert!((version_in(&words, 7) - 42.0).abs() < f64::EPSILON);
        drop(mark);
        assert!(version_in(&words, 7).abs() < f64::EPSILON);
    }

    #[test]
    fn the_end_of_one_mark_does_not_touch_the_next_in_its_slot() {
        let words = Words::new();
        let former = Mark::new(&words, 7, 42);
        let _latter = Mark::new(&words, 7, 43);
        drop(former);
        assert!((version_in(&words, 7) - 43.0).abs() < f64::EPSILON);
    }

    #[test]
    fn there_is_no_slot_beyond_the_last() {
        let slots = u32::try_from(SLOTS).expect("few");
        assert!(Mark::new(&Words::new(), slots, 1).is_none());
    }
}
