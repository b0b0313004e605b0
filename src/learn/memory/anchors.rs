//! The anchors of a retention set: rows that are learned once, when they come, and asked ever after.
//!
//! A row becomes an anchor by a seeded hash of its example's number: one of 20 of a class until 32
//! of the class have, one of 100 after that, and none of the first 20. No memory stores it, so
//! that its answer measures the retention of the weights.
//!
//! Invariant: bounded in rows and bytes, and balanced over the classes: where there is no room, a row
//! of the class with the most anchors goes.

use crate::learn::memory::stored_example::{
    ExampleBounds, StoredExample, load_examples, save_examples,
};
use crate::model::weights::{Error, Tensors};
use crate::model::{RawRow, Target};

/// Anchors at most, and the bytes of their rows.
const ROWS_MAX: usize = 1000;
const BYTES_MAX: usize = 16 << 20;
/// Rows of a class that are no anchors, so that the first of a rare one are remembered.
const FIRST: u64 = 20;
/// One of so many rows becomes an anchor while its class has fewer than `FEW`, and after that.
const ONE_OF_FEW: u64 = 20;
const ONE_OF: u64 = 100;
const FEW: usize = 32;

/// The rows, and how many of each class have come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Anchors {
    seed: u64,
    rows: Vec<StoredExample>,
    /// `[n_outputs]`: examples of each class so far, and anchors of each.
    n_seen: Vec<u64>,
    n_anchors: Vec<usize>,
    n_bytes: usize,
}

impl Anchors {
    /// No anchors yet.
    pub(crate) fn new(seed: u64, n_outputs: usize) -> Anchors {
        Anchors {
            seed,
            rows: Vec::new(),
            n_seen: vec![0; n_outputs],
            n_anchors: vec![0; n_outputs],
            n_bytes: 0,
        }
    }

    /// Takes note of an example of a class; true where its row becomes an anchor.
    pub(crate) fn observe(
        &mut self,
        row: impl FnOnce() -> RawRow,
        class: u32,
        example: u64,
    ) -> bool {
        let place = class as usize;
        self.n_seen[place] += 1;
        let one_of = match self.n_anchors[place] {
            0..FEW => ONE_OF_FEW,
            _ => ONE_OF,
        };
        let chosen = hash(self.seed, example).is_multiple_of(one_of);
        if self.n_seen[place] <= FIRST || !chosen {
            return false;
        }
        let row = row();
        if row.n_bytes() > BYTES_MAX {
            return false;
        }
        self.push(StoredExample {
            row: row.into(),
            target: Target::Class(class),
            example: Some(example),
            weight: 1.0,
            is_anchor: false,
            outputs: Vec::new(),
        });
        while self.rows.len() > ROWS_MAX || self.n_bytes > BYTES_MAX {
            self.make_room(example);
        }
        true
    }

    fn push(&mut self, stored: StoredExample) {
        self.n_bytes += stored.row.n_bytes();
        self.n_anchors[stored.target.stratum() as usize] += 1;
        self.rows.push(stored);
    }

    /// Removes an anchor of the class with the most, but not the newest anchor.
    fn make_room(&mut self, example: u64) {
        let most = self.n_anchors.iter().max().copied().unwrap_or(0);
        let fullest = self.n_anchors.iter().position(|n| *n == most);
        let fullest = fullest.unwrap_or(0) as u32;
        let older = self.rows[..self.rows.len() - 1].iter().enumerate();
        let of_class = older.filter(|(_, one)| one.target.stratum() == fullest);
        let places: Vec<usize> = of_class.map(|(place, _)| place).collect();
        let place = match places.len() {
            0 => 0,
            n => places[(hash(self.seed, !example) % n as u64) as usize],
        };
        let gone = self.rows.remove(place);
        self.n_bytes -= gone.row.n_bytes();
        self.n_anchors[gone.target.stratum() as usize] -= 1;
    }

    /// Every anchor.
    pub(crate) fn rows(&self) -> &[StoredExample] {
        &self.rows
    }

    /// The anchor of the turn.
    pub(crate) fn of_turn(&self, turn: u64) -> Option<&StoredExample> {
        let n = self.rows.len() as u64;
        let place = hash(self.seed, turn).checked_rem(n)?;
        self.rows.get(place as usize)
    }

    /// An example is of another class than it was learned as; true if it is an anchor.
    pub(crate) fn amend(&mut self, example: u64, class: u32) -> bool {
        let found = self
            .rows
            .iter_mut()
            .find(|one| one.example == Some(example));
        let Some(anchor) = found else {
            return false;
        };
        self.n_anchors[anchor.target.stratum() as usize] -= 1;
        self.n_anchors[class as usize] += 1;
        anchor.target = Target::Class(class);
        true
    }

