//! Late labels: the outputs of the members when a row was asked, by which they are weighed.
//!
//! A label that comes late finds members that have learned from all that came in between: weighed by
//! what they answer then, those that follow the newest examples look as good as if no label were
//! late. Members are weighed by their answers when the row was asked, which the learner computes
//! from its own state at the entry of the prediction, once labels are late; and the later labels are,
//! the more slowly weights follow (Joulani, Gyorgy and Szepesvari 2013 give the regret of experts
//! whose losses come late: it grows with the root of the delay).
//!
//! Invariant: bounded in rows and bytes; of rows that are asked and not learned, the newest are kept.

use std::collections::BTreeMap;

use crate::event::PredictionId;
use crate::model::weights::{Error, Tensors};

/// Rows that are asked and not learned yet.
const ASKED: usize = 16_384;
/// The outputs that are kept of them.
const BYTES: usize = 4 << 20;
/// Examples over which the measured delay fades.
const HORIZON: f64 = 64.0;
/// A label is late when so many examples were learned since its row was asked.
const LATE: u64 = 4;
/// The delay at which weights follow half as fast, and so many labels come before a delay counts by
/// one: an answer of members that knew little is weighed at once (20,000 rows of elec2, labels 500
/// and 2,000 rows late, and of weather, 2,000 late: 0.786, 0.736 and 0.763; as fast as ever: 0.776,
/// 0.724 and 0.775; weighed by the outputs of now: 0.758, 0.690 and 0.785).
const HALF: f64 = 32.0;
const EXPERIENCE: f64 = 4.0;

/// Rows that wait for their labels, and how late labels are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LateLabels {
    /// By the ids of their predictions.
    asked: BTreeMap<u128, PendingRow>,
    /// Examples learned between the question and the label, a fading mean.
    delay: f64,
    /// Labels by which it was measured.
    n_measured: u64,
    /// Rows asked while labels are late.
    n_late: u64,
    /// Rows among `asked` whose outputs are kept.
    n_kept: usize,
}

#[derive(Clone, Debug, PartialEq)]
struct PendingRow {
    /// Examples learned by then.
    n_learned: u64,
    /// The outputs for the row; none where they are not kept.
    outputs: Option<OutputsAsked>,
}

/// The outputs for a row when it was asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OutputsAsked {
    /// `[members, n_outputs]`, as in [`crate::model::MemberOutputs`].
    pub scores: Vec<f32>,
    /// `[members and stack, n_outputs]`.
    pub outputs: Vec<f32>,
    /// The recent distribution of the classes by then; `[n_outputs]`.
    pub recent: Vec<f32>,
}

/// The outputs by which the members are weighed on a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum WeighingOutputs {
    /// Current outputs: nothing was learned since the row was asked, or too little to change them.
    Now,
    /// Outputs at the prediction.
    Then(OutputsAsked),
    /// No outputs are kept: the members are not weighed on this row.
    Lost,
}

impl LateLabels {
    /// Whether the outputs of the next row that is asked are kept, where so many may be.
    pub(super) fn keeps_next(&mut self, n_most: usize) -> bool {
        if self.delay < LATE as f64 {
            return false;
        }
        let one_of = (2.0 * self.delay / n_most as f64).ceil().max(1.0) as u64;
        self.n_late = self.n_late.wrapping_add(1);
        self.n_late.is_multiple_of(one_of)
    }

    /// A row is asked when so many examples are learned; the outputs of at most so many are kept.
    pub(super) fn note(
        &mut self,
        id: PredictionId,
        n_learned: u64,
        (outputs, n_most): (Option<OutputsAsked>, usize),
    ) {
        self.n_kept += usize::from(outputs.is_some());
        let before = self.asked.insert(id.0, PendingRow { n_learned, outputs });
        self.n_kept -= usize::from(before.is_some_and(|one| one.outputs.is_some()));
        while self.asked.len() > ASKED || self.n_kept > n_most {
            let Some((_, gone)) = self.asked.pop_first() else {
                return;
            };
            self.n_kept -= usize::from(gone.outputs.is_some());
        }
    }

