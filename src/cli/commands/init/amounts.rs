//! The decision between amounts and names of classes for the few whole numbers of a target.
//!
//! Invariant: two values are names; so is a column that the header calls names.

/// Words within a header that mark whole numbers as names.
const NAMING: [&str; 16] = [
    "label", "class", "categ", "type", "species", "digit", "cluster", "group", "kind", "code",
    "genre", "topic", "segment", "survived", "churn", "default",
];
/// Whole words of a header that mark them as amounts.
const MEASURING: [&str; 50] = [
    "count",
    "counts",
    "cnt",
    "num",
    "number",
    "nr",
    "qty",
    "quantity",
    "amount",
    "total",
    "sum",
    "rings",
    "age",
    "years",
    "months",
    "days",
    "hours",
    "minutes",
    "visits",
    "visitors",
    "sales",
    "sold",
    "orders",
    "items",
    "units",
    "bikes",
    "rentals",
    "rides",
    "trips",
    "claims",
    "goals",
    "points",
    "children",
    "rooms",
    "bedrooms",
    "bathrooms",
    "persons",
    "people",
    "passengers",
    "size",
    "length",
    "width",
    "height",
    "weight",
    "price",
    "score",
    "rating",
    "stars",
    "grade",
    "quality",
];
/// Values by whose counts amounts can be detected.
const VALUES_MIN: usize = 5;
/// Rows a value.
const ROWS_MIN: f64 = 5.0;
/// Rows, and values, with which those that hardly repeat are amounts.
const OWN_ROWS_MIN: u64 = 8;
/// Rows a value, with fewer of which values that lie far apart are amounts.
const MANY_ROWS: u64 = 5;
/// Places a value, from the smallest to the largest, that make values lie far apart.
const FAR: f64 = 10.0;
/// Places from the smallest to the largest value, those that never come included.
const PLACES_MAX: usize = 200;

/// The kind of the few whole numbers of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Names, by their number or the header.
    Names,
    /// Names for all that is known.
    PerhapsNames,
    /// Amounts for all that is known.
    PerhapsAmounts,
}

/// The meaning of whole numbers, each with how often it comes, under a header.
pub(super) fn meaning(header: &str, mut counts: Vec<(f64, u64)>) -> Meaning {
    let lower = header.to_lowercase();
    if counts.len() < 3 || NAMING.iter().any(|word| lower.contains(word)) {
        return Meaning::Names;
    }
    if words(header).any(|word| MEASURING.contains(&word.as_str())) {
        return Meaning::PerhapsAmounts;
    }
    counts.sort_by(|a, b| a.0.total_cmp(&b.0));
    if are_seldom_repeated(&counts) {
        return Meaning::PerhapsAmounts;
    }
    if counts.len() >= VALUES_MIN && is_spread_as_amounts(&counts) {
        Meaning::PerhapsAmounts
    } else {
        Meaning::PerhapsNames
    }
}

/// The words of a header in lower case: `nBikes`, `bike_count`, `Number of rings`.
fn words(header: &str) -> impl Iterator<Item = String> {
    let mut parted = String::with_capacity(header.len() + 8);
    let mut was_small = false;
    for c in header.chars() {
        if was_small && c.is_uppercase() {
            parted.push(' ');
        }
        was_small = c.is_lowercase();
        parted.extend(c.to_lowercase());
    }
    let words = parted.split(|c: char| !c.is_alphanumeric());
    let words: Vec<String> = words.map(str::to_owned).collect();
    words.into_iter()
}

/// True where most rows have a value of their own, or the values are many for the rows and lie far
/// apart.
fn are_seldom_repeated(counts: &[(f64, u64)]) -> bool {
    let n_values = counts.len() as u64;
    let n_rows: u64 = counts.iter().map(|(_, n)| n).sum();
    let span = counts[counts.len() - 1].0 - counts[0].0;
    let are_own = n_rows >= OWN_ROWS_MIN && 2 * n_values > n_rows;
    let are_many = n_values >= OWN_ROWS_MIN && n_rows < MANY_ROWS * n_values;
    are_own || are_many && span >= FAR * n_values as f64
}

