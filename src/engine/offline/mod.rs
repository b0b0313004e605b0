//! The data of a model whose server does not run.

pub(crate) mod replay;
pub(crate) mod stopped;
