//! Everything that can go wrong, each with a stable code.
//!
//! A session that is missing, expired or unreadable is not an error but a value. No message holds a secret, a session
//! id or session content.

/// A failure of the store. [`Error::code`] is what programs test; the text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option or environment variable that cannot be used.
    #[error("{0}")]
    InvalidOption(String),

    /// A session id that cannot become a key.
    #[error(
        "The session id {0}. Expected 1 to {max} bytes of text without control characters.",
        max = crate::session::SessionId::MAX_BYTES
    )]
    InvalidSessionId(&'static str),

    /// A lifetime that is not a number of milliseconds.
    #[error(
        "The session's lifetime is not a number. Expected `cookie.expires` to be a date, or `ttl` to give seconds."
    )]
    InvalidTtl,

    /// The system gives no random bytes. There is no other source.
    #[error("The system's random source failed: {0}. No session id or token can be made without it.")]
    NoRandom(String),

    /// Redis understood the command and refused it.
    #[error("Redis refused a command: {0}")]
    Redis(String),

    /// Redis is needed for this call and cannot be reached.
    #[error("Redis is unavailable: {0}")]
    Unavailable(String),

    /// The table of this process is full of sessions that are not in Redis yet.
    #[error(
        "Redis is away and the memory for sessions is full ({max_bytes} bytes, option `cache.maxBytes`). \
         The session was not stored."
    )]
    Full {
        /// The configured bound.
        max_bytes: usize,
    },

    /// Others changed the session faster than this save could follow.
    #[error(
        "The session was changed by others each time that this save was merged with their changes, and was not stored. \
         Save it again, or change one session less often at the same time."
    )]
    Contended,

    /// Two requests changed objects in a session that are nested too deep to be merged.
    #[error(
        "The session was changed by another request in the same deeply nested object, and the two cannot be merged. \
         It was not stored. Expected at most 200 levels where requests meet: keep the session flatter."
    )]
    Nested,

    /// A call after `close()`.
    #[error("The session store is closed. Nothing can be read or written after `close()`.")]
    Closed,

    /// A task of this library ended before its answer: a defect, please report it.
    #[error("The session store lost this operation. This is a defect of meetabl-session: please report it.")]
    Internal,
}

impl Error {
    /// Whether it says of Redis as a whole that it serves nobody, or only readers.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        self.is_refusal(&["READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH"])
    }

    /// Whether it says that Redis takes no writes for now, while it still answers reads.
    #[must_use]
    pub fn is_write_refusal(&self) -> bool {
        self.is_refusal(&["OOM", "MISCONF", "NOREPLICAS", "TRYAGAIN"])
    }

    fn is_refusal(&self, codes: &[&str]) -> bool {
        matches!(self, Self::Redis(reason) if codes.iter().any(|code| reason.starts_with(code)))
    }

    /// The stable code, `ERR_…`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidOption(_) => "ERR_INVALID_OPTION",
            Self::InvalidSessionId(_) => "ERR_INVALID_SESSION_ID",
            Self::InvalidTtl => "ERR_INVALID_TTL",
            Self::NoRandom(_) => "ERR_RANDOM",
            Self::Redis(_) => "ERR_REDIS",
            Self::Unavailable(_) => "ERR_STORE_UNAVAILABLE",
            Self::Full { .. } => "ERR_STORE_FULL",
            Self::Nested => "ERR_STORE_NESTED",
            Self::Contended => "ERR_STORE_CONTENDED",
            Self::Closed => "ERR_STORE_CLOSED",
            Self::Internal => "ERR_INTERNAL",
        }
    }
}
