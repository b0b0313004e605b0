//! ONNX files, made message by message.

use prost::Message;

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/onnx.rs"));
}

pub(crate) use proto::*;

/// A file in the making: its nodes stand in the order in which they are added.
#[derive(Clone, Default)]
pub(crate) struct Onnx(pub ModelProto);

/// The value of an attribute.
#[derive(Clone)]
pub(crate) enum Set {
    Int(i64),
    Float(f32),
    Ints(Vec<i64>),
    Text(&'static str),
}

impl Onnx {
    /// A file of opset 17 without nodes, whose first output is `y`.
    pub(crate) fn new() -> Onnx {
        let mut file = Onnx::default();
        file.0.opset_import.push(OperatorSetIdProto {
            domain: String::new(),
            version: 17,
        });
        file.0.graph = Some(GraphProto::default());
        file.output("y");
        file
    }

    pub(crate) fn graph(&mut self) -> &mut GraphProto {
        self.0.graph.as_mut().expect("it was made")
    }

    pub(crate) fn output(&mut self, name: &str) {
        let described = ValueInfoProto {
            name: name.to_owned(),
            r#type: None,
        };
        self.graph().output.push(described);
    }

    /// An input of floats (1) or whole numbers (7); a free dimension is -1.
    pub(crate) fn input(&mut self, name: &str, elem_type: i32, dims: &[i64]) {
        use tensor_shape_proto::{Dimension, dimension};
        let dim = dims.iter().map(|extent| Dimension {
            value: Some(match extent {
                -1 => dimension::Value::DimParam("free".to_owned()),
                fixed => dimension::Value::DimValue(*fixed),
            }),
        });
        let tensor = type_proto::Tensor {
            elem_type,
            shape: Some(TensorShapeProto { dim: dim.collect() }),
        };
        let value = Some(type_proto::Value::TensorType(tensor));
        let described = ValueInfoProto {
            name: name.to_owned(),
            r#type: Some(TypeProto { value }),
        };
        self.graph().input.push(described);
    }

    pub(crate) fn node(
        &mut self,
        op_type: &str,
        inputs: &[&str],
        output: &str,
        set: &[(&str, Set)],
    ) {
        let attribute = set.iter().map(|(name, set)| {
            let mut attribute = AttributeProto {
                name: (*name).to_owned(),
                ..AttributeProto::default()
            };
            match set.clone() {
                Set::Float(value) => (attribute.f, attribute.r#type) = (value, 1),
                Set::Int(value) => (attribute.i, attribute.r#type) = (value, 2),
                Set::Ints(values) => (attribute.ints, attribute.r#type) = (values, 7),
                Set::Text(text) => (attribute.s, attribute.r#type) = (text.into(), 3),
            }
            attribute
        });
        let node = NodeProto {
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.to_owned()],
            name: format!("{op_type} of {output}"),
            op_type: op_type.to_owned(),
            attribute: attribute.collect(),
            domain: String::new(),
        };
        self.graph().node.push(node);
    }

    pub(crate) fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let raw: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let tensor = TensorProto {
            raw_data: raw.into(),
            ..tensor(name, 1, shape)
        };
        self.graph().initializer.push(tensor);
    }

    pub(crate) fn ints(&mut self, name: &str, shape: &[usize], values: &[i64]) {
        let tensor = TensorProto {
            int64_data: values.to_vec(),
            ..tensor(name, 7, shape)
        };
        self.graph().initializer.push(tensor);
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.encode_to_vec()
    }
}

/// A tensor without values.
pub(crate) fn tensor(name: &str, data_type: i32, shape: &[usize]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        data_type,
        dims: shape.iter().map(|extent| *extent as i64).collect(),
        ..TensorProto::default()
    }
}
