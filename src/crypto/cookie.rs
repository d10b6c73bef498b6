//! The session's cookie, from the header to the id: found, decoded, its signature and its id checked.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What became of a Cookie header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// No cookie of that name.
    Absent,
    /// A cookie that is not signed at all.
    Unsigned,
    /// A signature that none of the secrets made.
    Forged,
    /// An id, and which secret signed it, counted from 0. Whether the id is a usable one is not said yet.
    Signed {
        /// What was signed.
        id: String,
        /// The secret's place in the ring.
        key: usize,
    },
}

/// Whether an id is of the kind that is handed out here: 16 to 128 letters, digits, `-` and `_`. Nothing else becomes part
/// of a key, whoever signed it.
#[must_use]
pub fn is_plain_id(id: &str) -> bool {
    (16..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// `verify(value, signature)` says which secret made the signature.
pub(super) fn open(header: &str, name: &str, verify: impl Fn(&str, &str) -> Option<usize>) -> Opened {
    let Some(raw) = find(header, name) else { return Opened::Absent };
    let value = decode(raw);
    let Some((id, signature)) = value.strip_prefix("s:").and_then(|signed| signed.rsplit_once('.')) else {
        return Opened::Unsigned;
    };
    match verify(id, signature) {
        Some(key) => Opened::Signed { id: id.to_owned(), key },
        None => Opened::Forged,
    }
}

/// The first cookie of that name, as every Express application reads it.
fn find<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let pairs = header.split(';').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// A value may stand in quotes (RFC 6265, 4.1.1). What is no percent-encoded text is left as it is.
fn decode(raw: &str) -> Cow<'_, str> {
    let bare = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
    percent_decode_str(bare).decode_utf8().unwrap_or(Cow::Borrowed(bare))
}
