//! Signatures, session ids and CSRF tokens for JavaScript. Secrets come in and never go out.

use napi::bindgen_prelude::{Either, Either3, Uint8Array};
use napi_derive::napi;

use super::errors::Result;
use crate::crypto::{self, KeyRing, Opened, Secret, is_plain_id};
use crate::error::Error;
use crate::session::SessionId;
use crate::telemetry::log_name;

/// cookie-signature's HMAC of `value`: base64 without padding.
#[napi(catch_unwind)]
pub fn sign(value: String, secret: Either<String, Uint8Array>) -> String {
    crypto::sign(&value, bytes_of(&secret))
}

/// Whether `signature` is what `sign` makes, compared in constant time.
#[napi(catch_unwind)]
pub fn verify(value: String, signature: String, secret: Either<String, Uint8Array>) -> bool {
    crypto::verify(&value, &signature, bytes_of(&secret))
}

/// 256 bits from the system's random source.
#[napi(catch_unwind)]
pub fn new_session_id() -> Result<String> {
    Ok(crypto::new_session_id()?)
}

/// What a log may call this session.
#[napi(catch_unwind)]
pub fn session_log_name(id: String) -> Result<String> {
    Ok(log_name(&SessionId::parse(id)?))
}

/// A secret, and what an error calls it.
#[napi(object, object_to_js = false)]
pub struct NativeSecret {
    pub name: String,
    pub value: Either<String, Uint8Array>,
}

/// What an earlier secret signed.
#[napi(object, object_from_js = false)]
pub struct NativeEarlier {
    pub id: String,
    /// Its place among the secrets, from 1.
    pub key: u32,
}

/// Secrets: the first signs, all verify.
#[napi]
pub struct NativeKeyRing(KeyRing);

#[napi]
impl NativeKeyRing {
    #[napi(constructor, catch_unwind)]
    pub fn new(secrets: Vec<NativeSecret>) -> Result<Self> {
        Ok(Self(key_ring(secrets)?))
    }

    /// From now on these secrets, and no others.
    #[napi(catch_unwind)]
    pub fn rotate(&mut self, secrets: Vec<NativeSecret>) -> Result<()> {
        self.0 = key_ring(secrets)?;
        Ok(())
    }

    /// The id in the cookie of that name: a string when the first secret signed it, an object when an earlier one did.
    /// Else why there is none: 0 for no cookie, 1 for one that is not signed, 2 for a signature that no secret made, 3
    /// for an id that `plainIds` does not allow.
    #[napi(catch_unwind)]
    pub fn open(&self, header: String, name: String, plain_ids: bool) -> Either3<u32, String, NativeEarlier> {
        match self.0.open(&header, &name) {
            Opened::Absent => Either3::A(0),
            Opened::Unsigned => Either3::A(1),
            Opened::Forged => Either3::A(2),
            Opened::Signed { id, .. } if plain_ids && !is_plain_id(&id) => Either3::A(3),
            Opened::Signed { id, key: 0 } => Either3::B(id),
            Opened::Signed { id, key } => Either3::C(NativeEarlier { id, key: u32::try_from(key).unwrap_or(u32::MAX) }),
        }
    }

    /// A cookie's value for this id, not percent-encoded yet.
    #[napi(catch_unwind)]
    pub fn seal(&self, id: String) -> String {
        self.0.seal(&id)
    }

    #[napi(catch_unwind)]
    pub fn csrf_token(&self, session_id: String) -> Result<String> {
        Ok(self.0.csrf_token(&session_id)?)
    }

    #[napi(catch_unwind)]
    pub fn verify_csrf(&self, session_id: String, token: String) -> bool {
        self.0.verify_csrf(&session_id, &token).is_some()
    }
}

fn key_ring(secrets: Vec<NativeSecret>) -> std::result::Result<KeyRing, Error> {
    let secrets = secrets.into_iter().map(|NativeSecret { name, value }| match value {
        Either::A(text) => Secret::from_text(&name, text),
        Either::B(bytes) => Secret::from_bytes(&name, &bytes),
    });
    KeyRing::new(secrets.collect::<std::result::Result<_, _>>()?)
}

fn bytes_of(secret: &Either<String, Uint8Array>) -> &[u8] {
    match secret {
        Either::A(text) => text.as_bytes(),
        Either::B(bytes) => bytes,
    }
}
