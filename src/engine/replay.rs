//! Redis is back: what changed in memory meanwhile is written to it.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use super::Shared;
use crate::error::Error;
use crate::redis::{Connection, Request, Trouble};
use crate::replica::{Change, Kind, Pending};
use crate::session::SessionId;

/// Changes replayed in one batch, and their bytes: few enough for a slow link.
const REPLAY_CHANGES: usize = 128;
const REPLAY_BYTES: usize = 128 << 10;

/// Writes to Redis what changed while it was away, until nothing is left: what was destroyed first, then what was saved.
pub(super) async fn replay(shared: &Shared, connection: &Connection) -> Result<u64, Error> {
    let mut replayed = 0;
    loop {
        let mut progress = 0;
        let mut refused = None;
        for kind in [Kind::Destroyed, Kind::Saved] {
            let mut after = None;
            loop {
                let mut pending = shared.replica.pending(kind, after.as_ref(), REPLAY_CHANGES, REPLAY_BYTES);
                let Some(last) = pending.last() else { break };
                after = Some(last.id.clone());
                pending.retain(|change| !shared.suspects().contains_key(&change.id));
                progress += replay_batch(shared, connection, &pending, &mut refused).await?;
            }
        }
        progress += replay_suspects(shared, connection, &mut refused).await?;
        replayed += progress;
        match refused {
            Some(error) => return Err(error),
            None if progress == 0 => return Ok(replayed),
            None => {}
        }
    }
}

/// Those that were under way when a connection was lost, one by one: should it be one of them at which Redis hangs up, it
/// is known then, stays in memory, and keeps the others back no longer.
async fn replay_suspects(shared: &Shared, connection: &Connection, refused: &mut Option<Error>) -> Result<u64, Error> {
    let suspects: Vec<_> = shared.suspects().iter().filter(|(_, guilty)| !**guilty).map(|(id, _)| id.clone()).collect();
    let mut replayed = 0;
    for id in suspects {
        if let Some(change) = shared.replica.pending_for(&id) {
            replayed += replay_batch(shared, connection, &[change], refused).await?;
        }
        shared.suspects().remove(&id);
    }
    Ok(replayed)
}

async fn replay_batch(
    shared: &Shared,
    connection: &Connection,
    pending: &[Pending],
    refused: &mut Option<Error>,
) -> Result<u64, Error> {
    let requests: Vec<_> = pending.iter().map(Pending::request).collect();
    if requests.is_empty() {
        return Ok(0);
    }
    let replies = connection.run(&shared.keys, &requests, shared.now()).await.inspect_err(|trouble| {
        if matches!(trouble, Trouble::Lost(_)) {
            let alone = pending.len() == 1;
            if alone {
                tracing::error!("Redis hangs up when it is given a certain session, which stays in memory only");
            }
            shared.suspects().extend(pending.iter().map(|change| (change.id.clone(), alone)));
        }
    })?;
    let mut replayed = 0;
    for (change, reply) in pending.iter().zip(replies) {
        match reply {
            Ok(_) => {
                shared.replica.settle(change);
                shared.stats.replayed.increment();
                replayed += 1;
            }
            // It stays in the table, and does not keep the others back.
            Err(error) => *refused = Some(error),
        }
    }
    Ok(replayed)
}

impl Pending {
    fn request(&self) -> Request {
        match &self.change {
            Change::Save(text) => Request::Save(self.id.clone(), text.to_string(), self.deadline),
            Change::Destroy => Request::Destroy(self.id.clone()),
        }
    }
}

impl Shared {
    /// Sessions that were being written when a connection was lost, and whether that happened to them alone.
    fn suspects(&self) -> MutexGuard<'_, HashMap<SessionId, bool>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
