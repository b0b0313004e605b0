//! Card payments for the example `models/fraud`, and their labels.
//!
//! Invariant: a payment is decided by its number.

#![allow(dead_code)]

use std::time::SystemTime;

use bytes::Bytes;
use perennial::proto::inference::ModelInferRequest;
use perennial::proto::inference::model_infer_request::InferInputTensor;
use perennial::proto::perennial::v1::{FeedbackRequest, Tensor};

pub(crate) const DESCRIPTION: &str = include_str!("../../models/fraud/model.toml");

/// The inputs of a payment by name, datatype and contents, and whether it is fraud.
fn payment(number: u64) -> ([(&'static str, &'static str, Bytes); 4], bool) {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ (number + 1).wrapping_mul(0xd134_2543_de82_ef95);
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let amount = (uniform() * 8.0).exp();
    let minutes = (uniform() * 9.0).exp();
    let merchant = (uniform() * 40.0) as u32;
    let country = ["DE", "FR", "GB", "PL", "US"][(uniform() * 5.0) as usize];
    let risk =
        amount.ln() / 8.0 - minutes.ln() / 18.0 + f64::from(merchant.is_multiple_of(7)) * 0.5;
    let inputs = [
        ("amount", "FP64", number_bytes(amount)),
        ("minutes_since_last", "FP64", number_bytes(minutes)),
        (
            "merchant",
            "BYTES",
            text_bytes(&format!("merchant-{merchant}")),
        ),
        ("country", "BYTES", text_bytes(country)),
    ];
    (inputs, risk + uniform() * 0.3 > 0.9)
}

fn number_bytes(number: f64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

fn text_bytes(text: &str) -> Bytes {
    let length = (text.len() as u32).to_le_bytes();
    [&length, text.as_bytes()].concat().into()
}

/// A labelled payment of one of ten teams.
pub(crate) fn event(number: u64) -> FeedbackRequest {
    let (inputs, fraud) = payment(number);
    let tensor = |(name, datatype, contents): (&str, &str, Bytes)| Tensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: vec![1],
        contents,
    };
    FeedbackRequest {
        model: "fraud".to_owned(),
        feedback_id: format!("payment-{number}"),
        inputs: inputs.map(tensor).into(),
        source: format!("team-{}", number % 10),
        event_time: Some(SystemTime::now().into()),
        label: Some(if fraud { "fraud" } else { "legitimate" }.to_owned()),
        ..Default::default()
    }
}

/// Asks about a payment.
pub(crate) fn question(number: u64) -> ModelInferRequest {
    let (inputs, _) = payment(number);
    let (inputs, raw_input_contents) = inputs
        .map(|(name, datatype, contents)| {
            let tensor = InferInputTensor {
                name: name.to_owned(),
                datatype: datatype.to_owned(),
                shape: vec![1],
                ..Default::default()
            };
            (tensor, contents)
        })
        .into_iter()
        .unzip();
    ModelInferRequest {
        model_name: "fraud".to_owned(),
        inputs,
        raw_input_contents,
        ..Default::default()
    }
}
