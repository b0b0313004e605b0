//! The labels that the places of classes had in answers of an older program, journaled without.
//!
//! Invariant: a place keeps its label until an order brings other learning back, so the labels
//! before each such order are those of all answers that were given since the one before it.
//! Bounded, and empty once no such answer waits any more.

use std::collections::VecDeque;

use crate::model::weights::{Error, Tensors};

/// Answers from before so many orders can no longer be judged.
const STRETCHES_MAX: usize = 64;
const HASH_BYTES: usize = 16;

/// The labels of the places, as they were while such answers were given.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Places {
    /// The largest position of such an answer.
    newest: u64,
    /// Rising, without a gap but for those forgotten.
    stretches: VecDeque<Stretch>,
}

/// The labels of the states of these positions: from `since` on, up to and without `until`.
#[derive(Clone, Debug, PartialEq)]
struct Stretch {
    since: u64,
    until: u64,
    /// The first halves of their BLAKE3: a label that came with feedback may be erased.
    labels: Vec<[u8; HASH_BYTES]>,
}

impl Places {
    /// An answer without labels stands at `position`, or may stand at any before it.
    pub(crate) fn wait(&mut self, position: u64) {
        self.newest = position;
    }

    /// The order at `until` has changed the meaning of places, which was the same since that at `since`.
    pub(crate) fn end(&mut self, since: u64, until: u64, labels: &[String]) {
        if self.newest > 0 {
            let labels = labels.iter().map(|label| hash(label)).collect();
            self.stretches.push_back(Stretch {
                since,
                until,
                labels,
            });
        }
        while self.stretches.len() > STRETCHES_MAX {
            self.stretches.pop_front();
        }
    }

    /// Forgets the places before the oldest prediction that waits: they are judged no more.
    pub(crate) fn forget(&mut self, oldest_waiting: Option<u64>) {
        if oldest_waiting.is_none_or(|oldest| oldest > self.newest) {
            *self = Places::default();
        }
    }

    /// True if a place had this label in the state at `position`; none where no order has changed
    /// places since, or it is not known any more.
    pub(crate) fn had(&self, place: usize, position: u64, label: &str) -> Option<bool> {
        let known = |stretch: &&Stretch| (stretch.since..stretch.until).contains(&position);
        let stretch = self.stretches.iter().find(known)?;
        let then = stretch.labels.get(place)?;
        Some(*then == hash(label))
    }

    pub(crate) fn save(&self, tensors: &mut Tensors) {
        if self.newest == 0 {
            return;
        }
        let mut numbers = vec![self.newest];
        let mut labels = Vec::new();
        for stretch in &self.stretches {
            let n_labels = stretch.labels.len() as u64;
            numbers.extend([stretch.since, stretch.until, n_labels]);
            labels.extend(stretch.labels.iter().flatten());
        }
        tensors.put_u64("places", &[numbers.len()], numbers);
        tensors.put_u8(
            "places.labels",
            &[labels.len() / HASH_BYTES, HASH_BYTES],
            labels,
        );
    }

    pub(crate) fn load(tensors: &mut Tensors) -> Result<Places, Error> {
        if !tensors.0.contains_key("places") {
            return Ok(Places::default());
        }
        let numbers = tensors.take_u64("places", &[None])?;
        let bytes = tensors.take_u8("places.labels", &[None, Some(HASH_BYTES)])?;
        let wrong = || Error::value("places", "these are not the labels of places");
        let (newest, rows) = numbers.split_first().ok_or_else(wrong)?;
        let (mut labels, _) = bytes.as_chunks::<HASH_BYTES>();
        let mut stretches = VecDeque::new();
        for row in rows.chunks(3) {
            let &[since, until, n_labels] = row else {
                return Err(wrong());
            };
            let of_stretch = labels.split_off(..n_labels as usize).ok_or_else(wrong)?;
            stretches.push_back(Stretch {
                since,
                until,
                labels: of_stretch.to_vec(),
            });
        }
        if labels.is_empty() {
            Ok(Places {
                newest: *newest,
                stretches,
            })
        } else {
            Err(wrong())
        }
    }
}

fn hash(label: &str) -> [u8; HASH_BYTES] {
    let hash = blake3::hash(label.as_bytes());
    *hash.as_bytes().first_chunk().expect("it has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(labels: &[&str]) -> Vec<String> {
        labels.iter().map(|label| (*label).to_owned()).collect()
    }

    #[test]
    fn a_place_means_what_it_meant_between_two_orders() {
        let mut places = Places::default();
        places.end(0, 5, &labels(&["a", "x"]));
        assert_eq!(places, Places::default(), "no answer needs it");
        places.wait(9);
        places.end(5, 10, &labels(&["a", "b"]));
        places.end(10, 20, &labels(&["a", "c", ""]));
        let check = |place, position, label, expected| {
            let had = places.had(place, position, label);
            assert_eq!(had, expected, "{place} {position} {label}");
        };
        check(1, 4, "x", None);
        check(1, 5, "b", Some(true));
        check(1, 9, "b", Some(true));
        check(1, 9, "c", Some(false));
        check(2, 9, "c", None);
        check(1, 10, "c", Some(true));
        check(2, 19, "", Some(true));
        check(1, 20, "c", None);
        let mut tensors = Tensors::default();
        places.save(&mut tensors);
        assert_eq!(Places::load(&mut tensors), Ok(places.clone()));
        places.forget(Some(9));
        assert_eq!(places.had(1, 5, "b"), Some(true));
        places.forget(Some(10));
        assert_eq!(places, Places::default());
        places.save(&mut tensors);
        assert!(tensors.0.is_empty());
    }

    #[test]
    fn p8_so_many_orders_are_remembered() {
        let mut places = Places::default();
        places.wait(1);
        for order in 0..STRETCHES_MAX as u64 + 2 {
            places.end(order, order + 1, &labels(&["a"]));
        }
        let had = |position| places.had(0, position, "a");
        assert_eq!((had(1), had(2)), (None, Some(true)));
    }
}
