//! Remembered rows stand where the scale of now puts them.
//!
//! Invariant: the rows are seeded, and each is answered before it is learned.

use perennial::event::{Batch, Column, Outputs, Signal};
use perennial::model::argmax;
use perennial::model::weights::Data;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::LearnerHarness;

/// The accuracy after the level of one of two numbers has risen a hundredfold; a row is of class `a`
/// where both lie in the same half of their range.
fn score(toml: &str) -> f64 {
    let mut model = LearnerHarness::new(toml);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (mut n_right, mut n) = (0.0, 0.0);
    for turn in 0..700 {
        let level = if turn < 300 { 1.0 } else { 100.0 };
        let pair = [rng.random::<f64>(), level * rng.random::<f64>()];
        let is_a = (pair[0] > 0.5) == (pair[1] > 0.5 * level);
        let label = if is_a { "a" } else { "b" };
        let columns = pair.map(|x| Column::Numbers(vec![x])).to_vec();
        let prediction = model.predict(Batch { n_rows: 1, columns });
        let Outputs::Probabilities(p) = &prediction.outputs else {
            panic!("classes have probabilities")
        };
        if turn >= 450 {
            n += 1.0;
            n_right += f64::from(u8::from((argmax(p) == 0) == is_a));
        }
        let id = prediction.ids[0];
        model.submit(id, Signal::Label(label.to_owned()));
    }
    let digest = model.learner.learned().digest();
    model.reload();
    assert_eq!(model.learner.learned().digest(), digest);
    n_right / n
}

#[test]
fn neighbours_follow_a_level_that_rises() {
    let inputs = "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
        [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"y\"\nkind = \"number\"\n\
        [learner]\nkind = \"neighbours\"\nexamples = 2000\n";
    let raw = score(inputs);
    let encoded = score(&format!("{inputs}[rules]\nrevision = 2\n"));
    println!("raw {raw:.3}, as they were encoded {encoded:.3}");
    assert!(raw > 0.85 && raw > encoded, "{raw} {encoded}");
}

/// Learns the rows of five days: an hour, which is a gap in every ninth, and a number, which is one in
/// every seventh.
fn five_days(toml: &str, signal: impl Fn(u64) -> Signal) -> LearnerHarness {
    let mut model = LearnerHarness::new(toml);
    for row in 0..120 {
        let at = format!("2024-01-{:02}T{:02}:00:00Z", 1 + row / 24, row % 24);
        let at = if row % 9 == 0 { String::new() } else { at };
        let x = if row % 7 == 0 { f64::NAN } else { row as f64 };
        let columns = vec![Column::Strings(vec![at]), Column::Numbers(vec![x])];
        let prediction = model.predict(Batch { n_rows: 1, columns });
        model.submit(prediction.ids[0], signal(row));
    }
    model
}

/// A checkpoint holds no value that is not finite, so gaps are saved beside the values.
#[test]
fn rows_with_times_and_gaps_are_saved_and_loaded() {
    let inputs = "[[input]]\nname = \"at\"\nkind = \"time\"\nmissing = \"mean\"\n\
        [[input]]\nname = \"x\"\nkind = \"number\"\nmissing = \"mean\"\n";
    let classes = "task = \"classification\"\nclasses = [\"a\", \"b\"]\n";
    let label = |row: u64| Signal::Label(if row % 24 < 12 { "a" } else { "b" }.to_owned());
    let value = |row: u64| Signal::Value((row % 24) as f64);
    for kind in ["auto", "analytic", "neighbours", "gradient"] {
        let learner = format!("[learner]\nkind = \"{kind}\"\n");
        let classified = five_days(&format!("{classes}{inputs}{learner}"), label);
        let regression = format!("task = \"regression\"\n{inputs}{learner}");
        for mut model in [classified, five_days(&regression, value)] {
            let saved = model.learner.learned().weights().0.into_iter();
            for (name, tensor) in saved.chain(model.learner.state().0) {
                let is_finite = match &tensor.data {
                    Data::F32(values) => values.iter().all(|value| value.is_finite()),
                    Data::F64(values) => values.iter().all(|value| value.is_finite()),
                    _ => true,
                };
                assert!(is_finite, "{kind}: {name}");
            }
            let before = model.learner.clone();
            model.reload();
            assert!(model.learner == before, "{kind}");
        }
    }
}
