//! What a session is made of here: an id, a text, a lifetime. Plain values.

mod id;
mod record;
mod text;

pub use id::SessionId;
pub use record::{Lifetime, Record};
pub use text::{Text, utf8_of};
