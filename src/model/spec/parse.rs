//! From the text of a model.toml to a [`Spec`]: the keys as they are written, then the checks.

mod inputs;
mod learner;
mod ordered;
mod pinned;
mod rewards;
mod values;

use std::collections::BTreeSet;

use serde::Deserialize;

use super::keys::NAMES_MAX;
use super::{Cadence, Device, Error, JournalLimits, Key, LearnerKind, Policy, Spec, Task};
use inputs::{RawInput, inputs};
use learner::{RawLearner, RawMemory, RawNetwork, learner, memory};
pub use ordered::OrderedLimits;
pub(super) use ordered::{carry, order};
use pinned::Pins;
pub(crate) use pinned::{Named, NamedEncoder};
pub(super) use pinned::{named, pin};
use rewards::{RawFeedback, RawPolicy, policy, rewards};
use values::{
    bytes, count, count_or, not_here, refused, size, time, unavailable, unknown, value, word,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    task: String,
    classes: Option<Vec<String>>,
    actions: Option<Vec<String>>,
    classes_max: Option<u64>,
    seed: Option<u64>,
    #[serde(default)]
    input: Vec<RawInput>,
    network: Option<RawNetwork>,
    #[serde(default)]
    learner: RawLearner,
    #[serde(default)]
    memory: RawMemory,
    policy: Option<RawPolicy>,
    #[serde(default)]
    backend: RawBackend,
    #[serde(default)]
    publish: RawPublish,
    #[serde(default)]
    feedback: RawFeedback,
    #[serde(default)]
    journal: RawJournal,
    #[serde(default)]
    versions: RawVersions,
    #[serde(default)]
    rules: RawRules,
    #[serde(default)]
    ordered: OrderedLimits,
    #[serde(default)]
    pinned: Pins,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRules {
    revision: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBackend {
    device: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPublish {
    policy: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawJournal {
    bytes_max: Option<String>,
    reserve: Option<String>,
    age_max: Option<String>,
    retract_within: Option<String>,
    lag_max: Option<u64>,
    ids_max: Option<u64>,
    ids_bytes_max: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVersions {
    every_examples: Option<u64>,
    keep: Option<u64>,
}

/// The keys as they are written.
fn raw(text: &str) -> Result<Raw, Error> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let message = error.message().replace('\n', " ");
        let what = match wrong_type(text, start) {
            Some(what) if message.starts_with("invalid type") => what,
            _ => message,
        };
        Error::Toml {
            line: 1 + text[..start].matches('\n').count(),
            what,
        }
    })
}

/// The key on the line of a value of the wrong type, with the values that the table allows.
fn wrong_type(text: &str, start: usize) -> Option<String> {
    let line_start = text[..start].rfind('\n').map_or(0, |end| end + 1);
    let (key, written) = text[line_start..].lines().next()?.split_once('=')?;
    let mut earlier = text[..line_start].lines().rev();
    let table = earlier.find_map(|line| line.trim().strip_prefix('['));
    let table = table.map_or("", |table| table.trim_matches(['[', ']']));
    let name = format!("{table}.{}", key.trim());
    let key = Key::find(name.trim_start_matches('.'))?;
    let name = name.trim_start_matches('.');
    Some(format!("{name} = {}: {}", written.trim(), key.values))
}

/// The description, under the revision `absent` where it states none.
pub(super) fn parse(text: &str, absent: u32) -> Result<Spec, Error> {
    let raw = raw(text)?;
    publish(&raw.publish)?;
    let inputs = inputs(&raw)?;
    let (learner, policy) = (learner(&raw)?, policy(&raw)?);
    if policy.needs_posterior() && !matches!(learner, LearnerKind::Analytic(_)) {
        let kind = raw.policy.as_ref().map_or("", |policy| policy.kind());
        let needs = "only learner.kind = \"analytic\" has the posterior that it needs";
        return Err(value("policy.kind", format!("{kind:?}"), needs));
    }
    let revision = count_or("rules.revision", raw.rules.revision, || absent.into())? as u32;
    Ok(Spec {
        task: task(&raw)?,
        inputs,
        learner,
        memory: memory(&raw)?,
        policy,
        rewards: rewards(&raw, revision)?,
        waiting_max: count("feedback.waiting_max", raw.feedback.waiting_max)? as usize,
        cadence: Cadence {
            examples: count("versions.every_examples", raw.versions.every_examples)?,
            keep: count("versions.keep", raw.versions.keep)? as usize,
        },
        device: device(&raw)?,
        journal: journal(&ordered::apply(&raw.journal, &raw.ordered), revision)?,
        seed: count("seed", raw.seed)?,
        revision,
    })
}

fn task(raw: &Raw) -> Result<Task, Error> {
    let named = |key: &str, names: &Option<Vec<String>>| -> Result<Vec<String>, Error> {
        let names = names.clone().unwrap_or_default();
        let unique: BTreeSet<_> = names.iter().collect();
        if names.is_empty() || names.len() as u64 > NAMES_MAX || unique.len() < names.len() {
            return Err(refused(key, format!("{} names", names.len())));
        }
        Ok(names)
    };
    let unused = |key: &str, names: &Option<Vec<String>>| match names {
        None => Ok(()),
        Some(names) => Err(value(
            key,
            format!("{} names", names.len()),
            format!("does not belong to task {:?}", raw.task),
        )),
    };
    if raw.task != "classification" {
        not_here("classes_max", &raw.classes_max, "a classification")?;
    }
    match raw.task.as_str() {
        "classification" => {
            unused("actions", &raw.actions)?;
            let classes = named("classes", &raw.classes)?;
            let n_classes = classes.len() as u64;
            let classes_max = count_or("classes_max", raw.classes_max, || n_classes)?;
            if classes_max < n_classes {
                let allowed = format!("{n_classes} to {NAMES_MAX}");
                return Err(value("classes_max", classes_max, allowed));
            }
            Ok(Task::Classification {
                classes,
                classes_max: classes_max as usize,
            })
        }
        "regression" => {
            unused("classes", &raw.classes)?;
            unused("actions", &raw.actions)?;
            Ok(Task::Regression)
        }
        "bandit" => {
            unused("classes", &raw.classes)?;
            let actions = named("actions", &raw.actions)?;
            Ok(Task::Bandit { actions })
        }
        other => Err(unknown("task", other)),
    }
}

fn device(raw: &Raw) -> Result<Device, Error> {
    let key = Key::named("backend.device");
    let written = raw.backend.device.as_deref().unwrap_or(key.default);
    Device::parse(written).ok_or_else(|| unknown(key.name, written))
}

fn publish(publish: &RawPublish) -> Result<(), Error> {
    match word("publish.policy", publish.policy.as_deref()) {
        "live" => Ok(()),
        later @ ("gated" | "manual") => Err(unavailable("publish.policy", later, "take \"live\"")),
        other => Err(unknown("publish.policy", other)),
    }
}

fn journal(raw: &RawJournal, revision: u32) -> Result<JournalLimits, Error> {
    let bytes_max = size("journal.bytes_max", raw.bytes_max.as_deref())?;
    let reserve = match raw.reserve.as_deref() {
        None => bytes_max / 16,
        Some(written) => bytes(written)
            .filter(|reserve| *reserve <= bytes_max / 2)
            .ok_or_else(|| refused("journal.reserve", written))?,
    };
    // The first revision knows no more than these: the others would be refused.
    let ids_max = if revision == 1 { 1_000_000 } else { 250_000 };
    Ok(JournalLimits {
        bytes_max,
        reserve,
        age_max_s: time("journal.age_max", raw.age_max.as_deref())?,
        retract_within_s: time("journal.retract_within", raw.retract_within.as_deref())?,
        lag_max: count("journal.lag_max", raw.lag_max)?,
        ids_max: count_or("journal.ids_max", raw.ids_max, || ids_max)? as usize,
        ids_bytes_max: size("journal.ids_bytes_max", raw.ids_bytes_max.as_deref())?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{InputKind, Keep, REVISION, Strategy};
    use super::*;

    fn parse(text: &str) -> Result<Spec, Error> {
        super::parse(text, REVISION)
    }

    const SHORT: &str = "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
                         [[input]]\nname = \"x\"\nkind = \"number\"\n";

    #[test]
    fn the_short_form_works() {
        let spec = parse(SHORT).unwrap();
        assert_eq!(spec.learner, LearnerKind::Auto(Keep::Balanced));
        assert_eq!(spec.task.index("b"), Some(1));
        assert_eq!(spec.journal.bytes_max, 20 << 30);
        assert_eq!(spec.journal.reserve, (20 << 30) / 16);
        assert_eq!(spec.journal.segment_bytes(), 64 << 20);
        assert_eq!(spec.journal.age_max_s, 365 * 24 * 3600);
        assert_eq!(spec.journal.retract_within_s, 7 * 24 * 3600);
    }

    #[test]
    fn the_long_form_is_read() {
        let text = "task = \"bandit\"\nactions = [\"a\", \"b\"]\nseed = 7\n\
            [[input]]\nname = \"v\"\nkind = \"vector\"\nlength = 3\n\
            [[input]]\nname = \"n\"\nkind = \"number\"\nmissing = \"mean\"\n\
            [network]\nkind = \"mlp\"\nhidden = [16, 8]\n\
            [learner]\nkind = \"gradient\"\noptimizer = \"adamw\"\nlearning_rate = 0.01\n\
            [memory]\nstrategy = \"der++\"\nlong_term = 50\nreplay = 4\n\
            [journal]\nbytes_max = \"64MiB\"\n[versions]\nevery_examples = 5\nkeep = 2\n";
        let spec = parse(text).unwrap();
        assert_eq!(
            spec.inputs[0].kind,
            InputKind::Vector {
                length: 3,
                standardise: true
            }
        );
        assert_eq!(spec.inputs[1].kind, InputKind::Number { gaps: true });
        let LearnerKind::Gradient(gradient) = &spec.learner else {
            panic!("{:?}", spec.learner)
        };
        assert_eq!(gradient.hidden, [16, 8]);
        assert_eq!(spec.memory.strategy, Strategy::DerPlusPlus);
        assert_eq!(spec.journal.bytes_max, 64 << 20);
    }

    #[test]
    fn p9_what_is_wrong_is_named() {
        let check = |extra: &str, message: &str| {
            let error = parse(&format!("{SHORT}{extra}")).unwrap_err().to_string();
            assert!(error.contains(message), "{extra:?} gave {error:?}");
            assert!(!error.contains('\n'), "{error:?}");
        };
        check("colour = \"red\"\n", "line 6: unknown field `colour`");
        check("encoder = \"minilm\"\n", "only a text or a vector has it");
        check(
            "[backend]\ndevice = \"gpu\"\n",
            "backend.device = \"gpu\": take \"cpu\", \"cuda:0\" to \"cuda:63\", or \"candle\"",
        );
        check("[learner]\nspeed = 1\n", "unknown field `speed`");
        check(
            "missing = \"zero\"\n",
            "input \"x\": missing = zero: \"mean\"",
        );
        check("length = 4\n", "only a vector has a length");
        check(
            "[[input]]\nname = \"x\"\nkind = \"text\"\n",
            "no name twice",
        );
        check(
            "[[input]]\nname = \"y\"\nkind = \"picture\"\n",
            "take number, category",
        );
        check(
            "[[input]]\nname = \"y\"\nkind = \"vector\"\n",
            "length = 0: 1 to 65536",
        );
        check(
            "[learner]\nkind = \"forest\"\n",
            "take auto, gradient, analytic or neighbours",
        );
        let analytic = |keys: &str| format!("[learner]\nkind = \"analytic\"\n{keys}\n");
        check(&analytic("learning_rate = 1"), "belongs to learner.kind");
        check(&analytic("features = 16385"), "0 to 16384");
        check(&analytic("forgetting = 0.9"), "larger than 0.9");
        check(&analytic("ridge = 0"), "larger than 0");
        let neighbours = |keys: &str| format!("[learner]\nkind = \"neighbours\"\n{keys}\n");
        check(&neighbours("learning_rate = 1"), "belongs to learner.kind");
        check(&neighbours("ridge = 1"), "belongs to learner.kind");
        check(&neighbours("nearest = 0"), "1 to 1000");
        check("[learner]\nnearest = 9\n", "belongs to learner.kind");
        check("[learner]\nfeatures = 9\n", "belongs to learner.kind");
        check("[learner]\nlearning_rate = 1\n", "belongs to learner.kind");
        check(
            "[network]\nkind = \"mlp\"\nhidden = [4]\n",
            "not available yet",
        );
        check("[memory]\nreplay = 3\n", "not available yet");
        check(
            "[publish]\npolicy = \"gated\"\n",
            "not available yet; take \"live\"",
        );
        check("[publish]\npolicy = \"dead\"\n", "take live");
        check("[feedback]\nwindow_s = 0\n", "feedback.window_s = 0: 1 to");
        check("[journal]\nbytes_max = \"1MB\"\n", "at least 16MiB");
        check("[journal]\nreserve = \"11GiB\"\n", "at most half of");
        check("[journal]\nage_max = \"1y\"\n", "as in \"90d\"");
        check(
            "[journal]\nretract_within = \"99999d\"\n",
            "journal.retract_within = 99999d: a time of at most 36500d",
        );
        let gradient = "[learner]\nkind = \"gradient\"\n";
        let check = |extra: &str, message: &str| check(&format!("{gradient}{extra}"), message);
        check("learning_rate = nan\n", "larger than 0");
        check("optimizer = \"magic\"\n", "sgd or adamw");
        check("[network]\nkind = \"mlp\"\n", "1 to 8 widths");
        check("[network]\nkind = \"linear\"\nhidden = [3]\n", "has none");
        check("[memory]\nstrategy = \"ewc\"\n", "er-ace, der++ or cls-er");
        check("[memory]\nlong_term = 0\n", "memory.long_term = 0: 1 to");
    }

    #[test]
    fn learning_rules_have_a_revision() {
        let check = |text: &str, absent, expected| {
            assert_eq!(
                super::parse(text, absent).unwrap().revision,
                expected,
                "{text}"
            );
        };
        check(SHORT, 1, 1);
        check(SHORT, REVISION, REVISION);
        let stated = format!("{SHORT}[rules]\nrevision = 1\n");
        check(&stated, REVISION, 1);
        let pinned = |text, revision| Spec::pin(text, &[], revision);
        check(&pinned(SHORT, REVISION), 1, REVISION);
        assert_eq!(pinned(SHORT, 1), SHORT);
        assert_eq!(pinned(&stated, REVISION), stated);
        let unknown = format!("{SHORT}[rules]\nrevision = {}\n", REVISION + 1);
        let error = parse(&unknown).unwrap_err().to_string();
        assert!(
            error.contains(&format!("rules.revision = {}: 1 to", REVISION + 1)),
            "{error}"
        );
        let at = |revision| super::parse(SHORT, revision).unwrap();
        let refused = Err(Error::Shape("rules.revision"));
        assert_eq!(at(1).check_change(&at(2)), Ok(()));
        assert_eq!(at(REVISION).check_change(&at(1)), refused);
        // Under the third one `auto` has other members; other kinds go over to it.
        assert_eq!(at(2).check_change(&at(3)), refused);
        let linear = format!("{SHORT}[learner]\nkind = \"gradient\"\n");
        let at = |revision| super::parse(&linear, revision).unwrap();
        assert_eq!(at(1).check_change(&at(3)), Ok(()));
    }

    #[test]
    fn a_change_that_keeps_the_shape_is_taken() {
        let text =
            |rate: &str| format!("{SHORT}[learner]\nkind = \"gradient\"\nlearning_rate = {rate}\n");
        let old = parse(&text("0.1")).unwrap();
        assert_eq!(old.check_change(&parse(&text("0.2")).unwrap()), Ok(()));
        let other = parse(SHORT).unwrap();
        assert_eq!(
            old.check_change(&other),
            Err(Error::Shape("memory.strategy"))
        );
    }
}
