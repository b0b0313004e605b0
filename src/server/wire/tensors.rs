//! From tensors to rows: the inputs of a request, checked against the description.
//!
//! Invariant: a [`Batch`] made here has one column for each described input, every column with
//! the same one to `rows_max` rows, and every value is one that the description allows. An input that
//! a row may be without may be left out, and is a gap in every row. Vectors that came raw are slices
//! of the message, not copies.

use bytes::Bytes;

use super::numbers;
use super::refusal::Refusal;
use super::tensor::{RequestTensor, TensorContents, refuse};
use super::texts;
use super::times;
use crate::event::{Batch, Column};
use crate::model::{Input, InputKind, Spec};
use crate::proto::inference::InferTensorContents;
use crate::proto::inference::ModelInferRequest;
use crate::proto::inference::model_infer_request::InferInputTensor;

/// A shape of more dimensions is not shown.
const DIMENSIONS_SHOWN_MAX: usize = 8;

/// The tensors of a request as they came.
pub(in crate::server) struct RequestTensors {
    pub inputs: Vec<InferInputTensor>,
    pub raw: Vec<Bytes>,
}

/// The rows that the tensors hold.
pub(in crate::server) fn batch(
    spec: &Spec,
    tensors: RequestTensors,
    rows_max: usize,
) -> Result<Batch, Refusal> {
    let described = arrange(spec, pair(tensors)?)?;
    let n_rows = n_rows(spec, &described, rows_max)?;
    let mut columns = Vec::with_capacity(described.len());
    for (input, given) in spec.inputs.iter().zip(described) {
        let Some((tensor, values)) = given else {
            columns.push(input.kind.gaps(n_rows));
            continue;
        };
        let width = width(&input.kind);
        columns.push(column(
            &input.kind,
            RequestTensor {
                name: tensor.name,
                datatype: tensor.datatype,
                // Too large to count is too large for any buffer: the sizes then differ.
                n_values: n_rows.saturating_mul(width),
                values,
            },
        )?);
    }
    Ok(Batch { n_rows, columns })
}

/// The rows that all tensors have.
fn n_rows(
    spec: &Spec,
    described: &[Option<TensorPair>],
    rows_max: usize,
) -> Result<usize, Refusal> {
    let mut first: Option<(&str, usize)> = None;
    for (input, given) in spec.inputs.iter().zip(described) {
        let Some((tensor, _)) = given else {
            continue;
        };
        let rows = n_rows_of(input, tensor, rows_max)?;
        let (name, expected) = *first.get_or_insert((&input.name, rows));
        if rows != expected {
            return Err(refuse(
                &input.name,
                format!("{rows} rows, expected {expected}, as \"{name}\" has"),
            ));
        }
    }
    let first = first.ok_or_else(|| Refusal::invalid("inputs", "no inputs"))?;
    Ok(first.1)
}

/// A row that a server refuses; it prints as the sentence that a client reads.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct RefusedRow(String);

/// One row, checked as a server checks it that is sent these tensors.
///
/// # Errors
/// The refusal of the row.
pub fn check_row(spec: &Spec, request: ModelInferRequest) -> Result<Batch, RefusedRow> {
    let tensors = RequestTensors {
        inputs: request.inputs,
        raw: request.raw_input_contents,
    };
    batch(spec, tensors, 1).map_err(|refusal| RefusedRow(refusal.message))
}

type TensorPair = (InferInputTensor, TensorContents);

/// Each tensor with its values: all raw, or all typed.
fn pair(tensors: RequestTensors) -> Result<Vec<TensorPair>, Refusal> {
    let RequestTensors { inputs, raw } = tensors;
    if raw.is_empty() {
        let typed = inputs.into_iter().map(|mut tensor| {
            let contents = tensor.contents.take().unwrap_or_default();
            (tensor, TensorContents::Typed(contents))
        });
        return Ok(typed.collect());
    }
    if raw.len() != inputs.len() {
        let (got, expected) = (raw.len(), inputs.len());
        return Err(Refusal::invalid(
            "raw_input_contents",
            format!("{got} raw buffers, expected {expected}: one for each input"),
        ));
    }
    let is_filled = |contents: &InferTensorContents| *contents != InferTensorContents::default();
    if let Some(both) = inputs
        .iter()
        .find(|i| i.contents.as_ref().is_some_and(is_filled))
    {
        return Err(refuse(
            &both.name,
            "both raw and typed values, expected one of them",
        ));
    }
    Ok(inputs
        .into_iter()
        .zip(raw.into_iter().map(TensorContents::Raw))
        .collect())
}

