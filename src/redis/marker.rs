//! A key that tells a Redis that came back empty from one in which sessions were destroyed.

use redis::{Pipeline, Value};

use super::connect::{Connection, Trouble};
use super::keys::Keys;
use super::session::extract;

impl Connection {
    /// Reads the marker, and makes it of `proposal` where there is none. `None` when this user may not.
    ///
    /// # Errors
    ///
    /// [`Trouble`] when no answer came.
    pub async fn marker(&self, keys: &Keys, proposal: &str) -> Result<Option<String>, Trouble> {
        let key = keys.marker();
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("SET").arg(&key).arg(proposal).arg("NX");
        pipeline.cmd("GET").arg(&key);
        let reply = self.send(pipeline).await?.pop();
        Ok(match reply.map(extract) {
            Some(Ok(Value::BulkString(text))) => String::from_utf8(text).ok(),
            _ => None,
        })
    }
}
