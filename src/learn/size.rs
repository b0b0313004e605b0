//! The size of a learned state, from its description alone.
//!
//! Invariant: nothing of that size is allocated to know it.

use std::sync::Arc;

use super::learner::Learner;
use crate::model::weights::Tensors;
use crate::model::{Gradient, LearnerKind, Spec, Task, widths};

/// The number of outputs beyond which a state is measured with fewer: it grows by as many bytes with each.
const OUTPUTS_FEW: usize = 1024;
/// The numbers of outputs with which it is measured then.
const MEASURED: [usize; 2] = [128, 256];
/// The bytes of a network's weight, without the optimizer's state of each.
const BYTES_OF_WEIGHT: u64 = 4;

/// Bytes of the state of a learner that has learned nothing, where they are many; 0 for few outputs and no
/// network of its author's.
pub(crate) fn state_bytes(spec: &Spec) -> u64 {
    let n_outputs = spec.task.n_outputs();
    match &spec.learner {
        LearnerKind::Gradient(settings) => network_bytes(spec, settings),
        _ if n_outputs <= OUTPUTS_FEW => 0,
        _ => {
            let [(fewer, few), (more, many)] = MEASURED.map(|n| (n as u64, measured(spec, n)));
            let of_output = many.saturating_sub(few).div_ceil(more - fewer);
            many + of_output.saturating_mul(n_outputs as u64 - more)
        }
    }
}

fn network_bytes(spec: &Spec, settings: &Gradient) -> u64 {
    let widths = widths(spec, settings);
    let layers = widths.windows(2).map(|pair| {
        let [n_in, n_out] = [pair[0] as u64, pair[1] as u64];
        n_in.saturating_add(1).saturating_mul(n_out)
    });
    let n_weights = layers.fold(0_u64, u64::saturating_add);
    n_weights.saturating_mul(BYTES_OF_WEIGHT)
}

/// Bytes of the state with so many outputs.
fn measured(spec: &Spec, n_outputs: usize) -> u64 {
    let mut fewer = spec.clone();
    fewer.costs = Default::default();
    match &mut fewer.task {
        Task::Classification {
            classes,
            classes_max,
        } => {
            classes.truncate(n_outputs);
            *classes_max = n_outputs;
        }
        Task::Bandit { actions } => actions.truncate(n_outputs),
        Task::Regression => {}
    }
    let learner = Learner::new(Arc::new(fewer));
    let n_bytes = |tensors: Tensors| -> u64 {
        let sizes = tensors.0.values().map(|one| one.data.n_bytes() as u64);
        sizes.sum()
    };
    n_bytes(learner.learned().weights()) + n_bytes(learner.state())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUTS: &str = "[[input]]\nname = 'x'\nkind = 'number'\n\
                          [[input]]\nname = 'c'\nkind = 'category'\n";

    fn spec(n_outputs: usize, learner: &str) -> Spec {
        let task = format!("task = 'classification'\nclasses = ['a']\nclasses_max = {n_outputs}\n");
        Spec::parse(&format!("{task}{INPUTS}[learner]\n{learner}\n")).unwrap()
    }

    #[test]
    fn p8_the_size_of_a_state_is_known_before_it_is_made() {
        for kind in ["auto", "analytic", "neighbours"] {
            let spec = spec(2000, &format!("kind = '{kind}'"));
            let (known, made) = (state_bytes(&spec), measured(&spec, 2000));
            let close = known.abs_diff(made) <= made / 100;
            assert!(close, "{kind}: {known} bytes, and {made} once it is made");
        }
        let many = state_bytes(&spec(100_000, "kind = 'auto'"));
        assert!(many > 1 << 28, "{many}");
        let network = spec(
            2,
            "kind = 'gradient'\n[network]\nkind = 'mlp'\nhidden = [8192, 8192]",
        );
        let n_weights = (1 + 1) * 8192 + (8192 + 1) * 8192 + (8192 + 1) * 2;
        let n_bytes = state_bytes(&network);
        assert!(n_bytes >= n_weights * BYTES_OF_WEIGHT, "{n_bytes}");
        assert!(n_bytes < n_weights * BYTES_OF_WEIGHT * 2, "{n_bytes}");
        assert_eq!(state_bytes(&spec(100, "kind = 'auto'")), 0);
    }
}
