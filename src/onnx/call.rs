//! The call of an operator: the inputs and attributes of its node, in the form that it takes.

use std::cell::Cell;

use candle_core::{Device, Tensor};

use super::file::{Attribute, Node, quoted};
use super::value::{Fault, Ints, Value, fault, n_elements};

/// One node at work.
pub(super) struct Call<'a> {
    pub node: &'a Node,
    pub inputs: Vec<Option<&'a Value>>,
    /// The output of the operator that is asked for.
    pub output: usize,
    pub opset: i64,
    pub device: &'a Device,
    pub budget: &'a MultiplicationBudget,
}

/// Multiplications that a pass may still take.
pub(super) struct MultiplicationBudget(Cell<u64>);

impl MultiplicationBudget {
    pub(super) fn new(n_products: u64) -> MultiplicationBudget {
        MultiplicationBudget(Cell::new(n_products))
    }

    fn take(&self, n_products: u64) -> Result<(), Fault> {
        match self.0.get().checked_sub(n_products) {
            Some(rest) => {
                self.0.set(rest);
                Ok(())
            }
            None => fault("it takes more multiplications than a pass may have"),
        }
    }
}

impl<'a> Call<'a> {
    /// An input that must be there.
    pub(super) fn value(&self, index: usize) -> Result<&'a Value, Fault> {
        self.optional(index)
            .ok_or_else(|| Fault::Node(format!("input {index} is missing")))
    }

    pub(super) fn optional(&self, index: usize) -> Option<&'a Value> {
        self.inputs.get(index).copied().flatten()
    }

    pub(super) fn floats(&self, index: usize) -> Result<&'a Tensor, Fault> {
        match self.value(index)? {
            Value::Floats(tensor) => Ok(tensor),
            Value::Ints(_) => fault(format!("input {index} has whole numbers, expected floats")),
        }
    }

    pub(super) fn ints(&self, index: usize) -> Result<&'a Ints, Fault> {
        match self.value(index)? {
            Value::Ints(ints) => Ok(ints),
            Value::Floats(_) => fault(format!("input {index} has floats, expected whole numbers")),
        }
    }

    /// Numbers that were an attribute once, and became an input later.
    pub(super) fn list_or_input(
        &self,
        name: &str,
        index: usize,
    ) -> Result<Option<Vec<i64>>, Fault> {
        match (self.list(name)?, self.optional(index)) {
            (Some(list), _) => Ok(Some(list.to_vec())),
            (None, Some(_)) => Ok(Some(self.ints(index)?.values.clone())),
            (None, None) => Ok(None),
        }
    }

    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64, Fault> {
        match self.node.attributes.get(name) {
            None => Ok(default),
            Some(Attribute::Int(value)) => Ok(*value),
            Some(_) => self.odd(name),
        }
    }

    pub(super) fn float(&self, name: &str, default: f32) -> Result<f64, Fault> {
        match self.node.attributes.get(name) {
            None => Ok(f64::from(default)),
            Some(Attribute::Float(value)) => Ok(f64::from(*value)),
            Some(_) => self.odd(name),
        }
    }

    pub(super) fn text(&self, name: &str, default: &'static str) -> Result<&'a str, Fault> {
        match self.node.attributes.get(name) {
            None => Ok(default),
            Some(Attribute::Text(value)) => Ok(value),
            Some(_) => self.odd(name),
        }
    }

    pub(super) fn list(&self, name: &str) -> Result<Option<&'a [i64]>, Fault> {
        match self.node.attributes.get(name) {
            None => Ok(None),
            Some(Attribute::Ints(values)) => Ok(Some(values)),
            Some(_) => self.odd(name),
        }
    }

    fn odd<T>(&self, name: &str) -> Result<T, Fault> {
        fault(format!("attribute {} has another type", quoted(name)))
    }

    /// An axis that may be counted from behind.
    pub(super) fn axis(&self, name: &str, default: i64, rank: usize) -> Result<usize, Fault> {
        axis(self.int(name, default)?, rank)
    }

    /// Makes sure of room for an output that takes `n_products` multiplications a value.
    pub(super) fn room(&self, shape: &[usize], n_products: usize) -> Result<(), Fault> {
        let n_values = n_elements(shape)? as u64;
        self.budget.take(n_values.saturating_mul(n_products as u64))
    }
}

/// An axis that may be counted from behind.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, Fault> {
    let counted = if axis < 0 { axis + rank as i64 } else { axis };
    match usize::try_from(counted) {
        Ok(counted) if counted < rank => Ok(counted),
        _ => fault(format!("axis {axis} of {rank}")),
    }
}
