//! From the bytes of an ONNX file to its nodes and tensors, checked.
//!
//! Invariant: generated messages stop here. Each tensor holds as many values as its shape has,
//! each of them in this file, and no weight is infinite or not a number.

use std::cell::Cell;
use std::collections::BTreeMap;

use bytes::Bytes;
use candle_core::Device;
use prost::Message;

use super::error::Error;
use super::scan;
use super::value::{ELEMENTS_MAX, Value, n_elements};

/// The messages of proto/onnx.proto.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/onnx.rs"));
}

use proto::tensor_shape_proto::dimension;
use proto::{AttributeProto, NodeProto, TensorProto, ValueInfoProto, type_proto};

/// Versions of the operators that are computed by their definition.
const OPSETS: std::ops::RangeInclusive<i64> = 11..=22;
/// A name is shown up to here.
const SHOWN_MAX: usize = 80;

/// Types of values, by their numbers.
pub(crate) mod element {
    pub(crate) const FLOAT: i64 = 1;
    pub(crate) const INT32: i64 = 6;
    pub(crate) const INT64: i64 = 7;
    pub(crate) const BOOL: i64 = 9;
    pub(crate) const DOUBLE: i64 = 11;
}

/// The content of a file.
#[derive(Debug)]
pub(super) struct OnnxFile {
    pub opset: i64,
    pub nodes: Vec<Node>,
    pub tensors: Vec<(String, Value)>,
    pub inputs: Vec<GraphInput>,
    pub outputs: Vec<String>,
}

/// One operation.
#[derive(Debug)]
pub(super) struct Node {
    /// Its name, if it has one, and its operator.
    pub title: String,
    /// The name of the operator, behind its domain if that is not ONNX's own.
    pub operator: String,
    /// Empty where an optional one is left out.
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: BTreeMap<String, Attribute>,
}

#[derive(Debug)]
pub(super) enum Attribute {
    Int(i64),
    Float(f32),
    Text(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Tensor(Value),
    /// A graph, or another type that no operator here has.
    Other,
}

/// An input that is no tensor of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GraphInput {
    pub name: String,
    /// One of [`element`], or another that is not computed with.
    pub element: i64,
    /// The dimensions; nothing where one is free.
    pub dims: Vec<Option<usize>>,
}

impl GraphInput {
    /// Its name and shape, as in `"x" [*, 1, 28, 28]`.
    pub(crate) fn shown(&self) -> String {
        let extents = self.dims.iter().take(SHOWN_MAX).map(|dim| match dim {
            Some(extent) => extent.to_string(),
            None => "*".to_owned(),
        });
        let extents = extents.collect::<Vec<_>>().join(", ");
        format!("{} [{extents}]", quoted(&self.name))
    }
}

/// A name from a file, as it is shown.
pub(super) fn quoted(name: &str) -> String {
    let mut shown: String = name.chars().take(SHOWN_MAX).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// The destination of tensors.
struct TensorDestination<'a> {
    device: &'a Device,
    /// Whole numbers that there is room for: they take up to eight times the bytes of the file.
    room: Cell<usize>,
}

impl OnnxFile {
    pub(super) fn read(bytes: Bytes, device: &Device) -> Result<OnnxFile, Error> {
        let room = Cell::new(ELEMENTS_MAX);
        let reading = TensorDestination { device, room };
        scan::check(&bytes)?;
        let model = proto::ModelProto::decode(bytes)
            .map_err(|error| unsound(format!("no ONNX file: {}", in_a_line(&error))))?;
        let graph = model.graph.ok_or_else(|| unsound("it has no graph"))?;
        let mut own = model.opset_import.iter();
        let own = own.find(|opset| own_domain(&opset.domain));
        let opset = own.map_or(1, |opset| opset.version);
        if !OPSETS.contains(&opset) {
            let (first, last) = (OPSETS.start(), OPSETS.end());
            return Err(Error::Unsupported(format!(
                "it is of opset {opset}: export it with one from {first} to {last}"
            )));
        }
        if !graph.sparse_initializer.is_empty() {
            let what = "it has sparse tensors: export it with dense ones";
            return Err(Error::Unsupported(what.to_owned()));
        }
        let tensors = graph.initializer.into_iter().map(|tensor| {
            let name = tensor.name.clone();
            let read = reading.tensor(tensor);
            read.map(|value| (name.clone(), value))
                .map_err(|error| error.of(format_args!("tensor {}", quoted(&name))))
        });
        let tensors: Vec<(String, Value)> = tensors.collect::<Result<_, _>>()?;
        let inputs: Vec<_> = graph.input.into_iter().map(graph_input).collect();
        let nodes = graph.node.into_iter().map(|node| reading.node(node));
        Ok(OnnxFile {
            opset,
            nodes: nodes.collect::<Result<_, _>>()?,
            tensors,
            inputs,
            outputs: graph.output.into_iter().map(|output| output.name).collect(),
        })
    }
}

