//! Paired differences as a test takes them, with their mean as people see it.
//!
//! Invariant: the test decides; the mean in the units of people is for them alone.

use super::e_process::EProcess;
use crate::model::weights::{Error, Tensors};

/// A test of paired differences.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Differences {
    process: EProcess,
    /// The sum of the differences as people see them.
    shown: f64,
}

impl Differences {
    /// Takes a difference in favour of the tested side, and its value in the unit of the task.
    pub(super) fn observe(&mut self, in_favour: f64, shown: f64) {
        self.process.observe(in_favour);
        self.shown += shown;
    }

    /// Differences so far.
    pub(super) fn n(&self) -> u64 {
        self.process.n()
    }

    /// The evidence by now.
    pub(super) fn wealth(&self) -> f64 {
        self.process.wealth()
    }

    /// True if the differences are in favour on average.
    pub(super) fn are_in_favour(&self) -> bool {
        self.process.mean() > 0.0
    }

    /// The mean difference as people see it; 0 of none.
    pub(super) fn mean(&self) -> f64 {
        self.shown / (self.n().max(1) as f64)
    }

    pub(super) fn save(&self, name: &str, tensors: &mut Tensors) {
        self.process.save(name, tensors);
        tensors.put_f64(format!("{name}.shown"), &[1], vec![self.shown]);
    }

    pub(super) fn load(name: &str, tensors: &mut Tensors) -> Result<Differences, Error> {
        let shown = tensors.take_f64(&format!("{name}.shown"), &[Some(1)])?[0];
        if !shown.is_finite() {
            return Err(Error::value(name, "a sum that is not finite"));
        }
        Ok(Differences {
            process: EProcess::load(name, tensors)?,
            shown,
        })
    }
}
