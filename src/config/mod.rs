//! What a store is configured with: checked once, here, and never again.

mod address;
mod settings;

use std::time::Duration;

pub use address::{Address, Endpoint, TlsMaterial};
pub use settings::{Setting, Value};

use crate::error::Error;
use settings::Settings;

/// Who answers while Redis is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// The memory of this process.
    Memory,
    /// Nobody: calls fail.
    Error,
}

/// A store's configuration, each value in a type or with a name that says its unit.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Where Redis is and how to get in.
    pub endpoint: Endpoint,
    /// What every key starts with.
    pub prefix: String,
    /// Lifetime of a session whose cookie has no expiry, in seconds; may have a fraction.
    pub ttl_seconds: f64,
    /// Sessions are kept without an expiry.
    pub disable_ttl: bool,
    /// `touch` does nothing.
    pub disable_touch: bool,
    /// Keys asked for at a time when listing.
    pub scan_count: usize,
    /// How long Redis may take for a command.
    pub command_timeout: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long `close` tries to write what Redis does not have yet.
    pub close_timeout: Duration,
    /// Who answers while Redis is away.
    pub fallback: Fallback,
    /// How long to wait before the second try to reach Redis, and at the most before any.
    pub reconnect: (Duration, Duration),
    /// Bound of the table of this process.
    pub cache_max_bytes: usize,
    /// For how long what is known of Redis is trusted without asking; `None` to ask for each read.
    pub cache_max_stale: Option<Duration>,
    /// How long the renewal of a session may wait for others; `None` for a part of its life.
    pub touch_window: Option<Duration>,
}

impl StoreConfig {
    /// Reads settings: options, and environment variables for what no option names.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for the first setting that cannot be used. It names the option or variable, what it
    /// holds (never a secret) and what is allowed.
    pub fn from_settings(settings: Vec<Setting>) -> Result<Self, Error> {
        let mut settings = Settings::new(settings);
        let config = Self {
            endpoint: Endpoint::from_settings(&mut settings)?,
            prefix: prefix(&mut settings)?,
            ttl_seconds: ttl_seconds(&mut settings)?,
            disable_ttl: settings.flag("disableTTL")?.unwrap_or(false),
            disable_touch: settings.flag("disableTouch")?.unwrap_or(false),
            scan_count: settings.whole("scanCount", &(1..=100_000))?.map_or(100, usize_from),
            command_timeout: milliseconds(&mut settings, "commandTimeoutMs", 500)?,
            connect_timeout: milliseconds(&mut settings, "connectTimeoutMs", 1000)?,
            close_timeout: milliseconds(&mut settings, "closeTimeoutMs", 1000)?,
            fallback: fallback(&mut settings)?,
            reconnect: reconnect(&mut settings)?,
            cache_max_bytes: settings.whole("cache.maxBytes", &(65_536..=1 << 40))?.map_or(64 << 20, usize_from),
            cache_max_stale: cache_max_stale(&mut settings)?,
            touch_window: settings.whole("touchWindowMs", &(0..=3_600_000))?.map(Duration::from_millis),
        };
        settings.finish()?;
        Ok(config)
    }
}

fn prefix(settings: &mut Settings) -> Result<String, Error> {
    let Some(setting) = settings.take("prefix") else {
        return Ok("meetabl:sess:".to_owned());
    };
    let prefix = setting.text()?;
    if prefix.len() > 256 {
        return Err(setting.refuse("at most 256 bytes of text"));
    }
    Ok(prefix)
}

fn ttl_seconds(settings: &mut Settings) -> Result<f64, Error> {
    const LONGEST_SECONDS: f64 = 8.64e12;
    let timeout = settings.take("SESSION_TIMEOUT");
    match (settings.take("ttl"), timeout) {
        (Some(ttl), _) => ttl.number(&(0.0..=LONGEST_SECONDS), "seconds"),
        #[expect(clippy::cast_precision_loss, reason = "exact: the bound is below 2^53")]
        (None, Some(timeout)) => Ok(timeout.whole(&(1..=8_640_000_000_000_000))? as f64 / 1000.0),
        (None, None) => Ok(86_400.0),
    }
}

fn reconnect(settings: &mut Settings) -> Result<(Duration, Duration), Error> {
    let first = milliseconds(settings, "reconnectMinMs", 50)?;
    let longest = milliseconds(settings, "reconnectMaxMs", 2000)?;
    Ok((first, longest.max(first)))
}

fn fallback(settings: &mut Settings) -> Result<Fallback, Error> {
    let Some(setting) = settings.take("fallback") else { return Ok(Fallback::Memory) };
    match setting.text().as_deref() {
        Ok("memory") => Ok(Fallback::Memory),
        Ok("error") => Ok(Fallback::Error),
        _ => Err(setting.refuse("'memory' or 'error'")),
    }
}

fn cache_max_stale(settings: &mut Settings) -> Result<Option<Duration>, Error> {
    let max_stale = milliseconds(settings, "cache.maxStaleMs", 1000)?;
    let Some(cache) = settings.take("cache") else { return Ok(Some(max_stale)) };
    match cache.flag() {
        Ok(false) => Ok(None),
        _ => Err(cache.refuse("`false`, or an object such as `{ maxBytes: 67108864, maxStaleMs: 1000 }`")),
    }
}

