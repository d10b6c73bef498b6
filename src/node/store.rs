//! The engine as a JavaScript class, and its operations.
//!
//! What every request needs are functions of a store's number, not methods: finding the Rust side of `this` would take
//! longer than all the rest of the call.

use std::cell::RefCell;
use std::sync::Arc;

use napi::Env;
use napi::bindgen_prelude::{Either, Either4, Float64ArraySlice, Null, Utf16String};
use napi_derive::napi;

use super::calls::{Packed, base_of, request};
use super::completions::{Completions, Deliver, Hold, flat, life, to_f64};
use super::errors::{Code, Result};
use super::options::{NativeConfig, NativeSetting};
use crate::clock::{SystemClock, Timestamp};
use crate::config::StoreConfig;
use crate::engine::{Answer, Engine, Listing, Outcome};
use crate::error::Error;
use crate::replica::Found;
use crate::session::{Base, Lifetime, SessionId};

/// `[value, life]` when the answer is known at once, null when it comes later.
type Reply = Option<Vec<Either4<Null, f64, String, Vec<String>>>>;

thread_local! {
    /// The stores of this JavaScript thread, by number.
    static STORES: RefCell<Vec<Option<Arc<Engine>>>> = const { RefCell::new(Vec::new()) };
}

fn with_store<T>(number: u32, call: impl FnOnce(&Engine) -> Result<T>) -> Result<T> {
    STORES.with_borrow(|stores| match stores.get(number as usize) {
        Some(Some(engine)) => call(engine),
        _ => Err(Error::Closed.into()),
    })
}

/// Submits calls: see `calls.rs` for what the three values hold.
#[napi(catch_unwind)]
pub fn submit(store: u32, numbers: Float64ArraySlice<'_>, ids: Utf16String, texts: Utf16String) -> Result<()> {
    with_store(store, |engine| {
        engine.submit(Box::new(Packed::new(&numbers, ids, texts, engine.now())));
        Ok(())
    })
}

/// Does one such call, and returns the answer when it is known at once. `base` is one of the numbers of `calls.rs`, or the
/// text.
#[napi(catch_unwind)]
pub fn ask(
    store: u32,
    operation: u32,
    kind: u32,
    id: String,
    text: String,
    lifetime: f64,
    base: Either<f64, String>,
) -> Result<Reply> {
    let base = match base {
        Either::A(number) => base_of(number, Arc::default),
        Either::B(text) => Base::Text(text.into()),
    };
    with_store(store, |engine| reply(engine.ask(operation, request(kind, id, text, lifetime, base, engine.now())?)))
}

/// What [`known`] says when it has no text to give: ask Redis, or there is no such session.
const ASK: f64 = -1.0;
const MISSING: f64 = -2.0;

/// The text of a session that is known without asking, its version, and how long it lives in milliseconds (infinite
/// without end). The version stands in the slot for as long as all that is so; `steady` is what `performance.now()` says.
#[napi(catch_unwind)]
pub fn known(store: u32, id: String, slot: u32, steady: f64) -> Result<Either<f64, (String, f64, f64)>> {
    with_store(store, |engine| {
        Ok(match engine.find(&id, slot, steady) {
            Found::Nothing => Either::A(ASK),
            Found::Missing => Either::A(MISSING),
            Found::Text { text, version, deadline } => {
                Either::B((text.to_string(), to_f64(version), left(engine, deadline)))
            }
        })
    })
}

