//! The calls that are read or answered at a time, and the bytes of their messages.
//!
//! Invariant: the messages take no more bytes than the budget, and large ones leave a quarter of it to small
//! ones: a large or claimed message turns away no small request. One caller has at most three times what is
//! left, of places and of bytes, so that there is some for every other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use tonic::{Code, Status};

use super::conduct::Conduct;
use super::wire::Refusal;

/// Bytes of a small message at most.
pub(super) const SMALL_MAX: u64 = 64 * 1024;
/// A caller may have so many times what is left to all (Choudhury and Hahne 1998, dynamic thresholds): alone
/// it has three quarters, and each further one finds as much as those before it leave.
const REMAINDER_FACTOR: u64 = 3;

/// The calls that are read or answered, and their bytes.
#[derive(Debug)]
pub(super) struct RequestBudget {
    requests_max: usize,
    requests: AtomicUsize,
    bytes_max: u64,
    bytes: AtomicU64,
    refused: [AtomicU64; BudgetReason::ALL.len()],
}

/// The part of a budget that one caller has.
#[derive(Debug, Default)]
pub(super) struct CallerUsage {
    requests: AtomicUsize,
    bytes: AtomicU64,
}

/// The parts of a caller that shows no credential, in each of the budgets.
#[derive(Debug, Default)]
pub(super) struct Shares {
    pub calls: Arc<CallerUsage>,
    /// The usage of calls that take no credential.
    pub open: Arc<CallerUsage>,
    pub watches: Arc<CallerUsage>,
}

/// The reason why a budget refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BudgetReason {
    Places,
    PlacesOfCaller,
    Bytes,
    BytesOfCaller,
}

impl BudgetReason {
    pub(super) const ALL: [BudgetReason; 4] = [
        BudgetReason::Places,
        BudgetReason::PlacesOfCaller,
        BudgetReason::Bytes,
        BudgetReason::BytesOfCaller,
    ];

    /// The word for it in metrics.
    pub(super) fn word(self) -> &'static str {
        match self {
            BudgetReason::Places => "requests",
            BudgetReason::PlacesOfCaller => "requests_of_caller",
            BudgetReason::Bytes => "request_bytes",
            BudgetReason::BytesOfCaller => "request_bytes_of_caller",
        }
    }
}

impl RequestBudget {
    pub(super) fn new(requests_max: usize, bytes_max: u64) -> RequestBudget {
        RequestBudget {
            requests_max,
            requests: AtomicUsize::new(0),
            bytes_max,
            bytes: AtomicU64::new(0),
            refused: Default::default(),
        }
    }

    /// A place for one more call of a caller, if there is one; it came on a connection of this conduct.
    pub(super) fn hold(
        self: &Arc<RequestBudget>,
        share: &Arc<CallerUsage>,
        conduct: &Arc<Conduct>,
    ) -> Result<Arc<Holding>, Refusal> {
        let n = self.requests.fetch_add(1, Relaxed);
        let own = share.requests.fetch_add(1, Relaxed);
        conduct.begin_call();
        // Where it is refused, it gives its place back.
        let holding = Arc::new(Holding {
            budget: self.clone(),
            share: share.clone(),
            conduct: conduct.clone(),
            bytes: AtomicU64::new(0),
            unread_since: AtomicUsize::new(usize::MAX),
        });
        let left = self.requests_max.saturating_sub(n);
        if left == 0 {
            let what = format!("{n} requests are read and answered, as many as may");
            return Err(self.refusal(BudgetReason::Places, what));
        }
        if own as u64 > REMAINDER_FACTOR * left as u64 {
            let what = format!(
                "{own} requests of this caller are read and answered: the places that are left are for others"
            );
            return Err(self.refusal(BudgetReason::PlacesOfCaller, what));
        }
        Ok(holding)
    }

    /// The number of requests that are read or answered now.
    pub(super) fn n_requests(&self) -> usize {
        self.requests.load(Relaxed)
    }

    /// The number of bytes that are taken now.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// The counts of its refusals, by the reason.
    pub(super) fn refused(&self) -> impl Iterator<Item = (BudgetReason, u64)> {
        let counts = self.refused.iter().map(|count| count.load(Relaxed));
        BudgetReason::ALL.into_iter().zip(counts)
    }

    fn refusal(&self, reason: BudgetReason, what: String) -> Refusal {
        self.refused[reason as usize].fetch_add(1, Relaxed);
        let what = format!("{what}; ask again later");
        Refusal::new(Code::ResourceExhausted, "", what)
    }
}

/// The place of a call and its bytes, for as long as it is read or answered, to the last byte of its answer.
#[derive(Debug)]
pub(super) struct Holding {
    budget: Arc<RequestBudget>,
    share: Arc<CallerUsage>,
    conduct: Arc<Conduct>,
    bytes: AtomicU64,
    /// The place at which the conduct counts its answer; none yet where it is the largest number.
    unread_since: AtomicUsize,
}

