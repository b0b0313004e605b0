//! A portfolio that learns, as tensors.
//!
//! Invariant: saved tensors are checked before they are used, and give an equal learner.

use super::super::analytic::Recursion;
use super::super::neighbours;
use super::answers::Answers;
use super::late::LateLabels;
use super::{AutoLearner, kept, pool, replaying};
use crate::learn::memory::ExampleBounds;
use crate::learn::memory::likeness::Likeness;
use crate::model::weights::{Error, Tensors};
use crate::model::{NoChange, Portfolio, Range, Spec};

impl AutoLearner {
    /// The weights that are served.
    pub(crate) fn weights(&self) -> Tensors {
        let portfolio = &self.portfolio;
        let mut tensors = portfolio
            .linear_members
            .save(&portfolio.linear_member_names());
        if let Some(ends) = portfolio.range.ends {
            tensors.put_f64("range", &[2], ends.to_vec());
        }
        tensors.nest("pool", pool::save(&portfolio.pool));
        if let Some(kept) = &portfolio.kept {
            tensors.nest("kept", kept::save(kept));
        }
        tensors.nest(
            "memory",
            neighbours::save(&portfolio.memory, &portfolio.base_rates),
        );
        for (index, recursion) in self.recursions.iter().enumerate() {
            tensors.nest(&format!("ridge.{index}"), recursion.weights());
        }
        if let Some(recursion) = &self.exclusive {
            tensors.nest("exclusive", recursion.weights());
        }
        if let Some(network) = &self.network {
            tensors.nest("network", network.weights());
        }
        if let Some(forest) = &portfolio.forest {
            tensors.nest("forest", forest.save());
        }
        if let (Some(learner), Some(served)) = (&self.log_ridge, &portfolio.log_ridge) {
            tensors.nest("log_ridge", learner.weights(served));
        }
        if let (Some(past), Some(series)) = (&self.past, &portfolio.series) {
            tensors.nest("past", past.weights(series));
        }
        if let Some(last) = &portfolio.no_change {
            let known = f64::from(u8::from(last.target.is_some()));
            let values = vec![known, last.target.unwrap_or(0.0), last.right, last.tried];
            tensors.put_f64("last", &[4], values);
        }
        tensors
    }

