//! The prequential run (predict a row, score the answer, then learn its target), with a server or
//! in process: the loop, its scores and its report.

pub(super) mod curve;
pub(super) mod latency;
pub(super) mod local_model;
pub(super) mod monitored;
pub(super) mod prefetch;
pub(super) mod prequential_run;
pub(super) mod report;
pub(super) mod scores;
pub(super) mod usable;
mod value_scores;
