//! Settings on their way in, and what was made of them on its way out.

use napi::bindgen_prelude::Either3;
use napi_derive::napi;

use crate::config::{Setting, StoreConfig, Value};

/// One option, or one environment variable that stands in for it.
#[napi(object)]
pub struct NativeSetting {
    /// The option's name.
    pub name: String,
    /// The environment variable that the value comes from.
    pub variable: Option<String>,
    /// What it holds, when it is a boolean, a number or a string.
    pub value: Option<Either3<bool, f64, String>>,
    /// What it is, for an error message, when it is something else.
    pub other: Option<String>,
}

impl From<NativeSetting> for Setting {
    fn from(setting: NativeSetting) -> Self {
        let value = match setting.value {
            Some(Either3::A(flag)) => Value::Flag(flag),
            Some(Either3::B(number)) => Value::Number(number),
            Some(Either3::C(text)) => Value::Text(text),
            None => Value::Other(setting.other.unwrap_or_else(|| "nothing".to_owned())),
        };
        Self { name: setting.name, variable: setting.variable, value }
    }
}

/// The part of a checked configuration that JavaScript works with.
#[napi(object, object_from_js = false)]
pub struct NativeConfig {
    pub prefix: String,
    /// Seconds.
    pub ttl: f64,
    #[napi(js_name = "disableTTL")]
    pub disable_ttl: bool,
    pub disable_touch: bool,
    pub scan_count: u32,
    /// Reads may be answered without asking Redis.
    pub cache: bool,
}

impl From<&StoreConfig> for NativeConfig {
    fn from(config: &StoreConfig) -> Self {
        Self {
            prefix: config.prefix.clone(),
            ttl: config.ttl_seconds,
            disable_ttl: config.disable_ttl,
            disable_touch: config.disable_touch,
            scan_count: u32::try_from(config.scan_count).unwrap_or(u32::MAX),
            cache: config.cache_max_stale.is_some(),
        }
    }
}
