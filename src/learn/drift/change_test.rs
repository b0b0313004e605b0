//! The test of one stream for a change of its distribution.
//!
//! Invariant: while the values that are looked at are exchangeable, the stake grows by one a
//! value on average, so an alarm at a threshold A comes once in A values at most, on average
//! (an e-detector: Shin, Ramdas and Rinaldo 2023, theorem 2.4).

use super::bets::{N_TILTS, Stakes};
use super::bins::{BINS, Bins, REFERENCE, STRIDE_MAX, draw, rank};
use crate::event::Change;
use crate::learn::records::saved::{SavedReader, Writer};
use crate::model::weights::Error;

/// The kind of values in a stream, which decides the changes that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamKind {
    /// Numbers, whose distribution changes.
    Numbers,
    /// Numbers that become higher; after a fall, later values are judged by those after it.
    Rises,
    /// Kinds, whose mix changes.
    Kinds,
}

/// A sequential test with a reference window.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ChangeTest {
    values: StreamKind,
    seed: u64,
    n_values: u64,
    /// Values since the test began.
    n_since: u64,
    stride: u64,
    /// Values of the reference window, until it is full.
    window: Vec<u64>,
    /// The bins of the reference window; none while it fills.
    bins: Option<Bins>,
    counts: Vec<u64>,
    stakes: Stakes,
}

/// An alarm of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct StreamAlarm {
    pub change: Change,
    /// An unchanged stream reaches it once in so many values at most, on average.
    pub evidence: f64,
}

impl ChangeTest {
    pub(super) fn new(values: StreamKind, seed: u64) -> ChangeTest {
        ChangeTest {
            values,
            seed: seed.wrapping_mul(0xd1b5_4a32_d192_ed03),
            n_values: 0,
            n_since: 0,
            stride: 1,
            window: Vec::new(),
            bins: None,
            counts: Vec::new(),
            stakes: Stakes::default(),
        }
    }

    /// Takes a number; one that is not finite is passed over.
    pub(super) fn observe_number(&mut self, value: f64, threshold: f64) -> Option<StreamAlarm> {
        if !value.is_finite() {
            return None;
        }
        // One zero, whatever its sign.
        self.observe((value + 0.0).to_bits(), threshold)
    }

    /// Takes a kind, or the bits of a number; a finding begins the test anew.
    pub(super) fn observe(&mut self, bits: u64, threshold: f64) -> Option<StreamAlarm> {
        self.n_values += 1;
        self.n_since += 1;
        let Some(bins) = &self.bins else {
            self.window.push(bits);
            if self.window.len() == REFERENCE {
                self.fix_bins();
            }
            return None;
        };
        if !self.n_since.is_multiple_of(self.stride) {
            return None;
        }
        let (place, draw) = (bins.place(bits), draw(self.seed, self.n_values));
        let is_on_ranks = matches!(bins, Bins::Edges(_));
        if is_on_ranks {
            let rank = rank(&mut self.counts, place, draw);
            self.stakes.settle_rank(rank);
        } else {
            self.stakes.settle_kind(&mut self.counts, place, draw);
        }
        let finding = self.find(is_on_ranks, threshold);
        if finding.is_some() {
            self.back_off();
        }
        finding
    }

    fn find(&mut self, is_on_ranks: bool, threshold: f64) -> Option<StreamAlarm> {
        let (evidence, change) = match self.values {
            StreamKind::Rises => {
                let [rise, fall] = self.stakes.sides(is_on_ranks);
                if fall >= threshold && rise < threshold {
                    self.forget();
                }
                (rise, Change::Higher)
            }
            StreamKind::Numbers | StreamKind::Kinds => self.stakes.evidence(is_on_ranks),
        };
        (evidence >= threshold).then_some(StreamAlarm { change, evidence })
    }

    fn fix_bins(&mut self) {
        let window = std::mem::take(&mut self.window);
        let bins = match self.values {
            StreamKind::Kinds => Bins::of_kinds(&window),
            StreamKind::Numbers | StreamKind::Rises => {
                let numbers: Vec<f64> = window.iter().map(|bits| f64::from_bits(*bits)).collect();
                Bins::of_numbers(&numbers)
            }
        };
        self.stride = self.stride.max(bins.stride(&window));
        self.stakes = match &bins {
            Bins::Edges(_) => Stakes::on_ranks(),
            Bins::Kinds(_) => Stakes::on_kinds(bins.len()),
        };
        self.counts = vec![0; bins.len()];
        self.bins = Some(bins);
        self.n_since = 0;
    }

    /// Begins anew after an alarm. A stream that alarms soon after it began is looked at half as often,
    /// so that one without any steady stretch alarms less and less.
    fn back_off(&mut self) {
        const SOON: u64 = 20 * REFERENCE as u64;
        let is_soon = self.n_since < SOON * self.stride;
        let stride = if is_soon { 2 * self.stride } else { 1 };
        self.begin_again();
        self.stride = stride.min(STRIDE_MAX);
    }

    /// Goes on with the same bins, and no value in them.
    fn forget(&mut self) {
        self.counts.fill(0);
        self.stakes.0.fill(0.0);
        self.n_since = 0;
    }

    /// Begins anew, with another reference window.
    pub(super) fn begin_again(&mut self) {
        self.n_since = 0;
        self.stride = 1;
        self.window.clear();
        self.bins = None;
        self.counts.clear();
        self.stakes.0.clear();
    }

