//! Slices: the scores of rows with the same value of a declared input or tag, or of the same source.
//!
//! Invariant: bounded: a key has `monitor.values_max` values of its own, those that came first, and one
//! for all others. A row is in one slice of each key at most.

use std::collections::BTreeMap;

use super::names::OTHERS;
use super::scores::Scores;
use super::spans::{Fading, SLICE_HORIZON};
use crate::event::{Batch, Column, value_text};
use crate::learn::records::saved::{SavedReader, Writer, put_texts, take_texts};
use crate::model::Spec;
use crate::model::weights::{Error, Tensors};

/// The tags of the feedback about a row, and its source.
pub(in crate::learn) type FeedbackKeys<'a> =
    (Option<&'a BTreeMap<String, String>>, Option<&'a str>);

/// The slices of sources.
pub(in crate::learn) const OF_SOURCE: &str = "source:";

/// A longer value is cut, in bytes.
const VALUE_BYTES_MAX: usize = 64;

/// The slice of a row: the place of its key, and its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::learn) struct SliceName {
    key: u32,
    value: String,
}

impl SliceName {
    fn new(key: usize, value: &str) -> SliceName {
        SliceName {
            key: key as u32,
            value: value[..value.floor_char_boundary(VALUE_BYTES_MAX)].to_owned(),
        }
    }

    /// The slices of a row: those of inputs, then those of tags, then that of the source.
    pub(in crate::learn) fn of_row(
        spec: &Spec,
        (batch, row): (&Batch, usize),
        (tags, source): FeedbackKeys<'_>,
    ) -> Vec<SliceName> {
        let monitor = &spec.monitor;
        let inputs = monitor
            .inputs
            .iter()
            .map(|place| match &batch.columns[*place] {
                Column::Numbers(values) => Some(value_text(values[row])),
                Column::Strings(values) => Some(values[row].clone()),
                Column::Vectors(_) | Column::Embedded { .. } => None,
            });
        let of_tag = |tag: &String| tags.and_then(|tags| tags.get(tag)).cloned();
        let source = source.filter(|source| monitor.sources && !source.is_empty());
        let source = std::iter::once(source.map(str::to_owned));
        let values = inputs
            .chain(monitor.tags.iter().map(of_tag))
            .chain(source)
            .enumerate();
        values
            .filter_map(|(key, value)| Some(SliceName::new(key, &value?)))
            .collect()
    }

    /// The name as it is shown, as in `country=BR`; one of a tag, as in `tag:team=7`; one of a source, as in
    /// `source:desk`.
    pub(in crate::learn) fn shown(&self, spec: &Spec) -> String {
        let (inputs, tags) = (&spec.monitor.inputs, &spec.monitor.tags);
        let key = self.key as usize;
        match (inputs.get(key), tags.get(key.wrapping_sub(inputs.len()))) {
            (Some(place), _) => format!("{}={}", spec.inputs[*place].name, self.value),
            (None, Some(tag)) => format!("tag:{tag}={}", self.value),
            (None, None) => format!("{OF_SOURCE}{}", self.value),
        }
    }
}

/// The scores of one slice.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Slice {
    pub all: Scores,
    pub recent: Scores,
    fading: Fading<SLICE_HORIZON>,
    /// Rows on which candidate and champion were compared since the champion is the present one, and the
    /// sum of differences of their losses.
    sides: [f64; 2],
}

impl Slice {
    pub(super) fn add(&mut self, add: impl Fn(&mut Scores, f64)) {
        if let Some(by) = self.fading.step() {
            self.recent.scale(by);
        }
        self.amend(add);
    }

    /// Changes the terms that were added before, as if it had been the newest answer.
    pub(super) fn amend(&mut self, amend: impl Fn(&mut Scores, f64)) {
        amend(&mut self.all, 1.0);
        amend(&mut self.recent, self.fading.weight());
    }

    /// The mean difference of the candidate's loss from the champion's.
    pub(super) fn difference(&self) -> Option<f64> {
        let [n, sum] = self.sides;
        (n > 0.0).then(|| sum / n)
    }

    fn save(&self, out: &mut Writer) {
        self.all.save(out);
        self.recent.save(out);
        self.fading.save(out);
        out.numbers(&self.sides);
    }

    fn load(saved: &mut SavedReader) -> Result<Slice, Error> {
        let (all, recent) = (Scores::load(saved)?, Scores::load(saved)?);
        let fading = Fading::load(saved)?;
        let sides = saved.many_numbers(2)?;
        Ok(Slice {
            all,
            recent,
            fading,
            sides: [sides[0], sides[1]],
        })
    }
}

/// Every slice that has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Slices(pub BTreeMap<SliceName, Slice>);

