//! Operators that move values and compute none.

use candle_core::Tensor;

use super::super::call::{Call, axis};
use super::super::file::Attribute;
use super::super::value::{Fault, Value, broadcast, fault, n_elements};

pub(super) fn identity(call: &Call) -> Result<Value, Fault> {
    Ok(call.value(0)?.clone())
}

pub(super) fn constant(call: &Call) -> Result<Value, Fault> {
    match call.node.attributes.values().next() {
        Some(Attribute::Tensor(value)) => Ok(value.clone()),
        Some(Attribute::Float(value)) => Value::floats(vec![*value], &[], call.device),
        Some(Attribute::Floats(values)) => {
            Value::floats(values.clone(), &[values.len()], call.device)
        }
        Some(Attribute::Int(value)) => Ok(Value::ints(vec![*value], &[])),
        Some(Attribute::Ints(values)) => Ok(Value::ints(values.clone(), &[values.len()])),
        Some(Attribute::Text(_) | Attribute::Other) | None => fault("a constant without value"),
    }
}

/// Extents that came as whole numbers.
fn extents(values: &[i64]) -> Result<Vec<usize>, Fault> {
    let extents = values.iter().map(|value| usize::try_from(*value));
    let extents = extents.collect::<Result<Vec<usize>, _>>();
    let extents = extents.map_err(|_| Fault::Node(format!("an extent below 0 in {values:?}")))?;
    n_elements(&extents)?;
    Ok(extents)
}

pub(super) fn constant_of_shape(call: &Call) -> Result<Value, Fault> {
    let shape = extents(&call.ints(0)?.values)?;
    let value = match call.node.attributes.get("value") {
        None => Value::floats(vec![0.0], &[1], call.device)?,
        Some(Attribute::Tensor(value)) if value.n_elements() == 1 => value.clone(),
        Some(_) => return fault("a value that is not one number"),
    };
    value.reshaped(&[])?.expanded(&shape)
}

pub(super) fn shape(call: &Call) -> Result<Value, Fault> {
    let shape = call.value(0)?.shape();
    let rank = shape.len() as i64;
    let place = |name: &str, default: i64| -> Result<usize, Fault> {
        let place = call.int(name, default)?;
        let counted = if place < 0 { place + rank } else { place };
        Ok(counted.clamp(0, rank) as usize)
    };
    let (start, end) = (place("start", 0)?, place("end", rank)?);
    let extents = shape[start.min(end)..end].iter();
    let extents: Vec<i64> = extents.map(|extent| *extent as i64).collect();
    let n_extents = extents.len();
    Ok(Value::ints(extents, &[n_extents]))
}

pub(super) fn reshape(call: &Call) -> Result<Value, Fault> {
    let value = call.value(0)?;
    let (own, asked) = (value.shape(), &call.ints(1)?.values);
    let keeps = call.int("allowzero", 0)? == 0;
    let mut shape = Vec::with_capacity(asked.len());
    for (place, extent) in asked.iter().enumerate() {
        shape.push(match (extent, own.get(place)) {
            (0, Some(kept)) if keeps => *kept,
            // The others leave it so much.
            (-1, _) => 1,
            (extent, _) => usize::try_from(*extent)
                .map_err(|_| Fault::Node(format!("an extent {extent} in a shape")))?,
        });
    }
    let mut free = asked
        .iter()
        .enumerate()
        .filter(|(_, extent)| **extent == -1);
    if let Some((place, _)) = free.next() {
        let others = n_elements(&shape)?.max(1);
        shape[place] = value.n_elements() / others;
        if free.next().is_some() {
            return fault(format!("a shape {asked:?} with two free extents"));
        }
    }
    value.reshaped(&shape)
}

pub(super) fn flatten(call: &Call) -> Result<Value, Fault> {
    let value = call.value(0)?;
    let shape = value.shape();
    let place = call.int("axis", 1)?;
    let place = if place == shape.len() as i64 {
        shape.len()
    } else {
        axis(place, shape.len())?
    };
    let rows: usize = shape[..place].iter().product();
    let columns: usize = shape[place..].iter().product();
    value.reshaped(&[rows, columns])
}

pub(super) fn squeeze(call: &Call) -> Result<Value, Fault> {
    let value = call.value(0)?;
    let shape = value.shape();
    let axes: Vec<usize> = match call.list_or_input("axes", 1)? {
        None => (0..shape.len()).filter(|axis| shape[*axis] == 1).collect(),
        Some(named) => named
            .iter()
            .map(|named| axis(*named, shape.len()))
            .collect::<Result<_, _>>()?,
    };
    if let Some(wide) = axes.iter().find(|axis| shape[**axis] != 1) {
        return fault(format!("axis {wide} of {shape:?} is not one"));
    }
    let kept = (0..shape.len()).filter(|axis| !axes.contains(axis));
    let kept: Vec<usize> = kept.map(|axis| shape[axis]).collect();
    value.reshaped(&kept)
}