    pub(super) fn save(&self, out: &mut Writer) {
        out.counts([self.n_values, self.n_since, self.stride]);
        match &self.bins {
            None => {
                out.counts([0, self.window.len() as u64]);
                out.counts(self.window.iter().copied());
            }
            Some(Bins::Edges(edges)) => {
                out.counts([1, edges.len() as u64]);
                out.numbers(edges);
            }
            Some(Bins::Kinds(kinds)) => {
                out.counts([2, kinds.len() as u64]);
                out.counts(kinds.iter().copied());
            }
        }
        out.counts(self.counts.iter().copied());
        out.numbers(&self.stakes.0);
    }

    /// Brings a new test to the state that was saved of one of the same values and seed.
    pub(super) fn load(&mut self, saved: &mut SavedReader) -> Result<(), Error> {
        let [n_values, n_since, stride, form, n] = saved.counts()?;
        (self.n_values, self.n_since, self.stride) = (n_values, n_since, stride);
        if stride == 0 || stride > STRIDE_MAX || form > 2 {
            return Err(SavedReader::wrong());
        }
        let n_max = if form == 0 { REFERENCE } else { BINS };
        let n = usize::try_from(n).ok().filter(|n| *n < n_max);
        let n = n.ok_or_else(SavedReader::wrong)?;
        let n_stakes = match form {
            0 => {
                self.window = saved.many_counts(n)?;
                return Ok(());
            }
            1 => {
                self.bins = Some(Bins::Edges(saved.many_numbers(n)?));
                N_TILTS
            }
            _ => {
                self.bins = Some(Bins::Kinds(saved.many_counts(n)?));
                Stakes::len_on_kinds(n + 1)
            }
        };
        self.counts = saved.many_counts(n + 1)?;
        self.stakes = Stakes(saved.many_numbers(n_stakes)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// About normal: the sum of twelve draws.
    fn normal(seed: u64, n: u64) -> f64 {
        (0..12).map(|k| draw(seed, 12 * n + k)).sum::<f64>() - 6.0
    }

    fn n_alarms(values: StreamKind, n_streams: u64, value: impl Fn(u64, u64) -> u64) -> usize {
        let alarms = (0..n_streams).map(|seed| {
            let mut test = ChangeTest::new(values, seed);
            let alarm = |n: &u64| test.observe(value(seed, *n), 1e4).is_some();
            (0..100_000).filter(alarm).count()
        });
        alarms.sum()
    }

    #[test]
    fn streams_that_do_not_change_alarm_within_the_bound() {
        // Once in 10,000 values is 10 a stream at most, on average.
        let check = |n: usize| assert!(n <= 50, "{n} of 50");
        check(n_alarms(StreamKind::Numbers, 5, |seed, n| {
            normal(seed, n).to_bits()
        }));
        check(n_alarms(StreamKind::Kinds, 5, |seed, n| {
            (draw(seed, n) * draw(seed, !n) * 50.0) as u64
        }));
        let error = |seed, n| f64::from(u8::from(draw(seed, n) < 0.2)).to_bits();
        check(n_alarms(StreamKind::Rises, 5, error));
    }

    fn delay(values: StreamKind, before: impl Fn(u64) -> f64, after: impl Fn(u64) -> f64) -> u64 {
        let mut test = ChangeTest::new(values, 1);
        for n in 0..5000 {
            assert_eq!(test.observe_number(before(n), 1e6), None, "{n}");
        }
        let is_found = |n: &u64| test.observe_number(after(*n), 1e6).is_some();
        (5000..10_000).find(is_found).expect("it is found") - 5000
    }

    #[test]
    fn a_change_is_found_soon() {
        let check = |delay: u64, max| assert!(delay <= max, "{delay} of {max}");
        check(
            delay(
                StreamKind::Numbers,
                |n| normal(1, n),
                |n| normal(1, n) + 1.0,
            ),
            60,
        );
        check(
            delay(
                StreamKind::Numbers,
                |n| normal(1, n),
                |n| normal(1, n) * 2.0,
            ),
            120,
        );
        let error = |share: f64| move |n| f64::from(u8::from(draw(1, n) < share));
        check(delay(StreamKind::Rises, error(0.1), error(0.3)), 150);
        check(
            delay(
                StreamKind::Rises,
                |n| normal(1, n).abs(),
                |n| 1.0 + normal(1, n).abs(),
            ),
            60,
        );
    }

    #[test]
    fn a_fall_of_what_may_only_rise_is_silent_and_moves_the_reference() {
        let mut test = ChangeTest::new(StreamKind::Rises, 1);
        let mut error = |share: f64, n| {
            let error = f64::from(u8::from(draw(9, n) < share));
            test.observe_number(error, 1e6)
        };
        assert_eq!((0..5000).find_map(|n| error(0.5, n)), None);
        assert_eq!((5000..9000).find_map(|n| error(0.05, n)), None);
        let found = (9000..10_000).find(|n| error(0.3, *n).is_some());
        assert!(found.is_some_and(|n| n < 9200), "{found:?}");
    }

    #[test]
    fn a_saved_test_goes_on_as_if_never_stopped() {
        for (values, n_values) in [
            (StreamKind::Numbers, 100),
            (StreamKind::Numbers, 700),
            (StreamKind::Kinds, 700),
            (StreamKind::Rises, 700),
        ] {
            let value = |n| match values {
                StreamKind::Kinds => (draw(4, n) * 9.0) as u64,
                _ => draw(4, n).to_bits(),
            };
            let mut test = ChangeTest::new(values, 3);
            (0..n_values).for_each(|n| assert_eq!(test.observe(value(n), 1e6), None));
            let mut out = Writer::default();
            test.save(&mut out);
            let mut saved = SavedReader::of(out);
            let mut loaded = ChangeTest::new(values, 3);
            assert_eq!(loaded.load(&mut saved), Ok(()));
            assert_eq!(loaded, test);
            assert_eq!(saved.end(), Ok(()));
        }
    }
}
