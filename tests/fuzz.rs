//! The checks of the fuzz targets, with their seeds and random changes of them.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

#[path = "../fuzz/checks.rs"]
mod checks;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let seeds: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(seeds.len() > 5);
    seeds
}

/// A seed with some bytes changed, put in or left out.
fn changed(target: &str) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<Index>(), any::<u8>(), 0..3_u8), 0..6);
    (prop::sample::select(seeds(target)), changes).prop_map(|(mut bytes, changes)| {
        for (index, byte, kind) in changes {
            let at = index.index(bytes.len() + 1);
            match kind {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

fn bytes_for(target: &str) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![changed(target), prop::collection::vec(any::<u8>(), 0..200)]
}

#[test]
fn every_seed_holds() {
    for seed in seeds("cookie_header") {
        checks::cookie_header(&seed);
    }
    for seed in seeds("signed_value") {
        checks::signed_value(&seed);
    }
    for seed in seeds("csrf_token") {
        checks::csrf_token(&seed);
    }
    for seed in seeds("stored_json") {
        checks::stored_json(&seed);
    }
}

proptest! {
    #[test]
    fn cookie_headers(data in bytes_for("cookie_header")) {
        checks::cookie_header(&data);
    }

    #[test]
    fn signed_values(data in bytes_for("signed_value")) {
        checks::signed_value(&data);
    }

    #[test]
    fn csrf_tokens(data in bytes_for("csrf_token")) {
        checks::csrf_token(&data);
    }

    #[test]
    fn stored_json(data in bytes_for("stored_json")) {
        checks::stored_json(&data);
    }
}
