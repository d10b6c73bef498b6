//! A Redis that is back may have lost what it had: then what this process holds is put back.

use std::sync::{MutexGuard, PoisonError};

use super::Shared;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::redis::{BURIED_MILLIS, Connection, Reply, Request, Trouble};
use crate::session::{Base, Save};

/// Sessions that are put back with one command.
const TOGETHER: usize = 256;

/// What is known of the data that Redis has.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// The marker that this process saw last. Another one means other data.
    marker: Option<String>,
    /// Until when other processes may put sessions back, so that destroyed ones have to be marked.
    buries_until: Option<Timestamp>,
}

impl Recovery {
    /// Redis was emptied on purpose.
    pub(super) fn forget_marker(&mut self) {
        self.marker = None;
    }

    /// Takes note of the marker that was read. `true` when Redis has lost what it had.
    fn see(&mut self, marker: String, now: Timestamp) -> bool {
        let is_lost = self.marker.as_ref().is_some_and(|known| *known != marker);
        let lost_at = if is_lost { Some(now) } else { lost_at(&marker) };
        if let Some(Timestamp(at)) = lost_at {
            self.buries_until = self.buries_until.max(Some(Timestamp(at.saturating_add(BURIED_MILLIS))));
        }
        self.marker = Some(marker);
        is_lost
    }
}

/// A marker says when the one before it was lost.
fn new_marker(lost_at: Option<Timestamp>) -> String {
    let at = lost_at.map_or_else(|| "new".to_owned(), |at| at.0.to_string());
    format!("{at}-{:032x}", rand::random::<u128>())
}

fn lost_at(marker: &str) -> Option<Timestamp> {
    marker.split('-').next()?.parse().ok().map(Timestamp)
}

impl Shared {
    pub(super) fn recovery(&self) -> MutexGuard<'_, Recovery> {
        self.recovery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a session that is destroyed now has to be marked.
    pub(super) fn buries(&self) -> bool {
        self.recovery().buries_until.is_some_and(|until| until > self.now())
    }

    /// Whether the marker has to be read, because none is known.
    pub(super) fn needs_marker(&self) -> bool {
        self.recovery().marker.is_none()
    }

    /// Looks whether Redis still has what it had. If not, puts back what is known, and has what was changed written even
    /// where nothing stands. Returns how many sessions were put back.
    pub(super) async fn recover(&self, connection: &Connection) -> Result<u64, Error> {
        let lost_at = (!self.needs_marker()).then(|| self.now());
        let Some(marker) = connection.marker(&self.keys, &new_marker(lost_at)).await? else { return Ok(0) };
        if !self.recovery().see(marker, self.now()) {
            return Ok(0);
        }
        self.replica.redis_lost_everything();
        self.put_back(connection).await
    }

    /// Reads again what an earlier connection told of, so that Redis tells this one of changes. Else a logout at another
    /// process would not be known here when Redis goes away again.
    pub(super) async fn refresh(&self, connection: &Connection) -> Result<(), Trouble> {
        let known = self.replica.all_last_seen();
        for sessions in known.chunks(TOGETHER) {
            // What is being written is known when that is done. To read it as well would make both notes void.
            let unread = sessions.iter().filter(|(id, ..)| !self.replica.trusts(id) && !self.replica.holds(id));
            self.run(connection, unread.map(|(id, ..)| Request::Load(id.clone())).collect()).await?;
        }
        Ok(())
    }

    async fn put_back(&self, connection: &Connection) -> Result<u64, Error> {
        let mut count = 0;
        let sessions = self.replica.all_last_seen();
        for sessions in sessions.chunks(TOGETHER) {
            let requests: Vec<_> = sessions
                .iter()
                .map(|(id, text, deadline)| {
                    let save = Save::new(text.clone(), *deadline, Base::Absent);
                    Request::Save(id.clone(), save)
                })
                .collect();
            let replies = connection.run(&self.keys, &requests, self.now()).await;
            for (at, (id, text, deadline)) in sessions.iter().enumerate() {
                match replies.as_ref().map(|replies| replies.get(at)) {
                    Ok(Some(Ok(Reply::Gone))) => {}
                    Ok(Some(Ok(_))) => count += 1,
                    // It is tried again with what was changed.
                    _ => self.replica.keep_for_later(id, text, *deadline),
                }
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_marker_means_that_everything_was_lost() {
        let (mut recovery, now) = (Recovery::default(), Timestamp(1000));
        assert!(!recovery.see("new-1".to_owned(), now));
        assert!(!recovery.see("new-1".to_owned(), now));
        assert_eq!(recovery.buries_until, None);
        assert!(recovery.see("new-2".to_owned(), now));
        assert_eq!(recovery.buries_until, Some(Timestamp(1000 + BURIED_MILLIS)));
    }

    #[test]
    fn a_process_that_comes_later_learns_from_the_marker_when_it_was() {
        let mut recovery = Recovery::default();
        assert!(!recovery.see(new_marker(Some(Timestamp(5000))), Timestamp(6000)));
        assert_eq!(recovery.buries_until, Some(Timestamp(5000 + BURIED_MILLIS)));
    }

    #[test]
    fn what_was_emptied_on_purpose_is_not_lost() {
        let mut recovery = Recovery::default();
        recovery.see("new-1".to_owned(), Timestamp(0));
        recovery.forget_marker();
        assert!(!recovery.see("new-2".to_owned(), Timestamp(0)));
    }
}
