//! The bins of a watched stream, and the ranks of its values.
//!
//! Invariant: bins are fixed once the reference window is full, and the window itself is counted in
//! none of them. So the rank of each later value is uniform on [0, 1] and independent of all ranks
//! before it, exactly, as long as the values are exchangeable (Vovk, Gammerman and Shafer 2005,
//! theorem 8.1, with ties broken at random).

use std::cmp::Reverse;

/// Values of the reference window.
pub(super) const REFERENCE: usize = 200;
/// Bins at most.
pub(super) const BINS: usize = 32;
/// The largest stride.
pub(super) const STRIDE_MAX: u64 = 64;
/// Numbers of at most so many different values are kinds.
const DISTINCT_MAX: usize = 8;

/// The bins of a stream.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bins {
    /// Numbers: the upper edges of all bins but the last, rising.
    Edges(Vec<f64>),
    /// Kinds, one a bin; all further ones share the last bin.
    Kinds(Vec<u64>),
}

impl Bins {
    /// The bins of numbers: about as many values of the window in each.
    pub(super) fn of_numbers(window: &[f64]) -> Bins {
        let mut sorted = window.to_vec();
        sorted.sort_by(f64::total_cmp);
        let mut distinct = sorted.clone();
        distinct.dedup();
        if distinct.len() <= DISTINCT_MAX {
            return Bins::Kinds(distinct.into_iter().map(f64::to_bits).collect());
        }
        let edge = |bin: usize| sorted[bin * sorted.len() / BINS];
        let mut edges: Vec<f64> = (1..BINS).map(edge).collect();
        edges.dedup();
        Bins::Edges(edges)
    }

    /// The bins of kinds: the commonest of the window have their own.
    pub(super) fn of_kinds(window: &[u64]) -> Bins {
        let mut sorted = window.to_vec();
        sorted.sort_unstable();
        let groups = sorted.chunk_by(|a, b| a == b);
        let mut counts: Vec<(usize, u64)> = groups.map(|same| (same.len(), same[0])).collect();
        counts.sort_unstable_by_key(|(count, kind)| (Reverse(*count), *kind));
        counts.truncate(BINS - 1);
        Bins::Kinds(counts.into_iter().map(|(_, kind)| kind).collect())
    }

    /// The number of bins.
    pub(super) fn len(&self) -> usize {
        match self {
            Bins::Edges(edges) => edges.len() + 1,
            Bins::Kinds(kinds) => kinds.len() + 1,
        }
    }

    /// The bin of a number, or of a kind.
    pub(super) fn place(&self, bits: u64) -> usize {
        match self {
            Bins::Edges(edges) => {
                let value = f64::from_bits(bits);
                edges.partition_point(|edge| *edge < value)
            }
            Bins::Kinds(kinds) => {
                let known = kinds.iter().position(|known| *known == bits);
                known.unwrap_or(kinds.len())
            }
        }
    }

    /// Values are looked at once in so many, so that those looked at depend little on each other.
    pub(super) fn stride(&self, window: &[u64]) -> u64 {
        /// Less is not distinguished from independence in a window of this length.
        const LEAST: f64 = 0.3;
        let places: Vec<usize> = window.iter().map(|bits| self.place(*bits)).collect();
        let correlation = match self {
            Bins::Edges(_) => serial_correlation(&places),
            Bins::Kinds(_) => persistence(&places),
        };
        let (mut left, mut stride) = (correlation, 1);
        while correlation >= LEAST && left > 1.0 / 16.0 && stride < STRIDE_MAX {
            left *= correlation;
            stride += 1;
        }
        stride
    }
}

/// The correlation of neighbours.
fn serial_correlation(places: &[usize]) -> f64 {
    let n_places = places.len() as f64;
    let mean = places.iter().map(|place| *place as f64).sum::<f64>() / n_places;
    let off: Vec<f64> = places.iter().map(|place| *place as f64 - mean).collect();
    let square: f64 = off.iter().map(|off| off * off).sum();
    let next: f64 = off.windows(2).map(|pair| pair[0] * pair[1]).sum();
    if square > 0.0 { next / square } else { 0.0 }
}

