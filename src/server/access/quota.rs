//! Quotas: how much of the journals one credential may fill in a day.
//!
//! Invariant: spent amounts are forgotten evenly, a whole quota in a day, so that no moment lets in two of
//! them. A message refused for its quota spends nothing.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use tonic::Code;

use crate::server::wire::Refusal;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The quota of a day; `None` for any amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Quota {
    /// Rows of predictions that are journaled.
    pub predictions_per_day: Option<u64>,
    /// Feedback events.
    pub events_per_day: Option<u64>,
    /// Bytes of the messages of both.
    pub bytes_per_day: Option<u64>,
}

/// The cost of one message in each quota.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::server) struct MessageCost {
    pub predictions: u64,
    pub events: u64,
    pub bytes: u64,
}

impl Quota {
    pub(super) fn is_none(&self) -> bool {
        *self == Quota::default()
    }

    /// The name of each bound, with the bound itself.
    pub(super) fn bounds(&self) -> [(&'static str, Option<u64>); 3] {
        [
            ("predictions_per_day", self.predictions_per_day),
            ("events_per_day", self.events_per_day),
            ("bytes_per_day", self.bytes_per_day),
        ]
    }
}

/// The quota that a credential has used, which decays over a day.
#[derive(Debug, Default)]
pub(super) struct QuotaUsage(Mutex<Option<([f64; 3], Instant)>>);

impl QuotaUsage {
    /// Spends it, if each part of the quota allows it.
    pub(super) fn spend(
        &self,
        quota: &Quota,
        spending: MessageCost,
        now: Instant,
    ) -> Result<(), Refusal> {
        let mut state = self.0.lock().expect("nothing panics under it");
        let (before, since) = state.unwrap_or(([0.0; 3], now));
        let days = now.duration_since(since).as_secs_f64() / DAY.as_secs_f64();
        let more = [spending.predictions, spending.events, spending.bytes];
        let mut after = before;
        for ((amount, more), (name, max)) in after.iter_mut().zip(more).zip(quota.bounds()) {
            let Some(max) = max else { continue };
            *amount = (*amount - days * max as f64).max(0.0) + more as f64;
            if more > 0 && *amount > max as f64 {
                let what = format!(
                    "{name}: this credential has spent its {max}; it gets them back over a day, a part at \
                     any time"
                );
                let full = Refusal::new(Code::ResourceExhausted, "", what);
                return Err(full.because("quota"));
            }
        }
        *state = Some((after, now));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p8_a_quota_is_spent_and_comes_back_over_a_day() {
        let quota = Quota {
            events_per_day: Some(24),
            bytes_per_day: Some(1000),
            ..Quota::default()
        };
        let (spent, start) = (QuotaUsage::default(), Instant::now());
        let spend = |hours: u64, events: u64, bytes: u64| {
            let spending = MessageCost {
                predictions: 1_000_000,
                events,
                bytes,
            };
            let now = start + Duration::from_secs(hours * 3600);
            let spent = spent.spend(&quota, spending, now);
            spent.map_err(|refusal| refusal.message.split(':').next().map(str::to_owned))
        };
        let over = |name: &str| Err(Some(name.to_owned()));
        assert_eq!(spend(0, 24, 10), Ok(()));
        assert_eq!(spend(0, 1, 10), over("events_per_day"));
        assert_eq!(spend(1, 1, 10), Ok(()));
        assert_eq!(spend(1, 1, 10), over("events_per_day"));
        assert_eq!(spend(2, 1, 1001), over("bytes_per_day"));
        // Refused messages spend nothing.
        assert_eq!(spend(2, 1, 10), Ok(()));
        assert_eq!(spend(50, 24, 1000), Ok(()));
    }
}
