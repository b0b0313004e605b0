//! The ends of a column of numbers, from one pass.
//!
//! Invariant: how often a number of an end comes is exact, since one that left an end never returns.

/// Distinct numbers that are kept at each end.
const KNOWN: usize = 6;

/// The ends of a column of numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Extremes {
    /// The smallest numbers, rising, each with how often it comes.
    pub low: Vec<(f64, u64)>,
    /// The largest numbers, falling, each with how often it comes.
    pub high: Vec<(f64, u64)>,
}

impl Extremes {
    /// Adds a number.
    pub(super) fn add(&mut self, value: f64) {
        add(&mut self.low, value, |a, b| a < b);
        add(&mut self.high, value, |a, b| a > b);
    }

    /// The smallest and the largest number but for these.
    pub(super) fn range_without(&self, left_out: &[(f64, u64)]) -> Option<(f64, f64)> {
        let is_kept = |(value, _): &&(f64, u64)| left_out.iter().all(|(out, _)| out != value);
        let [low, high] = [&self.low, &self.high].map(|end| end.iter().find(is_kept));
        Some((low?.0, high?.0))
    }
}

fn add(end: &mut Vec<(f64, u64)>, value: f64, is_before: fn(f64, f64) -> bool) {
    if end.len() == KNOWN && is_before(end[KNOWN - 1].0, value) {
        return;
    }
    match end.iter().position(|(known, _)| !is_before(*known, value)) {
        Some(place) if end[place].0 == value => end[place].1 += 1,
        place => {
            end.insert(place.unwrap_or(end.len()), (value, 1));
            end.truncate(KNOWN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_counted() {
        let mut ends = Extremes::default();
        for value in [5.0, 1.0, 9.0, 2.0, 3.0, 1.0, 8.0, 7.0, 9.0, 6.0, 4.0, 2.0] {
            ends.add(value);
        }
        let low = [(1.0, 2), (2.0, 2), (3.0, 1), (4.0, 1), (5.0, 1), (6.0, 1)];
        assert_eq!(ends.low, low);
        let high = [(9.0, 2), (8.0, 1), (7.0, 1), (6.0, 1), (5.0, 1), (4.0, 1)];
        assert_eq!(ends.high, high);
        assert_eq!(ends.range_without(&[(1.0, 2)]), Some((2.0, 9.0)));
    }
}
