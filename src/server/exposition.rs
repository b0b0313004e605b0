//! The text format of Prometheus.
//!
//! Invariant: a value stands in one line, whatever characters it has.

use crate::engine::HistogramCounts;

/// The value of a label as Prometheus reads it.
pub(super) fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// A value as Prometheus reads it.
pub(super) fn shown(value: f64) -> String {
    if value.is_infinite() {
        "+Inf".to_owned()
    } else {
        value.to_string()
    }
}

/// The two lines before the values of a metric.
pub(super) fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    *text += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

/// The lines of one histogram, whose values are counted in units.
pub(super) fn each_bucket(
    text: &mut String,
    (name, labels): (&str, &str),
    counts: &HistogramCounts,
    unit: f64,
) {
    for (bound, n) in counts.cumulative() {
        let bound = bound as f64 * unit;
        *text += &format!("{name}_bucket{{{labels},le=\"{bound}\"}} {n}\n");
    }
    let (n, sum) = (counts.total(), counts.sum as f64 * unit);
    *text += &format!("{name}_bucket{{{labels},le=\"+Inf\"}} {n}\n");
    *text += &format!("{name}_sum{{{labels}}} {sum}\n");
    *text += &format!("{name}_count{{{labels}}} {n}\n");
}
