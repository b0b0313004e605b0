//! The adapters of a text encoder, trained from memory at a slower cadence than the model that learns on its
//! vectors.
//!
//! Each example teaches a ridge regression on the vector at once: the guide. Every
//! [`EXAMPLES_PER_STEP`] examples the adapters take one step of Adam down the squared error that the
//! guide makes on remembered texts, its weights held; it follows, since older examples fade.
//!
//! Invariant: a step whose gradient is not finite changes nothing, and a device that fails is no
//! outcome of a step: the state ends there.

use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::analytic::{Recursion, Settings};
use super::example::{Amendment, Known, weighted};
use crate::learn::memory::{Drawn, ExampleBounds, Memory, MemoryBounds, StoredExample};
use crate::learn::training::optimizer::Adam;
use crate::model::weights::{Error, Tensors};
use crate::model::{
    Adapters, Encoded, EncoderError, LowRank, Rescale, Scale, StoredRow, Target, TextEncoder,
};

/// New examples before the adapters take a step.
const EXAMPLES_PER_STEP: u64 = 32;
/// Remembered texts that a step is taken on.
const ROWS_PER_STEP: usize = 32;
/// Tokens of a text that are remembered; those after them train no adapter.
const TOKENS_KEPT: usize = 128;
/// Texts that are remembered: the recent, and of all classes.
const ROOM: MemoryBounds = MemoryBounds {
    short_term: 512,
    long_term: 2048,
};
/// Forgetting factor of the guide, whose knowledge of earlier adapters fades.
const FORGETTING: f64 = 0.9995;
/// The penalty on the guide's squared weights.
const RIDGE: f64 = 1.0;
/// Ids of tokens are below.
const VOCABULARY_MAX: usize = 1 << 32;

/// Adapters that learn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AdapterLearner {
    adapters: Arc<Adapters>,
    learning_rate: f32,
    /// Fading means of the gradient and of its square.
    moments: [Vec<f32>; 2],
    n_steps: u64,
    n_examples: u64,
    guide: Recursion,
    memory: Memory,
    seed: u64,
}

impl AdapterLearner {
    /// Adapters that change nothing yet, of an encoder whose vectors are `width` long.
    pub(crate) fn new(shape: LowRank, width: usize, n_outputs: usize, seed: u64) -> AdapterLearner {
        let adapters = Adapters::new(shape, width, seed);
        let zeros = vec![0.0; adapters.values.len()];
        AdapterLearner {
            adapters: Arc::new(adapters),
            learning_rate: shape.learning_rate,
            moments: [zeros.clone(), zeros],
            n_steps: 0,
            n_examples: 0,
            guide: Recursion::new(Settings {
                n_features: width + 1,
                n_outputs,
                forgetting: FORGETTING,
                ridge: RIDGE,
            }),
            memory: Memory::new(ROOM),
            seed,
        }
    }

    /// The adapters as they are now, for good.
    pub(crate) fn adapters(&self) -> &Arc<Adapters> {
        &self.adapters
    }

    /// Takes the settings of a changed description of the same shape.
    pub(crate) fn reconfigure(&mut self, settings: LowRank) {
        self.learning_rate = settings.learning_rate;
    }

    /// Learns one example: a text, its vector as the adapters are now, and its target.
    ///
    /// # Errors
    /// Of the device: the learned state is not to be used further.
    pub(crate) fn observe(
        &mut self,
        encoder: &TextEncoder,
        (text, vector): (&str, &[f32]),
        known: Known,
        scale: &Scale,
    ) -> Result<(), EncoderError> {
        let Known {
            target, example, ..
        } = known;
        // A correction is of one moment, and the vector of it is not known any more.
        let Ok(mut tokens) = encoder.tokens(text) else {
            return Ok(());
        };
        if let Target::Correction { .. } = target {
            return Ok(());
        }
        let phi = features(vector);
        let wanted = wanted(target, scale, self.guide.scores(&phi));
        let weight = known.weight;
        self.guide
            .observe(&weighted(&phi, weight), &weighted(&wanted, weight));
        tokens.truncate(TOKENS_KEPT);
        let stored = Arc::new(StoredExample {
            row: StoredRow::Encoded(Encoded {
                dense: Vec::new(),
                sparse: tokens.into_iter().map(|token| (token, 1.0)).collect(),
                past: None,
            }),
            target,
            example,
            weight: known.weight,
            is_anchor: false,
            outputs: Vec::new(),
        });
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(self.n_examples);
        self.memory.offer(&stored, &mut rng);
        self.n_examples += 1;
        if self.n_examples.is_multiple_of(EXAMPLES_PER_STEP) {
            let mut drawn = Vec::new();
            self.memory.draw(ROWS_PER_STEP, &mut rng, &mut drawn);
            self.step(encoder, &drawn, scale)?;
        }
        Ok(())
    }

    /// Corrects the effect of a text on the guide, whose vector is that of the adapters now, and
    /// the remembered example.
    pub(crate) fn amend(&mut self, vector: &[f32], amendment: &Amendment, scale: &Scale) {
        let phi = features(vector);
        let scores = self.guide.scores(&phi);
        let [before, after] =
            [amendment.before, amendment.after].map(|target| wanted(target, scale, scores.clone()));
        let left = FORGETTING.powf(amendment.n_since as f64);
        let weight = amendment.weight;
        let both = [&before, &after].map(|wanted| weighted(wanted, weight));
        let phi = weighted(&phi, weight);
        self.guide.amend(&phi, [&both[0], &both[1]], left);
        self.memory
            .amend(amendment.example, amendment.after, |_| {});
    }

