//! Redis is back: what changed in memory meanwhile is written to it.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::Shared;
use crate::error::Error;
use crate::redis::{Connection, Reply, Request, Session, Trouble};
use crate::replica::{Change, Kind, Pending};
use crate::session::{Base, Fate, Save, SessionId, merge};

/// Changes replayed in one batch, and their bytes: few enough for a slow link.
const REPLAY_CHANGES: usize = 128;
const REPLAY_BYTES: usize = 128 << 10;

/// A session at which the connection was lost so many times, and nothing else was being written, is not tried again.
const STRIKES: u32 = 3;

/// What a replay has done so far.
#[derive(Default)]
struct Progress {
    /// Changes that Redis has now.
    replayed: u64,
    /// Changes that met another's, or whose session was gone: the table has something else for them now.
    resolved: u64,
    /// Why a change could not be written. It stays in the table, and does not keep the others back.
    refused: Option<Error>,
}

/// Writes to Redis what changed while it was away, until nothing is left: what was destroyed first, then what was saved.
pub(super) async fn replay(shared: &Shared, connection: &Connection) -> Result<u64, Error> {
    let mut replayed = 0;
    loop {
        shared.resolve(connection).await?;
        let mut progress = Progress::default();
        for kind in [Kind::Destroyed, Kind::Saved] {
            let mut after = None;
            loop {
                let mut pending = shared.replica.pending(kind, after.as_ref(), REPLAY_CHANGES, REPLAY_BYTES);
                let Some(last) = pending.last() else { break };
                after = Some(last.id.clone());
                pending.retain(|change| !shared.suspects().contains_key(&change.id));
                replay_batch(shared, connection, pending, &mut progress).await?;
                // All others would be refused too.
                if let Some(error) = progress.refused.take_if(|error| error.is_write_refusal()) {
                    return Err(error);
                }
            }
        }
        replay_suspects(shared, connection, &mut progress).await?;
        replayed += progress.replayed;
        match progress.refused {
            Some(error) => return Err(error),
            None if progress.replayed + progress.resolved == 0 => return Ok(replayed),
            None => {}
        }
    }
}

/// Those that were under way when a connection was lost, one by one: should it be one of them at which Redis hangs up, it
/// is known then, stays in memory, and keeps the others back no longer.
async fn replay_suspects(shared: &Shared, connection: &Connection, progress: &mut Progress) -> Result<(), Error> {
    let mut suspects: Vec<_> = shared.suspects().iter().map(|(id, strikes)| (*strikes, id.clone())).collect();
    // The least suspect first: those that follow may end the connection.
    suspects.sort_unstable();
    for (_, id) in suspects.into_iter().take_while(|(strikes, _)| *strikes < STRIKES) {
        if let Some(change) = shared.replica.pending_for(&id) {
            replay_batch(shared, connection, vec![change], progress).await?;
        }
        shared.suspects().remove(&id);
    }
    Ok(())
}

async fn replay_batch(
    shared: &Shared,
    connection: &Connection,
    pending: Vec<Pending>,
    progress: &mut Progress,
) -> Result<(), Error> {
    // Where scripts are forbidden, a mark would be written over, and nothing is not.
    let marks = connection.may_run_scripts() || shared.buries();
    let mut requests: Vec<_> = pending.iter().map(|change| change.request(marks)).collect();
    if requests.is_empty() {
        return Ok(());
    }
    connection.place(&mut requests);
    let replies = shared.run(connection, requests.clone()).await.inspect_err(|trouble| {
        for (change, request) in pending.iter().zip(&requests) {
            shared.replica.may_be_in_redis(change, request.place());
        }
        if matches!(trouble, Trouble::Lost(_)) {
            let is_alone = pending.len() == 1;
            let mut suspects = shared.suspects();
            for change in &pending {
                let strikes = suspects.entry(change.id.clone()).or_default();
                *strikes += u32::from(is_alone);
                if is_alone && *strikes == STRIKES {
                    tracing::error!("Redis hangs up when it is given a certain session, which stays in memory only");
                }
            }
        }
    })?;
    for ((change, request), reply) in pending.iter().zip(requests).zip(replies) {
        match (request, reply) {
            (Request::Save(_, save), Ok(Reply::Conflict(stored))) => {
                progress.resolved += 1;
                shared.merge_pending(change, &save, stored);
            }
            (Request::Save(id, save), Ok(Reply::Gone)) => {
                progress.resolved += 1;
                shared.replica.drop_change(change);
                if save.base != Base::Absent {
                    shared.refuse(&id);
                }
            }
            (_, Ok(_)) => {
                progress.replayed += 1;
                shared.replica.settle(change);
                shared.stats.replayed.increment();
            }
            (_, Err(error)) => progress.refused = Some(error),
        }
    }
    Ok(())
}

impl Pending {
    fn request(&self, marks: bool) -> Request {
        match &self.change {
            Change::Save { text, base } => {
                let save = Save::new(text.clone(), self.deadline, base.clone());
                Request::Save(self.id.clone(), save)
            }
            Change::Destroy if marks => Request::Bury(self.id.clone()),
            Change::Destroy => Request::Destroy(self.id.clone()),
        }
    }
}

impl Shared {
    /// Finds out which sessions Redis has of those that were sent to it and not answered. `false` when that stays open,
    /// because this Redis cannot tell.
    pub(super) async fn resolve(&self, connection: &Connection) -> Result<bool, Trouble> {
        let mut sent = self.replica.sent();
        if sent.is_empty() {
            return Ok(true);
        }
        let Some(mut progress) = connection.progress(&self.keys).await? else { return Ok(false) };
        // The row in the middle of which the connection was lost: what is there as it was sent was executed.
        sent.retain(|(.., place)| progress.fate(*place) == Fate::Unknown);
        sent.sort_unstable_by_key(|(.., place)| place.count);
        sent.truncate(REPLAY_CHANGES);
        let loads: Vec<_> = sent.iter().map(|(id, ..)| Request::LoadText(id.clone())).collect();
        let replies = connection.run(&self.keys, &loads, self.now()).await?;
        for ((_, text, place), reply) in sent.iter().zip(replies) {
            if matches!(reply, Ok(Reply::Loaded(Session::Found(record))) if *record.text == **text) {
                progress.reached(*place);
            }
        }
        self.replica.resolve(|place| progress.fate(place));
        Ok(true)
    }

    fn merge_pending(&self, change: &Pending, save: &Save, stored: Arc<str>) {
        if let Some(merged) = save.merged_with(&stored) {
            self.stats.merged.increment();
            self.replica.rebase(change, merged, stored);
        } else if merge("{}", "{}", &stored).is_some() {
            tracing::warn!("Two changes of a session cannot be merged, it is nested too deep: the later one is kept");
            self.replica.rebase(change, save.text.clone(), stored);
        } else {
            self.report_unreadable(&change.id, "it is no JSON object");
            self.replica.drop_change(change);
        }
    }

    /// Sessions that were being written when a connection was lost, and how often that happened to them alone.
    fn suspects(&self) -> MutexGuard<'_, HashMap<SessionId, u32>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
