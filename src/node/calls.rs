//! Calls on their way in. Many cross together as three values: numbers in one typed array, ids joined to one string, and
//! texts joined to another. They are taken apart on the engine's thread.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use napi::bindgen_prelude::Utf16String;
use once_cell::unsync::OnceCell;

use crate::clock::Timestamp;
use crate::engine::Operation;
use crate::error::Error;
use crate::redis::Request;
use crate::session::{Base, Lifetime, Save, SessionId, ascii, utf8_of};

/// Numbers for each call: operation, what is asked for, lengths of its id and its text in UTF-16 units, lifetime in
/// milliseconds (infinite for no end), what the session was made from (the length of the end of its text that is the base, or
/// one of [`NO_BASE`] and [`ANY_BASE`]), and the slot in which JavaScript looks for it, or [`NO_SLOT`].
const FIELDS: usize = 7;

/// JavaScript keeps nothing of the session.
const NO_SLOT: f64 = -1.0;

/// The session is new.
const NO_BASE: f64 = -1.0;

/// The session was loaded, and replaces whatever it has become.
const ANY_BASE: f64 = -2.0;

/// Makes a request of what JavaScript calls by number.
pub fn request(
    kind: u32,
    id: impl AsRef<str> + Into<Arc<str>>,
    text: impl Into<Arc<str>>,
    lifetime: f64,
    base: Base,
    now: Timestamp,
) -> Result<Request, Error> {
    let id = SessionId::parse(id)?;
    match kind {
        0 => Ok(Request::Load(id)),
        1 => Ok(Request::Save(id, Save::new(text, now.after(Lifetime::from_millis(lifetime)?), base))),
        2 => Ok(Request::Touch(id, now.after(Lifetime::from_millis(lifetime)?))),
        3 => Ok(Request::Destroy(id)),
        _ => Err(Error::Internal),
    }
}

/// Which base a number from JavaScript means.
pub fn base_of(number: f64, text: impl FnOnce() -> Arc<str>) -> Base {
    match number {
        NO_BASE => Base::None,
        ANY_BASE => Base::Any,
        _ => Base::Text(text()),
    }
}

/// Calls that crossed together.
pub struct Packed {
    numbers: std::vec::IntoIter<f64>,
    ids: Units,
    texts: Units,
    /// When they were made.
    now: Timestamp,
}

impl Packed {
    pub fn new(numbers: &[f64], ids: Utf16String, texts: Utf16String, now: Timestamp) -> Self {
        Self { now, numbers: Vec::from(numbers).into_iter(), ids: Units::new(ids), texts: Units::new(texts) }
    }
}

impl Iterator for Packed {
    type Item = (Operation, Result<Request, Error>);

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "operation, kind, lengths and slot are small whole numbers, written by lib/requests.js"
    )]
    fn next(&mut self) -> Option<Self::Item> {
        let mut number = || self.numbers.next();
        let (operation, kind, id, text, lifetime) = (number()?, number()?, number()?, number()?, number()?);
        let (base, slot) = (number()?, number()?);
        let (id, text) = (self.ids.take(id as usize), self.texts.take(text as usize));
        let base = base_of(base, || {
            let base = self.texts.take(base as usize);
            self.texts.get(base).into()
        });
        let mut request = request(kind as u32, self.ids.get(id), self.texts.get(text), lifetime, base, self.now);
        if let Ok(Request::Save(_, save)) = &mut request {
            save.slot = (slot > NO_SLOT).then_some(slot as u32);
        }
        Some((operation as Operation, request))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.numbers.len() / FIELDS;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Packed {}

/// Joined strings, taken piece by piece.
struct Units {
    all: Utf16String,
    /// The same, when all of it is ASCII, as most is: then a unit is a byte. Looked at on the engine's thread.
    ascii: OnceCell<Option<String>>,
    taken: usize,
}

impl Units {
    fn new(all: Utf16String) -> Self {
        Self { all, ascii: OnceCell::new(), taken: 0 }
    }

    /// Where the next piece is.
    fn take(&mut self, length: usize) -> Range<usize> {
        let start = self.taken;
        self.taken = (start + length).min(self.all.len());
        start..self.taken
    }

    fn get(&self, piece: Range<usize>) -> Cow<'_, str> {
        match self.ascii.get_or_init(|| ascii(&self.all)) {
            Some(text) => Cow::Borrowed(&text[piece]),
            None => Cow::Owned(utf8_of(&self.all[piece])),
        }
    }
}
