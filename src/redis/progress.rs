//! How far Redis has come with the writes of a connection.
//!
//! A session that is written without a base, as a new one is, may be written twice when no answer came: Redis cannot tell
//! whether it was never written or was written and destroyed since. So each such write has a [`Place`], and behind each row
//! of them that place is noted under a key of this store's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::vec;

use redis::{Cmd, Pipeline, Value};

use super::commands::{Answer, Request, TOGETHER, next, saved, set};
use super::connect::{Connection, Trouble};
use super::keys::Keys;
use super::session::extract;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::session::{Base, Fate, Place};

/// How long it is known after the last such write, in milliseconds: an outage may last that long.
const KNOWN_MILLIS: u64 = 86_400_000;

/// What a connection has sent.
#[derive(Debug)]
pub(super) struct Sent {
    connection: u64,
    count: AtomicU64,
    /// This user may not note it.
    is_forbidden: AtomicBool,
}

impl Sent {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { connection: rand::random(), count: AtomicU64::new(0), is_forbidden: AtomicBool::default() })
    }

    fn next(&self) -> Option<Place> {
        let Self { connection, count, is_forbidden } = self;
        (!is_forbidden.load(Ordering::Relaxed))
            .then(|| Place { connection: *connection, count: count.fetch_add(1, Ordering::Relaxed) + 1 })
    }
}

/// How far Redis had come when it was asked.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// The latest write that it executed, if it told.
    executed: Option<Place>,
    /// The latest that was sent before the question.
    sent: Place,
}

impl Progress {
    /// What became of a write of which no answer came.
    #[must_use]
    pub fn fate(&self, place: Place) -> Fate {
        if place.connection == self.sent.connection && place.count > self.sent.count {
            return Fate::Open;
        }
        let Some(executed) = self.executed else { return Fate::Unknown };
        if executed.connection != place.connection {
            Fate::Never
        } else if place.count <= executed.count {
            Fate::Executed
        } else if place.count - executed.count <= TOGETHER as u64 {
            // They would have been noted next. If the connection was lost in the middle of them, some were executed.
            Fate::Unknown
        } else {
            Fate::Never
        }
    }

    /// It turned out that this write was executed, and so were all before it.
    pub fn reached(&mut self, place: Place) {
        if let Some(executed) = &mut self.executed {
            executed.count = executed.count.max(place.count);
        }
    }
}

impl Connection {
    /// Gives each write of which it has to be known whether it was executed its place. They have to be sent next.
    pub fn place(&self, requests: &mut [Request]) {
        for request in requests {
            if let Request::Save(_, save) = request
                && save.base == Base::None
            {
                save.place = self.sent.next();
            }
        }
    }

    /// How far Redis has come. What an earlier connection sent must have been executed by now, or never be: see the
    /// `former` one of [`Connection::open`]. `None` when this Redis does not serve writes now: another may have come further.
    ///
    /// # Errors
    ///
    /// [`Trouble`] when no answer came.
    pub async fn progress(&self, keys: &Keys) -> Result<Option<Progress>, Trouble> {
        let sent = Place { connection: self.sent.connection, count: self.sent.count.load(Ordering::Relaxed) };
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("PEXPIRE").arg(keys.progress()).arg(KNOWN_MILLIS);
        pipeline.cmd("GET").arg(keys.progress());
        let replies: Vec<_> = self.send(pipeline).await?.into_iter().map(extract).collect();
        if replies.iter().any(|reply| reply.as_ref().is_err_and(Error::is_outage)) {
            return Ok(None);
        }
        let executed = match replies.into_iter().next_back() {
            Some(Ok(Value::BulkString(text))) => parse(&text),
            _ => None,
        };
        Ok(Some(Progress { executed, sent }))
    }

    /// Has Redis note nothing, so that what it has noted stays.
    pub fn note_nothing(&self) {
        self.sent.is_forbidden.store(true, Ordering::Relaxed);
    }

