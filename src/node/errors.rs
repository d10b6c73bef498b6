//! A Rust error as JavaScript sees it: thrown with its code, which `lib/errors.js` makes into the error that callers get.

use crate::error::Error;

/// An error's code, in the place where napi looks for one.
pub struct Code(pub(super) &'static str);

impl AsRef<str> for Code {
    fn as_ref(&self) -> &str {
        self.0
    }
}

impl From<napi::Status> for Code {
    /// Only napi's own conversions make these: an argument of the wrong type, which `lib/` does not let through.
    fn from(_: napi::Status) -> Self {
        Self("ERR_INVALID_ARGUMENT")
    }
}

/// What a method of the addon returns.
pub type Result<T> = std::result::Result<T, napi::Error<Code>>;

impl From<Error> for napi::Error<Code> {
    fn from(error: Error) -> Self {
        Self::new(Code(error.code()), error.to_string())
    }
}
