//! What a session is made of here: an id, a text, a lifetime. Plain values.

mod id;
mod merge;
mod record;
mod text;

pub use id::SessionId;
pub use merge::merge;
pub use record::{Base, Fate, Lifetime, Place, Record, Save};
pub use text::{ascii, utf8_of};
