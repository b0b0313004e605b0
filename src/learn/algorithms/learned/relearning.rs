//! Relearning: the newest examples are learned again as they are known by now, from a state held
//! before them.
//!
//! An amendment puts a state right as far as its kind knows the effect of an example: many of them
//! add up, since all that was learned after an example depends on it. So states of rewards are held
//! together with the examples since. Once one of these is amended, a copy of the newest state before it
//! learns them again, a few at each example and each amendment, and takes the place of the present
//! state as soon as it has learned all of them: it is then, bit for bit, the state of a learner to
//! which the examples came as they are now. Until then amendments are made in both. States are held
//! at least so far back as an amendment is to be exact, and one as far back as they have been of late,
//! so that most are learned again within a few entries.
//!
//! Invariant: bounded in states, their bytes, examples and steps; depends on nothing but the learned
//! and amended examples, and their order. An example further back than those that are kept is amended alone.

use std::sync::Arc;

use super::super::example::{Amendment, NewExample, Outcome};
use super::Learned;
use crate::event::Batch;
use crate::learn::memory::kept_examples::{EXAMPLES_MAX, KeptExample, KeptExamples};
use crate::model::weights::{Error, Tensors};
use crate::model::{Device, LearnerKind, Spec, Task};

/// Examples that stay kept, so that an amendment of one of them is exact. A state is held before each
/// example whose number is a multiple of it.
const REACH: u64 = EXAMPLES_MAX as u64 / 2;
/// Examples that are learned again at most for each example and for each amendment.
const STEPS: usize = 4;
const STEPS_AMENDED: usize = 16;
/// Learning again begins once one example has been amended for so many that are to be learned, or once
/// so many have come since the newest amendment.
const LEARNED_EACH: u64 = 64;
const QUIET: u64 = 128;
/// The bytes of a state that is held. Whether a larger one has become small is seen when it has learned
/// twice as many examples.
const STATE_BYTES_MAX: usize = 8 << 20;
/// States that are held at most: one for every so many kept examples, the first, and the one that the
/// newest amendments reach back to.
const STATES_MAX: usize = 2 * EXAMPLES_MAX / REACH as usize + 2;

/// The newest examples, and the states before them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Relearning {
    /// The states by the numbers of their next examples, of which the first is that of the first kept one.
    /// None while nothing is kept, until an example is amended.
    states: Vec<Arc<Learned>>,
    kept: KeptExamples,
    /// The state that learns them again, and its amendments.
    again: Option<Arc<Learned>>,
    amended_again: AmendedExample,
    /// Amendments in the present state.
    amended: AmendedExample,
    /// The number before which a state is held next; 0 for none.
    next_near: u64,
    /// The recent distance of amendments back.
    delay: u64,
    /// The number that the next example had at the newest amendment.
    newest_amendment: u64,
    /// No state is held before this number, since they were too large.
    rests_until: u64,
}

/// Amendments that a state does not hold as if they had been known when it learned the examples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct AmendedExample {
    count: u64,
    /// The least number of their examples.
    oldest: u64,
}

impl AmendedExample {
    fn add(&mut self, example: u64) {
        self.oldest = match self.count {
            0 => example,
            _ => self.oldest.min(example),
        };
        self.count += 1;
    }
}

/// True if the learners of this description learn amended rewards again: of kinds that cannot take
/// back exactly the effect of an example, from the third revision on.
pub(super) fn relearns(spec: &Spec) -> bool {
    spec.stores_raw_rows()
        && matches!(spec.task, Task::Bandit { .. })
        && matches!(
            spec.learner,
            LearnerKind::Auto(_) | LearnerKind::Gradient(_)
        )
        && spec.device == Device::Cpu
        && spec.adapted_encoders().next().is_none()
}

impl Relearning {
    /// Keeps nothing until an example is amended.
    fn rest(&mut self) {
        *self = Relearning {
            rests_until: self.rests_until,
            ..Relearning::default()
        };
    }

    /// Begins to keep the examples learned after this state.
    fn begin(&mut self, state: Learned) {
        self.rest();
        let number = state.next_number();
        if state.n_bytes() > STATE_BYTES_MAX {
            self.rests_until = 2 * number;
            return;
        }
        self.kept = KeptExamples::from_number(number);
        self.newest_amendment = number;
        self.states.push(Arc::new(state));
    }

