//! The data of a model whose server does not run.

pub(crate) mod compared;
pub(crate) mod difference;
pub(crate) mod replay;
mod row_keys;
pub(crate) mod side_by_side;
pub(crate) mod sides;
pub(crate) mod stopped;
