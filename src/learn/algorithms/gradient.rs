//! `kind = "gradient"`: one network, trained by gradient steps, with experience replay.
//!
//! An update is: the new examples, as many remembered ones as described, forward, gradient of two
//! separately weighted means, backward, a bounded step, and an offer to memory. An update whose
//! loss or gradient is not finite is rejected whole.

mod amend;
mod amended;
mod average;
mod influence;
mod recent_classes;
mod replay_loss;

use std::borrow::Cow;
use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::example::{Known, Outcome};
use super::output_loss::OutputLoss;
use super::retention::AnchorProbe;
use crate::learn::memory::{
    Drawn, ExampleBounds, Memory, MemoryBounds, StoredExample, load_examples, save_examples,
};
use crate::learn::training::network::TrainingNetwork;
use crate::learn::training::scratch::Scratch;
use crate::model::weights::{Error, Tensors};
use crate::model::{
    self, Device, DeviceError, Encoded, Gradient, Network, Parameters, Scales, Spec, Strategy,
    Target, argmax,
};
use amended::{AmendmentStep, RowGradient};
use average::Averages;
use influence::Influence;
use recent_classes::RecentClasses;
use replay_loss::ReplayLoss;

/// A network that learns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GradientLearner {
    settings: Gradient,
    strategy: Strategy,
    replay: usize,
    seed: u64,
    network: TrainingNetwork,
    /// The averages that serve instead of the network, where the strategy keeps them.
    averages: Option<Box<Averages>>,
    memory: Memory,
    pending: Vec<StoredExample>,
    n_updates: u64,
    /// Outputs that have a class by now; the others take no part.
    n_live: usize,
    recent_classes: RecentClasses,
    /// Influence of examples that are values or rewards, for amending one; none under the first
    /// revision.
    influence: Option<Influence>,
    /// The scales of the raw rows that it remembers.
    scales: Arc<Scales>,
    scratch: Scratch<UpdateBuffers>,
}

/// Room for one update.
#[derive(Default)]
struct UpdateBuffers {
    drawn: Vec<Drawn>,
    shares: Vec<f32>,
    logit_offsets: Vec<f32>,
}

/// The means of the losses of an update.
#[derive(Clone, Copy, Debug, Default)]
struct Losses {
    new: f64,
    /// The loss of the long-remembered examples, where there were any.
    remembered: Option<f64>,
}

impl GradientLearner {
    /// A network that has learned nothing.
    pub(crate) fn new(spec: &Spec, settings: &Gradient, n_dense: usize) -> GradientLearner {
        let widths = widths(spec, settings, n_dense);
        let n_buckets = model::n_buckets(spec, widths[1]);
        let parameters = Parameters::new(&widths, n_buckets, spec.seed);
        let averages = match spec.memory.strategy {
            Strategy::ClsEr => Some(Box::new(Averages::new(&parameters, spec.device))),
            Strategy::None | Strategy::Er | Strategy::ErAce | Strategy::DerPlusPlus => None,
        };
        GradientLearner {
            settings: settings.clone(),
            strategy: spec.memory.strategy,
            replay: spec.memory.replay,
            seed: spec.seed,
            network: TrainingNetwork::new(parameters, settings.optimizer, spec.device),
            averages,
            memory: Memory::new(room(spec)),
            pending: Vec::new(),
            n_updates: 0,
            n_live: spec.task.names().len().max(1),
            recent_classes: RecentClasses::default(),
            influence: amend::has_influence(spec).then(|| Influence::new(spec.task.n_outputs())),
            scales: Arc::default(),
            scratch: Scratch::default(),
        }
    }

    /// Standardises remembered raw rows by these scales from now on.
    pub(crate) fn stand_in(&mut self, scales: Arc<Scales>) {
        self.scales = scales;
    }

    /// Takes these parameters for its own, before anything is learned.
    pub(crate) fn start(&mut self, parameters: Parameters) {
        let device = self.network.device();
        if let Some(averages) = &mut self.averages {
            **averages = Averages::new(&parameters, device);
        }
        self.network = TrainingNetwork::new(parameters, self.settings.optimizer, device);
    }

    /// The number of buckets of this description's hashed features.
    pub(crate) fn n_buckets(spec: &Spec, settings: &Gradient) -> usize {
        model::n_buckets(spec, widths(spec, settings, 0)[1])
    }

