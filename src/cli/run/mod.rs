//! The prequential run (predict a row, score the answer, then learn its target), with a server or
//! in process: the loop, its scores and its report.

pub mod curve;
pub mod latency;
pub mod local_model;
pub mod prefetch;
pub mod prequential_run;
pub mod report;
pub mod scores;
