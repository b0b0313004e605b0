//! The evidence of one test, as people see it.
//!
//! Invariant: plain values of one moment.

/// The evidence of one test: the hypothesis is rejected where the wealth reaches what is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Labels that were scored.
    pub labels: u64,
    /// The wealth of a bettor against the hypothesis.
    pub wealth: f64,
    /// The wealth at which the hypothesis is rejected.
    pub needed: f64,
    /// The mean loss of the side that is tested, less that of the champion.
    pub difference: f64,
}
