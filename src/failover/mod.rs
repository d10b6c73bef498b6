//! Who serves, and when to try Redis again. Plain values and pure functions: the engine acts on them.

mod backoff;
mod life;
mod state;

pub use backoff::Backoff;
pub use life::{Happening, Life, Step};
pub use state::State;