fn unsound(what: impl Into<String>) -> Error {
    Error::Unsound(what.into())
}

fn in_a_line(error: &prost::DecodeError) -> String {
    error.to_string().replace('\n', " ")
}

fn own_domain(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

fn graph_input(info: ValueInfoProto) -> GraphInput {
    let tensor = info.r#type.and_then(|kind| kind.value);
    let tensor = tensor.map(|type_proto::Value::TensorType(tensor)| tensor);
    let dims = tensor.as_ref().and_then(|tensor| tensor.shape.as_ref());
    let dims = dims.map_or(&[][..], |shape| &shape.dim);
    let extent = |dim: &proto::tensor_shape_proto::Dimension| match dim.value {
        Some(dimension::Value::DimValue(extent)) => usize::try_from(extent).ok(),
        _ => None,
    };
    GraphInput {
        name: info.name,
        element: tensor
            .as_ref()
            .map_or(0, |tensor| i64::from(tensor.elem_type)),
        dims: dims.iter().map(extent).collect(),
    }
}

impl TensorDestination<'_> {
    fn node(&self, node: NodeProto) -> Result<Node, Error> {
        let operator = if own_domain(&node.domain) {
            node.op_type
        } else {
            format!("{}::{}", node.domain, node.op_type)
        };
        let title = if node.name.is_empty() {
            format!("a node {}", quoted(&operator))
        } else {
            format!("node {} ({})", quoted(&node.name), quoted(&operator))
        };
        let attributes = node.attribute.into_iter().map(|attribute| {
            let name = attribute.name.clone();
            match self.attribute(attribute) {
                Ok(read) => Ok((name, read)),
                Err(error) => Err(error.of(format_args!("{title}: attribute {}", quoted(&name)))),
            }
        });
        Ok(Node {
            attributes: attributes.collect::<Result<_, _>>()?,
            title,
            operator,
            inputs: node.input,
            outputs: node.output,
        })
    }

    fn attribute(&self, attribute: AttributeProto) -> Result<Attribute, Error> {
        Ok(match attribute.r#type {
            1 => Attribute::Float(attribute.f),
            2 => Attribute::Int(attribute.i),
            3 => Attribute::Text(String::from_utf8_lossy(&attribute.s).into_owned()),
            4 => Attribute::Tensor(self.tensor(attribute.t.unwrap_or_default())?),
            6 => Attribute::Floats(attribute.floats),
            7 => Attribute::Ints(attribute.ints),
            _ => Attribute::Other,
        })
    }

    fn tensor(&self, tensor: TensorProto) -> Result<Value, Error> {
        if tensor.data_location != 0 {
            let instead = "export it as one file (external_data=False)";
            return Err(Error::Unsupported(format!(
                "its values stand in another file: {instead}"
            )));
        }
        let shape = tensor.dims.iter().map(|extent| usize::try_from(*extent));
        let shape: Vec<usize> = shape
            .collect::<Result<_, _>>()
            .map_err(|_| unsound("a dimension below 0"))?;
        let of_tensor = |fault| Error::of_node(fault, Error::Unsupported);
        let n_values = n_elements(&shape).map_err(of_tensor)?;
        match values(tensor, n_values)? {
            // How old exports leave an input out: nothing of whatever type.
            NumberValues::Floats(floats) if floats.is_empty() => {
                Ok(Value::ints(Vec::new(), &shape))
            }
            NumberValues::Floats(floats) => {
                check_finite(&floats)?;
                Value::floats(floats, &shape, self.device).map_err(of_tensor)
            }
            NumberValues::Ints(ints) => {
                let room = self.room.get().checked_sub(ints.len());
                let too_many = || format!("more than {ELEMENTS_MAX} whole numbers");
                let room = room.ok_or_else(|| Error::Unsupported(too_many()));
                self.room.set(room?);
                Ok(Value::ints(ints, &shape))
            }
        }
    }
}