    /// Has Redis note that nothing was sent yet, where this user may.
    ///
    /// # Errors
    ///
    /// [`Trouble`] when no answer came.
    pub async fn begin(&self, keys: &Keys) -> Result<(), Trouble> {
        let mut pipeline = Pipeline::with_capacity(3);
        pack_placed(&[], keys, Place { connection: self.sent.connection, count: 0 }, Timestamp(0), &mut pipeline);
        let mut replies = self.send(pipeline).await?.into_iter();
        self.unpack_placed(0, &mut replies, &mut Vec::new());
        Ok(())
    }

    /// Nothing will be sent any more, and it was all answered.
    ///
    /// # Errors
    ///
    /// [`Trouble`] when no answer came.
    pub async fn end(&self, keys: &Keys) -> Result<(), Trouble> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("UNLINK").arg(keys.progress());
        self.send(pipeline).await.map(|_| ())
    }

    pub(super) fn unpack_placed(&self, count: usize, replies: &mut vec::IntoIter<Value>, answers: &mut Vec<Answer>) {
        answers.extend(replies.by_ref().take(count).map(|reply| Ok(saved(reply))));
        if matches!(next(replies), Value::ServerError(error) if error.code() == "NOPERM") {
            self.note_nothing();
        }
    }
}

/// These writes, and then a note of the place of the last one.
pub(super) fn pack_placed(run: &[Request], keys: &Keys, last: Place, now: Timestamp, pipeline: &mut Pipeline) {
    for request in run {
        if let Request::Save(id, save) = request {
            pipeline.add_command(set(keys, id, save, now));
        }
    }
    let Place { connection, count } = last;
    let mut note = Cmd::with_capacity(5, keys.progress().len() + 64);
    note.arg("SET").arg(keys.progress()).arg(format!("{connection}:{count}")).arg("PX").arg(KNOWN_MILLIS);
    pipeline.add_command(note);
}

fn parse(text: &[u8]) -> Option<Place> {
    let (connection, count) = std::str::from_utf8(text).ok()?.split_once(':')?;
    Some(Place { connection: connection.parse().ok()?, count: count.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(connection: u64, count: u64) -> Place {
        Place { connection, count }
    }

    #[test]
    fn what_was_reached_was_executed_and_what_comes_later_was_not() {
        let row = TOGETHER as u64;
        let mut progress = Progress { executed: Some(place(1, 100)), sent: place(2, 5) };
        for (count, fate) in [
            (1, Fate::Executed),
            (100, Fate::Executed),
            (101, Fate::Unknown),
            (100 + row, Fate::Unknown),
            (101 + row, Fate::Never),
        ] {
            assert_eq!(progress.fate(place(1, count)), fate, "write {count}");
        }
        progress.reached(place(1, 120));
        assert_eq!(progress.fate(place(1, 120)), Fate::Executed);
        progress.reached(place(1, 110));
        assert_eq!(progress.fate(place(1, 120)), Fate::Executed);
    }

    #[test]
    fn what_a_connection_sent_that_redis_noted_nothing_of_was_not_executed() {
        let progress = Progress { executed: Some(place(1, 100)), sent: place(3, 0) };
        assert_eq!(progress.fate(place(2, 1)), Fate::Never);
    }

    #[test]
    fn what_was_sent_later_than_the_question_is_open() {
        let progress = Progress { executed: Some(place(2, 5)), sent: place(2, 5) };
        assert_eq!(progress.fate(place(2, 5)), Fate::Executed);
        assert_eq!(progress.fate(place(2, 6)), Fate::Open);
    }

    #[test]
    fn nothing_is_known_without_a_note() {
        let progress = Progress { executed: None, sent: place(2, 5) };
        assert_eq!(progress.fate(place(1, 1)), Fate::Unknown);
        assert_eq!(parse(b"12:7"), Some(place(12, 7)));
        for text in [&b""[..], b"12", b"12:", b":7", b"-1:7", b"\xff:1"] {
            assert_eq!(parse(text), None);
        }
    }
}
