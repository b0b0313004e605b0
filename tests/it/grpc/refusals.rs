//! Bad input over the wire: its code, the culprit by name, and a server that goes on.

use perennial::event::Batch;
use perennial::proto::inference::ModelInferRequest;
use perennial::proto::inference::infer_parameter::ParameterChoice;
use perennial::proto::perennial::v1::feedback_reply::Status as Fate;
use perennial::proto::perennial::v1::{FeedbackRequest, Signal};
use tonic::Code;

use crate::grpc::served::{Served, asking_for, label, numbers, question, with};
use crate::support::{AUTO, rows};

const UNKNOWN: &str = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";

fn row() -> Batch {
    rows(1, 0.0).next().expect("a row").0
}

/// A sound question that was changed is refused, and nothing else is.
async fn refused_question(
    change: impl FnOnce(ModelInferRequest) -> ModelInferRequest,
    code: Code,
    culprit: &str,
) {
    let mut served = Served::start(&[("m", AUTO)]).await;
    let request = change(question("m", &row()));
    let refusal = served.client.ask(request).await.expect_err(culprit);
    assert_eq!(refusal.code(), code, "{refusal}");
    assert!(refusal.message().contains(culprit), "{refusal}");
    served.goes_on_and_stops("m").await;
}

/// Checks the refusal of an input, given by its place.
async fn refused_input(index: usize, datatype: &str, shape: &[i64], raw: &[u8], culprit: &str) {
    let change = |mut request: ModelInferRequest| {
        request.inputs[index].datatype = datatype.to_owned();
        request.inputs[index].shape = shape.to_vec();
        request.raw_input_contents[index] = raw.to_vec().into();
        request
    };
    refused_question(change, Code::InvalidArgument, culprit).await;
}