fn milliseconds(settings: &mut Settings, name: &'static str, default: u64) -> Result<Duration, Error> {
    Ok(Duration::from_millis(settings.whole(name, &(10..=60_000))?.unwrap_or(default)))
}

fn usize_from(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn option(name: &str, value: Value) -> Setting {
        Setting { name: name.to_owned(), variable: None, value }
    }

    fn variable(variable: &str, name: &str, text: &str) -> Setting {
        Setting { name: name.to_owned(), variable: Some(variable.to_owned()), value: Value::Text(text.to_owned()) }
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn refusal(settings: Vec<Setting>) -> String {
        let error = StoreConfig::from_settings(settings).expect_err("these settings cannot be used");
        assert_eq!(error.code(), "ERR_INVALID_OPTION");
        error.to_string()
    }

    #[test]
    fn nothing_given_means_a_local_redis() {
        let config = StoreConfig::from_settings(vec![]).expect("the defaults are usable");
        assert_eq!(config.endpoint.address, Address::Tcp { host: "localhost".into(), port: 6379 });
        assert_eq!(config.prefix, "meetabl:sess:");
        assert!((config.ttl_seconds - 86_400.0).abs() < f64::EPSILON);
        assert_eq!(config.command_timeout, Duration::from_millis(500));
    }

    #[test]
    fn an_address_can_be_a_url() {
        let config = StoreConfig::from_settings(vec![option("url", text("rediss://me:p%40ss@[::1]:7000/3"))]);
        let endpoint = config.expect("a usable address").endpoint;
        assert_eq!(endpoint.address, Address::Tcp { host: "::1".into(), port: 7000 });
        assert_eq!(endpoint.db, 3);
        assert!(endpoint.tls.is_some());
        assert_eq!(endpoint.username.as_deref(), Some("me"));
        assert_eq!(endpoint.password.expect("a password").expose_secret(), "p@ss");
    }

    #[test]
    fn an_address_can_be_a_socket() {
        let url = option("url", text("redis+unix:///run/redis.sock?db=2"));
        let endpoint = StoreConfig::from_settings(vec![url]).expect("a usable address").endpoint;
        assert_eq!(endpoint.address, Address::Unix { path: "/run/redis.sock".into() });
        assert_eq!(endpoint.db, 2);
    }

    #[test]
    fn an_option_wins_over_a_url_from_the_environment() {
        let settings = vec![option("host", text("a")), variable("REDIS_URL", "url", "redis://b:1")];
        let endpoint = StoreConfig::from_settings(settings).expect("usable").endpoint;
        assert_eq!(endpoint.address, Address::Tcp { host: "a".into(), port: 6379 });
    }

    #[test]
    fn an_option_that_says_all_of_the_address_leaves_the_environment_no_say() {
        let settings = |url| {
            vec![option("url", text(url)), variable("REDIS_DB", "db", "5"), variable("REDIS_TLS", "tls", "false")]
        };
        let endpoint = StoreConfig::from_settings(settings("rediss://h/0")).expect("usable").endpoint;
        assert_eq!((endpoint.db, endpoint.tls.is_some()), (0, true));
        let settings = vec![option("socketPath", text("/s")), variable("REDIS_TLS", "tls", "true")];
        assert!(StoreConfig::from_settings(settings).expect("usable").endpoint.tls.is_none());
    }

    #[test]
    fn a_refusal_names_the_setting_what_it_holds_and_what_is_allowed() {
        let message = refusal(vec![variable("REDIS_PORT", "port", "abc")]);
        for part in ["REDIS_PORT", "\"abc\"", "whole number from 1 to 65535"] {
            assert!(message.contains(part), "{part} is missing in: {message}");
        }
        let message = refusal(vec![option("scanCount", text("100"))]);
        assert!(message.contains("`scanCount`") && message.contains("whole number"), "{message}");
    }

    #[test]
    fn a_refusal_holds_no_secret() {
        let secret = "hunter2";
        for settings in [
            vec![option("password", Value::Number(42.0)), option("url", text("redis://:hunter2@h"))],
            vec![option("url", text("http://:hunter2@h"))],
            vec![option("url", text("redis://:hunter2@h:99999"))],
            vec![option("url", text("redis://:hunter2@h/x"))],
            vec![option("tls", Value::Flag(true)), option("tls.key", text(secret))],
            vec![option("host", text("redis://:hunter2@h"))],
            vec![variable("REDIS_PORT", "port", "redis://:hunter2@h")],
            vec![option("ttl", text("hunter2@h"))],
        ] {
            assert!(!refusal(settings).contains(secret));
        }
    }

    #[test]
    fn two_addresses_are_one_too_many() {
        let message = refusal(vec![option("url", text("redis://a")), option("host", text("b"))]);
        assert!(message.contains("`url`") && message.contains("`host`"), "{message}");
    }

    #[test]
    fn an_unknown_option_is_named() {
        assert!(refusal(vec![option("prefx", text("a"))]).contains("`prefx`"));
    }
}
