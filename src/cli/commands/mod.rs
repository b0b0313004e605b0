//! The commands: a file for each, with its arguments, its run and its printed lines.

pub mod audit;
pub mod checkpoint;
pub mod config;
pub mod demo;
pub mod evaluate;
pub mod feedback;
pub mod import;
pub mod init;
pub mod limits;
pub mod predict;
pub mod reference;
pub mod replay;
pub mod restore;
pub mod retract;
pub mod serve;
pub mod status;
pub mod stream;
pub mod verify;
pub mod versions;
