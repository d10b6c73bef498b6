//! Signatures as the npm package cookie-signature makes them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::{hmac_sha256, same};

/// The HMAC-SHA256 of `value` under `secret`, as base64 without padding: 43 characters.
#[must_use]
pub fn sign(value: &str, secret: &[u8]) -> String {
    STANDARD_NO_PAD.encode(hmac_sha256(secret, &[value.as_bytes()]))
}

/// Whether `signature` is what [`sign`] makes. The texts are compared, so that no second spelling of it is accepted.
#[must_use]
pub fn verify(value: &str, signature: &str, secret: &[u8]) -> bool {
    same(sign(value, secret).as_bytes(), signature.as_bytes())
}
