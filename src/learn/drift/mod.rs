//! Drift: sequential tests for whether the world, or the errors of served answers, have changed.
//!
//! Watched are the errors of served answers, their calibration, confidence and distribution, the
//! labels, and every input that is not a time: numbers by their ranks, categories by their kinds, texts
//! by their length, new words and fixed projections, vectors by their length and fixed projections. So are
//! the errors of the rows of each declared slice.
//!
//! **Null hypothesis** of a test: the values of its stream since its reference window are
//! exchangeable, as those of an unchanged source that draws each by itself are. **Filtration**: the
//! order of the journal; inputs and answers by their predictions, errors and labels by their feedback.
//! **Evidence**: each value is ranked among all of its stream so far (`bins.rs`), bets are placed on
//! the next rank (`bets.rs`), and the mean of their Shiryaev-Roberts sums is the evidence, whose mean
//! under the null hypothesis is the number of values (`change_test.rs`). So a threshold A is passed
//! once in A values at most, on average, at any time and for any distribution: there is no fixed
//! sample. ADWIN watches the errors beside it, with its own bound (`adwin.rs`).
//!
//! **The bound.** All tests of a model share one bound on false alarms: each has a share of the alarms
//! that a description allows in 100,000 events (`drift.false_alarms`), and its threshold follows.
//! Slices have a fifth, where any are declared. A row is in one slice of a key at most, so all slices of a
//! key take as many values as there are rows, and the threshold of each depends on the number of keys alone.
//! The shares add up to one, so the bound holds for any dependence between streams. It is exact for all
//! but ADWIN, which has a twentieth of it, and whose cuts are far rarer than its bound.
//!
//! **Where it does not hold.** Values of a time series depend on each other, so a test looks only at
//! each so-manieth value, by the correlation of neighbours in its reference window, 64 at most;
//! neighbours at that distance are taken for independent. Cycles and trends longer than that are
//! changes, and are found as such. The answers of a model that learns change as it learns: they are
//! watched from the thousandth row on, and errors only for their rise. The errors of a model that
//! still learns rare cases may rise for a while without any change in the world.

mod adwin;
mod alarms;
mod bets;
mod bins;
mod change_test;
mod detectors;
mod input_tests;
mod vocabulary;

pub(super) use alarms::{load_alarms, save_alarms};
pub use detectors::{Detectors, JudgedAnswer};
