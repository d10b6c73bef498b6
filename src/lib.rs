//! Express sessions in Redis.
//!
//! ```text
//!  node/       the only place that names napi: options in, results out
//!    │
//!  engine/     where the parts meet: one `Engine` per store
//!    ├── replica/     sessions known to this process
//!    ├── failover/    when to try again
//!    └── redis/       the only place that names the redis crate
//!          │         crypto/     signatures, session ids, CSRF tokens (used by node/, never by the store)
//!          │           │
//!  session/  config  clock  error  stats  telemetry      plain values, no I/O
//! ```
//!
//! Imports point down this map, never up. Without the feature `node` the crate is everything but `node/`.

pub mod clock;
pub mod config;
pub mod crypto;
pub mod engine;
pub mod error;
pub mod failover;
pub mod redis;
pub mod replica;
pub mod session;
pub mod stats;
pub mod telemetry;

#[cfg(feature = "node")]
mod node;
