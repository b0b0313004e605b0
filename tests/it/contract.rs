//! The contract of every learner, whatever its kind, network, optimizer, strategy and task.
//!
//! Invariant: one list of checks, and every combination passes all of it.

mod bursts;
mod hostile;
mod labels;
mod outliers;
mod past;
mod policies;
mod relabelled;
mod restored;
mod rewards;
mod weights;
mod wide;

use crate::support::cases::{Case, LONG_TERM, SEED, SHORT_TERM, cases};
use crate::support::{LearnerHarness, rows};
use perennial::event::{Batch, Column, Outputs, Signal};
use perennial::learn::Fate;
use perennial::model::weights::{Data, Tensors};

fn each(check: impl Fn(&Case)) {
    for case in cases(SEED) {
        println!("{}", case.name);
        check(&case);
    }
}

fn numbers(batch: &Batch) -> [f64; 2] {
    [0, 1].map(|column| match &batch.columns[column] {
        Column::Numbers(values) => values[0],
        _ => panic!("a number"),
    })
}

/// The true value of a row in the regression task.
fn value(batch: &Batch) -> f64 {
    let [x, y] = numbers(batch);
    100.0 + 3.0 * x - 2.0 * y
}

/// The truth of an answer; `action` is that of a bandit.
fn truth(case: &Case, batch: &Batch, class: &str, action: u32) -> Signal {
    match case.task {
        "classification" => Signal::Label(class.to_owned()),
        "regression" => Signal::Value(value(batch)),
        _ => Signal::Reward(f64::from(u8::from(["a", "b"][action as usize] == class))),
    }
}

/// How good an answer is: right or not, the absolute error, or the reward of the best action.
fn score(batch: &Batch, class: &str, outputs: &Outputs) -> f64 {
    let right = |index: usize| f64::from(u8::from(["a", "b"][index] == class));
    match outputs {
        Outputs::Probabilities(p) => right(usize::from(p[1] > p[0])),
        Outputs::Decisions { chosen, .. } => right(chosen[0] as usize),
        Outputs::Values(values) => (values[0] - value(batch)).abs(),
        Outputs::Actions { chosen, .. } => right(chosen[0] as usize),
    }
}

