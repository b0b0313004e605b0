//! From the text of a model.toml to a [`Spec`]: the keys as they are written, then the checks.

mod costs;
mod drift;
mod inputs;
mod journal;
mod learner;
mod monitor;
pub(super) mod named;
mod ordered;
mod output;
mod pins;
mod publish;
mod quarantine;
mod raw;
mod retrain;
mod rewards;
mod series;
mod sources;
mod values;
mod written;

use std::collections::BTreeSet;

use super::description::Spec;
use super::error::Error;
use super::input::PinnedFile;
use super::keys::NAMES_MAX;
use super::learning::LearnerKind;
use super::limits::{Cadence, OrderedLimits};
use super::revision::REVISION;
use super::rows::{RowFormat, encoding_named};
use super::task::Task;
use costs::costs;
use inputs::inputs;
use journal::{apply, journal};
use learner::{learner, memory};
use named::{NamedFiles, device, named, pin};
use ordered::{carry, order};
use publish::publish;
use raw::{Raw, raw};
use rewards::{exposure_floor, policy, rewards};
use values::{count, count_or, not_here, refused, unknown, value};

impl Spec {
    /// Reads and checks a model.toml; without a stated revision it is of the newest one.
    ///
    /// ```
    /// let spec = perennial::model::Spec::parse(r#"
    ///     task = "regression"
    ///     [[input]]
    ///     name = "temperature"
    ///     kind = "number"
    /// "#)?;
    /// assert_eq!(spec.inputs[0].name, "temperature");
    /// # Ok::<(), perennial::model::SpecError>(())
    /// ```
    ///
    /// # Errors
    /// One sentence that names key, value and the allowed ones.
    pub fn parse(toml: &str) -> Result<Spec, Error> {
        parse(toml, REVISION)
    }

    /// The description as it stands in a journal: without a stated revision it is of the first one.
    ///
    /// # Errors
    /// As [`Spec::parse`].
    pub fn journaled(toml: &str) -> Result<Spec, Error> {
        parse(toml, 1)
    }

    /// The files that the text of a model.toml names.
    ///
    /// # Errors
    /// As [`Spec::parse`], of the parts that name files.
    pub fn named(toml: &str) -> Result<NamedFiles, Error> {
        named(toml)
    }

    /// The text of a model.toml as a journal holds it: with the files that it names pinned, and
    /// with `revision` where it states none.
    pub fn pin(toml: &str, pins: &[PinnedFile], revision: u32) -> String {
        pin(toml, pins, revision)
    }

    /// The text of a description with limits that an operator orders, which hold in place of those
    /// of its author.
    ///
    /// # Errors
    /// When the text is no description; limits that cannot be are found by [`Spec::journaled`].
    pub(crate) fn order_limits(toml: &str, limits: &OrderedLimits) -> Result<String, Error> {
        order(toml, limits)
    }

    /// The text of a description with the limits that were ordered for the `journaled` one, unless
    /// its author has changed the same limits since.
    pub(crate) fn carry_limits(journaled: &str, toml: &str) -> String {
        carry(journaled, toml)
    }
}

/// The description, under the revision `absent` where it states none.
fn parse(text: &str, absent: u32) -> Result<Spec, Error> {
    let raw = raw(text)?;
    let spec = spec(&raw, absent)?;
    learner::check_keep(&raw.learner, &spec)?;
    Ok(spec)
}

