//! Corrections that come in bursts: a bandit's expectation of an action never leaves the range that was
//! earned, and ends where the final rewards at once would have led.

use std::collections::VecDeque;

use perennial::event::{Batch, Column, Event, PredictionId, Signal, Time};
use perennial::learn::Fate;
use perennial::model::weights::Tensors;

use super::rewards::{scores, serve};
use crate::support::cases::{Case, SEED, case, gradient, learners};
use crate::support::{LearnerHarness, rows};

const ROUNDS: usize = 600;
/// The final reward of each of two actions.
const EARNED: [f64; 2] = [1.8, 0.4];

/// The rows of a round.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rows {
    /// All alike.
    Alike,
    /// Two numbers and a category that tell nothing of the reward.
    Varied,
}

/// How the final rewards come about.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Comes {
    AtOnce,
    /// A first signal at once, the second so many rounds later.
    Later(usize),
    /// Silence has earned nothing; then the reward comes late, with those of a block of rounds.
    Blocks(usize),
}

/// Every kind, with each memory strategy, both networks and both optimizers.
fn kinds() -> Vec<String> {
    let mut kinds: Vec<String> = learners().into_iter().map(|(kind, _)| kind).collect();
    for optimizer in ["sgd", "adamw"] {
        kinds.push(gradient("mlp", optimizer, "er"));
    }
    kinds.push("[learner]\nkind = \"analytic\"\nforgetting = 0.99\n".to_owned());
    kinds
}

/// The first signal, and the second, that sum to the reward.
fn signals(aggregate: &str, earned: f64) -> [f64; 2] {
    match aggregate {
        "sum" => [earned / 2.0, earned / 2.0],
        "max" => [0.0, earned],
        _ => [2.2 - earned, earned],
    }
}

fn batch(rows: Rows, batch: Batch) -> Batch {
    match rows {
        Rows::Varied => batch,
        Rows::Alike => Batch {
            n_rows: 1,
            columns: vec![
                Column::Numbers(vec![0.5]),
                Column::Numbers(vec![-0.5]),
                Column::Strings(vec!["red".to_owned()]),
            ],
        },
    }
}

struct Run {
    harness: LearnerHarness,
    /// The lowest and the highest estimate after any round.
    ends: [f64; 2],
}

impl Run {
    fn reward(&mut self, id: PredictionId, reward: f64) {
        let fate = self.harness.submit(id, Signal::Reward(reward)).fate;
        let taken = [Fate::Applied, Fate::Pending, Fate::Late];
        assert!(taken.iter().any(|one| fate == Some(*one)), "{fate:?}");
    }

    fn look(&mut self, batch: &Batch) {
        for score in scores(&self.harness, batch) {
            self.ends = [self.ends[0].min(score), self.ends[1].max(score)];
        }
    }
}

fn run(case: &Case, aggregate: &str, comes: Comes, of: Rows) -> Run {
    let mut run = Run {
        harness: LearnerHarness::new(&case.toml),
        ends: [f64::INFINITY, f64::NEG_INFINITY],
    };
    let mut waiting = VecDeque::new();
    for (index, (row, _)) in rows(ROUNDS, 0.3).enumerate() {
        let row = batch(of, row);
        let action = index % 2;
        let id = serve(&mut run.harness, row.clone(), action as u32);
        let earned = EARNED[action];
        let [first, second] = signals(aggregate, earned);
        match comes {
            Comes::AtOnce => run.reward(id, earned),
            Comes::Later(rounds) => {
                run.reward(id, first);
                waiting.push_back((id, second));
                if waiting.len() > rounds {
                    let (id, second) = waiting.pop_front().expect("one waits");
                    run.reward(id, second);
                }
            }
            Comes::Blocks(rounds) => {
                waiting.push_back((id, earned));
                if waiting.len() == rounds {
                    let due = Time(run.harness.learner.time().0 + 5_000_000);
                    run.harness.append(Event::Tick(due));
                    for (id, earned) in waiting.drain(..) {
                        run.reward(id, earned);
                        run.look(&row);
                    }
                }
            }
        }
        run.look(&row);
    }
    for (id, second) in waiting {
        run.reward(id, second);
        run.look(&batch(of, rows(1, 0.3).next().expect("a row").0));
    }
    run
}