/// A sound event that was changed is refused alone and in a stream, in the same words.
async fn refused_feedback(
    model: &str,
    change: impl FnOnce(&mut FeedbackRequest),
    code: Code,
    culprit: &str,
) {
    let mut served = Served::start(&[("m", model)]).await;
    let client = &mut served.client;
    let reply = client.ask(question("m", &row())).await.expect("an answer");
    let mut event = label("m", &reply.ids[0], "one", "a");
    change(&mut event);
    let refusal = client.submit(event.clone()).await.expect_err(culprit);
    assert_eq!(refusal.code(), code, "{refusal}");
    assert!(refusal.message().contains(culprit), "{refusal}");
    let replies = client.stream(vec![event.clone()]).await;
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0].status(), Fate::Refused);
    assert_eq!(replies[0].feedback_id, event.feedback_id);
    assert_eq!(Code::from(replies[0].code), code);
    assert_eq!(replies[0].message, refusal.message());
    assert!(!replies[0].field.is_empty());
    match model {
        AUTO => served.goes_on_and_stops("m").await,
        _ => drop(served.stop().await),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_an_unknown_model_is_not_found() {
    let change = |mut request: ModelInferRequest| {
        request.model_name = "nobody".into();
        request
    };
    refused_question(change, Code::NotFound, "model \"nobody\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_an_unknown_version_is_not_found() {
    let change = |mut request: ModelInferRequest| {
        request.model_version = "99".into();
        request
    };
    refused_question(change, Code::NotFound, "version \"99\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_restore_of_an_unknown_version_is_not_found() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    let refusal = served.client.restore("m", 99).await.unwrap_err();
    assert_eq!(refusal.code(), Code::NotFound);
    assert!(refusal.message().contains("version 99"), "{refusal}");
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_wrong_input_name_is_refused() {
    let change = |mut request: ModelInferRequest| {
        request.inputs[1].name = "z".into();
        request
    };
    refused_question(change, Code::InvalidArgument, "input \"z\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_missing_input_is_refused() {
    let change = |mut request: ModelInferRequest| {
        request.inputs.truncate(2);
        request.raw_input_contents.truncate(2);
        request
    };
    refused_question(change, Code::InvalidArgument, "input \"c\": missing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_wrong_shape_is_refused() {
    let raw = numbers(&[1.0, 2.0]);
    refused_input(0, "FP64", &[1, 2], &raw, "input \"x\": shape [1, 2]").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_inputs_of_unequal_rows_are_refused() {
    let raw = numbers(&[1.0, 2.0]);
    refused_input(1, "FP64", &[2], &raw, "input \"y\": 2 rows").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_wrong_datatype_is_refused() {
    let raw = numbers(&[1.0]);
    refused_input(2, "FP64", &[1], &raw, "input \"c\": datatype FP64").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_an_empty_batch_is_refused() {
    let change = |mut request: ModelInferRequest| {
        for (input, raw) in request
            .inputs
            .iter_mut()
            .zip(&mut request.raw_input_contents)
        {
            input.shape = vec![0];
            raw.clear();
        }
        request
    };
    refused_question(change, Code::InvalidArgument, "input \"x\": 0 rows").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_infinite_numbers_are_refused() {
    let raw = numbers(&[f64::INFINITY]);
    refused_input(0, "FP64", &[1], &raw, "input \"x\": row 0 is inf").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_gap_is_refused_where_none_is_allowed() {
    let raw = numbers(&[f64::NAN]);
    refused_input(1, "FP64", &[1], &raw, "input \"y\": row 0 is NaN").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_gap_is_taken_where_the_mean_stands_in() {
    let gaps = AUTO.replacen(
        "kind = \"number\"",
        "kind = \"number\"\nmissing = \"mean\"",
        1,
    );
    let mut served = Served::start(&[("m", &gaps)]).await;
    let mut request = question("m", &row());
    request.raw_input_contents[0] = numbers(&[f64::NAN]);
    let reply = served.client.ask(request).await.expect("an answer");
    let probabilities = reply.raw("probabilities").as_chunks::<4>().0;
    assert_eq!(probabilities.len(), 2);
    assert!(
        probabilities
            .iter()
            .all(|raw| f32::from_le_bytes(*raw).is_finite())
    );
    let event = label("m", &reply.ids[0], "gap", "a");
    let position = served.client.submit(event).await.expect("taken").position;
    served.client.reach("m", position).await;
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_an_unknown_output_is_refused() {
    let change = |request| asking_for(request, &["label", "logits"]);
    refused_question(change, Code::InvalidArgument, "output \"logits\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_parameter_of_the_wrong_type_is_refused() {
    let change = |request| {
        with(
            request,
            "min_position",
            ParameterChoice::StringParam("7".into()),
        )
    };
    refused_question(change, Code::InvalidArgument, "\"min_position\": string").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_label_outside_the_classes_is_refused() {
    let change = |event: &mut FeedbackRequest| event.label = Some("z".into());
    let culprit = "label: \"z\", expected one of a, b";
    refused_feedback(AUTO, change, Code::InvalidArgument, culprit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_malformed_prediction_id_is_refused() {
    let change = |event: &mut FeedbackRequest| event.prediction_id = Some("seven".into());
    let culprit = "prediction_id: \"seven\"";
    refused_feedback(AUTO, change, Code::InvalidArgument, culprit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_an_unknown_prediction_is_acknowledged_and_unmatched() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    let event = label("m", UNKNOWN, "stray", "a");
    let reply = served.client.submit(event).await.expect("it is taken");
    assert_eq!(reply.status(), Fate::Accepted);
    served.client.reach("m", reply.position).await;
    let status = served.client.status("m").await;
    assert_eq!(status.fates["unmatched"], 1);
    assert_eq!(status.fates.values().sum::<u64>(), 1);
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_feedback_without_a_signal_is_refused() {
    let change = |event: &mut FeedbackRequest| event.label = None;
    refused_feedback(AUTO, change, Code::InvalidArgument, "no signal").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_feedback_with_two_signals_is_refused() {
    let change = |event: &mut FeedbackRequest| event.value = Some(1.0);
    refused_feedback(AUTO, change, Code::InvalidArgument, "label and value").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_named_signal_is_for_a_bandit() {
    let change = |event: &mut FeedbackRequest| {
        event.label = None;
        event.signal = Some(Signal {
            name: "click".into(),
            value: 1.0,
        });
    };
    let culprit = "signal: the model's task is classification";
    refused_feedback(AUTO, change, Code::InvalidArgument, culprit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_feedback_for_an_unknown_model_is_not_found() {
    let change = |event: &mut FeedbackRequest| event.model = "nobody".into();
    refused_feedback(AUTO, change, Code::NotFound, "model \"nobody\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_feedback_without_an_id_is_refused() {
    let change = |event: &mut FeedbackRequest| event.feedback_id.clear();
    let culprit = "feedback_id: not given";
    refused_feedback(AUTO, change, Code::InvalidArgument, culprit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_value_that_is_not_finite_is_refused() {
    let regression = AUTO
        .replace("classification", "regression")
        .replace("classes = [\"a\", \"b\"]\n", "");
    let change = |event: &mut FeedbackRequest| {
        event.label = None;
        event.value = Some(f64::NAN);
    };
    let culprit = "value: NaN, expected a finite number";
    refused_feedback(&regression, change, Code::InvalidArgument, culprit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_misspelt_parameter_is_refused_with_the_right_name() {
    let change = |request| with(request, "min_pos", ParameterChoice::Int64Param(7));
    let culprit = "parameter \"min_pos\": unknown, expected \"min_position\"";
    refused_question(change, Code::InvalidArgument, culprit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_position_below_zero_is_refused() {
    let change = |request| with(request, "min_position", ParameterChoice::Int64Param(-1));
    let culprit = "parameter \"min_position\": -1, expected 0 or more";
    refused_question(change, Code::InvalidArgument, culprit).await;
}

/// A retry is DUPLICATE; an id that was used for something else is refused, and the refused event is
/// taken under an id of its own.
#[tokio::test(flavor = "multi_thread")]
async fn p9_a_feedback_id_that_comes_again_with_other_content_is_refused() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    let client = &mut served.client;
    let mut ids = Vec::new();
    for (batch, _) in rows(2, 0.0) {
        ids.extend(
            client
                .ask(question("m", &batch))
                .await
                .expect("an answer")
                .ids,
        );
    }
    let first = label("m", &ids[0], "order-7", "a");
    let position = client.submit(first.clone()).await.expect("new").position;
    let again = client.submit(first).await.expect("known");
    assert_eq!(
        (again.status(), again.position),
        (Fate::Duplicate, position)
    );
    let changed = [
        label("m", &ids[0], "order-7", "b"),
        label("m", &ids[1], "order-7", "a"),
    ];
    for event in &changed {
        let refusal = client.submit(event.clone()).await.expect_err("another");
        assert_eq!(refusal.code(), Code::InvalidArgument);
        let expected = format!(
            "feedback_id: \"order-7\" was accepted at position {position} with another subject or \
             signal; send a correction under an id of its own"
        );
        assert_eq!(refusal.message(), expected);
    }
    let replies = client.stream(changed.to_vec()).await;
    assert!(replies.iter().all(|reply| reply.status() == Fate::Refused));
    let correction = label("m", &ids[0], "order-7-corrected", "b");
    let taken = client.submit(correction).await.expect("new");
    client.reach("m", taken.position).await;
    served.goes_on_and_stops("m").await;
}
