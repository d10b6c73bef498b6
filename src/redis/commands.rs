//! Load, save, touch and destroy, as typed requests and replies.

use std::sync::Arc;
use std::vec;

use once_cell::sync::Lazy;
use redis::{Cmd, Pipeline, Value};
use sha1::{Digest, Sha1};

use super::connect::{Connection, Trouble};
use super::keys::Keys;
use super::progress::pack_placed;
use super::session::{Session, extract};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::session::{Base, Place, Save, SessionId};

/// Something to do with one session.
#[derive(Debug, Clone)]
pub enum Request {
    /// Read it.
    Load(SessionId),
    /// Read it, but not how long it lives: that counts as without end.
    LoadText(SessionId),
    /// Write it.
    Save(SessionId, Save),
    /// Renew it, until when it lives.
    Touch(SessionId, Option<Timestamp>),
    /// Remove it.
    Destroy(SessionId),
    /// Remove it, and leave a mark for a while, so that no other process puts it back.
    Bury(SessionId),
}

/// Redis's answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To [`Request::Load`] and [`Request::LoadText`].
    Loaded(Session),
    /// It was done, and Redis tells of the next change.
    Done,
    /// It was done, and Redis does not tell of the next change, unless the session is read again.
    Untracked,
    /// It was done, but it had to be asked for again: what was asked for after it may have been done before it.
    Late,
    /// Nothing was done, because the session is gone.
    Gone,
    /// To [`Request::Save`]: nothing was written, because this text stands there instead of the base.
    Conflict(Arc<str>),
}

/// How a save is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    /// By its digest: Redis knows it.
    Known,
    /// With its text.
    Sent,
    /// Not at all: this user may not run scripts. The session is written if it is still there.
    Forbidden,
}

pub(super) static SAVE: Lazy<String> = Lazy::new(|| {
    let script = include_str!("save.lua");
    if WRITES_END_WITH_A_READ { script.to_owned() } else { script.replace("redis.call('EXISTS', unpack(KEYS))\n", "") }
});

static SAVE_DIGEST: Lazy<String> = Lazy::new(|| digest(&SAVE));

/// False only in a build that is made to see that the consistency checker sees it.
const WRITES_END_WITH_A_READ: bool = !cfg!(meetabl_broken = "write_without_read");

/// For how long a destroyed session is marked, in milliseconds.
pub const BURIED_MILLIS: u64 = 300_000;

/// So many requests of a kind go together at the most, so that Redis is not held up by them.
pub(super) const TOGETHER: usize = 64;

