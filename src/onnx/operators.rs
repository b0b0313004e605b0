//! The operators that are computed, each with the attributes that it knows.
//!
//! Invariant: an operator or attribute that is not in this list is refused when a file is read;
//! each operator gives one output at a time.

mod arithmetic;
mod layers;
mod logic;
mod pad;
mod reduce;
mod resize;
mod shape;
mod transposed;
mod windows;

use super::call::Call;
use super::value::{Fault, Value};

/// The function from a node's inputs to the output that is asked for.
type Compute = fn(&Call) -> Result<Value, Fault>;

/// One operator.
pub(super) struct Operator {
    pub name: &'static str,
    pub attributes: &'static [&'static str],
    pub n_outputs_max: usize,
    pub compute: Compute,
}

const fn operator(
    name: &'static str,
    attributes: &'static [&'static str],
    compute: Compute,
) -> Operator {
    Operator {
        name,
        attributes,
        n_outputs_max: 1,
        compute,
    }
}

/// Attributes of a window over the last dimensions.
macro_rules! window {
    ($($more:literal),*) => {
        &["auto_pad", "dilations", "kernel_shape", "pads", "strides", $($more),*]
    };
}

/// Parts of a split at most: each is reckoned from the lengths of all.
const PARTS_MAX: usize = 1 << 10;

const RESIZED: &[&str] = &[
    "antialias",
    "axes",
    "coordinate_transformation_mode",
    "cubic_coeff_a",
    "exclude_outside",
    "extrapolation_value",
    "keep_aspect_ratio_policy",
    "mode",
    "nearest_mode",
];

/// The operators, in the order of their names.
#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    operator("Abs", &[], |call| arithmetic::each(call, |x| x.abs())),
    operator("Add", &[], arithmetic::add),
    operator("And", &[], |call| logic::both(call, |a, b| a & b)),
    operator("AveragePool", window!("ceil_mode", "count_include_pad"), windows::average_pool),
    operator("BatchNormalization", &["epsilon", "momentum", "training_mode"], layers::batch_norm),
    operator("Cast", &["saturate", "to"], logic::cast),
    operator("Clip", &[], arithmetic::clip),
    operator("Concat", &["axis"], shape::concat),
    operator("Constant", &["value", "value_float", "value_floats", "value_int", "value_ints"], shape::constant),
    operator("ConstantOfShape", &["value"], shape::constant_of_shape),
    operator("Conv", window!("group"), windows::conv),
    operator("ConvTranspose", window!("group", "output_padding"), transposed::conv_transpose),
    operator("Div", &[], arithmetic::div),
    operator("Dropout", &["ratio", "seed"], shape::identity),
    operator("Elu", &["alpha"], arithmetic::elu),
    operator("Equal", &[], |call| logic::compare(call, |a, b| a == b, |a, b| a == b)),
    operator("Erf", &[], |call| arithmetic::each(call, |x| x.erf())),
    operator("Exp", &[], |call| arithmetic::each(call, |x| x.exp())),
    operator("Expand", &[], shape::expand),
    operator("Flatten", &["axis"], shape::flatten),
    operator("Gather", &["axis"], shape::gather),
    operator("GatherElements", &["axis"], shape::gather_elements),
    operator("GatherND", &["batch_dims"], shape::gather_nd),
    operator("Gelu", &["approximate"], arithmetic::gelu),
    operator("Gemm", &["alpha", "beta", "transA", "transB"], layers::gemm),
    operator("GlobalAveragePool", &[], reduce::global_average),
    operator("GlobalMaxPool", &[], reduce::global_max),
    operator("Greater", &[], |call| logic::compare(call, |a, b| a > b, |a, b| a > b)),
    operator("GreaterOrEqual", &[], |call| logic::compare(call, |a, b| a >= b, |a, b| a >= b)),
    operator("HardSigmoid", &["alpha", "beta"], arithmetic::hard_sigmoid),
    operator("HardSwish", &[], arithmetic::hard_swish),
    operator("Identity", &[], shape::identity),
    operator("IsNaN", &[], logic::is_nan),
    operator("LayerNormalization", &["axis", "epsilon", "stash_type"], layers::layer_norm),
    operator("LeakyRelu", &["alpha"], arithmetic::leaky_relu),
    operator("Less", &[], |call| logic::compare(call, |a, b| a < b, |a, b| a < b)),
    operator("LessOrEqual", &[], |call| logic::compare(call, |a, b| a <= b, |a, b| a <= b)),
    operator("Log", &[], |call| arithmetic::each(call, |x| x.log())),
    operator("MatMul", &[], layers::mat_mul),
    operator("Max", &[], arithmetic::max),
    operator("MaxPool", window!("ceil_mode", "storage_order"), windows::max_pool),
    operator("Min", &[], arithmetic::min),
    operator("Mul", &[], arithmetic::mul),
    operator("Neg", &[], |call| arithmetic::each(call, |x| x.neg())),
    operator("Not", &[], logic::not),
    operator("Or", &[], |call| logic::both(call, |a, b| a | b)),
    operator("PRelu", &[], arithmetic::p_relu),
    operator("Pad", &["mode"], pad::pad),
    operator("Pow", &[], arithmetic::pow),
    operator("Range", &[], shape::range),
    operator("Reciprocal", &[], |call| arithmetic::each(call, |x| x.recip())),
    operator("ReduceL2", &["axes", "keepdims", "noop_with_empty_axes"], reduce::l2),
    operator("ReduceMean", &["axes", "keepdims", "noop_with_empty_axes"], reduce::mean),
    operator("ReduceSum", &["axes", "keepdims", "noop_with_empty_axes"], reduce::sum),
    operator("Relu", &[], |call| arithmetic::each(call, |x| x.relu())),
    operator("Reshape", &["allowzero"], shape::reshape),
    operator("Resize", RESIZED, resize::resize),
    operator("Shape", &["end", "start"], shape::shape),
    operator("Sigmoid", &[], |call| arithmetic::each(call, candle_nn::ops::sigmoid)),
    operator("Slice", &[], shape::slice),
    operator("Softmax", &["axis"], reduce::softmax),
    Operator { n_outputs_max: PARTS_MAX, ..operator("Split", &["axis", "num_outputs", "split"], shape::split) },
    operator("Sqrt", &[], |call| arithmetic::each(call, |x| x.sqrt())),
    operator("Squeeze", &["axes"], shape::squeeze),
    operator("Sub", &[], arithmetic::sub),
    operator("Tanh", &[], |call| arithmetic::each(call, |x| x.tanh())),
    operator("Transpose", &["perm"], shape::transpose),
    operator("Unsqueeze", &["axes"], shape::unsqueeze),
    operator("Where", &[], logic::choose),
];

/// The operator of this name, if it is one of them.
pub(super) fn find(name: &str) -> Option<&'static Operator> {
    let place = OPERATORS.binary_search_by(|operator| operator.name.cmp(name));
    place.ok().map(|place| &OPERATORS[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_is_found() {
        for operator in OPERATORS {
            assert_eq!(
                find(operator.name).map(|found| found.name),
                Some(operator.name)
            );
        }
        assert!(find("Loop").is_none());
    }

    #[test]
    fn the_document_lists_them() {
        let document = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/learning.md"));
        let listed = document
            .split("<!-- operators -->")
            .nth(1)
            .expect("a list between marks");
        let listed: Vec<&str> = listed
            .split([',', ' ', '\n', '.'])
            .filter(|word| !word.is_empty())
            .collect();
        let known: Vec<&str> = OPERATORS.iter().map(|operator| operator.name).collect();
        assert_eq!(listed, known);
    }
}
