//! Losses by the source of the labels: which sources contradict the answers more than others do.
//!
//! Invariant: bounded; sources beyond the bound count together.

use std::collections::BTreeMap;

use super::incident::{OTHERS, SUSPECTS_MAX, Suspect};
use crate::learn::records::saved::{put_texts, take_texts};
use crate::model::weights::{Error, Tensors};

/// Sources whose labels are counted apart; further ones count together.
const SOURCES_MAX: usize = 64;
/// Answers over which recent errors are a plain mean; older ones fade.
const HORIZON: f64 = 512.0;
/// Weights of recent errors are brought down at this one: they stay finite.
const WEIGHT_MAX: f64 = 1e12;
/// A source with less than this part of a recent label makes room for another.
const FADED: f64 = 0.5;

/// The losses of one side since its state was taken: of each source, how many labels were scored, the sum
/// of the losses as people see them, and that of those which it is suspected by.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Blame(BTreeMap<String, (u64, [f64; 2])>);

impl Blame {
    /// Adds the loss of the side on a label of a source, as people see it and as it is suspected by it.
    pub(super) fn add(&mut self, source: &str, [shown, blamed]: [f64; 2]) {
        let known = self.0.contains_key(source) || self.0.len() < SOURCES_MAX;
        let source = if known { source } else { OTHERS };
        let (labels, sums) = self.0.entry(source.to_owned()).or_default();
        *labels += 1;
        sums[0] += shown;
        sums[1] += blamed;
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The labels of all sources, and the sum of the losses as people see them.
    pub(super) fn sum(&self) -> (u64, f64) {
        let all = self.0.values();
        all.fold((0, 0.0), |sum, (labels, [shown, _])| {
            (sum.0 + labels, sum.1 + shown)
        })
    }

    /// The sources whose labels contradict the side more than all labels do on average.
    pub(super) fn suspects(&self) -> Vec<Suspect> {
        let blamed = self.0.iter();
        let blamed = blamed.map(|(source, (labels, [_, loss]))| (source, [*labels as f64, *loss]));
        let [n_labels, total] = blamed
            .clone()
            .fold([0.0; 2], |sum, (_, one)| [sum[0] + one[0], sum[1] + one[1]]);
        let contradicts = blamed.filter(|(_, [_, loss])| *loss > 0.0);
        let mut suspects = ranked(contradicts, [n_labels, total]);
        suspects.truncate(SUSPECTS_MAX);
        suspects
    }

    pub(super) fn save(&self, name: &str, tensors: &mut Tensors) {
        let mut saved = Tensors::default();
        put_texts(&mut saved, self.0.keys().map(String::as_str));
        let labels = self.0.values().map(|(labels, _)| *labels).collect();
        let losses = self.0.values().flat_map(|(_, losses)| *losses).collect();
        saved.put_u64("labels", &[self.0.len()], labels);
        saved.put_f64("losses", &[self.0.len(), 2], losses);
        tensors.nest(name, saved);
    }

    pub(super) fn load(name: &str, tensors: &mut Tensors) -> Result<Blame, Error> {
        let mut saved = tensors.unnest(name);
        let sources = take_texts(&mut saved)?;
        let labels = saved.take_u64("labels", &[Some(sources.len())])?;
        let losses = saved.take_f64("losses", &[Some(sources.len()), Some(2)])?;
        if labels.contains(&0) || losses.iter().any(|loss| !loss.is_finite()) {
            return Err(Error::value(name, "losses of no label, or not finite"));
        }
        let losses = losses.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
        let losses = labels.into_iter().zip(losses);
        Ok(Blame(sources.into_iter().zip(losses).collect()))
    }
}

/// The errors of the newest served answers, by the source of their labels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RecentErrors {
    /// The weight of the newest answer.
    weight: f64,
    /// The sums of the weights of each source's labels, and of its weighted errors.
    sources: BTreeMap<String, [f64; 2]>,
    /// Judged answers, and the mean of their errors.
    all: [f64; 2],
    /// The least error, 0 at most: that of the largest reward.
    least: f64,
}

