//! Who serves, and when to try Redis again. Plain values and pure functions: the engine acts on them.

mod backoff;
mod state;

pub use backoff::Backoff;
pub use state::State;
