//! CSRF tokens: `random.mac` in base64url. They are kept nowhere. Each is fresh, and good for one session id.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::random::random_bytes;
use super::{hmac_sha256, same};
use crate::error::Error;

const RANDOM_BYTES: usize = 16;
const RANDOM_CHARS: usize = 22;
const MAC_CHARS: usize = 43;

pub(super) fn create(session_id: &str, key: &[u8]) -> Result<String, Error> {
    let random = random_bytes::<RANDOM_BYTES>()?;
    let mac = mac(session_id, &random, key);
    Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(random), URL_SAFE_NO_PAD.encode(mac)))
}

/// A token's two parts. Its shape is looked at first, so that a megabyte of something else costs nothing.
pub(super) struct Token {
    random: Vec<u8>,
    mac: Vec<u8>,
}

impl Token {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() != RANDOM_CHARS + 1 + MAC_CHARS {
            return None;
        }
        let (random, mac) = text.split_once('.').filter(|(random, _)| random.len() == RANDOM_CHARS)?;
        Some(Self { random: URL_SAFE_NO_PAD.decode(random).ok()?, mac: URL_SAFE_NO_PAD.decode(mac).ok()? })
    }

    pub(super) fn is_for(&self, session_id: &str, key: &[u8]) -> bool {
        same(&mac(session_id, &self.random, key), &self.mac)
    }
}

// The id's length goes first, so that no other id and random part together make the same bytes.
fn mac(session_id: &str, random: &[u8], key: &[u8]) -> [u8; 32] {
    hmac_sha256(key, &[&(session_id.len() as u64).to_be_bytes(), session_id.as_bytes(), random])
}
