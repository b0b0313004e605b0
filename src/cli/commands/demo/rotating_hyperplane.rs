//! The rotating hyperplane, a stream with concept drift (Hulten, Spencer and Domingos 2001).
//!
//! Invariant: the seed decides every row.

use perennial::event::{Batch, Column};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::cli::rows::{ModelInput, ModelInputKind};

/// Numbers in a row, each in [0, 1).
const N_INPUTS: usize = 4;
/// The share of labels that are wrong.
const NOISE: f64 = 0.05;
/// The turn of the weights with each row of gradual drift.
const TURN: f64 = 0.0012;

/// The names of the two classes.
pub(super) const CLASSES: [&str; 2] = ["keep", "leave"];

/// The drift of the concept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drift {
    /// No drift.
    Steady,
    /// The hyperplane turned at once, and stays.
    Abrupt,
    /// The hyperplane turns a little with every row.
    Gradual,
}

impl Drift {
    pub(super) fn word(self) -> &'static str {
        match self {
            Drift::Steady => "steady",
            Drift::Abrupt => "abrupt drift",
            Drift::Gradual => "gradual drift",
        }
    }
}

/// The stream.
pub(super) struct RotatingHyperplane {
    rng: ChaCha8Rng,
    angle: f64,
}

impl RotatingHyperplane {
    pub(super) fn new(seed: u64) -> RotatingHyperplane {
        RotatingHyperplane {
            rng: ChaCha8Rng::seed_from_u64(seed),
            angle: 0.4,
        }
    }

    /// Turns the hyperplane at once.
    pub(super) fn drift_abruptly(&mut self) {
        self.angle += 2.5;
    }

    /// The next rows, with the class of each.
    pub(super) fn rows(&mut self, n_rows: usize, drift: Drift) -> (Batch, Vec<&'static str>) {
        let mut columns = vec![Vec::new(); N_INPUTS];
        let mut labels = Vec::with_capacity(n_rows);
        for _ in 0..n_rows {
            if drift == Drift::Gradual {
                self.angle += TURN;
            }
            let (cos, sin) = (self.angle.cos(), self.angle.sin());
            let mut sum = 0.0;
            for (column, weight) in columns.iter_mut().zip([cos, sin, -sin, 0.5 * cos]) {
                let x: f64 = self.rng.random();
                sum += weight * (x - 0.5);
                column.push(x);
            }
            let flipped = self.rng.random_bool(NOISE);
            labels.push(CLASSES[usize::from((sum > 0.0) != flipped)]);
        }
        let columns = columns.into_iter().map(Column::Numbers).collect();
        (Batch { n_rows, columns }, labels)
    }
}

/// The names under which the numbers are sent.
pub(super) fn inputs() -> Vec<ModelInput> {
    let input = |index| ModelInput {
        name: format!("x{index}"),
        kind: ModelInputKind::Number,
        gaps: false,
    };
    (0..N_INPUTS).map(input).collect()
}

/// The description of a model for these rows, with nothing set.
pub(super) fn description() -> String {
    let mut toml = format!("task = \"classification\"\nclasses = {CLASSES:?}\n");
    for input in inputs() {
        toml += &format!("\n[[input]]\nname = {:?}\nkind = \"number\"\n", input.name);
    }
    toml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_the_rows_and_drift_changes_the_labels() {
        let labels = |turned: bool| {
            let mut stream = RotatingHyperplane::new(7);
            if turned {
                stream.drift_abruptly();
            }
            stream.rows(500, Drift::Steady)
        };
        assert_eq!(labels(false), labels(false));
        let (steady, turned) = (labels(false).1, labels(true).1);
        let same = steady.iter().zip(&turned).filter(|(a, b)| a == b);
        assert!(same.count() < 250);
    }

    #[test]
    fn the_description_is_sound() {
        perennial::model::Spec::parse(&description()).unwrap();
    }
}