    /// All else that learning goes on from.
    pub(crate) fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.put_f64("length", &[2], self.length.to_vec());
        self.error_scale.save(&mut tensors);
        for (index, recursion) in self.recursions.iter().enumerate() {
            tensors.nest(&format!("ridge.{index}"), recursion.state());
        }
        if let Some(recursion) = &self.exclusive {
            tensors.nest("exclusive", recursion.state());
        }
        if let Some(network) = &self.network {
            tensors.nest("network", network.state());
        }
        if let Some(learner) = &self.forest {
            tensors.nest("forest", learner.save());
        }
        if let Some(learner) = &self.log_ridge {
            tensors.nest("log_ridge", learner.state());
        }
        if let Some(past) = &self.past {
            tensors.nest("past", past.state());
        }
        if let Some(answers) = &self.answers {
            answers.save(&mut tensors);
        }
        if let Some(late) = &self.late {
            late.save(&mut tensors);
        }
        if let Some(likeness) = &self.likeness {
            likeness.save(&mut tensors);
            tensors.put_u64("n_chosen", &[self.n_chosen.len()], self.n_chosen.clone());
        }
        tensors
    }

    /// Replaces the learned state by a saved one.
    pub(crate) fn load(
        &mut self,
        spec: &Spec,
        form: ExampleBounds,
        weights: &mut Tensors,
        state: &mut Tensors,
    ) -> Result<(), Error> {
        let portfolio = &mut self.portfolio;
        portfolio
            .linear_members
            .load(&portfolio.linear_member_names(), weights)?;
        portfolio.range = load_range(weights)?;
        pool::load(&mut portfolio.pool, &mut weights.unnest("pool"))?;
        if let Some(kept) = &mut portfolio.kept {
            kept::load(kept, &mut weights.unnest("kept"))?;
        }
        let (memory, base_rates) = (&mut portfolio.memory, &mut portfolio.base_rates);
        neighbours::load(
            memory,
            base_rates,
            (&spec.task, form),
            &mut weights.unnest("memory"),
        )?;
        let length = state.take_f64("length", &[Some(2)])?;
        if !length.iter().all(|value| (0.0..1e30).contains(value)) {
            return Err(Error::value("length", format!("{length:?}")));
        }
        self.length = [length[0], length[1]];
        self.error_scale.load(state)?;
        for (index, recursion) in self.recursions.iter_mut().enumerate() {
            let name = format!("ridge.{index}");
            let (mut weights, mut state) = (weights.unnest(&name), state.unnest(&name));
            *recursion = Recursion::load(recursion.settings(), &mut weights, &mut state)?;
        }
        if let Some(recursion) = &mut self.exclusive {
            let (mut weights, mut state) = (weights.unnest("exclusive"), state.unnest("exclusive"));
            *recursion = Recursion::load(recursion.settings(), &mut weights, &mut state)?;
        }
        if let Some(network) = &mut self.network {
            let (mut weights, mut state) = (weights.unnest("network"), state.unnest("network"));
            network.load(&replaying(spec), &mut weights, &mut state)?;
        }
        if state.0.contains_key("answers") {
            self.answers = Some(Answers::load(portfolio.pool.weights.len(), state)?);
        }
        if self.late.is_some() {
            let shape = [portfolio.n_outputs(), portfolio.n_members()];
            self.late = Some(LateLabels::load(shape, state)?);
        }
        if state.0.contains_key("likeness") {
            self.likeness = Some(Likeness::load(form, state)?);
            self.n_chosen = state.take_u64("n_chosen", &[Some(spec.task.n_outputs())])?;
        }
        portfolio.no_change = load_no_change(portfolio, weights)?;
        self.load_others(form.n_dense, weights, state)?;
        self.serve_ridges();
        Ok(())
    }

    /// The members of classes alone, and those of values alone.
    fn load_others(
        &mut self,
        n_dense: usize,
        weights: &mut Tensors,
        state: &mut Tensors,
    ) -> Result<(), Error> {
        let portfolio = &mut self.portfolio;
        if let (Some(learner), Some(forest)) = (&mut self.forest, &mut portfolio.forest) {
            let (mut weights, mut state) = (weights.unnest("forest"), state.unnest("forest"));
            learner.load(forest, n_dense, (&mut weights, &mut state))?;
        }
        if let (Some(learner), Some(served)) = (&mut self.log_ridge, &mut portfolio.log_ridge) {
            let (mut weights, mut state) = (weights.unnest("log_ridge"), state.unnest("log_ridge"));
            learner.load(served, &mut weights, &mut state)?;
        }
        if let (Some(past), Some(series)) = (&mut self.past, &mut portfolio.series) {
            let (mut weights, mut state) = (weights.unnest("past"), state.unnest("past"));
            past.load(series, &mut weights, &mut state)?;
        }
        Ok(())
    }
}

/// The member that repeats the newest truth, of a portfolio that has one.
fn load_no_change(portfolio: &Portfolio, weights: &mut Tensors) -> Result<Option<NoChange>, Error> {
    if portfolio.no_change.is_none() {
        return Ok(None);
    }
    let n_outputs = portfolio.n_outputs();
    let values = weights.take_f64("last", &[Some(4)])?;
    if portfolio.is_classes() && !(0.0..n_outputs as f64).contains(&values[1]) {
        let what = format!("class {} of {n_outputs}", values[1]);
        return Err(Error::value("last", what));
    }
    Ok(Some(NoChange {
        target: (values[0] == 1.0).then_some(values[1]),
        right: values[2],
        tried: values[3],
    }))
}

/// The range of rewards, where there was any.
fn load_range(weights: &mut Tensors) -> Result<Range, Error> {
    if !weights.0.contains_key("range") {
        return Ok(Range::default());
    }
    let ends = weights.take_f64("range", &[Some(2)])?;
    let (low, high) = (ends[0], ends[1]);
    if low <= high && (high - low).is_finite() {
        Ok(Range {
            ends: Some([low, high]),
        })
    } else {
        Err(Error::value("range", format!("{ends:?}")))
    }
}
