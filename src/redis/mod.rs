//! Redis: the only place that names the redis crate.

mod commands;
mod connect;

pub use commands::{Keys, Page, Reply, Request, Session};
pub use connect::{Connection, Trouble};