/// True where counts rise to one value and fall from it, as those of amounts do, and not to the last;
/// or where values are many, and some far commoner than others.
fn is_spread_as_amounts(counts: &[(f64, u64)]) -> bool {
    let n_values = counts.len() as f64;
    let total: f64 = counts.iter().map(|(_, n)| *n as f64).sum();
    let most = counts.iter().map(|(_, n)| *n as f64).fold(0.0, f64::max);
    if total < ROWS_MIN * n_values {
        return false;
    }
    if counts.len() > 10 {
        return most * n_values > 1.5 * total;
    }
    let Some(places) = with_absent(counts) else {
        return false;
    };
    // Two counts of like values differ by chance.
    let slack = |pair: &[f64]| 2.0 * (pair[0] + pair[1]).sqrt();
    let peak = places.iter().position(|n| *n == most).unwrap_or(0);
    let rises = places[..=peak]
        .windows(2)
        .all(|pair| pair[0] <= pair[1] + slack(pair));
    let falls = places[peak..]
        .windows(2)
        .all(|pair| pair[1] <= pair[0] + slack(pair));
    let (first, last) = (places[0], places[places.len() - 1]);
    let has_tails = match peak {
        0 => matches!(counts[0].0, 0.0 | 1.0) && last <= 0.1 * most,
        _ => first.min(last) <= 0.5 * most && first.max(last) <= 0.75 * most,
    };
    rises && falls && has_tails && peak + 1 < places.len()
}

/// The counts of all values from the smallest to the largest, at the step that they have in common.
fn with_absent(counts: &[(f64, u64)]) -> Option<Vec<f64>> {
    let first = counts.first()?.0;
    let steps = counts.iter().map(|(value, _)| (value - first) as u64);
    let step = steps.clone().fold(0, gcd).max(1);
    let n_places = (steps.clone().max()? / step) as usize + 1;
    if n_places > PLACES_MAX {
        return None;
    }
    let mut places = vec![0.0; n_places];
    for (place, (_, n)) in steps.zip(counts) {
        places[(place / step) as usize] = *n as f64;
    }
    Some(places)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, counts: &[(i32, u64)], expected: Meaning) {
        let given = counts.iter().map(|(value, n)| (f64::from(*value), *n));
        assert_eq!(
            meaning(header, given.collect()),
            expected,
            "{header} {counts:?}"
        );
    }

    #[test]
    fn counts_are_distinguished_from_codes_by_their_frequency() {
        use Meaning::{Names, PerhapsAmounts, PerhapsNames};
        let poisson = [
            (0, 50),
            (1, 149),
            (2, 224),
            (3, 231),
            (4, 168),
            (5, 101),
            (6, 50),
            (7, 20),
            (9, 3),
        ];
        check("y", &poisson, PerhapsAmounts);
        check(
            "y",
            &[(0, 449), (1, 359), (2, 144), (3, 38), (4, 8)],
            PerhapsAmounts,
        );
        check(
            "y",
            &[(3, 10), (4, 53), (5, 681), (6, 638), (7, 199), (8, 18)],
            PerhapsAmounts,
        );
        check(
            "y",
            &[(10, 8), (20, 60), (30, 90), (40, 50), (50, 9)],
            PerhapsAmounts,
        );
        let uniform: Vec<(i32, u64)> = (0..10).map(|value| (value, 95 + value as u64)).collect();
        check("y", &uniform, PerhapsNames);
        let stars = [(1, 611), (2, 1137), (3, 2714), (4, 3417), (5, 2120)];
        check("y", &stars, PerhapsAmounts);
        check(
            "y",
            &[(1, 70), (2, 76), (3, 17), (5, 13), (6, 9), (7, 29)],
            PerhapsNames,
        );
        check(
            "y",
            &[(1, 3), (2, 5), (3, 20), (4, 80), (5, 150)],
            PerhapsNames,
        );
        check("y", &[(0, 50), (1, 30), (2, 10)], PerhapsNames);
        check("y", &[(0, 50), (1, 30)], Names);
        check("y", &[(1, 1), (2, 4), (3, 5), (4, 3), (5, 1)], PerhapsNames);
        let own: Vec<(i32, u64)> = (0..8).map(|value| (value, 1)).collect();
        check("y", &own, PerhapsAmounts);
        check("y", &own[..7], PerhapsNames);
        check("class", &own, Names);
        let far: Vec<(i32, u64)> = (0..20)
            .map(|n| (2000 + 37 * n, 2 + u64::from(n < 11)))
            .collect();
        check("pop", &far, PerhapsAmounts);
        let near: Vec<(i32, u64)> = (0..20).map(|n| (n, 3)).collect();
        check("y", &near, PerhapsNames);
        check(
            "status",
            &[(200, 40), (301, 3), (404, 5), (500, 1)],
            PerhapsNames,
        );
        check("cover_type", &poisson, Names);
        check("nBikes", &[(0, 50), (1, 30), (2, 10)], PerhapsAmounts);
        check("Number of rings", &uniform, PerhapsAmounts);
        check("bike_count", &[(0, 5), (1, 3)], Names);
        check("discount", &uniform, PerhapsNames);
        check(
            "rating",
            &[(1, 3), (2, 5), (3, 20), (4, 80), (5, 150)],
            PerhapsAmounts,
        );
    }
}
