//! `tracing` events of one store, turned into lines of text for its logger.
//!
//! Each store has a subscriber of its own, which its tasks carry with them, so that two stores of one process can log to
//! two loggers and nothing global is touched.

use std::fmt::{self, Write};
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use once_cell::sync::Lazy;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

use crate::session::SessionId;

/// Where lines go.
pub trait LogSink: Send + Sync + 'static {
    /// Takes one line. It must not block.
    fn log(&self, level: Level, line: String);
}

/// A subscriber that hands this crate's events to `sink`, a line each.
#[must_use]
pub fn dispatch(sink: Arc<dyn LogSink>) -> Dispatch {
    Dispatch::new(Lines { sink })
}

/// A name for a session that a log may show: the same for the same id while the process lives, and of no use to anyone
/// who reads it.
#[must_use]
pub fn log_name(id: &SessionId) -> String {
    static SALT: Lazy<[u8; 64]> = Lazy::new(rand::random);
    let mut mac = Hmac::<sha2::Sha256>::new(&(*SALT).into());
    mac.update(id.as_str().as_bytes());
    mac.finalize().into_bytes()[..6].iter().fold(String::new(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}

struct Lines {
    sink: Arc<dyn LogSink>,
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("meetabl_session")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.sink.log(*event.metadata().level(), line.finish());
    }

    // There are no spans here: `enabled` refuses them.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The message, then `name=value` for each field.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    /// One line whatever a server's answer held: a log must not be written by who is logged (OWASP ASVS 5.0, 16.4.1).
    fn finish(self) -> String {
        let line = self.message + &self.fields;
        let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        if line.contains(breaks) { line.replace(breaks, " ") } else { line }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<(Level, String)>>);

    impl LogSink for Kept {
        fn log(&self, level: Level, line: String) {
            self.0.lock().expect("no test panics with it").push((level, line));
        }
    }

    #[test]
    fn an_event_becomes_one_line() {
        let kept = Arc::new(Kept::default());
        tracing::dispatcher::with_default(&dispatch(kept.clone()), || {
            tracing::warn!(attempt = 3, "it failed\r\nWARN: forged");
            tracing::info!(target: "another_crate", "not ours");
        });
        let lines = kept.0.lock().expect("no test panics with it");
        assert_eq!(*lines, [(Level::WARN, "it failed  WARN: forged attempt=3".to_owned())]);
    }

    #[test]
    fn a_log_name_is_stable_and_tells_nothing() {
        let [one, two] = ["first-session-id", "second-session-id"].map(|id| SessionId::parse(id).expect("usable"));
        assert_eq!(log_name(&one), log_name(&one));
        assert_ne!(log_name(&one), log_name(&two));
        assert_eq!(log_name(&one).len(), 12);
    }
}
