//! Secrets and the keys made of them. The first of a ring signs, all verify.

use hkdf::Hkdf;
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;
use zeroize::Zeroize;

use super::cookie::{self, Opened};
use super::csrf::{self, Token};
use super::signature;
use crate::error::Error;

/// The shortest secret, in characters of text or in bytes (OWASP ASVS 5.0, 11.2.3).
pub const MIN_SECRET: usize = 32;

/// What HKDF makes a CSRF key from: another purpose gets another text, and with it another key.
const CSRF_PURPOSE: &[u8] = b"meetabl-session/csrf-token/1";

/// A secret that is long enough. It cannot be printed, and is wiped when it goes.
#[derive(Debug)]
pub struct Secret(SecretSlice<u8>);

impl Secret {
    /// Takes a secret that is text. `name` is what an error calls it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] when it has fewer than [`MIN_SECRET`] characters.
    pub fn from_text(name: &str, mut text: String) -> Result<Self, Error> {
        let length = text.chars().count();
        let secret = Self::checked(name, text.as_bytes(), length);
        text.zeroize();
        secret
    }

    /// Takes a secret that is bytes.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] when it has fewer than [`MIN_SECRET`] bytes.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, Error> {
        Self::checked(name, bytes, bytes.len())
    }

    fn checked(name: &str, bytes: &[u8], length: usize) -> Result<Self, Error> {
        if length < MIN_SECRET {
            return Err(Error::InvalidOption(format!(
                "`{name}` is too short. Expected at least {MIN_SECRET} random characters: `openssl rand -base64 32` \
                 makes them."
            )));
        }
        Ok(Self(bytes.to_vec().into()))
    }
}

/// One secret's keys.
#[derive(Debug)]
struct Keys {
    cookie: SecretSlice<u8>,
    csrf: SecretSlice<u8>,
}

impl From<Secret> for Keys {
    fn from(Secret(cookie): Secret) -> Self {
        let mut csrf = vec![0; 32];
        Hkdf::<Sha256>::new(None, cookie.expose_secret())
            .expand(CSRF_PURPOSE, &mut csrf)
            .expect("HKDF gives 255 times as much");
        Self { cookie, csrf: csrf.into() }
    }
}

/// The secrets in use.
#[derive(Debug)]
pub struct KeyRing(Vec<Keys>);

impl KeyRing {
    /// A ring of at least one secret.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] when there is none.
    pub fn new(secrets: Vec<Secret>) -> Result<Self, Error> {
        if secrets.is_empty() {
            return Err(Error::InvalidOption("There is no secret. Expected at least one, the first signs.".to_owned()));
        }
        Ok(Self(secrets.into_iter().map(Keys::from).collect()))
    }

    /// Finds the cookie called `name` in a Cookie header, and checks it. The work is linear in the header's length.
    #[must_use]
    pub fn open(&self, header: &str, name: &str) -> Opened {
        cookie::open(header, name, |value, signature| {
            self.position(|keys| signature::verify(value, signature, keys.cookie.expose_secret()))
        })
    }

    /// A cookie's value for this id, not percent-encoded yet.
    #[must_use]
    pub fn seal(&self, id: &str) -> String {
        format!("s:{id}.{}", signature::sign(id, self.0[0].cookie.expose_secret()))
    }

    /// A fresh CSRF token for a session.
    ///
    /// # Errors
    ///
    /// [`Error::NoRandom`] when the system gives no random bytes.
    pub fn csrf_token(&self, session_id: &str) -> Result<String, Error> {
        csrf::create(session_id, self.0[0].csrf.expose_secret())
    }

    /// Which secret a token for this session was made under, counted from 0; none when it is no such token.
    #[must_use]
    pub fn verify_csrf(&self, session_id: &str, token: &str) -> Option<usize> {
        let token = Token::parse(token)?;
        self.position(|keys| token.is_for(session_id, keys.csrf.expose_secret()))
    }

    fn position(&self, verifies: impl Fn(&Keys) -> bool) -> Option<usize> {
        self.0.iter().position(verifies)
    }
}
