//! Load, save, touch, destroy and scan, as typed requests and replies.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;

use redis::{Cmd, Pipeline, RedisWrite, ToRedisArgs, ToSingleRedisArg, Value};

use super::connect::{Connection, Trouble, reason};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::session::{Lifetime, Record, SessionId};

/// How session ids become keys.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// Keys that start with `prefix`.
    #[must_use]
    pub fn new(prefix: String) -> Self {
        Self { prefix }
    }

    fn key<'a>(&'a self, id: &'a SessionId) -> Key<'a> {
        Key { prefix: &self.prefix, id: id.as_str() }
    }

    /// The id that a key stands for. `None` for a key that this library would not have written.
    fn id(&self, key: &[u8]) -> Option<SessionId> {
        let id = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?;
        SessionId::parse(id).ok()
    }

    /// A glob that matches the keys: what is special in a glob is escaped.
    fn pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.prefix.len() + 1);
        for c in self.prefix.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '^' | '\\') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern + "*"
    }
}

/// A key, written straight into a command.
struct Key<'a> {
    prefix: &'a str,
    id: &'a str,
}

impl Key<'_> {
    fn len(&self) -> usize {
        self.prefix.len() + self.id.len()
    }

    fn command(&self, name: &str, more_bytes: usize) -> Cmd {
        let mut command = Cmd::with_capacity(if more_bytes == 0 { 2 } else { 5 }, name.len() + self.len() + more_bytes);
        command.arg(name).arg(self);
        command
    }
}

impl ToRedisArgs for Key<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let mut argument = out.writer_for_next_arg();
        // Writing to memory does not fail.
        let _ = argument.write_all(self.prefix.as_bytes());
        let _ = argument.write_all(self.id.as_bytes());
    }
}

impl ToSingleRedisArg for Key<'_> {}

/// Something to do with one session.
#[derive(Debug, Clone)]
pub enum Request {
    /// Read it.
    Load(SessionId),
    /// Write it, until when it lives.
    Save(SessionId, String, Option<Timestamp>),
    /// Renew it, until when it lives.
    Touch(SessionId, Option<Timestamp>),
    /// Remove it.
    Destroy(SessionId),
}

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Session {
    /// Nothing, or nothing any more.
    Missing,
    /// This.
    Found(Record),
    /// Something that cannot be a session, for this reason.
    Unreadable(&'static str),
}

/// Redis's answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To [`Request::Load`].
    Loaded(Session),
    /// To all the others.
    Done,
}

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
    /// Does all of `requests`, in their order, in one round trip.
    ///
    /// # Errors
    ///
    /// [`Trouble`] when the answers did not come: then any of them may have been done.
    pub async fn run(
        &self,
        keys: &Keys,
        requests: &[Request],
        now: Timestamp,
    ) -> Result<Vec<Result<Reply, Error>>, Trouble> {
        let mut pipeline = Pipeline::with_capacity(requests.len() * 2);
        for run in runs(requests) {
            if run.len() > 1 {
                pack_many(run, keys, &mut pipeline);
            } else {
                for request in run {
                    request.pack(keys, now, &mut pipeline);
                }
            }
        }
        let mut replies = self.send(&pipeline).await?.into_iter();
        let mut unclear = Vec::new();
        let mut unpacked = Vec::with_capacity(requests.len());
        for run in runs(requests) {
            if run.len() > 1 {
                unpack_many(run.len(), &mut replies, &mut unpacked, &mut unclear);
            } else {
                unpacked.extend(run.iter().map(|request| request.unpack(&mut replies)));
            }
        }
        self.ask_again(keys, requests, &unclear, &mut unpacked).await?;
        Ok(unpacked)
    }

    /// Reads one by one what reading many at once left unclear.
    async fn ask_again(
        &self,
        keys: &Keys,
        requests: &[Request],
        unclear: &[usize],
        unpacked: &mut [Result<Reply, Error>],
    ) -> Result<(), Trouble> {
        if unclear.is_empty() {
            return Ok(());
        }
        let mut pipeline = Pipeline::with_capacity(unclear.len() * 2);
        for at in unclear {
            requests[*at].pack(keys, Timestamp(0), &mut pipeline);
        }
        let mut replies = self.send(&pipeline).await?.into_iter();
        for at in unclear {
            unpacked[*at] = requests[*at].unpack(&mut replies);
        }
        Ok(())
    }

    /// Reads the next few ids under the prefix.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when Redis went away, [`Error::Redis`] when it refused.
    pub async fn scan(&self, keys: &Keys, count: usize, page: &mut Page) -> Result<Vec<SessionId>, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("SCAN").arg(page.cursor).arg("MATCH").arg(keys.pattern()).arg("COUNT").arg(count);
        let reply = self.send(&pipeline).await?.into_iter().next().unwrap_or(Value::Nil);
        let (cursor, found): (u64, Vec<Vec<u8>>) =
            redis::from_redis_value(extract(reply)?).map_err(|error| Error::Redis(error.to_string()))?;
        page.cursor = cursor;
        page.finished = cursor == 0;
        Ok(found.iter().filter_map(|key| keys.id(key)).filter(|id| page.is_new(id)).collect())
    }
}

