//! The member that regresses the logarithm of a value: its learning, and its tensors.
//!
//! Invariant: errors are held at a few medians, as those of the other members are.

use super::super::analytic::{Recursion, Settings};
use super::super::example::weighted;
use super::error_scale::ErrorScale;
use crate::model::weights::{Error, Tensors};
use crate::model::{LogRidge, Scale};

/// The learned state of the logarithm.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LogLearner {
    recursion: Recursion,
    errors: ErrorScale,
}

impl LogLearner {
    /// Nothing yet.
    pub(super) fn new(settings: Settings) -> LogLearner {
        LogLearner {
            recursion: Recursion::new(settings),
            errors: ErrorScale::new(0),
        }
    }

    /// Learns the value, of this weight, of a row of these features.
    pub(super) fn observe(
        &mut self,
        served: &mut LogRidge,
        phi: &[f32],
        (value, weight): (f64, f32),
    ) {
        let Some(log) = served.observe(value) else {
            return;
        };
        let score = served.score(phi);
        let error = score - served.scale.place(log);
        let wanted = [score - self.errors.held(0, error)];
        self.recursion
            .observe(&weighted(phi, weight), &weighted(&wanted, weight));
        self.errors.observe([error].into_iter());
        self.serve(served);
    }

    fn serve(&self, served: &mut LogRidge) {
        served.weights.clear();
        served.weights.extend(self.recursion.served());
    }

    /// The weights and the scale that they answer in.
    pub(super) fn weights(&self, served: &LogRidge) -> Tensors {
        let mut tensors = self.recursion.weights();
        served.scale.save("scale", &mut tensors);
        let is_positive = f64::from(u8::from(served.is_positive));
        let known = f64::from(u8::from(served.ends.is_some()));
        let [least, most] = served.ends.unwrap_or_default();
        tensors.put_f64("ends", &[4], vec![is_positive, known, least, most]);
        tensors
    }

    /// All else that learning goes on from.
    pub(super) fn state(&self) -> Tensors {
        let mut tensors = self.recursion.state();
        self.errors.save(&mut tensors);
        tensors
    }

    /// Reads the state that [`LogLearner::weights`] and [`LogLearner::state`] gave.
    pub(super) fn load(
        &mut self,
        served: &mut LogRidge,
        weights: &mut Tensors,
        state: &mut Tensors,
    ) -> Result<(), Error> {
        self.recursion = Recursion::load(self.recursion.settings(), weights, state)?;
        self.errors.load(state)?;
        served.scale = Scale::load("scale", weights)?;
        let ends = weights.take_f64("ends", &[Some(4)])?;
        if !ends.iter().all(|end| end.is_finite()) || ends[2] > ends[3] {
            return Err(Error::value("ends", format!("{ends:?}")));
        }
        served.is_positive = ends[0] == 1.0;
        served.ends = (ends[1] == 1.0).then_some([ends[2], ends[3]]);
        self.serve(served);
        Ok(())
    }
}
