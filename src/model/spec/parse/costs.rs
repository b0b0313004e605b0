//! The cost of a wrong answer: `learner.balanced` and `learner.costs`.

use super::raw::Raw;
use super::values::{flag, value};
use crate::model::spec::error::Error;
use crate::model::spec::learning::Costs;

/// The largest cost of missing a class.
const COST_MAX: f64 = 1e9;
/// The first revision of the rules under which the shares of the classes are learned.
const BALANCES: u32 = 3;

pub(super) fn costs(raw: &Raw, revision: u32) -> Result<Costs, Error> {
    let learner = &raw.learner;
    let balanced = flag("learner.balanced", learner.balanced);
    let refuse = |key: &str, allowed: &str| Err(value(key, "{ .. }", allowed));
    if raw.task != "classification" {
        let allowed = "only a classification has classes to be missed";
        return match (&learner.costs, learner.balanced) {
            (Some(_), _) => refuse("learner.costs", allowed),
            (None, Some(written)) => Err(value("learner.balanced", written, allowed)),
            (None, None) => Ok(Costs::None),
        };
    }
    let Some(costs) = &learner.costs else {
        if !balanced {
            return Ok(Costs::None);
        }
        if revision < BALANCES {
            let allowed = "it needs rules.revision = 3";
            return Err(value("learner.balanced", true, allowed));
        }
        return Ok(Costs::Balanced);
    };
    if balanced {
        return refuse("learner.costs", "leave out one of costs and balanced");
    }
    let classes = raw.classes.as_deref().unwrap_or_default();
    let takes_new = raw
        .classes_max
        .is_some_and(|max| max > classes.len() as u64);
    for (class, cost) in costs {
        let key = format!("learner.costs.{class:?}");
        if !(*cost > 0.0 && *cost <= COST_MAX) {
            let allowed = format!("a finite number, larger than 0, at most {COST_MAX}");
            return Err(value(&key, cost, allowed));
        }
        if !takes_new && !classes.contains(class) {
            return Err(value(&key, cost, "it is not among classes"));
        }
    }
    Ok(Costs::Given(costs.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::super::{Costs, Error, Spec};

    fn parse(learner: &str) -> Result<Costs, Error> {
        let toml = format!(
            "task = \"classification\"\nclasses = [\"no\", \"yes\"]\n[[input]]\nname = \"x\"\n\
             kind = \"number\"\n[learner]\n{learner}\n"
        );
        Ok(Spec::parse(&toml)?.costs)
    }

    fn refusal(learner: &str) -> String {
        parse(learner).expect_err(learner).to_string()
    }

    #[test]
    fn costs_are_read() {
        assert_eq!(parse(""), Ok(Costs::None));
        assert_eq!(parse("balanced = false"), Ok(Costs::None));
        assert_eq!(parse("balanced = true"), Ok(Costs::Balanced));
        let given = Costs::Given([("yes".to_owned(), 20.0)].into());
        assert_eq!(parse("costs = { yes = 20 }"), Ok(given));
    }

    #[test]
    fn p9_costs_that_cannot_be_are_refused() {
        for written in ["nan", "inf", "-inf", "0.0", "-1.0", "1e10"] {
            let error = refusal(&format!("costs = {{ yes = {written} }}"));
            assert!(error.starts_with("learner.costs.\"yes\""), "{error}");
        }
        let error = refusal("costs = { perhaps = 2.0 }");
        assert!(error.contains("not among classes"), "{error}");
        let error = refusal("balanced = true\ncosts = { yes = 2.0 }");
        assert!(error.contains("leave out one"), "{error}");
        let regression = "task = \"regression\"\n[[input]]\nname = \"x\"\nkind = \"number\"\n";
        for learner in ["balanced = true", "costs = { yes = 2.0 }"] {
            let error = Spec::parse(&format!("{regression}[learner]\n{learner}\n")).unwrap_err();
            assert!(
                error.to_string().contains("only a classification"),
                "{error}"
            );
        }
        let old = "[rules]\nrevision = 2";
        let error = refusal(&format!("balanced = true\n{old}"));
        assert!(error.contains("rules.revision = 3"), "{error}");
    }
}
