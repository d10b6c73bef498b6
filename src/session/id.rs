//! Session ids: checked once, never printed.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::error::Error;

/// A session id that may become part of a key. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// The longest id, in bytes of UTF-8. express-session's own have 32.
    pub const MAX_BYTES: usize = 512;

    /// Checks an id.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSessionId`] when it is empty, too long, or holds a control character, a line separator or a
    /// lone surrogate: such an id was made by no application and could only do harm in a log or a terminal.
    pub fn parse(id: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, Error> {
        let text = id.as_ref();
        // U+FFFD is what a lone surrogate of JavaScript's becomes: two ids could become one.
        let forbidden = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{fffd}');
        if text.is_empty() {
            Err(Error::InvalidSessionId("is empty"))
        } else if text.len() > Self::MAX_BYTES {
            Err(Error::InvalidSessionId("is too long"))
        } else if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.chars().any(forbidden) {
            Err(Error::InvalidSessionId("holds a control character"))
        } else {
            Ok(Self(id.into()))
        }
    }

    /// The id itself: for keys and for the caller who gave it, never for a log.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl Borrow<str> for SessionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_applications_make() {
        for id in ["a", "zGxJ4bqjH0FZ5eX1u9yvQm", "user:42/αβγ", &"x".repeat(512)] {
            assert_eq!(SessionId::parse(id).expect("a usable id").as_str(), id);
        }
    }

    #[test]
    fn refuses_what_could_only_do_harm() {
        for id in ["", "a\r\nDEL x", "a\0", "\u{1b}[2J", "a\u{2028}b", "a\u{fffd}b", &"x".repeat(513)] {
            assert_eq!(SessionId::parse(id).expect_err("an unusable id").code(), "ERR_INVALID_SESSION_ID");
        }
    }

    #[test]
    fn is_never_printed() {
        let id = SessionId::parse("secret-id").expect("a usable id");
        assert!(!format!("{id:?}").contains("secret"));
    }
}
