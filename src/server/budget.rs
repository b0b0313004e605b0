//! The requests that are read or answered at a time, and the bytes of their messages.
//!
//! Invariant: the messages take no more bytes than the budget, and large ones leave a quarter of it to small
//! ones: whoever sends or claims much turns away no small request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use tonic::{Code, Status};

use super::wire::Refusal;

/// Bytes of a small message at most.
pub(super) const SMALL_MAX: u64 = 64 * 1024;

/// The requests that are read or answered, and their bytes.
#[derive(Debug)]
pub(super) struct Budget {
    requests_max: usize,
    requests: AtomicUsize,
    bytes_max: u64,
    bytes: AtomicU64,
}

impl Budget {
    pub(super) fn new(requests_max: usize, bytes_max: u64) -> Budget {
        Budget {
            requests_max,
            requests: AtomicUsize::new(0),
            bytes_max,
            bytes: AtomicU64::new(0),
        }
    }

    /// A place for one more request, if there is one.
    pub(super) fn hold(self: &Arc<Budget>) -> Result<Arc<Holding>, Refusal> {
        let n = self.requests.fetch_add(1, Relaxed);
        let holding = Arc::new(Holding {
            budget: self.clone(),
            bytes: AtomicU64::new(0),
        });
        if n < self.requests_max {
            return Ok(holding);
        }
        let n = self.requests_max;
        let what = format!("{n} requests are read and answered, as many as may; ask again later");
        Err(Refusal::new(Code::ResourceExhausted, "", what))
    }

    /// How many requests are read or answered now.
    pub(super) fn n_requests(&self) -> usize {
        self.requests.load(Relaxed)
    }

    /// How many bytes are taken now.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
}

/// A request's place and its bytes, for as long as it is read or answered.
#[derive(Debug)]
pub(super) struct Holding {
    budget: Arc<Budget>,
    bytes: AtomicU64,
}

impl Holding {
    /// `n` more bytes of a message that has or claims `length`.
    pub(super) fn take(&self, n: u64, length: u64) -> Result<(), Status> {
        let budget = &self.budget;
        let max = if length <= SMALL_MAX {
            budget.bytes_max
        } else {
            budget.bytes_max / 4 * 3
        };
        let more = |taken: u64| taken.checked_add(n).filter(|sum| *sum <= max);
        if budget.bytes.fetch_update(Relaxed, Relaxed, more).is_ok() {
            self.bytes.fetch_add(n, Relaxed);
            return Ok(());
        }
        let what = format!(
            "the requests that are read and answered now take the {max} bytes that they may; send this one \
             again later"
        );
        Err(Refusal::new(Code::ResourceExhausted, "", what).into())
    }

    pub(super) fn give_back(&self, n: u64) {
        self.bytes.fetch_sub(n, Relaxed);
        self.budget.bytes.fetch_sub(n, Relaxed);
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.budget.bytes.fetch_sub(*self.bytes.get_mut(), Relaxed);
        self.budget.requests.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p8_large_messages_leave_room_to_small_ones_and_a_place_ends_with_its_request() {
        let budget = Arc::new(Budget::new(2, 1 << 20));
        let hold = || budget.hold().expect("a place");
        let (one, other) = (hold(), hold());
        assert!(budget.hold().is_err(), "both places are taken");
        one.take(700 << 10, 700 << 10).expect("there is room");
        let refused = other.take(100 << 10, 100 << 10).expect_err("it is large");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        other.take(SMALL_MAX, SMALL_MAX).expect("it is small");
        one.give_back(100 << 10);
        other.take(100 << 10, 100 << 10).expect("there is room");
        assert_eq!(budget.bytes(), (700 << 10) + SMALL_MAX);
        drop(one);
        assert_eq!(budget.bytes(), (100 << 10) + SMALL_MAX);
        hold();
    }
}
