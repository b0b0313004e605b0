//! The table `[sources]`, and the weights of events.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::values::{count, not_here, number, number_or, refused, time, value};
use crate::model::spec::budget::Budget;
use crate::model::spec::error::Error;
use crate::model::spec::revision::RETAINS;

/// Names at most, and the bytes of one.
const NAMES_MAX: usize = 1000;
const NAME_BYTES_MAX: usize = 256;
/// The largest weight of an event, where the description gives none.
const WEIGHT_MAX: f64 = 10.0;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSources {
    budget: Option<f64>,
    per: Option<u64>,
    within: Option<String>,
    vouched: Option<Vec<String>>,
}

/// The budget of each source; none where none is set.
pub(super) fn budget(raw: &RawSources, revision: u32) -> Result<Option<Budget>, Error> {
    let of = match (raw.budget, revision >= RETAINS) {
        (Some(_), true) => None,
        (None, true) => Some("a model with sources.budget".to_owned()),
        (_, false) => Some(format!("a model under rules.revision = {RETAINS}")),
    };
    if let Some(of) = of {
        not_here("sources.budget", &raw.budget, &of)?;
        not_here("sources.per", &raw.per, &of)?;
        not_here("sources.within", &raw.within, &of)?;
        not_here("sources.vouched", &raw.vouched, &of)?;
        return Ok(None);
    }
    let weight = number("sources.budget", raw.budget)?;
    let per = count("sources.per", raw.per)?;
    if weight > per as f64 {
        let allowed = format!("expected at most sources.per = {per}");
        return Err(value("sources.budget", weight, allowed));
    }
    let within_s = time("sources.within", raw.within.as_deref())?;
    if within_s == 0 {
        let written = raw.within.as_deref().unwrap_or_default();
        let written = format!("{written:?}");
        return Err(value("sources.within", written, "expected a time above 0"));
    }
    let vouched = raw.vouched.clone().unwrap_or_default();
    let is_name = |name: &String| (1..=NAME_BYTES_MAX).contains(&name.len());
    let has_twice = vouched.iter().collect::<BTreeSet<_>>().len() < vouched.len();
    if has_twice || vouched.len() > NAMES_MAX || !vouched.iter().all(is_name) {
        let n_names = vouched.len();
        return Err(refused("sources.vouched", format!("{n_names} names")));
    }
    Ok(Some(Budget {
        weight,
        per,
        within_us: i64::try_from(within_s)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000_000),
        vouched,
    }))
}

/// The largest weight of an event: no larger than a budget, so that no event is beyond every budget.
pub(super) fn weight_max(
    written: Option<f64>,
    budget: Option<&Budget>,
    revision: u32,
) -> Result<f64, Error> {
    const KEY: &str = "feedback.weight_max";
    if revision < RETAINS {
        let of = format!("a model under rules.revision = {RETAINS}");
        not_here(KEY, &written, &of)?;
        return Ok(1.0);
    }
    let bound = budget.map_or(f64::MAX, |budget| budget.weight);
    let weight = number_or(KEY, written, || WEIGHT_MAX.min(bound))?;
    if weight > bound {
        let allowed = format!("expected at most sources.budget = {bound}");
        return Err(value(KEY, weight, allowed));
    }
    Ok(weight)
}

#[cfg(test)]
mod tests {
    use crate::model::{Spec, SpecError};

    fn parse(keys: &str) -> Result<Spec, SpecError> {
        let toml = "task = 'regression'\n[[input]]\nname = 'x'\nkind = 'number'\n";
        Spec::parse(&format!("{toml}{keys}"))
    }

    #[test]
    fn budgets_and_weights_are_read() {
        let spec = parse("").expect("it is sound");
        assert_eq!((spec.weight_max, spec.budget), (10.0, None));
        let spec = parse("[sources]\nbudget = 5\n").expect("it is sound");
        let budget = spec.budget.expect("it is set");
        assert_eq!(
            (spec.weight_max, budget.weight, budget.per),
            (5.0, 5.0, 1000)
        );
        assert_eq!(budget.within_us, 86_400_000_000);
        let spec = parse(
            "[sources]\nbudget = 50.5\nper = 100\nwithin = '1h'\nvouched = ['b', 'a']\n\
             [feedback]\nweight_max = 3\n",
        );
        let spec = spec.expect("it is sound");
        let budget = spec.budget.expect("it is set");
        assert_eq!(spec.weight_max, 3.0);
        assert_eq!(budget.within_us, 3_600_000_000);
        let places = ["b", "a", "c", ""].map(|source| budget.place(source));
        assert_eq!((places, budget.n_places()), ([0, 1, 2, 2], 3));
    }

    #[test]
    fn p9_wrong_budgets_and_weights_are_named() {
        let check = |keys: &str, message: &str| {
            assert_eq!(parse(keys).expect_err(keys).to_string(), message);
        };
        check(
            "[sources]\nbudget = 0\n",
            "sources.budget = 0: expected a number from 1 to 1000000000",
        );
        check(
            "[sources]\nbudget = nan\n",
            "sources.budget = NaN: expected a number from 1 to 1000000000",
        );
        check(
            "[sources]\nbudget = 101\nper = 100\n",
            "sources.budget = 101: expected at most sources.per = 100",
        );
        check(
            "[sources]\nbudget = 5\nper = 9\n",
            "sources.per = 9: expected a whole number of learned examples from 10 to 1000000000",
        );
        check(
            "[sources]\nbudget = 5\nwithin = '0s'\n",
            "sources.within = \"0s\": expected a time above 0",
        );
        let names = "expected a list: at most 1000 names of 1 to 256 bytes, none twice";
        for vouched in ["['']", "['a', 'a']"] {
            let keys = format!("[sources]\nbudget = 5\nvouched = {vouched}\n");
            let n_names = vouched.split(',').count();
            check(
                &keys,
                &format!("sources.vouched = {n_names} names: {names}"),
            );
        }
        check(
            "[sources]\nvouched = ['a']\n",
            "sources.vouched = [\"a\"]: only a model with sources.budget has it",
        );
        check(
            "[sources]\nbudget = 5\n[feedback]\nweight_max = 6\n",
            "feedback.weight_max = 6: expected at most sources.budget = 5",
        );
        check(
            "[feedback]\nweight_max = 1001\n",
            "feedback.weight_max = 1001: expected a number from 1 to 1000",
        );
        let old = "only a model under rules.revision = 3 has it";
        check(
            "[sources]\nbudget = 5\n[rules]\nrevision = 2\n",
            &format!("sources.budget = 5.0: {old}"),
        );
        check(
            "[feedback]\nweight_max = 2\n[rules]\nrevision = 2\n",
            &format!("feedback.weight_max = 2.0: {old}"),
        );
    }
}
