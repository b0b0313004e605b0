//! Values of a column that are something else than the others.
//!
//! Invariant: the same share is few for numbers, dates, units and targets.

/// The number of values below which one that is something else is no stray.
const VALUES_MIN: u64 = 10;

/// True for one in a hundred, or for one where there are fewer.
pub(super) fn are_few_strays(n: u64, n_values: u64) -> bool {
    n * 100 <= n_values || n == 1 && n_values >= VALUES_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_hundred_is_few_and_so_is_one() {
        for (n, n_values, expected) in [
            (0, 0, true),
            (1, 9, false),
            (1, 10, true),
            (1, 90, true),
            (2, 199, false),
            (2, 200, true),
        ] {
            assert_eq!(are_few_strays(n, n_values), expected, "{n} of {n_values}");
        }
    }
}
