//! Relearning: the newest examples are learned again as they are known by now, from a state held
//! before them.
//!
//! An amendment puts a state right as far as its kind can tell what an example taught: many of them
//! add up, since all that was learned after an example depends on it. So a state of rewards is held
//! together with the examples since. Once one of them is amended, a copy of the state learns them
//! again, a few at each example and each amendment, and takes the place of the present state as soon
//! as it has learned all of them: it is then, bit for bit, the state of a learner to which the examples
//! came as they are now. Until then amendments are made in both.
//!
//! Invariant: bounded in states, examples and steps; depends on nothing but what is learned and
//! amended, and its order. An example further back than those that are kept is amended alone.

use std::sync::Arc;

use super::super::example::{Amendment, NewExample, Outcome};
use super::Learned;
use crate::event::Batch;
use crate::learn::memory::kept_examples::{EXAMPLES_MAX, KeptExample, KeptExamples};
use crate::model::weights::{Error, Tensors};
use crate::model::{Device, LearnerKind, Spec, Task};

/// Examples that stay kept, so that an amendment of one of them is exact.
const REACH: u64 = EXAMPLES_MAX as u64 / 2;
/// Examples that are learned again at most for each example and for each amendment.
const STEPS: usize = 4;
const STEPS_AMENDED: usize = 16;
/// Learning again begins once one example has been amended for so many that are kept, or once so many
/// have come since the newest amendment.
const KEPT_EACH: usize = 64;
const QUIET: u64 = 128;

/// The newest examples, and the states before them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Relearning {
    /// The state that had learned nothing of the kept examples; none where none are kept, until one is
    /// amended.
    start: Option<Arc<Learned>>,
    kept: KeptExamples,
    /// The state that learns them again.
    again: Option<Arc<Learned>>,
    /// The number of the example before which the next start is; 0 for the same.
    next_start: u64,
    /// Amendments that the present state does not hold as if they had been known.
    n_approximate: u64,
    /// The number that the next example had at the newest amendment.
    newest_amendment: u64,
}

/// True if the learners of this description learn amended rewards again: of kinds that cannot take
/// back exactly what an example taught, from the third revision on.
pub(super) fn relearns(spec: &Spec) -> bool {
    spec.stores_raw_rows()
        && matches!(spec.task, Task::Bandit { .. })
        && matches!(spec.learner, LearnerKind::Auto(_) | LearnerKind::Gradient(_))
        && spec.device == Device::Cpu
        && spec.adapted_encoders().next().is_none()
}

impl Relearning {
    /// Keeps nothing until an example is amended.
    fn rest(&mut self) {
        *self = Relearning::default();
    }

    /// Begins to keep what is learned after this state.
    fn begin(&mut self, start: Learned) {
        self.rest();
        self.kept = KeptExamples::from_number(start.next_number());
        self.start = Some(Arc::new(start));
    }

    /// Begins to learn again what is kept.
    fn begin_again(&mut self) {
        let n_stay = match self.kept.fill(1) {
            true => REACH.min(self.kept.len() as u64 / 2),
            false => REACH,
        };
        self.next_start = self.next_number().saturating_sub(n_stay);
        self.n_approximate = 0;
        self.again = self.start.clone();
    }

    /// Keeps an example that was learned.
    fn keep(&mut self, example: KeptExample) {
        if self.start.is_none() {
            return;
        }
        self.kept.push(example);
        let was_amended = self.newest_amendment > self.kept.first();
        let is_quiet = self.next_number() >= self.newest_amendment + QUIET;
        if self.again.is_some() {
            if self.kept.fill(2) {
                self.rest();
            }
        } else if self.kept.fill(1) && !was_amended {
            self.rest();
        } else if self.kept.fill(1) || (self.n_approximate > 0 && is_quiet) {
            self.begin_again();
        }
    }

    /// The number of the next example.
    fn next_number(&self) -> u64 {
        self.kept.first() + self.kept.len() as u64
    }

    /// Amends an example wherever it is kept, or learned by a state that is held. `is_exact` of one
    /// that the present state had not learned yet.
    fn amend(&mut self, row: (&Batch, usize), amendment: &Amendment, is_exact: bool) {
        let is_kept = self.kept.amend(amendment.example, amendment.after);
        let held = self.start.iter_mut().filter(|_| !is_kept);
        for state in held.chain(&mut self.again) {
            if state.next_number() > amendment.example {
                let n_since = state.n_examples.saturating_sub(amendment.example);
                let amendment = Amendment {
                    n_since,
                    ..*amendment
                };
                Arc::make_mut(state).amend_row(row.0, row.1, amendment);
            }
        }
        self.n_approximate += u64::from(is_kept && !is_exact);
        let n_enough = (self.kept.len() / KEPT_EACH) as u64;
        if self.again.is_none() && self.n_approximate > n_enough {
            self.begin_again();
        }
    }

