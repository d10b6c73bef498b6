//! Redis: the only place that names the redis crate.

mod commands;
mod connect;
mod keys;
mod scan;
mod session;

pub use commands::{Reply, Request};
pub use connect::{Connection, Trouble, Watch};
pub use keys::Keys;
pub use scan::Page;
pub use session::Session;
