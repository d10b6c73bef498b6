//! Text on its way in. JavaScript's strings come as UTF-16, which is the cheapest way out of JavaScript: the event loop
//! need not wait until they are UTF-8.

/// UTF-16 as UTF-8. A lone surrogate becomes U+FFFD.
#[must_use]
pub fn utf8_of(units: &[u16]) -> String {
    ascii(units).unwrap_or_else(|| String::from_utf16_lossy(units))
}

/// The same where all of it is ASCII. Most text here is, and that is many times faster to convert.
#[must_use]
pub fn ascii(units: &[u16]) -> Option<String> {
    // Without a branch for each, many are looked at in one step.
    if units.iter().fold(0, |all, unit| all | unit) >= 0x80 {
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
            prop_assert_eq!(utf8_of(&text.encode_utf16().collect::<Vec<_>>()), text);
        }

        #[test]
        fn any_units_become_some_text(units in prop::collection::vec(any::<u16>(), 0..50)) {
            prop_assert_eq!(utf8_of(&units), String::from_utf16_lossy(&units));
        }
    }
}
