//! Figures of one kind, one a round, and how they are shown.

/// Figures of one kind, one a round.
#[derive(Default)]
pub(crate) struct Figures(pub Vec<f64>);

impl Figures {
    /// The median, the least and the greatest, divided by `unit`.
    pub(crate) fn shown(&self, unit: f64, digits: usize) -> String {
        let mut sorted: Vec<f64> = self.0.iter().map(|figure| figure / unit).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else {
            return "-".to_owned();
        };
        let median = (sorted[last / 2] + sorted[last.div_ceil(2)]) / 2.0;
        let (least, most) = (sorted[0], sorted[last]);
        format!("median {median:.digits$} ({least:.digits$} .. {most:.digits$})")
    }
}
