//! Logged decisions: what each model's policy would have earned, and what it learns from them.
//!
//! Invariant: a decision is valued before it is learned.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::{Context, ensure};
use perennial::engine::LoggedDecision;
use perennial::learn::{Estimate, EvaluatedDecision, OffPolicy};
use perennial::model::Task;
use serde_json::{Map, Value, json};

use super::ahead::Ahead;
use super::pupil::Pupil;
use crate::cli::board::Line;
use crate::cli::interrupt::Interrupt;
use crate::cli::lesson::Logged;
use crate::cli::print::{self, shown};
use crate::cli::report::CpuClock;
use crate::cli::rows::quoted;

/// Whether a model learns the decisions that it is valued by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Each so many decisions after it was valued.
    Learning {
        /// 0 is at once.
        delay: u64,
    },
    /// It stays as it is.
    Frozen,
}

impl Mode {
    /// What is done to decisions.
    fn word(self) -> &'static str {
        match self {
            Mode::Learning { .. } => "valuing and learning",
            Mode::Frozen => "valuing",
        }
    }
}

/// A model, and how it goes through decisions.
pub struct Valued {
    pub pupil: Pupil,
    pub mode: Mode,
    pub line: Line,
}

/// What a model's policy is worth.
#[derive(Debug)]
pub struct Worth {
    estimates: OffPolicy,
    n_without_reward: u64,
    /// Decisions that a frozen model may have learned from.
    pub n_learned_before: Option<u64>,
    seconds: f64,
    cpu_seconds: f64,
}

impl Valued {
    /// Goes through the decisions to their end, or until it is interrupted.
    pub fn run(
        self,
        decisions: impl Iterator<Item = anyhow::Result<Logged>>,
        clock: CpuClock,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Worth> {
        let Valued {
            mut pupil,
            mode,
            mut line,
        } = self;
        let started = Instant::now();
        let mut estimates = OffPolicy::default();
        let mut n_without_reward = 0;
        let mut waiting = VecDeque::new();
        let described = pupil.described.clone();
        let decisions = Ahead::new(decisions, described.as_ref(), |one: &mut Logged| {
            &mut one.batch
        })?;
        let decisions = decisions.take_while(|_| !interrupt.came());
        for (row, logged) in (0..).zip(decisions) {
            let mut logged = logged?;
            pupil.embed(&mut logged.batch)?;
            let Some(reward) = logged.reward else {
                n_without_reward += 1;
                continue;
            };
            let (distribution, scores) = pupil.policy(&logged.batch)?;
            estimates.add(EvaluatedDecision {
                action: logged.action as usize,
                propensity: logged.propensity,
                reward,
                distribution: &distribution,
                scores: &scores,
            });
            if let Mode::Learning { delay } = mode {
                waiting.push_back((row, logged));
                while waiting
                    .front()
                    .is_some_and(|(first, _)| first + delay <= row)
                {
                    let (row, logged) = waiting.pop_front().expect("there is a first");
                    pupil.learn_logged(row, logged)?;
                }
            }
            line.show(|| {
                let (n, seconds) = (row + 1, started.elapsed().as_secs_f64());
                let (what, rate) = (mode.word(), n as f64 / seconds);
                format!("{what}: {n} decisions, {rate:.0} a second")
            });
        }
        Ok(Worth {
            estimates,
            n_without_reward,
            n_learned_before: None,
            seconds: started.elapsed().as_secs_f64(),
            cpu_seconds: clock.seconds(),
        })
    }
}

/// A served decision as one that a model values.
///
/// # Errors
/// The model does not know its action.
pub fn logged(decided: LoggedDecision, task: &Task) -> anyhow::Result<Logged> {
    let action = task.index(&decided.action);
    Ok(Logged {
        batch: decided.batch,
        action: action.with_context(|| {
            let (position, action) = (decided.position, quoted(&decided.action));
            format!("position {position}: {action} is not one of the model's actions")
        })?,
        propensity: decided.propensity,
        reward: Some(decided.reward),
    })
}

impl Worth {
    /// The estimates by their names: of the policy that decided, and of the model's.
    fn named(&self) -> [(&'static str, &'static str, Option<Estimate>); 4] {
        let of = &self.estimates;
        [
            ("logged", "logged mean reward", of.logged()),
            ("ips", "ips", of.ips()),
            ("snips", "snips", of.snips()),
            ("dr", "doubly robust", of.doubly_robust()),
        ]
    }

    /// As JSON.
    pub fn fields(&self) -> Map<String, Value> {
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

    /// Prints it for people.
    pub fn print(&self) -> anyhow::Result<()> {
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

    /// What people should know of it.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.n_without_reward > 0 {
            let n = self.n_without_reward;
            notes.push(format!("{n} rows have no reward and were passed over"));
        }
        if let Some(n) = self.n_learned_before.filter(|&n| n > 0) {
            let of = self.estimates.n_decisions();
            notes.push(format!(
                "{n} of {of} decisions came before this version, which may have learned from \
                 them: that flatters it; --unseen leaves them out"
            ));
        }
        let size = self.estimates.effective_sample_size();
        if self.estimates.n_decisions() > 0 && size < 30.0 {
            notes.push(format!(
                "the policy rarely takes the logged actions (effective sample size {size:.1}): \
                 ips, snips and the intervals say little"
            ));
        }
        let is_still = |estimate: Option<Estimate>| estimate.is_some_and(|e| e.low == e.high);
        if is_still(self.estimates.ips()) && !is_still(self.estimates.logged()) {
            let what = "no reward came of an action that the policy would take";
            notes.push(format!(
                "{what}: ips has no spread, and its interval says nothing"
            ));
        }
        notes
    }
}

/// A row for each model, below what its columns are.
pub fn table(names: &[String], worths: &[Worth]) -> Vec<Vec<String>> {
    let titles = [
        "model",
        "decisions",
        "logged",
        "ips",
        "snips",
        "doubly robust",
    ];
    let mut titles = titles.map(str::to_owned).to_vec();
    titles.extend(["sample size", "examples/s"].map(str::to_owned));
    let rows = names.iter().zip(worths).map(|(name, worth)| {
        let of = &worth.estimates;
        let mut row = vec![name.clone(), of.n_decisions().to_string()];
        row.extend(worth.named().map(|(_, _, estimate)| within(estimate)));
        row.push(format!("{:.1}", of.effective_sample_size()));
        row.push(format!("{:.0}", worth.rate()));
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

/// Refuses to value what makes no decisions.
pub fn ensure_bandit(task: &Task) -> anyhow::Result<()> {
    let word = task.word();
    ensure!(
        matches!(task, Task::Bandit { .. }),
        "the model's task is {word}, and only a bandit is valued by decisions"
    );
    Ok(())
}
