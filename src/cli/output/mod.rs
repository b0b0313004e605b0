//! The output of commands: records on stdout, notes and progress on stderr, charts in files.

pub mod chart;
pub mod print;
pub mod progress;