impl Default for RecentErrors {
    fn default() -> RecentErrors {
        RecentErrors {
            weight: 1.0,
            sources: BTreeMap::new(),
            all: [0.0; 2],
            least: 0.0,
        }
    }
}

impl RecentErrors {
    /// Takes the error of an answer by a label of a source.
    pub(super) fn add(&mut self, source: &str, error: f64) {
        self.weight /= 1.0 - 1.0 / HORIZON;
        if self.weight > WEIGHT_MAX {
            let by = 1.0 / self.weight;
            let sums = self.sources.values_mut().flatten();
            sums.for_each(|sum| *sum *= by);
            self.weight = 1.0;
        }
        let weight = self.weight;
        if !self.sources.contains_key(source) && self.sources.len() >= SOURCES_MAX {
            self.sources
                .retain(|_, [labels, _]| *labels >= FADED * weight);
        }
        let known = self.sources.contains_key(source) || self.sources.len() < SOURCES_MAX;
        let source = if known { source } else { OTHERS };
        let [labels, errors] = self.sources.entry(source.to_owned()).or_default();
        *labels += weight;
        *errors += weight * error;
        let [n, mean] = &mut self.all;
        *n += 1.0;
        *mean += (error - *mean) / *n;
        self.least = self.least.min(error);
    }

    /// Labels of all sources and the sum of their errors, both fading.
    fn sum(&self) -> [f64; 2] {
        let all = self.sources.values();
        let sum = all.fold([0.0; 2], |sum, one| [sum[0] + one[0], sum[1] + one[1]]);
        sum.map(|sum| sum / self.weight)
    }

    /// The number of labels of the recent errors, and their rise over the errors of all labels.
    pub(super) fn rise(&self) -> (u64, f64) {
        let [labels, errors] = self.sum();
        if labels == 0.0 {
            return (0, 0.0);
        }
        (labels.round() as u64, errors / labels - self.all[1])
    }

    /// The sources by whose labels recent answers err more than by all labels, those of `first` before
    /// the others.
    pub(super) fn suspects(&self, first: Option<&str>) -> Vec<Suspect> {
        // Of rewards, by how much each is below the largest.
        let above = |[n, errors]: [f64; 2]| [n, errors - self.least * n];
        let sums = self.sources.iter();
        let sums = sums.map(|(source, sums)| (source, above(sums.map(|sum| sum / self.weight))));
        let [n, total] = above(self.sum());
        let is_above = |one: &Suspect| one.loss * n > total || Some(&one.source[..]) == first;
        let mut suspects = ranked(sums, [n, total]);
        suspects.retain(is_above);
        suspects.sort_by_key(|one| Some(&one.source[..]) != first);
        suspects.truncate(SUSPECTS_MAX);
        suspects
    }

    /// Saves nothing where nothing was judged.
    pub(super) fn save(&self, name: &str, tensors: &mut Tensors) {
        if self.sources.is_empty() {
            return;
        }
        let mut saved = Tensors::default();
        put_texts(&mut saved, self.sources.keys().map(String::as_str));
        let sums: Vec<f64> = self.sources.values().flatten().copied().collect();
        saved.put_f64("sums", &[self.sources.len(), 2], sums);
        let all = vec![self.weight, self.all[0], self.all[1], self.least];
        saved.put_f64("all", &[4], all);
        tensors.nest(name, saved);
    }

