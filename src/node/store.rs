//! The engine as a JavaScript class, and its listings.

use std::sync::Arc;

use napi::Env;
use napi::bindgen_prelude::Undefined;
use napi_derive::napi;

use super::completions::{Cell, Completions, Deliver, Hold, values};
use super::errors::{Code, Result};
use super::options::{NativeConfig, NativeSetting};
use crate::clock::SystemClock;
use crate::config::StoreConfig;
use crate::engine::{Answer, Engine, Listing};
use crate::error::Error;
use crate::session::{Lifetime, Record, SessionId};

/// `[value, lifetime]` when the answer is known at once, as in a batch.
type Reply = Option<Vec<Cell>>;

#[napi]
pub struct NativeStore {
    engine: Engine,
    hold: Hold,
}

/// Counters and gauges.
#[napi(object, object_from_js = false)]
pub struct NativeStats {
    pub state: String,
    pub gets: f64,
    pub sets: f64,
    pub touches: f64,
    pub destroys: f64,
    pub corrupt: f64,
    pub served_from_memory: f64,
    pub timeouts: f64,
    pub connections: f64,
    pub replayed: f64,
    pub in_flight: f64,
    pub entries: f64,
    pub bytes: f64,
}

/// A listing in progress, for `next`.
#[napi]
pub struct NativeListing(Arc<Listing>);

#[napi]
impl NativeStore {
    #[napi(constructor, catch_unwind)]
    pub fn new(
        settings: Vec<NativeSetting>,
        #[napi(ts_arg_type = "(results: Array<any>, notices: Array<any>) => void")] deliver: Deliver<'_>,
    ) -> Result<Self> {
        let config = StoreConfig::from_settings(settings.into_iter().map(Into::into).collect())?;
        let completions = Completions::new(&deliver).map_err(unexpected)?;
        let hold = Hold::new(&deliver).map_err(unexpected)?;
        Ok(Self { engine: Engine::start(config, Arc::new(SystemClock), Arc::new(completions)), hold })
    }

    #[napi(catch_unwind)]
    pub fn get(&self, operation: u32, id: String) -> Result<Reply> {
        reply(self.engine.load(operation, SessionId::parse(&id)?))
    }

    /// `lifetime` in milliseconds, null for no end.
    #[napi(catch_unwind)]
    pub fn set(&self, operation: u32, id: String, text: String, lifetime: Option<f64>) -> Result<Reply> {
        let record = Record { text: text.into(), lifetime: Lifetime::from_millis(lifetime)? };
        reply(self.engine.save(operation, SessionId::parse(&id)?, record))
    }

    #[napi(catch_unwind)]
    pub fn touch(&self, operation: u32, id: String, lifetime: Option<f64>) -> Result<Reply> {
        reply(self.engine.touch(operation, SessionId::parse(&id)?, Lifetime::from_millis(lifetime)?))
    }

    #[napi(catch_unwind)]
    pub fn destroy(&self, operation: u32, id: String) -> Result<Reply> {
        reply(self.engine.destroy(operation, SessionId::parse(&id)?))
    }

    #[napi(catch_unwind)]
    pub fn length(&self, operation: u32) -> Result<Reply> {
        reply(self.engine.length(operation))
    }

    #[napi(catch_unwind)]
    pub fn clear(&self, operation: u32) -> Result<Reply> {
        reply(self.engine.clear(operation))
    }

    /// A new listing of ids, or of ids and texts in turn.
    #[napi(catch_unwind)]
    pub fn list(&self, with_text: bool) -> NativeListing {
        NativeListing(Arc::new(Listing::new(with_text)))
    }

    #[napi(catch_unwind)]
    pub fn next(&self, operation: u32, listing: &NativeListing) -> Result<Reply> {
        reply(self.engine.next(operation, &listing.0))
    }

    #[napi(catch_unwind)]
    pub fn ready(&self, operation: u32) -> Result<Reply> {
        reply(self.engine.ready(operation))
    }

    #[napi(catch_unwind)]
    pub fn close(&self, operation: u32) -> Result<Reply> {
        reply(Ok(self.engine.close(operation)))
    }

    /// Sends what was asked for since the last call.
    #[napi(catch_unwind)]
    pub fn flush(&self) -> Undefined {
        self.engine.flush();
    }

    /// Holds the event loop, or lets go of it.
    #[napi(catch_unwind)]
    pub fn hold(&mut self, env: Env, held: bool) -> Result<()> {
        self.hold.set(&env, held).map_err(unexpected)
    }

    #[napi(catch_unwind)]
    pub fn report_unreadable(&self, id: String, reason: String) -> Result<()> {
        self.engine.report_unreadable(&SessionId::parse(&id)?, &reason);
        Ok(())
    }

    #[napi(getter, catch_unwind)]
    pub fn state(&self) -> &'static str {
        self.engine.state().as_str()
    }

    #[napi(getter, catch_unwind)]
    pub fn config(&self) -> NativeConfig {
        self.engine.config().into()
    }

    #[napi(catch_unwind)]
    #[expect(clippy::cast_precision_loss, reason = "counters stay far below 2^53")]
    pub fn stats(&self) -> NativeStats {
        let stats = self.engine.stats();
        NativeStats {
            state: self.engine.state().as_str().to_owned(),
            gets: stats.gets.get() as f64,
            sets: stats.sets.get() as f64,
            touches: stats.touches.get() as f64,
            destroys: stats.destroys.get() as f64,
            corrupt: stats.corrupt.get() as f64,
            served_from_memory: stats.served_from_memory.get() as f64,
            timeouts: stats.timeouts.get() as f64,
            connections: stats.connections.get() as f64,
            replayed: stats.replayed.get() as f64,
            in_flight: self.engine.in_flight() as f64,
            entries: self.engine.replica().len() as f64,
            bytes: self.engine.replica().bytes() as f64,
        }
    }
}

fn reply(answer: std::result::Result<Answer, Error>) -> Result<Reply> {
    Ok(match answer? {
        Answer::Later => None,
        Answer::Now(outcome) => Some(values(&outcome).into()),
    })
}

fn unexpected(error: napi::Error) -> napi::Error<Code> {
    napi::Error::new(Code("ERR_INTERNAL"), error.reason.clone())
}
