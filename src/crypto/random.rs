//! The system's random source, and no other.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRng;
use rand::rngs::SysRng;

use crate::error::Error;

/// A session id of 256 random bits, as 43 letters, digits, `-` and `_` (OWASP ASVS 5.0, 7.2.3 asks for 128 bits).
///
/// # Errors
///
/// [`Error::NoRandom`] when the system gives none.
pub fn new_session_id() -> Result<String, Error> {
    Ok(URL_SAFE_NO_PAD.encode(random_bytes::<32>()?))
}

pub(super) fn random_bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| Error::NoRandom(error.to_string()))?;
    Ok(bytes)
}