pub(super) fn unsqueeze(call: &Call) -> Result<Value, Fault> {
    let value = call.value(0)?;
    let named = call.list_or_input("axes", 1)?;
    let named = named.ok_or_else(|| Fault::Node("it names no axes".to_owned()))?;
    let rank = value.shape().len() + named.len();
    let axes = named.iter().map(|named| axis(*named, rank));
    let axes: Vec<usize> = axes.collect::<Result<_, _>>()?;
    let mut own = value.shape().iter();
    let shape = (0..rank).map(|axis| {
        if axes.contains(&axis) {
            Some(1)
        } else {
            own.next().copied()
        }
    });
    let shape: Option<Vec<usize>> = shape.collect();
    value.reshaped(&shape.ok_or_else(|| Fault::Node(format!("axes {named:?} name one twice")))?)
}

pub(super) fn transpose(call: &Call) -> Result<Value, Fault> {
    let value = call.value(0)?;
    let rank = value.shape().len();
    let order: Vec<usize> = match call.list("perm")? {
        None => (0..rank).rev().collect(),
        Some(named) => named
            .iter()
            .map(|named| axis(*named, rank))
            .collect::<Result<_, _>>()?,
    };
    if order.len() != rank || (0..rank).any(|axis| !order.contains(&axis)) {
        return fault(format!("perm = {order:?} of {rank} axes"));
    }
    match value {
        Value::Floats(tensor) => Ok(Value::Floats(tensor.permute(order)?.contiguous()?)),
        Value::Ints(ints) => Ok(Value::Ints(ints.permuted(&order))),
    }
}

pub(super) fn concat(call: &Call) -> Result<Value, Fault> {
    let first = call.value(0)?;
    let rank = first.shape().len();
    let axis = axis(call.int("axis", 0)?, rank)?;
    let values = (0..call.inputs.len()).map(|index| call.value(index));
    let values: Vec<&Value> = values.collect::<Result<_, _>>()?;
    let mut shape = first.shape().to_vec();
    shape[axis] = 0;
    for value in &values {
        let own = value.shape();
        let fits = |at: usize| at == axis || own[at] == shape[at];
        if own.len() != rank || !(0..rank).all(fits) {
            return fault(format!("{own:?} beside {:?}", first.shape()));
        }
        shape[axis] += own[axis];
    }
    n_elements(&shape)?;
    match first {
        Value::Floats(_) => {
            let tensors = (0..values.len()).map(|index| call.floats(index));
            let tensors: Vec<&Tensor> = tensors.collect::<Result<_, _>>()?;
            Ok(Value::Floats(Tensor::cat(&tensors, axis)?.contiguous()?))
        }
        Value::Ints(_) => {
            let parts = (0..values.len()).map(|index| call.ints(index));
            let parts: Vec<_> = parts.collect::<Result<_, _>>()?;
            let mut joined = Vec::new();
            for outer in 0..shape[..axis].iter().product() {
                for part in &parts {
                    let n_values: usize = part.shape[axis..].iter().product();
                    joined.extend_from_slice(&part.values[outer * n_values..][..n_values]);
                }
            }
            Ok(Value::ints(joined, &shape))
        }
    }
}

/// Along an axis, parts of the lengths that are named, or equal ones: the last is the rest.
pub(super) fn split(call: &Call) -> Result<Value, Fault> {
    let value = call.value(0)?;
    let own = value.shape();
    let along = call.axis("axis", 0, own.len())?;
    let (extent, n_parts) = (own[along], call.node.outputs.len());
    let lengths: Option<Vec<usize>> = match call.list_or_input("split", 1)? {
        Some(named) => {
            let length = |named: i64| usize::try_from(named).ok().filter(|own| *own <= extent);
            named.iter().map(|named| length(*named)).collect()
        }
        None if call.int("num_outputs", n_parts as i64)? != n_parts as i64 => None,
        None => {
            let each = extent.div_ceil(n_parts);
            let left = |part: usize| extent.saturating_sub(part * each);
            Some((0..n_parts).map(|part| left(part).min(each)).collect())
        }
    };
    let fits =
        |lengths: &Vec<usize>| lengths.len() == n_parts && lengths.iter().sum::<usize>() == extent;
    let Some(lengths) = lengths.filter(fits) else {
        return fault(format!("{own:?} in {n_parts} parts along axis {along}"));
    };
    let start: usize = lengths[..call.output].iter().sum();
    let places: Vec<usize> = (start..start + lengths[call.output]).collect();
    value.select(along, &places)
}