    /// The number of the next example.
    fn next_number(&self) -> u64 {
        self.kept.first() + self.kept.len() as u64
    }

    /// The newest state that had not learned the oldest example that was amended.
    fn newest_exact(&self) -> Option<&Arc<Learned>> {
        let mut states = self.states.iter().rev();
        states.find(|state| state.next_number() <= self.amended.oldest)
    }

    /// Begins to learn again once enough has been amended.
    fn begin_again(&mut self) {
        if self.again.is_some() || self.amended.count == 0 {
            return;
        }
        let (Some(state), next) = (self.newest_exact(), self.next_number()) else {
            return;
        };
        let is_quiet = next >= self.newest_amendment + QUIET;
        let is_enough = self.amended.count > (next - state.next_number()) / LEARNED_EACH;
        if is_quiet || is_enough {
            self.again = Some(state.clone());
            self.amended_again = AmendedExample::default();
            self.next_near = next.saturating_sub(self.delay + self.delay / 4 + 4);
            self.delay -= self.delay / 8;
        }
    }

    /// Keeps an example that was learned.
    fn keep(&mut self, example: KeptExample) {
        if self.states.is_empty() {
            return;
        }
        self.kept.push(example);
        if self.kept.fill(2) {
            self.rest();
        }
        self.begin_again();
    }

    /// True if a state is to be held that has this example next.
    fn holds_at(&self, number: u64) -> bool {
        number.is_multiple_of(REACH) || number == self.next_near
    }

    /// Holds a state that knows all that was amended, beside those of numbers as above.
    fn hold(&mut self, state: Arc<Learned>) {
        let number = state.next_number();
        if !number.is_multiple_of(REACH) {
            let first = self.kept.first();
            self.states.retain(|state| {
                let number = state.next_number();
                number == first || number.is_multiple_of(REACH)
            });
        }
        let before = |held: &Arc<Learned>| held.next_number() < number;
        let place = self.states.partition_point(before);
        let held = self.states.get(place);
        if held.is_none_or(|held| held.next_number() != number) {
            self.states.insert(place, state);
        }
        self.forget();
    }

    /// Forgets states and examples further back than is needed, and all where nothing was amended for long.
    fn forget(&mut self) {
        let amended = [self.amended, self.amended_again].into_iter();
        let amended = amended.filter(|one| one.count > 0);
        let oldest = amended.map(|one| one.oldest).min().unwrap_or(u64::MAX);
        while let Some(second) = self.states.get(1).map(|state| state.next_number())
            && self.next_number() >= second + REACH
            && second <= oldest
        {
            self.states.remove(0);
            self.kept.forget_before(second);
        }
        if !self.states.is_empty() && self.newest_amendment + 2 * REACH < self.next_number() {
            self.rest();
        }
    }

    /// Amends an example wherever it is kept, or learned by a state that is held. `is_exact` of one
    /// that the present state had not learned yet.
    fn amend(&mut self, row: (&Batch, usize), amendment: &Amendment, is_exact: bool) {
        let (example, next) = (amendment.example, self.next_number());
        self.newest_amendment = next;
        let is_kept = self.kept.amend(example, amendment.after);
        if is_kept {
            self.states.retain(|state| state.next_number() <= example);
            self.delay = self.delay.max(next - example);
            if !is_exact {
                self.amended.add(example);
            }
        } else {
            for state in &mut self.states {
                amend(state, row, amendment);
            }
        }
        if let Some(again) = &mut self.again
            && again.next_number() > example
        {
            let outcome = amend(again, row, amendment);
            if is_kept && outcome != Outcome::Waits {
                self.amended_again.add(example);
            }
        }
        self.begin_again();
    }

    /// Learns so many examples again at most; gives the state that has learned all of them.
    fn step(&mut self, n_steps: usize) -> Option<Learned> {
        for _ in 0..n_steps {
            let again = self.again.as_mut()?;
            let number = again.next_number();
            let example = self.kept.get(number)?.clone();
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
            let again = again.clone();
            if self.amended_again.count == 0 && self.holds_at(number + 1) {
                self.hold(again);
            }
            if number + 1 == self.next_number() {
                self.amended = self.amended_again;
                let again = self.again.take();
                return again.map(Arc::unwrap_or_clone);
            }
        }
        None
    }

