//! Redis: the only place that names the redis crate.

mod commands;
mod connect;
mod keys;
mod marker;
mod progress;
mod scan;
mod session;

pub use commands::{BURIED_MILLIS, Reply, Request};
pub use connect::{Connection, Identity, Trouble, Watch};
pub use keys::Keys;
pub use progress::Progress;
pub use scan::Page;
pub use session::Session;
