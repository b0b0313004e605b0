//! The task of a model.
//!
//! Invariant: a described class or action keeps its place among the outputs.

/// The task of a model.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// One of these classes, with probabilities.
    Classification {
        /// The classes: at least one name, no name twice.
        classes: Vec<String>,
        /// The largest number of classes, at least those named: a label never seen takes the next place.
        classes_max: usize,
    },
    /// A number.
    Regression,
    /// One of these actions, with an estimated reward for each.
    Bandit {
        /// The actions: at least one name, no name twice.
        actions: Vec<String>,
    },
}

impl Task {
    /// The number of outputs of the network for a row: classes that there can be, one value, or actions.
    pub fn n_outputs(&self) -> usize {
        match self {
            Task::Classification { classes_max, .. } => *classes_max,
            Task::Bandit { actions } => actions.len(),
            Task::Regression => 1,
        }
    }

    /// The classes or actions of the description; none for regression.
    pub fn names(&self) -> &[String] {
        match self {
            Task::Classification { classes, .. } => classes,
            Task::Bandit { actions } => actions,
            Task::Regression => &[],
        }
    }

    /// The place of a described class or action.
    pub fn index(&self, name: &str) -> Option<u32> {
        let place = self.names().iter().position(|known| known == name)?;
        Some(place as u32)
    }

    /// The word for it in model.toml.
    pub fn word(&self) -> &'static str {
        match self {
            Task::Classification { .. } => "classification",
            Task::Regression => "regression",
            Task::Bandit { .. } => "bandit",
        }
    }
}
