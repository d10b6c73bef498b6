//! Three-way merge of JSON text: what two requests did to one session, both kept.
//!
//! Values are compared and copied as they were written, so nothing is lost on the way: no digit of a number, no escape in
//! a string, however deep they are nested. Only the objects that both sides changed are taken apart.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How deep two sides may both have changed the same objects. Below, the later save wins.
const DEPTH: usize = 200;

/// Merges what `later` and `stored` made of `base`.
///
/// A key that only one side changed, added or deleted keeps that change. Where both did, the same rule holds one level
/// down if both made it an object; else the later save wins. Arrays are values: they are never joined. The top-level key
/// `cookie` always comes from the later save. Keys stand in the order of the later save, then those that only the other
/// side has.
///
/// `None` when one of the three is not a JSON object.
#[must_use]
pub fn merge(base: &str, later: &str, stored: &str) -> Option<String> {
    let [base, later, stored] = [parse(base)?, parse(later)?, parse(stored)?];
    let mut merged = String::new();
    write_merged(&base, &later, &stored, Some("\"cookie\""), DEPTH, &mut merged);
    Some(merged)
}

/// An object's members as they were written. Of a key that stands twice the last value counts, as in JavaScript.
#[derive(Default)]
struct Object<'a> {
    /// Keys with their quotes and escapes.
    members: Vec<(&'a str, &'a str)>,
    places: HashMap<&'a str, usize>,
}

impl<'a> Object<'a> {
    fn insert(&mut self, key: &'a str, value: &'a str) {
        if let Some(place) = self.places.get(key) {
            self.members[*place].1 = value;
        } else {
            self.places.insert(key, self.members.len());
            self.members.push((key, value));
        }
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.places.get(key).map(|place| self.members[*place].1)
    }
}

fn parse(text: &str) -> Option<Object<'_>> {
    serde_json::from_str(text).ok()
}

fn write_merged(
    base: &Object<'_>,
    later: &Object<'_>,
    stored: &Object<'_>,
    always_later: Option<&str>,
    depth: usize,
    out: &mut String,
) {
    out.push('{');
    let start = out.len();
    let only_stored = stored.members.iter().filter(|(key, _)| later.get(key).is_none());
    for (key, _) in later.members.iter().chain(only_stored) {
        let (was, mine, theirs) = (base.get(key), later.get(key), stored.get(key));
        let before = out.len();
        if before > start {
            out.push(',');
        }
        out.push_str(key);
        out.push(':');
        let kept = if always_later == Some(*key) && mine.is_some() {
            mine
        } else if mine == was {
            theirs
        } else if theirs == was || depth == 0 {
            mine
        } else if let (Some(mine), Some(theirs)) = (mine.and_then(parse), theirs.and_then(parse)) {
            let was = was.and_then(parse).unwrap_or_default();
            write_merged(&was, &mine, &theirs, None, depth - 1, out);
            continue;
        } else {
            mine
        };
        match kept {
            Some(value) => out.push_str(value),
            None => out.truncate(before),
        }
    }
    out.push('}');
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut object = Object::default();
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    object.insert(key.get(), value.get());
                }
                Ok(object)
            }
        }

        deserializer.deserialize_map(Members)
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
    fn holds_any_depth() {
        let deep = |n: usize, leaf: &str| format!("{}{leaf}{}", r#"{"a":"#.repeat(n), "}".repeat(n));
        let texts = ["1", "2", "3"].map(|leaf| deep(10_000, leaf));
        assert_eq!(merge(&texts[0], &texts[1], &texts[2]).as_deref(), Some(texts[1].as_str()));
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
