//! The metadata of a model: its inputs and outputs, in the words of the protocol.
//!
//! Invariant: nothing is announced that is not served.

use std::collections::HashMap;

use super::outputs::RequestedOutput;
use crate::model::{Costs, Input, InputKind, Model, RowFormat, Spec, Task};
use crate::proto::inference::model_metadata_response::TensorMetadata;
use crate::proto::inference::{ModelMetadataResponse, ServerMetadataResponse};

const PLATFORM: &str = "perennial";
const EXTENSIONS: [&str; 3] = ["binary_tensor_data", "parameters", "perennial.v1"];
/// Any number of rows.
const ROWS: i64 = -1;

pub(in crate::server) fn server_metadata() -> ServerMetadataResponse {
    ServerMetadataResponse {
        name: PLATFORM.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: EXTENSIONS.map(str::to_owned).to_vec(),
    }
}

pub(in crate::server) fn model_metadata(
    name: &str,
    model: &Model,
    served: u64,
) -> ModelMetadataResponse {
    let spec = &model.spec;
    // A class may come with the next label.
    let width = if model.names.len() < spec.task.names().len().max(spec.task.n_outputs())
        && !matches!(spec.task, Task::Regression)
    {
        -1
    } else {
        model.names.len() as i64
    };
    let output = |output: &RequestedOutput| TensorMetadata {
        name: output.name().to_owned(),
        datatype: output.datatype(spec.datatype).to_owned(),
        shape: output.shape(width, ROWS),
    };
    ModelMetadataResponse {
        name: name.to_owned(),
        versions: vec![served.to_string()],
        platform: PLATFORM.to_owned(),
        inputs: spec.inputs.iter().map(input).collect(),
        outputs: RequestedOutput::of(&spec.task).iter().map(output).collect(),
        properties: properties(spec, &model.names),
    }
}

fn input(input: &Input) -> TensorMetadata {
    let (datatype, shape) = match &input.kind {
        InputKind::Number { .. } => ("FP64", vec![ROWS]),
        InputKind::Category | InputKind::Text | InputKind::Embedded { .. } | InputKind::Time(_) => {
            ("BYTES", vec![ROWS])
        }
        InputKind::Vector { length, .. }
        | InputKind::EmbeddedVector {
            n_values: length, ..
        } => ("FP32", vec![ROWS, *length as i64]),
    };
    TensorMetadata {
        name: input.name.clone(),
        datatype: datatype.to_owned(),
        shape,
    }
}

/// The task, the inputs that may be gaps, how files are read, and the names known by now, as JSON under
/// the keys of the description.
fn properties(spec: &Spec, names: &[String]) -> HashMap<String, String> {
    let mut properties = HashMap::from([("task".to_owned(), spec.task.word().to_owned())]);
    let gaps = spec.inputs.iter().filter(|input| input.has_gaps());
    let gaps: Vec<&str> = gaps.map(|input| input.name.as_str()).collect();
    if !gaps.is_empty() {
        properties.insert(
            "missing".to_owned(),
            serde_json::Value::from(gaps).to_string(),
        );
    }
    let is_time = |input: &&Input| matches!(input.kind, InputKind::Time(_));
    let times = spec.inputs.iter().filter(is_time);
    let times: Vec<&str> = times.map(|input| input.name.as_str()).collect();
    if !times.is_empty() {
        properties.insert(
            "times".to_owned(),
            serde_json::Value::from(times).to_string(),
        );
    }
    let formats = time_formats(spec);
    if !formats.is_empty() {
        let formats = serde_json::Value::Object(formats);
        properties.insert("time_formats".to_owned(), formats.to_string());
    }
    if spec.rows != RowFormat::default() {
        let rows = serde_json::to_string(&spec.rows).expect("texts in tables are JSON");
        properties.insert("rows".to_owned(), rows);
    }
    let key = match spec.task {
        Task::Classification { .. } => "classes",
        Task::Bandit { .. } => "actions",
        Task::Regression => return properties,
    };
    let names = serde_json::Value::from(names);
    properties.insert(key.to_owned(), names.to_string());
    if let Task::Classification { classes_max, .. } = spec.task {
        properties.insert("classes_max".to_owned(), classes_max.to_string());
        let label = match spec.costs {
            Costs::None => "likeliest",
            Costs::Balanced => "balanced",
            Costs::Given(_) => "costs",
        };
        properties.insert("label".to_owned(), label.to_owned());
    }
    properties
}

/// The format and the zone, in seconds east of UTC, of times that have others than RFC 3339 in UTC.
fn time_formats(spec: &Spec) -> serde_json::Map<String, serde_json::Value> {
    let mut formats = serde_json::Map::new();
    for input in &spec.inputs {
        if let InputKind::Time(times) = &input.kind {
            let format = times.format.written();
            if !format.is_empty() || times.zone_s != 0 {
                let read = serde_json::json!({ "format": format, "zone_s": times.zone_s });
                formats.insert(input.name.clone(), read);
            }
        }
    }
    formats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_named_with_and_without_gaps() {
        let described = |keys: &str| {
            let input = "[[input]]\nname = 't'\nkind = 'time'\n";
            let toml = format!("task = 'regression'\n{input}{keys}");
            let spec = Spec::parse(&toml).expect("a description");
            (input_datatype(&spec), properties(&spec, &[]))
        };
        let (datatype, properties) = described("");
        assert_eq!(
            (datatype.as_str(), properties["times"].as_str()),
            ("BYTES", "[\"t\"]")
        );
        assert!(!properties.contains_key("missing"));
        assert!(!properties.contains_key("time_formats"));
        let (_, properties) = described("format = '%d/%m/%Y'\nzone = '+02:00'\n");
        assert_eq!(
            properties["time_formats"],
            "{\"t\":{\"format\":\"%d/%m/%Y\",\"zone_s\":7200}}"
        );
        let (_, properties) = described("missing = 'mean'\n");
        assert_eq!(properties["times"], "[\"t\"]");
        assert_eq!(properties["missing"], "[\"t\"]");
    }

    fn input_datatype(spec: &Spec) -> String {
        input(&spec.inputs[0]).datatype
    }
}
