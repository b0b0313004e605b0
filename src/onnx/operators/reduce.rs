//! Operators that reduce all values along some axes.

use candle_core::{D, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::super::call::{Call, axis};
use super::super::value::{Fault, FloatsResult, Value, fault};

/// Reduces along the axes that are named, or all of them.
fn reduce(call: &Call, function: fn(&Tensor, Vec<usize>) -> FloatsResult) -> Result<Value, Fault> {
    let tensor = call.floats(0)?;
    let rank = tensor.rank();
    let named = call.list_or_input("axes", 1)?.unwrap_or_default();
    if named.is_empty() && call.int("noop_with_empty_axes", 0)? != 0 {
        return Ok(call.value(0)?.clone());
    }
    let mut axes: Vec<usize> = if named.is_empty() {
        (0..rank).collect()
    } else {
        let named = named.iter().map(|named| axis(*named, rank));
        named.collect::<Result<_, _>>()?
    };
    axes.sort_unstable();
    axes.dedup();
    let reduced = function(tensor, axes.clone())?;
    if call.int("keepdims", 1)? != 0 {
        return Ok(Value::Floats(reduced));
    }
    let kept = (0..rank).filter(|axis| !axes.contains(axis));
    let shape: Vec<usize> = kept.map(|axis| tensor.dims()[axis]).collect();
    Ok(Value::Floats(reduced.reshape(shape)?))
}

pub(super) fn mean(call: &Call) -> Result<Value, Fault> {
    reduce(call, |tensor, axes| tensor.mean_keepdim(axes))
}

pub(super) fn sum(call: &Call) -> Result<Value, Fault> {
    reduce(call, |tensor, axes| tensor.sum_keepdim(axes))
}

pub(super) fn l2(call: &Call) -> Result<Value, Fault> {
    reduce(call, |tensor, axes| tensor.sqr()?.sum_keepdim(axes)?.sqrt())
}

/// A reduction over every dimension behind the channels.
fn global(call: &Call, function: fn(&Tensor, Vec<usize>) -> FloatsResult) -> Result<Value, Fault> {
    let tensor = call.floats(0)?;
    match tensor.rank() {
        0..=2 => fault(format!("an input {:?} without places", tensor.dims())),
        rank => Ok(Value::Floats(function(tensor, (2..rank).collect())?)),
    }
}

pub(super) fn global_average(call: &Call) -> Result<Value, Fault> {
    global(call, |tensor, axes| tensor.mean_keepdim(axes))
}

pub(super) fn global_max(call: &Call) -> Result<Value, Fault> {
    global(call, |tensor, axes| {
        let largest = |tensor: Tensor, axis| tensor.max_keepdim(axis);
        axes.into_iter().try_fold(tensor.clone(), largest)
    })
}

/// The softmax, until opset 12 over all dimensions from the axis on.
pub(super) fn softmax(call: &Call) -> Result<Value, Fault> {
    let tensor = call.floats(0)?;
    let rank = tensor.rank();
    if call.opset < 13 {
        let axis = call.axis("axis", 1, rank)?;
        let inner: usize = tensor.dims()[axis..].iter().product();
        let rows = tensor.reshape(((), inner))?;
        return Ok(Value::Floats(
            softmax_last_dim(&rows)?.reshape(tensor.dims())?,
        ));
    }
    let axis = call.axis("axis", -1, rank)?;
    let last = tensor.transpose(axis, D::Minus1)?.contiguous()?;
    let probabilities = softmax_last_dim(&last)?.transpose(axis, D::Minus1)?;
    Ok(Value::Floats(probabilities.contiguous()?))
}
