//! Whatever the settings hold, they are taken or refused in words, and no secret is among the words.

use meetabl_session::config::{Setting, StoreConfig, Value};
use proptest::prelude::*;

const NAMES: [&str; 16] = [
    "url",
    "host",
    "port",
    "socketPath",
    "username",
    "password",
    "db",
    "tls",
    "tls.ca",
    "tls.key",
    "prefix",
    "ttl",
    "disableTTL",
    "scanCount",
    "commandTimeoutMs",
    "cache.maxBytes",
];

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        "\\PC{0,40}".prop_map(Value::Text),
        "(redis|rediss|redis\\+unix|http)://([a-z]{0,8}:[a-z%@]{0,8}@)?[a-z.]{0,8}(:[0-9]{0,6})?(/[a-z0-9]{0,3})?"
            .prop_map(Value::Text),
        any::<f64>().prop_map(Value::Number),
        any::<bool>().prop_map(Value::Flag),
        Just(Value::Other("an array".to_owned())),
    ]
}

fn settings() -> impl Strategy<Value = Vec<Setting>> {
    let setting = (prop::sample::select(&NAMES[..]), any::<bool>(), value()).prop_map(|(name, variable, value)| {
        Setting { name: name.to_owned(), variable: variable.then(|| format!("VARIABLE_{name}")), value }
    });
    prop::collection::vec(setting, 0..5)
}

proptest! {
    #[test]
    fn are_taken_or_refused_by_name(settings in settings()) {
        let names: Vec<_> = settings.iter().map(|s| s.variable.clone().unwrap_or_else(|| s.name.clone())).collect();
        if let Err(error) = StoreConfig::from_settings(settings) {
            prop_assert_eq!(error.code(), "ERR_INVALID_OPTION");
            let message = error.to_string();
            prop_assert!(message.contains("Expected"), "{}", message);
            prop_assert!(names.iter().any(|name| message.contains(name.as_str())), "{} in {:?}", message, names);
        }
    }

    #[test]
    fn never_show_a_secret(name in prop::sample::select(vec!["url", "password", "tls.key", "tls.cert"]),
                           secret in "[a-z]{12}", variable in any::<bool>()) {
        let setting = Setting {
            name: name.to_owned(),
            variable: variable.then(|| "A_VARIABLE".to_owned()),
            value: Value::Text(format!("http://user:{secret}@host:port")),
        };
        let tls = Setting { name: "tls".to_owned(), variable: None, value: Value::Flag(true) };
        match StoreConfig::from_settings(vec![setting, tls]) {
            Err(error) => prop_assert!(!error.to_string().contains(&secret)),
            Ok(config) => {
                let shown = format!("{config:?}");
                prop_assert!(!shown.contains(&secret));
            }
        }
    }
}
