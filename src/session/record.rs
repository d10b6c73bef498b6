//! A session's text and how long it lives.

use std::sync::Arc;

use super::merge::merge;
use crate::clock::Timestamp;
use crate::error::Error;

/// How long a session lives from the moment it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is destroyed (`disableTTL`).
    Unlimited,
    /// This many milliseconds, at least 1.
    Millis(u64),
}

impl Lifetime {
    /// The longest lifetime: what a JavaScript date can reach, and far from overflowing Redis's 64 bits.
    const MAX_MILLIS: f64 = 8.64e15;

    /// Takes JavaScript's number of milliseconds, infinite for no end. A part of a millisecond counts as a whole one, so
    /// that nothing expires before its cookie says so.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidTtl`] when it is not a number, or not above 0: the caller destroys a session whose time is up.
    pub fn from_millis(millis: f64) -> Result<Self, Error> {
        if millis == f64::INFINITY {
            Ok(Self::Unlimited)
        } else if millis > 0.0 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "above 0 and bounded here")]
            let whole = millis.min(Self::MAX_MILLIS).ceil() as u64;
            Ok(Self::Millis(whole))
        } else {
            Err(Error::InvalidTtl)
        }
    }

    /// Milliseconds, or `None` without end.
    #[must_use]
    pub fn millis(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::Millis(millis) => Some(millis),
        }
    }
}

/// A session as it is stored: text that this library does not look into, and what is left of its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What the serializer made of the session.
    pub text: String,
    /// How long it has to live.
    pub lifetime: Lifetime,
}

/// What a save was made from, and so what it may replace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Nothing that is known: the session is new, or its caller wants it written whatever is there.
    None,
    /// As [`Base::None`], and an earlier try of this very write may have been executed.
    Unsure,
    /// As [`Base::None`], and this text was sent. How far Redis came with its connection tells whether it was written.
    Sent {
        /// What was sent.
        text: Arc<str>,
        /// Where on its connection.
        place: Place,
    },
    /// The session as it was loaded, whatever it was: a session that is gone meanwhile stays gone.
    Any,
    /// This text: what others made of it meanwhile is merged, and a session that is gone stays gone.
    Text(Arc<str>),
    /// As [`Base::Text`], but Redis has lost it: it is written also where nothing stands.
    Lost(Arc<str>),
    /// Nothing, for certain: where something stands, that stays.
    Absent,
}

impl Base {
    /// That of a write without a base, once it was sent.
    #[must_use]
    pub fn sent(text: &Arc<str>, place: Option<Place>) -> Self {
        place.map_or(Self::Unsure, |place| Self::Sent { text: text.clone(), place })
    }

    /// How long its text is.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Lost(text) | Self::Sent { text, .. } => text.len(),
            Self::None | Self::Unsure | Self::Any | Self::Absent => 0,
        }
    }
}

/// Where a write stands among those that were sent on a connection, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The connection.
    pub connection: u64,
    /// How many such writes it is, with those before it.
    pub count: u64,
}

/// What became of a write of which no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was executed.
    Executed,
    /// It was not, and never will be.
    Never,
    /// It cannot be known.
    Unknown,
    /// It is not known yet.
    Open,
}

/// A session to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Save {
    /// What the serializer made of it.
    pub text: Arc<str>,
    /// When it ends, `None` when it does not.
    pub deadline: Option<Timestamp>,
    /// What it was made from.
    pub base: Base,
    /// Where JavaScript looks whether what it kept of this text is still so, if it keeps anything.
    pub slot: Option<u32>,
    /// Where it was sent, if that is to be known afterwards.
    pub place: Option<Place>,
}

impl Save {
    /// One of which JavaScript keeps nothing.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>, deadline: Option<Timestamp>, base: Base) -> Self {
        Self { text: text.into(), deadline, base, slot: None, place: None }
    }

    /// The same, where it may have been executed already.
    #[must_use]
    pub fn unsure(self) -> Self {
        let base = match self.base {
            Base::None => Base::sent(&self.text, self.place),
            other => other,
        };
        Self { base, ..self }
    }

    /// Whether it is worth nothing once that session is gone.
    #[must_use]
    pub fn is_of_a_loaded_session(&self) -> bool {
        matches!(self.base, Base::Any | Base::Text(_))
    }

    /// The text to write where `stored` stands instead of the base. `None` when what is stored is no session, or when the
    /// two cannot be merged: see [`merge`].
    #[must_use]
    pub fn merged_with(&self, stored: &str) -> Option<Arc<str>> {
        match &self.base {
            Base::None | Base::Any => Some(self.text.clone()),
            Base::Absent => Some(stored.into()),
            Base::Unsure | Base::Sent { .. } => merge("{}", &self.text, stored).map(Into::into),
            Base::Text(base) | Base::Lost(base) if **base == *stored => Some(self.text.clone()),
            Base::Text(base) | Base::Lost(base) => merge(base, &self.text, stored).map(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_millisecond_counts_as_a_whole_one() {
        assert_eq!(Lifetime::from_millis(0.2), Ok(Lifetime::Millis(1)));
        assert_eq!(Lifetime::from_millis(4.0), Ok(Lifetime::Millis(4)));
    }

    #[test]
    fn is_bounded_above_and_refused_below() {
        let longest = Lifetime::from_millis(f64::MAX).expect("clamped").millis();
        assert_eq!(longest, Some(8_640_000_000_000_000));
        assert_eq!(Lifetime::from_millis(f64::INFINITY), Ok(Lifetime::Unlimited));
        for millis in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(Lifetime::from_millis(millis), Err(Error::InvalidTtl));
        }
    }
}