impl Connection {
    /// Does all of `requests`, in their order, in one round trip. (Those that Redis refuses in this form are sent again
    /// in another.)
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
        let script = if self.may_run_scripts() { Script::Known } else { Script::Forbidden };
        let mut pipeline = Pipeline::with_capacity(requests.len() * 2);
        for run in runs(requests) {
            self.pack(run, keys, now, script, &mut pipeline);
        }
        let mut replies = self.send(pipeline).await?.into_iter();
        let mut answers = Vec::with_capacity(requests.len());
        for run in runs(requests) {
            self.unpack(run, script, &mut replies, &mut answers);
        }
        self.ask_again(keys, requests, now, &mut answers).await?;
        Ok(answers.into_iter().map(|answer| answer.unwrap_or(Err(Error::Internal))).collect())
    }

    /// Asks one by one what did not work in the form in which it was sent first.
    async fn ask_again(
        &self,
        keys: &Keys,
        requests: &[Request],
        now: Timestamp,
        answers: &mut [Answer],
    ) -> Result<(), Trouble> {
        for _ in 0..2 {
            let open: Vec<_> = (0..answers.len()).filter(|at| answers[*at].is_err()).collect();
            if open.is_empty() {
                break;
            }
            let script = if self.may_run_scripts() { Script::Sent } else { Script::Forbidden };
            let mut pipeline = Pipeline::with_capacity(open.len() * 2);
            for at in &open {
                requests[*at].pack(keys, now, script, &mut pipeline);
            }
            let mut replies = self.send(pipeline).await?.into_iter();
            for at in open {
                answers[at] = self.unpack_one(&requests[at], script, &mut replies);
                if let (Request::Save(..), Ok(Ok(reply @ (Reply::Done | Reply::Untracked)))) =
                    (&requests[at], &mut answers[at])
                {
                    *reply = Reply::Late;
                }
            }
        }
        Ok(())
    }

    fn pack(&self, run: &[Request], keys: &Keys, now: Timestamp, script: Script, pipeline: &mut Pipeline) {
        match run {
            [first, _, ..] if first.is_load() => pack_loads(run, keys, pipeline),
            [first, ..] if self.tracks() && first.is_touch() => pack_touches(run, keys, now, pipeline),
            [first, ..] if first.is_scripted(script) => pack_saves(run, keys, now, script, pipeline),
            [.., last] if let Some(place) = last.place() => pack_placed(run, keys, place, now, pipeline),
            _ => run.iter().for_each(|request| request.pack(keys, now, script, pipeline)),
        }
    }

    fn unpack(&self, run: &[Request], script: Script, replies: &mut vec::IntoIter<Value>, answers: &mut Vec<Answer>) {
        match run {
            [first, _, ..] if first.is_load() => unpack_loads(run, replies, answers),
            [first, ..] if self.tracks() && first.is_touch() => unpack_touches(run.len(), replies, answers),
            [first, ..] if first.is_scripted(script) => self.unpack_saves(run.len(), next(replies), answers),
            [.., last] if last.place().is_some() => self.unpack_placed(run.len(), replies, answers),
            _ => answers.extend(run.iter().map(|request| self.unpack_one(request, script, replies))),
        }
    }

    /// Takes as many replies as [`Request::pack`] added commands.
    fn unpack_one(&self, request: &Request, script: Script, replies: &mut vec::IntoIter<Value>) -> Answer {
        let reply = next(replies);
        if request.is_scripted(script) {
            let mut answers = Vec::with_capacity(1);
            self.unpack_saves(1, reply, &mut answers);
            return answers.pop().unwrap_or(Err(NotInThisForm));
        }
        match request {
            Request::Load(_) => Ok(Session::from_replies(reply, Some(next(replies))).map(Reply::Loaded)),
            Request::LoadText(_) => Ok(Session::from_replies(reply, None).map(Reply::Loaded)),
            Request::Save(..) => Ok(saved(reply)),
            Request::Bury(_) => {
                let _mark = next(replies);
                Ok(extract(reply).map(|_| Reply::Untracked))
            }
            Request::Touch(..) if reply == Value::Int(0) => Ok(Ok(Reply::Gone)),
            _ => Ok(extract(reply).map(|_| Reply::Untracked)),
        }
    }

    fn unpack_saves(&self, count: usize, reply: Value, answers: &mut Vec<Answer>) {
        match reply {
            Value::Array(replies) if replies.len() == count => answers.extend(replies.into_iter().map(saved).map(Ok)),
            // It says nothing of the others, and who is written twice is written once.
            reply if count > 1 => {
                self.note_refusal(&reply);
                answers.extend((0..count).map(|_| Err(NotInThisForm)));
            }
            reply => {
                let is_forms_fault = self.note_refusal(&reply);
                answers.push(if is_forms_fault { Err(NotInThisForm) } else { Ok(saved(reply)) });
            }
        }
    }

    /// Whether the script was refused, and not what it was to do.
    fn note_refusal(&self, reply: &Value) -> bool {
        let Value::ServerError(error) = reply else { return false };
        if error.code() == "NOPERM" {
            self.forbid_scripts();
        }
        matches!(error.code(), "NOSCRIPT" | "NOPERM")
    }
}

pub(super) fn saved(reply: Value) -> Result<Reply, Error> {
    match reply {
        Value::Int(1) => Ok(Reply::Done),
        Value::Nil => Ok(Reply::Gone),
        // What is no text was not written by any session store: whatever it is, the session is gone.
        Value::BulkString(stored) => {
            Ok(String::from_utf8(stored).map_or(Reply::Gone, |text| Reply::Conflict(text.into())))
        }
        other => extract(other).map(|_| Reply::Untracked),
    }
}

/// Redis did not take the request in this form. In another it may.
pub(super) struct NotInThisForm;

pub(super) type Answer = Result<Result<Reply, Error>, NotInThisForm>;

