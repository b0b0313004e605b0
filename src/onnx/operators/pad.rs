//! Values around those that there are.

use candle_core::Tensor;

use super::super::call::{Call, axis};
use super::super::value::{Fault, Value, fault, one_float, select};

/// Values on one side at most: sizes computed from them do not overflow.
const PAD_MAX: i64 = 1 << 24;

/// The place, of so many, whose value stands for one outside of them.
type PaddingIndex = fn(i64, i64) -> i64;

/// Below 0, a pad removes values.
pub(super) fn pad(call: &Call) -> Result<Value, Fault> {
    let place: Option<PaddingIndex> = match call.text("mode", "constant")? {
        "constant" => None,
        "edge" => Some(|place, extent| place.clamp(0, extent - 1)),
        "reflect" => Some(reflected),
        "wrap" => Some(|place, extent| place.rem_euclid(extent)),
        other => return fault(format!("mode = {other:?}")),
    };
    let filler = match call.optional(2) {
        Some(_) => one_float(call.floats(2)?)?,
        None => 0.0,
    };
    let mut x = call.floats(0)?.clone();
    let axes: Vec<usize> = match call.optional(3) {
        None => (0..x.rank()).collect(),
        Some(_) => {
            let named = call.ints(3)?.values.iter();
            let axes = named.map(|named| axis(*named, x.rank()));
            axes.collect::<Result<_, _>>()?
        }
    };
    let pads = &call.ints(1)?.values;
    let sound = |pad: &i64| (-PAD_MAX..=PAD_MAX).contains(pad);
    if pads.len() != 2 * axes.len() || !pads.iter().all(sound) {
        let (n_pads, n_axes) = (pads.len(), axes.len());
        return fault(format!(
            "{n_pads} pads along {n_axes} axes: expected two each, of at most {PAD_MAX}"
        ));
    }
    for (index, axis) in axes.iter().enumerate() {
        let extent = x.dims()[*axis] as i64;
        let (first, end) = (-pads[index], extent + pads[axes.len() + index]);
        if first.max(0) >= end.min(extent) {
            return fault(format!("{first}..{end} has none of {extent} values"));
        }
        let mut shape = x.dims().to_vec();
        shape[*axis] = (end - first) as usize;
        call.room(&shape, 1)?;
        x = match place {
            _ if (first, end) == (0, extent) => x,
            None => filled(&x, *axis, first..end, filler)?,
            Some(place) => {
                let places = (first..end).map(|at| place(at, extent) as usize);
                select(&x, *axis, &places.collect::<Vec<_>>())?
            }
        };
    }
    Ok(Value::Floats(x))
}

/// The place reflected as in two mirrors, at the first value and at the last one.
fn reflected(place: i64, extent: i64) -> i64 {
    let last = extent - 1;
    last - (last - place.rem_euclid((2 * last).max(1))).abs()
}

/// A range of places along an axis, some of which are there.
fn filled(
    x: &Tensor,
    axis: usize,
    range: std::ops::Range<i64>,
    filler: f32,
) -> Result<Tensor, Fault> {
    let extent = x.dims()[axis] as i64;
    let (first, end) = (range.start.max(0), range.end.min(extent));
    let mut parts = vec![
        x.narrow(axis, first as usize, (end - first) as usize)?
            .contiguous()?,
    ];
    let fill = |n_values: i64| {
        let mut shape = x.dims().to_vec();
        shape[axis] = n_values as usize;
        Tensor::full(filler, shape, x.device())
    };
    if range.start < 0 {
        parts.insert(0, fill(-range.start)?);
    }
    if range.end > extent {
        parts.push(fill(range.end - extent)?);
    }
    Ok(Tensor::cat(&parts, axis)?.contiguous()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_repeats_no_edge() {
        let check = |extent: i64, expected: &[i64]| {
            let places: Vec<i64> = (-4..5).map(|place| reflected(place, extent)).collect();
            assert_eq!(places, expected, "{extent}");
        };
        check(1, &[0; 9]);
        check(2, &[0, 1, 0, 1, 0, 1, 0, 1, 0]);
        check(3, &[0, 1, 2, 1, 0, 1, 2, 1, 0]);
        check(5, &[4, 3, 2, 1, 0, 1, 2, 3, 4]);
    }
}
