//! What has to hold for every merge.

use std::collections::BTreeMap;
use std::fmt;

use meetabl_session::session::merge;
use proptest::prelude::*;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// An object's members in the order in which they stand.
struct Members(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    members.push((key, value.get().to_owned()));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Read)
    }
}

fn members_of(text: &str) -> Vec<(String, String)> {
    serde_json::from_str::<Members>(text).expect("an object").0
}

fn keys_of(text: &str) -> Vec<String> {
    members_of(text).into_iter().map(|(key, _)| key).collect()
}

/// JSON as people and other programs may write it: numbers that no type of Rust or JavaScript holds, escapes where none
/// are needed, lone surrogates, names that are special elsewhere.
fn written_leaf() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec!["null", "true", "false", "{}", "[]", "\"\""]).prop_map(str::to_owned),
        "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?",
        r#""([^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}){0,12}""#,
    ]
}

fn written_key() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "a",
            "b",
            "7",
            "03",
            "",
            "é",
            "\u{2028}",
            "__proto__",
            "constructor",
            r"\ud800",
            r"\n"
        ])
        .prop_map(str::to_owned),
        r#"[^"\\\x00-\x1f]{0,4}"#,
    ]
}

/// With spaces, line breaks and keys that stand twice.
fn written_value() -> impl Strategy<Value = String> {
    written_leaf().prop_recursive(6, 40, 5, |inner| {
        let space = "[ \t\r\n]{0,2}";
        let member = (space, written_key(), space, inner.clone())
            .prop_map(|(before, key, after, value)| format!("{before}\"{key}\"{after}:{value}"));
        prop_oneof![
            (prop::collection::vec(inner, 0..5), space)
                .prop_map(|(values, end)| format!("[{}{end}]", values.join(","))),
            prop::collection::vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

/// Members of an object, each key once, whose keys start with `mark`.
fn written_members(mark: &'static str) -> impl Strategy<Value = Vec<String>> {
    prop::collection::hash_map(written_key(), written_value(), 0..5)
        .prop_map(move |map| map.into_iter().map(|(key, value)| format!("\"{mark}{key}\":{value}")).collect())
}

fn object(members: &[&[String]]) -> String {
    format!("{{{}}}", members.concat().join(","))
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-e]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Few keys, so that the sides meet.
fn session() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::hash_map("[a-f]", value(), 0..6).prop_map(|map| map.into_iter().collect())
}

fn text(session: &Map<String, Value>) -> String {
    serde_json::to_string(session).expect("a session is JSON")
}

fn merged(base: &Map<String, Value>, later: &Map<String, Value>, stored: &Map<String, Value>) -> Map<String, Value> {
    let merged = merge(&text(base), &text(later), &text(stored)).expect("three objects");
    serde_json::from_str(&merged).expect("a merge is JSON")
}

/// The rule, on values instead of text.
fn rule(was: Option<&Value>, mine: Option<&Value>, theirs: Option<&Value>) -> Option<Value> {
    if mine == was {
        return theirs.cloned();
    }
    if theirs == was {
        return mine.cloned();
    }
    let (Some(Value::Object(mine)), Some(Value::Object(theirs))) = (mine, theirs) else {
        return mine.cloned();
    };
    let was = was.and_then(Value::as_object);
    let keys = mine.keys().chain(theirs.keys().filter(|key| !mine.contains_key(*key)));
    let merged = keys.filter_map(|key| {
        let value = rule(was.and_then(|was| was.get(key)), mine.get(key), theirs.get(key))?;
        Some((key.clone(), value))
    });
    Some(Value::Object(merged.collect()))
}

/// The same value with the keys of its objects the other way round, as JavaScript may write them after it has read them.
fn turned_round(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let members =
                map.iter().rev().map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), turned_round(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(turned_round).collect::<Vec<_>>().join(",")),
        leaf => leaf.to_string(),
    }
}

/// Three sessions that have much in common: two sides change some keys of one base.
fn sides() -> impl Strategy<Value = [Map<String, Value>; 3]> {
    let side = || prop::collection::vec(any::<bool>(), 6);
    (session(), session(), session(), side(), side()).prop_map(|(base, one, other, ones, others)| {
        let change = |changes: &Map<String, Value>, which: &[bool]| -> Map<String, Value> {
            let keys = ["a", "b", "c", "d", "e", "f"].into_iter().zip(which);
            let values = keys.filter_map(|(key, is_changed)| {
                let value = if *is_changed { changes.get(key) } else { base.get(key) };
                value.map(|value| (key.to_owned(), value.clone()))
            });
            values.collect()
        };
        [base.clone(), change(&one, &ones), change(&other, &others)]
    })
}

fn nested(depth: usize, innermost: &str) -> String {
    format!("{}{innermost}{}", r#"{"a":"#.repeat(depth), "}".repeat(depth))
}

/// Changes that meet far below 128 levels, which is as deep as `serde_json` reads by itself.
#[test]
fn what_two_sides_added_deep_below_is_there_or_the_merge_is_refused() {
    for depth in [1, 100, 126, 127, 128, 129, 150, 199, 200, 201, 500, 2000] {
        let [base, later, stored] =
            [r#"{"x":0}"#, r#"{"x":0,"y":1}"#, r#"{"x":0,"z":2}"#].map(|end| nested(depth, end));
        match merge(&base, &later, &stored) {
            Some(merged) => {
                assert!(merged == nested(depth, r#"{"x":0,"y":1,"z":2}"#), "lost something at {depth} levels");
            }
            None => assert!(depth > 150, "refused at {depth} levels"),
        }
    }
}

#[test]
fn deep_values_are_copied_however_deep_they_are() {
    let deep = nested(100_000, "[1.0]");
    let [later, stored] = [format!(r#"{{"m":{deep}}}"#), format!(r#"{{"t":{deep}}}"#)];
    assert_eq!(merge("{}", &later, &stored), Some(format!(r#"{{"m":{deep},"t":{deep}}}"#)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn an_unchanged_side_gives_the_other(base in session(), changed in session()) {
        prop_assert_eq!(merge(&text(&base), &text(&changed), &text(&base)), Some(text(&changed)));
        prop_assert_eq!(merged(&base, &base, &changed), changed);
    }

    #[test]
    fn disjoint_changes_commute(base in session(), one in session(), other in session()) {
        // One side gets at the keys up to c, the other at the rest.
        let pick = |from: &Map<String, Value>, low: bool| -> Map<String, Value> {
            from.clone().into_iter().filter(|(key, _)| (key.as_str() <= "c") == low).collect()
        };
        let with = |low: &Map<String, Value>, high: &Map<String, Value>| -> Map<String, Value> {
            pick(low, true).into_iter().chain(pick(high, false)).collect()
        };
        let (low, high) = (with(&one, &base), with(&base, &other));
        prop_assert_eq!(merged(&base, &low, &high), with(&one, &other));
        prop_assert_eq!(merged(&base, &high, &low), with(&one, &other));
    }

    #[test]
    fn no_key_comes_from_nowhere_and_none_that_one_side_added_is_lost(
        base in session(), later in session(), stored in session(),
    ) {
        let result = merged(&base, &later, &stored);
        for key in result.keys() {
            prop_assert!(later.contains_key(key) || stored.contains_key(key));
        }
        for key in later.keys().chain(stored.keys()).filter(|key| !base.contains_key(*key)) {
            prop_assert!(result.contains_key(key), "{} was added and is lost", key);
        }
        for key in base.keys().filter(|key| !later.contains_key(*key) && base.get(*key) == stored.get(*key)) {
            prop_assert!(!result.contains_key(key), "{} was deleted and came back", key);
        }
    }

    #[test]
    fn the_later_save_wins_where_both_made_values(base in session(), mine in leaf(), theirs in leaf()) {
        let with = |value: &Value| {
            let mut session = base.clone();
            session.insert("both".to_owned(), value.clone());
            session
        };
        prop_assert_eq!(&merged(&base, &with(&mine), &with(&theirs))["both"], &mine);
    }

    #[test]
    fn any_text_is_merged_or_refused(base in "\\PC{0,40}", later in "[{}\\[\\]:,\"a0 ]{0,20}", stored in "\\PC{0,40}") {
        let _ = merge(&base, &later, &stored);
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_json_is_kept_as_it_was_written(
        base in written_members("b"), mine in written_members("m"), theirs in written_members("t"),
    ) {
        let later = object(&[&base, &mine]);
        let stored = object(&[&base, &theirs]);
        let start = object(&[&base]);
        prop_assert_eq!(merge(&start, &later, &stored), Some(object(&[&base, &mine, &theirs])));
        prop_assert_eq!(merge(&later, &later, &start), Some(start.clone()));
        prop_assert_eq!(merge(&start, &stored, &start), Some(stored));
    }

    #[test]
    fn of_a_key_that_stands_twice_the_last_value_counts(
        members in prop::collection::vec(("[abc]", written_value()), 0..8), changed in session(),
    ) {
        let write = |members: &[(String, String)]| -> String {
            let members = members.iter().map(|(key, value)| format!("\"{key}\":{value}"));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        };
        let last = |(at, (key, _)): &(usize, &(String, String))| members[at + 1..].iter().all(|(other, _)| other != key);
        let once: Vec<_> = members.iter().enumerate().filter(last).map(|(_, member)| member.clone()).collect();
        let (twice, once) = (write(&members), write(&once));
        let kept = |merged: Option<String>| -> BTreeMap<String, String> {
            let members = members_of(&merged.expect("three objects"));
            let count = members.len();
            let map: BTreeMap<_, _> = members.into_iter().collect();
            assert_eq!(map.len(), count, "a key stands twice");
            map
        };
        let changed: Map<_, _> = changed.into_iter().filter(|(key, _)| key.as_str() > "c").collect();
        let other = text(&changed);
        prop_assert_eq!(kept(merge("{}", &twice, "{}")), kept(merge("{}", &once, "{}")));
        prop_assert_eq!(kept(merge("{}", &other, &twice)), kept(merge("{}", &other, &once)));
        prop_assert_eq!(merge(&twice, &other, &twice), Some(other));
    }

    #[test]
    fn it_is_the_rule(sides in sides()) {
        let [base, later, stored] = sides.map(Value::Object);
        let [Value::Object(b), Value::Object(l), Value::Object(s)] = [&base, &later, &stored] else { unreachable!() };
        prop_assert_eq!(Some(Value::Object(merged(b, l, s))), rule(Some(&base), Some(&later), Some(&stored)));
    }

    #[test]
    fn the_order_of_keys_is_no_change(sides in sides()) {
        let [base, later, stored] = sides.map(Value::Object);
        let expected = rule(Some(&base), Some(&later), Some(&stored));
        for texts in [
            [base.to_string(), turned_round(&later), stored.to_string()],
            [base.to_string(), later.to_string(), turned_round(&stored)],
            [turned_round(&base), later.to_string(), stored.to_string()],
        ] {
            let merged = merge(&texts[0], &texts[1], &texts[2]).expect("three objects");
            prop_assert_eq!(Some(serde_json::from_str(&merged).expect("a merge is JSON")), expected.clone());
        }
    }

    #[test]
    fn keys_stand_in_the_order_of_the_later_save_and_others_follow(sides in sides()) {
        let [base, later, stored] = sides.map(Value::Object);
        let (later, stored) = (turned_round(&later), turned_round(&stored));
        let merged = merge(&base.to_string(), &later, &stored).expect("three objects");
        let expected: Vec<_> = keys_of(&later).into_iter().chain(keys_of(&stored)).collect();
        let places: Vec<_> = keys_of(&merged).iter().map(|key| expected.iter().position(|other| other == key)).collect();
        prop_assert!(places.is_sorted() && !places.contains(&None), "{} of {} and {}", merged, later, stored);
    }
}
