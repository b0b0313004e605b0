//! Operators that compute value by value.

use candle_core::Tensor;

use super::super::call::Call;
use super::super::value::{Fault, FloatsResult, Ints, Value, broadcast, fault, one_float};

/// One function of each float.
pub(super) fn each(
    call: &Call,
    function: impl Fn(&Tensor) -> FloatsResult,
) -> Result<Value, Fault> {
    Ok(Value::Floats(function(call.floats(0)?)?))
}

/// One function of two values each, broadcast; nothing where whole numbers have no result.
fn pairs(
    call: &Call,
    floats: fn(&Tensor, &Tensor) -> FloatsResult,
    ints: fn(i64, i64) -> Option<i64>,
) -> Result<Value, Fault> {
    combine(call.value(0)?, call.value(1)?, floats, ints)
}

fn combine(
    one: &Value,
    other: &Value,
    floats: fn(&Tensor, &Tensor) -> FloatsResult,
    ints: fn(i64, i64) -> Option<i64>,
) -> Result<Value, Fault> {
    let shape = broadcast(one.shape(), other.shape())?;
    match (one, other) {
        (Value::Floats(a), Value::Floats(b)) => Ok(Value::Floats(floats(a, b)?)),
        (Value::Ints(a), Value::Ints(b)) => {
            let (a, b) = (a.expanded(&shape), b.expanded(&shape));
            let values = a.iter().zip(&b).map(|(a, b)| ints(*a, *b));
            let values: Option<Vec<i64>> = values.collect();
            let values = values.ok_or_else(|| Fault::Node("whole numbers overflow".to_owned()))?;
            Ok(Value::ints(values, &shape))
        }
        _ => fault("floats and whole numbers together"),
    }
}

pub(super) fn add(call: &Call) -> Result<Value, Fault> {
    pairs(call, Tensor::broadcast_add, i64::checked_add)
}

pub(super) fn sub(call: &Call) -> Result<Value, Fault> {
    pairs(call, Tensor::broadcast_sub, i64::checked_sub)
}

pub(super) fn mul(call: &Call) -> Result<Value, Fault> {
    pairs(call, Tensor::broadcast_mul, i64::checked_mul)
}

/// Division; of whole numbers it is towards zero.
pub(super) fn div(call: &Call) -> Result<Value, Fault> {
    pairs(call, Tensor::broadcast_div, i64::checked_div)
}

pub(super) fn max(call: &Call) -> Result<Value, Fault> {
    all(call, Tensor::broadcast_maximum, |a, b| Some(a.max(b)))
}

pub(super) fn min(call: &Call) -> Result<Value, Fault> {
    all(call, Tensor::broadcast_minimum, |a, b| Some(a.min(b)))
}

/// One function over any number of inputs.
fn all(
    call: &Call,
    floats: fn(&Tensor, &Tensor) -> FloatsResult,
    ints: fn(i64, i64) -> Option<i64>,
) -> Result<Value, Fault> {
    let mut folded = call.value(0)?.clone();
    for index in 1..call.inputs.len() {
        folded = combine(&folded, call.value(index)?, floats, ints)?;
    }
    Ok(folded)
}

/// The exponent is one number: exports use no powers of other shapes.
pub(super) fn pow(call: &Call) -> Result<Value, Fault> {
    let exponent = match call.value(1)? {
        Value::Floats(tensor) => one_float(tensor)?,
        Value::Ints(Ints { values, .. }) if values.len() == 1 => values[0] as f32,
        Value::Ints(ints) => return fault(format!("exponents {:?}, expected one", ints.shape)),
    };
    each(call, |x| match exponent {
        2.0 => x.sqr(),
        0.5 => x.sqrt(),
        other => x.powf(f64::from(other)),
    })
}

pub(super) fn clip(call: &Call) -> Result<Value, Fault> {
    let mut clipped = call.floats(0)?.clone();
    if call.optional(1).is_some() {
        clipped = clipped.broadcast_maximum(call.floats(1)?)?;
    }
    if call.optional(2).is_some() {
        clipped = clipped.broadcast_minimum(call.floats(2)?)?;
    }
    if clipped.dims() == call.floats(0)?.dims() {
        Ok(Value::Floats(clipped))
    } else {
        fault("bounds of more than one value")
    }
}

pub(super) fn elu(call: &Call) -> Result<Value, Fault> {
    let alpha = call.float("alpha", 1.0)?;
    each(call, |x| x.elu(alpha))
}

pub(super) fn gelu(call: &Call) -> Result<Value, Fault> {
    match call.text("approximate", "none")? {
        "none" => each(call, |x| x.gelu_erf()),
        "tanh" => each(call, |x| x.gelu()),
        other => fault(format!("approximate = {other:?}: expected none or tanh")),
    }
}

pub(super) fn hard_sigmoid(call: &Call) -> Result<Value, Fault> {
    let (alpha, beta) = (call.float("alpha", 0.2)?, call.float("beta", 0.5)?);
    each(call, |x| x.affine(alpha, beta)?.clamp(0f32, 1f32))
}

pub(super) fn hard_swish(call: &Call) -> Result<Value, Fault> {
    each(call, |x| x * x.affine(1.0 / 6.0, 0.5)?.clamp(0f32, 1f32)?)
}

pub(super) fn leaky_relu(call: &Call) -> Result<Value, Fault> {
    let alpha = call.float("alpha", 0.01)?;
    each(call, |x| x.relu()? - (x.neg()?.relu()? * alpha)?)
}

pub(super) fn p_relu(call: &Call) -> Result<Value, Fault> {
    let slope = call.floats(1)?;
    broadcast(call.value(0)?.shape(), slope.dims())?;
    each(call, |x| {
        x.relu()?
            .broadcast_sub(&x.neg()?.relu()?.broadcast_mul(slope)?)
    })
}