impl Slices {
    /// The name of the slice that a row counts in: its own, or that of all others.
    fn admit(&self, name: &SliceName, values_max: usize) -> SliceName {
        if self.0.contains_key(name) {
            return name.clone();
        }
        let bound = |key: u32, value: &str| SliceName {
            key,
            value: value.to_owned(),
        };
        let (first, others) = (bound(name.key, ""), bound(name.key, OTHERS));
        let of_key = self.0.range(first..bound(name.key + 1, ""));
        let n_known = of_key.filter(|(known, _)| **known != others).count();
        if n_known < values_max {
            name.clone()
        } else {
            others
        }
    }

    /// The slice that a row counts in, and its name.
    pub(super) fn slice(&mut self, name: &SliceName, values_max: usize) -> (SliceName, &mut Slice) {
        let admitted = self.admit(name, values_max);
        let slice = self.0.entry(admitted.clone()).or_default();
        (admitted, slice)
    }

    /// Takes the losses of candidate and champion on a row.
    pub(super) fn note_sides(
        &mut self,
        name: &SliceName,
        [candidate, champion]: [f64; 2],
        values_max: usize,
    ) {
        if let Some(slice) = self.0.get_mut(&self.admit(name, values_max)) {
            let [n, sum] = &mut slice.sides;
            *n += 1.0;
            *sum += candidate - champion;
        }
    }

    /// Begins the comparison with the champion anew.
    pub(super) fn begin_sides(&mut self) {
        self.0.values_mut().for_each(|slice| slice.sides = [0.0; 2]);
    }

    pub(super) fn save(&self, out: &mut Writer, tensors: &mut Tensors) {
        if self.0.is_empty() {
            return;
        }
        let mut names = Tensors::default();
        let keys: Vec<u64> = self.0.keys().map(|name| name.key.into()).collect();
        names.put_u64("keys", &[keys.len()], keys);
        put_texts(&mut names, self.0.keys().map(|name| name.value.as_str()));
        tensors.nest("monitors.slices", names);
        self.0.values().for_each(|slice| slice.save(out));
    }

    /// The slices of a description with so many keys.
    pub(super) fn load(
        saved: &mut SavedReader,
        tensors: &mut Tensors,
        n_keys: usize,
    ) -> Result<Slices, Error> {
        let mut names = tensors.unnest("monitors.slices");
        if names.0.is_empty() {
            return Ok(Slices::default());
        }
        let keys = names.take_u64("keys", &[None])?;
        let values = take_texts(&mut names)?;
        if keys.len() != values.len() {
            return Err(SavedReader::wrong());
        }
        let mut slices = BTreeMap::new();
        for (key, value) in keys.into_iter().zip(values) {
            let key = u32::try_from(key)
                .ok()
                .filter(|key| (*key as usize) < n_keys);
            let key = key.ok_or_else(SavedReader::wrong)?;
            let name = SliceName { key, value };
            slices.insert(name, Slice::load(saved)?);
        }
        Ok(Slices(slices))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_values_of_a_tag_are_bounded() {
        let mut slices = Slices::default();
        let mut admit = |key, value: &str| {
            let name = SliceName::new(key, value);
            let (admitted, slice) = slices.slice(&name, 20);
            slice.add(|scores, weight| scores.add_class(0, 0, weight));
            admitted.value
        };
        for n in 0..1_000_000u32 {
            let value = format!("user {n}");
            let expected = if n < 20 { value.as_str() } else { OTHERS };
            assert_eq!(admit(1, &value), expected);
        }
        assert_eq!(admit(0, "other key"), "other key");
        assert_eq!(admit(1, "user 3"), "user 3");
        assert_eq!(slices.0.len(), 22);
        let others = &slices.0[&SliceName::new(1, OTHERS)];
        assert_eq!(others.all.n_answers(), 999_980.0);
        let (mut out, mut tensors) = (Writer::default(), Tensors::default());
        slices.save(&mut out, &mut tensors);
        let loaded = Slices::load(&mut SavedReader::of(out), &mut tensors, 2);
        assert_eq!(loaded, Ok(slices));
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let name = SliceName::new(0, &"ü".repeat(100));
        assert_eq!(name.value, "ü".repeat(32));
        let odd = SliceName::new(0, &format!("x{}", "ü".repeat(100)));
        assert_eq!(odd.value.len(), 63);
    }

    #[test]
    fn sides_are_compared_until_the_champion_is_another() {
        let mut slices = Slices::default();
        let name = SliceName::new(0, "BR");
        slices.note_sides(&name, [1.0, 0.0], 20);
        assert!(
            slices.0.is_empty(),
            "a row that was not judged makes no slice"
        );
        slices.slice(&name, 20);
        slices.note_sides(&name, [0.75, 0.25], 20);
        slices.note_sides(&name, [0.5, 0.5], 20);
        assert_eq!(slices.0[&name].difference(), Some(0.25));
        slices.begin_sides();
        assert_eq!(slices.0[&name].difference(), None);
    }
}
