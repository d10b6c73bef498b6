//! How session ids become keys, and keys ids.

use std::io::Write;

use redis::{Cmd, RedisWrite, ToRedisArgs, ToSingleRedisArg};

use crate::session::SessionId;

/// Keys that start so are no sessions. They stand outside the prefix, unless that is very short.
const MARKER: &str = "meetabl:marker:";
const PROGRESS: &str = "meetabl:progress:";

/// How session ids become keys.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
    progress: String,
}

impl Keys {
    /// Keys that start with `prefix`.
    #[must_use]
    pub fn new(prefix: String) -> Self {
        let progress = format!("{PROGRESS}{:032x}", rand::random::<u128>());
        Self { prefix, progress }
    }

    pub(super) fn key<'a>(&'a self, id: &'a SessionId) -> Key<'a> {
        Key { prefix: &self.prefix, id: id.as_str() }
    }

    /// The id that a key stands for. `None` for a key that this library would not have written.
    #[must_use]
    pub fn id(&self, key: &[u8]) -> Option<SessionId> {
        let key = std::str::from_utf8(key).ok()?;
        let is_our_own = key.starts_with(MARKER) || key.starts_with(PROGRESS);
        key.strip_prefix(&self.prefix).filter(|_| !is_our_own).and_then(|id| SessionId::parse(id).ok())
    }

    /// Where Redis notes how far it has come with what this store has sent.
    pub(super) fn progress(&self) -> &str {
        &self.progress
    }

    /// What tells a Redis that came back empty.
    pub(super) fn marker(&self) -> String {
        format!("{MARKER}{}", self.prefix)
    }

    /// A glob that matches the keys: what is special in a glob is escaped.
    pub(super) fn pattern(&self) -> String {
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
pub(super) struct Key<'a> {
    prefix: &'a str,
    id: &'a str,
}

impl Key<'_> {
    /// A command whose first argument is this key, with room for a few more arguments of so many bytes.
    pub(super) fn command(&self, name: &str, more_bytes: usize) -> Cmd {
        let bytes = name.len() + self.prefix.len() + self.id.len() + more_bytes;
        let mut command = Cmd::with_capacity(if more_bytes == 0 { 2 } else { 5 }, bytes);
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

    #[test]
    fn keys_of_the_stores_own_are_no_sessions() {
        let (keys, other) = (Keys::new(String::new()), Keys::new("other:".to_owned()));
        for key in [keys.marker(), keys.progress().to_owned(), other.marker(), other.progress().to_owned()] {
            assert_eq!(keys.id(key.as_bytes()), None);
        }
        assert!(keys.id(b"sid").is_some());
    }
}