/// The description in these tables, under the revision `absent` where they state none.
fn spec(raw: &Raw, absent: u32) -> Result<Spec, Error> {
    let inputs = inputs(&raw.input, &raw.pinned)?;
    let network = raw.network.as_ref();
    let learner = learner(&raw.learner, network, &raw.pinned)?;
    let policy = policy(&raw.task, raw.policy.as_ref())?;
    if policy.needs_posterior() && !matches!(learner, LearnerKind::Analytic(_)) {
        let kind = raw.policy.as_ref().map_or("", |policy| policy.kind());
        let needs = "only learner.kind = \"analytic\" has the posterior that it needs";
        return Err(value("policy.kind", format!("{kind:?}"), needs));
    }
    let revision = count_or("rules.revision", raw.rules.revision, || absent.into())? as u32;
    let drift = drift::drift(&raw.drift, revision)?;
    let (task, series) = (task(raw)?, series::series(&raw.series, &inputs)?);
    series::check(&raw.series, &task, &learner, revision)?;
    let retrain = retrain::retrain(&raw.retrain, &task, drift)?;
    let monitor = monitor::monitor(&raw.monitor, &inputs, revision)?;
    let rows = rows(&raw.rows, &task)?;
    let exposure_floor = exposure_floor(&task, raw.policy.as_ref())?;
    let budget = sources::budget(&raw.sources, revision)?;
    let publish = publish(&raw.publish, &inputs, revision)?;
    Ok(Spec {
        datatype: output::datatype(&raw.output, &task, revision)?,
        task,
        inputs,
        series,
        learner,
        costs: costs(raw, revision)?,
        memory: memory(&raw.memory, &raw.learner)?,
        policy,
        exposure_floor,
        rewards: rewards(&raw.task, &raw.feedback, revision)?,
        publish,
        weight_max: sources::weight_max(raw.feedback.weight_max, budget.as_ref(), revision)?,
        budget,
        quarantine: quarantine::quarantine(&raw.quarantine, revision)?,
        waiting_max: count("feedback.waiting_max", raw.feedback.waiting_max)? as usize,
        cadence: Cadence {
            examples: count("versions.every_examples", raw.versions.every_examples)?,
            keep: count("versions.keep", raw.versions.keep)? as usize,
        },
        retrain,
        drift,
        monitor,
        device: device(&raw.backend)?,
        journal: journal(&apply(&raw.journal, &raw.ordered), revision)?,
        rows,
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

/// The reading of files; the reader checks the name of a key.
fn rows(rows: &RowFormat, task: &Task) -> Result<RowFormat, Error> {
    if let Some(separator) = rows.separator.as_deref()
        && separator.chars().count() != 1
    {
        return Err(unknown("rows.separator", separator));
    }
    for (key, written, words) in [
        ("rows.decimals", &rows.decimals, ["point", "comma"]),
        ("rows.percent", &rows.percent, ["points", "fraction"]),
    ] {
        if let Some(other) = written.as_deref().filter(|word| !words.contains(word)) {
            return Err(unknown(key, other));
        }
    }
    if let Some(encoding) = rows.encoding.as_deref()
        && encoding_named(encoding).is_none()
    {
        return Err(unknown("rows.encoding", encoding));
    }
    let mut rows = rows.clone();
    // The default is the same as nothing.
    rows.header = rows.header.filter(|has_header| !has_header);
    let named = task.names();
    let may_grow = matches!(task, Task::Classification { classes, classes_max } if *classes_max > classes.len());
    let is_named = |label: &String| may_grow || named.contains(label);
    if let Some((text, label)) = rows.labels.iter().find(|(_, label)| !is_named(label)) {
        let allowed = match task {
            Task::Regression => "nothing: a regression has no labels".to_owned(),
            Task::Classification { .. } => "one of the classes".to_owned(),
            Task::Bandit { .. } => "one of the actions".to_owned(),
        };
        return Err(value(
            &format!("rows.labels.{text:?}"),
            format!("{label:?}"),
            allowed,
        ));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::super::{Datatype, InputKind, Keep, Strategy};
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
    fn spellings_are_of_labels_that_there_are() {
        let check = |head: &str, label: &str, expected: Option<&str>| {
            let input = "[[input]]\nname = \"x\"\nkind = \"number\"";
            let text = format!("{head}\n{input}\n[rows.labels]\n\"B \" = \"{label}\"\n");
            let error = parse(&text).err().map(|error| error.to_string());
            let is_as_expected = match (&error, expected) {
                (Some(error), Some(expected)) => error.contains(expected),
                (error, expected) => error.is_none() && expected.is_none(),
            };
            assert!(is_as_expected, "{error:?}");
        };
        let classes = "task = \"classification\"\nclasses = [\"a\", \"b\"]";
        check(classes, "b", None);
        check(classes, "c", Some("one of the classes"));
        check(&format!("{classes}\nclasses_max = 3"), "c", None);
        check(
            "task = \"regression\"",
            "b",
            Some("a regression has no labels"),
        );
        let actions = "task = \"bandit\"\nactions = [\"a\", \"b\"]";
        check(actions, "b", None);
        check(actions, "c", Some("one of the actions"));
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
                standardise: true,
                shape: None
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
        check(
            "colour = \"red\"\n",
            "line 6: [[input]] has no key \"colour\"; expected name, kind",
        );
        check("encoder = \"minilm\"\n", "only a text or a vector has it");
        check(
            "[backend]\ndevice = \"gpu\"\n",
            "backend.device = \"gpu\": expected a text in quotes: \"cpu\", \"cuda:0\" to \
             \"cuda:63\", or \"candle\"",
        );
        check("[learner]\nspeed = 1\n", "[learner] has no key \"speed\"");
        check(
            "missing = \"zero\"\n",
            "input \"x\": missing = \"zero\": a number has missing = \"mean\"",
        );
        check(
            "missing = \"empty\"\n",
            "input \"x\": missing = \"empty\": a number has missing = \"mean\"",
        );
        check(
            "[[input]]\nname = \"y\"\nkind = \"category\"\nmissing = \"mean\"\n",
            "input \"y\": missing = \"mean\": a category has missing = \"empty\"",
        );
        check(
            "[[input]]\nname = \"y\"\nkind = \"vector\"\nlength = 2\nmissing = \"mean\"\n",
            "input \"y\": missing = \"mean\": a vector has no missing",
        );
        check(
            "[rows]\nencoding = \"klingon\"\n",
            "rows.encoding = \"klingon\": expected ",
        );
        check(
            "[rows]\nseparator = \";;\"\n",
            "rows.separator = \";;\": expected a text in quotes: one character",
        );
        check("length = 4\n", "only a vector has a length");
        check(
            "[[input]]\nname = \"x\"\nkind = \"text\"\n",
            "no name twice",
        );
        check(
            "[[input]]\nname = \"y\"\nkind = \"picture\"\n",
            "expected \"number\", \"time\", \"category\"",
        );
        check(
            "[[input]]\nname = \"y\"\nkind = \"vector\"\n",
            "length = 0: expected a whole number of values from 1 to 65536",
        );
        check(
            "[learner]\nkind = \"forest\"\n",
            "expected \"auto\", \"gradient\", \"analytic\" or \"neighbours\"",
        );
        let analytic = |keys: &str| format!("[learner]\nkind = \"analytic\"\n{keys}\n");
        check(&analytic("learning_rate = 1"), "belongs to learner.kind");
        check(&analytic("features = 16385"), "0 to 16384");
        check(&analytic("forgetting = 0.9"), "larger than 0.9");
        check(&analytic("ridge = 0"), "larger than 0");
        let neighbours = |keys: &str| format!("[learner]\nkind = \"neighbours\"\n{keys}\n");
        check(&neighbours("learning_rate = 1"), "belongs to learner.kind");
        check(&neighbours("ridge = 1"), "belongs to learner.kind");
        check(&neighbours("nearest = 0"), "from 1 to 1000");
        check("[learner]\nnearest = 9\n", "belongs to learner.kind");
        check("[learner]\nfeatures = 9\n", "belongs to learner.kind");
        check("[learner]\nlearning_rate = 1\n", "belongs to learner.kind");
        check(
            "[network]\nkind = \"mlp\"\nhidden = [4]\n",
            "network.kind = \"mlp\": only learner.kind = \"gradient\" has it",
        );
        check(
            "[memory]\nreplay = 3\n",
            "memory.replay = 3: only learner.kind = \"gradient\" has it",
        );
        check(
            "[publish]\npolicy = \"gated\"\n[rules]\nrevision = 2\n",
            "publish.policy = \"gated\": it needs rules.revision = 3",
        );
        check(
            "[publish]\npolicy = \"dead\"\n",
            "expected \"live\", \"gated\" or \"manual\"",
        );
        check(
            "[publish]\ncanary = 0.1\n",
            "publish.canary = 0.1: under publish.policy = \"live\" the candidate answers",
        );
        check(
            "[publish]\npolicy = \"gated\"\ncanary = 0.6\n",
            "publish.canary = 0.6: expected a number from 0 to 0.5",
        );
        check(
            "[publish]\nmargin = 0.7\n",
            "publish.margin = 0.7: expected a number from 0 to 0.5",
        );
        check(
            "[publish]\nalpha = 0\n",
            "publish.alpha = 0: expected a number larger than 0, at most 0.5",
        );
        check(
            "[feedback]\nwindow_s = 0\n",
            "feedback.window_s = 0: expected a whole number of seconds from 1 to",
        );
        check(
            "[journal]\nbytes_max = \"1MB\"\n",
            "journal.bytes_max = \"1MB\": ",
        );
        check("[journal]\nbytes_max = \"1MiB\"\n", "at least 16MiB");
        check("[journal]\nreserve = \"11GiB\"\n", "at most half of");
        check("[journal]\nage_max = \"1y\"\n", "as in \"90d\"");
        check(
            "[journal]\nretract_within = \"99999d\"\n",
            "journal.retract_within = \"99999d\": expected a time of at most 36500d",
        );
        let gradient = "[learner]\nkind = \"gradient\"\n";
        let check = |extra: &str, message: &str| check(&format!("{gradient}{extra}"), message);
        check("learning_rate = nan\n", "larger than 0");
        check("optimizer = \"magic\"\n", "\"sgd\" or \"adamw\"");
        check("[network]\nkind = \"mlp\"\n", "1 to 8 widths");
        check("[network]\nkind = \"linear\"\nhidden = [3]\n", "has none");
        check("[memory]\nstrategy = \"ewc\"\n", "\"der++\" or \"cls-er\"");
        check(
            "[memory]\nlong_term = 0\n",
            "memory.long_term = 0: expected a whole number of examples from 1 to",
        );
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
            error.contains(&format!(
                "rules.revision = {}: expected a whole number from 1 to",
                REVISION + 1
            )),
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
    fn an_image_is_filtered_from_the_third_revision_on() {
        let at = |shape: &str, revision| {
            let vector = format!("name = \"v\"\nkind = \"vector\"\nlength = 4\n{shape}");
            let text = format!(
                "task = \"regression\"\n[[input]]\n{vector}[learner]\nkind = \"analytic\"\n"
            );
            super::parse(&text, revision).unwrap()
        };
        let image = "shape = [2, 2]\n";
        let refused = Err(Error::Shape("rules.revision"));
        assert_eq!(at(image, 2).check_change(&at(image, 3)), refused);
        assert_eq!(at("", 2).check_change(&at("", 3)), Ok(()));
    }

    #[test]
    fn values_are_wide_under_the_third_revision_or_as_is_written() {
        let regression = "task = \"regression\"\n[[input]]\nname = \"x\"\nkind = \"number\"\n";
        let check = |written: &str, revision, expected| {
            let text = format!("{regression}{written}");
            assert_eq!(super::parse(&text, revision).unwrap().datatype, expected);
        };
        check("", 1, Datatype::Fp32);
        check("", 2, Datatype::Fp32);
        check("", 3, Datatype::Fp64);
        check("[output]\ndatatype = \"FP64\"\n", 2, Datatype::Fp64);
        check("[output]\ndatatype = \"FP32\"\n", 3, Datatype::Fp32);
        let error = |text: &str| parse(text).unwrap_err().to_string();
        let unknown = error(&format!("{regression}[output]\ndatatype = \"FP16\"\n"));
        assert_eq!(
            unknown,
            "output.datatype = \"FP16\": expected \"FP32\" or \"FP64\""
        );
        let other = error(&format!("{SHORT}[output]\ndatatype = \"FP64\"\n"));
        assert_eq!(
            other,
            "output.datatype = \"FP64\": only a regression has it"
        );
    }

    #[test]
    fn p9_a_series_needs_a_key_column_and_a_regression() {
        let regression = "task = \"regression\"\n[[input]]\nname = \"store\"\nkind = \"category\"\n\
            [[input]]\nname = \"note\"\nkind = \"text\"\n";
        let check = |text: &str, message: &str| {
            let error = parse(text).unwrap_err().to_string();
            assert_eq!(error, message, "{text}");
        };
        let key = |name: &str| format!("{regression}[series]\nkey = \"{name}\"\n");
        let spec = parse(&key("store")).unwrap();
        assert_eq!((spec.series.key, spec.series.keys_max), (Some(0), 1024));
        for name in ["shop", "note"] {
            let what =
                format!("series.key = \"{name}\": the name of an input that is a category or");
            check(&key(name), &format!("{what} a number"));
        }
        let many = format!("{}keys_max = 0\n", key("store"));
        check(
            &many,
            "series.keys_max = 0: expected a whole number of series from 1 to 65536",
        );
        let only = "only a regression by learner.kind = \"auto\" under rules.revision = 3 has it";
        let other = format!("{SHORT}[series]\nkey = \"x\"\n");
        check(&other, &format!("series.key = \"x\": {only}"));
        for more in [
            "[rules]\nrevision = 2\n",
            "[learner]\nkind = \"analytic\"\n",
        ] {
            let other = format!("{}{more}", key("store"));
            check(&other, &format!("series.key = \"store\": {only}"));
        }
        // Another key is another past.
        let without = parse(regression).unwrap();
        assert_eq!(spec.check_change(&without), Err(Error::Shape("series")));
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
