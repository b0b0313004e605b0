//! The median of some numbers.

/// The median, of an even number of values the upper one; the values are reordered.
///
/// # Panics
/// Without a value.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_even_number_it_is_the_upper_one() {
        let check = |mut values: Vec<f64>, expected: f64| {
            assert_eq!(median(&mut values), expected);
        };
        check(vec![3.0], 3.0);
        check(vec![3.0, 1.0], 3.0);
        check(vec![9.0, -1.0, 2.0], 2.0);
        check(vec![4.0, 1.0, 3.0, 2.0], 3.0);
    }
}
