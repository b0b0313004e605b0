//! The prequential run over the rows of a file: each answer is scored, and each target is fed back
//! after its delay.
//!
//! Invariant: the target of row t falls due once row t + delay was scored, in the order of rows.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, ensure};
use perennial::event::Signal;
use perennial::model::Task;

use super::scores::{RunScores, ScoreNames};
use crate::cli::output::print::shown;
use crate::cli::output::progress::RunProgress;
use crate::cli::rows::labelled::LabelledRow;
use crate::cli::rows::options::ReadArgs;
use crate::cli::rows::target::{RowTarget, admit};

/// The options that `stream` and `evaluate` share.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct RunArgs {
    /// Stop after N rows
    #[arg(long, value_name = "N", value_parser = n_rows, allow_negative_numbers = true)]
    pub limit: Option<u64>,
    /// Learn the target of a row after the prediction N rows later
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[arg(value_parser = n_rows, allow_negative_numbers = true)]
    pub delay: u64,
    /// Score the model on the rows of this file afterwards, without learning them
    #[arg(long, value_name = "FILE")]
    pub test: Option<PathBuf>,
    /// For a bandit: the share of rows that get the true action instead of a reward
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = share)]
    pub correct: f64,
    /// Stop at the first row that cannot be used
    #[arg(long)]
    pub strict: bool,
    /// Write a JSON line for each answered row: answer, probabilities, label, and the id of a server
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub read: ReadArgs,
}

fn n_rows(text: &str) -> anyhow::Result<u64> {
    let n_rows = text.parse().ok();
    n_rows.context("expected a number of rows: a whole number, 0 or more")
}

fn share(text: &str) -> anyhow::Result<f64> {
    let share = text
        .parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share));
    share.context("expected a number from 0 to 1")
}

/// The feedback for an earlier answer.
#[derive(Debug)]
pub(crate) struct DueFeedback<K> {
    /// The row that was answered.
    pub row: u64,
    /// The key of its prediction.
    pub key: K,
    /// The label, value or reward.
    pub signal: Signal,
    truth: RowTarget,
    /// The answer of the model; none where it was given before any label.
    answer: Option<RowTarget>,
}

/// The state of a run.
pub(crate) struct PrequentialRun<K> {
    task: Task,
    delay: u64,
    correct: f64,
    scores: RunScores,
    waiting: VecDeque<DueFeedback<K>>,
    n_rows: u64,
    n_without_target: u64,
    started: Instant,
    progress: RunProgress,
    /// The next phase, as the progress line names it.
    next: &'static str,
}

impl<K> PrequentialRun<K> {
    /// Starts a run.
    ///
    /// # Errors
    /// `--correct` is given for a task that is not a bandit.
    pub(crate) fn new(
        task: &Task,
        args: &RunArgs,
        progress: RunProgress,
    ) -> anyhow::Result<PrequentialRun<K>> {
        ensure!(
            args.correct == 0.0 || matches!(task, Task::Bandit { .. }),
            "--correct: the model's task is {}, and only a bandit is corrected",
            task.word()
        );
        Ok(PrequentialRun {
            task: task.clone(),
            delay: args.delay,
            correct: args.correct,
            scores: RunScores::default(),
            waiting: VecDeque::new(),
            n_rows: 0,
            n_without_target: 0,
            started: Instant::now(),
            progress,
            next: match args.test {
                Some(_) => "; testing comes next",
                None => "",
            },
        })
    }

    /// Scores the answer to a row; a row without a target is only counted.
    pub(crate) fn judge(&mut self, row: &LabelledRow, answer: RowTarget, key: K) {
        self.n_rows += 1;
        self.n_without_target += u64::from(row.truth.is_none());
        if let Some(truth) = row.truth {
            let has_label = self.scores.has_label();
            let score = self.scores.judge(truth, answer);
            if let Task::Bandit { .. } = self.task {
                self.scores.note_reward(score);
            }
            // The rows have admitted it at the same place.
            admit(&mut self.task, &row.label);
            let signal = self.signal(row.index, truth, score);
            self.waiting.push_back(DueFeedback {
                row: row.index,
                key,
                signal,
                truth,
                answer: has_label.then_some(answer),
            });
        }
        let (n_rows, score, started) = (self.n_rows, self.scores.score(), self.started);
        let (task, next) = (&self.task, self.next);
        self.progress.show(|| {
            let rate = n_rows as f64 / started.elapsed().as_secs_f64();
            let name = ScoreNames::of(task).score.replace('_', " ");
            let score = shown(score);
            format!("learning: {n_rows} rows, {rate:.0} a second, {name} {score}{next}")
        });
    }

    /// Passes over a row that was not answered: its class is known all the same.
    pub(crate) fn pass_over(&mut self, row: &LabelledRow) {
        if row.truth.is_some() {
            admit(&mut self.task, &row.label);
        }
    }

    /// Scores the probabilities of an answer, of a row that has a target.
    pub(crate) fn judge_probabilities(&mut self, row: &LabelledRow, p: &[f32]) {
        if let Some(truth) = row.truth {
            self.scores.judge_probabilities(truth, p);
        }
    }

    /// Notes the retention of the model after a row, if it has one.
    pub(crate) fn note_retention(&mut self, retention: Option<f64>) {
        retention
            .iter()
            .for_each(|one| self.scores.note_retention(*one));
    }

    /// The next feedback that is due after `row` was scored; at the end, `u64::MAX`.
    pub(crate) fn due(&mut self, row: u64) -> Option<DueFeedback<K>> {
        let first = self.waiting.front()?;
        if first.row.saturating_add(self.delay) > row {
            return None;
        }
        let due = self.waiting.pop_front()?;
        self.scores.note_delivered(due.truth, due.answer);
        Some(due)
    }