enum NumberValues {
    Floats(Vec<f32>),
    Ints(Vec<i64>),
}

/// The values of a tensor, as many as its shape has.
fn values(tensor: TensorProto, n_values: usize) -> Result<NumberValues, Error> {
    let raw = &tensor.raw_data;
    let is_raw = !raw.is_empty();
    let values = match i64::from(tensor.data_type) {
        element::FLOAT if is_raw => NumberValues::Floats(each(raw, n_values, f32::from_le_bytes)?),
        element::FLOAT => NumberValues::Floats(tensor.float_data),
        element::DOUBLE if is_raw => NumberValues::Floats(each(raw, n_values, |eight| {
            f64::from_le_bytes(eight) as f32
        })?),
        element::DOUBLE => {
            let values = tensor.double_data.iter().map(|value| *value as f32);
            NumberValues::Floats(values.collect())
        }
        element::INT64 if is_raw => NumberValues::Ints(each(raw, n_values, i64::from_le_bytes)?),
        element::INT64 => NumberValues::Ints(tensor.int64_data),
        element::INT32 if is_raw => {
            let value = |four| i64::from(i32::from_le_bytes(four));
            NumberValues::Ints(each(raw, n_values, value)?)
        }
        element::BOOL if is_raw => {
            NumberValues::Ints(each(raw, n_values, |[byte]| i64::from(byte != 0))?)
        }
        element::INT32 | element::BOOL => {
            let values = tensor.int32_data.iter().map(|value| i64::from(*value));
            NumberValues::Ints(values.collect())
        }
        other => {
            let types = "FLOAT, DOUBLE, INT32, INT64 or BOOL";
            return Err(Error::Unsupported(format!(
                "values of type {}, expected {types}",
                named(other)
            )));
        }
    };
    let n_found = match &values {
        NumberValues::Floats(floats) => floats.len(),
        NumberValues::Ints(ints) => ints.len(),
    };
    if n_found == n_values {
        Ok(values)
    } else {
        Err(unsound(format!(
            "{n_found} values, expected {n_values} by its shape"
        )))
    }
}

/// The values of raw bytes of `N` each.
fn each<T, const N: usize>(
    raw: &[u8],
    n_values: usize,
    value: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, Error> {
    match raw.as_chunks::<N>() {
        (chunks, []) if chunks.len() == n_values => {
            Ok(chunks.iter().map(|chunk| value(*chunk)).collect())
        }
        _ => Err(unsound(format!(
            "{} bytes, expected {} by its shape",
            raw.len(),
            N * n_values
        ))),
    }
}

/// A single value may be infinite: masks are made of it.
fn check_finite(values: &[f32]) -> Result<(), Error> {
    let allowed = |value: &f32| value.is_finite() || (values.len() == 1 && !value.is_nan());
    match values.iter().position(|value| !allowed(value)) {
        None => Ok(()),
        Some(index) => Err(unsound(format!("the value at index {index} is not finite"))),
    }
}

fn named(element: i64) -> String {
    match element {
        2 => "UINT8".to_owned(),
        3 => "INT8".to_owned(),
        8 => "STRING".to_owned(),
        10 => "FLOAT16".to_owned(),
        16 => "BFLOAT16".to_owned(),
        other => format!("number {other}"),
    }
}
