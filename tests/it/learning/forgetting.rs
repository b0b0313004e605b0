//! Retention of earlier examples: classes that come in two parts, and the rows that replay is made
//! of.
//!
//! Invariant: each strategy is compared with the same network without it, on the same rows.

use perennial::event::{Batch, Column, Outputs, Signal};
use perennial::learn::Fate;
use perennial::model::Choice;
use perennial::model::weights::Data;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::LearnerHarness;

const SEED: u64 = 5;
const LENGTH: usize = 16;

const REPLAYING: [&str; 4] = ["er", "er-ace", "der++", "cls-er"];

/// A small network under a strategy.
fn network(task: &str, strategy: &str, memory: &str) -> LearnerHarness {
    network_at(0.02, task, strategy, memory)
}

fn network_at(rate: f64, task: &str, strategy: &str, memory: &str) -> LearnerHarness {
    LearnerHarness::new(&format!(
        "{task}seed = {SEED}\n[[input]]\nname = \"x\"\nkind = \"vector\"\nlength = {LENGTH}\n\
         [network]\nkind = \"mlp\"\nhidden = [24]\n\
         [learner]\nkind = \"gradient\"\noptimizer = \"sgd\"\nlearning_rate = {rate}\n\
         [memory]\nstrategy = \"{strategy}\"\n{memory}"
    ))
}

const CLASSES: &str = "task = \"classification\"\nclasses = [\"0\", \"1\", \"2\", \"3\"]\n";
const SMALL: &str = "short_term = 20\nlong_term = 100\nreplay = 10\n";

fn normal(rng: &mut ChaCha8Rng) -> f32 {
    (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0
}

/// A row of a class: around the place of its own.
fn of_class(class: u64, rng: &mut ChaCha8Rng) -> Batch {
    let mut place = ChaCha8Rng::seed_from_u64(class);
    vector((0..LENGTH).map(|_| normal(&mut place) + normal(rng)))
}

fn vector(values: impl Iterator<Item = f32>) -> Batch {
    let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
    let columns = vec![Column::Vectors(bytes.into())];
    Batch { n_rows: 1, columns }
}

fn learn(harness: &mut LearnerHarness, batch: Batch, truth: Signal) {
    let id = harness.predict(batch).ids[0];
    assert_eq!(harness.submit(id, truth).fate, Some(Fate::Applied));
}

fn outputs(harness: &LearnerHarness, batch: &Batch) -> Vec<f32> {
    match harness
        .learner
        .model()
        .predict(batch, Choice::Best)
        .unwrap()
    {
        Outputs::Probabilities(values) => values,
        Outputs::Values(values) => values.into_iter().map(|value| value as f32).collect(),
        Outputs::Decisions { probabilities, .. } => probabilities,
        Outputs::Actions { scores, .. } => scores,
    }
}

/// The share of a hundred rows of each class that is answered rightly.
fn accuracy(harness: &LearnerHarness, classes: [u64; 2]) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED + 1);
    let mut right = 0;
    for class in classes {
        for _ in 0..100 {
            let scores = outputs(harness, &of_class(class, &mut rng));
            let best = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
            right += usize::from(best == Some(class as usize));
        }
    }
    right as f64 / 200.0
}

/// Two classes, then two others; how well the first and the second two are known in the end.
fn two_tasks(strategy: &str) -> [f64; 2] {
    let mut harness = network(CLASSES, strategy, SMALL);
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    for index in 0..1200 {
        let class = rng.random_range(0..2) + 2 * u64::from(index >= 600);
        let batch = of_class(class, &mut rng);
        learn(&mut harness, batch, Signal::Label(class.to_string()));
        if index == 599 {
            let first = accuracy(&harness, [0, 1]);
            assert!(first > 0.95, "{strategy}: {first}");
        }
    }
    [[0, 1], [2, 3]].map(|classes| accuracy(&harness, classes))
}

#[test]
fn replay_keeps_the_classes_of_before() {
    let [none, _] = two_tasks("none");
    for strategy in REPLAYING {
        let [first, second] = two_tasks(strategy);
        println!("{strategy}: {first:.3} and {second:.3}; none keeps {none:.3}");
        assert!(first > none + 0.4, "{strategy}: {first}, none {none}");
        assert!(second > 0.9, "{strategy}: {second} of the new classes");
    }
}

/// How far apart two answers are.
fn apart(one: &[f32], other: &[f32]) -> f32 {
    let each = one.iter().zip(other);
    each.map(|(one, other)| (one - other).abs()).sum()
}

