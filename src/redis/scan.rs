//! Reading the ids under the prefix, page by page.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use redis::{Pipeline, Value};

use super::connect::Connection;
use super::keys::Keys;
use super::session::extract;
use crate::error::Error;
use crate::session::SessionId;

/// Where a scan stands.
#[derive(Debug)]
pub struct Page {
    cursor: u64,
    /// Hashes of the ids seen: a key may come twice when Redis resizes its table in the middle of a scan.
    seen: HashSet<u64>,
    hasher: RandomState,
    /// Whether the last page was read.
    pub finished: bool,
    /// The last id that was taken from the table of this process, `None` when nothing is left to take there.
    pub held_to: Option<Option<SessionId>>,
}

impl Default for Page {
    fn default() -> Self {
        Self { cursor: 0, seen: HashSet::new(), hasher: RandomState::new(), finished: false, held_to: Some(None) }
    }
}

impl Page {
    /// Notes an id. `false` when it came before.
    pub fn is_new(&mut self, id: &SessionId) -> bool {
        self.seen.insert(self.hasher.hash_one(id))
    }
}

impl Connection {
    /// Reads the next few ids under the prefix.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when Redis went away, [`Error::Redis`] when it refused.
    pub async fn scan(&self, keys: &Keys, count: usize, page: &mut Page) -> Result<Vec<SessionId>, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("SCAN").arg(page.cursor).arg("MATCH").arg(keys.pattern()).arg("COUNT").arg(count);
        let reply = self.send(pipeline).await?.into_iter().next().unwrap_or(Value::Nil);
        let (cursor, found): (u64, Vec<Vec<u8>>) =
            redis::from_redis_value(extract(reply)?).map_err(|error| Error::Redis(error.to_string()))?;
        page.cursor = cursor;
        page.finished = cursor == 0;
        let ids = found.iter().filter_map(|key| keys.id(key)).filter(|id| page.is_new(id)).collect();
        self.without_marks(keys, ids).await
    }

    /// A destroyed session may have left an empty text for a while.
    async fn without_marks(&self, keys: &Keys, ids: Vec<SessionId>) -> Result<Vec<SessionId>, Error> {
        if ids.is_empty() {
            return Ok(ids);
        }
        let mut pipeline = Pipeline::with_capacity(ids.len());
        for id in &ids {
            pipeline.add_command(keys.key(id).command("STRLEN", 0));
        }
        let lengths = self.send(pipeline).await?;
        Ok(ids.into_iter().zip(lengths).filter(|(_, length)| *length != Value::Int(0)).map(|(id, _)| id).collect())
    }
}