/// The tensors in the order of the description, each once; none of an input that a row may be without.
fn arrange(spec: &Spec, paired: Vec<TensorPair>) -> Result<Vec<Option<TensorPair>>, Refusal> {
    let mut places: Vec<Option<TensorPair>> = spec.inputs.iter().map(|_| None).collect();
    for (index, (tensor, values)) in paired.into_iter().enumerate() {
        let is_named = |input: &Input| input.name == tensor.name;
        // Clients mostly keep the order of the description.
        let place = if spec.inputs.get(index).is_some_and(is_named) {
            index
        } else {
            let place = spec.inputs.iter().position(is_named);
            place.ok_or_else(|| refuse(&tensor.name, "the model has no such input"))?
        };
        if places[place].is_some() {
            return Err(refuse(&tensor.name, "given twice"));
        }
        places[place] = Some((tensor, values));
    }
    let missing =
        |input: &Input| refuse(&input.name, format!("missing, expected a {}", input.kind));
    let mut given = spec.inputs.iter().zip(&places);
    match given.find(|(input, place)| place.is_none() && !input.has_gaps()) {
        Some((input, _)) => Err(missing(input)),
        None => Ok(places),
    }
}

/// The number of floats of a row of a vector.
fn vector_length(kind: &InputKind) -> Option<usize> {
    match kind {
        InputKind::Vector { length, .. }
        | InputKind::EmbeddedVector {
            n_values: length, ..
        } => Some(*length),
        _ => None,
    }
}

fn width(kind: &InputKind) -> usize {
    vector_length(kind).unwrap_or(1)
}

/// The rows that a shape speaks of.
fn n_rows_of(input: &Input, tensor: &InferInputTensor, rows_max: usize) -> Result<usize, Refusal> {
    let shape = &tensor.shape;
    let rows = match (vector_length(&input.kind), shape.as_slice()) {
        (Some(length), [rows, n]) if usize::try_from(*n) == Ok(length) => rows,
        (Some(length), _) => {
            let what = format!("shape {}, expected [rows, {length}]", shown(shape));
            return Err(refuse(&input.name, what));
        }
        (_, [rows] | [rows, 1]) => rows,
        _ => {
            let what = format!("shape {}, expected [rows] or [rows, 1]", shown(shape));
            return Err(refuse(&input.name, what));
        }
    };
    match usize::try_from(*rows) {
        Ok(rows) if (1..=rows_max).contains(&rows) => Ok(rows),
        _ => {
            let what = format!("{rows} rows, expected 1 to {rows_max}");
            Err(refuse(&input.name, what))
        }
    }
}

fn shown(shape: &[i64]) -> String {
    if shape.len() > DIMENSIONS_SHOWN_MAX {
        format!("of {} dimensions", shape.len())
    } else {
        format!("{shape:?}")
    }
}

fn column(kind: &InputKind, tensor: RequestTensor) -> Result<Column, Refusal> {
    match kind {
        InputKind::Number { gaps: true } => Ok(Column::Numbers(numbers::with_gaps(&tensor)?)),
        InputKind::Number { gaps: false } => Ok(Column::Numbers(numbers::finite(&tensor)?)),
        InputKind::Time(times) => Ok(Column::Strings(times::read(&tensor, times)?)),
        // An encoder later puts its vector beside a text, or in place of a vector.
        InputKind::Category | InputKind::Text | InputKind::Embedded { .. } => {
            Ok(Column::Strings(texts::read(&tensor)?))
        }
        InputKind::Vector { .. } | InputKind::EmbeddedVector { .. } => {
            Ok(Column::Vectors(numbers::vectors(tensor)?))
        }
    }
}

#[cfg(test)]
mod tests;
