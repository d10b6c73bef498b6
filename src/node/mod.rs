//! Node.js: options in, results out. The only place that names napi.
//!
//! JavaScript calls with operation numbers. Calls for sessions are submitted together, and their answers come later, in
//! batches, to the function `deliver` that the store was made with. Any other call returns its answer, throws, or returns
//! null: then the answer comes in a batch too.

// napi derives code that takes arguments by value.
#![expect(
    clippy::needless_pass_by_value,
    unreachable_pub,
    reason = "what napi needs: owned arguments and public items"
)]

mod calls;
mod completions;
mod crypto;
mod errors;
mod options;
mod store;

/// What one thread allocates here another frees: a session's text, most of all. This allocator is made for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
