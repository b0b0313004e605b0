//! The values of a graph: floats on the device of the model, whole numbers here.
//!
//! Invariant: floats are contiguous and at least one; nothing is larger than [`ELEMENTS_MAX`].
//! Whole numbers stand for truths, too: 0 or 1. They carry ids, masks and shapes, so every device
//! reckons them alike and nothing waits for a device to know a shape.

use candle_core::{DType, Device, Tensor};

use crate::device::{FailureCause, in_a_line};

/// Values of one tensor at most.
pub(super) const ELEMENTS_MAX: usize = 1 << 27;
/// Dimensions of one tensor at most.
const RANK_MAX: usize = 8;

/// The reason why a node cannot be computed, in one sentence.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The node has an operation that is not computed here, or its inputs do not fit.
    Node(String),
    /// The device has no room.
    NoRoom(String),
    /// The driver of the device failed.
    Driver(String),
}

impl From<candle_core::Error> for Fault {
    fn from(error: candle_core::Error) -> Fault {
        let what = in_a_line(&error);
        match FailureCause::of(&error) {
            FailureCause::Tensors => Fault::Node(what),
            FailureCause::NoRoom => Fault::NoRoom(what),
            FailureCause::Driver => Fault::Driver(what),
        }
    }
}

/// The fault of a node in words.
pub(super) fn fault<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Node(what.into()))
}

/// The floats that an operator computed on the device.
pub(super) type FloatsResult = candle_core::Result<Tensor>;

/// A tensor of a graph.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// 32 bits each, on the device.
    Floats(Tensor),
    /// Whole numbers in this process.
    Ints(Ints),
}

/// Whole numbers or truths, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ints {
    pub shape: Vec<usize>,
    pub values: Vec<i64>,
}

impl Value {
    pub(crate) fn floats(
        values: Vec<f32>,
        shape: &[usize],
        device: &Device,
    ) -> Result<Value, Fault> {
        Ok(Value::Floats(Tensor::from_vec(values, shape, device)?))
    }

    pub(crate) fn ints(values: Vec<i64>, shape: &[usize]) -> Value {
        let shape = shape.to_vec();
        Value::Ints(Ints { shape, values })
    }

    pub(crate) fn shape(&self) -> &[usize] {
        match self {
            Value::Floats(tensor) => tensor.dims(),
            Value::Ints(ints) => &ints.shape,
        }
    }

    pub(crate) fn n_elements(&self) -> usize {
        self.shape().iter().product()
    }

    /// The values in another shape.
    pub(crate) fn reshaped(&self, shape: &[usize]) -> Result<Value, Fault> {
        if n_elements(shape)? != self.n_elements() {
            let own = self.shape();
            return fault(format!("a tensor {own:?} is none of {shape:?}"));
        }
        Ok(match self {
            Value::Floats(tensor) => Value::Floats(tensor.reshape(shape)?),
            Value::Ints(ints) => Value::ints(ints.values.clone(), shape),
        })
    }

    /// The values at these places along an axis.
    pub(crate) fn select(&self, axis: usize, places: &[usize]) -> Result<Value, Fault> {
        let own = self.shape();
        if let Some(place) = places.iter().find(|place| **place >= own[axis]) {
            return fault(format!("{place} of {own:?} along axis {axis}"));
        }
        let mut shape = own.to_vec();
        shape[axis] = places.len();
        n_elements(&shape)?;
        match self {
            Value::Floats(_) if places.is_empty() => fault("it selects nothing"),
            Value::Floats(tensor) => Ok(Value::Floats(select(tensor, axis, places)?)),
            Value::Ints(ints) => {
                let inner: usize = own[axis + 1..].iter().product();
                let mut values = Vec::new();
                for outer in ints.values.chunks((own[axis] * inner).max(1)) {
                    for place in places {
                        values.extend_from_slice(&outer[place * inner..(place + 1) * inner]);
                    }
                }
                Ok(Value::ints(values, &shape))
            }
        }
    }

    /// The values repeated along dimensions of one.
    pub(crate) fn expanded(&self, shape: &[usize]) -> Result<Value, Fault> {
        n_elements(shape)?;
        Ok(match self {
            Value::Floats(tensor) => Value::Floats(tensor.broadcast_as(shape)?.contiguous()?),
            Value::Ints(ints) => Value::ints(ints.expanded(shape), shape),
        })
    }

    /// Floats, also of whole numbers.
    pub(crate) fn to_floats(&self, device: &Device) -> Result<Tensor, Fault> {
        match self {
            Value::Floats(tensor) => Ok(tensor.clone()),
            Value::Ints(ints) => {
                let values: Vec<f32> = ints.values.iter().map(|value| *value as f32).collect();
                Ok(Tensor::from_vec(values, ints.shape.as_slice(), device)?)
            }
        }
    }
}

