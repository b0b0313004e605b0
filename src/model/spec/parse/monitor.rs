//! The table `[monitor]`.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::values::{count, not_here, refused, time_above};
use crate::model::spec::error::Error;
use crate::model::spec::input::{Input, InputKind};
use crate::model::spec::monitor::MonitorSettings;
use crate::model::spec::revision::RETAINS;

/// Inputs at most, and tags.
const KEYS_MAX: usize = 8;
/// Bytes of the name of a tag.
const NAME_BYTES_MAX: usize = 128;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMonitor {
    inputs: Option<Vec<String>>,
    tags: Option<Vec<String>>,
    sources: Option<bool>,
    values_max: Option<u64>,
    window: Option<u64>,
    silence_after: Option<String>,
    stale_after: Option<String>,
}

/// The settings, checked against the inputs.
pub(super) fn monitor(
    raw: &RawMonitor,
    inputs: &[Input],
    revision: u32,
) -> Result<MonitorSettings, Error> {
    if revision < RETAINS {
        let of = format!("a model under rules.revision = {RETAINS}");
        not_here("monitor.inputs", &raw.inputs, &of)?;
        not_here("monitor.tags", &raw.tags, &of)?;
        not_here("monitor.sources", &raw.sources, &of)?;
        not_here("monitor.values_max", &raw.values_max, &of)?;
        not_here("monitor.window", &raw.window, &of)?;
        not_here("monitor.silence_after", &raw.silence_after, &of)?;
        not_here("monitor.stale_after", &raw.stale_after, &of)?;
    }
    let names = raw.inputs.as_deref().unwrap_or_default();
    let place = |name: &String| {
        let kind =
            |kind: &InputKind| matches!(kind, InputKind::Category | InputKind::Number { .. });
        let mut inputs = inputs.iter();
        let place = inputs.position(|input| input.name == *name && kind(&input.kind));
        place.ok_or_else(|| refused("monitor.inputs", format!("{names:?}")))
    };
    let places: Vec<usize> = names.iter().map(place).collect::<Result<_, _>>()?;
    let tags = raw.tags.clone().unwrap_or_default();
    let is_name = |tag: &String| (1..=NAME_BYTES_MAX).contains(&tag.len());
    if has_twice(names) || names.len() > KEYS_MAX {
        return Err(refused("monitor.inputs", format!("{names:?}")));
    }
    if has_twice(&tags) || tags.len() > KEYS_MAX || !tags.iter().all(is_name) {
        return Err(refused("monitor.tags", format!("{tags:?}")));
    }
    Ok(MonitorSettings {
        inputs: places,
        tags,
        sources: raw.sources.unwrap_or(false),
        values_max: count("monitor.values_max", raw.values_max)? as usize,
        window: count("monitor.window", raw.window)?,
        silence_after_s: time_above("monitor.silence_after", raw.silence_after.as_deref())?,
        stale_after_s: time_above("monitor.stale_after", raw.stale_after.as_deref())?,
    })
}

fn has_twice(names: &[String]) -> bool {
    names.iter().collect::<BTreeSet<_>>().len() < names.len()
}

#[cfg(test)]
mod tests {
    use crate::model::Spec;

    #[test]
    fn p9_slices_are_of_inputs_that_have_values_and_of_tags() {
        let inputs = "task = 'regression'\n[[input]]\nname = 'country'\nkind = 'category'\n\
                      [[input]]\nname = 'note'\nkind = 'text'\n";
        let parse = |keys: &str| Spec::parse(&format!("{inputs}[monitor]\n{keys}\n"));
        let monitor = parse("inputs = ['country']\ntags = ['team']")
            .expect("it is sound")
            .monitor;
        assert_eq!(
            (monitor.inputs, monitor.tags),
            (vec![0], vec!["team".to_owned()])
        );
        assert_eq!((monitor.values_max, monitor.window), (20, 2000));
        let check = |keys: &str, message: &str| {
            let error = parse(keys).expect_err("it is refused").to_string();
            assert_eq!(error, message, "{keys}");
        };
        let list = "expected a list: at most 8 names of inputs that are a category or a number, none \
                    twice";
        check(
            "inputs = ['note']",
            &format!("monitor.inputs = [\"note\"]: {list}"),
        );
        check(
            "inputs = ['country', 'country']",
            &format!("monitor.inputs = [\"country\", \"country\"]: {list}"),
        );
        check(
            "tags = ['']",
            "monitor.tags = [\"\"]: expected a list: at most 8 names of 1 to 128 bytes, none twice",
        );
        check(
            "silence_after = '0s'",
            "monitor.silence_after = \"0s\": expected a time above 0",
        );
        let quiet = parse("silence_after = '1h'\nstale_after = '2d'").expect("it is sound");
        let quiet = quiet.monitor;
        assert_eq!(
            (quiet.silence_after_s, quiet.stale_after_s),
            (Some(3600), Some(2 * 86_400))
        );
        check(
            "values_max = 0",
            "monitor.values_max = 0: expected a whole number of values from 1 to 1000",
        );
        let old = format!("{inputs}[monitor]\nwindow = 100\n[rules]\nrevision = 2\n");
        let error = Spec::parse(&old).expect_err("it is refused").to_string();
        let of = "only a model under rules.revision = 3 has it";
        assert_eq!(error, format!("monitor.window = 100: {of}"));
    }
}
