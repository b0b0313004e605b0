//! Tensors of times: BYTES as they are written, or INT64 microseconds since 1970.
//!
//! Invariant: every text is a time of its input, or empty where a gap may be; a number is
//! the text of the same moment.

use super::numbers;
use super::refusal::Refusal;
use super::tensor::RequestTensor;
use super::texts;
use crate::model::{Times, rfc_3339_of};

/// Times, `[rows]`.
pub(super) fn read(tensor: &RequestTensor, times: &Times) -> Result<Vec<String>, Refusal> {
    let texts = match tensor.datatype.as_str() {
        "INT64" => numbers::whole(tensor)?
            .into_iter()
            .map(rfc_3339_of)
            .collect(),
        "BYTES" => texts::read(tensor)?,
        got => {
            let what = format!("datatype {got}, expected BYTES, or INT64 in microseconds");
            return Err(tensor.refuse(what));
        }
    };
    for (row, text) in texts.iter().enumerate() {
        let is_gap = text.is_empty() && times.gaps;
        if !is_gap && times.format.read(text, times.zone_s).is_none() {
            let shown: String = text.chars().take(60).collect();
            let or_nothing = if times.gaps { " or nothing" } else { "" };
            return Err(tensor.refuse(format!(
                "row {row} is {shown:?}, expected a time as {}{or_nothing}",
                times.format
            )));
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use crate::event::Column;
    use crate::model::Spec;
    use crate::proto::inference::ModelInferRequest;
    use crate::proto::inference::model_infer_request::InferInputTensor;
    use crate::server::{RefusedRow, check_row};

    fn read(keys: &str, datatype: &str, raw: Vec<u8>) -> Result<String, RefusedRow> {
        let toml = format!("task = 'regression'\n[[input]]\nname = 't'\nkind = 'time'\n{keys}");
        let tensor = InferInputTensor {
            name: "t".into(),
            datatype: datatype.into(),
            shape: vec![1],
            ..Default::default()
        };
        let request = ModelInferRequest {
            inputs: vec![tensor],
            raw_input_contents: vec![raw.into()],
            ..Default::default()
        };
        let batch = check_row(&Spec::parse(&toml).unwrap(), request)?;
        match &batch.columns[0] {
            Column::Strings(texts) => Ok(texts[0].clone()),
            other => panic!("{other:?}"),
        }
    }

    fn bytes(text: &str) -> Vec<u8> {
        [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
    }

    #[test]
    fn a_time_comes_as_text_or_as_microseconds() {
        let check = |keys: &str, text: &str| {
            assert_eq!(
                read(keys, "BYTES", bytes(text)).as_deref(),
                Ok(text),
                "{text}"
            );
        };
        check("", "2026-01-31T12:00:00Z");
        check("", "2026-01-31");
        check("format = '%d/%m/%Y'", "31/01/2026");
        check("format = '%d/%m/%Y'", "2026-01-31");
        check("missing = 'mean'", "");
        let microseconds = 1_769_860_800_000_000i64.to_le_bytes().to_vec();
        let text = read("format = '%d/%m/%Y'", "INT64", microseconds);
        assert_eq!(text.as_deref(), Ok("2026-01-31T12:00:00Z"));
    }

    #[test]
    fn p9_what_is_no_time_is_refused() {
        let check = |keys: &str, text: &str, expected: &str| {
            let refusal = read(keys, "BYTES", bytes(text)).unwrap_err().to_string();
            assert!(refusal.contains(expected), "{refusal}");
        };
        check(
            "",
            "noon",
            "input \"t\": row 0 is \"noon\", expected a time as 2026-01-31T12:00:00Z",
        );
        check("", "", "row 0 is \"\", expected a time");
        check("missing = 'mean'", "?", "or nothing");
        check(
            "format = '%d/%m/%Y'",
            "31/13/2026",
            "expected a time as %d/%m/%Y",
        );
        let refusal = read("", "FP64", vec![0; 8]).unwrap_err().to_string();
        assert!(
            refusal.contains("datatype FP64, expected BYTES, or INT64"),
            "{refusal}"
        );
    }
}