    /// The function as it is now.
    pub(crate) fn network(&self) -> Network {
        Network::new(&self.served())
    }

    /// The network, to be served from a device.
    pub(crate) fn network_on(&self, device: Device) -> Network {
        Network::on(&self.served(), device)
    }

    /// Whether examples are remembered.
    pub(crate) fn has_memory(&self) -> bool {
        self.strategy != Strategy::None
    }

    /// Examples in memory.
    pub(crate) fn n_remembered(&self) -> usize {
        self.memory.len()
    }

    /// Examples that wait for an update.
    pub(crate) fn n_waiting(&self) -> usize {
        self.pending.len()
    }

    /// Takes the settings of a changed description of the same shape.
    pub(crate) fn reconfigure(&mut self, spec: &Spec, settings: &Gradient) {
        self.settings = settings.clone();
        self.replay = spec.memory.replay;
        if amend::has_influence(spec) {
            let first = match self.n_updates {
                0 => Influence::new,
                _ => Influence::begun,
            };
            let begin = || first(spec.task.n_outputs());
            self.influence.get_or_insert_with(begin);
        } else {
            self.influence = None;
        }
    }

    /// True if its settings are those of this description.
    pub(crate) fn has_settings_of(&self, spec: &Spec, settings: &Gradient) -> bool {
        self.settings == *settings && self.replay == spec.memory.replay
    }

    /// Has it computed on this device from now on.
    pub(crate) fn move_to(&mut self, device: Device) {
        self.network.move_to(device);
        if let Some(averages) = &mut self.averages {
            averages.move_to(device);
        }
    }

    /// Asks anchors of the retention set: whether each answer is right, of those that are finite.
    pub(crate) fn ask(&self, anchors: &[AnchorProbe]) -> Vec<bool> {
        let rows: Vec<&Encoded> = anchors.iter().map(|anchor| &anchor.row).collect();
        if rows.is_empty() {
            return Vec::new();
        }
        let Ok(outputs) = self.network().forward(&rows) else {
            return Vec::new();
        };
        let answers = outputs.chunks_exact(outputs.len() / rows.len());
        let finite = |outputs: &[f32]| outputs.iter().all(|output| output.is_finite());
        let answered = answers.zip(anchors).filter(|(outputs, _)| finite(outputs));
        answered
            .map(|(outputs, anchor)| argmax(outputs) == anchor.class as usize)
            .collect()
    }

    /// Learns one example, now or once enough have come.
    pub(crate) fn observe(
        &mut self,
        row: Encoded,
        known: Known,
        output_loss: OutputLoss<'_>,
    ) -> Outcome {
        let Known {
            target,
            example,
            is_anchor,
            ..
        } = known;
        if let Target::Class(class) = target {
            self.let_in(class);
            self.recent_classes.observe(class as usize);
        }
        self.memory.correct(&row, target, &self.scales);
        self.influence.iter_mut().for_each(|all| all.observe(&row));
        self.pending.push(StoredExample {
            row: known.stored(row),
            target,
            example,
            weight: known.weight,
            is_anchor,
            outputs: Vec::new(),
        });
        if self.pending.len() < self.settings.examples_per_update {
            return Outcome::Waits;
        }
        let mut examples = std::mem::take(&mut self.pending);
        let n_new = examples.len() as u64;
        let outcome = match self.update(&mut examples, None, output_loss) {
            Ok(true) => Outcome::Updated(n_new),
            Ok(false) => Outcome::Rejected(n_new),
            Err(error) => Outcome::Failed(error.to_string()),
        };
        examples.clear();
        self.pending = examples;
        outcome
    }

    /// Has a class take part from now on.
    fn let_in(&mut self, class: u32) {
        let n_before = self.n_live;
        self.n_live = n_before.max(class as usize + 1);
        if let Some(averages) = &mut self.averages {
            averages.let_in(n_before..self.n_live);
        }
    }

