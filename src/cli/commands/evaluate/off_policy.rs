//! Off-policy evaluation: the estimated mean reward of each model's policy on logged decisions.
//!
//! Invariant: a decision enters the estimates before it is learned.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use perennial::engine::LoggedDecision;
use perennial::learn::{Estimate, EvaluatedDecision, OffPolicy};
use perennial::model::Task;
use serde_json::{Map, Value, json};

use crate::cli::interrupt::Interrupt;
use crate::cli::output::print::{self, shown};
use crate::cli::output::progress::RunProgress;
use crate::cli::rows::decisions::LoggedRow;
use crate::cli::rows::quoted;
use crate::cli::run::local_model::LocalModel;
use crate::cli::run::prefetch::Prefetch;
use crate::cli::run::report::CpuClock;
use crate::cli::run::usable::UnusableRows;

/// The effective sample size, and its share of the decisions, below which estimates are not to be trusted.
const SIZE_MIN: f64 = 30.0;
const SIZE_SHARE_MIN: f64 = 0.01;

/// The learning of a model during its evaluation: off, or from the decisions themselves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode {
    /// The model learns each decision, `delay` decisions later.
    Learning {
        /// 0: before the next decision.
        delay: u64,
    },
    /// The model learns nothing.
    Frozen,
}

impl Mode {
    /// The progress after so many decisions.
    fn shown(self, n: u64, seconds: f64) -> String {
        let (what, rate) = (self.word(), n as f64 / seconds);
        format!("{what}: {n} decisions, {rate:.0} a second")
    }

    /// The mode as the progress line names it.
    fn word(self) -> &'static str {
        match self {
            Mode::Learning { .. } => "evaluating and learning",
            Mode::Frozen => "evaluating",
        }
    }
}

/// A model and its mode.
pub(super) struct OffPolicyEvaluation {
    pub model: LocalModel,
    pub mode: Mode,
    pub progress: RunProgress,
    pub unusable: UnusableRows,
}

/// The estimates of a model's policy.
#[derive(Debug)]
pub(super) struct OffPolicyReport {
    estimates: OffPolicy,
    n_without_reward: u64,
    unusable: UnusableRows,
    /// Decisions that were read, whether their rewards are known or not.
    n_read: u64,
    /// The number of decisions that a frozen model may have learned.
    pub n_learned_before: Option<u64>,
    seconds: f64,
    cpu_seconds: f64,
}

impl OffPolicyEvaluation {
    /// Runs over the decisions to their end, or until ctrl-c.
    pub(super) fn run(
        self,
        decisions: impl Iterator<Item = anyhow::Result<LoggedRow>>,
        clock: CpuClock,
        interrupt: &Interrupt,
    ) -> anyhow::Result<OffPolicyReport> {
        let OffPolicyEvaluation {
            mut model,
            mode,
            mut progress,
            mut unusable,
        } = self;
        let started = Instant::now();
        let mut estimates = OffPolicy::default();
        let (mut n_without_reward, mut n_read) = (0, 0);
        let mut waiting = VecDeque::new();
        let described = model.described.clone();
        let decisions = Prefetch::new(decisions, described.as_ref(), |one: &mut LoggedRow| {
            &mut one.batch
        })?;
        let decisions = decisions.take_while(|_| !interrupt.is_set());
        for (row, logged) in (0..).zip(decisions) {
            let Some(mut logged) = unusable.sort(logged)? else {
                continue;
            };
            n_read += 1;
            model.embed(&mut logged.batch)?;
            let Some(reward) = logged.reward else {
                n_without_reward += 1;
                continue;
            };
            let (distribution, scores) = model.policy(&logged.batch)?;
            estimates.add(EvaluatedDecision {
                action: logged.action as usize,
                propensity: logged.propensity,
                reward,
                distribution: &distribution,
                scores: &scores,
            });
            if let Mode::Learning { delay } = mode {
                waiting.push_back((row, logged));
                learn_due(
                    &mut model,
                    &mut waiting,
                    row.saturating_sub(delay),
                    row >= delay,
                )?;
            }
            progress.show(|| mode.shown(row + 1, started.elapsed().as_secs_f64()));
        }
        Ok(OffPolicyReport {
            estimates,
            n_without_reward,
            unusable,
            n_read,
            n_learned_before: None,
            seconds: started.elapsed().as_secs_f64(),
            cpu_seconds: clock.seconds(),
        })
    }
}

/// Learns the decisions up to a row.
fn learn_due(
    model: &mut LocalModel,
    waiting: &mut VecDeque<(u64, LoggedRow)>,
    last: u64,
    is_due: bool,
) -> anyhow::Result<()> {
    while let Some((row, logged)) = waiting.pop_front_if(|(row, _)| is_due && *row <= last) {
        model.learn_logged(row, logged)?;
    }
    Ok(())
}

/// Converts a served decision into a logged row.
///
/// # Errors
/// The model does not know its action.
pub(super) fn logged(decided: LoggedDecision, task: &Task) -> anyhow::Result<LoggedRow> {
    let action = task.index(&decided.action);
    Ok(LoggedRow {
        batch: decided.batch,
        action: action.with_context(|| {
            let (position, action) = (decided.position, quoted(&decided.action));
            format!("position {position}: {action} is not one of the model's actions")
        })?,
        propensity: decided.propensity,
        reward: Some(decided.reward),
    })
}

impl OffPolicyReport {
    /// Decisions that were read.
    pub(super) fn n_read(&self) -> u64 {
        self.n_read
    }