pub(super) fn gather(call: &Call) -> Result<Value, Fault> {
    let (value, places) = (call.value(0)?, call.ints(1)?);
    let own = value.shape();
    let along = call.axis("axis", 0, own.len())?;
    let found = places.values.iter().map(|place| axis(*place, own[along]));
    let found: Vec<usize> = found
        .collect::<Result<_, _>>()
        .map_err(|_| Fault::Node(format!("a place outside of {own:?} along axis {along}")))?;
    let shape = [&own[..along], &places.shape, &own[along + 1..]].concat();
    n_elements(&shape)?;
    value.select(along, &found)?.reshaped(&shape)
}

/// Each place names a value along the axis; along the others it stands where the value does.
pub(super) fn gather_elements(call: &Call) -> Result<Value, Fault> {
    let (value, places) = (call.value(0)?, call.ints(1)?);
    let own = value.shape();
    let along = call.axis("axis", 0, own.len())?;
    let fits = |dim: usize| dim == along || places.shape[dim] <= own[dim];
    if places.shape.len() != own.len() || !(0..own.len()).all(fits) {
        return fault(format!("places {:?} in {own:?}", places.shape));
    }
    let flat = places.values.iter().enumerate().map(|(at, place)| {
        let (mut rest, mut index, mut step) = (at, 0, 1);
        for dim in (0..own.len()).rev() {
            index += step
                * if dim == along {
                    axis(*place, own[dim])?
                } else {
                    rest % places.shape[dim]
                };
            rest /= places.shape[dim];
            step *= own[dim];
        }
        Ok(index)
    });
    let flat: Vec<usize> = flat.collect::<Result<_, Fault>>()?;
    let values = value.reshaped(&[value.n_elements()])?;
    values.select(0, &flat)?.reshaped(&places.shape)
}

/// Each row of the last dimension of the places names one value, or one part.
pub(super) fn gather_nd(call: &Call) -> Result<Value, Fault> {
    if call.int("batch_dims", 0)? != 0 {
        return fault("batch_dims other than 0");
    }
    let (value, places) = (call.value(0)?, call.ints(1)?);
    let own = value.shape();
    let (depth, before) = match places.shape.split_last() {
        Some((depth, before)) if (1..=own.len()).contains(depth) => (*depth, before),
        _ => return fault(format!("places {:?} in {own:?}", places.shape)),
    };
    let rows = places.values.chunks(depth).map(|row| {
        let mut at = 0;
        for (place, extent) in row.iter().zip(own) {
            at = at * extent + axis(*place, *extent)?;
        }
        Ok(at)
    });
    let rows: Vec<usize> = rows.collect::<Result<_, Fault>>()?;
    let parts: usize = own[..depth].iter().product();
    let shape = [before, &own[depth..]].concat();
    n_elements(&shape)?;
    let flat = value.reshaped(&[&[parts], &own[depth..]].concat())?;
    flat.select(0, &rows)?.reshaped(&shape)
}

pub(super) fn slice(call: &Call) -> Result<Value, Fault> {
    let (starts, ends) = (&call.ints(1)?.values, &call.ints(2)?.values);
    let list = |index: usize, default: fn(usize) -> i64| -> Result<Vec<i64>, Fault> {
        match call.optional(index) {
            Some(_) => Ok(call.ints(index)?.values.clone()),
            None => Ok((0..starts.len()).map(default).collect()),
        }
    };
    let axes = list(3, |place| place as i64)?;
    let steps = list(4, |_| 1)?;
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return fault("starts, ends, axes and steps of different lengths");
    }
    let mut value = call.value(0)?.clone();
    for (index, step) in steps.iter().enumerate() {
        let axis = axis(axes[index], value.shape().len())?;
        let places = stepped(starts[index], ends[index], *step, value.shape()[axis])?;
        value = value.select(axis, &places)?;
    }
    Ok(value)
}

/// The places from `start` to before `end`, both counted from behind where they are below 0.
fn stepped(start: i64, end: i64, step: i64, extent: usize) -> Result<Vec<usize>, Fault> {
    let extent = extent as i64;
    let counted = |place: i64| {
        if place < 0 {
            place.saturating_add(extent)
        } else {
            place
        }
    };
    let (start, end) = (counted(start), counted(end));
    let places = |step: i64| (step.unsigned_abs() as usize).max(1);
    match step {
        1.. => {
            let (start, end) = (start.clamp(0, extent), end.clamp(0, extent));
            Ok((start as usize..end as usize)
                .step_by(places(step))
                .collect())
        }
        0 => fault("a step of 0"),
        _ => {
            let (start, end) = (start.clamp(-1, extent - 1), end.clamp(-1, extent - 1));
            let range = (end + 1..=start).rev().step_by(places(step));
            Ok(range.map(|place| place as usize).collect())
        }
    }
}

