//! The signature of a model, read from its metadata.
//!
//! Invariant: a tensor that this client cannot fill is refused by its name.

use std::collections::HashMap;

use anyhow::{Context, bail};
use perennial::model::{Task, TimeFormat};
use perennial::proto::inference::ModelMetadataResponse;

use crate::cli::rows::signature::ModelSignature;
use crate::cli::rows::{ModelInput, ModelInputKind, quoted};

/// The format of the times of an input.
#[derive(Default, serde::Deserialize)]
struct WrittenTimes {
    /// Empty for RFC 3339.
    format: String,
    /// Seconds east of UTC.
    zone_s: i64,
}

/// Reads the signature of a model from its metadata.
///
/// # Errors
/// An input that this client cannot fill, or a task that it does not know.
pub(super) fn signature(metadata: ModelMetadataResponse) -> anyhow::Result<ModelSignature> {
    let gaps: Option<Vec<String>> = parsed(&metadata.properties, "missing")?;
    let gaps = gaps.unwrap_or_default();
    let times: Option<Vec<String>> = parsed(&metadata.properties, "times")?;
    let times = times.unwrap_or_default();
    let formats: Option<HashMap<String, WrittenTimes>> =
        parsed(&metadata.properties, "time_formats")?;
    let mut formats = formats.unwrap_or_default();
    let inputs = metadata.inputs.into_iter().map(|tensor| {
        let gaps = gaps.contains(&tensor.name);
        let kind = match (tensor.datatype.as_str(), tensor.shape.as_slice()) {
            ("FP64", _) => ModelInputKind::Number,
            ("BYTES", _) if times.contains(&tensor.name) => {
                let written = formats.remove(&tensor.name).unwrap_or_default();
                let format = match written.format.as_str() {
                    "" => Some(TimeFormat::default()),
                    format => TimeFormat::parse(format),
                };
                let name = quoted(&tensor.name);
                let format = format.with_context(|| {
                    let format = &written.format;
                    format!("the times of the model's input {name} are as {format}, unknown here")
                });
                ModelInputKind::Time(format?, written.zone_s)
            }
            ("BYTES", _) => ModelInputKind::Text,
            ("FP32", &[-1, length]) if length > 0 => ModelInputKind::Vector(length as usize),
            (datatype, shape) => bail!(
                "the model's input {} is {datatype} {shape:?}, which this client cannot fill",
                quoted(&tensor.name)
            ),
        };
        Ok(ModelInput {
            name: tensor.name,
            kind,
            gaps,
        })
    });
    Ok(ModelSignature {
        inputs: inputs.collect::<anyhow::Result<_>>()?,
        task: task(&metadata.properties)?,
        // The server checks rewards against its own range.
        rewards: [f64::MIN, f64::MAX],
        rows: parsed(&metadata.properties, "rows")?.unwrap_or_default(),
    })
}

/// A property that is JSON, if there is one of this name.
fn parsed<T: serde::de::DeserializeOwned>(
    properties: &HashMap<String, String>,
    key: &str,
) -> anyhow::Result<Option<T>> {
    let parse = |json: &String| serde_json::from_str(json);
    let parsed = properties.get(key).map(parse).transpose();
    parsed.with_context(|| format!("the model's metadata: {key}"))
}

fn task(properties: &HashMap<String, String>) -> anyhow::Result<Task> {
    let names = |key: &str| -> anyhow::Result<Vec<String>> {
        let json = properties.get(key);
        let json = json.with_context(|| format!("the model's metadata has no {key}"))?;
        serde_json::from_str(json).with_context(|| format!("the model's metadata: {key}"))
    };
    match properties.get("task").map(String::as_str) {
        Some("classification") => Ok(Task::Classification {
            classes_max: match properties.get("classes_max") {
                Some(number) => number
                    .parse()
                    .context("the model's metadata: classes_max")?,
                None => names("classes")?.len(),
            },
            classes: names("classes")?,
        }),
        Some("regression") => Ok(Task::Regression),
        Some("bandit") => Ok(Task::Bandit {
            actions: names("actions")?,
        }),
        Some(other) => bail!("the model's task is {}, unknown here", quoted(other)),
        None => bail!("the model's metadata has no task; is this a perennial server?"),
    }
}

#[cfg(test)]
mod tests {
    use perennial::proto::inference::model_metadata_response::TensorMetadata;

    use super::*;

    fn metadata(inputs: &[(&str, &[i64])], properties: &[(&str, &str)]) -> ModelMetadataResponse {
        let inputs = inputs.iter().map(|&(datatype, shape)| TensorMetadata {
            name: "x".into(),
            datatype: datatype.into(),
            shape: shape.to_vec(),
        });
        let properties = properties.iter();
        let properties = properties.map(|&(key, value)| (key.into(), value.into()));
        ModelMetadataResponse {
            inputs: inputs.collect(),
            properties: properties.collect(),
            ..Default::default()
        }
    }

    #[test]
    fn inputs_and_task_are_read() {
        let inputs: [(&str, &[i64]); 3] = [("FP64", &[-1]), ("BYTES", &[-1]), ("FP32", &[-1, 3])];
        let properties = [("task", "bandit"), ("actions", r#"["a","b"]"#)];
        let signature = super::signature(metadata(&inputs, &properties)).unwrap();
        let kinds: Vec<ModelInputKind> = signature
            .inputs
            .iter()
            .map(|input| input.kind.clone())
            .collect();
        assert_eq!(
            kinds,
            [
                ModelInputKind::Number,
                ModelInputKind::Text,
                ModelInputKind::Vector(3)
            ]
        );
        let actions = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(signature.task, Task::Bandit { actions });
        let properties = [("task", "regression"), ("times", r#"["x"]"#)];
        let timed = super::signature(metadata(&[("BYTES", &[-1])], &properties)).unwrap();
        assert_eq!(
            (&timed.inputs[0].kind, timed.inputs[0].gaps),
            (&ModelInputKind::Time(TimeFormat::default(), 0), false)
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let check = |inputs: &[(&str, &[i64])], properties: &[(&str, &str)], expected: &str| {
            let error = format!("{:#}", signature(metadata(inputs, properties)).unwrap_err());
            assert!(error.contains(expected), "{error}");
        };
        check(&[("INT8", &[-1])], &[], "input \"x\" is INT8 [-1]");
        check(&[("FP32", &[-1, 0])], &[], "input \"x\" is FP32 [-1, 0]");
        check(&[], &[], "no task");
        check(&[], &[("task", "ranking")], "task is \"ranking\"");
        check(&[], &[("task", "classification")], "no classes");
    }
}
