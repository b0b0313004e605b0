//! Hostile streams, over every combination: nothing breaks, rows that are not learned
//! are counted, and good rows that come afterwards are learned.

use perennial::event::{Batch, Column, Event, Feedback, Outputs, PredictionId, Signal, Subject};
use perennial::learn::Fate;
use perennial::model::Choice;
use perennial::model::weights::{Data, Tensors};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{check_finite, mean, teach, truth};
use crate::support::cases::remembered_max;
use crate::support::cases::{Case, SEED, STRATEGIES, TASKS, case, cases, gradient, learners};
use crate::support::{LearnerHarness, rows};

/// Numbers that a sender may send, and should not.
const WILD: [f64; 14] = [
    1e30,
    -1e30,
    1e-30,
    -1e-30,
    f64::MAX,
    f64::MIN,
    f32::MAX as f64,
    f32::MIN as f64,
    f64::MIN_POSITIVE,
    5e-324,
    1e-40,
    0.0,
    -0.0,
    1.0,
];

/// Where a number comes from.
#[derive(Clone, Copy, Debug)]
enum Feed {
    Good,
    Fixed(f64),
    /// Another wild one with each row.
    Wild,
}

/// Where a category comes from.
#[derive(Clone, Copy, Debug)]
enum Word {
    Good,
    Hot,
    /// One never seen, with each row.
    New,
}

/// The signals of a stream.
#[derive(Clone, Copy, Debug)]
enum Says {
    True,
    /// One class, or one value or reward.
    Same(f64),
    Wild,
}

/// Rows of one character.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    x: Feed,
    y: Feed,
    word: Word,
    probability: Says,
    n_rows: usize,
}

const GOOD: Stretch = Stretch {
    x: Feed::Good,
    y: Feed::Good,
    word: Word::Good,
    probability: Says::True,
    n_rows: 200,
};

fn stretches() -> impl Strategy<Value = Vec<Stretch>> {
    let feed = || {
        let fixed = proptest::sample::select(&WILD[..]).prop_map(Feed::Fixed);
        prop_oneof![Just(Feed::Good), fixed, Just(Feed::Wild)]
    };
    let word = prop_oneof![Just(Word::Good), Just(Word::Hot), Just(Word::New)];
    let same = proptest::sample::select(&WILD[..]).prop_map(Says::Same);
    let probability = prop_oneof![Just(Says::True), same, Just(Says::Wild)];
    let stretch = (feed(), feed(), word, probability, 1..40_usize);
    let stretch = stretch.prop_map(|(x, y, word, probability, n_rows)| Stretch {
        x,
        y,
        word,
        probability,
        n_rows,
    });
    proptest::collection::vec(stretch, 1..5)
}

