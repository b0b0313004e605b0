//! Numeric tensors: raw or typed, of any numeric datatype, to floats.
//!
//! Invariant: exactly the expected count of values, each within its datatype; infinite numbers
//! never pass, NaN only as a gap.

use bytes::Bytes;
use half::{bf16, f16};

use super::refusal::Refusal;
use super::tensor::{RequestTensor, TensorContents, counted};
use crate::proto::inference::InferTensorContents;

const NUMERIC: &str = "expected FP64, FP32, FP16, BF16, INT8 to INT64, UINT8 to UINT64 or BOOL";

/// Numbers, `[rows]`, where NaN stands for a gap.
pub(super) fn with_gaps(tensor: &RequestTensor) -> Result<Vec<f64>, Refusal> {
    let values = read(tensor)?;
    match values.iter().position(|value| value.is_infinite()) {
        None => Ok(values),
        Some(row) => {
            let what = format!(
                "row {row} is {}, expected a finite number or NaN",
                values[row]
            );
            Err(tensor.refuse(what))
        }
    }
}

/// Numbers, `[rows]`, without gaps.
pub(super) fn finite(tensor: &RequestTensor) -> Result<Vec<f64>, Refusal> {
    let values = read(tensor)?;
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(row) => {
            let value = values[row];
            let or_gap = if value.is_nan() {
                "; an input with missing = \"mean\" takes a gap"
            } else {
                ""
            };
            let what = format!("row {row} is {value}, expected a finite number{or_gap}");
            Err(tensor.refuse(what))
        }
    }
}

/// Vectors, `[rows, length]`: raw bytes are kept, not copied.
pub(super) fn vectors(tensor: RequestTensor) -> Result<Bytes, Refusal> {
    if tensor.datatype != "FP32" {
        let got = &tensor.datatype;
        return Err(tensor.refuse(format!("datatype {got}, expected FP32")));
    }
    let bytes = match &tensor.values {
        TensorContents::Raw(bytes) => {
            sized::<4>(&tensor, bytes)?;
            bytes.clone()
        }
        TensorContents::Typed(contents) => {
            counted(
                &tensor,
                contents,
                "fp32_contents",
                contents.fp32_contents.len(),
            )?;
            let floats = contents.fp32_contents.iter();
            floats.flat_map(|value| value.to_le_bytes()).collect()
        }
    };
    let floats = bytes.as_chunks::<4>().0.iter();
    let mut floats = floats.map(|raw| f32::from_le_bytes(*raw));
    // Nearly always all are: then none is looked at apart.
    if floats
        .clone()
        .fold(true, |all, value| all & value.is_finite())
    {
        return Ok(bytes);
    }
    let index = floats.position(|value| !value.is_finite());
    let index = index.expect("one of them is not");
    let what = format!("value {index} is not finite, expected finite numbers");
    Err(tensor.refuse(what))
}

/// Whole numbers of INT64, `[rows]`.
pub(super) fn whole(tensor: &RequestTensor) -> Result<Vec<i64>, Refusal> {
    match &tensor.values {
        TensorContents::Raw(bytes) => {
            let values = sized::<8>(tensor, bytes)?;
            Ok(values.iter().map(|raw| i64::from_le_bytes(*raw)).collect())
        }
        TensorContents::Typed(contents) => {
            let n = contents.int64_contents.len();
            counted(tensor, contents, "int64_contents", n)?;
            Ok(contents.int64_contents.clone())
        }
    }
}

fn read(tensor: &RequestTensor) -> Result<Vec<f64>, Refusal> {
    match &tensor.values {
        TensorContents::Raw(bytes) => from_raw(tensor, bytes),
        TensorContents::Typed(contents) => from_typed(tensor, contents),
    }
}

fn from_raw(tensor: &RequestTensor, bytes: &[u8]) -> Result<Vec<f64>, Refusal> {
    match tensor.datatype.as_str() {
        "FP64" => each(tensor, bytes, f64::from_le_bytes),
        "FP32" => each(tensor, bytes, |raw| f32::from_le_bytes(raw).into()),
        "FP16" => each(tensor, bytes, |raw| f16::from_le_bytes(raw).to_f64()),
        "BF16" => each(tensor, bytes, |raw| bf16::from_le_bytes(raw).to_f64()),
        "INT8" => each(tensor, bytes, |raw| i8::from_le_bytes(raw).into()),
        "INT16" => each(tensor, bytes, |raw| i16::from_le_bytes(raw).into()),
        "INT32" => each(tensor, bytes, |raw| i32::from_le_bytes(raw).into()),
        "INT64" => each(tensor, bytes, |raw| i64::from_le_bytes(raw) as f64),
        "UINT8" => each(tensor, bytes, |raw| u8::from_le_bytes(raw).into()),
        "UINT16" => each(tensor, bytes, |raw| u16::from_le_bytes(raw).into()),
        "UINT32" => each(tensor, bytes, |raw| u32::from_le_bytes(raw).into()),
        "UINT64" => each(tensor, bytes, |raw| u64::from_le_bytes(raw) as f64),
        "BOOL" => each(tensor, bytes, |[raw]| f64::from(u8::from(raw != 0))),
        other => Err(tensor.refuse(format!("datatype {other}, {NUMERIC}"))),
    }
}