    /// Refuses a file of which no decision was used.
    pub(super) fn ensure_used(&self, file: &Path) -> anyhow::Result<()> {
        self.unusable.ensure_used(file, self.n_read)
    }

    /// The estimates with their names: of the logging policy, and of the model's policy.
    fn named(&self) -> [(&'static str, &'static str, Option<Estimate>); 6] {
        let of = &self.estimates;
        [
            ("logged", "logged mean reward", of.logged()),
            ("ips", "ips", of.ips()),
            ("snips", "snips", of.snips()),
            ("dr", "doubly robust", of.doubly_robust()),
            ("clipped_ips", "clipped ips", of.clipped_ips()),
            ("switch_dr", "switch dr", of.switch_dr()),
        ]
    }

    /// The report as JSON.
    pub(super) fn fields(&self) -> Map<String, Value> {
        let mut values = Map::new();
        for (name, _, estimate) in self.named() {
            let value = estimate.map_or(Value::Null, |estimate| {
                let Estimate { value, low, high } = estimate;
                json!({"value": value, "low": low, "high": high})
            });
            values.insert(name.to_owned(), value);
        }
        let of = &self.estimates;
        values.insert("n".to_owned(), of.n_decisions().into());
        let size = of.effective_sample_size();
        values.insert("effective_sample_size".to_owned(), size.into());
        values.insert("largest_weight".to_owned(), of.largest_weight().into());
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        put("examples", of.n_decisions().into());
        if self.unusable.n_rows() > 0 {
            put("unusable_rows", self.unusable.n_rows().into());
        }
        put("off_policy", Value::Object(values));
        if let Some(n) = self.n_learned_before {
            put("learned_before", n.into());
        }
        put("examples_per_second", self.rate().into());
        put("cpu_seconds", self.cpu_seconds.into());
        fields
    }

    fn rate(&self) -> f64 {
        self.estimates.n_decisions() as f64 / self.seconds
    }

    /// Prints the report for people.
    pub(super) fn print(&self) -> anyhow::Result<()> {
        let of = &self.estimates;
        let line = |name: &str, value: String| print::line(format_args!("{name:<28} {value}"));
        line("decisions", of.n_decisions().to_string())?;
        for (_, name, estimate) in self.named() {
            line(name, within(estimate))?;
        }
        line(
            "effective sample size",
            format!("{:.1}", of.effective_sample_size()),
        )?;
        line("largest weight", format!("{:.1}", of.largest_weight()))?;
        line("examples per second", format!("{:.0}", self.rate()))?;
        line("cpu seconds", shown(Some(self.cpu_seconds)))
    }

    /// Warnings about the estimates.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = self.unusable.notes();
        if self.n_without_reward > 0 {
            let n = self.n_without_reward;
            notes.push(format!("{n} rows have no reward and were skipped"));
        }
        if let Some(n) = self.n_learned_before.filter(|&n| n > 0) {
            let of = self.estimates.n_decisions();
            notes.push(format!(
                "{n} of {of} decisions came before this version, which may have learned from \
                 them, so its estimates are too high; --unseen excludes them"
            ));
        }
        let (size, n) = (
            self.estimates.effective_sample_size(),
            self.estimates.n_decisions(),
        );
        if n > 0 && size < SIZE_MIN.max(SIZE_SHARE_MIN * n as f64) {
            notes.push(format!(
                "the policy rarely takes the logged actions (effective sample size {size:.1} of {n}): \
                 ips, snips, doubly robust and their intervals are unreliable; clipped ips and switch dr \
                 bound the weights"
            ));
        }
        let is_still = |estimate: Option<Estimate>| estimate.is_some_and(|e| e.low == e.high);
        if is_still(self.estimates.ips()) && !is_still(self.estimates.logged()) {
            let what = "no action that the policy would take has a reward";
            notes.push(format!(
                "{what}: ips has no variance, and its interval is meaningless"
            ));
        }
        notes
    }
}

/// A table with a header and a row for each model.
pub(super) fn table(names: &[String], reports: &[OffPolicyReport]) -> Vec<Vec<String>> {
    let titles = [
        "model",
        "decisions",
        "logged",
        "ips",
        "snips",
        "doubly robust",
        "clipped ips",
        "switch dr",
    ];
    let mut titles = titles.map(str::to_owned).to_vec();
    titles.extend(["sample size", "examples/s"].map(str::to_owned));
    let rows = names.iter().zip(reports).map(|(name, report)| {
        let of = &report.estimates;
        let mut row = vec![name.clone(), of.n_decisions().to_string()];
        row.extend(report.named().map(|(_, _, estimate)| within(estimate)));
        row.push(format!("{:.1}", of.effective_sample_size()));
        row.push(format!("{:.0}", report.rate()));
        row
    });
    std::iter::once(titles).chain(rows).collect()
}

/// An estimate with its interval.
fn within(estimate: Option<Estimate>) -> String {
    match estimate {
        Some(Estimate { value, low, high }) => format!("{value:.4} [{low:.4}, {high:.4}]"),
        None => "-".to_owned(),
    }
}

/// Refuses a model that is not a bandit.
pub(super) fn ensure_bandit(task: &Task) -> anyhow::Result<()> {
    let word = task.word();
    ensure!(
        matches!(task, Task::Bandit { .. }),
        "the model's task is {word}, and only a bandit is evaluated on decisions"
    );
    Ok(())
}