    /// Forgets the anchors of examples after this number, which were not learned after all.
    pub(crate) fn forget_after(&mut self, number: u64) {
        let rows = std::mem::take(&mut self.rows);
        self.n_anchors.fill(0);
        self.n_bytes = 0;
        let kept = rows.into_iter();
        let kept = kept.filter(|one| one.example.is_some_and(|example| example <= number));
        kept.for_each(|one| self.push(one));
    }

    /// The rows as examples, and U64 `seen` `[n_outputs]`.
    pub(crate) fn save(&self) -> Tensors {
        let mut tensors = save_examples(self.rows.iter());
        tensors.put_u64("seen", &[self.n_seen.len()], self.n_seen.clone());
        tensors
    }

    /// Reads the state that [`Anchors::save`] wrote.
    pub(crate) fn load(
        seed: u64,
        form: ExampleBounds,
        tensors: &mut Tensors,
    ) -> Result<Anchors, Error> {
        let mut anchors = Anchors::new(seed, form.n_outputs);
        anchors.n_seen = tensors.take_u64("seen", &[Some(form.n_outputs)])?;
        for stored in load_examples(form, tensors)? {
            anchors.push(stored);
        }
        if anchors.rows.len() > ROWS_MAX || anchors.n_bytes > BYTES_MAX {
            let (n, bytes) = (anchors.rows.len(), anchors.n_bytes);
            return Err(Error::value(
                "dense",
                format!("{n} anchors of {bytes} bytes"),
            ));
        }
        Ok(anchors)
    }
}

/// A hash of a number, by SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) fn hash(seed: u64, number: u64) -> u64 {
    let mut mixed = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(x: f32, n_dense: usize) -> RawRow {
        RawRow {
            vectors: vec![x; n_dense],
            ..RawRow::default()
        }
    }

    /// Anchors after `n` examples, of which one of ten is of the second class.
    fn after(n: u64) -> Anchors {
        let mut anchors = Anchors::new(7, 3);
        for example in 1..=n {
            let class = u32::from(example % 10 == 0);
            anchors.observe(|| row(example as f32, 2), class, example);
        }
        anchors
    }

    #[test]
    fn few_rows_are_withheld_and_rare_classes_have_their_part() {
        let anchors = after(2_000);
        let [common, rare, none] = anchors.n_anchors[..] else {
            panic!("three classes")
        };
        assert!((32..120).contains(&common), "{common} of 1800");
        assert!((1..=20).contains(&rare), "{rare} of 200");
        assert_eq!(none, 0);
        assert!(after(20).rows.is_empty());
    }

    #[test]
    fn p8_the_set_is_bounded_and_stays_balanced() {
        let anchors = after(400_000);
        assert_eq!(anchors.rows.len(), ROWS_MAX);
        assert!(
            anchors.n_anchors[0].abs_diff(anchors.n_anchors[1]) < 300,
            "{:?}",
            anchors.n_anchors
        );
        assert!(anchors.rows.iter().any(|one| one.example > Some(390_000)));
        let mut wide = Anchors::new(7, 1);
        let large = row(0.0, BYTES_MAX / 40);
        (1..2_000).for_each(|example| _ = wide.observe(|| large.clone(), 0, example));
        assert!(wide.rows.len() <= 10 && wide.n_bytes <= BYTES_MAX);
    }

    #[test]
    fn anchors_are_amended_forgotten_and_loaded() {
        let mut anchors = after(3_000);
        let example = anchors.rows[3].example.expect("a number");
        let n_before = anchors.n_anchors[2];
        anchors.amend(example, 2);
        anchors.amend(1, 2);
        assert_eq!(anchors.n_anchors[2], n_before + 1);
        let form = ExampleBounds {
            n_dense: 2,
            n_buckets: 0,
            n_outputs: 3,
            n_vectors: 2,
            ..ExampleBounds::default()
        };
        assert_eq!(
            Anchors::load(7, form, &mut anchors.save()),
            Ok(anchors.clone())
        );
        anchors.forget_after(example);
        assert_eq!(anchors.rows.len(), 4);
        assert_eq!(anchors.n_bytes, 4 * 8);
        let asked: Vec<_> = (0..50).filter_map(|turn| anchors.of_turn(turn)).collect();
        assert_eq!(asked.len(), 50);
        assert!(asked.iter().any(|one| one.target == Target::Class(2)));
    }
}
