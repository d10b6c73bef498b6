//! Three-way merge of JSON text: what two requests did to one session, both kept.
//!
//! Values are copied as they were written, so nothing is lost on the way: no digit of a number, no escape in a string,
//! however deep they are nested. They are compared as JavaScript sees them, because reading and writing a session there
//! changes the order of keys that are numbers, and the spelling of what another writer wrote.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use once_cell::sync::Lazy;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How deep two sides may both have changed the same objects.
const DEPTH: usize = 200;

/// Merges what `later` and `stored` made of `base`.
///
/// A key that only one side changed, added or deleted keeps that change. Where both did, the same rule holds one level
/// down if both made it an object; else the later save wins. Arrays are values: they are never joined. The top-level key
/// `cookie` always comes from the later save. Keys stand in the order of the later save, then those that only the other
/// side has.
///
/// `None` when one of the three is not a JSON object, or when both sides changed objects that are nested too deep: neither
/// may be lost, so nothing is merged.
#[must_use]
pub fn merge(base: &str, later: &str, stored: &str) -> Option<String> {
    let [base, later, stored] = [base, later, stored].map(|text| Value::new(text, DEPTH).members);
    let mut merged = String::new();
    write_merged(&base?, &later?, &stored?, Some("\"cookie\""), &mut merged)?;
    Some(merged)
}

/// A value as it was written, and what is needed to compare it.
struct Value<'a> {
    text: &'a str,
    /// Equal for values that are the same to JavaScript.
    hash: u64,
    /// Of an object.
    members: Option<Members<'a>>,
}

struct Members<'a> {
    /// Keys with their quotes and escapes. Of a key that stands twice the last value counts, as in JavaScript.
    all: Vec<(&'a str, Value<'a>)>,
    /// By key, without quotes and escapes.
    places: HashMap<Cow<'a, str>, usize>,
}

impl<'a> Members<'a> {
    fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.places.get(&unescaped(key)).map(|place| &self.all[*place].1)
    }
}

impl<'a> Value<'a> {
    /// Taken apart as deep as it can be merged.
    fn new(text: &'a str, depth: usize) -> Self {
        /// Nobody can make two values on purpose that look the same.
        static KEYS: Lazy<RandomState> = Lazy::new(RandomState::new);
        let text = text.trim_ascii();
        let mut members = None;
        let hash = match text.as_bytes().first() {
            Some(b'{') if depth > 0 => {
                members = members_of(text, depth - 1);
                let all = members.iter().flat_map(|members| &members.places);
                // In any order: JavaScript changes it.
                let sum = all.fold(0u64, |sum, (key, place)| {
                    let value = members.as_ref().map(|members| members.all[*place].1.hash);
                    sum.wrapping_add(KEYS.hash_one((key, value)))
                });
                KEYS.hash_one(('{', sum))
            }
            Some(b'[') if depth > 0 => {
                let items: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
                let hashes: Vec<_> = items.iter().map(|item| Value::new(item.get(), depth - 1).hash).collect();
                KEYS.hash_one(('[', hashes))
            }
            Some(b'"') => KEYS.hash_one(('"', unescaped(text))),
            // `null`, `true` and `false` have one spelling, a number has many.
            _ => text.parse::<f64>().map_or_else(|_| KEYS.hash_one(text), |number| KEYS.hash_one(number.to_bits())),
        };
        Self { text, hash, members }
    }
}

fn members_of(text: &str, depth: usize) -> Option<Members<'_>> {
    let Pairs(pairs) = serde_json::from_str(text).ok()?;
    let mut members = Members { all: Vec::with_capacity(pairs.len()), places: HashMap::with_capacity(pairs.len()) };
    for (key, text) in pairs {
        let value = Value::new(text, depth);
        if let Some(place) = members.places.get(&unescaped(key)) {
            members.all[*place].1 = value;
        } else {
            members.places.insert(unescaped(key), members.all.len());
            members.all.push((key, value));
        }
    }
    Some(members)
}

/// What a JSON string says. One that no Rust string can hold (a lone surrogate) stays as it was written.
fn unescaped(string: &str) -> Cow<'_, str> {
    if string.contains('\\') {
        serde_json::from_str(string).map_or(Cow::Borrowed(string), Cow::Owned)
    } else {
        Cow::Borrowed(string.trim_matches('"'))
    }
}

fn write_merged(
    base: &Members<'_>,
    later: &Members<'_>,
    stored: &Members<'_>,
    always_later: Option<&str>,
    out: &mut String,
) -> Option<()> {
    out.push('{');
    let start = out.len();
    let keys = later.all.iter().chain(stored.all.iter().filter(|(key, _)| later.get(key).is_none()));
    for (key, _) in keys {
        let (was, mine, theirs) = (base.get(key), later.get(key), stored.get(key));
        let before = out.len();
        if before > start {
            out.push(',');
        }
        out.push_str(key);
        out.push(':');
        let kept = if always_later == Some(*key) && mine.is_some() {
            mine
        } else if are_same(mine, was) {
            theirs
        } else if are_same(theirs, was) {
            mine
        } else if let (Some(Value { members: Some(mine), .. }), Some(Value { members: Some(theirs), .. })) =
            (mine, theirs)
        {
            let nothing = Members { all: Vec::new(), places: HashMap::new() };
            let was = was.and_then(|was| was.members.as_ref()).unwrap_or(&nothing);
            write_merged(was, mine, theirs, None, out)?;
            continue;
        } else if is_object(mine) && is_object(theirs) {
            return None;
        } else {
            mine
        };
        match kept {
            Some(value) => out.push_str(value.text),
            None => out.truncate(before),
        }
    }
    out.push('}');
    Some(())
}

