//! The life of a server on a disk that records, fails and loses power.

#[path = "../it/recovery/clocked.rs"]
pub mod clocked;
#[path = "../it/recovery/power.rs"]
pub mod power;
#[path = "../it/recovery/refusing.rs"]
pub mod refusing;
#[path = "../it/recovery/resent.rs"]
pub mod resent;
#[path = "../it/recovery/scenario.rs"]
pub mod scenario;