/// Predicts and teaches rows from `from` on; a bandit tries the other action every fourth time.
/// Returns the score of every answer.
fn teach(harness: &mut LearnerHarness, case: &Case, from: usize, n_rows: usize) -> Vec<f64> {
    let stream = rows(from + n_rows, 0.3).enumerate().skip(from);
    let mut scores = Vec::new();
    for (index, (batch, class)) in stream {
        let mut prediction = harness.predict(batch.clone());
        scores.push(score(&batch, class, &prediction.outputs));
        let mut action = 0;
        if let Outputs::Actions { chosen, .. } = &mut prediction.outputs {
            action = chosen[0];
            if index % 4 == 0 {
                // Served again, with the action that it would not have taken.
                action = 1 - action;
                chosen[0] = action;
                prediction.ids[0].0 += 1;
                harness.append(perennial::event::Event::Prediction(prediction.clone()));
            }
        }
        let step = harness.submit(prediction.ids[0], truth(case, &batch, class, action));
        let learned = matches!(step.fate, Some(Fate::Applied | Fate::Pending));
        assert!(learned, "{}: {:?}", case.name, step.fate);
        let n_remembered = harness.learner.learned().n_remembered();
        assert!(n_remembered <= case.remembered_max, "{}", case.name);
    }
    scores
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn what_was_saved_is_loaded_equal_and_goes_on_equal() {
    each(|case| {
        let mut harness = LearnerHarness::new(&case.toml);
        // An odd number: an update is half full when it is saved.
        teach(&mut harness, case, 0, 75);
        let mut loaded = harness.clone();
        loaded.reload();
        assert!(loaded.learner == harness.learner, "{}", case.name);
        teach(&mut harness, case, 75, 60);
        teach(&mut loaded, case, 75, 60);
        assert!(loaded.learner == harness.learner, "{}", case.name);
        assert!(loaded.journal == harness.journal, "{}", case.name);
    });
}

#[test]
fn equal_entries_give_equal_states() {
    each(|case| {
        let digest = |n_rows| {
            let mut harness = LearnerHarness::new(&case.toml);
            teach(&mut harness, case, 0, n_rows);
            harness.learner.learned().digest()
        };
        assert_eq!(digest(50), digest(50), "{}", case.name);
        assert_ne!(digest(50), digest(52), "{}", case.name);
    });
}

#[test]
fn the_seed_decides_the_first_weights() {
    let same = |seed| cases(SEED).into_iter().zip(cases(seed));
    let weights = |case: &Case| LearnerHarness::new(&case.toml).learner.learned().weights();
    for (one, other) in same(SEED) {
        assert!(weights(&one) == weights(&other), "{}", one.name);
    }
    for (one, other) in same(SEED + 1).filter(|(one, _)| one.name.contains("mlp")) {
        assert!(weights(&one) != weights(&other), "{}", one.name);
    }
}

#[test]
fn a_learnable_stream_is_learned() {
    each(|case| {
        let mut harness = LearnerHarness::new(&case.toml);
        let scores = teach(&mut harness, case, 0, 1200);
        let last = mean(&scores[900..]);
        println!("  {last:.4}");
        let learned = match case.task {
            "classification" => last > 0.9,
            "regression" => last < 0.5 * harness.learner.evaluation().no_change().mean(),
            _ => last > 0.7,
        };
        assert!(learned, "{}: {last}", case.name);
        if case.remembered_max == LONG_TERM + SHORT_TERM {
            let n_remembered = harness.learner.learned().n_remembered();
            assert_eq!(n_remembered, case.remembered_max, "{}", case.name);
        }
    });
}

fn check_finite(case: &Case, what: &str, tensors: &Tensors) {
    for (name, tensor) in &tensors.0 {
        let finite = match &tensor.data {
            Data::F32(values) => values.iter().all(|value| value.is_finite()),
            Data::F64(values) => values.iter().all(|value| value.is_finite()),
            _ => true,
        };
        assert!(finite, "{what}: {name} of {}", case.name);
    }
}

fn check_outputs(case: &Case, what: &str, outputs: &Outputs) {
    let finite = match outputs {
        Outputs::Probabilities(values)
        | Outputs::Decisions {
            probabilities: values,
            ..
        }
        | Outputs::Actions { scores: values, .. } => values.iter().all(|value| value.is_finite()),
        Outputs::Values(values) => values.iter().all(|value| value.is_finite()),
    };
    assert!(finite, "{what}: {outputs:?} of {}", case.name);
}

/// Streams that no one would send on purpose: by row, `x`, `y` and the truth as a value.
type Hostile = (&'static str, fn(u64) -> (f64, f64, f64));

const HOSTILE: [Hostile; 6] = [
    ("huge", |_| (1e30, -1e30, 1e30)),
    ("alternating", |i| match i % 2 {
        0 => (1e30, -1e30, -1e30),
        _ => (-1e30, 1e-30, 1e30),
    }),
    ("the limits of f64", |i| match i % 3 {
        0 => (f64::MAX, f64::MIN, f64::MAX),
        1 => (f64::MIN_POSITIVE, f64::MAX, f64::MIN),
        _ => (0.0, -0.0, 0.0),
    }),
    ("constant", |_| (2.5, 2.5, 2.5)),
    ("an outlier after calm", |i| match i % 50 {
        49 => (1e20, 1e20, 1e20),
        _ => (i as f64 % 7.0, i as f64 % 5.0, i as f64 % 3.0),
    }),
    ("gaps", |i| (i as f64 % 7.0, f64::NAN, i as f64 % 3.0)),
];

#[test]
fn p7_hostile_streams_leave_everything_finite() {
    each(|case| {
        for (what, stream) in HOSTILE {
            let mut harness = LearnerHarness::new(&case.toml);
            for index in 0..200 {
                let (x, y, value) = stream(index);
                let columns = vec![
                    Column::Numbers(vec![x]),
                    Column::Numbers(vec![y]),
                    Column::Strings(vec!["red".to_owned()]),
                ];
                let prediction = harness.predict(Batch { n_rows: 1, columns });
                check_outputs(case, what, &prediction.outputs);
                // One class for long, then the other.
                let class = ["a", "b"][usize::from(index > 150)];
                harness.submit(
                    prediction.ids[0],
                    match case.task {
                        "classification" => Signal::Label(class.to_owned()),
                        "regression" => Signal::Value(value),
                        _ => Signal::Reward(value),
                    },
                );
            }
            check_finite(case, what, &harness.learner.learned().weights());
            check_finite(case, what, &harness.learner.state());
            let before = harness.learner.clone();
            harness.reload();
            assert!(harness.learner == before, "{what}: {}", case.name);
        }
    });
}

#[test]
fn a_balanced_stream_is_learned_after_one_class_for_long() {
    for case in cases(SEED).iter().filter(|c| c.task == "classification") {
        println!("{}", case.name);
        let mut harness = LearnerHarness::new(&case.toml);
        // One class for long.
        for (batch, _) in rows(300, 0.3) {
            let id = harness.predict(batch).ids[0];
            harness.submit(id, Signal::Label("a".to_owned()));
        }
        let scores = teach(&mut harness, case, 300, 1200);
        let last = mean(&scores[900..]);
        assert!(last > 0.85, "{}: {last}", case.name);
    }
}

#[test]
fn the_example_models_are_sound() {
    let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let spec = |name: &str| {
        let toml = std::fs::read_to_string(models.join(name).join("model.toml"));
        let spec = perennial::model::Spec::parse(&toml.expect("it is there"));
        spec.unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    for name in ["fraud", "tickets", "recommend"] {
        let auto = perennial::model::LearnerKind::Auto(perennial::model::Keep::Balanced);
        assert_eq!(spec(name).learner, auto);
    }
    let digits = spec("digits");
    let perennial::model::LearnerKind::Gradient(settings) = &digits.learner else {
        panic!("digits is the model of the serving benchmarks")
    };
    assert_eq!(settings.hidden, [256, 256]);
    assert_eq!(digits.task.n_outputs(), 10);
    let vector = perennial::model::InputKind::Vector {
        length: 784,
        standardise: true,
        shape: None,
    };
    assert_eq!(digits.inputs[0].kind, vector);
}
