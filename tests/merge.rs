//! What has to hold for every merge.

use meetabl_session::session::merge;
use proptest::prelude::*;
use serde_json::{Map, Value};

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
