//! The direction of imports: a module uses what stands below it on the map in `src/lib.rs`, and never what stands above.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::fs;
use std::path::{Path, PathBuf};

/// From the top of the map to its bottom. Modules of one rank do not know each other.
const RANKS: [&[&str]; 4] = [
    &["node"],
    &["engine"],
    &["redis", "replica", "failover", "crypto"],
    &["session", "config", "clock", "error", "stats", "telemetry"],
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// Each source below `src/` with its top-level module and its text.
fn modules() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let modules = sources(&root).into_iter().filter_map(|path| {
        let first = path.strip_prefix(&root).unwrap().components().next().unwrap();
        let module = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        (module != "lib").then(|| (module, path.clone(), fs::read_to_string(&path).unwrap()))
    });
    modules.collect()
}

fn rank(module: &str) -> usize {
    RANKS.iter().position(|rank| rank.contains(&module)).unwrap_or_else(|| panic!("{module} is not on the map"))
}

#[test]
fn imports_point_down() {
    let mut seen = 0;
    for (module, path, text) in modules() {
        for used in text.split("crate::").skip(1) {
            let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            seen += 1;
            let below = rank(&used) > rank(&module);
            let plain_value = rank(&used) == rank(&module) && rank(&module) == RANKS.len() - 1;
            assert!(used == module || below || plain_value, "{} uses crate::{used}", path.display());
        }
    }
    assert!(seen > 20, "the imports were not found");
}

#[test]
fn only_their_own_module_names_napi_and_redis() {
    for (crate_name, home) in [("napi", "node"), ("napi_derive", "node"), ("redis", "redis"), ("mimalloc", "node")] {
        let mentions =
            |text: &str| text.contains(&format!("use {crate_name}::")) || text.contains(&format!(" {crate_name}::"));
        let namers: Vec<_> =
            modules().into_iter().filter(|(_, _, text)| mentions(text)).map(|(module, ..)| module).collect();
        assert!(!namers.is_empty(), "nobody names {crate_name}: this test looks for the wrong thing");
        assert!(namers.iter().all(|module| module == home), "{crate_name} is named in {namers:?}");
    }
}

#[test]
fn only_the_clock_reads_the_time() {
    for (module, path, text) in modules() {
        let reads = ["SystemTime::now", "std::time::Instant"].iter().any(|call| text.contains(call));
        assert!(module == "clock" || !reads, "{} reads the time", path.display());
    }
}
