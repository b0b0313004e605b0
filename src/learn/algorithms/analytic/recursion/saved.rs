//! A regression as tensors, and back.
//!
//! Invariant: a loaded regression goes on as the saved one, and is finite and bounded like it.

use std::sync::Arc;

use super::{FOLD, Matrices, Recursion, Settings};
use crate::model::matrix::Symmetric;
use crate::model::weights::{Error, Tensors};

impl Recursion {
    /// The weights, F64 `weight` `[n_outputs, n_features]`.
    pub(crate) fn weights(&self) -> Tensors {
        let mut tensors = Tensors::default();
        let shape = [self.settings.n_outputs, self.settings.n_features];
        tensors.put_f64("weight", &shape, self.weight.clone());
        tensors
    }

    /// All else that learning goes on from.
    pub(crate) fn state(&self) -> Tensors {
        let (n, n_outputs) = (self.settings.n_features, self.settings.n_outputs);
        let mut tensors = Tensors::default();
        if let Some(matrices) = &self.matrices {
            matrices.gram.save("gram", &mut tensors);
            matrices.inverse.save("inverse", &mut tensors);
        }
        let n_recent = self.recent.len() / n;
        tensors.put_f64("moments", &[n_outputs, n], self.moments.clone());
        tensors.put_f64("recent", &[n_recent, n], self.recent.clone());
        tensors.put_f64("targets", &[n_recent, n_outputs], self.targets.clone());
        tensors.put_f64("gains", &[n_recent, n], self.gains.to_vec());
        let sums = vec![self.growth, self.residual, self.n_effective];
        tensors.put_f64("sums", &[3], sums);
        let counts = vec![self.n_since_refresh as u64];
        tensors.put_u64("since_refresh", &[1], counts);
        tensors
    }

    /// Reads the state that [`Recursion::weights`] and [`Recursion::state`] gave.
    ///
    /// # Errors
    /// When the tensors are not of these settings, or hold values that cannot have been learned.
    pub(crate) fn load(
        settings: Settings,
        weights: &mut Tensors,
        state: &mut Tensors,
    ) -> Result<Recursion, Error> {
        let (n, n_outputs) = (settings.n_features, settings.n_outputs);
        let of_outputs = [Some(n_outputs), Some(n)];
        let mut loaded = Recursion::new(settings);
        loaded.weight = take_finite(weights, "weight", &of_outputs)?;
        loaded.moments = take_finite(state, "moments", &of_outputs)?;
        loaded.recent = take_finite(state, "recent", &[None, Some(n)])?;
        let n_recent = loaded.recent.len() / n;
        loaded.targets = take_finite(state, "targets", &[Some(n_recent), Some(n_outputs)])?;
        loaded.gains = Arc::new(take_finite(state, "gains", &[Some(n_recent), Some(n)])?);
        let sums = take_finite(state, "sums", &[Some(3)])?;
        [loaded.growth, loaded.residual, loaded.n_effective] = [sums[0], sums[1], sums[2]];
        let since_refresh = state.take_u64("since_refresh", &[Some(1)])?[0];
        loaded.n_since_refresh = usize::try_from(since_refresh).unwrap_or(usize::MAX);
        if state.0.contains_key("gram") {
            loaded.matrices = Some(Matrices {
                gram: Symmetric::load(n, "gram", state)?,
                inverse: Arc::new(Symmetric::load(n, "inverse", state)?),
            });
        }
        let sound = n_recent < FOLD
            && (loaded.matrices.is_some() || n_recent == 0)
            && (1.0..=1e3).contains(&loaded.growth)
            && loaded.residual >= 0.0
            && loaded.n_effective >= 0.0;
        if sound {
            Ok(loaded)
        } else {
            Err(Error::value(
                "sums",
                "counts and sums that no learning leads to",
            ))
        }
    }
}

fn take_finite(
    tensors: &mut Tensors,
    name: &str,
    shape: &[Option<usize>],
) -> Result<Vec<f64>, Error> {
    let values = tensors.take_f64(name, shape)?;
    if values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err(Error::value(name, "not finite"))
    }
}
