//! The figures of a model's monitors beside the scores of a run.
//!
//! Invariant: a figure has the same name in a run, in the status of a model and in its metrics.

use perennial::learn::Figure;
use perennial::proto::perennial::v1;
use serde_json::{Map, Value};

/// Figures of the model that a run shows; its scores are of the run itself.
const OF_RUN: [&str; 3] = ["feedback_rate", "satisfaction", "estimated_accuracy"];

/// Figures of a model.
#[derive(Clone, Debug, Default)]
pub(crate) struct MonitorFigures {
    /// The figures by name, over everything or as a fading mean.
    pub of_all: Vec<(String, f64)>,
    /// The figures by slice and name, over everything.
    pub of_slices: Map<String, Value>,
}

impl MonitorFigures {
    /// The figures of a learner.
    pub(crate) fn of_learner(figures: Vec<Figure>) -> MonitorFigures {
        let mut monitored = MonitorFigures::default();
        for one in figures {
            monitored.add([one.name, &one.of, &one.slice], one.all.or(one.recent));
        }
        monitored
    }

    /// The figures of a model that is served.
    pub(crate) fn of_status(figures: &[v1::Figure]) -> MonitorFigures {
        let mut monitored = MonitorFigures::default();
        for one in figures {
            monitored.add([&one.name, &one.of, &one.slice], one.all.or(one.recent));
        }
        monitored
    }

    fn add(&mut self, [name, of, slice]: [&str; 3], figure: Option<f64>) {
        let Some(figure) = figure else {
            return;
        };
        match (of, slice) {
            ("", "") if OF_RUN.contains(&name) => self.of_all.push((name.to_owned(), figure)),
            ("", slice) if !slice.is_empty() => {
                let figures = self
                    .of_slices
                    .entry(slice)
                    .or_insert_with(|| Map::new().into());
                figures[name] = figure.into();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_by_their_names_and_slices() {
        let figure = |name, of: &str, slice: &str| Figure {
            name,
            of: of.to_owned(),
            slice: slice.to_owned(),
            recent: Some(0.5),
            ..Figure::default()
        };
        let monitored = MonitorFigures::of_learner(vec![
            figure("feedback_rate", "", ""),
            figure("log_loss", "", ""),
            figure("recall", "yes", ""),
            figure("log_loss", "", "country=BR"),
        ]);
        assert_eq!(monitored.of_all, [("feedback_rate".to_owned(), 0.5)]);
        let slices = Value::Object(monitored.of_slices).to_string();
        assert_eq!(slices, r#"{"country=BR":{"log_loss":0.5}}"#);
    }
}
