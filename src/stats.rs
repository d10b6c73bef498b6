//! Counters, as `stats()` shows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// What it has come to.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number of things under way.
#[derive(Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Counts so many, until what is returned is dropped.
    #[must_use]
    pub fn hold(&self, count: u64) -> Held {
        self.0.fetch_add(count, Ordering::Relaxed);
        Held { gauge: self.0.clone(), count }
    }

    /// How many there are.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a [`Gauge`] counts.
#[derive(Debug)]
pub struct Held {
    gauge: Arc<AtomicU64>,
    count: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gauge.fetch_sub(self.count, Ordering::Relaxed);
    }
}

/// What one store has done since it was made.
#[derive(Debug, Default)]
pub struct Stats {
    /// Reads asked for.
    pub gets: Counter,
    /// Writes asked for.
    pub sets: Counter,
    /// Renewals asked for.
    pub touches: Counter,
    /// Destroys asked for.
    pub destroys: Counter,
    /// Reads that found something that is not a session.
    pub corrupt: Counter,
    /// Saves whose session was gone.
    pub refused: Counter,
    /// Saves that were merged with another's.
    pub merged: Counter,
    /// Tries to save that found another text than the one the session was made from.
    pub conflicts: Counter,
    /// Reads answered by what is known of Redis.
    pub hits: Counter,
    /// Reads that Redis was asked for.
    pub misses: Counter,
    /// Reads that Redis has not answered yet.
    pub loads_in_flight: Gauge,
    /// Known sessions that another client changed.
    pub invalidations: Counter,
    /// Times that what is known of Redis could not be trusted any longer, because the connection was lost.
    pub lease_losses: Counter,
    /// Renewals that needed no command of their own.
    pub coalesced_touches: Counter,
    /// Operations answered from memory.
    pub served_from_memory: Counter,
    /// Operations that waited for Redis longer than the command timeout.
    pub timeouts: Counter,
    /// Connections made to Redis.
    pub connections: Counter,
    /// Sessions put back into a Redis that came back without its data.
    pub restored: Counter,
    /// Changes written to Redis after it was away.
    pub replayed: Counter,
}