    /// Expresses the learned state in another scale of rewards.
    pub(crate) fn rescale(&mut self, change: Rescale) {
        let bias = self.guide.settings().n_features - 1;
        let shifts = vec![change.shift; self.guide.settings().n_outputs];
        self.guide.rescale(change.factor, &shifts, bias);
    }

    /// One step on remembered texts; none where the gradient is not finite.
    fn step(
        &mut self,
        encoder: &TextEncoder,
        drawn: &[Drawn],
        scale: &Scale,
    ) -> Result<(), EncoderError> {
        let tokens = |drawn: &Drawn| {
            drawn
                .stored
                .row
                .sparse()
                .iter()
                .map(|(id, _)| *id)
                .collect()
        };
        let tokens: Vec<Vec<u32>> = drawn.iter().map(tokens).collect();
        let loss = |vectors: &[f32]| self.gradient(drawn, vectors, scale);
        let gradient = match encoder.gradient(&tokens, &self.adapters, loss) {
            Ok(gradient) if gradient.iter().all(|derivative| derivative.is_finite()) => gradient,
            Err(error) if error.is_of_device() => return Err(error),
            Ok(_) | Err(_) => return Ok(()),
        };
        self.n_steps += 1;
        let [first, second] = &mut self.moments;
        let values = &mut Arc::make_mut(&mut self.adapters).values;
        Adam::new(self.learning_rate, self.n_steps).step(values, &gradient, first, second);
        Ok(())
    }

    /// The gradient of the guide's mean squared error with respect to the vectors `[rows, width]`.
    fn gradient(&self, drawn: &[Drawn], vectors: &[f32], scale: &Scale) -> Vec<f32> {
        let width = vectors.len() / drawn.len();
        let weights: Vec<f32> = self.guide.served().collect();
        let factor = 2.0 * features_per_length(width) / drawn.len() as f32;
        let mut gradient = vec![0.0; vectors.len()];
        let rows = vectors
            .chunks_exact(width)
            .zip(gradient.chunks_exact_mut(width));
        for (drawn, (vector, gradient)) in drawn.iter().zip(rows) {
            let scores = self.guide.scores(&features(vector));
            let wanted = wanted(drawn.stored.target, scale, scores.clone());
            let factor = factor * drawn.stored.weight;
            let errors = scores
                .iter()
                .zip(&wanted)
                .map(|(scores, wanted)| scores - wanted);
            for (error, weights) in errors.zip(weights.chunks_exact(width + 1)) {
                for (derivative, weight) in gradient.iter_mut().zip(weights) {
                    *derivative += factor * error * weight;
                }
            }
        }
        gradient
    }

    /// The adapters.
    pub(crate) fn weights(&self) -> Tensors {
        let mut tensors = Tensors::default();
        self.adapters.save(&mut tensors);
        tensors
    }

    /// All else that learning goes on from.
    pub(crate) fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.put_u64("numbers", &[2], vec![self.n_steps, self.n_examples]);
        let n_values = self.moments[0].len();
        tensors.put_f32("moments", &[2, n_values], self.moments.concat());
        tensors.nest("guide.weights", self.guide.weights());
        tensors.nest("guide.state", self.guide.state());
        tensors.nest("memory", self.memory.save());
        tensors
    }

    /// Replaces the learned state by a saved one.
    pub(crate) fn load(&mut self, weights: &mut Tensors, state: &mut Tensors) -> Result<(), Error> {
        Arc::make_mut(&mut self.adapters).load(weights)?;
        let numbers = state.take_u64("numbers", &[Some(2)])?;
        [self.n_steps, self.n_examples] = [numbers[0], numbers[1]];
        let n_values = self.moments[0].len();
        let moments = state.take_f32("moments", &[Some(2), Some(n_values)])?;
        let (first, second) = moments.split_at(n_values);
        self.moments = [first.to_vec(), second.to_vec()];
        let mut guide = state.unnest("guide");
        let (mut weights, mut rest) = (guide.unnest("weights"), guide.unnest("state"));
        self.guide = Recursion::load(self.guide.settings(), &mut weights, &mut rest)?;
        let form = ExampleBounds {
            n_dense: 0,
            n_buckets: VOCABULARY_MAX,
            n_outputs: self.guide.settings().n_outputs,
            ..ExampleBounds::default()
        };
        self.memory = Memory::load(ROOM, form, &mut state.unnest("memory"))?;
        Ok(())
    }
}

/// The factor that brings a vector of length one to a mean square of one.
fn features_per_length(width: usize) -> f32 {
    (width as f32).sqrt()
}

/// The features of a vector for the guide: the vector so scaled, and a one.
fn features(vector: &[f32]) -> Vec<f32> {
    let factor = features_per_length(vector.len());
    let scaled = vector.iter().map(|value| value * factor);
    scaled.chain([1.0]).collect()
}

/// The targets of all outputs: the guide's own answer where the example has no target for one.
fn wanted(target: Target, scale: &Scale, scores: Vec<f32>) -> Vec<f32> {
    let mut wanted = scores;
    match target {
        Target::Class(right) | Target::BestAction(right) => {
            wanted.fill(0.0);
            wanted[right as usize] = 1.0;
        }
        Target::Value(value) => wanted[0] = scale.distance(value),
        Target::Reward { action, reward } => wanted[action as usize] = scale.distance(reward),
        Target::Correction { .. } => {}
    }
    wanted
}
