//! The figures of a model's monitors, for people and for machines.
//!
//! Invariant: names are those of `evaluate`, `stream` and `/metrics`.

use perennial::proto::perennial::v1::Figure;
use serde_json::{Map, Value, json};

use crate::cli::output::print;

/// Lines by their subject, and the figures that they show.
const LINES: [(&str, &[&str]); 3] = [
    (
        "recently",
        &[
            "balanced_accuracy",
            "log_loss",
            "calibration_error",
            "auc",
            "root_mean_squared_error",
            "mean_reward_low",
            "mean_reward_high",
        ],
    ),
    (
        "labels",
        &[
            "feedback_rate",
            "label_delay_seconds",
            "feedback_silence_seconds",
            "model_age_seconds",
            "satisfaction",
        ],
    ),
    ("unlabelled", &["asked_confidence", "estimated_accuracy"]),
];
/// Slices that are shown, those whose score has moved the most.
const SLICES_SHOWN: usize = 5;
/// The figures that a slice is judged by, of each task.
const OF_SLICE: [&str; 3] = ["progressive_accuracy", "mean_absolute_error", "mean_reward"];

/// The figures as lines, each with its name.
pub(super) fn lines(figures: &[Figure]) -> Vec<(&'static str, String)> {
    let whole = |name: &str| {
        let mut figures = figures.iter();
        let is_it = |one: &&Figure| one.name == name && one.of.is_empty() && one.slice.is_empty();
        let figure = figures.find(is_it)?;
        let value = print::shown(figure.recent.or(figure.all));
        Some(format!("{} {value}", name.replace('_', " ")))
    };
    let mut lines = Vec::new();
    for (of, names) in LINES {
        let known: Vec<String> = names.iter().filter_map(|name| whole(name)).collect();
        if !known.is_empty() {
            lines.push((of, known.join(", ")));
        }
    }
    let moved = |one: &Figure| (one.recent.unwrap_or(0.0) - one.all.unwrap_or(0.0)).abs();
    let of_slice = |one: &&Figure| !one.slice.is_empty() && OF_SLICE.contains(&one.name.as_str());
    let mut slices: Vec<&Figure> = figures.iter().filter(of_slice).collect();
    slices.sort_by(|one, other| moved(other).total_cmp(&moved(one)));
    for slice in slices.into_iter().take(SLICES_SHOWN) {
        let [all, recent] = [slice.all, slice.recent].map(print::shown);
        let name = slice.name.replace('_', " ");
        lines.push((
            "slice",
            format!("{}: {name} {all}, recently {recent}", slice.slice),
        ));
    }
    lines
}

/// The figures by name, or by subject and name; those of slices apart.
pub(super) fn object(figures: &[Figure]) -> Value {
    let (mut monitors, mut slices) = (Map::new(), Map::new());
    for figure in figures {
        let spans = json!({
            "all": print::json(figure.all),
            "window": print::json(figure.window),
            "recent": print::json(figure.recent),
        });
        let (into, name) = match (figure.slice.as_str(), figure.of.as_str()) {
            ("", "") => {
                monitors.insert(figure.name.clone(), spans);
                continue;
            }
            ("", of) => (monitors.entry(figure.name.clone()), of),
            (slice, _) => (slices.entry(slice), figure.name.as_str()),
        };
        into.or_insert_with(|| Map::new().into())[name] = spans;
    }
    if !slices.is_empty() {
        monitors.insert("slices".to_owned(), slices.into());
    }
    monitors.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(name: &str, of: &str, slice: &str, all: f64) -> Figure {
        Figure {
            name: name.to_owned(),
            of: of.to_owned(),
            slice: slice.to_owned(),
            all: Some(all),
            window: None,
            recent: Some(0.5),
        }
    }

    #[test]
    fn figures_stand_under_their_names() {
        let figures = [
            figure("log_loss", "", "", 0.25),
            figure("recall", "yes", "", 0.75),
            figure("mean_reward", "", "country=BR", 0.125),
            figure("mean_reward", "", "country=DE", 0.5),
        ];
        let object = object(&figures);
        assert_eq!(object["log_loss"]["all"], 0.25);
        assert_eq!(object["log_loss"]["window"], Value::Null);
        assert_eq!(object["recall"]["yes"]["all"], 0.75);
        assert_eq!(object["slices"]["country=BR"]["mean_reward"]["recent"], 0.5);
        let expected = [
            ("recently", "log loss 0.5000"),
            ("slice", "country=BR: mean reward 0.1250, recently 0.5000"),
            ("slice", "country=DE: mean reward 0.5000, recently 0.5000"),
        ];
        assert_eq!(
            lines(&figures),
            expected.map(|(name, line)| (name, line.to_owned()))
        );
    }
}