fn wild(index: usize, column: usize) -> f64 {
    let mixed = ((index * 4 + column) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    WILD[(mixed >> 40) as usize % WILD.len()]
}

impl Feed {
    fn number(self, good: f64, index: usize, column: usize) -> f64 {
        match self {
            Feed::Good => good,
            Feed::Fixed(number) => number,
            Feed::Wild => wild(index, column),
        }
    }
}

impl Stretch {
    fn batch(self, good: &Batch, index: usize) -> Batch {
        let mut batch = good.clone();
        for (column, feed) in [self.x, self.y].into_iter().enumerate() {
            if let Column::Numbers(values) = &mut batch.columns[column] {
                values[0] = feed.number(values[0], index, column);
            }
        }
        if let Column::Strings(words) = &mut batch.columns[2] {
            match self.word {
                Word::Good => {}
                Word::Hot => words[0] = String::new(),
                Word::New => words[0] = format!("never seen {index}"),
            }
        }
        batch
    }

    fn signal(
        self,
        case: &Case,
        batch: &Batch,
        class: &str,
        outputs: &Outputs,
        i: usize,
    ) -> Signal {
        let number = match self.probability {
            Says::True => {
                let action = match outputs {
                    Outputs::Actions { chosen, .. } => chosen[0],
                    _ => 0,
                };
                return truth(case, batch, class, action);
            }
            Says::Same(number) => number,
            Says::Wild => wild(i, 2),
        };
        match case.task {
            "classification" => Signal::Label(["a", "b"][usize::from(number < 0.0)].to_owned()),
            "regression" => Signal::Value(number),
            _ => Signal::Reward(number),
        }
    }
}

/// Every answer is one that a caller can use.
fn check_sane(case: &Case, outputs: &Outputs) {
    let sane = match outputs {
        Outputs::Probabilities(shares)
        | Outputs::Decisions {
            probabilities: shares,
            ..
        } => {
            let total: f32 = shares.iter().sum();
            shares.iter().all(|share| (0.0..=1.0).contains(share)) && (total - 1.0).abs() < 1e-4
        }
        Outputs::Values(values) => values.iter().all(|value| value.is_finite()),
        Outputs::Actions {
            chosen,
            propensities,
            scores,
        } => {
            chosen.iter().all(|action| *action < 2)
                && propensities
                    .iter()
                    .all(|share| *share > 0.0 && *share <= 1.0)
                && scores.iter().all(|score| score.is_finite())
        }
    };
    assert!(sane, "{outputs:?} of {}", case.name);
}

/// Predicts and learns the rows of some stretches.
fn endure(harness: &mut LearnerHarness, case: &Case, stretches: &[Stretch]) {
    let rows_each = stretches
        .iter()
        .flat_map(|stretch| vec![*stretch; stretch.n_rows]);
    let n_rows = stretches.iter().map(|stretch| stretch.n_rows).sum();
    for (index, (stretch, (good, class))) in rows_each.zip(rows(n_rows, 0.3)).enumerate() {
        let prediction = harness.predict(stretch.batch(&good, index));
        check_sane(case, &prediction.outputs);
        let signal = stretch.signal(case, &good, class, &prediction.outputs, index);
        let fate = harness.submit(prediction.ids[0], signal).fate;
        let met = matches!(
            fate,
            Some(Fate::Applied | Fate::Pending | Fate::Quarantined)
        );
        assert!(met, "{fate:?} of {}", case.name);
    }
    check_finite(case, "weights", &harness.learner.learned().weights());
    check_finite(case, "state", &harness.learner.state());
}

fn bytes(tensors: &Tensors) -> usize {
    let bytes = |data: &Data| match data {
        Data::F32(_) | Data::U32(_) => 4 * data.len(),
        Data::F64(_) | Data::U64(_) => 8 * data.len(),
        Data::U8(_) => data.len(),
    };
    tensors.0.values().map(|tensor| bytes(&tensor.data)).sum()
}

fn learned_bytes(harness: &LearnerHarness) -> usize {
    let learned = harness.learner.learned();
    bytes(&learned.weights()) + bytes(&learned.state())
}

#[test]
fn p7_whatever_comes_the_state_stays_finite_and_answers_sane() {
    for (index, case) in cases(SEED).into_iter().enumerate() {
        // Each case has sequences of its own.
        let seed = [index as u8; 32];
        println!("sequences {index}, {}", case.name);
        let config = Config {
            cases: 6,
            failure_persistence: None,
            ..Config::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let mut runner = TestRunner::new_with_rng(config, rng);
        let result = runner.run(&stretches(), |stretches| {
            let mut harness = LearnerHarness::new(&case.toml);
            endure(&mut harness, &case, &stretches);
            let before = harness.learner.clone();
            harness.reload();
            prop_assert!(
                harness.learner == before,
                "what was saved is not what is loaded"
            );
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{}: {error}", case.name));
    }
}

/// Faults that last.
const BAD: [(&str, Stretch); 7] = [
    (
        "wild numbers",
        Stretch {
            x: Feed::Wild,
            y: Feed::Wild,
            ..GOOD
        },
    ),
    (
        "huge numbers",
        Stretch {
            x: Feed::Fixed(1e30),
            y: Feed::Fixed(-1e30),
            ..GOOD
        },
    ),
    (
        "constant numbers",
        Stretch {
            x: Feed::Fixed(1.0),
            y: Feed::Fixed(0.0),
            ..GOOD
        },
    ),
    (
        "one class, one value, equal rewards",
        Stretch {
            probability: Says::Same(1.0),
            ..GOOD
        },
    ),
    (
        "wild truths",
        Stretch {
            probability: Says::Wild,
            ..GOOD
        },
    ),
    (
        "one category",
        Stretch {
            word: Word::Hot,
            ..GOOD
        },
    ),
    (
        "new categories",
        Stretch {
            word: Word::New,
            ..GOOD
        },
    ),
];

#[test]
fn good_rows_are_learned_after_bad_ones() {
    for (learner, remembered_max) in learners() {
        for task in TASKS {
            let case = case(task, &learner, SEED, remembered_max);
            println!("{}", case.name);
            for (what, mut bad) in BAD {
                if let (Says::Same(number), "regression") = (&mut bad.probability, task) {
                    // A value in the range of the later ones.
                    *number = 100.0;
                }
                let mut harness = LearnerHarness::new(&case.toml);
                endure(&mut harness, &case, &[bad]);
                let scores = teach(&mut harness, &case, 0, 1500);
                let last = mean(&scores[1200..]);
                let learned = match task {
                    "classification" => last > 0.85,
                    // Of always saying 100 it is 1.6.
                    "regression" => last < 1.4,
                    _ => last > 0.75,
                };
                println!("  {what}: {last:.3}");
                assert!(learned, "{what}: {last} of {}", case.name);
            }
        }
    }
}

/// A label that comes with its row.
fn taught(feedback_id: u64, batch: Batch, label: &str) -> Event {
    let subject = Subject::Inputs {
        batch,
        decision: None,
    };
    let feedback_id = format!("taught {feedback_id}");
    Event::Feedback(Feedback {
        subject,
        ..crate::support::label(PredictionId(0), &feedback_id, label)
    })
}

/// Teaches a row and forgets the entries before it: for streams longer than memory.
fn teach_alone(harness: &mut LearnerHarness, feedback_id: u64, word: &str, label: &str) {
    let n_old = harness.journal.len() - 1;
    harness.journal.drain(..n_old);
    let step = harness.append(taught(feedback_id, category(word), label));
    assert_eq!(step.fate, Some(Fate::Applied));
}

#[test]
fn a_class_that_was_alone_for_ten_thousand_rows_makes_room() {
    for (learner, remembered_max) in learners() {
        // Without forgetting, ten thousand rows of one class outweigh the later rows, rightly.
        let forgetting = "\"analytic\"\nforgetting = 0.999\n";
        let learner = learner.replace("\"analytic\"\n", forgetting);
        let case = case("classification", &learner, SEED, remembered_max);
        let mut harness = LearnerHarness::new(&case.toml.replace("= 100\n", "= 1000000\n"));
        for (index, (batch, _)) in rows(10_000, 0.3).enumerate() {
            harness.append(taught(index as u64, batch, "a"));
        }
        check_finite(&case, "weights", &harness.learner.learned().weights());
        let scores = teach(&mut harness, &case, 0, 2000);
        let last = mean(&scores[1700..]);
        println!("{last:.3} {}", case.name);
        assert!(last > 0.8, "{last} of {}", case.name);
    }
}

/// A cheap description with nothing but a category.
const CATEGORY: &str = "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
    [[input]]\nname = \"c\"\nkind = \"category\"\n[network]\nkind = \"linear\"\n\
    [learner]\nkind = \"gradient\"\n[memory]\nstrategy = \"none\"\n\
    [versions]\nevery_examples = 1000000000\n";

fn category(word: &str) -> Batch {
    Batch {
        n_rows: 1,
        columns: vec![Column::Strings(vec![word.to_owned()])],
    }
}

/// The probability of the second class.
fn probability(harness: &LearnerHarness, word: &str) -> f32 {
    let model = harness.learner.model();
    match model.predict(&category(word), Choice::Best).unwrap() {
        Outputs::Probabilities(shares) => shares[1],
        _ => panic!("a classification"),
    }
}

/// The category learned by default: slower, and so with fewer rows.
fn by_default() -> String {
    let (inputs, _) = CATEGORY.split_once("[network]").expect("there is one");
    format!("{inputs}[versions]\nevery_examples = 1000000000\n")
}

#[test]
fn twenty_thousand_rows_of_one_category_leave_room_for_another_by_default() {
    let mut harness = LearnerHarness::new(&by_default());
    (0..20_000).for_each(|index| teach_alone(&mut harness, index, "hot", "a"));
    assert!(probability(&harness, "hot") < 0.01);
    (0..200).for_each(|index| teach_alone(&mut harness, 2_000_000 + index, "cold", "b"));
    println!(
        "{} and {}",
        probability(&harness, "hot"),
        probability(&harness, "cold")
    );
    assert!(probability(&harness, "hot") < 0.5 && probability(&harness, "cold") > 0.9);
}

#[test]
fn a_category_with_twenty_thousand_values_takes_bounded_room_by_default() {
    let mut harness = LearnerHarness::new(&by_default());
    let mut bytes_after = |n_words: std::ops::Range<u64>| {
        for index in n_words {
            teach_alone(&mut harness, index, &format!("word {index}"), "a");
        }
        learned_bytes(&harness)
    };
    let (half, whole) = (bytes_after(0..10_000), bytes_after(10_000..20_000));
    println!("{half} bytes, then {whole}");
    assert!(whole - half < half && whole < 4 << 20);
    check_finite(
        &cases(SEED)[0],
        "many values",
        &harness.learner.learned().weights(),
    );
}

#[test]
fn a_million_rows_of_one_category_leave_room_for_another() {
    let mut harness = LearnerHarness::new(CATEGORY);
    (0..1_000_000).for_each(|index| teach_alone(&mut harness, index, "hot", "a"));
    assert_eq!(harness.learner.ledger().count(Fate::Applied), 1_000_000);
    assert!(probability(&harness, "hot") < 0.01);
    (0..200).for_each(|index| teach_alone(&mut harness, 2_000_000 + index, "cold", "b"));
    assert!(probability(&harness, "hot") < 0.5 && probability(&harness, "cold") > 0.9);
}

#[test]
fn a_category_with_ever_new_values_takes_bounded_room() {
    let mut harness = LearnerHarness::new(CATEGORY);
    let mut bytes_after = |n_words: std::ops::Range<u64>| {
        for index in n_words {
            teach_alone(&mut harness, index, &format!("word {index}"), "a");
        }
        // The fixture's entries are a second apart, and ids are known for a day.
        assert!(harness.learner.feedback_ids().len() <= 24 * 3600 + 1);
        learned_bytes(&harness)
    };
    let (half, whole) = (bytes_after(0..150_000), bytes_after(150_000..300_000));
    println!("{half} bytes, then {whole}");
    // Ever more buckets were taken by then.
    assert!(whole - half < half / 3 * 2 && whole < 4 << 20);
}

#[test]
fn weights_that_explode_are_held_and_updates_without_end_are_counted() {
    let mut n_rejected = 0;
    for (strategy, task) in STRATEGIES
        .into_iter()
        .flat_map(|s| TASKS.map(|task| (s, task)))
    {
        for optimizer in ["sgd", "adamw"] {
            let learner = gradient("mlp", optimizer, strategy);
            let rate = if optimizer == "sgd" { "0.05" } else { "0.01" };
            let learner = learner
                .replace(rate, "10.0")
                .replace("[8]", "[8, 8, 8, 8, 8, 8, 8, 8]");
            let case = case(task, &learner, SEED, remembered_max(strategy));
            let mut harness = LearnerHarness::new(&case.toml);
            let wild = Stretch {
                x: Feed::Wild,
                probability: Says::Wild,
                ..GOOD
            };
            endure(&mut harness, &case, &[GOOD, wild]);
            let rejected = harness.learner.ledger().count(Fate::Quarantined);
            println!("{rejected} rejected, {}", case.name);
            n_rejected += rejected;
        }
    }
    assert!(n_rejected > 0, "some updates have no end");
}
