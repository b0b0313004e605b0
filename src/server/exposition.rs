//! The text format of Prometheus.
//!
//! Invariant: a value stands in one line, whatever characters it has.

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