/// The largest distance of two learners' expectations of an action, on the whole.
fn apart(one: &Run, other: &Run, of: Rows) -> f64 {
    let mut sums = [0.0; 2];
    for (row, _) in rows(50, 0.3) {
        let row = batch(of, row);
        let each = [one, other].map(|run| scores(&run.harness, &row));
        for (action, sum) in sums.iter_mut().enumerate() {
            *sum += (each[0][action] - each[1][action]).abs() / 50.0;
        }
    }
    sums[0].max(sums[1])
}

/// How far apart from the run with the final rewards at once, and how far beyond its estimates and
/// the rewards, a kind is at most, in parts of the range. Networks that replay go beyond where rows
/// differ and an action has earned two rewards so far, of which one is to come late.
fn most(kind: &str, of: Rows) -> (f64, f64) {
    match of {
        _ if kind.is_empty() => (0.065, 0.1),
        Rows::Varied if kind.contains("mlp") => (0.05, 0.45),
        Rows::Varied if kind.contains("er") && kind.contains("gradient") => (0.05, 0.2),
        _ => (0.05, 0.1),
    }
}

#[test]
fn bursts_of_corrections_stay_near_what_was_earned() {
    let mut failed = Vec::new();
    let both = [Rows::Alike, Rows::Varied].into_iter();
    for (of, kind) in both.flat_map(|of| kinds().into_iter().map(move |kind| (of, kind))) {
        let described = |feedback: &str| {
            let settings = format!("[feedback]\n{feedback}\n{kind}");
            case("bandit", &settings, SEED, 0)
        };
        let at_once = run(&described(""), "last", Comes::AtOnce, of);
        let later = [0, 50, 300].into_iter().flat_map(|rounds| {
            ["sum", "last", "max"].map(|aggregate| (aggregate, Comes::Later(rounds)))
        });
        for (aggregate, comes) in later.chain([("late", Comes::Blocks(60))]) {
            let feedback = match comes {
                Comes::Blocks(_) => "window_s = 3\ndefault_reward = 0.0".to_owned(),
                _ => format!("aggregate = \"{aggregate}\""),
            };
            let run = run(&described(&feedback), aggregate, comes, of);
            let apart = apart(&run, &at_once, of) / EARNED[0];
            let low = at_once.ends[0].min(0.0) - run.ends[0];
            let high = run.ends[1] - at_once.ends[1].max(EARNED[0]);
            let beyond = low.max(high).max(0.0) / EARNED[0];
            let (apart_max, beyond_max) = most(&kind, of);
            let line = format!(
                "{apart:.3} apart, {beyond:.3} beyond: {of:?} {comes:?} {aggregate}, {}",
                kind.replace('\n', " ")
            );
            println!("{line}");
            if apart > apart_max || beyond > beyond_max {
                failed.push(line);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The learned state, without the examples kept to learn it again.
fn learned(harness: &LearnerHarness) -> [Tensors; 2] {
    let learned = harness.learner.learned();
    let mut state = learned.state();
    state.0.retain(|name, _| !name.starts_with("relearning."));
    [learned.weights(), state]
}

#[test]
fn amended_rewards_are_relearned_to_the_state_that_final_rewards_at_once_lead_to() {
    let relearned = |kind: &String| kind.is_empty() || kind.contains("gradient");
    for kind in kinds().into_iter().filter(relearned) {
        let settings = format!("[feedback]\naggregate = \"sum\"\n{kind}");
        let later = [
            Comes::AtOnce,
            Comes::Later(0),
            Comes::Later(50),
            Comes::Later(300),
        ];
        let all = later.map(|comes| {
            let case = case("bandit", &settings, SEED, 0);
            let mut run = run(&case, "sum", comes, Rows::Varied);
            for (index, (row, _)) in rows(700, 0.3).enumerate() {
                let id = serve(&mut run.harness, row, index as u32 % 2);
                run.reward(id, EARNED[index % 2]);
            }
            learned(&run.harness)
        });
        for (comes, one) in later.iter().zip(&all) {
            for (name, tensor) in one[1].0.iter().chain(&one[0].0) {
                let at_once = all[0][1].0.get(name).or(all[0][0].0.get(name));
                assert_eq!(Some(tensor), at_once, "{name} {comes:?} {kind}");
            }
        }
    }
}
