//! The right, and the duty, to answer operations once.

use std::sync::Arc;

use super::{Observer, Operation, Outcome};
use crate::error::Error;

/// Held by whoever works on these operations. What is dropped unanswered, because its task ended, is answered with an
/// error: no caller waits for ever.
pub(super) struct Tickets {
    operations: Vec<Operation>,
    observer: Arc<dyn Observer>,
}

impl Tickets {
    pub(super) fn none(observer: Arc<dyn Observer>) -> Self {
        Self::all(Vec::new(), observer)
    }

    pub(super) fn one(operation: Operation, observer: Arc<dyn Observer>) -> Self {
        Self::all(vec![operation], observer)
    }

    pub(super) fn all(operations: Vec<Operation>, observer: Arc<dyn Observer>) -> Self {
        Self { operations, observer }
    }

    pub(super) fn add(&mut self, operation: Operation) {
        self.operations.push(operation);
    }

    /// Answers each with its outcome, in their order. An operation without an outcome gets an error.
    pub(super) fn answer(mut self, outcomes: impl Iterator<Item = Result<Outcome, Error>>) {
        // Outcomes may be made while they are taken: should that panic, the operations are still there to be refused.
        let outcomes: Vec<_> = outcomes.take(self.operations.len()).collect();
        let unanswered = self.operations.split_off(outcomes.len());
        let answered = std::mem::replace(&mut self.operations, unanswered);
        self.observer.complete(&mut answered.into_iter().zip(outcomes));
        self.observer.flush();
    }
}

impl Tickets {
    /// Answers each that has an outcome. The others are handed back one by one, in their order.
    pub(super) fn answer_some(
        mut self,
        outcomes: impl Iterator<Item = Option<Result<Outcome, Error>>>,
    ) -> impl Iterator<Item = Tickets> {
        let outcomes: Vec<_> = outcomes.take(self.operations.len()).collect();
        let observer = self.observer.clone();
        let mut open = Vec::new();
        let operations = std::mem::take(&mut self.operations).into_iter();
        let mut answered = operations.zip(outcomes).filter_map(|(operation, outcome)| {
            if outcome.is_none() {
                open.push(operation);
            }
            Some((operation, outcome?))
        });
        observer.complete(&mut answered);
        observer.flush();
        open.into_iter().map(move |operation| Tickets::one(operation, observer.clone()))
    }
}

impl Drop for Tickets {
    fn drop(&mut self) {
        if !self.operations.is_empty() {
            let refused = std::mem::take(&mut self.operations).into_iter().map(|number| (number, Err(Error::Internal)));
            self.observer.complete(&mut refused.into_iter());
            self.observer.flush();
        }
    }
}
