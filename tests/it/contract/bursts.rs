//! Corrections that come in bursts: what a bandit expects of an action never leaves what was
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

/// The first signal, and the second, that come to what is earned.
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
    room: LearnerHarness,
    /// The lowest and the highest estimate after any round.
    ends: [f64; 2],
}

impl Run {
    fn reward(&mut self, id: PredictionId, reward: f64) {
        let fate = self.room.submit(id, Signal::Reward(reward)).fate;
        let taken = [Fate::Applied, Fate::Pending, Fate::Late];
        assert!(taken.iter().any(|one| fate == Some(*one)), "{fate:?}");
    }

    fn look(&mut self, batch: &Batch) {
        for score in scores(&self.room, batch) {
            self.ends = [self.ends[0].min(score), self.ends[1].max(score)];
        }
    }
}

fn run(case: &Case, aggregate: &str, comes: Comes, of: Rows) -> Run {
    let mut run = Run {
        room: LearnerHarness::new(&case.toml),
        ends: [f64::INFINITY, f64::NEG_INFINITY],
    };
    let mut waiting = VecDeque::new();
    for (index, (row, _)) in rows(ROUNDS, 0.3).enumerate() {
        let row = batch(of, row);
        let action = index % 2;
        let id = serve(&mut run.room, row.clone(), action as u32);
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
                    let due = Time(run.room.learner.time().0 + 5_000_000);
                    run.room.append(Event::Tick(due));
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

/// How far apart what two expect of an action is on the whole, at most.
fn apart(one: &Run, other: &Run, of: Rows) -> f64 {
    let mut sums = [0.0; 2];
    for (row, _) in rows(50, 0.3) {
        let row = batch(of, row);
        let each = [one, other].map(|run| scores(&run.room, &row));
        for (action, sum) in sums.iter_mut().enumerate() {
            *sum += (each[0][action] - each[1][action]).abs() / 50.0;
        }
    }
    sums[0].max(sums[1])
}

/// How far apart from the run with the final rewards at once a kind is at most, and how far beyond its
/// estimates and the rewards, in parts of the range.
const APART_MAX: f64 = 0.05;
const BEYOND_MAX: f64 = 0.1;
/// Rounds between two learners that know the rewards of their moment.
const KNOWN_EVERY: usize = 20;

/// The rows that have come and those whose final reward has, at some moments.
fn moments(comes: Comes) -> Vec<[usize; 2]> {
    let every = |from: usize, until: usize| (from..=until).step_by(KNOWN_EVERY);
    match comes {
        Comes::AtOnce => Vec::new(),
        Comes::Later(rounds) => {
            let running = every(KNOWN_EVERY, ROUNDS).map(|row| [row, row.saturating_sub(rounds)]);
            let ending = every(ROUNDS - rounds, ROUNDS).map(|known| [ROUNDS, known]);
            running.chain(ending).collect()
        }
        Comes::Blocks(rounds) => {
            let blocks = (rounds..=ROUNDS).step_by(rounds);
            let within = |row| every(row - rounds, row).map(move |known| [row, known]);
            blocks.flat_map(within).collect()
        }
    }
}

/// The lowest and the highest estimate of learners to which the rewards came as they were known at some
/// moments of a run: where an action has earned this and that so far, networks go beyond both.
fn ends_as_known(case: &Case, aggregate: &str, comes: Comes, of: Rows) -> [f64; 2] {
    let mut ends = [f64::INFINITY, f64::NEG_INFINITY];
    for [n_rows, n_known] in moments(comes) {
        let mut known = Run {
            room: LearnerHarness::new(&case.toml),
            ends,
        };
        for (index, (row, _)) in rows(n_rows, 0.3).enumerate() {
            let id = serve(&mut known.room, batch(of, row), index as u32 % 2);
            let earned = EARNED[index % 2];
            let first = match comes {
                Comes::Blocks(_) => 0.0,
                _ => signals(aggregate, earned)[0],
            };
            known.reward(id, if index < n_known { earned } else { first });
        }
        for (row, _) in rows(n_rows, 0.3).skip(n_rows - KNOWN_EVERY) {
            known.look(&batch(of, row));
        }
        ends = known.ends;
    }
    ends
}

/// How far estimates are beyond others and the rewards, in parts of the range.
fn beyond(ends: [f64; 2], others: [f64; 2]) -> f64 {
    let low = others[0].min(0.0) - ends[0];
    let high = ends[1] - others[1].max(EARNED[0]);
    low.max(high).max(0.0) / EARNED[0]
}

#[test]
fn bursts_of_corrections_stay_near_what_was_earned() {
    let mut failed = Vec::new();
    let both = [Rows::Alike, Rows::Varied].into_iter();
    for (of, kind) in both.flat_map(|of| kinds().into_iter().map(move |kind| (of, kind))) {
        let described = |feedback: &str, seed| {
            let settings = format!("[feedback]\n{feedback}\n{kind}");
            case("bandit", &settings, seed, 0)
        };
        let at_once = |seed| run(&described("", seed), "last", Comes::AtOnce, of);
        let [at_once, other] = [SEED, SEED + 1].map(at_once);
        let name = kind.replace('\n', " ");
        let of_seeds = apart(&other, &at_once, of) / EARNED[0];
        println!("{of_seeds:.3} apart under two seeds: {of:?}, {name}");
        let later = [0, 50, 300].into_iter().flat_map(|rounds| {
            ["sum", "last", "max"].map(|aggregate| (aggregate, Comes::Later(rounds)))
        });
        for (aggregate, comes) in later.chain([("late", Comes::Blocks(60))]) {
            let feedback = match comes {
                Comes::Blocks(_) => "window_s = 3\ndefault_reward = 0.0".to_owned(),
                _ => format!("aggregate = \"{aggregate}\""),
            };
            let run = run(&described(&feedback, SEED), aggregate, comes, of);
            let apart = apart(&run, &at_once, of) / EARNED[0];
            let mut past = beyond(run.ends, at_once.ends);
            let mut line =
                format!("{apart:.3} apart, {past:.3} beyond: {of:?} {comes:?} {aggregate}, {name}");
            if past > BEYOND_MAX {
                let known = ends_as_known(&described("", SEED), aggregate, comes, of);
                past = beyond(run.ends, known);
                line.push_str(&format!(" ({past:.3} beyond what is known, {known:.2?})"));
            }
            println!("{line}");
            if apart > APART_MAX || past > BEYOND_MAX {
                failed.push(line);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// What is learned, without what is kept to learn it again.
fn learned(room: &LearnerHarness) -> [Tensors; 2] {
    let learned = room.learner.learned();
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
                let id = serve(&mut run.room, row, index as u32 % 2);
                run.reward(id, EARNED[index % 2]);
            }
            learned(&run.room)
        });
        for (comes, one) in later.iter().zip(&all) {
            for (name, tensor) in one[1].0.iter().chain(&one[0].0) {
                let at_once = all[0][1].0.get(name).or(all[0][0].0.get(name));
                assert_eq!(Some(tensor), at_once, "{name} {comes:?} {kind}");
            }
        }
    }
}