pub(super) fn expand(call: &Call) -> Result<Value, Fault> {
    let value = call.value(0)?;
    let asked = extents(&call.ints(1)?.values)?;
    value.expanded(&broadcast(value.shape(), &asked)?)
}

/// A range of whole numbers: exports count places with it.
pub(super) fn range(call: &Call) -> Result<Value, Fault> {
    let one = |index: usize| match call.ints(index)?.values.as_slice() {
        [value] => Ok(*value),
        _ => fault(format!("input {index} is not one number")),
    };
    let (start, limit, delta) = (one(0)?, one(1)?, one(2)?);
    if delta == 0 {
        return fault("steps of 0");
    }
    let (from, to) = if delta > 0 {
        (start, limit)
    } else {
        (limit, start)
    };
    let n_values = match to.checked_sub(from) {
        Some(width) if width > 0 => (width as u64).div_ceil(delta.unsigned_abs()),
        Some(_) => 0,
        None => u64::MAX,
    };
    let n_values = n_elements(&[usize::try_from(n_values).unwrap_or(usize::MAX)])?;
    let values = (0..n_values as i64).map(|index| start + index * delta);
    Ok(Value::ints(values.collect(), &[n_values]))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::BTreeMap;

    use super::super::super::call::MultiplicationBudget;
    use super::super::super::file::Node;

    /// The outputs of an operator without attributes for whole numbers.
    fn ints(
        compute: fn(&Call) -> Result<Value, Fault>,
        inputs: [(&[usize], Vec<i64>); 2],
    ) -> Result<(Vec<usize>, Vec<i64>), Fault> {
        let inputs = inputs.map(|(shape, values)| Value::ints(values, shape));
        let call = Call {
            node: &Node {
                title: String::new(),
                operator: String::new(),
                inputs: Vec::new(),
                outputs: Vec::new(),
                attributes: BTreeMap::new(),
            },
            inputs: inputs.iter().map(Some).collect(),
            output: 0,
            opset: 17,
            device: &candle_core::Device::Cpu,
            budget: &MultiplicationBudget::new(1 << 20),
        };
        match compute(&call)? {
            Value::Ints(ints) => Ok((ints.shape, ints.values)),
            Value::Floats(_) => fault("floats"),
        }
    }

    #[test]
    fn what_is_gathered_stands_where_its_place_does() {
        let table = || (&[3, 2][..], vec![1, 2, 3, 4, 5, 6]);
        let check = |compute, places, expected: Option<(&[usize], &[i64])>| {
            let found = ints(compute, [table(), places]).ok();
            let expected = expected.map(|(shape, values)| (shape.to_vec(), values.to_vec()));
            assert_eq!(found, expected);
        };
        check(gather, (&[2], vec![-1, 0]), Some((&[2, 2], &[5, 6, 1, 2])));
        check(gather, (&[], vec![1]), Some((&[2], &[3, 4])));
        check(gather, (&[1], vec![3]), None);
        let two = (&[1, 2][..], vec![-1, 0]);
        check(gather_elements, two, Some((&[1, 2], &[5, 2])));
        check(gather_elements, (&[2], vec![0, 0]), None);
        check(gather_elements, (&[1, 1], vec![-4]), None);
        check(gather_nd, (&[1, 2], vec![1, -1]), Some((&[1], &[4])));
        check(
            gather_nd,
            (&[2, 1], vec![2, 0]),
            Some((&[2, 2], &[5, 6, 1, 2])),
        );
        check(gather_nd, (&[1, 3], vec![0, 0, 0]), None);
        check(
            expand,
            (&[3], vec![2, 3, 1]),
            Some((&[2, 3, 2], &[1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6])),
        );
        check(expand, (&[1], vec![-1]), None);
        check(
            reshape,
            (&[2], vec![-1, 3]),
            Some((&[2, 3], &[1, 2, 3, 4, 5, 6])),
        );
        check(
            reshape,
            (&[2], vec![0, -1]),
            Some((&[3, 2], &[1, 2, 3, 4, 5, 6])),
        );
        check(reshape, (&[2], vec![-1, -1]), None);
        check(reshape, (&[1], vec![5]), None);
    }

    #[test]
    fn places_are_stepped_in_both_directions() {
        let check = |start, end, step, expected: &[usize]| {
            assert_eq!(stepped(start, end, step, 5).unwrap(), expected);
        };
        check(1, 4, 2, &[1, 3]);
        check(-3, i64::MAX, 1, &[2, 3, 4]);
        check(-1, i64::MIN, -2, &[4, 2, 0]);
        check(3, 0, -1, &[3, 2, 1]);
        check(4, 2, 1, &[]);
        check(0, 5, i64::MAX, &[0]);
        assert!(stepped(0, 5, 0, 5).is_err());
    }
}