/// Requests of a kind in a row, where many can go together; each other request alone.
fn runs(requests: &[Request]) -> impl Iterator<Item = &[Request]> {
    let together = |one: &Request, next: &Request| {
        (one.is_load() && next.is_load())
            || (one.is_touch() && next.is_touch())
            || (one.is_compared() && next.is_compared())
            || (one.place().is_some() && next.place().is_some())
    };
    requests.chunk_by(together).flat_map(|row| row.chunks(TOGETHER))
}

pub(super) fn next(replies: &mut vec::IntoIter<Value>) -> Value {
    replies.next().unwrap_or(Value::Nil)
}

/// One command for all texts, which costs Redis half of what many would.
fn pack_loads(run: &[Request], keys: &Keys, pipeline: &mut Pipeline) {
    let mut command = Cmd::with_capacity(run.len() + 1, run.len() * 64);
    command.arg("MGET");
    for request in run {
        command.arg(keys.key(request.id()));
    }
    pipeline.add_command(command);
    for request in run.iter().filter(|request| matches!(request, Request::Load(_))) {
        pipeline.add_command(keys.key(request.id()).command("PTTL", 0));
    }
}

/// MGET passes over what is no text, although something is there, and may be refused as a whole.
fn unpack_loads(run: &[Request], replies: &mut vec::IntoIter<Value>, answers: &mut Vec<Answer>) {
    let texts = match next(replies) {
        Value::Array(texts) if texts.len() == run.len() => texts,
        _ => vec![Value::Nil; run.len()],
    };
    for (request, text) in run.iter().zip(texts) {
        let expiry = matches!(request, Request::Load(_)).then(|| next(replies));
        answers.push(if text == Value::Nil && expiry != Some(Value::Int(-2)) {
            Err(NotInThisForm)
        } else {
            Ok(Session::from_replies(text, expiry).map(Reply::Loaded))
        });
    }
}

/// One transaction, in which all keys are read after they were written: a write ends the tracking of a key, and only a
/// read in the same step resumes it without a gap.
fn pack_touches(run: &[Request], keys: &Keys, now: Timestamp, pipeline: &mut Pipeline) {
    pipeline.cmd("MULTI");
    let mut read = Cmd::with_capacity(run.len() + 1, run.len() * 64);
    read.arg("EXISTS");
    for request in run {
        request.pack(keys, now, Script::Known, pipeline);
        read.arg(keys.key(request.id()));
    }
    pipeline.add_command(if WRITES_END_WITH_A_READ { read } else { redis::cmd("PING") });
    pipeline.cmd("EXEC");
}

fn unpack_touches(count: usize, replies: &mut vec::IntoIter<Value>, answers: &mut Vec<Answer>) {
    let refused = replies.by_ref().take(count + 2).filter(|reply| matches!(reply, Value::ServerError(_))).count();
    match next(replies) {
        Value::Array(done) if refused == 0 && done.len() == count + 1 => {
            answers.extend(done.into_iter().take(count).map(|written| {
                // What PEXPIRE says of a key that is not there.
                Ok(if written == Value::Int(0) { Ok(Reply::Gone) } else { extract(written).map(|_| Reply::Done) })
            }));
        }
        _ => answers.extend((0..count).map(|_| Err(NotInThisForm))),
    }
}

