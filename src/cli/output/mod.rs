//! The output of commands: records on stdout, notes and progress on stderr, charts in files.

pub(crate) mod answers;
pub(crate) mod chart;
pub(crate) mod learning_event;
pub(crate) mod print;
pub(crate) mod progress;
