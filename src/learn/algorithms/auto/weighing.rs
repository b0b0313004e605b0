//! The weighing of the members: by their outputs for an example, before any of them learns it.
//!
//! Invariant: a member is weighed by an answer that it gave before it knew the label.

use super::super::example::Known;
use super::answers::answer;
use super::kept::{self, ExampleOrigin};
use super::late::{LateLabels, OutputsAsked, WeighingOutputs, most_kept};
use super::pool::RateFactors;
use super::{AutoLearner, pool};
use crate::event::Prediction;
use crate::model::{Encoded, Encoder, MemberOutputs, Scale, Target};

impl AutoLearner {
    /// Weighs the members by their outputs for an example: those of now, or those of when its row was
    /// asked.
    pub(super) fn weigh(
        &mut self,
        now: &MemberOutputs,
        known: Known,
        scale: &Scale,
        scores: &mut Vec<f64>,
    ) {
        let target = known.target;
        let late = self.late.as_mut();
        let weighed = late.map(|late| late.take(known.asked, known.n_learned));
        let is_lost = weighed == Some(WeighingOutputs::Lost);
        let (then, recent) = match weighed {
            Some(WeighingOutputs::Then(asked)) => (
                Some(MemberOutputs {
                    scores: asked.scores,
                    outputs: asked.outputs,
                    phi: Vec::new(),
                }),
                Some(asked.recent),
            ),
            _ => (None, None),
        };
        let outputs = then.as_ref().unwrap_or(now);
        let n_outputs = self.portfolio.n_outputs();
        let judged = outputs.outputs.chunks_exact(n_outputs);
        let judged = judged.map(|outputs| self.judge(outputs, target, scale));
        let (losses, earned): (Vec<f64>, Vec<f64>) = judged.unzip();
        // The stack is no single model.
        scores.extend_from_slice(&earned[..self.portfolio.n_members()]);
        if is_lost {
            return;
        }
        if let (Some(kept), Some(example)) = (&mut self.answers, known.example) {
            let answered = outputs.outputs.chunks_exact(n_outputs);
            let answered = answered.map(|outputs| answer(outputs, target));
            kept.keep(example, target, answered.collect());
        }
        let weight = self.weight_judged(known.weight);
        self.observe_kept((outputs, recent), target, ExampleOrigin::New { weight });
        let wanted = self.wanted(target, scale);
        let factors = RateFactors {
            slowness: self.slowness(),
            weight: f64::from(weight),
        };
        let portfolio = &mut self.portfolio;
        pool::observe(portfolio, (outputs, &losses), target, wanted, factors);
    }

    /// Keeps the outputs when the rows of a prediction are asked, until they are learned; so many
    /// examples are learned by then.
    pub(crate) fn note_asked(
        &mut self,
        prediction: &Prediction,
        encoder: &Encoder,
        scale: &Scale,
        n_learned: u64,
    ) {
        if let (Some(past), Some(series)) = (&mut self.past, &self.portfolio.series) {
            past.note_asked(series, prediction);
        }
        let Some(mut late) = self.late.take() else {
            return;
        };
        let n_each = self.portfolio.n_outputs() * (2 * self.portfolio.n_members() + 2);
        let n_most = most_kept(n_each);
        for (row, id) in prediction.ids.iter().enumerate() {
            let outputs = || self.outputs_asked(&encoder.encode(&prediction.batch, row), scale);
            let kept = late.keeps_next(n_most).then(outputs).flatten();
            late.note(*id, n_learned, (kept, n_most));
        }
        self.late = Some(late);
    }

    /// The outputs for a row that is asked; none where one is not finite.
    fn outputs_asked(&self, row: &Encoded, scale: &Scale) -> Option<OutputsAsked> {
        let network = self.network();
        let outputs = self.portfolio.member_outputs(row, scale, network.as_ref());
        let recent = &self.portfolio.kept.as_ref()?.recent;
        outputs.is_finite().then(|| OutputsAsked {
            scores: outputs.scores,
            outputs: outputs.outputs,
            recent: recent.clone(),
        })
    }

    /// Weighs the kept answer by the outputs for a row, and by the recent distribution `asked` of when
    /// it was asked, where that is not the one of now.
    pub(super) fn observe_kept(
        &mut self,
        (outputs, asked): (&MemberOutputs, Option<Vec<f32>>),
        target: Target,
        evidence: ExampleOrigin,
    ) {
        let slowness = self.slowness();
        let (Some(kept), Target::Class(class)) = (&mut self.portfolio.kept, target) else {
            return;
        };
        let now = asked.map(|asked| std::mem::replace(&mut kept.recent, asked));
        let Some(kept) = &self.portfolio.kept else {
            return;
        };
        let answers = self.portfolio.kept_answers(kept, outputs);
        if let Some(kept) = &mut self.portfolio.kept {
            kept.recent = now.unwrap_or_else(|| std::mem::take(&mut kept.recent));
            kept::observe(kept, &answers, class, (evidence, slowness));
        }
    }

    /// How much an example of this weight counts where members are judged: once at most, and once under
    /// earlier revisions than the third.
    pub(super) fn weight_judged(&self, weight: f32) -> f32 {
        match self.revision {
            1 | 2 => 1.0,
            _ => weight.min(1.0),
        }
    }

    /// The factor on the rates of weights under labels that come late.
    fn slowness(&self) -> f64 {
        self.late.as_ref().map_or(1.0, LateLabels::slowness)
    }
}