    /// The time since the start.
    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// The rows that were answered.
    pub(crate) fn n_answered(&self) -> u64 {
        self.n_rows
    }

    /// The rows without a target.
    pub(crate) fn n_without_target(&self) -> u64 {
        self.n_without_target
    }

    /// The task, with the classes that have been admitted by now.
    pub(crate) fn task(&self) -> &Task {
        &self.task
    }

    /// Ends the run: its scores, and its progress line for the next phase.
    pub(crate) fn finish(self) -> (RunScores, RunProgress) {
        (self.scores, self.progress)
    }

    fn signal(&self, row: u64, truth: RowTarget, score: f64) -> Signal {
        match (&self.task, truth) {
            (_, RowTarget::Value(value)) => Signal::Value(value),
            (Task::Bandit { .. }, _) if !is_corrected(row, self.correct) => Signal::Reward(score),
            (task, RowTarget::Name(index)) => Signal::Label(task.names()[index as usize].clone()),
        }
    }
}

/// True if a row is among the share that gets the true action: the same rows in every run.
fn is_corrected(row: u64, share: f64) -> bool {
    // The finaliser of SplitMix64 (Steele, Lea and Flood 2014) after one step from `row`.
    let mut x = row.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    // The upper 53 bits, as a number in [0, 1).
    ((x >> 11) as f64 / (1u64 << 53) as f64) < share
}

#[cfg(test)]
mod tests {
    use perennial::event::Batch;

    use super::*;

    fn args(delay: u64, correct: f64) -> RunArgs {
        RunArgs {
            limit: None,
            delay,
            test: None,
            correct,
            strict: false,
            out: None,
            read: ReadArgs::default(),
        }
    }

    fn run(task: Task, delay: u64, correct: f64) -> PrequentialRun<()> {
        PrequentialRun::new(&task, &args(delay, correct), RunProgress::alone()).unwrap()
    }

    fn labelled(row: u64, truth: Option<u32>) -> LabelledRow {
        LabelledRow {
            index: row,
            line: row + 2,
            batch: Batch::default(),
            truth: truth.map(RowTarget::Name),
            label: String::new(),
            event_time: None,
        }
    }

    fn classes() -> Task {
        let classes = vec!["a".to_owned(), "b".to_owned()];
        Task::Classification {
            classes_max: classes.len(),
            classes,
        }
    }

    fn rows_due(run: &mut PrequentialRun<()>, row: u64) -> Vec<u64> {
        std::iter::from_fn(|| run.due(row).map(|due| due.row)).collect()
    }

    #[test]
    fn a_target_falls_due_after_its_delay() {
        let check = |delay: u64, expected: [&[u64]; 5]| {
            let mut run = run(classes(), delay, 0.0);
            for row in 0..4 {
                run.judge(
                    &labelled(row, (row != 2).then_some(0)),
                    RowTarget::Name(0),
                    (),
                );
                assert_eq!(rows_due(&mut run, row), expected[row as usize], "{row}");
            }
            assert_eq!(rows_due(&mut run, u64::MAX), expected[4]);
            assert_eq!(run.finish().0.examples(), 3);
        };
        check(0, [&[0], &[1], &[], &[3], &[]]);
        check(1, [&[], &[0], &[1], &[], &[3]]);
        check(2, [&[], &[], &[0], &[1], &[3]]);
        check(9, [&[], &[], &[], &[], &[0, 1, 3]]);
    }

    #[test]
    fn each_task_learns_from_its_own_signal() {
        let check =
            |task: Task, correct: f64, truth: RowTarget, answer: RowTarget, signal: Signal| {
                let mut run = run(task, 0, correct);
                let truth = Some(truth);
                run.judge(
                    &LabelledRow {
                        truth,
                        ..labelled(0, None)
                    },
                    answer,
                    (),
                );
                assert_eq!(run.due(0).unwrap().signal, signal);
            };
        let [a, b] = [0, 1].map(RowTarget::Name);
        let bandit = || Task::Bandit {
            actions: vec!["a".into(), "b".into()],
        };
        check(classes(), 0.0, b, a, Signal::Label("b".into()));
        check(bandit(), 0.0, b, a, Signal::Reward(0.0));
        check(bandit(), 0.0, b, b, Signal::Reward(1.0));
        check(bandit(), 1.0, b, a, Signal::Label("b".into()));
        let [one, two] = [1.0, 2.0].map(RowTarget::Value);
        check(Task::Regression, 0.0, one, two, Signal::Value(1.0));
    }

    #[test]
    fn corrections_are_a_share_and_always_the_same_rows() {
        let check = |share: f64, expected: std::ops::RangeInclusive<usize>| {
            let n = (0..10_000).filter(|&row| is_corrected(row, share)).count();
            assert!(expected.contains(&n), "{share}: {n}");
        };
        check(0.0, 0..=0);
        check(0.1, 900..=1100);
        check(0.5, 4850..=5150);
        check(1.0, 10_000..=10_000);
        let more = |row| is_corrected(row, 0.2) || !is_corrected(row, 0.1);
        assert!((0..1000).all(more), "a larger share holds the smaller one");
    }

    #[test]
    fn only_a_bandit_is_corrected() {
        let new = |task: &Task, correct| {
            let run = PrequentialRun::<()>::new(task, &args(0, correct), RunProgress::alone());
            run.is_ok()
        };
        assert!(!new(&classes(), 0.5));
        assert!(new(&Task::Regression, 0.0));
    }
}
