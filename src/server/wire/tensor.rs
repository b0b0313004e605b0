//! One tensor of a request, with its values as they came.
//!
//! Invariant: its shape has been checked; its values have not.

use bytes::Bytes;

use super::refusal::Refusal;
use crate::proto::inference::InferTensorContents;

/// The values of one tensor as they came.
#[derive(Clone, Debug)]
pub(super) enum TensorContents {
    Raw(Bytes),
    Typed(InferTensorContents),
}

/// One tensor whose shape has been checked.
#[derive(Debug)]
pub(super) struct RequestTensor {
    pub name: String,
    pub datatype: String,
    /// Rows times width: so many values are expected.
    pub n_values: usize,
    pub values: TensorContents,
}

impl RequestTensor {
    /// A sentence about this tensor.
    pub(super) fn refuse(&self, what: impl std::fmt::Display) -> Refusal {
        refuse(&self.name, what)
    }
}

/// A sentence about the input of this name.
pub(super) fn refuse(name: &str, what: impl std::fmt::Display) -> Refusal {
    Refusal::invalid("inputs", format!("input \"{name}\": {what}"))
}

/// Checks that `field` holds as many values as the shape has, and no other field any.
pub(super) fn counted(
    tensor: &RequestTensor,
    contents: &InferTensorContents,
    field: &str,
    n: usize,
) -> Result<(), Refusal> {
    let all = contents.bool_contents.len()
        + contents.int_contents.len()
        + contents.int64_contents.len()
        + contents.uint_contents.len()
        + contents.uint64_contents.len()
        + contents.fp32_contents.len()
        + contents.fp64_contents.len()
        + contents.bytes_contents.len();
    let (expected, datatype) = (tensor.n_values, &tensor.datatype);
    if n != expected {
        let what = format!("{n} values in {field}, expected {expected}, for datatype {datatype}");
        return Err(tensor.refuse(what));
    }
    if all != n {
        let what = format!("values beside {field}, expected only those, for datatype {datatype}");
        return Err(tensor.refuse(what));
    }
    Ok(())
}
