//! Truths, choices and types.

use candle_core::Tensor;

use super::super::call::Call;
use super::super::file::element;
use super::super::value::{Fault, Ints, Value, broadcast, fault};

/// One function of two truths.
pub(super) fn both(call: &Call, function: fn(i64, i64) -> i64) -> Result<Value, Fault> {
    let (one, other) = (call.ints(0)?, call.ints(1)?);
    zipped(one, other, function)
}

fn zipped(one: &Ints, other: &Ints, function: impl Fn(i64, i64) -> i64) -> Result<Value, Fault> {
    let shape = broadcast(&one.shape, &other.shape)?;
    let (a, b) = (one.expanded(&shape), other.expanded(&shape));
    let values = a.iter().zip(&b).map(|(a, b)| function(*a, *b));
    Ok(Value::ints(values.collect(), &shape))
}

pub(super) fn compare(
    call: &Call,
    ints: fn(i64, i64) -> bool,
    floats: fn(f32, f32) -> bool,
) -> Result<Value, Fault> {
    match (call.value(0)?, call.value(1)?) {
        (Value::Ints(one), Value::Ints(other)) => zipped(one, other, |a, b| i64::from(ints(a, b))),
        (Value::Floats(one), Value::Floats(other)) => {
            let (one, other) = (bits(one)?, bits(other)?);
            let float = |bits: i64| f32::from_bits(bits as u32);
            zipped(&one, &other, |a, b| i64::from(floats(float(a), float(b))))
        }
        _ => fault("floats and whole numbers together"),
    }
}

/// The floats of a tensor, here.
fn bits(tensor: &Tensor) -> Result<Ints, Fault> {
    let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
    Ok(Ints {
        shape: tensor.dims().to_vec(),
        values: values
            .iter()
            .map(|value| i64::from(value.to_bits()))
            .collect(),
    })
}

pub(super) fn not(call: &Call) -> Result<Value, Fault> {
    let Ints { shape, values } = call.ints(0)?;
    let values = values.iter().map(|value| i64::from(*value == 0));
    Ok(Value::ints(values.collect(), shape))
}

pub(super) fn is_nan(call: &Call) -> Result<Value, Fault> {
    let tensor = call.floats(0)?;
    let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
    let values = values.iter().map(|value| i64::from(value.is_nan()));
    Ok(Value::ints(values.collect(), tensor.dims()))
}

/// Floats of 64 bits are computed in 32.
pub(super) fn cast(call: &Call) -> Result<Value, Fault> {
    let to = call.int("to", 0)?;
    let value = call.value(0)?;
    match (to, value) {
        (element::FLOAT | element::DOUBLE, value) => {
            Ok(Value::Floats(value.to_floats(call.device)?))
        }
        (element::INT32 | element::INT64, Value::Ints(_)) => Ok(value.clone()),
        (element::INT32 | element::INT64, Value::Floats(tensor)) => {
            let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
            let values = values.iter().map(|value| *value as i64);
            Ok(Value::ints(values.collect(), tensor.dims()))
        }
        (element::BOOL, Value::Ints(ints)) => {
            let values = ints.values.iter().map(|value| i64::from(*value != 0));
            Ok(Value::ints(values.collect(), &ints.shape))
        }
        (element::BOOL, Value::Floats(tensor)) => {
            let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
            let values = values.iter().map(|value| i64::from(*value != 0.0));
            Ok(Value::ints(values.collect(), tensor.dims()))
        }
        (other, _) => fault(format!(
            "a cast to type {other}: expected FLOAT, DOUBLE, INT32, INT64 or BOOL"
        )),
    }
}

/// The second where the first is true, else the third.
pub(super) fn choose(call: &Call) -> Result<Value, Fault> {
    let (of, yes, no) = (call.ints(0)?, call.value(1)?, call.value(2)?);
    let shape = broadcast(&of.shape, &broadcast(yes.shape(), no.shape())?)?;
    let of = of.expanded(&shape);
    match (yes, no) {
        (Value::Ints(yes), Value::Ints(no)) => {
            let (yes, no) = (yes.expanded(&shape), no.expanded(&shape));
            let values = of.iter().zip(yes.iter().zip(&no));
            let values = values.map(|(of, (yes, no))| if *of == 0 { *no } else { *yes });
            Ok(Value::ints(values.collect(), &shape))
        }
        (Value::Floats(yes), Value::Floats(no)) => {
            let of: Vec<u8> = of.iter().map(|of| u8::from(*of != 0)).collect();
            let of = Tensor::from_vec(of, shape.as_slice(), call.device)?;
            let all = |tensor: &Tensor| tensor.broadcast_as(shape.as_slice())?.contiguous();
            Ok(Value::Floats(of.where_cond(&all(yes)?, &all(no)?)?))
        }
        _ => fault("floats and whole numbers together"),
    }
}
