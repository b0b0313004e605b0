//! The life of a server on a disk that records, fails and loses power.

#[path = "../it/recovery/clocked.rs"]
pub(crate) mod clocked;
#[path = "../it/recovery/power.rs"]
pub(crate) mod power;
#[path = "../it/recovery/refusing.rs"]
pub(crate) mod refusing;
#[path = "../it/recovery/resent.rs"]
pub(crate) mod resent;
#[path = "../it/recovery/scenario.rs"]
pub(crate) mod scenario;