    /// The outputs by which the members are weighed on a row that is learned, once so many examples
    /// are; it waits no longer.
    pub(super) fn take(&mut self, id: Option<PredictionId>, n_learned: u64) -> WeighingOutputs {
        let Some(id) = id else {
            return WeighingOutputs::Now;
        };
        let Some(asked) = self.asked.remove(&id.0) else {
            return if self.delay < LATE as f64 {
                WeighingOutputs::Now
            } else {
                WeighingOutputs::Lost
            };
        };
        self.n_kept -= usize::from(asked.outputs.is_some());
        let delay = n_learned.saturating_sub(asked.n_learned);
        self.n_measured += 1;
        self.delay += (delay as f64 - self.delay) / HORIZON.min(self.n_measured as f64);
        match asked.outputs {
            Some(outputs) => WeighingOutputs::Then(outputs),
            None if delay < LATE => WeighingOutputs::Now,
            None => WeighingOutputs::Lost,
        }
    }

    /// The factor on the rates at which the weights of members follow, in (0, 1].
    pub(super) fn slowness(&self) -> f64 {
        let known = self.n_measured as f64 / EXPERIENCE;
        1.0 / (1.0 + self.delay.min(known) / HALF)
    }

    /// F64 `late.delay` and U64 `late.measured` `[1]`. Of the rows that are asked, which a digest does
    /// not cover, U64 `late.asked.late` `[1]`, `late.asked.ids` `[n, 2]` and `late.asked.learned` `[n]`,
    /// U8 `late.asked.kept` `[n]`, and the outputs of those that are kept, F32 `late.asked.outputs`
    /// `[kept, n_outputs * (2 * members + 2)]`.
    pub(super) fn save(&self, tensors: &mut Tensors) {
        tensors.put_f64("late.delay", &[1], vec![self.delay]);
        tensors.put_u64("late.measured", &[1], vec![self.n_measured]);
        tensors.put_u64("late.asked.late", &[1], vec![self.n_late]);
        let n = self.asked.len();
        let halves = self.asked.keys();
        let halves = halves.flat_map(|id| [(id >> 64) as u64, *id as u64]);
        tensors.put_u64("late.asked.ids", &[n, 2], halves.collect());
        let learned = self.asked.values().map(|asked| asked.n_learned);
        tensors.put_u64("late.asked.learned", &[n], learned.collect());
        let kept = self.asked.values();
        let kept = kept.map(|asked| u8::from(asked.outputs.is_some()));
        tensors.put_u8("late.asked.kept", &[n], kept.collect());
        let (mut values, mut n_kept) = (Vec::new(), 0);
        for outputs in self.asked.values().filter_map(|one| one.outputs.as_ref()) {
            let all = [&outputs.scores, &outputs.outputs, &outputs.recent];
            all.into_iter().for_each(|all| values.extend(all));
            n_kept += 1;
        }
        let n_each = values.len().checked_div(n_kept).unwrap_or(0);
        tensors.put_f32("late.asked.outputs", &[n_kept, n_each], values);
    }

    /// Reads the state that [`LateLabels::save`] wrote of so many outputs a member, and so many members.
    pub(super) fn load(
        [n_outputs, n_members]: [usize; 2],
        tensors: &mut Tensors,
    ) -> Result<LateLabels, Error> {
        let delay = tensors.take_f64("late.delay", &[Some(1)])?[0];
        let n_measured = tensors.take_u64("late.measured", &[Some(1)])?[0];
        let n_late = tensors.take_u64("late.asked.late", &[Some(1)])?[0];
        let learned = tensors.take_u64("late.asked.learned", &[None])?;
        let n = learned.len();
        let ids = tensors.take_u64("late.asked.ids", &[Some(n), Some(2)])?;
        let kept = tensors.take_u8("late.asked.kept", &[Some(n)])?;
        let n_kept = kept.iter().filter(|flag| **flag == 1).count();
        let values = tensors.take_f32("late.asked.outputs", &[Some(n_kept), None])?;
        let n_scores = n_outputs * n_members;
        let n_each = 2 * n_scores + 2 * n_outputs;
        if n > ASKED || values.len() != n_kept * n_each || n_kept > most_kept(n_each) {
            let what = format!("{} values of {n_kept} rows", values.len());
            return Err(Error::value("late.asked.outputs", what));
        }
        if !(0.0..1e18).contains(&delay) {
            return Err(Error::value("late.delay", delay.to_string()));
        }
        let mut rows = values.chunks_exact(n_each.max(1)).map(|row| {
            let (scores, rest) = row.split_at(n_scores);
            let (outputs, recent) = rest.split_at(n_scores + n_outputs);
            OutputsAsked {
                scores: scores.to_vec(),
                outputs: outputs.to_vec(),
                recent: recent.to_vec(),
            }
        });
        let asked = ids.chunks_exact(2).zip(learned).zip(kept);
        let asked = asked.map(|((id, n_learned), flag)| {
            let id = u128::from(id[0]) << 64 | u128::from(id[1]);
            let outputs = (flag == 1).then(|| rows.next()).flatten();
            (id, PendingRow { n_learned, outputs })
        });
        Ok(LateLabels {
            asked: asked.collect(),
            delay,
            n_measured,
            n_late,
            n_kept,
        })
    }
}

