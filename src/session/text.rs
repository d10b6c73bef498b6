//! A session's text on its way in.

use std::borrow::Cow;

/// Text as its maker had it. JavaScript's strings come as UTF-16, which is the cheapest way out of JavaScript; the event
/// loop need not wait until they are UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// As Redis wants it.
    Utf8(String),
    /// As JavaScript has it. A lone surrogate becomes U+FFFD.
    Utf16(Vec<u16>),
}

impl Text {
    /// The text as UTF-8.
    #[must_use]
    pub fn to_utf8(&self) -> Cow<'_, str> {
        match self {
            Self::Utf8(text) => Cow::Borrowed(text),
            Self::Utf16(units) => Cow::Owned(utf8_of(units)),
        }
    }
}

/// UTF-16 as UTF-8. A lone surrogate becomes U+FFFD.
#[must_use]
pub fn utf8_of(units: &[u16]) -> String {
    ascii(units).unwrap_or_else(|| String::from_utf16_lossy(units))
}

/// Most text here is ASCII, and that is many times faster to convert.
fn ascii(units: &[u16]) -> Option<String> {
    if units.iter().any(|unit| *unit >= 0x80) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 0x80, as was just seen")]
    let bytes = units.iter().map(|unit| *unit as u8).collect();
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn utf_16_becomes_the_same_text(text in "(\\PC|[\\x00-\\x7f]){0,200}") {
            let units = Text::Utf16(text.encode_utf16().collect());
            prop_assert_eq!(units.to_utf8(), text);
        }

        #[test]
        fn any_units_become_some_text(units in prop::collection::vec(any::<u16>(), 0..50)) {
            let text = Text::Utf16(units.clone());
            prop_assert_eq!(text.to_utf8(), String::from_utf16_lossy(&units));
        }
    }
}