#[test]
fn new_and_replayed_examples_are_two_means() {
    // All that is remembered is one and the same row, so its mean is the same of two or of twenty.
    let answers = |replay: usize| {
        let memory = format!("short_term = 5\nlong_term = 10\nreplay = {replay}\n");
        let mut harness = network(CLASSES, "er", &memory);
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let rows = [0, 1].map(|class| of_class(class, &mut rng));
        let label = |class: usize| Signal::Label(class.to_string());
        (0..40).for_each(|_| learn(&mut harness, rows[0].clone(), label(0)));
        let before = outputs(&harness, &rows[1]);
        learn(&mut harness, rows[1].clone(), label(1));
        let [old, new] = rows.map(|row| outputs(&harness, &row));
        (apart(&before, &new), old, new)
    };
    let (moved, old, new) = answers(2);
    assert!(moved > 0.05, "{moved}");
    for replay in [4, 20] {
        let (_, other_old, other_new) = answers(replay);
        let (old, new) = (apart(&old, &other_old), apart(&new, &other_new));
        println!("{replay}: moved {moved}, apart {old} and {new}");
        assert!(old < 1e-3 && new < 1e-3, "{replay}: {old} and {new}");
    }
}

#[test]
fn remembered_values_are_held_to_what_was_said_of_them() {
    // Of values nothing else tells one from the other: there are no classes to compete.
    let scores = |strategy: &str| {
        let mut harness = network("task = \"regression\"\n", strategy, SMALL);
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        for index in 0..400 {
            let batch = of_class(index % 4, &mut rng);
            let value = (index % 4) as f64 + 5.0 * rng.random::<f64>();
            learn(&mut harness, batch, Signal::Value(value));
        }
        let asked = (0..20).map(|index| outputs(&harness, &of_class(index % 4, &mut rng)));
        asked.collect::<Vec<_>>().concat()
    };
    let er = scores("er");
    assert_eq!(apart(&er, &scores("er-ace")), 0.0);
    for strategy in ["der++", "cls-er"] {
        let apart = apart(&er, &scores(strategy));
        println!("{strategy}: {apart}");
        assert!(apart > 1e-3, "{strategy}: {apart}");
    }
}

/// Numbers of the learned state.
fn numbers(harness: &LearnerHarness, name: &str) -> Vec<f64> {
    let state = harness.learner.state();
    match &state.0[name].data {
        Data::F64(values) => values.clone(),
        other => panic!("{other:?}"),
    }
}

/// The share of recent examples in the replay.
fn share(harness: &LearnerHarness) -> f64 {
    numbers(harness, "learned.memory.balance.values")[0]
}

#[test]
fn the_recent_is_replayed_more_once_new_rows_are_of_another_kind() {
    let mut harness = network(CLASSES, "er", SMALL);
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    for index in 0..600 {
        let batch = of_class(index % 2, &mut rng);
        learn(&mut harness, batch, Signal::Label((index % 2).to_string()));
    }
    let calm = share(&harness);
    // Examples in memory are still known then: their loss is no evidence.
    let mut most: f64 = 0.0;
    for index in 0..4 {
        let class = 2 + index % 2;
        let batch = of_class(class, &mut rng);
        learn(&mut harness, batch, Signal::Label(class.to_string()));
        most = most.max(share(&harness));
    }
    println!("{calm:.3} in calm, then {most:.3}");
    assert!(calm < 0.15 && most > 0.4, "{calm} in calm, then {most}");
}

#[test]
fn the_stable_average_serves_among_wrong_labels() {
    // Steps so large that a network, and the plastic average, follow each wrong label.
    let memory = "short_term = 0\nlong_term = 5000\nreplay = 2\n";
    let run = |strategy: &str| {
        let mut harness = network_at(0.1, CLASSES, strategy, memory);
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let (mut known, mut n_stable) = (0.0, 0);
        for index in 0..3000 {
            let class = rng.random_range(0..4);
            let batch = of_class(class, &mut rng);
            let target = if rng.random::<f64>() < 0.7 {
                rng.random_range(0..4)
            } else {
                class
            };
            learn(&mut harness, batch, Signal::Label(target.to_string()));
            if index >= 1000 && index % 100 == 0 {
                known += (accuracy(&harness, [0, 1]) + accuracy(&harness, [2, 3])) / 40.0;
                if strategy == "cls-er" {
                    let losses = numbers(&harness, "learned.averages.losses");
                    n_stable += usize::from(losses[1] <= losses[0]);
                }
            }
        }
        (known, n_stable)
    };
    let ((er, _), (cls_er, n_stable)) = (run("er"), run("cls-er"));
    println!("er {er:.3}, cls-er {cls_er:.3}, the stable one {n_stable} times of 20");
    assert!(cls_er > er + 0.08, "er {er}, cls-er {cls_er}");
    assert!(n_stable > 0, "{n_stable} of 20");
}
