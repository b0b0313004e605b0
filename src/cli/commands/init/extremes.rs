//! The ends of a column of numbers, from one pass.

/// The ends of a column of numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extremes {
    /// The smallest number, how often it comes, and the next one.
    pub low: Option<(f64, u64, Option<f64>)>,
    /// The largest number, how often it comes, and the one before it.
    pub high: Option<(f64, u64, Option<f64>)>,
}

impl Extremes {
    /// Adds a number.
    pub(super) fn add(&mut self, value: f64) {
        let further = |end: Option<(f64, u64, Option<f64>)>, sign: f64| {
            let Some((first, n, next)) = end else {
                return (value, 1, None);
            };
            let is_before = |a: f64, b: f64| sign * a < sign * b;
            if value == first {
                (first, n + 1, next)
            } else if is_before(value, first) {
                (value, 1, Some(first))
            } else if next.is_none_or(|next| is_before(value, next)) {
                (first, n, Some(value))
            } else {
                (first, n, next)
            }
        };
        self.low = Some(further(self.low, 1.0));
        self.high = Some(further(self.high, -1.0));
    }
}
