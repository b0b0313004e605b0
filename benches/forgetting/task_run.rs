//! One learner on its way through a sequence of tasks.
//!
//! Invariant: the learner sees events, and nothing tells it where a task begins or ends.

use anyhow::{Result, ensure};
use perennial::event::{Batch, Decision, Outputs, PredictionId, Signal};
use perennial::learn::Learner;
use perennial::model::Choice;

use crate::Bench;
use crate::data::Images;
use crate::events::{self, pixels};
use crate::task_sequence::{Task, TaskSequence};

/// Rows asked for at a time.
const AT_ONCE: usize = 250;

/// The results, as fractions.
pub(crate) struct Report {
    /// Over the test images of all tasks, at the end.
    pub accuracy: f64,
    /// How much of what was right just after its task was so no longer at the end.
    pub forgotten: f64,
}

/// Learns the tasks of a sequence one after the other.
pub(crate) fn through(
    bench: &Bench,
    sequence: TaskSequence,
    toml: &str,
    seed: u64,
) -> Result<Report> {
    let tasks = sequence.tasks(&bench.train, &bench.test, bench.n_tasks, seed);
    let mut learner = events::described(&seeded(toml, seed))?;
    let mut index = 0;
    let (mut just_after, mut n_asked) = (0, 0);
    for task in &tasks {
        for image in &task.train {
            let view = task.view.of(&bench.train.pixels[*image]);
            let label = Signal::Label(bench.train.digits[*image].to_string());
            let column = pixels([&view].into_iter());
            let event = events::feedback(index, vec![column], label);
            events::apply(&mut learner, &event)?;
            index += 1;
        }
        just_after += n_right(&learner, &bench.test, task)?;
        n_asked += task.test.len();
    }
    let mut at_the_end = 0;
    for task in &tasks {
        at_the_end += n_right(&learner, &bench.test, task)?;
    }
    let share = |n_right: usize| n_right as f64 / n_asked as f64;
    Ok(Report {
        accuracy: share(at_the_end),
        forgotten: share(just_after) - share(at_the_end),
    })
}

/// Runs the sequence, where each event is scored by the answer given before it was learned. Returns the
/// share of those that were right, and that of the test images at the end.
pub(crate) fn one_by_one(
    bench: &Bench,
    sequence: TaskSequence,
    toml: &str,
    seed: u64,
) -> Result<[f64; 2]> {
    let tasks = sequence.tasks(&bench.train, &bench.test, bench.n_tasks, seed);
    let mut learner = events::described(&seeded(toml, seed))?;
    let (mut right, mut asked, mut index) = (0, 0, 0);
    for task in &tasks {
        for image in &task.train {
            let view = task.view.of(&bench.train.pixels[*image]);
            let column = || vec![pixels([&view].into_iter())];
            let batch = Batch {
                n_rows: 1,
                columns: column(),
            };
            let digit = bench.train.digits[*image];
            let answer = learner
                .model()
                .predict(&batch, Choice::Best)
                .map_err(anyhow::Error::msg)?;
            right += usize::from(digits(&answer)?[0] == usize::from(digit));
            let label = Signal::Label(digit.to_string());
            events::apply(&mut learner, &events::feedback(index, column(), label))?;
            index += 1;
        }
    }
    let mut at_the_end = 0;
    for task in &tasks {
        at_the_end += n_right(&learner, &bench.test, task)?;
        asked += task.test.len();
    }
    Ok([
        right as f64 / index as f64,
        at_the_end as f64 / asked as f64,
    ])
}

/// Digits as actions: one that is right earns 1, any other 0. Returns the mean reward of the
/// actions served, over all and over the last tenth.
pub(crate) fn rewarded(bench: &Bench, toml: &str, seed: u64) -> Result<[f64; 2]> {
    let tasks = TaskSequence::Permuted.tasks(&bench.train, &bench.test, 1, seed);
    let order = &tasks[0].train;
    let mut learner = events::described(&seeded(toml, seed))?;
    let mut rewards = Vec::with_capacity(order.len());
    for (index, image) in order.iter().enumerate() {
        let column = || vec![pixels([&bench.train.pixels[*image]].into_iter())];
        let batch = Batch {
            n_rows: 1,
            columns: column(),
        };
        let id = PredictionId((u128::from(seed) << 64) + index as u128);
        let answer = learner
            .model()
            .predict(&batch, Choice::Drawn(&[id]))
            .map_err(anyhow::Error::msg)?;
        let Outputs::Actions {
            chosen,
            propensities,
            ..
        } = answer
        else {
            anyhow::bail!("a bandit takes actions");
        };
        let right = chosen[0] == u32::from(bench.train.digits[*image]);
        let reward = f64::from(u8::from(right));
        rewards.push(reward);
        let decision = Decision {
            action: chosen[0].to_string(),
            propensity: f64::from(propensities[0]),
        };
        let event = events::decided(index, column(), decision, Signal::Reward(reward));
        events::apply(&mut learner, &event)?;
    }
    let mean = |rewards: &[f64]| rewards.iter().sum::<f64>() / rewards.len() as f64;
    let last = rewards.len() - rewards.len() / 10;
    Ok([mean(&rewards), mean(&rewards[last..])])
}

/// The description with this seed.
fn seeded(toml: &str, seed: u64) -> String {
    format!("seed = {seed}\n{toml}")
}

/// How many test images of a task are answered right now.
fn n_right(learner: &Learner, test: &Images, task: &Task) -> Result<usize> {
    let model = learner.model();
    let mut n_right = 0;
    for images in task.test.chunks(AT_ONCE) {
        let views: Vec<[u8; 784]> = images
            .iter()
            .map(|image| task.view.of(&test.pixels[*image]))
            .collect();
        let batch = Batch {
            n_rows: images.len(),
            columns: vec![pixels(views.iter())],
        };
        let answers = digits(
            &model
                .predict(&batch, Choice::Best)
                .map_err(anyhow::Error::msg)?,
        )?;
        let truth = images.iter().map(|image| usize::from(test.digits[*image]));
        n_right += answers
            .into_iter()
            .zip(truth)
            .filter(|(a, b)| a == b)
            .count();
    }
    Ok(n_right)
}

/// The likeliest digit of each row, the first of equals.
fn digits(outputs: &Outputs) -> Result<Vec<usize>> {
    let Outputs::Probabilities(shares) = outputs else {
        anyhow::bail!("a classification answers with probabilities");
    };
    ensure!(shares.len().is_multiple_of(10), "ten probabilities a row");
    let best = |row: &[f32]| {
        let better = |best: usize, next: usize| if row[next] > row[best] { next } else { best };
        (0..10).fold(0, better)
    };
    Ok(shares.chunks_exact(10).map(best).collect())
}
