//! Listing, counting and clearing: batch by batch, so that memory stays flat whatever the number of sessions.

use tokio::sync::Mutex;

use super::{Outcome, Shared};
use crate::error::Error;
use crate::redis::{Connection, Page, Reply, Request, Session};
use crate::replica::{Lookup, Replica, Sequence};
use crate::session::{Record, SessionId};

/// One batch of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entries {
    /// Ids.
    Ids(Vec<SessionId>),
    /// Ids with the texts under them.
    Sessions(Vec<(SessionId, String)>),
}

/// A listing in progress: of ids, or of sessions.
pub struct Listing {
    with_text: bool,
    progress: Mutex<Progress>,
}

enum Progress {
    NotStarted,
    /// Redis is asked.
    Redis(Page),
    /// Redis was away at the start: the table is read, so far to this id.
    Memory(Option<SessionId>),
}

impl Listing {
    /// A listing of ids, or of ids and texts.
    #[must_use]
    pub fn new(with_text: bool) -> Self {
        Self { with_text, progress: Mutex::new(Progress::NotStarted) }
    }

    /// The next entries, from the table.
    pub(super) fn next_from_memory(&self, replica: &Replica, count: usize) -> Result<Outcome, Error> {
        let interrupted = || Error::Unavailable("it went away in the middle of a listing".to_owned());
        let mut progress = self.progress.try_lock().map_err(|_| interrupted())?;
        let read_to = match &*progress {
            Progress::NotStarted => None,
            Progress::Memory(read_to) => read_to.as_ref(),
            Progress::Redis(_) => return Err(interrupted()),
        };
        let batch = replica.page(read_to, count);
        let Some((last, _)) = batch.last() else { return Ok(Outcome::Entries(None)) };
        *progress = Progress::Memory(Some(last.clone()));
        Ok(Outcome::Entries(Some(self.entries(batch))))
    }

    /// The next entries, from Redis, corrected by what the table knows better.
    pub(super) async fn next(&self, shared: &Shared, connection: &Connection) -> Result<Outcome, Error> {
        let mut progress = self.progress.lock().await;
        if matches!(*progress, Progress::NotStarted) {
            *progress = Progress::Redis(Page::default());
        }
        let Progress::Redis(page) = &mut *progress else {
            drop(progress);
            return self.next_from_memory(&shared.replica, shared.config.scan_count);
        };
        let Some(ids) = next_ids(shared, connection, page).await? else { return Ok(Outcome::Entries(None)) };
        let entries =
            if self.with_text { Entries::Sessions(texts(shared, connection, ids).await?) } else { Entries::Ids(ids) };
        Ok(Outcome::Entries(Some(entries)))
    }

    fn entries(&self, batch: Vec<(SessionId, String)>) -> Entries {
        if self.with_text {
            Entries::Sessions(batch)
        } else {
            Entries::Ids(batch.into_iter().map(|(id, _)| id).collect())
        }
    }
}

/// Counts.
pub(super) async fn count(shared: &Shared, connection: &Connection) -> Result<Outcome, Error> {
    let mut page = Page::default();
    let mut count = 0;
    while let Some(ids) = next_ids(shared, connection, &mut page).await? {
        count += ids.len() as u64;
    }
    Ok(Outcome::Count(count))
}

/// Removes. One command for each key, so that no single one holds Redis up, nor needs all keys on one node.
pub(super) async fn clear(shared: &Shared, connection: &Connection, sequence: Sequence) -> Result<Outcome, Error> {
    shared.replica.destroy_all(shared.longest_life(), sequence);
    let mut page = Page::default();
    while let Some(ids) = next_ids(shared, connection, &mut page).await? {
        let requests: Vec<_> =
            ids.into_iter().map(if shared.buries() { Request::Bury } else { Request::Destroy }).collect();
        for reply in shared.run(connection, requests).await? {
            reply?;
        }
    }
    Ok(Outcome::Done)
}

/// The next ids that were not seen before, at least one; `None` at the end. What the table has comes first: an entry that
/// goes to Redis meanwhile is found there later, and the other way round it would be missed.
async fn next_ids(shared: &Shared, connection: &Connection, page: &mut Page) -> Result<Option<Vec<SessionId>>, Error> {
    let count = shared.config.scan_count;
    if let Some(held_to) = page.held_to.take() {
        let held = shared.replica.page(held_to.as_ref(), count);
        if let Some((last, _)) = held.last() {
            page.held_to = Some(Some(last.clone()));
            return Ok(Some(held.into_iter().map(|(id, _)| id).filter(|id| page.is_new(id)).collect()));
        }
    }
    while !page.finished {
        let mut ids = connection.scan(&shared.keys, count, page).await?;
        ids.retain(|id| shared.replica.load(id) != Lookup::Destroyed);
        if !ids.is_empty() {
            return Ok(Some(ids));
        }
    }
    Ok(None)
}

async fn texts(
    shared: &Shared,
    connection: &Connection,
    ids: Vec<SessionId>,
) -> Result<Vec<(SessionId, String)>, Error> {
    let requests: Vec<_> = ids.iter().cloned().map(Request::LoadText).collect();
    // Not noted: a listing would drive out what is in use.
    let replies = connection.run(&shared.keys, &requests, shared.now()).await?;
    let mut found = Vec::with_capacity(ids.len());
    for (id, reply) in ids.into_iter().zip(replies) {
        if let Lookup::Held(Record { text, .. }) = shared.replica.load(&id) {
            found.push((id, text));
            continue;
        }
        match reply? {
            Reply::Loaded(Session::Found(record)) => found.push((id, record.text)),
            Reply::Loaded(Session::Unreadable(reason)) => shared.report_unreadable(&id, reason),
            _ => {}
        }
    }
    Ok(found)
}