    /// The saved errors; those of no answer where nothing was saved.
    pub(super) fn load(name: &str, tensors: &mut Tensors) -> Result<RecentErrors, Error> {
        let mut saved = tensors.unnest(name);
        if saved.0.is_empty() {
            return Ok(RecentErrors::default());
        }
        let sources = take_texts(&mut saved)?;
        let sums = saved.take_f64("sums", &[Some(sources.len()), Some(2)])?;
        let all = saved.take_f64("all", &[Some(4)])?;
        let finite = sums.iter().chain(&all).all(|value| value.is_finite());
        if !finite || all[0] < 1.0 {
            return Err(Error::value(name, "errors that are not finite"));
        }
        let sums = sums.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
        Ok(RecentErrors {
            weight: all[0],
            sources: sources.into_iter().zip(sums).collect(),
            all: [all[1], all[2]],
            least: all[3],
        })
    }
}

/// Sources with their labels and the sum of their losses, beside those of all sources: the one comes first
/// whose losses exceed the mean by the largest sum.
fn ranked<'a>(
    sources: impl Iterator<Item = (&'a String, [f64; 2])>,
    [n, total]: [f64; 2],
) -> Vec<Suspect> {
    let mean = total / n.max(1.0);
    let mut suspects: Vec<(f64, Suspect)> = sources
        .map(|(source, [labels, loss])| {
            let suspect = Suspect {
                source: source.clone(),
                share: if total > 0.0 { loss / total } else { 0.0 },
                labels: labels.round() as u64,
                loss: loss / labels,
            };
            (loss - mean * labels, suspect)
        })
        .collect();
    suspects.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    suspects.into_iter().map(|(_, suspect)| suspect).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_turned_is_named_first_whatever_it_was_before() {
        let mut recent = RecentErrors::default();
        let error = |right: bool| f64::from(u8::from(!right));
        for row in 0..3000 {
            let source = format!("source {}", row % 10);
            recent.add(&source, error(row % 16 != 3));
        }
        let (_, rise) = recent.rise();
        assert!(rise.abs() < 0.02, "{rise}");
        for row in 0..100 {
            let source = format!("source {}", row % 10);
            recent.add(&source, error(row % 10 != 9 && row % 16 != 3));
        }
        let suspects = recent.suspects(None);
        assert_eq!(suspects[0].source, "source 9");
        let (labels, rise) = recent.rise();
        assert!(
            (500..=512).contains(&labels) && rise > 0.01,
            "{labels} {rise}"
        );
        let asked = recent.suspects(Some("source 4"));
        assert_eq!(asked[0].source, "source 4");
        let mut tensors = Tensors::default();
        recent.save("recent", &mut tensors);
        assert_eq!(RecentErrors::load("recent", &mut tensors), Ok(recent));
        let mut none = Tensors::default();
        RecentErrors::default().save("recent", &mut none);
        assert!(none.0.is_empty());
    }

    #[test]
    fn a_source_of_small_rewards_is_suspected_with_its_share_below_the_largest() {
        let mut recent = RecentErrors::default();
        let mut blame = Blame::default();
        for row in 0..400 {
            let (source, reward) = match row % 4 {
                0 => ("bad", 0.0),
                _ => ("good", f64::from(row % 3 != 0)),
            };
            recent.add(source, -reward);
            blame.add(source, [-reward, 1.0 - reward]);
        }
        for suspects in [recent.suspects(None), blame.suspects()] {
            let first = &suspects[0];
            assert_eq!(first.source, "bad");
            assert!((0.45..0.55).contains(&first.share), "{suspects:?}");
            assert!((first.loss - 1.0).abs() < 1e-6, "{suspects:?}");
        }
        let (labels, loss) = blame.sum();
        assert_eq!((labels, loss), (400, -200.0));
    }

    #[test]
    fn p8_sources_are_bounded_and_make_room_once_they_are_silent() {
        let mut recent = RecentErrors::default();
        for row in 0..200_000 {
            recent.add(&format!("source {}", row % 1000), 0.0);
            assert!(recent.sources.len() <= SOURCES_MAX + 1);
        }
        for _ in 0..5_000 {
            recent.add("new", 1.0);
            recent.add("newer", 0.0);
        }
        assert_eq!(recent.suspects(None)[0].source, "new");
        assert!(recent.weight.is_finite());
    }
}
