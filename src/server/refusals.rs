//! The refusals of one flow: counted, and logged.
//!
//! Invariant: one line a minute at most, and it holds nothing of the message.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::calls;
use super::wire::Refusal;

/// Between two lines of one flow.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// The refusals of one flow.
#[derive(Debug)]
pub(super) struct Refusals {
    /// The name of the flow in metrics and in the log.
    pub flow: &'static str,
    /// By the name of the code and the field at fault.
    counts: Mutex<BTreeMap<RefusalKind, u64>>,
    logged: Mutex<Option<Instant>>,
}

/// The name of a code, and a field of the message; empty where none is at fault.
type RefusalKind = (&'static str, &'static str);

impl Refusals {
    pub(super) fn new(flow: &'static str) -> Refusals {
        Refusals {
            flow,
            counts: Mutex::default(),
            logged: Mutex::new(None),
        }
    }

    /// How many there were of each kind.
    pub(super) fn counts(&self) -> BTreeMap<RefusalKind, u64> {
        self.counts.lock().expect("nothing panics under it").clone()
    }

    /// One more.
    pub(super) fn add(&self, refusal: &Refusal) {
        let kind = (calls::name(refusal.code), refusal.field);
        let total: u64 = {
            let mut counts = self.counts.lock().expect("nothing panics under it");
            *counts.entry(kind).or_default() += 1;
            counts.values().sum()
        };
        if self.is_time(Instant::now()) {
            let (flow, code, field) = (self.flow, refusal.code, refusal.field);
            tracing::warn!(
                flow,
                ?code,
                field,
                total,
                "refused; this is logged once a minute"
            );
        }
    }

    fn is_time(&self, now: Instant) -> bool {
        let mut logged = self.logged.lock().expect("nothing panics under it");
        let is_time = logged.is_none_or(|logged| now.duration_since(logged) >= LOG_EVERY);
        if is_time {
            *logged = Some(now);
        }
        is_time
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn p8_a_flow_logs_one_refusal_a_minute() {
        let refusals = Refusals::new("feedback");
        let start = Instant::now();
        let is_time = |seconds: u64| refusals.is_time(start + Duration::from_secs(seconds));
        let logged = [0, 1, 59, 60, 61, 119, 120].map(is_time);
        assert_eq!(logged, [true, false, false, true, false, false, true]);
        for _ in 0..3 {
            refusals.add(&Refusal::invalid("label", "so"));
        }
        refusals.add(&Refusal::new(Code::NotFound, "model", "so"));
        let expected = [
            (("INVALID_ARGUMENT", "label"), 3),
            (("NOT_FOUND", "model"), 1),
        ];
        assert_eq!(refusals.counts(), BTreeMap::from(expected));
    }
}