/// The words of a store, which change as it does: see `replica/words.rs`.
#[napi(catch_unwind, ts_return_type = "Float64Array")]
pub fn words(env: Env, store: u32) -> Result<Float64ArraySlice<'static>> {
    with_store(store, |engine| {
        let words = engine.replica().words();
        let (start, count) = (words.numbers().as_ptr(), words.numbers().len());
        // SAFETY: the numbers are where they are until `words` is dropped, which is when JavaScript has let go of the array.
        // They are of the size and alignment of a double, and written by atomic operations only; JavaScript only reads.
        #[expect(unsafe_code, reason = "memory that two threads look at cannot be given away in another way")]
        let array = unsafe { Float64ArraySlice::from_external(&env, start.cast_mut().cast(), count, words, |_, _| {}) };
        array.map_err(unexpected)
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`known` gave it, a whole number")]
fn whole(number: f64) -> u64 {
    number as u64
}

fn left(engine: &Engine, deadline: Option<Timestamp>) -> f64 {
    deadline.map_or(f64::INFINITY, |deadline| to_f64(deadline.since(engine.now()).max(1)))
}

/// Renews a session. Nobody waits for it.
#[napi(catch_unwind)]
pub fn touch(store: u32, id: String, lifetime: f64) -> Result<()> {
    with_store(store, |engine| {
        let deadline = engine.now().after(Lifetime::from_millis(lifetime)?);
        Ok(engine.touch(SessionId::parse(id)?, deadline)?)
    })
}

/// Renews sessions that are known: slot, version and lifetime of each. Returns the places of those that are not known any
/// more, when there are any.
#[napi(catch_unwind)]
pub fn renew(store: u32, numbers: Float64ArraySlice<'_>) -> Result<Option<Vec<u32>>> {
    with_store(store, |engine| {
        let now = engine.now();
        let renewals = numbers.chunks_exact(3).map(|renewal| {
            let lifetime = Lifetime::from_millis(renewal[2]).unwrap_or(Lifetime::Millis(1));
            (u32::try_from(whole(renewal[0])).unwrap_or(u32::MAX), whole(renewal[1]), now.after(lifetime))
        });
        let failed = engine.touch_kept(renewals);
        Ok((!failed.is_empty()).then_some(failed))
    })
}

#[napi]
pub struct NativeStore {
    number: u32,
    engine: Arc<Engine>,
    completions: Arc<Completions>,
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
    pub refused: f64,
    pub merged: f64,
    pub conflicts: f64,
    pub served_from_memory: f64,
    pub timeouts: f64,
    pub connections: f64,
    pub replayed: f64,
    pub restored: f64,
    pub hits: f64,
    pub misses: f64,
    pub loads_in_flight: f64,
    pub invalidations: f64,
    pub lease_losses: f64,
    pub coalesced_touches: f64,
    pub waiting_touches: f64,
    pub unsaved: f64,
    pub entries: f64,
    pub bytes: f64,
}

/// A listing in progress, for `next`.
#[napi]
pub struct NativeListing(Arc<Listing>);

#[napi]
impl NativeListing {
    /// A new listing of ids, or of ids and texts in turn.
    #[napi(constructor, catch_unwind)]
    pub fn new(with_text: bool) -> Self {
        Self(Arc::new(Listing::new(with_text)))
    }
}

#[napi]
impl NativeStore {
    #[napi(constructor, catch_unwind)]
    pub fn new(
        settings: Vec<NativeSetting>,
        #[napi(ts_arg_type = "(numbers: Float64Array, texts: string, rare: Array<any>) => void")] deliver: Deliver<'_>,
    ) -> Result<Self> {
        let config = StoreConfig::from_settings(settings.into_iter().map(Into::into).collect())?;
        let completions = Arc::new(Completions::new(&deliver).map_err(unexpected)?);
        let hold = Hold::new(&deliver).map_err(unexpected)?;
        let engine = Arc::new(Engine::start(config, Arc::new(SystemClock), completions.clone()));
        let number = STORES.with_borrow_mut(|stores| {
            let free = stores.iter().position(Option::is_none).unwrap_or_else(|| {
                stores.push(None);
                stores.len() - 1
            });
            stores[free] = Some(engine.clone());
            u32::try_from(free)
        });
        Ok(Self { number: number.map_err(|_| Error::Internal)?, engine, completions, hold })
    }

    /// What the functions call this store.
    #[napi(getter, catch_unwind)]
    pub fn number(&self) -> u32 {
        self.number
    }

    #[napi(catch_unwind)]
    pub fn length(&self, operation: u32) -> Result<Reply> {
        reply(self.engine.length(operation))
    }

    #[napi(catch_unwind)]
    pub fn clear(&self, operation: u32) -> Result<Reply> {
        reply(self.engine.clear(operation))
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

    /// Holds the event loop, or lets go of it.
    #[napi(catch_unwind)]
    pub fn hold(&mut self, env: Env, held: bool) -> Result<()> {
        self.hold.set(env, held).map_err(unexpected)
    }

    #[napi(catch_unwind)]
    pub fn report_unreadable(&self, id: String, reason: String) -> Result<()> {
        self.engine.report_unreadable(&SessionId::parse(id)?, &reason);
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
    pub fn stats(&self) -> NativeStats {
        let stats = self.engine.stats();
        let replica = self.engine.replica();
        NativeStats {
            state: self.engine.state().as_str().to_owned(),
            gets: to_f64(stats.gets.get()),
            sets: to_f64(stats.sets.get()),
            touches: to_f64(stats.touches.get()),
            destroys: to_f64(stats.destroys.get()),
            corrupt: to_f64(stats.corrupt.get()),
            refused: to_f64(stats.refused.get()),
            merged: to_f64(stats.merged.get()),
            conflicts: to_f64(stats.conflicts.get()),
            served_from_memory: to_f64(stats.served_from_memory.get()),
            timeouts: to_f64(stats.timeouts.get()),
            connections: to_f64(stats.connections.get()),
            replayed: to_f64(stats.replayed.get()),
            restored: to_f64(stats.restored.get()),
            hits: to_f64(stats.hits.get()),
            misses: to_f64(stats.misses.get()),
            loads_in_flight: to_f64(stats.loads_in_flight.get()),
            invalidations: to_f64(stats.invalidations.get()),
            lease_losses: to_f64(stats.lease_losses.get()),
            coalesced_touches: to_f64(stats.coalesced_touches.get()),
            waiting_touches: to_f64(replica.waiting_touches() as u64),
            unsaved: to_f64(replica.len() as u64),
            entries: to_f64(replica.entries() as u64),
            bytes: to_f64(replica.bytes() as u64),
        }
    }
}

impl Drop for NativeStore {
    fn drop(&mut self) {
        self.completions.detach();
        // At the end of a thread the table may be gone already, and its engines with it.
        let _ = STORES.try_with(|stores| {
            if let Some(store) = stores.borrow_mut().get_mut(self.number as usize) {
                *store = None;
            }
        });
    }
}

fn reply(answer: std::result::Result<Answer, Error>) -> Result<Reply> {
    let Answer::Now(outcome) = answer? else { return Ok(None) };
    Ok(Some(match outcome {
        Outcome::Done | Outcome::Kept(_) => Vec::new(),
        Outcome::Session(None) | Outcome::Entries(None) => vec![Either4::A(Null)],
        Outcome::Session(Some(record)) => {
            vec![Either4::C(record.text), Either4::B(life(record.lifetime))]
        }
        Outcome::Count(count) => vec![Either4::B(to_f64(count))],
        Outcome::State(state) => vec![Either4::C(state.as_str().to_owned())],
        Outcome::Entries(Some(entries)) => vec![Either4::D(flat(entries))],
    }))
}

fn unexpected(error: napi::Error) -> napi::Error<Code> {
    napi::Error::new(Code("ERR_INTERNAL"), error.reason.clone())
}
