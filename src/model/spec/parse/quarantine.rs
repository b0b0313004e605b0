//! The table `[quarantine]`.

use serde::Deserialize;

use super::values::{count, not_here, number};
use crate::model::spec::error::Error;
use crate::model::spec::quarantine::QuarantineSettings;
use crate::model::spec::revision::RETAINS;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawQuarantine {
    outliers: Option<f64>,
    flood: Option<u64>,
    waiting_max: Option<u64>,
}

/// The settings; the rules of earlier revisions know no quarantine.
pub(super) fn quarantine(raw: &RawQuarantine, revision: u32) -> Result<QuarantineSettings, Error> {
    if revision < RETAINS {
        let of = format!("a model under rules.revision = {RETAINS}");
        not_here("quarantine.outliers", &raw.outliers, &of)?;
        not_here("quarantine.flood", &raw.flood, &of)?;
        not_here("quarantine.waiting_max", &raw.waiting_max, &of)?;
    }
    Ok(QuarantineSettings {
        outliers: match raw.outliers {
            None => None,
            written => Some(number("quarantine.outliers", written)?),
        },
        flood: match raw.flood {
            None => None,
            written => Some(count("quarantine.flood", written)?),
        },
        waiting_max: count("quarantine.waiting_max", raw.waiting_max)? as usize,
    })
}

#[cfg(test)]
mod tests {
    use crate::model::Spec;

    #[test]
    fn p9_quarantine_is_off_unless_declared_and_wrong_keys_are_named() {
        let parse = |keys: &str| {
            let toml = "task = 'regression'\n[[input]]\nname = 'x'\nkind = 'number'\n";
            Spec::parse(&format!("{toml}[quarantine]\n{keys}\n"))
        };
        let off = parse("").expect("it is sound").quarantine;
        assert!(!off.looks_at_events());
        assert_eq!(off.waiting_max, 1000);
        let on = parse("outliers = 8\nflood = 50")
            .expect("it is sound")
            .quarantine;
        assert_eq!((on.outliers, on.flood), (Some(8.0), Some(50)));
        let check = |keys: &str, message: &str| {
            let error = parse(keys).expect_err("it is refused").to_string();
            assert_eq!(error, message, "{keys}");
        };
        check(
            "outliers = nan",
            "quarantine.outliers = NaN: expected a number of deviations from 3 to 1000000",
        );
        check(
            "flood = 1",
            "quarantine.flood = 1: expected a whole number of events from 5 to 4096",
        );
        check(
            "waiting_max = 0",
            "quarantine.waiting_max = 0: expected a whole number of events from 1 to 10000",
        );
        check(
            "flood = 9\n[rules]\nrevision = 2",
            "quarantine.flood = 9: only a model under rules.revision = 3 has it",
        );
    }
}
