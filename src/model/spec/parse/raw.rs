//! The keys of a model.toml as they are written.
//!
//! Invariant: an unknown key, and a value of the wrong type, is refused with its line.

use serde::Deserialize;

use super::drift::RawDrift;
use super::inputs::RawInput;
use super::journal::RawJournal;
use super::learner::{RawLearner, RawMemory, RawNetwork};
use super::monitor::RawMonitor;
use super::output::RawOutput;
use super::pins::Pins;
use super::quarantine::RawQuarantine;
use super::retrain::RawRetrain;
use super::rewards::{RawFeedback, RawPolicy};
use super::series::RawSeries;
use super::sources::RawSources;
use super::written::{first_fault, missing as missing_key, single_brackets};
use crate::model::spec::error::Error;
use crate::model::spec::limits::OrderedLimits;
use crate::model::spec::rows::RowFormat;

/// The tables of a model.toml.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) task: String,
    pub(super) classes: Option<Vec<String>>,
    pub(super) actions: Option<Vec<String>>,
    pub(super) classes_max: Option<u64>,
    pub(super) seed: Option<u64>,
    #[serde(default)]
    pub(super) input: Vec<RawInput>,
    pub(super) network: Option<RawNetwork>,
    #[serde(default)]
    pub(super) learner: RawLearner,
    #[serde(default)]
    pub(super) memory: RawMemory,
    pub(super) policy: Option<RawPolicy>,
    #[serde(default)]
    pub(super) backend: RawBackend,
    #[serde(default)]
    pub(super) publish: RawPublish,
    #[serde(default)]
    pub(super) output: RawOutput,
    #[serde(default)]
    pub(super) drift: RawDrift,
    #[serde(default)]
    pub(super) retrain: RawRetrain,
    #[serde(default)]
    pub(super) monitor: RawMonitor,
    #[serde(default)]
    pub(super) series: RawSeries,
    #[serde(default)]
    pub(super) feedback: RawFeedback,
    #[serde(default)]
    pub(super) sources: RawSources,
    #[serde(default)]
    pub(super) quarantine: RawQuarantine,
    #[serde(default)]
    pub(super) journal: RawJournal,
    #[serde(default)]
    pub(super) versions: RawVersions,
    #[serde(default)]
    pub(super) rows: RowFormat,
    #[serde(default)]
    pub(super) rules: RawRules,
    #[serde(default)]
    pub(super) ordered: OrderedLimits,
    #[serde(default)]
    pub(super) pinned: Pins,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRules {
    pub(super) revision: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBackend {
    pub(super) device: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPublish {
    pub(super) policy: Option<String>,
    pub(super) canary: Option<f64>,
    pub(super) margin: Option<f64>,
    pub(super) alpha: Option<f64>,
    pub(super) retention_margin: Option<f64>,
    pub(super) every_examples: Option<u64>,
    pub(super) score_every: Option<u64>,
    pub(super) freeze_within: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawVersions {
    pub(super) every_examples: Option<u64>,
    pub(super) keep: Option<u64>,
}

/// The keys as they are written.
pub(super) fn raw(text: &str) -> Result<Raw, Error> {
    toml::from_str(text).map_err(|error| refusal(text, &error))
}

fn refusal(text: &str, error: &toml::de::Error) -> Error {
    let start = error.span().map_or(0, |span| span.start);
    let line_start = text[..start].rfind('\n').map_or(0, |end| end + 1);
    let message = error.message().replace('\n', " ");
    let missing = message.strip_prefix("missing field `");
    let missing = missing.and_then(|field| missing_key(field.trim_end_matches('`')));
    let (start, what) = match (first_fault(text), missing) {
        (Some(fault), _) => fault,
        (None, Some(what)) => (start, what),
        (None, None) => {
            let what = single_brackets(&text[line_start..]);
            (start, what.map_or(message, str::to_owned))
        }
    };
    Error::Toml {
        line: 1 + text[..start].matches('\n').count(),
        what,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::spec::keys::KEYS;

    /// The parser lists the keys of a table when it refuses another.
    #[test]
    fn the_table_and_the_parser_have_the_same_keys() {
        let check = |table: &str, toml: &str| {
            let refusal = toml::from_str::<Raw>(toml)
                .err()
                .map(|error| error.to_string());
            let refusal = refusal.unwrap_or_default();
            let (_, listed) = refusal.split_once("expected ").expect(&refusal);
            let listed: BTreeSet<&str> = listed.split('`').skip(1).step_by(2).collect();
            let known = KEYS.iter().filter_map(|key| key.name.strip_prefix(table));
            let known = known.filter_map(|rest| rest.split('.').next());
            let of_program = ["ordered", "pinned"]
                .into_iter()
                .filter(|_| table.is_empty());
            let known: BTreeSet<&str> = known.chain(of_program).collect();
            assert_eq!(known, listed, "{table}: {refusal}");
        };
        let input = "[[input]]\nname = 'x'\nkind = 'text'\n";
        check("", "colour = 'red'");
        check("input.", &format!("{input}colour = 'red'"));
        check(
            "input.adapters.",
            &format!("{input}adapters = {{ colour = 1 }}"),
        );
        check(
            "feedback.signals.NAME.",
            "[feedback.signals]\nclick = { colour = 1 }",
        );
        for table in KEYS.iter().filter_map(|key| key.name.split_once('.')) {
            let table = table.0;
            if table != "input" {
                check(&format!("{table}."), &format!("[{table}]\ncolour = 'red'"));
            }
        }
    }
}
