//! `kind = "gradient"`: one network, trained by gradient steps, with experience replay.
//!
//! An update is: the new examples, as many remembered ones as described, forward, slopes of two
//! separately weighted means, backward, a bounded step, and an offer to memory. An update whose
//! loss or slopes are not finite is rejected whole.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::backprop::Pass;
use super::memory::{Form, Memory, load_lessons, save_lessons};
use super::optimizer::State;
use crate::model::weights::{Error, Tensors};
use crate::model::{self, Encoded, Gradient, Network, Parameters, Scale, Spec, Strategy, Target};

/// DER++ (Buzzega et al. 2020, eq. 6): weight of the distance to the remembered outputs.
const ALPHA: f32 = 0.3;
/// Slopes longer than this are shortened to it.
const NORM_MAX: f32 = 10.0;

/// An example as a network learns it.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    /// As it was encoded when it came.
    pub row: Encoded,
    /// What was wanted.
    pub target: Target,
    /// What the network said of it when it was remembered; empty where nobody asks.
    pub outputs: Vec<f32>,
}

/// What an example led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It waits until an update is full.
    Waits,
    /// An update of so many new examples was made.
    Updated(u64),
    /// An update of so many new examples was rejected.
    Rejected(u64),
}

/// A network that learns.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientLearner {
    settings: Gradient,
    strategy: Strategy,
    replay: usize,
    seed: u64,
    parameters: Parameters,
    optimizer: State,
    memory: Memory,
    pending: Vec<Lesson>,
    n_updates: u64,
}

impl GradientLearner {
    /// A network that has learned nothing.
    pub fn new(spec: &Spec, settings: &Gradient, n_dense: usize) -> GradientLearner {
        let widths = widths(spec, settings, n_dense);
        let n_buckets = model::n_buckets(spec, widths[1]);
        let parameters = Parameters::new(&widths, n_buckets, spec.seed);
        GradientLearner {
            settings: settings.clone(),
            strategy: spec.memory.strategy,
            replay: spec.memory.replay,
            seed: spec.seed,
            optimizer: State::new(settings.optimizer, &parameters),
            parameters,
            memory: Memory::new(spec.memory.long_term),
            pending: Vec::new(),
            n_updates: 0,
        }
    }

    /// How many buckets the hashed features of this description fall into.
    pub fn n_buckets(spec: &Spec, settings: &Gradient) -> usize {
        model::n_buckets(spec, widths(spec, settings, 0)[1])
    }

    /// The function as it is now.
    pub fn network(&self) -> Network {
        Network::new(&self.parameters)
    }

    /// Examples in memory.
    pub fn n_remembered(&self) -> usize {
        self.memory.len()
    }

    /// Takes the settings of a changed description of the same shape.
    pub fn reconfigure(&mut self, spec: &Spec, settings: &Gradient) {
        self.settings = settings.clone();
        self.replay = spec.memory.replay;
    }

    /// Learns one example, now or once enough have come.
    pub fn observe(&mut self, row: Encoded, target: Target, scale: &Scale) -> Outcome {
        let outputs = Vec::new();
        self.pending.push(Lesson {
            row,
            target,
            outputs,
        });
        if self.pending.len() < self.settings.examples_per_update {
            return Outcome::Waits;
        }
        let lessons = std::mem::take(&mut self.pending);
        let n_new = lessons.len() as u64;
        match self.update(lessons, scale) {
            true => Outcome::Updated(n_new),
            false => Outcome::Rejected(n_new),
        }
    }

    /// One update; false where it was not finite, and then nothing has changed.
    fn update(&mut self, mut new: Vec<Lesson>, scale: &Scale) -> bool {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(self.n_updates);
        self.n_updates += 1;
        let replayed = match self.strategy {
            Strategy::None => Vec::new(),
            Strategy::Er | Strategy::DerPlusPlus => self.memory.draw(self.replay, &mut rng),
        };
        let lessons: Vec<&Lesson> = new.iter().chain(replayed.iter().copied()).collect();
        let rows: Vec<&Encoded> = lessons.iter().map(|lesson| &lesson.row).collect();
        let pass = Pass::forward(&self.parameters, &rows);
        let width = pass.outputs.len() / rows.len();
        let mut slopes = vec![0.0; pass.outputs.len()];
        let mut loss = 0.0;
        let each = slopes
            .chunks_exact_mut(width)
            .zip(pass.outputs.chunks_exact(width));
        for (index, ((slopes, outputs), lesson)) in each.zip(&lessons).enumerate() {
            loss += lesson.target.slopes(outputs, scale, slopes);
            if index >= new.len() && self.strategy == Strategy::DerPlusPlus {
                let factor = 2.0 * ALPHA / width as f32;
                for ((slope, now), then) in slopes.iter_mut().zip(outputs).zip(&lesson.outputs) {
                    *slope += factor * (now - then);
                }
            }
            let n_alike = if index < new.len() {
                new.len()
            } else {
                replayed.len()
            };
            slopes.iter_mut().for_each(|slope| *slope /= n_alike as f32);
        }
        let mut slopes = pass.backward(&self.parameters, &rows, slopes);
        let squared_norm = slopes.squared_norm();
        if !(loss.is_finite() && squared_norm.is_finite()) {
            return false;
        }
        if squared_norm > NORM_MAX * NORM_MAX {
            slopes.scale(NORM_MAX / squared_norm.sqrt());
        }
        self.optimizer
            .step(&self.settings, &mut self.parameters, &slopes);
        if self.strategy == Strategy::None {
            return true;
        }
        for (lesson, outputs) in new.iter_mut().zip(pass.outputs.chunks_exact(width)) {
            if self.strategy == Strategy::DerPlusPlus {
                lesson.outputs = outputs.to_vec();
            }
        }
        let again = |lesson: &Lesson| !matches!(lesson.target, Target::Correction { .. });
        // A correction is of one moment: learned again and again it would add up.
        new.into_iter()
            .filter(again)
            .for_each(|lesson| self.memory.offer(lesson, &mut rng));
        true
    }

    /// The weights that are served.
    pub fn weights(&self) -> Tensors {
        self.parameters.save()
    }

    /// All else that learning goes on from.
    pub fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.put_u64("n_updates", &[1], vec![self.n_updates]);
        tensors.nest("optimizer", self.optimizer.save());
        tensors.nest("memory", self.memory.save());
        tensors.nest("pending", save_lessons(&self.pending));
        tensors
    }

    /// Replaces everything learned by what was saved.
    pub fn load(
        &mut self,
        spec: &Spec,
        weights: &mut Tensors,
        state: &mut Tensors,
    ) -> Result<(), Error> {
        let (widths, n_buckets) = (self.parameters.widths(), self.parameters.sparse.n_buckets());
        self.parameters = Parameters::load(&widths, n_buckets, weights)?;
        self.n_updates = state.take_u64("n_updates", &[Some(1)])?[0];
        self.optimizer
            .load(&self.parameters, &mut state.unnest("optimizer"))?;
        let form = Form {
            n_dense: widths[0],
            n_buckets,
            n_outputs: spec.task.n_outputs(),
        };
        let long_term = spec.memory.long_term;
        self.memory = Memory::load(long_term, form, &mut state.unnest("memory"))?;
        self.pending = load_lessons(form, &mut state.unnest("pending"))?;
        Ok(())
    }
}

/// `[input, hidden.., output]`.
fn widths(spec: &Spec, settings: &Gradient, n_dense: usize) -> Vec<usize> {
    let mut widths = vec![n_dense];
    widths.extend(&settings.hidden);
    widths.push(spec.task.n_outputs());
    widths
}
