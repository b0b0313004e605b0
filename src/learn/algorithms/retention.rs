//! Retention: how well a classifier still answers the rows that it learned long ago.
//!
//! Before every second example, or every fourth, an anchor of the retention set is asked, and of a network
//! 16 in one forward pass before every 64th: passes of single rows cost as much as its learning. The share
//! of right answers, fading, stands beside progressive accuracy: it falls where new examples drive out
//! older ones, while progressive accuracy stays high.

use crate::learn::memory::ExampleBounds;
use crate::learn::memory::anchors::Anchors;
use crate::model::weights::{Error, Tensors};
use crate::model::{Encoded, Encoder, RawRow, Scales, Spec, Target};

/// An anchor is asked before one of so many examples; of rows with few dense inputs, whose answer costs as
/// much as a row that is learned, before fewer.
const ASKED_EVERY: u64 = 2;
const ASKED_EVERY_NARROW: u64 = 4;
/// From so many dense inputs on, a row has many.
const WIDE: usize = 64;
/// So many anchors are asked of a network at once, before one of so many examples.
const BATCH: u64 = 16;
const BATCH_EVERY: u64 = 64;
/// Answers over which retention is a plain mean; older ones fade.
const HORIZON: f64 = 512.0;

/// Examples to each anchor that is asked, of rows with so many dense inputs.
pub(crate) fn asked_every(n_dense: usize) -> u64 {
    match n_dense {
        1..WIDE => ASKED_EVERY_NARROW,
        _ => ASKED_EVERY,
    }
}

/// An anchor that is asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AnchorProbe {
    /// The row as it is encoded now.
    pub row: Encoded,
    pub class: u32,
    /// Examples that have come since.
    pub n_since: u64,
}

impl AnchorProbe {
    /// The one-hot target: one for its class, and zero for the others.
    pub(crate) fn one_hot(&self, n_outputs: usize) -> Vec<f32> {
        let mut targets = vec![0.0; n_outputs];
        targets[self.class as usize] = 1.0;
        targets
    }
}

/// The retention set, and the scores on it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Retention {
    anchors: Anchors,
    n_asked: u64,
    /// Shares of right answers: of the model, and then of each member of a portfolio.
    scores: Vec<f64>,
}

impl Retention {
    /// An empty retention set.
    pub(crate) fn new(spec: &Spec) -> Retention {
        Retention {
            anchors: Anchors::new(spec.seed, spec.task.n_outputs()),
            n_asked: 0,
            scores: Vec::new(),
        }
    }

    /// Takes note of an example; true where its row becomes an anchor, which no memory stores.
    pub(crate) fn observe(
        &mut self,
        row: impl FnOnce() -> RawRow,
        target: Target,
        example: Option<u64>,
    ) -> bool {
        match (target, example) {
            (Target::Class(class), Some(example)) => self.anchors.observe(row, class, example),
            _ => false,
        }
    }

    /// The anchor to be asked before example `number`.
    pub(crate) fn due(&self, number: u64, encoder: &Encoder) -> Option<AnchorProbe> {
        if !number.is_multiple_of(asked_every(encoder.n_dense())) {
            return None;
        }
        self.of_turn(number, number, &encoder.scales())
    }

    /// The anchors that a network is asked before example `number`.
    pub(crate) fn batch_due(&self, number: u64, encoder: &Encoder) -> Vec<AnchorProbe> {
        if !number.is_multiple_of(BATCH_EVERY) {
            return Vec::new();
        }
        let (scales, turns) = (encoder.scales(), number..number.saturating_add(BATCH));
        turns
            .filter_map(|turn| self.of_turn(turn, number, &scales))
            .collect()
    }

    fn of_turn(&self, turn: u64, number: u64, scales: &Scales) -> Option<AnchorProbe> {
        let anchor = self.anchors.of_turn(turn)?;
        Some(AnchorProbe {
            row: anchor.row.encoded(scales).into_owned(),
            class: anchor.target.stratum(),
            n_since: (number - 1).saturating_sub(anchor.example.unwrap_or(0)),
        })
    }

    /// Every anchor by these scales, with its class and the number of its example.
    pub(crate) fn anchors(&self, scales: &Scales) -> impl Iterator<Item = (Encoded, u32, u64)> {
        let rows = self.anchors.rows().iter();
        let known = rows.filter_map(|anchor| Some((anchor, anchor.example?)));
        known.map(|(anchor, number)| {
            let row = anchor.row.encoded(scales).into_owned();
            (row, anchor.target.stratum(), number)
        })
    }

    /// The numbers of the examples that are anchors, the newest anchor last.
    pub(crate) fn examples(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.anchors.rows().iter().filter_map(|one| one.example)
    }

    /// Follows the answers to an anchor: whether that of the model was right, and of each member.
    pub(crate) fn score(&mut self, right: impl Iterator<Item = bool>) {
        self.n_asked += 1;
        let share = 1.0 / HORIZON.min(self.n_asked as f64);
        for (place, right) in right.enumerate() {
            if place == self.scores.len() {
                self.scores.push(0.0);
            }
            let score = &mut self.scores[place];
            *score += share * (f64::from(u8::from(right)) - *score);
        }
    }

    /// The scores of the model and of each member; none before the first anchor was asked.
    pub(crate) fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// An example is of another class than it was learned as; true if it is an anchor.
    pub(crate) fn amend(&mut self, example: u64, after: Target) -> bool {
        match after {
            Target::Class(class) => self.anchors.amend(example, class),
            _ => false,
        }
    }

    /// The examples after this number were not learned after all.
    pub(crate) fn forget_after(&mut self, number: u64) {
        self.anchors.forget_after(number);
    }

    pub(crate) fn save(&self) -> Tensors {
        let mut tensors = self.anchors.save();
        tensors.put_u64("asked", &[1], vec![self.n_asked]);
        tensors.put_f64("scores", &[self.scores.len()], self.scores.clone());
        tensors
    }

    pub(crate) fn load(
        spec: &Spec,
        form: ExampleBounds,
        tensors: &mut Tensors,
    ) -> Result<Retention, Error> {
        let n_asked = tensors.take_u64("asked", &[Some(1)])?[0];
        let scores = tensors.take_f64("scores", &[None])?;
        if !scores.iter().all(|score| (0.0..=1.0).contains(score)) {
            return Err(Error::value("scores", format!("{scores:?}")));
        }
        Ok(Retention {
            anchors: Anchors::load(spec.seed, form, tensors)?,
            n_asked,
            scores,
        })
    }
}
