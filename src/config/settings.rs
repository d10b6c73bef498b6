//! Settings as they come in: named values from options or the environment, before anyone has looked at them.

use std::fmt;
use std::ops::RangeInclusive;

use crate::error::Error;

/// A value whose type is known and nothing else.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string; from the environment, always.
    Text(String),
    /// A number.
    Number(f64),
    /// `true` or `false`.
    Flag(bool),
    /// Something of another type, which is named.
    Other(String),
}

/// One option, or one environment variable that stands in for it.
#[derive(Clone)]
pub struct Setting {
    /// The option's name.
    pub name: String,
    /// The environment variable that the value comes from, `None` when the option was given.
    pub variable: Option<String>,
    /// What it holds.
    pub value: Value,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Setting");
        debug.field("name", &self.name).field("variable", &self.variable);
        if self.is_secret() { debug.finish_non_exhaustive() } else { debug.field("value", &self.value).finish() }
    }
}

impl Setting {
    /// The error that says what this setting is, what it holds, and what was expected.
    pub(super) fn refuse(&self, expected: &str) -> Error {
        let held = match &self.value {
            _ if self.is_secret() => "a value that cannot be used (not shown, it may hold a secret)".to_owned(),
            Value::Text(text) => format!("the text {:?}", text.chars().take(60).collect::<String>()),
            Value::Number(number) => format!("the number {number}"),
            Value::Flag(flag) => format!("the boolean {flag}"),
            Value::Other(kind) => kind.clone(),
        };
        Error::InvalidOption(match &self.variable {
            Some(variable) => format!("The environment variable {variable} holds {held}. Expected {expected}."),
            None => format!("The option `{}` is {held}. Expected {expected}.", self.name),
        })
    }

    pub(super) fn text(&self) -> Result<String, Error> {
        match &self.value {
            Value::Text(text) => Ok(text.clone()),
            _ => Err(self.refuse("a string")),
        }
    }

    pub(super) fn is_option(&self) -> bool {
        self.variable.is_none()
    }

    /// Whether it may hold a secret. An address with a password is a common mistake for a host or a port, and a
    /// certificate for `true`.
    fn is_secret(&self) -> bool {
        let may_hold_one =
            matches!(&self.value, Value::Text(text) if text.contains(['@', '/', ':']) || text.contains("---"));
        may_hold_one || matches!(self.name.as_str(), "url" | "password") || self.name.starts_with("tls.")
    }

    pub(super) fn flag(&self) -> Result<bool, Error> {
        let flag = match &self.value {
            Value::Flag(flag) => Some(*flag),
            Value::Text(text) if !self.is_option() => match text.trim().to_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        };
        flag.ok_or_else(|| self.refuse("`true` or `false`"))
    }

    pub(super) fn number(&self, allowed: &RangeInclusive<f64>, unit: &str) -> Result<f64, Error> {
        let number = self.as_number().filter(|number| allowed.contains(number));
        number.ok_or_else(|| self.refuse(&format!("a number of {unit} from {} to {}", allowed.start(), allowed.end())))
    }

    pub(super) fn whole(&self, allowed: &RangeInclusive<u64>) -> Result<u64, Error> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates, and what it saturates to is checked against the range"
        )]
        let whole = self.as_number().filter(|number| number.fract() == 0.0 && *number >= 0.0).map(|n| n as u64);
        whole
            .filter(|number| allowed.contains(number))
            .ok_or_else(|| self.refuse(&format!("a whole number from {} to {}", allowed.start(), allowed.end())))
    }

    /// The number it holds. The environment has only text, so there text that reads as a number is one.
    fn as_number(&self) -> Option<f64> {
        match &self.value {
            Value::Number(number) => Some(*number),
            Value::Text(text) if !self.is_option() => text.trim().parse().ok(),
            _ => None,
        }
    }
}

/// The settings that nobody has asked for yet.
pub(super) struct Settings(Vec<Setting>);

impl Settings {
    pub(super) fn new(settings: Vec<Setting>) -> Self {
        Self(settings)
    }

    /// Takes a setting: the option when it was given, else the variable.
    pub(super) fn take(&mut self, name: &str) -> Option<Setting> {
        let (taken, rest) = std::mem::take(&mut self.0).into_iter().partition::<Vec<_>, _>(|s| s.name == name);
        self.0 = rest;
        taken.into_iter().min_by_key(|setting| !setting.is_option())
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Error> {
        self.take(name).map(|setting| setting.flag()).transpose()
    }

    pub(super) fn whole(&mut self, name: &str, allowed: &RangeInclusive<u64>) -> Result<Option<u64>, Error> {
        self.take(name).map(|setting| setting.whole(allowed)).transpose()
    }

    /// Refuses options that nobody knows: they are misspelt more often than not.
    pub(super) fn finish(self) -> Result<(), Error> {
        match self.0.into_iter().find(Setting::is_option) {
            None => Ok(()),
            Some(setting) => Err(Error::InvalidOption(format!(
                "The option `{}` is unknown. Expected one of the options that the README lists: is it misspelt?",
                setting.name
            ))),
        }
    }
}