impl Holding {
    /// `n` more bytes of a message that has or claims `length`.
    pub(super) fn take(&self, n: u64, length: u64) -> Result<(), Status> {
        let taken = self.taken(n, length);
        taken.map_err(|reason| {
            let whose = match reason {
                BudgetReason::BytesOfCaller => "requests of this caller",
                _ => "requests",
            };
            let what =
                format!("the {whose} that are read and answered now take the bytes that they may");
            self.budget.refusal(reason, what).into()
        })
    }

    /// True if there was room for `n` more bytes, which are taken then.
    pub(super) fn try_take(&self, n: u64) -> bool {
        self.taken(n, n).is_ok()
    }

    fn taken(&self, n: u64, length: u64) -> Result<(), BudgetReason> {
        let budget = &self.budget;
        let max = if length <= SMALL_MAX {
            budget.bytes_max
        } else {
            budget.bytes_max / 4 * 3
        };
        let own = self.share.bytes.fetch_add(n, Relaxed).saturating_add(n);
        let mut reason = BudgetReason::Bytes;
        let more = |taken: u64| {
            let sum = taken.checked_add(n).filter(|sum| *sum <= max)?;
            if own > REMAINDER_FACTOR.saturating_mul(budget.bytes_max - sum) {
                reason = BudgetReason::BytesOfCaller;
                return None;
            }
            Some(sum)
        };
        if budget.bytes.fetch_update(Relaxed, Relaxed, more).is_ok() {
            self.bytes.fetch_add(n, Relaxed);
            return Ok(());
        }
        self.share.bytes.fetch_sub(n, Relaxed);
        Err(reason)
    }

    /// `n` bytes more that were counted before, whatever the bounds.
    pub(super) fn keep(&self, n: u64) {
        self.bytes.fetch_add(n, Relaxed);
        self.share.bytes.fetch_add(n, Relaxed);
        self.budget.bytes.fetch_add(n, Relaxed);
    }

    pub(super) fn give_back(&self, n: u64) {
        self.bytes.fetch_sub(n, Relaxed);
        self.share.bytes.fetch_sub(n, Relaxed);
        self.budget.bytes.fetch_sub(n, Relaxed);
    }

    /// Its whole answer is given, which its client reads within a time or loses its connection.
    pub(super) fn begin_answer(&self) {
        let since = self.conduct.begin_answer();
        self.unread_since.store(since, Relaxed);
    }

    /// The conduct of the connection that it came on.
    pub(super) fn conduct(&self) -> &Conduct {
        &self.conduct
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        if bytes > 0 {
            self.share.bytes.fetch_sub(bytes, Relaxed);
            self.budget.bytes.fetch_sub(bytes, Relaxed);
        }
        self.share.requests.fetch_sub(1, Relaxed);
        self.budget.requests.fetch_sub(1, Relaxed);
        let since = *self.unread_since.get_mut();
        self.conduct
            .end_call((since != usize::MAX).then_some(since));
    }
}

#[cfg(test)]
impl RequestBudget {
    /// A place for a caller that has nothing else, on a connection of its own.
    pub(super) fn hold_alone(self: &Arc<RequestBudget>) -> Result<Arc<Holding>, Refusal> {
        self.hold(&Arc::default(), &Arc::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p8_large_messages_leave_room_to_small_ones_and_a_place_ends_with_its_request() {
        let budget = Arc::new(RequestBudget::new(2, 1 << 20));
        let hold = || budget.hold_alone().expect("a place");
        let (one, other) = (hold(), hold());
        assert!(budget.hold_alone().is_err(), "both places are taken");
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
        let refused: Vec<u64> = budget.refused().map(|(_, n)| n).collect();
        assert_eq!(refused, [1, 0, 1, 0]);
    }

    #[test]
    fn p8_one_caller_leaves_places_and_bytes_to_others() {
        let budget = Arc::new(RequestBudget::new(1024, 1 << 20));
        let [one, other] = [Arc::<CallerUsage>::default(), Arc::default()];
        let conduct = Arc::default();
        let all_of = |share| -> Vec<Arc<Holding>> {
            std::iter::from_fn(|| budget.hold(share, &conduct).ok()).collect()
        };
        let first = all_of(&one);
        assert_eq!(first.len(), 769);
        let second = all_of(&other);
        assert_eq!(second.len(), 192);
        budget.hold_alone().expect("there is one for every other");
        drop(second);
        let n_bytes = |holding: &Holding| {
            let small = || holding.take(1 << 10, 1 << 10).ok();
            std::iter::from_fn(small).count()
        };
        assert_eq!(n_bytes(&first[0]), 768);
        assert_eq!(n_bytes(&budget.hold_alone().expect("a place")), 192);
        drop(first);
        assert_eq!(budget.bytes(), 0);
        assert_eq!(one.requests.load(Relaxed), 0);
        assert_eq!(one.bytes.load(Relaxed), 0);
    }
}