    /// One update, of new examples or of one that is amended; false where it was not finite, and then nothing was learned.
    ///
    /// # Errors
    /// The device fails.
    fn update(
        &mut self,
        new: &mut Vec<StoredExample>,
        amended: Option<&AmendmentStep>,
        output_loss: OutputLoss<'_>,
    ) -> Result<bool, DeviceError> {
        let mut buffers = std::mem::take(&mut self.scratch.0);
        let mut rng = None;
        if self.strategy != Strategy::None {
            let rng = rng.insert(ChaCha8Rng::seed_from_u64(self.seed));
            rng.set_stream(self.n_updates);
            self.memory.draw(self.replay, rng, &mut buffers.drawn);
        }
        self.n_updates += 1;
        let losses = self.learn((new, amended), &mut buffers, output_loss)?;
        if losses.is_some() {
            self.note_influence((new, amended), &buffers.drawn);
        }
        if let (Some(losses), Some(rng), None) = (losses, &mut rng, amended) {
            self.memory.weigh(losses.new, losses.remembered);
            let outputs = self.network.outputs();
            let outputs = outputs.chunks_exact(self.network.n_outputs());
            for (mut stored, outputs) in new.drain(..).zip(outputs) {
                if self.strategy == Strategy::DerPlusPlus {
                    stored.outputs = outputs.to_vec();
                }
                // A correction is of one moment: learned again and again it would add up.
                let is_moment = matches!(stored.target, Target::Correction { .. });
                if !is_moment && !stored.is_anchor {
                    self.memory.offer(&Arc::new(stored), rng);
                }
            }
        }
        buffers.drawn.clear();
        self.scratch.0 = buffers;
        Ok(losses.is_some())
    }

    /// Forward, backward and a step; nothing where they are not finite.
    fn learn(
        &mut self,
        (new, amended): (&[StoredExample], Option<&AmendmentStep>),
        buffers: &mut UpdateBuffers,
        output_loss: OutputLoss<'_>,
    ) -> Result<Option<Losses>, DeviceError> {
        let UpdateBuffers {
            drawn,
            shares,
            logit_offsets,
        } = buffers;
        let examples = || new.iter().chain(drawn.iter().map(|drawn| &*drawn.stored));
        let encoded = examples().map(|stored| stored.row.encoded(&self.scales));
        let encoded: Vec<Cow<'_, Encoded>> = encoded.collect();
        let rows: Vec<&Encoded> = encoded.iter().map(Cow::as_ref).collect();
        self.network.forward(&rows)?;
        if let Some(averages) = &mut self.averages {
            let targets: Vec<Target> = examples().map(|stored| stored.target).collect();
            averages.answer(&rows)?;
            let replay_loss = ReplayLoss {
                strategy: self.strategy,
                output_loss,
                n_live: self.n_live.min(self.network.n_outputs()),
                logit_offsets: &[],
            };
            match amended {
                Some(amended) => averages.amend(amended, &self.settings, &rows, &replay_loss)?,
                None => averages.judge(&targets, new.len(), output_loss),
            }
        }
        self.offset_logits(new, logit_offsets);
        let losses = self.gradient((new, amended), (drawn, logit_offsets), output_loss);
        let new_share = self.new_share(new.len(), amended);
        let drawn_share = 1.0 / drawn.len().max(1) as f32;
        shares.clear();
        shares.extend(new.iter().map(|stored| stored.weight * new_share));
        shares.extend(drawn.iter().map(|one| one.stored.weight * drawn_share));
        if !(losses.new.is_finite() && self.network.step(&self.settings, &rows, shares)?) {
            // Weights that answer a finite row without end would do so for ever.
            if rows.iter().all(|row| row.is_finite()) {
                self.network.shrink();
            }
            return Ok(None);
        }
        if let Some(averages) = &mut self.averages {
            averages.follow(&self.network, &rows)?;
        }
        Ok(Some(losses))
    }

    /// Writes the offsets of the outputs of new rows; nothing where they are of no class.
    fn offset_logits(&self, new: &[StoredExample], logit_offsets: &mut Vec<f32>) {
        logit_offsets.clear();
        let is_class = |stored: &StoredExample| matches!(stored.target, Target::Class(_));
        let eased = match self.strategy {
            Strategy::ErAce | Strategy::DerPlusPlus | Strategy::ClsEr => new.iter().any(is_class),
            Strategy::None | Strategy::Er => false,
        };
        if eased {
            let remembered = |class| match self.strategy {
                Strategy::ErAce => 0.0,
                _ => self.memory.share_of(class),
            };
            self.recent_classes
                .logit_offsets(self.n_live, remembered, logit_offsets);
        }
    }

