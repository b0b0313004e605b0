//! The learning budget of each source, as described.
//!
//! Invariant: settings are data; `learn` gives them their meaning.

/// Settings of `[sources]`: a bound on the influence of each source.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// The sum of the weights of the examples that a source may teach, of `per` learned ones.
    pub weight: f64,
    /// Learned examples that it is of.
    pub per: u64,
    /// Microseconds after which an example counts no more, however few were learned since.
    pub within_us: i64,
    /// The sources that have a budget of their own, in their order; all others share one.
    pub vouched: Vec<String>,
}

impl Budget {
    /// The place of a source's budget: that of its name, or the one behind the names that all others share.
    pub fn place(&self, source: &str) -> usize {
        let mut vouched = self.vouched.iter();
        let place = vouched.position(|name| name == source);
        place.unwrap_or(self.vouched.len())
    }

    /// The number of budgets.
    pub fn n_places(&self) -> usize {
        self.vouched.len() + 1
    }
}