impl Ints {
    /// The numbers with their axes in another order.
    pub(crate) fn permuted(&self, order: &[usize]) -> Ints {
        let shape: Vec<usize> = order.iter().map(|axis| self.shape[*axis]).collect();
        let step = |axis: usize| self.shape[axis + 1..].iter().product::<usize>();
        let steps: Vec<usize> = order.iter().map(|axis| step(*axis)).collect();
        let values = (0..self.values.len()).map(|mut rest| {
            let mut from = 0;
            for (extent, step) in shape.iter().zip(&steps).rev() {
                from += rest % extent * step;
                rest /= extent;
            }
            self.values[from]
        });
        let values = values.collect();
        Ints { shape, values }
    }

    /// The values that a broadcast to `shape` has; it can be broadcast to it.
    pub(crate) fn expanded(&self, shape: &[usize]) -> Vec<i64> {
        let missing = shape.len() - self.shape.len();
        let mut values = self.values.clone();
        let mut inner = 1;
        for (axis, extent) in shape.iter().enumerate().rev() {
            let own = axis.checked_sub(missing).map_or(1, |axis| self.shape[axis]);
            if own != *extent && inner > 0 {
                let repeated = values.chunks(inner).map(|part| part.repeat(*extent));
                values = repeated.flatten().collect();
            }
            inner *= extent;
        }
        values
    }
}

/// The values at these places along an axis of a tensor that has them.
pub(super) fn select(tensor: &Tensor, axis: usize, places: &[usize]) -> Result<Tensor, Fault> {
    let in_a_row = places.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    if let (true, Some(start)) = (in_a_row, places.first()) {
        return Ok(tensor.narrow(axis, *start, places.len())?.contiguous()?);
    }
    let places: Vec<u32> = places.iter().map(|place| *place as u32).collect();
    let places = Tensor::new(places, tensor.device())?;
    Ok(tensor.index_select(&places, axis)?)
}

/// The number of values of a shape, if a tensor may have it.
pub(super) fn n_elements(shape: &[usize]) -> Result<usize, Fault> {
    let product = shape
        .iter()
        .try_fold(1usize, |product, extent| product.checked_mul(*extent));
    match product.filter(|product| *product <= ELEMENTS_MAX && shape.len() <= RANK_MAX) {
        Some(product) => Ok(product),
        None if shape.len() > RANK_MAX => {
            fault(format!("{} dimensions, at most {RANK_MAX}", shape.len()))
        }
        None => fault(format!(
            "a tensor {shape:?} has more than {ELEMENTS_MAX} values"
        )),
    }
}

/// The shape that both are broadcast to.
pub(super) fn broadcast(one: &[usize], other: &[usize]) -> Result<Vec<usize>, Fault> {
    let rank = one.len().max(other.len());
    let extent = |shape: &[usize], axis: usize| {
        let missing = rank - shape.len();
        axis.checked_sub(missing).map_or(1, |axis| shape[axis])
    };
    let extents = (0..rank).map(|axis| match (extent(one, axis), extent(other, axis)) {
        (one, other) if one == other => Some(one),
        (1, other) => Some(other),
        (one, 1) => Some(one),
        _ => None,
    });
    let shape: Option<Vec<usize>> = extents.collect();
    let shape =
        shape.ok_or_else(|| Fault::Node(format!("shapes {one:?} and {other:?} do not fit")))?;
    n_elements(&shape)?;
    Ok(shape)
}

/// The one value of a tensor, wherever it stands.
pub(super) fn one_float(tensor: &Tensor) -> Result<f32, Fault> {
    match tensor.elem_count() {
        1 => Ok(tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?[0]),
        _ => fault(format!("{:?} values, expected one", tensor.dims())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_broadcast_from_behind() {
        let check = |one: &[usize], other: &[usize], expected: Option<&[usize]>| {
            assert_eq!(broadcast(one, other).ok().as_deref(), expected);
        };
        check(&[], &[2, 3], Some(&[2, 3]));
        check(&[3], &[2, 1], Some(&[2, 3]));
        check(&[2, 1, 4], &[5, 1], Some(&[2, 5, 4]));
        check(&[2], &[3], None);
        check(&[1 << 20, 1], &[1, 1 << 20], None);
    }

    #[test]
    fn whole_numbers_are_repeated_and_selected() {
        let ints = Ints {
            shape: vec![2, 1],
            values: vec![7, 8],
        };
        assert_eq!(ints.expanded(&[2, 3]), [7, 7, 7, 8, 8, 8]);
        assert_eq!(ints.expanded(&[2, 2, 1]), [7, 8, 7, 8]);
        assert_eq!(ints.expanded(&[2, 0]), [] as [i64; 0]);
        let ints = Ints {
            shape: vec![2, 3],
            values: (0..6).collect(),
        };
        assert_eq!(ints.permuted(&[0, 1]), ints);
        assert_eq!(ints.permuted(&[1, 0]).values, [0, 3, 1, 4, 2, 5]);
        let value = Value::ints((0..12).collect(), &[2, 3, 2]);
        let Ok(Value::Ints(ints)) = value.select(1, &[2, 0]) else {
            panic!("both are there")
        };
        assert_eq!(ints.values, [4, 5, 0, 1, 10, 11, 6, 7]);
        assert!(value.select(1, &[3]).is_err());
    }
}