impl Request {
    /// The session that it is about.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        match self {
            Self::Load(id)
            | Self::LoadText(id)
            | Self::Save(id, ..)
            | Self::Touch(id, _)
            | Self::Destroy(id)
            | Self::Bury(id) => id,
        }
    }

    /// Whether it reads.
    #[must_use]
    pub fn is_load(&self) -> bool {
        matches!(self, Self::Load(_) | Self::LoadText(_))
    }

    fn is_touch(&self) -> bool {
        matches!(self, Self::Touch(..))
    }

    /// Whether it is written over what it was made from, and over nothing else.
    fn is_compared(&self) -> bool {
        matches!(self, Self::Save(_, save) if !matches!(save.base, Base::None | Base::Absent))
    }

    /// Where it was sent, if that is to be known afterwards.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Save(_, save) => save.place,
            _ => None,
        }
    }

    fn is_scripted(&self, script: Script) -> bool {
        script != Script::Forbidden && self.is_compared()
    }

    /// The same, where it may have been executed already.
    #[must_use]
    pub fn unsure(self) -> Self {
        match self {
            Self::Save(id, save) => Self::Save(id, save.unsure()),
            other => other,
        }
    }

    fn pack(&self, keys: &Keys, now: Timestamp, script: Script, pipeline: &mut Pipeline) {
        let key = keys.key(self.id());
        match self {
            Self::Load(_) => {
                pipeline.add_command(key.command("GET", 0));
                pipeline.add_command(key.command("PTTL", 0));
            }
            Self::LoadText(_) => {
                pipeline.add_command(key.command("GET", 0));
            }
            Self::Save(..) if self.is_scripted(script) => {
                pack_saves(std::slice::from_ref(self), keys, now, script, pipeline);
            }
            Self::Save(id, save) => {
                pipeline.add_command(set(keys, id, save, now));
            }
            Self::Touch(_, deadline) => {
                let mut command = key.command(if deadline.is_some() { "PEXPIRE" } else { "PERSIST" }, 24);
                if let Some(deadline) = deadline {
                    command.arg(life(*deadline, now));
                }
                pipeline.add_command(command);
            }
            Self::Destroy(_) => {
                pipeline.add_command(key.command("UNLINK", 0));
            }
            Self::Bury(_) => {
                // Whether there is room for the mark or not, the session is gone.
                pipeline.add_command(key.command("UNLINK", 0));
                let mut command = key.command("SET", 24);
                command.arg("").arg("PX").arg(BURIED_MILLIS);
                pipeline.add_command(command);
            }
        }
    }
}

/// An ordinary write. A session that was loaded is written only if it is still there. Redis does not keep track of it, which
/// would cost more than to write it: the first read begins that.
pub(super) fn set(keys: &Keys, id: &SessionId, save: &Save, now: Timestamp) -> Cmd {
    let mut command = keys.key(id).command("SET", save.text.len() + 32);
    command.arg(&*save.text);
    if let Some(deadline) = save.deadline {
        command.arg("PX").arg(life(deadline, now));
    }
    match save.base {
        Base::Any | Base::Text(_) => command.arg("XX"),
        Base::Absent | Base::Lost(_) => command.arg("NX"),
        Base::None | Base::Unsure | Base::Sent { .. } => &mut command,
    };
    command
}

/// One script for many, which costs Redis a good deal less than one for each.
fn pack_saves(run: &[Request], keys: &Keys, now: Timestamp, script: Script, pipeline: &mut Pipeline) {
    let saves = || {
        run.iter().filter_map(|request| match request {
            Request::Save(id, save) => Some((id, save)),
            _ => None,
        })
    };
    let bytes = saves().map(|(_, save)| save.text.len() * 2 + 128).sum();
    let mut command = Cmd::with_capacity(run.len() * 5 + 3, bytes);
    match script {
        Script::Sent => command.arg("EVAL").arg(SAVE.as_str()),
        _ => command.arg("EVALSHA").arg(SAVE_DIGEST.as_str()),
    };
    command.arg(run.len());
    for (id, _) in saves() {
        command.arg(keys.key(id));
    }
    for (_, save) in saves() {
        add_base(save, &mut command);
        command.arg(&*save.text);
        match save.deadline {
            Some(deadline) => command.arg(life(deadline, now)),
            None => command.arg(""),
        };
    }
    pipeline.add_command(command);
}

/// A short text is compared as it is, which takes Redis less time than to make a digest of what it has.
fn add_base(save: &Save, command: &mut Cmd) {
    const SHORT: usize = 1024;
    let (kind, base) = match &save.base {
        Base::Text(base) => (["text", "digest"], base),
        Base::Lost(base) => (["+text", "+digest"], base),
        Base::Unsure | Base::Sent { .. } => (["+text", "+digest"], &save.text),
        Base::None | Base::Any | Base::Absent => {
            command.arg("any").arg("");
            return;
        }
    };
    if base.len() <= SHORT {
        command.arg(kind[0]).arg(&**base);
    } else {
        command.arg(kind[1]).arg(digest(base));
    }
}

/// Milliseconds that are left. The time that a request has waited is off its life; what has none left goes at once.
fn life(deadline: Timestamp, now: Timestamp) -> u64 {
    deadline.since(now).max(1)
}

fn digest(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = Sha1::digest(text.as_bytes());
    bytes.iter().flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]).map(char::from).collect()
}