fn is_object(value: Option<&Value<'_>>) -> bool {
    value.is_some_and(|value| value.text.starts_with('{'))
}

fn are_same(one: Option<&Value<'_>>, other: Option<&Value<'_>>) -> bool {
    one.map(|value| value.hash) == other.map(|value| value.hash)
}

/// An object's members as they were written.
struct Pairs<'a>(Vec<(&'a str, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    pairs.push((key.get(), value.get()));
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(base: &str, later: &str, stored: &str) -> String {
        merge(base, later, stored).expect("three objects")
    }

    #[test]
    fn keeps_what_only_one_side_did() {
        assert_eq!(merged(r#"{"a":1}"#, r#"{"a":1,"b":2}"#, r#"{"a":1,"c":3}"#), r#"{"a":1,"b":2,"c":3}"#);
        assert_eq!(merged(r#"{"a":1,"b":2}"#, r#"{"b":2}"#, r#"{"a":1,"b":2,"c":3}"#), r#"{"b":2,"c":3}"#);
        assert_eq!(merged(r#"{"a":1,"b":2}"#, r#"{"a":1,"b":3}"#, r#"{"b":2}"#), r#"{"b":3}"#);
    }

    #[test]
    fn goes_one_level_down_where_both_changed_an_object() {
        let base = r#"{"cart":{"x":1}}"#;
        assert_eq!(merged(base, r#"{"cart":{"x":2}}"#, r#"{"cart":{"x":1,"y":1}}"#), r#"{"cart":{"x":2,"y":1}}"#);
        assert_eq!(merged("{}", r#"{"cart":{"x":1}}"#, r#"{"cart":{"y":1}}"#), r#"{"cart":{"x":1,"y":1}}"#);
    }

    #[test]
    fn lets_the_later_save_win_where_both_did_the_same() {
        assert_eq!(merged(r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#), r#"{"n":2}"#);
        assert_eq!(merged(r#"{"n":1}"#, "{}", r#"{"n":3}"#), "{}");
        assert_eq!(merged(r#"{"l":[1]}"#, r#"{"l":[1,2]}"#, r#"{"l":[1,3]}"#), r#"{"l":[1,2]}"#);
    }

    #[test]
    fn takes_the_cookie_from_the_later_save() {
        let [base, later, stored] = [1, 1, 2].map(|n| format!(r#"{{"cookie":{{"n":{n}}}}}"#));
        assert_eq!(merged(&base, &later, &stored), later);
        let nested = [1, 1, 2].map(|n| format!(r#"{{"a":{{"cookie":{n}}}}}"#));
        assert_eq!(merged(&nested[0], &nested[1], &nested[2]), nested[2], "only at the top");
    }

    #[test]
    fn copies_values_as_they_were_written() {
        let odd = r#"{"n":1.0000000000000000001e400,"s":"\ud800","k\u0065y":1,"__proto__":{"a":1},"":null}"#;
        assert_eq!(merged("{}", odd, "{}"), odd);
        assert_eq!(merged(r#"{"a":1}"#, r#"{"a":1}"#, r#"{"a":1,"a":2}"#), r#"{"a":2}"#, "the last of two counts");
    }

    #[test]
    fn compares_as_javascript_sees_it() {
        let python = r#"{"l": [1.0, "\u00e9"], "o": {"7": 1, "3": 1e2}, "\u00fc": 1}"#;
        let javascript = r#"{"l":[1,"é"],"o":{"3":100,"7":1},"ü":1,"mine":1}"#;
        assert_eq!(merged(python, javascript, r#"{"theirs":1}"#), r#"{"mine":1,"theirs":1}"#);
        assert_eq!(merged(r#"{"n":1}"#, r#"{"n":-0}"#, r#"{"n":0}"#), r#"{"n":-0}"#);
        assert_eq!(merged(r#"{"s":"\ud800"}"#, r#"{"s":"\ud801"}"#, r#"{"s":"\ud800"}"#), r#"{"s":"\ud801"}"#);
    }

    #[test]
    fn holds_any_depth() {
        let deep = |n: usize, leaf: &str| format!("{}{leaf}{}", r#"{"a":"#.repeat(n), "}".repeat(n));
        let texts = ["1", "2", "3"].map(|leaf| deep(150, leaf));
        assert_eq!(merge(&texts[0], &texts[1], &texts[2]).as_deref(), Some(texts[1].as_str()));
        let texts = ["1", "2", "3"].map(|leaf| deep(10_000, leaf));
        assert_eq!(merge(&texts[0], &texts[1], &texts[2]), None, "neither side is to be lost");
        assert_eq!(merge(&texts[0], &texts[1], &texts[0]).as_deref(), Some(texts[1].as_str()));
    }

    #[test]
    fn refuses_what_is_no_object() {
        for other in ["", "[]", "1", "null", "{", "{} x"] {
            assert_eq!(merge(other, "{}", "{}"), None);
            assert_eq!(merge("{}", other, "{}"), None);
            assert_eq!(merge("{}", "{}", other), None);
        }
    }
}
