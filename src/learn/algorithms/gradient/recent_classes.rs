//! With which classes a new example competes.
//!
//! A stream that brings few classes for long pushes the outputs of all others down, and replay
//! alone does not hold them up (Caccia et al. 2022): a new row competes with the classes seen of
//! late, and with another one only as far as replay speaks for it.
//!
//! Invariant: counts examples, and so depends on nothing but their order.

use crate::model::weights::{Error, Tensors};

/// A class counts as seen of late for so many new examples, times the number of classes: a class
/// of a mixed stream stays, one of a task that is over goes.
const REACH: u64 = 10;

/// The newest example of each class.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RecentClasses {
    n_seen: u64,
    /// The number of new examples at the last one of each class; 0 where it never came.
    last: Vec<u64>,
}

impl RecentClasses {
    /// Takes note of the class of a new example.
    pub(super) fn observe(&mut self, class: usize) {
        if self.last.len() <= class {
            self.last.resize(class + 1, 0);
        }
        self.n_seen = self.n_seen.saturating_add(1);
        self.last[class] = self.n_seen;
    }

    /// Writes the offsets of the outputs of a new row for each of `n_classes`: nothing for
    /// those seen of late, for the others the logarithm of the share of their examples that is
    /// still remembered, by `remembered`.
    pub(super) fn logit_offsets(
        &self,
        n_classes: usize,
        remembered: impl Fn(usize) -> f32,
        logit_offsets: &mut Vec<f32>,
    ) {
        let reach = REACH * n_classes as u64;
        let logit_offset = |class: usize| match self.last.get(class) {
            Some(last) if *last > 0 && self.n_seen - last < reach => 0.0,
            Some(last) if *last > 0 => remembered(class).ln(),
            _ => f32::NEG_INFINITY,
        };
        logit_offsets.clear();
        logit_offsets.extend((0..n_classes).map(logit_offset));
    }

    /// U64 `recent_classes` `[classes + 1]`.
    pub(super) fn save(&self, tensors: &mut Tensors) {
        let mut values = vec![self.n_seen];
        values.extend(&self.last);
        tensors.put_u64("rivals", &[values.len()], values);
    }

    /// Reads the state that [`RecentClasses::save`] wrote for at most `n_classes`.
    pub(super) fn load(n_classes: usize, tensors: &mut Tensors) -> Result<RecentClasses, Error> {
        let values = tensors.take_u64("rivals", &[None])?;
        let sound = |n_seen: &u64| values[1..].iter().all(|last| last <= n_seen);
        match values.first() {
            Some(n_seen) if values.len() <= n_classes + 1 && sound(n_seen) => Ok(RecentClasses {
                n_seen: *n_seen,
                last: values[1..].to_vec(),
            }),
            _ => Err(Error::value("rivals", "classes that cannot have come")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_of_late_competes_and_another_as_far_as_it_is_remembered() {
        let mut recent_classes = RecentClasses::default();
        let mut logit_offsets = Vec::new();
        let mut after = |classes: &[usize]| {
            classes
                .iter()
                .for_each(|class| recent_classes.observe(*class));
            recent_classes.logit_offsets(4, |class| 0.1 * class as f32, &mut logit_offsets);
            logit_offsets.clone()
        };
        assert_eq!(
            after(&[2, 1]),
            [f32::NEG_INFINITY, 0.0, 0.0, f32::NEG_INFINITY]
        );
        assert_eq!(after(&[1; 38])[2], 0.0);
        assert_eq!(after(&[1])[2], 0.2f32.ln());
        assert_eq!(after(&[2])[2], 0.0);
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let mut recent_classes = RecentClasses::default();
        [0, 3, 3]
            .iter()
            .for_each(|class| recent_classes.observe(*class));
        let saved = || {
            let mut tensors = Tensors::default();
            recent_classes.save(&mut tensors);
            tensors
        };
        assert_eq!(
            RecentClasses::load(4, &mut saved()),
            Ok(recent_classes.clone())
        );
        assert!(RecentClasses::load(3, &mut saved()).is_err());
    }
}
