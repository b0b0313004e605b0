//! How a model learns, as described: `[learner]`, `[network]` and `[memory]`.

use serde::Deserialize;

use super::super::{Gradient, LearnerKind, Memory, Neighbourhood, Optimizer, Strategy};
use super::{Error, Raw, not_yet, one_of, unavailable, value, within};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNetwork {
    kind: String,
    #[serde(default)]
    hidden: Vec<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLearner {
    kind: Option<String>,
    optimizer: Option<String>,
    learning_rate: Option<f64>,
    examples_per_update: Option<u64>,
    examples: Option<u64>,
    nearest: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMemory {
    strategy: Option<String>,
    short_term: Option<u64>,
    long_term: Option<u64>,
    replay: Option<u64>,
}

pub(super) fn learner(raw: &Raw) -> Result<LearnerKind, Error> {
    let learner = &raw.learner;
    let kind = learner.kind.as_deref().unwrap_or("auto");
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
            let instead = "under learner.kind = \"auto\" leave it out, or set \"gradient\"";
            let network = raw.network.as_ref().map(|network| &network.kind);
            not_yet("network.kind", &network, instead)?;
            let unused = "belongs to learner.kind = \"gradient\"";
            let refuse = |key: &str, written: Option<String>| match written {
                None => Ok(()),
                Some(written) => Err(value(key, written, unused)),
            };
            refuse("learner.optimizer", learner.optimizer.clone())?;
            let rate = learner.learning_rate.map(|rate| rate.to_string());
            refuse("learner.learning_rate", rate)?;
            let examples = learner.examples_per_update.map(|n| n.to_string());
            refuse("learner.examples_per_update", examples)?;
            Ok(LearnerKind::Auto)
        }
        "gradient" => Ok(LearnerKind::Gradient(gradient(raw)?)),
        "neighbours" => Ok(LearnerKind::Neighbours(neighbourhood(raw)?)),
        kind @ "analytic" => Err(unavailable(
            "learner.kind",
            kind,
            "take \"auto\", \"gradient\" or \"neighbours\"",
        )),
        other => Err(one_of(
            "learner.kind",
            other,
            "auto, gradient or neighbours",
        )),
    }
}

fn neighbourhood(raw: &Raw) -> Result<Neighbourhood, Error> {
    let learner = &raw.learner;
    let unused = "belongs to learner.kind = \"gradient\"";
    let network = raw.network.as_ref().map(|network| network.kind.clone());
    let rate = learner.learning_rate.map(|rate| rate.to_string());
    for (key, written) in [
        ("network.kind", network),
        ("learner.optimizer", learner.optimizer.clone()),
        ("learner.learning_rate", rate),
        (
            "learner.examples_per_update",
            learner.examples_per_update.map(|n| n.to_string()),
        ),
    ] {
        written.map_or(Ok(()), |written| Err(value(key, written, unused)))?;
    }
    Ok(Neighbourhood {
        examples: within("learner.examples", learner.examples, 5000, 1..=1_000_000)? as usize,
        nearest: within("learner.nearest", learner.nearest, 10, 1..=1000)? as usize,
    })
}

fn gradient(raw: &Raw) -> Result<Gradient, Error> {
    let learner = &raw.learner;
    let optimizer = match learner.optimizer.as_deref().unwrap_or("sgd") {
        "sgd" => Optimizer::Sgd,
        "adamw" => Optimizer::AdamW,
        other => return Err(one_of("learner.optimizer", other, "sgd or adamw")),
    };
    let rate = learner.learning_rate.unwrap_or(match optimizer {
        // Among 0.0003 to 0.3, the best for the digits example on the first 4,000 images of MNIST
        // (0.03 and 0.05 were alike for sgd).
        Optimizer::Sgd => 0.05,
        Optimizer::AdamW => 0.001,
    });
    if !(rate > 0.0 && rate <= 10.0) {
        return Err(value(
            "learner.learning_rate",
            rate,
            "larger than 0, at most 10",
        ));
    }
    Ok(Gradient {
        hidden: hidden(raw.network.as_ref())?,
        optimizer,
        learning_rate: rate as f32,
        examples_per_update: within(
            "learner.examples_per_update",
            learner.examples_per_update,
            1,
            1..=4096,
        )? as usize,
    })
}

fn hidden(network: Option<&RawNetwork>) -> Result<Vec<usize>, Error> {
    let Some(network) = network else {
        return Ok(Vec::new());
    };
    let widths = &network.hidden;
    let allowed = match network.kind.as_str() {
        "linear" if widths.is_empty() => return Ok(Vec::new()),
        "linear" => "a linear network has none",
        "mlp" if widths.is_empty() || widths.len() > 8 => "1 to 8 widths, as in [256, 256]",
        "mlp" if widths.iter().any(|width| !(1..=8192).contains(width)) => "widths of 1 to 8192",
        "mlp" => return Ok(widths.iter().map(|width| *width as usize).collect()),
        other => return Err(one_of("network.kind", other, "linear or mlp")),
    };
    Err(value("network.hidden", format!("{widths:?}"), allowed))
}

pub(super) fn memory(raw: &Raw) -> Result<Memory, Error> {
    let memory = &raw.memory;
    let auto = !matches!(raw.learner.kind.as_deref(), Some("gradient"));
    let sizes = [memory.short_term, memory.long_term, memory.replay];
    let written = memory.strategy.is_some() || sizes.iter().any(Option::is_some);
    if auto && written {
        let instead = "under learner.kind = \"auto\" leave [memory] out";
        return Err(unavailable("memory", "{ .. }", instead));
    }
    let strategy = match memory.strategy.as_deref() {
        None if auto => Strategy::None,
        None | Some("er") => Strategy::Er,
        Some("none") => Strategy::None,
        Some("er-ace") => Strategy::ErAce,
        Some("der++") => Strategy::DerPlusPlus,
        Some("cls-er") => Strategy::ClsEr,
        Some(other) => {
            let names = "none, er, er-ace, der++ or cls-er";
            return Err(one_of("memory.strategy", other, names));
        }
    };
    Ok(Memory {
        strategy,
        short_term: within("memory.short_term", memory.short_term, 500, 0..=1_000_000)? as usize,
        long_term: within("memory.long_term", memory.long_term, 5000, 1..=1_000_000)? as usize,
        replay: within("memory.replay", memory.replay, 32, 1..=4096)? as usize,
    })
}
