//! Signatures, session ids and CSRF tokens for JavaScript. Secrets come in and never go out.
//!
//! What requests need are functions of a ring's number, not methods: see `store.rs`.

use std::cell::RefCell;

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

thread_local! {
    /// The key rings of this JavaScript thread, by number. None is given twice: nobody may reach another's secrets by one.
    static RINGS: RefCell<Vec<Option<KeyRing>>> = const { RefCell::new(Vec::new()) };
}

fn with_ring<T>(number: u32, call: impl FnOnce(&KeyRing) -> T) -> Result<T> {
    RINGS.with_borrow(|rings| match rings.get(number as usize) {
        Some(Some(ring)) => Ok(call(ring)),
        _ => Err(Error::Internal.into()),
    })
}

/// The id in the cookie of that name: a string when the first secret signed it, an object when an earlier one did.
/// Else why there is none: 0 for no cookie, 1 for one that is not signed, 2 for a signature that no secret made, 3
/// for an id that `plainIds` does not allow.
#[napi(catch_unwind)]
pub fn open_cookie(
    ring: u32,
    header: String,
    name: String,
    plain_ids: bool,
) -> Result<Either3<u32, String, NativeEarlier>> {
    with_ring(ring, |ring| match ring.open(&header, &name) {
        Opened::Absent => Either3::A(0),
        Opened::Unsigned => Either3::A(1),
        Opened::Forged => Either3::A(2),
        Opened::Signed { id, .. } if plain_ids && !is_plain_id(&id) => Either3::A(3),
        Opened::Signed { id, key: 0 } => Either3::B(id),
        Opened::Signed { id, key } => Either3::C(NativeEarlier { id, key: u32::try_from(key).unwrap_or(u32::MAX) }),
    })
}

/// A cookie's value for this id, not percent-encoded yet.
#[napi(catch_unwind)]
pub fn seal_cookie(ring: u32, id: String) -> Result<String> {
    with_ring(ring, |ring| ring.seal(&id))
}

#[napi(catch_unwind)]
pub fn csrf_token(ring: u32, session_id: String) -> Result<String> {
    Ok(with_ring(ring, |ring| ring.csrf_token(&session_id))??)
}

#[napi(catch_unwind)]
pub fn verify_csrf(ring: u32, session_id: String, token: String) -> Result<bool> {
    with_ring(ring, |ring| ring.verify_csrf(&session_id, &token).is_some())
}

/// Secrets: the first signs, all verify. They are wiped when this goes.
#[napi]
pub struct NativeKeyRing {
    number: u32,
}

#[napi]
impl NativeKeyRing {
    #[napi(constructor, catch_unwind)]
    pub fn new(secrets: Vec<NativeSecret>) -> Result<Self> {
        let ring = key_ring(secrets)?;
        let number = RINGS.with_borrow_mut(|rings| {
            rings.push(Some(ring));
            u32::try_from(rings.len() - 1)
        });
        Ok(Self { number: number.map_err(|_| Error::Internal)? })
    }

    /// What the functions call this ring.
    #[napi(getter, catch_unwind)]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// From now on these secrets, and no others.
    #[napi(catch_unwind)]
    pub fn rotate(&self, secrets: Vec<NativeSecret>) -> Result<()> {
        self.set(Some(key_ring(secrets)?));
        Ok(())
    }

    fn set(&self, ring: Option<KeyRing>) {
        // At the end of a thread the table may be gone already, and its secrets with it.
        let _ = RINGS.try_with(|rings| {
            if let Some(place) = rings.borrow_mut().get_mut(self.number as usize) {
                *place = ring;
            }
        });
    }
}

impl Drop for NativeKeyRing {
    fn drop(&mut self) {
        self.set(None);
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