/// Requests in a row that are reads, so many at the most that Redis is not held up by them; each other request alone.
fn runs(requests: &[Request]) -> impl Iterator<Item = &[Request]> {
    const MOST: usize = 64;
    let rows = requests.chunk_by(|one, next| matches!((one, next), (Request::Load(_), Request::Load(_))));
    rows.flat_map(|row| row.chunks(MOST))
}

/// Reads in a row: one command for all texts, which costs Redis half of what many would.
fn pack_many(run: &[Request], keys: &Keys, pipeline: &mut Pipeline) {
    let mut command = Cmd::with_capacity(run.len() + 1, run.len() * 64);
    command.arg("MGET");
    for request in run {
        command.arg(keys.key(request.id()));
    }
    pipeline.add_command(command);
    for request in run {
        pipeline.add_command(keys.key(request.id()).command("PTTL", 0));
    }
}

/// Notes as unclear what MGET passed over although something is there, and everything when it was refused.
fn unpack_many(
    count: usize,
    replies: &mut impl Iterator<Item = Value>,
    unpacked: &mut Vec<Result<Reply, Error>>,
    unclear: &mut Vec<usize>,
) {
    let texts = match replies.next() {
        Some(Value::Array(texts)) if texts.len() == count => texts,
        _ => vec![Value::Nil; count],
    };
    for text in texts {
        let expiry = replies.next().unwrap_or(Value::Nil);
        if text == Value::Nil && expiry != Value::Int(-2) {
            unclear.push(unpacked.len());
        }
        unpacked.push(session(text, expiry).map(Reply::Loaded));
    }
}

impl Request {
    /// The session that it is about.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        match self {
            Self::Load(id) | Self::Save(id, ..) | Self::Touch(id, _) | Self::Destroy(id) => id,
        }
    }

    fn pack(&self, keys: &Keys, now: Timestamp, pipeline: &mut Pipeline) {
        let key = keys.key(self.id());
        // The time that a request has waited is off its life. What has none left goes at once.
        let life = |deadline: Timestamp| deadline.since(now).max(1);
        match self {
            Self::Load(_) => {
                pipeline.add_command(key.command("GET", 0));
                pipeline.add_command(key.command("PTTL", 0));
            }
            Self::Save(_, text, deadline) => {
                let mut command = key.command("SET", text.len() + 24);
                command.arg(text);
                if let Some(deadline) = deadline {
                    command.arg("PX").arg(life(*deadline));
                }
                pipeline.add_command(command);
            }
            Self::Touch(_, deadline) => {
                let mut command = key.command(if deadline.is_some() { "PEXPIRE" } else { "PERSIST" }, 24);
                if let Some(deadline) = deadline {
                    command.arg(life(*deadline));
                }
                pipeline.add_command(command);
            }
            Self::Destroy(_) => {
                pipeline.add_command(key.command("UNLINK", 0));
            }
        }
    }

    /// Takes as many replies as `pack` added commands.
    fn unpack(&self, replies: &mut impl Iterator<Item = Value>) -> Result<Reply, Error> {
        let mut next = || replies.next().unwrap_or(Value::Nil);
        match self {
            Self::Load(_) => {
                let (text, expiry) = (next(), next());
                Ok(Reply::Loaded(session(text, expiry)?))
            }
            _ => extract(next()).map(|_| Reply::Done),
        }
    }
}

fn session(text: Value, expiry: Value) -> Result<Session, Error> {
    let bytes = match text {
        Value::Nil => return Ok(Session::Missing),
        Value::BulkString(bytes) => bytes,
        Value::ServerError(error) if error.code() == "WRONGTYPE" => {
            return Ok(Session::Unreadable("its key holds another type of data"));
        }
        other => {
            extract(other)?;
            return Ok(Session::Unreadable("its key holds another type of data"));
        }
    };
    let lifetime = match extract(expiry)? {
        Value::Int(-2) => return Ok(Session::Missing),
        Value::Int(-1) => Lifetime::Unlimited,
        Value::Int(millis) => Lifetime::Millis(u64::try_from(millis).unwrap_or(0).max(1)),
        other => return Err(Error::Redis(format!("an expiry is a number, this was {:?}", kind(&other)))),
    };
    Ok(match String::from_utf8(bytes) {
        Ok(text) if text.is_empty() => Session::Missing,
        Ok(text) => Session::Found(Record { text, lifetime }),
        Err(_) => Session::Unreadable("its text is not UTF-8"),
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nothing",
        Value::BulkString(_) | Value::SimpleString(_) => "text",
        _ => "something else",
    }
}

fn extract(value: Value) -> Result<Value, Error> {
    match value {
        Value::ServerError(error) => Err(Error::Redis(reason(&error.into()))),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_taken_literally() {
        let keys = Keys::new(r"a*b?[c]\:".to_owned());
        assert_eq!(keys.pattern(), r"a\*b\?\[c\]\\:*");
        assert_eq!(keys.id(br"a*b?[c]\:sid").expect("one of ours").as_str(), "sid");
        assert_eq!(keys.id(b"axb:sid"), None);
    }
}