fn each<const WIDTH: usize>(
    tensor: &RequestTensor,
    bytes: &[u8],
    convert: fn([u8; WIDTH]) -> f64,
) -> Result<Vec<f64>, Refusal> {
    let values = sized::<WIDTH>(tensor, bytes)?;
    Ok(values.iter().map(|raw| convert(*raw)).collect())
}

/// The bytes as values of `WIDTH` bytes each, if they are exactly as many as the shape has.
fn sized<'a, const WIDTH: usize>(
    tensor: &RequestTensor,
    bytes: &'a [u8],
) -> Result<&'a [[u8; WIDTH]], Refusal> {
    let expected = tensor.n_values.saturating_mul(WIDTH);
    if bytes.len() != expected {
        let what = format!("{} raw bytes, expected {expected}", bytes.len());
        return Err(tensor.refuse(what));
    }
    Ok(bytes.as_chunks().0)
}

fn from_typed(tensor: &RequestTensor, contents: &InferTensorContents) -> Result<Vec<f64>, Refusal> {
    let check = |field, n| counted(tensor, contents, field, n);
    match tensor.datatype.as_str() {
        "FP64" => {
            check("fp64_contents", contents.fp64_contents.len())?;
            Ok(contents.fp64_contents.clone())
        }
        "FP32" => {
            check("fp32_contents", contents.fp32_contents.len())?;
            Ok(contents
                .fp32_contents
                .iter()
                .map(|&value| value.into())
                .collect())
        }
        "INT8" => signed(tensor, contents, i8::MIN.into()..=i8::MAX.into()),
        "INT16" => signed(tensor, contents, i16::MIN.into()..=i16::MAX.into()),
        "INT32" => signed(tensor, contents, i32::MIN..=i32::MAX),
        "INT64" => {
            check("int64_contents", contents.int64_contents.len())?;
            Ok(contents
                .int64_contents
                .iter()
                .map(|&value| value as f64)
                .collect())
        }
        "UINT8" => unsigned(tensor, contents, u8::MAX.into()),
        "UINT16" => unsigned(tensor, contents, u16::MAX.into()),
        "UINT32" => unsigned(tensor, contents, u32::MAX),
        "UINT64" => {
            check("uint64_contents", contents.uint64_contents.len())?;
            Ok(contents
                .uint64_contents
                .iter()
                .map(|&value| value as f64)
                .collect())
        }
        "BOOL" => {
            check("bool_contents", contents.bool_contents.len())?;
            Ok(contents
                .bool_contents
                .iter()
                .map(|&value| u8::from(value).into())
                .collect())
        }
        narrow @ ("FP16" | "BF16") => {
            Err(tensor.refuse(format!("datatype {narrow} in contents, expected it raw")))
        }
        other => Err(tensor.refuse(format!("datatype {other}, {NUMERIC}"))),
    }
}

fn signed(
    tensor: &RequestTensor,
    contents: &InferTensorContents,
    range: std::ops::RangeInclusive<i32>,
) -> Result<Vec<f64>, Refusal> {
    counted(
        tensor,
        contents,
        "int_contents",
        contents.int_contents.len(),
    )?;
    match contents
        .int_contents
        .iter()
        .find(|value| !range.contains(value))
    {
        None => Ok(contents
            .int_contents
            .iter()
            .map(|&value| value.into())
            .collect()),
        Some(value) => Err(outside(tensor, value)),
    }
}

fn unsigned(
    tensor: &RequestTensor,
    contents: &InferTensorContents,
    max: u32,
) -> Result<Vec<f64>, Refusal> {
    counted(
        tensor,
        contents,
        "uint_contents",
        contents.uint_contents.len(),
    )?;
    match contents.uint_contents.iter().find(|&&value| value > max) {
        None => Ok(contents
            .uint_contents
            .iter()
            .map(|&value| value.into())
            .collect()),
        Some(value) => Err(outside(tensor, value)),
    }
}

fn outside(tensor: &RequestTensor, value: impl std::fmt::Display) -> Refusal {
    tensor.refuse(format!("{value} is outside of {}", tensor.datatype))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_read_exactly() {
        let read = |datatype: &str, bits: u16| {
            let raw = Bytes::copy_from_slice(&bits.to_le_bytes());
            let tensor = RequestTensor {
                name: "x".to_owned(),
                datatype: datatype.to_owned(),
                n_values: 1,
                values: TensorContents::Raw(raw.clone()),
            };
            from_raw(&tensor, &raw).expect("a value")[0]
        };
        let check =
            |bits: u16, expected: f64| assert_eq!(read("FP16", bits), expected, "{bits:#x}");
        check(0x0000, 0.0);
        check(0x3c00, 1.0);
        check(0xc000, -2.0);
        check(0x7bff, 65504.0);
        check(0x0400, 2f64.powi(-14));
        check(0x0001, 2f64.powi(-24));
        check(0xfc00, f64::NEG_INFINITY);
        assert!(read("FP16", 0x7e00).is_nan());
        assert_eq!(read("BF16", 0x3f80), 1.0);
        assert_eq!(read("BF16", 0xc040), -3.0);
    }
}
