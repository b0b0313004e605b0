//! The tests that cross rooms, in one program: each module is one subject.
//!
//! Their own programs have `memory`, which counts allocations, `soak`, which searches for as
//! long as it is asked to, and `zz_passed_over`, which runs last.

mod access;
mod adoption;
mod aliases;
mod architecture;
mod canary;
mod cli;
mod compare;
mod contract;
mod crash;
mod damage;
mod determinism;
mod drift;
mod embedded;
mod evaluate;
mod examples;
mod fuzz;
mod gate;
mod golden;
mod grpc;
mod histories;
mod incidents;
mod learning;
mod mends;
mod monitors;
mod orders;
mod pretrained;
mod quarantine;
mod readme;
mod recovery;
mod retraction;
mod retrain;
mod sources;
mod support;
mod undo;
mod versions;
mod watch;
