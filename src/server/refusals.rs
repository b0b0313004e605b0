//! The refusals of one flow: counted, and logged.
//!
//! Invariant: one line a minute at most, and it holds nothing of the message.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::calls;
use super::log_rate::LogRate;
use super::wire::Refusal;

/// The refusals of one flow.
#[derive(Debug)]
pub(super) struct Refusals {
    /// The name of the flow in metrics and in the log.
    pub flow: &'static str,
    /// The counts by the name of the code and the field at fault.
    counts: Mutex<BTreeMap<RefusalKind, u64>>,
    log_rate: LogRate,
}

/// The name of a code, a field of the message, and a reason; empty where none is at fault, and where code and
/// field say all.
type RefusalKind = (&'static str, &'static str, &'static str);

impl Refusals {
    pub(super) fn new(flow: &'static str) -> Refusals {
        Refusals {
            flow,
            counts: Mutex::default(),
            log_rate: LogRate::default(),
        }
    }

    /// The number of refusals of each kind.
    pub(super) fn counts(&self) -> BTreeMap<RefusalKind, u64> {
        self.counts.lock().expect("nothing panics under it").clone()
    }

    /// One more.
    pub(super) fn add(&self, refusal: &Refusal) {
        let kind = (calls::name(refusal.code), refusal.field, refusal.reason);
        let total: u64 = {
            let mut counts = self.counts.lock().expect("nothing panics under it");
            *counts.entry(kind).or_default() += 1;
            counts.values().sum()
        };
        if self.log_rate.is_time() {
            let (flow, code, field) = (self.flow, refusal.code, refusal.field);
            let reason = refusal.reason;
            tracing::warn!(
                flow,
                ?code,
                field,
                reason,
                total,
                "refused; this is logged once a minute"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn refusals_are_counted_by_code_and_field() {
        let refusals = Refusals::new("feedback");
        for _ in 0..3 {
            refusals.add(&Refusal::invalid("label", "so"));
        }
        refusals.add(&Refusal::new(Code::NotFound, "model", "so"));
        refusals.add(&Refusal::new(Code::ResourceExhausted, "", "so").because("full"));
        let expected = [
            (("INVALID_ARGUMENT", "label", ""), 3),
            (("NOT_FOUND", "model", ""), 1),
            (("RESOURCE_EXHAUSTED", "", "full"), 1),
        ];
        assert_eq!(refusals.counts(), BTreeMap::from(expected));
    }
}