    /// Learns so many examples again at most; gives the state that has learned all of them.
    fn step(&mut self, n_steps: usize) -> Option<Learned> {
        for _ in 0..n_steps {
            let Some(again) = &mut self.again else {
                return None;
            };
            let number = again.next_number();
            let Some(example) = self.kept.get(number).cloned() else {
                let again = self.again.take();
                return again.map(Arc::unwrap_or_clone);
            };
            let new = NewExample {
                target: example.target,
                weight: example.weight,
                asked: None,
            };
            let outcome = Arc::make_mut(again).learn(&example.row, 0, new, &mut Vec::new());
            let is_learned = matches!(outcome, Outcome::Waits | Outcome::Updated(_));
            if !is_learned || again.next_number() != number + 1 {
                self.rest();
                return None;
            }
            if number + 1 == self.next_start {
                self.start = Some(again.clone());
                self.kept.forget_before(number + 1);
            }
        }
        None
    }

    /// U64 `numbers` `[3]`, the kept examples, and the states that there are.
    fn save(&self) -> Tensors {
        let mut tensors = Tensors::default();
        let numbers = vec![self.next_start, self.n_approximate, self.newest_amendment];
        tensors.put_u64("numbers", &[3], numbers);
        tensors.nest("kept", self.kept.save());
        for (name, state) in [("start", &self.start), ("again", &self.again)] {
            if let Some(state) = state {
                tensors.nest(&format!("{name}.weights"), state.weights());
                tensors.nest(&format!("{name}.state"), state.state());
            }
        }
        tensors
    }

    fn load(spec: &Spec, tensors: &mut Tensors) -> Result<Relearning, Error> {
        let mut state = |name: &str| -> Result<Option<Arc<Learned>>, Error> {
            let mut weights = tensors.unnest(&format!("{name}.weights"));
            let mut state = tensors.unnest(&format!("{name}.state"));
            if state.0.is_empty() {
                return Ok(None);
            }
            let loaded = Learned::load(spec, &mut weights, &mut state)?;
            Ok(Some(Arc::new(loaded.bare())))
        };
        let (start, again) = (state("start")?, state("again")?);
        let numbers = tensors.take_u64("numbers", &[Some(3)])?;
        Ok(Relearning {
            start,
            again,
            kept: KeptExamples::load(spec, &mut tensors.unnest("kept"))?,
            next_start: numbers[0],
            n_approximate: numbers[1],
            newest_amendment: numbers[2],
        })
    }
}

impl Learned {
    /// The same without what is kept for learning again.
    fn bare(&self) -> Learned {
        Learned {
            relearning: None,
            ..self.clone()
        }
    }

    /// Holds the state before the first example.
    pub(super) fn hold_start(&mut self) {
        if self.relearning.is_some() && self.next_number() == 1 {
            self.begin_relearning();
        }
    }

    fn begin_relearning(&mut self) {
        let start = self.bare();
        if let Some(relearning) = &mut self.relearning {
            relearning.begin(start);
        }
    }

    /// Keeps an example with this outcome, and goes on learning again.
    pub(super) fn keep(&mut self, row: (&Batch, usize), new: NewExample, outcome: &Outcome) {
        let Some(relearning) = &mut self.relearning else {
            return;
        };
        match outcome {
            Outcome::Waits | Outcome::Updated(_) => {
                relearning.keep(KeptExample::new(row, new.target, new.weight));
                self.relearn(STEPS);
            }
            // It has effects that learning again has not.
            Outcome::Rejected(_) => relearning.rest(),
            Outcome::Failed(_) => {}
        }
    }

    /// The same for an amendment.
    pub(super) fn keep_amended(
        &mut self,
        row: (&Batch, usize),
        amendment: &Amendment,
        outcome: &Outcome,
    ) {
        let Some(relearning) = &mut self.relearning else {
            return;
        };
        match outcome {
            Outcome::Waits | Outcome::Updated(_) => {
                if relearning.start.is_some() {
                    relearning.newest_amendment = relearning.next_number();
                    relearning.amend(row, amendment, *outcome == Outcome::Waits);
                    self.relearn(STEPS_AMENDED);
                } else {
                    self.begin_relearning();
                }
            }
            Outcome::Rejected(_) => relearning.rest(),
            Outcome::Failed(_) => {}
        }
    }

    fn relearn(&mut self, n_steps: usize) {
        let learned = self.relearning.as_mut().and_then(|all| all.step(n_steps));
        if let Some(mut learned) = learned
            && learned.next_number() == self.next_number()
        {
            learned.relearning = self.relearning.take();
            *self = learned;
        }
    }

    /// Takes the settings of a changed description; under other ones nothing is learned again.
    pub(super) fn reconfigure_relearning(&mut self, spec: &Spec, is_same: bool) {
        if !relearns(spec) {
            self.relearning = None;
            return;
        }
        let relearning = self.relearning.get_or_insert_default();
        if !is_same {
            relearning.rest();
        }
        for state in relearning.start.iter_mut().chain(&mut relearning.again) {
            Arc::make_mut(state).reconfigure(spec);
            Arc::make_mut(state).relearning = None;
        }
    }

    pub(super) fn save_relearning(&self, tensors: &mut Tensors) {
        if let Some(relearning) = &self.relearning {
            tensors.nest("relearning", relearning.save());
        }
    }

    pub(super) fn load_relearning(
        &mut self,
        spec: &Spec,
        state: &mut Tensors,
    ) -> Result<(), Error> {
        let mut saved = state.unnest("relearning");
        self.relearning = match (relearns(spec), saved.0.is_empty()) {
            (false, _) => None,
            (true, true) => Some(Box::default()),
            (true, false) => Some(Box::new(Relearning::load(spec, &mut saved)?)),
        };
        Ok(())
    }
}
