//! P9: a panic in the engine's task is not silence. The store is closed, and whoever calls is told.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meetabl_session::clock::SystemClock;
use meetabl_session::config::{Setting, StoreConfig, Value};
use meetabl_session::engine::{Engine, Event, Observer, Operation, Outcome};
use meetabl_session::error::Error;
use meetabl_session::failover::State;
use meetabl_session::telemetry::LogSink;

struct Panicking {
    outcomes: Mutex<Sender<(Operation, Result<Outcome, Error>)>>,
}

impl LogSink for Panicking {
    fn log(&self, _: tracing::Level, _: String) {}
}

impl Observer for Panicking {
    fn complete(&self, outcomes: &mut dyn Iterator<Item = (Operation, Result<Outcome, Error>)>) {
        let sender = self.outcomes.lock().expect("the sender is whole");
        for outcome in outcomes {
            let _ = sender.send(outcome);
        }
    }

    fn event(&self, event: Event) {
        assert_ne!(event, Event::Fallback, "this is the panic that the test is about");
    }

    fn flush(&self) {}
}

#[test]
fn closes_the_store() {
    let (sender, outcomes) = mpsc::channel();
    let nobody_there = Setting { name: "port".to_owned(), variable: None, value: Value::Number(1.0) };
    let config = StoreConfig::from_settings(vec![nobody_there]).expect("usable settings");
    let engine = Engine::start(config, Arc::new(SystemClock), Arc::new(Panicking { outcomes: Mutex::new(sender) }));
    // Asked in time it is answered when the store ends, asked later it is refused at once.
    if engine.ready(1).is_ok() {
        let (operation, _) = outcomes.recv_timeout(Duration::from_secs(10)).expect("an answer, not silence");
        assert_eq!(operation, 1);
    }
    while engine.state() != State::Closed {
        std::thread::yield_now();
    }
    assert_eq!(engine.length(2), Err(Error::Closed));
}
