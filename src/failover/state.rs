//! The states of a store.

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nobody yet: the first try to reach Redis is under way, and operations wait for it.
    Connecting,
    /// Redis.
    Ready,
    /// The memory of this process, because Redis is away.
    Degraded,
    /// Nobody any more.
    Closed,
}

impl State {
    /// The name that JavaScript sees.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Closed => "closed",
        }
    }
}
