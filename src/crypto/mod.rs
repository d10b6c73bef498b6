//! What makes a session's cookie and token hard to forge: signatures, ids, CSRF tokens. Plain functions of keys and text.
//!
//! One secret gives one key for each purpose, so that what was made for one is never accepted as the other
//! (CVE-2020-8166). The cookie's key is the secret itself, because the npm package cookie-signature has it so.

mod cookie;
mod csrf;
mod keys;
mod random;
mod signature;

pub use cookie::{Opened, is_plain_id};
pub use keys::{KeyRing, MIN_SECRET, Secret};
pub use random::new_session_id;
pub use signature::{sign, verify};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The one comparison of what an attacker may guess at: its time tells nothing but the lengths (OWASP ASVS 5.0, 11.2.4).
fn same(expected: &[u8], given: &[u8]) -> bool {
    expected.ct_eq(given).into()
}

fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