    /// U64 `numbers` `[8]`, the kept examples, and the states that there are.
    fn save(&self) -> Tensors {
        let mut tensors = Tensors::default();
        let [amended, again] = [self.amended, self.amended_again];
        let numbers = vec![
            amended.count,
            amended.oldest,
            again.count,
            again.oldest,
            self.next_near,
            self.delay,
            self.newest_amendment,
            self.rests_until,
        ];
        tensors.put_u64("numbers", &[8], numbers);
        tensors.nest("kept", self.kept.save());
        let names = (0..self.states.len()).map(|place| place.to_string());
        let states = names.zip(&self.states);
        for (name, state) in states.chain(self.again.iter().map(|one| ("again".to_owned(), one))) {
            tensors.nest(&format!("{name}.weights"), state.weights());
            tensors.nest(&format!("{name}.state"), state.state());
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
        let mut states = Vec::new();
        while let Some(next) = state(&states.len().to_string())? {
            states.push(next);
        }
        let again = state("again")?;
        let kept = KeptExamples::load(spec, &mut tensors.unnest("kept"))?;
        let numbers = tensors.take_u64("numbers", &[Some(8)])?;
        let next_numbers = states.iter().map(|state| state.next_number());
        let first = states.first().map_or(0, |state| state.next_number());
        if !next_numbers.is_sorted() || states.len() > STATES_MAX || first != kept.first() {
            return Err(Error::value("numbers", "states in no order"));
        }
        let amended = |place: usize| AmendedExample {
            count: numbers[place],
            oldest: numbers[place + 1],
        };
        Ok(Relearning {
            states,
            kept,
            again,
            amended: amended(0),
            amended_again: amended(2),
            next_near: numbers[4],
            delay: numbers[5],
            newest_amendment: numbers[6],
            rests_until: numbers[7],
        })
    }
}

/// Amends an example in a state that may have learned more or less since.
fn amend(state: &mut Arc<Learned>, row: (&Batch, usize), amendment: &Amendment) -> Outcome {
    let n_since = state.n_examples.saturating_sub(amendment.example);
    let amendment = Amendment {
        n_since,
        ..*amendment
    };
    Arc::make_mut(state).amend_row(row.0, row.1, amendment)
}

impl Learned {
    /// A copy without the examples kept for learning again.
    fn bare(&self) -> Learned {
        Learned {
            relearning: None,
            ..self.clone()
        }
    }

    fn n_bytes(&self) -> usize {
        let n_bytes = |tensors: Tensors| -> usize {
            let sizes = tensors.0.values().map(|one| one.data.n_bytes());
            sizes.sum()
        };
        n_bytes(self.weights()) + n_bytes(self.state())
    }

    /// Holds the state before the first example.
    pub(super) fn hold_start(&mut self) {
        if self.next_number() == 1 {
            self.begin_relearning();
        }
    }

    fn begin_relearning(&mut self) {
        let rests_until = self.relearning.as_ref().map(|all| all.rests_until);
        if rests_until.is_none_or(|until| self.next_number() < until) {
            return;
        }
        let state = self.bare();
        if let Some(relearning) = &mut self.relearning {
            relearning.begin(state);
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
                self.hold_present();
            }
            // It has effects that learning again has not.
            Outcome::Rejected(_) => relearning.rest(),
            Outcome::Failed(_) => {}
        }
    }

    /// Keeps an amendment for learning again.
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
                if relearning.states.is_empty() {
                    self.begin_relearning();
                } else {
                    relearning.amend(row, amendment, *outcome == Outcome::Waits);
                    self.relearn(STEPS_AMENDED);
                }
            }
            Outcome::Rejected(_) => relearning.rest(),
            Outcome::Failed(_) => {}
        }
    }

    /// Holds the present state where one is to be held and it knows all that was amended.
    fn hold_present(&mut self) {
        let number = self.next_number();
        let is_held = |all: &Relearning| {
            let is_exact = all.again.is_none() && all.amended.count == 0;
            is_exact && !all.states.is_empty() && number.is_multiple_of(REACH)
        };
        if self.relearning.as_deref().is_some_and(is_held) {
            let state = Arc::new(self.bare());
            self.relearning
                .iter_mut()
                .for_each(|all| all.hold(state.clone()));
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
        for state in relearning.states.iter_mut().chain(&mut relearning.again) {
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
