//! Node.js: options in, results out. The only place that names napi.
//!
//! JavaScript calls a method with an operation number. It returns the answer, throws, or returns `undefined`: then the
//! answer comes later, in a batch, to the function `deliver` that the store was made with.

// napi derives code that takes arguments by value.
#![expect(
    clippy::needless_pass_by_value,
    unreachable_pub,
    reason = "what napi needs: owned arguments and public items"
)]

mod completions;
mod errors;
mod options;
mod store;

/// What one thread allocates here another frees: a session's text, most of all. This allocator is made for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
