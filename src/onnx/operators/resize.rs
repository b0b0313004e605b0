//! More or fewer values along axes, each out of those around its place.

use candle_core::Tensor;

use super::super::call::{Call, axis};
use super::super::value::{Fault, Value, fault, select};

/// Values along one axis, before and after.
#[derive(Clone, Copy, Debug)]
struct Along {
    axis: usize,
    extent: usize,
    count: usize,
    /// The number of places before.
    from: f32,
    /// The number of places after.
    to: f32,
}

/// The map from an index to its place among the values before.
type CoordinateMap = fn(f32, &Along) -> f32;

/// Places take 32 bits, as where models are trained: others would round to other neighbours.
pub(super) fn resize(call: &Call) -> Result<Value, Fault> {
    let place: CoordinateMap = match call.text("coordinate_transformation_mode", "half_pixel")? {
        "asymmetric" => |at, along| at * along.from / along.to,
        "half_pixel" => half_pixel,
        "pytorch_half_pixel" => |at, along| match along.count {
            1 => 0.0,
            _ => half_pixel(at, along),
        },
        "align_corners" => |at, along| match along.count {
            1 => 0.0,
            count => at * (along.extent - 1) as f32 / (count - 1) as f32,
        },
        other => return fault(format!("coordinate_transformation_mode = {other:?}")),
    };
    let round: Option<fn(f32) -> f32> = match call.text("mode", "nearest")? {
        "nearest" => Some(rounding(call)?),
        "linear" => None,
        other => return fault(format!("mode = {other:?}: expected nearest or linear")),
    };
    for unknown in ["antialias", "exclude_outside"] {
        if call.int(unknown, 0)? != 0 {
            return fault(format!("{unknown} other than 0"));
        }
    }
    let mut x = call.floats(0)?.clone();
    for along in resized(call, x.dims())? {
        let mut shape = x.dims().to_vec();
        shape[along.axis] = along.count;
        call.room(&shape, 2)?;
        let last = (along.extent - 1) as f32;
        let places = (0..along.count).map(|index| place(index as f32, &along));
        x = match round {
            Some(round) => {
                let places = places.map(|place| round(place).clamp(0.0, last) as usize);
                select(&x, along.axis, &places.collect::<Vec<_>>())?
            }
            None => {
                let places = places.map(|place| place.clamp(0.0, last));
                between(&x, along.axis, &places.collect::<Vec<_>>())?
            }
        };
    }
    Ok(Value::Floats(x))
}

fn half_pixel(at: f32, along: &Along) -> f32 {
    (at + 0.5) * along.from / along.to - 0.5
}

fn rounding(call: &Call) -> Result<fn(f32) -> f32, Fault> {
    Ok(match call.text("nearest_mode", "round_prefer_floor")? {
        "round_prefer_floor" => |place| (place - 0.5).ceil(),
        "round_prefer_ceil" => |place| (place + 0.5).floor(),
        "floor" => f32::floor,
        "ceil" => f32::ceil,
        other => return fault(format!("nearest_mode = {other:?}")),
    })
}

/// The axes along which something changes: sizes are named, or scales.
fn resized(call: &Call, dims: &[usize]) -> Result<Vec<Along>, Fault> {
    let axes: Vec<usize> = match call.list("axes")? {
        None => (0..dims.len()).collect(),
        Some(named) => {
            let axes = named.iter().map(|named| axis(*named, dims.len()));
            axes.collect::<Result<_, _>>()?
        }
    };
    if call.text("keep_aspect_ratio_policy", "stretch")? != "stretch" {
        return fault("keep_aspect_ratio_policy other than stretch");
    }
    let extents = axes.iter().map(|axis| dims[*axis]);
    let given = |index| call.optional(index).filter(|value| value.n_elements() > 0);
    let along: Vec<Along> = if given(3).is_some() {
        let sizes = call.ints(3)?.values.iter();
        let sizes = sizes.map(|size| usize::try_from(*size).unwrap_or(0));
        let along = axes.iter().zip(extents).zip(sizes);
        let along = along.map(|((axis, extent), count)| Along {
            axis: *axis,
            extent,
            count,
            from: extent as f32,
            to: count as f32,
        });
        along.collect()
    } else {
        let scales: Vec<f32> = call.floats(2)?.flatten_all()?.to_vec1()?;
        let along = axes.iter().zip(extents).zip(scales);
        let along = along.map(|((axis, extent), scale)| Along {
            axis: *axis,
            extent,
            count: (extent as f32 * scale) as usize,
            from: 1.0,
            to: scale,
        });
        along.collect()
    };
    if along.len() != axes.len() || along.iter().any(|along| along.count == 0) {
        return fault(format!(
            "sizes or scales for {dims:?}: expected one above 0 for each axis"
        ));
    }
    let changes = |along: &Along| along.from != along.to;
    Ok(along.into_iter().filter(changes).collect())
}

/// Values at places between others: weighted means of both neighbours.
fn between(x: &Tensor, axis: usize, places: &[f32]) -> Result<Tensor, Fault> {
    let last = x.dims()[axis] - 1;
    let low: Vec<usize> = places.iter().map(|place| *place as usize).collect();
    let high: Vec<usize> = low.iter().map(|place| (place + 1).min(last)).collect();
    let fractions: Vec<f32> = places.iter().map(|place| place.fract()).collect();
    let mut shape = vec![1; x.rank()];
    shape[axis] = places.len();
    let fractions = Tensor::from_vec(fractions, shape, x.device())?;
    let (low, high) = (select(x, axis, &low)?, select(x, axis, &high)?);
    let rise = (high - &low)?.broadcast_mul(&fractions)?;
    Ok((low + rise)?)
}