/// Of so many rows are the outputs kept, where a row has so many values.
pub(super) fn most_kept(n_values: usize) -> usize {
    (BYTES / (n_values.max(1) * size_of::<f32>())).clamp(1, ASKED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 2] = [2, 3];

    fn id(number: u64) -> PredictionId {
        PredictionId(u128::from(number))
    }

    fn outputs(value: f32) -> OutputsAsked {
        OutputsAsked {
            scores: vec![value; 6],
            outputs: vec![value; 8],
            recent: vec![0.5; 2],
        }
    }

    /// Rows asked one after another whose labels come so many rows late.
    fn after(n_rows: u64, delay: u64) -> (LateLabels, Vec<WeighingOutputs>) {
        let (mut late, mut weighed) = (LateLabels::default(), Vec::new());
        for row in 0..n_rows {
            let n_learned = row.saturating_sub(delay);
            let kept = late.keeps_next(1_000).then(|| outputs(row as f32));
            late.note(id(row), n_learned, (kept, 1_000));
            if let Some(labelled) = row.checked_sub(delay) {
                weighed.push(late.take(Some(id(labelled)), n_learned));
            }
        }
        (late, weighed)
    }

    #[test]
    fn members_are_weighed_by_the_outputs_of_when_a_late_row_was_asked() {
        let (late, weighed) = after(400, 0);
        assert!(weighed.iter().all(|one| *one == WeighingOutputs::Now));
        assert!(late.asked.is_empty() && late.slowness() == 1.0);
        let (late, weighed) = after(400, 100);
        assert_eq!(
            weighed[50],
            WeighingOutputs::Lost,
            "it was asked before labels were late"
        );
        assert_eq!(weighed[250], WeighingOutputs::Then(outputs(250.0)));
        assert!((95.0..=100.0).contains(&late.delay), "{}", late.delay);
        assert!((0.1..0.5).contains(&late.slowness()), "{}", late.slowness());
    }

    #[test]
    fn p8_rows_that_wait_are_bounded() {
        let (mut late, _) = after(3_000, 1_500);
        assert!(late.n_kept <= 1_000 && late.n_kept > 200, "{}", late.n_kept);
        for row in 0..40_000 {
            late.note(id(1 << 40 | row), 0, (Some(outputs(0.0)), 100));
        }
        assert_eq!(late.n_kept, 100);
        (0..40_000).for_each(|row| late.note(id(1 << 50 | row), 0, (None, 100)));
        assert_eq!((late.asked.len(), late.n_kept), (ASKED, 0));
        assert_eq!(late.take(Some(id(7)), 9), WeighingOutputs::Lost);
        assert_eq!(late.take(None, 9), WeighingOutputs::Now);
    }

    #[test]
    fn what_is_kept_is_loaded() {
        let (late, _) = after(300, 50);
        let mut saved = Tensors::default();
        late.save(&mut saved);
        assert!(LateLabels::load([2, 4], &mut saved.clone()).is_err());
        assert_eq!(LateLabels::load(SHAPE, &mut saved), Ok(late));
        let none = LateLabels::default();
        let mut saved = Tensors::default();
        none.save(&mut saved);
        assert_eq!(LateLabels::load(SHAPE, &mut saved), Ok(none));
    }
}
