//! The right, and the duty, to answer an operation once.

use std::sync::Arc;

use super::{Answer, Observer, Operation, Outcome};
use crate::error::Error;

/// Held by whoever works on an operation. A ticket that is dropped unanswered, because its task ended, answers with an
/// error: no caller waits for ever.
pub(super) struct Ticket {
    operation: Operation,
    observer: Option<Arc<dyn Observer>>,
}

impl Ticket {
    pub(super) fn new(operation: Operation, observer: Arc<dyn Observer>) -> Self {
        Self { operation, observer: Some(observer) }
    }

    /// Answers.
    pub(super) fn complete(mut self, outcome: Result<Outcome, Error>) {
        if let Some(observer) = self.observer.take() {
            observer.complete(self.operation, outcome);
        }
    }

    /// Answers on the spot, so that the observer need not.
    pub(super) fn withdraw(mut self, outcome: Outcome) -> Answer {
        self.observer = None;
        Answer::Now(outcome)
    }

    /// Refuses on the spot, so that the observer need not.
    pub(super) fn refuse(mut self, error: Error) -> Error {
        self.observer = None;
        error
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(observer) = self.observer.take() {
            observer.complete(self.operation, Err(Error::Internal));
            observer.flush();
        }
    }
}