    /// Writes the gradient of every row's loss with respect to its outputs.
    fn gradient(
        &mut self,
        (new, amended): (&[StoredExample], Option<&AmendmentStep>),
        (drawn, logit_offsets): (&[Drawn], &[f32]),
        output_loss: OutputLoss<'_>,
    ) -> Losses {
        let (outputs, gradient) = self.network.outputs_and_gradient();
        let n_rows = new.len() + drawn.len();
        let width = outputs.len() / n_rows;
        let replay_loss = ReplayLoss {
            strategy: self.strategy,
            output_loss,
            n_live: self.n_live.min(width),
            logit_offsets,
        };
        let mut each = outputs
            .chunks_exact(width)
            .zip(gradient.chunks_exact_mut(width));
        let mut losses = Losses::default();
        for (stored, (outputs, gradient)) in new.iter().zip(each.by_ref()) {
            let loss = match amended {
                Some(amended) => {
                    amended.gradient(&replay_loss, RowGradient { outputs, gradient });
                    0.0
                }
                None => replay_loss.new_row(stored.target, outputs, gradient),
            };
            losses.new += f64::from(loss) / new.len() as f64;
        }
        let (mut sum, mut n_long_term) = (0.0, 0);
        for (index, (drawn, (outputs, gradient))) in drawn.iter().zip(each).enumerate() {
            let target = drawn.stored.target;
            let anchor = match &self.averages {
                Some(averages) => averages.anchor(new.len() + index, target, output_loss),
                None => &drawn.stored.outputs,
            };
            let loss = f64::from(replay_loss.old_row(target, outputs, anchor, gradient));
            if drawn.is_long_term {
                sum += loss;
                n_long_term += 1;
            }
        }
        losses.remembered = (n_long_term > 0).then(|| sum / f64::from(n_long_term));
        losses
    }

    /// The weights that answer.
    fn served(&self) -> Cow<'_, Parameters> {
        match &self.averages {
            Some(averages) => averages.served(),
            None => self.network.parameters(),
        }
    }

    /// The weights that are served.
    pub(crate) fn weights(&self) -> Tensors {
        self.served().save()
    }

    /// All else that learning goes on from.
    pub(crate) fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.put_u64("n_updates", &[2], vec![self.n_updates, self.n_live as u64]);
        self.recent_classes.save(&mut tensors);
        tensors.nest("optimizer", self.network.optimizer().save());
        tensors.nest("memory", self.memory.save());
        tensors.nest("pending", save_examples(self.pending.iter()));
        if let Some(influence) = &self.influence {
            tensors.nest("influence", influence.save());
        }
        if let Some(averages) = &self.averages {
            tensors.nest("working", self.network.parameters().save());
            tensors.nest("averages", averages.save());
        }
        tensors
    }

    /// Replaces the learned state by a saved one.
    pub(crate) fn load(
        &mut self,
        spec: &Spec,
        weights: &mut Tensors,
        state: &mut Tensors,
    ) -> Result<(), Error> {
        let (widths, n_buckets) = (self.network.widths(), self.network.n_buckets());
        let served = Parameters::load(&widths, n_buckets, weights)?;
        let working = match &mut self.averages {
            Some(averages) => {
                averages.load(served, &mut state.unnest("averages"))?;
                Parameters::load(&widths, n_buckets, &mut state.unnest("working"))?
            }
            None => served,
        };
        self.network.load(working, &mut state.unnest("optimizer"))?;
        let numbers = state.take_u64("n_updates", &[Some(2)])?;
        self.n_updates = numbers[0];
        self.n_live = (numbers[1] as usize).clamp(1, spec.task.n_outputs());
        self.recent_classes = RecentClasses::load(spec.task.n_outputs(), state)?;
        let form = ExampleBounds::of(spec, widths[0], n_buckets);
        self.memory = Memory::load(room(spec), form, &mut state.unnest("memory"))?;
        self.pending = load_examples(form, &mut state.unnest("pending"))?;
        let mut influence = state.unnest("influence");
        self.influence = if influence.0.is_empty() {
            amend::has_influence(spec).then(|| Influence::begun(form.n_outputs))
        } else {
            Some(Influence::load(form, &mut influence)?)
        };
        Ok(())
    }
}

fn room(spec: &Spec) -> MemoryBounds {
    MemoryBounds {
        short_term: spec.memory.short_term,
        long_term: spec.memory.long_term,
    }
}

/// `[input, hidden.., output]`.
fn widths(spec: &Spec, settings: &Gradient, n_dense: usize) -> Vec<usize> {
    let mut widths = vec![n_dense];
    widths.extend(&settings.hidden);
    widths.push(spec.task.n_outputs());
    widths
}
