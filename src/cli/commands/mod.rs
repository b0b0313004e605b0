//! The commands: a file for each, with its arguments, its run and its printed lines.

pub(super) mod alias;
pub(super) mod audit;
pub(super) mod checkpoint;
pub(super) mod compare;
pub(super) mod config;
pub(super) mod demo;
pub(super) mod diff;
pub(super) mod evaluate;
pub(super) mod fate;
pub(super) mod feedback;
pub(super) mod import;
pub(super) mod incidents;
pub(super) mod init;
pub(super) mod limits;
pub(super) mod predict;
pub(super) mod promote;
pub(super) mod reference;
pub(super) mod replay;
pub(super) mod restore;
pub(super) mod retract;
pub(super) mod retrain;
pub(super) mod serve;
pub(super) mod status;
pub(super) mod stream;
pub(super) mod verify;
pub(super) mod versions;