/// The excess of equal neighbours over chance, on the scale of a correlation.
fn persistence(places: &[usize]) -> f64 {
    /// The window has too little information about a rarer mix.
    const COMMONEST_MAX: f64 = 0.95;
    let mut counts = [0u32; BINS];
    places.iter().for_each(|place| counts[*place] += 1);
    let shares = counts.map(|count| f64::from(count) / places.len() as f64);
    if shares.iter().any(|share| *share > COMMONEST_MAX) {
        return 0.0;
    }
    let by_chance: f64 = shares.iter().map(|share| share * share).sum();
    let same = places.windows(2).filter(|pair| pair[0] == pair[1]).count();
    let same = same as f64 / (places.len() - 1) as f64;
    (same - by_chance) / (1.0 - by_chance)
}

/// Counts a value of a bin, and gives its rank among all values counted so far; `draw`, uniform on
/// [0, 1), breaks the ties within the bin.
pub(super) fn rank(counts: &mut [u64], place: usize, draw: f64) -> f64 {
    counts[place] += 1;
    let below: u64 = counts[..place].iter().sum();
    let rest: u64 = counts[place..].iter().sum();
    (below as f64 + draw * counts[place] as f64) / (below + rest) as f64
}

/// The draw of the value `n` of a stream: SplitMix64 (Steele, Lea and Flood 2014).
pub(super) fn draw(seed: u64, n: u64) -> f64 {
    let mut bits = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_a_stream_that_does_not_change_are_uniform() {
        let bins = Bins::of_numbers(
            &(0..REFERENCE)
                .map(|n| draw(1, n as u64))
                .collect::<Vec<_>>(),
        );
        let mut counts = vec![0; bins.len()];
        let mut tenths = [0; 10];
        for n in 0..20_000 {
            let value: f64 = draw(2, n);
            let place = bins.place((value * value).to_bits());
            let rank = rank(&mut counts, place, draw(3, n));
            tenths[(rank * 10.0) as usize] += 1;
        }
        // Five standard deviations.
        assert!(
            tenths.iter().all(|n| (1788..2212).contains(n)),
            "{tenths:?}"
        );
    }

    #[test]
    fn few_numbers_and_the_commonest_kinds_have_bins_of_their_own() {
        let numbers: Vec<f64> = (0..REFERENCE).map(|n| (n % 3) as f64).collect();
        let bins = Bins::of_numbers(&numbers);
        assert_eq!(bins.len(), 4);
        assert_eq!(bins.place(2f64.to_bits()), 2);
        assert_eq!(bins.place(7f64.to_bits()), 3);
        let kinds: Vec<u64> = (0..REFERENCE as u64).map(|n| n.min(150)).collect();
        let bins = Bins::of_kinds(&kinds);
        assert_eq!(
            (bins.len(), bins.place(150), bins.place(149)),
            (BINS, 0, BINS - 1)
        );
    }

    #[test]
    fn the_stride_follows_the_dependence() {
        let check = |kept: f64, expected: std::ops::RangeInclusive<u64>| {
            let mut value = 0.0;
            let numbers = (0..REFERENCE as u64).map(|n| {
                value = kept * value + draw(7, n) - 0.5;
                value
            });
            let numbers: Vec<f64> = numbers.collect();
            let window: Vec<u64> = numbers.iter().map(|value| value.to_bits()).collect();
            let stride = Bins::of_numbers(&numbers).stride(&window);
            assert!(expected.contains(&stride), "{kept}: {stride}");
        };
        check(0.0, 1..=1);
        check(0.5, 2..=6);
        check(0.9, 10..=64);
        let steady = vec![1u64; REFERENCE];
        assert_eq!(Bins::of_kinds(&steady).stride(&steady), 1);
        let halves: Vec<u64> = (0..REFERENCE as u64).map(|n| n / 100).collect();
        assert_eq!(Bins::of_kinds(&halves).stride(&halves), STRIDE_MAX);
    }
}
