//! What a read found, made of the replies to two commands: the text, and what is left of its life.

use redis::Value;

use super::connect::reason;
use crate::error::Error;
use crate::session::{Lifetime, Record};

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

impl Session {
    /// Without an expiry, it was not asked for.
    pub(super) fn from_replies(text: Value, expiry: Option<Value>) -> Result<Self, Error> {
        const OTHER_TYPE: &str = "its key holds another type of data";
        let bytes = match text {
            Value::Nil => return Ok(Self::Missing),
            Value::BulkString(bytes) => bytes,
            Value::ServerError(error) if error.code() == "WRONGTYPE" => return Ok(Self::Unreadable(OTHER_TYPE)),
            other => {
                extract(other)?;
                return Ok(Self::Unreadable(OTHER_TYPE));
            }
        };
        let lifetime = match expiry.map(extract).transpose()? {
            Some(Value::Int(-2)) => return Ok(Self::Missing),
            Some(Value::Int(-1)) | None => Lifetime::Unlimited,
            Some(Value::Int(millis)) => Lifetime::Millis(u64::try_from(millis).unwrap_or(0).max(1)),
            Some(other) => return Err(Error::Redis(format!("an expiry is a number, this was {:?}", kind(&other)))),
        };
        Ok(match String::from_utf8(bytes) {
            // What a destroyed session leaves for a while, so that nobody brings it back.
            Ok(text) if text.is_empty() => Self::Missing,
            Ok(text) => Self::Found(Record { text, lifetime }),
            Err(_) => Self::Unreadable("its text is not UTF-8"),
        })
    }
}

/// A reply, or the refusal that it is.
pub(super) fn extract(value: Value) -> Result<Value, Error> {
    match value {
        Value::ServerError(error) => Err(Error::Redis(reason(&error.into()))),
        value => Ok(value),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nothing",
        Value::BulkString(_) | Value::SimpleString(_) => "text",
        _ => "something else",
    }
}
