//! The parsing of a model's learning: `[learner]`, `[network]` and `[memory]`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::pins::{Pins, pinned};
use super::values::{count, count_or, not_here, number, number_or, refused, unknown, value, word};
use crate::model::spec::description::Spec;
use crate::model::spec::error::Error;
use crate::model::spec::learning::{
    Analytic, Gradient, Keep, LearnerKind, MemorySettings, Neighbourhood, Optimizer, Strategy,
};
use crate::model::spec::revision::RETAINS;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNetwork {
    kind: String,
    #[serde(default)]
    hidden: Vec<u64>,
    pub(super) weights: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLearner {
    kind: Option<String>,
    keep: Option<String>,
    optimizer: Option<String>,
    learning_rate: Option<f64>,
    examples_per_update: Option<u64>,
    examples: Option<u64>,
    nearest: Option<u64>,
    features: Option<u64>,
    forgetting: Option<f64>,
    ridge: Option<f64>,
    pub(super) balanced: Option<bool>,
    pub(super) costs: Option<BTreeMap<String, f64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMemory {
    strategy: Option<String>,
    short_term: Option<u64>,
    long_term: Option<u64>,
    replay: Option<u64>,
}

/// Refuses `learner.keep` where there is no retention set.
pub(super) fn check_keep(learner: &RawLearner, spec: &Spec) -> Result<(), Error> {
    if spec.retains() {
        return Ok(());
    }
    let of =
        format!("a classification under rules.revision = {RETAINS} without a learning encoder");
    not_here("learner.keep", &learner.keep, &of)
}

pub(super) fn learner(
    learner: &RawLearner,
    network: Option<&RawNetwork>,
    pins: &Pins,
) -> Result<LearnerKind, Error> {
    let kind = word("learner.kind", learner.kind.as_deref());
    if let (true, Some(written)) = (kind != "auto", &learner.keep) {
        let belongs = "belongs to learner.kind = \"auto\"";
        return Err(value("learner.keep", written, belongs));
    }
    if kind != "neighbours" {
        for (key, written) in [
            ("learner.examples", learner.examples),
            ("learner.nearest", learner.nearest),
        ] {
            let belongs = "belongs to learner.kind = \"neighbours\"";
            written.map_or(Ok(()), |written| Err(value(key, written, belongs)))?;
        }
    }
    match kind {
        "auto" => {
            let kind = network.map(|network| &network.kind);
            not_here("network.kind", &kind, "learner.kind = \"gradient\"")?;
            refuse_unused(learner, &GRADIENT_KEYS, "gradient")?;
            refuse_unused(
                learner,
                &["examples_per_update"],
                "gradient\" or \"analytic",
            )?;
            refuse_unused(learner, &ANALYTIC_KEYS, "analytic")?;
            refuse_unused(learner, &NEIGHBOURS_KEYS, "neighbours")?;
            Ok(LearnerKind::Auto(keep(learner)?))
        }
        "gradient" => {
            refuse_unused(learner, &ANALYTIC_KEYS, "analytic")?;
            refuse_unused(learner, &NEIGHBOURS_KEYS, "neighbours")?;
            Ok(LearnerKind::Gradient(gradient(learner, network, pins)?))
        }
        "analytic" => {
            refuse_network(network)?;
            refuse_unused(learner, &GRADIENT_KEYS, "gradient")?;
            refuse_unused(learner, &NEIGHBOURS_KEYS, "neighbours")?;
            Ok(LearnerKind::Analytic(analytic(learner)?))
        }
        "neighbours" => {
            refuse_network(network)?;
            refuse_unused(learner, &GRADIENT_KEYS, "gradient")?;
            refuse_unused(learner, &ANALYTIC_KEYS, "analytic")?;
            refuse_unused(
                learner,
                &["examples_per_update"],
                "gradient\" or \"analytic",
            )?;
            Ok(LearnerKind::Neighbours(neighbourhood(learner)?))
        }
        other => Err(unknown("learner.kind", other)),
    }
}

fn keep(learner: &RawLearner) -> Result<Keep, Error> {
    match word("learner.keep", learner.keep.as_deref()) {
        "recent" => Ok(Keep::Recent),
        "balanced" => Ok(Keep::Balanced),
        "everything" => Ok(Keep::Everything),
        other => Err(unknown("learner.keep", other)),
    }
}

/// Keys of `[learner]` that only one kind takes.
const GRADIENT_KEYS: [&str; 2] = ["optimizer", "learning_rate"];
const ANALYTIC_KEYS: [&str; 3] = ["features", "forgetting", "ridge"];
const NEIGHBOURS_KEYS: [&str; 2] = ["examples", "nearest"];

fn refuse_network(network: Option<&RawNetwork>) -> Result<(), Error> {
    let instead = "it belongs to learner.kind = \"gradient\"";
    match network {
        None => Ok(()),
        Some(network) => Err(value("network.kind", &network.kind, instead)),
    }
}

/// Refuses those of `keys` that are written: they belong to another kind.
fn refuse_unused(learner: &RawLearner, keys: &[&str], kind: &str) -> Result<(), Error> {
    let number = |written: Option<f64>| written.map(|number| number.to_string());
    let count = |written: Option<u64>| written.map(|count| count.to_string());
    for key in keys {
        let written = match *key {
            "optimizer" => learner.optimizer.clone(),
            "learning_rate" => number(learner.learning_rate),
            "features" => count(learner.features),
            "forgetting" => number(learner.forgetting),
            "ridge" => number(learner.ridge),
            "examples" => count(learner.examples),
            "nearest" => count(learner.nearest),
            _ => count(learner.examples_per_update),
        };
        if let Some(written) = written {
            let allowed = format!("belongs to learner.kind = \"{kind}\"");
            return Err(value(&format!("learner.{key}"), written, allowed));
        }
    }
    Ok(())
}

fn neighbourhood(learner: &RawLearner) -> Result<Neighbourhood, Error> {
    Ok(Neighbourhood {
        examples: count("learner.examples", learner.examples)? as usize,
        nearest: count("learner.nearest", learner.nearest)? as usize,
    })
}

fn analytic(learner: &RawLearner) -> Result<Analytic, Error> {
    let forgetting = number("learner.forgetting", learner.forgetting)?;
    let ridge = number("learner.ridge", learner.ridge)?;
    let per_update = |n| count_or("learner.examples_per_update", Some(n), || 1);
    let examples_per_update = learner.examples_per_update.map(per_update).transpose()?;
    Ok(Analytic {
        features: count("learner.features", learner.features)? as usize,
        forgetting,
        ridge,
        examples_per_update: examples_per_update.map(|n| n as usize),
    })
}

fn gradient(
    learner: &RawLearner,
    network: Option<&RawNetwork>,
    pins: &Pins,
) -> Result<Gradient, Error> {
    let optimizer = match word("learner.optimizer", learner.optimizer.as_deref()) {
        "sgd" => Optimizer::Sgd,
        "adamw" => Optimizer::AdamW,
        other => return Err(unknown("learner.optimizer", other)),
    };
    let default_rate = || match optimizer {
        // Among 0.0003 to 0.3, the best for the digits example on the first 4,000 images of MNIST
        // (0.03 and 0.05 were alike for sgd).
        Optimizer::Sgd => 0.05,
        Optimizer::AdamW => 0.001,
    };
    let rate = number_or("learner.learning_rate", learner.learning_rate, default_rate)?;
    let weights = network.and_then(|network| network.weights.as_deref());
    let weights = weights.map(|path| pinned(pins, "network.weights", path));
    Ok(Gradient {
        hidden: hidden(network)?,
        weights: weights.transpose()?,
        optimizer,
        learning_rate: rate as f32,
        examples_per_update: count_or(
            "learner.examples_per_update",
            learner.examples_per_update,
            || 1,
        )? as usize,
    })
}

fn hidden(network: Option<&RawNetwork>) -> Result<Vec<usize>, Error> {
    let Some(network) = network else {
        return Ok(Vec::new());
    };
    let widths = &network.hidden;
    match network.kind.as_str() {
        "linear" if widths.is_empty() => Ok(Vec::new()),
        "linear" => {
            let allowed = "a linear network has none";
            Err(value("network.hidden", format!("{widths:?}"), allowed))
        }
        "mlp" => {
            let is_allowed = |width: &u64| (1..=8192).contains(width);
            if (1..=8).contains(&widths.len()) && widths.iter().all(is_allowed) {
                Ok(widths.iter().map(|width| *width as usize).collect())
            } else {
                Err(refused("network.hidden", format!("{widths:?}")))
            }
        }
        other => Err(unknown("network.kind", other)),
    }
}

pub(super) fn memory(memory: &RawMemory, learner: &RawLearner) -> Result<MemorySettings, Error> {
    let auto = !matches!(learner.kind.as_deref(), Some("gradient"));
    if auto {
        let of = "learner.kind = \"gradient\"";
        not_here("memory.strategy", &memory.strategy, of)?;
        not_here("memory.short_term", &memory.short_term, of)?;
        not_here("memory.long_term", &memory.long_term, of)?;
        not_here("memory.replay", &memory.replay, of)?;
    }
    let strategy = match word("memory.strategy", memory.strategy.as_deref()) {
        _ if auto => Strategy::None,
        "none" => Strategy::None,
        "er" => Strategy::Er,
        "er-ace" => Strategy::ErAce,
        "der++" => Strategy::DerPlusPlus,
        "cls-er" => Strategy::ClsEr,
        other => return Err(unknown("memory.strategy", other)),
    };
    Ok(MemorySettings {
        strategy,
        short_term: count("memory.short_term", memory.short_term)? as usize,
        long_term: count("memory.long_term", memory.long_term)? as usize,
        replay: count("memory.replay", memory.replay)? as usize,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_of_what_is_kept_needs_a_retention_set() {
        let of = |head: &str, rest: &str| {
            let input = "[[input]]\nname = \"x\"\nkind = \"number\"";
            Spec::parse(&format!(
                "{head}\n{input}\n[learner]\nkeep = \"recent\"\n{rest}"
            ))
        };
        let classes = "task = \"classification\"\nclasses = [\"a\", \"b\"]";
        assert!(of(classes, "").is_ok());
        assert!(of(classes, "[rules]\nrevision = 2\n").is_err());
        let actions = "task = \"bandit\"\nactions = [\"a\", \"b\"]";
        for head in ["task = \"regression\"", actions] {
            let error = of(head, "").unwrap_err().to_string();
            assert!(error.contains("only a classification"), "{error}");
        }
    }
}
