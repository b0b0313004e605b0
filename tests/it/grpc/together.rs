//! Single rows that come together: each is answered as if it had come alone.

use std::collections::BTreeSet;

use perennial::proto::inference::ModelInferRequest;
use tokio::task::JoinSet;

use crate::grpc::served::{PredictReply, Served, question, unjournaled};
use crate::support::{gradient, rows};

const N_ROWS: usize = 200;

fn questions(version: &str) -> Vec<ModelInferRequest> {
    let question = |(batch, _)| ModelInferRequest {
        model_version: version.to_owned(),
        ..question("m", &batch)
    };
    rows(N_ROWS, 0.0).map(question).collect()
}

/// The answers to requests that are all sent at once, in their order.
async fn ask_together(served: &Served, questions: &[ModelInferRequest]) -> Vec<PredictReply> {
    let mut asked = JoinSet::new();
    for (place, question) in questions.iter().cloned().enumerate() {
        let mut client = served.client.clone();
        asked.spawn(async move { (place, client.ask(question).await) });
    }
    let mut answers = asked.join_all().await;
    answers.sort_by_key(|(place, _)| *place);
    let answers = answers.into_iter();
    answers
        .map(|(_, answer)| answer.expect("an answer"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_rows_that_come_together_are_answered_as_each_alone() {
    let mut served = Served::start(&[("m", &gradient("sgd", "33, 20", "er"))]).await;
    served.client.teach_rows("m", 40, 0.0, "lesson").await;
    let questions: Vec<_> = questions("candidate")
        .into_iter()
        .map(unjournaled)
        .collect();
    let mut alone = Vec::new();
    for question in &questions {
        let answer = served.client.ask(question.clone()).await;
        alone.push(answer.expect("an answer"));
    }
    let distinct: BTreeSet<_> = alone.iter().map(|one| one.raw("probabilities")).collect();
    assert!(distinct.len() > N_ROWS / 2, "it has learned something");
    for _ in 0..10 {
        let together = ask_together(&served, &questions).await;
        for (alone, together) in alone.iter().zip(&together) {
            for output in ["label", "probabilities"] {
                assert_eq!(alone.raw(output), together.raw(output));
            }
        }
    }
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_rows_that_come_together_are_an_entry_each() {
    let mut served = Served::start(&[("m", &gradient("sgd", "33, 20", "er"))]).await;
    let before = served.client.status("m").await.journal_position;
    let answers = ask_together(&served, &questions("")).await;
    let ids: BTreeSet<&String> = answers.iter().flat_map(|answer| &answer.ids).collect();
    assert_eq!(ids.len(), N_ROWS);
    served.client.teach_rows("m", 1, 0.0, "after").await;
    let position = served.client.status("m").await.journal_position;
    assert!(position >= before + N_ROWS as u64 + 2, "{position}");
    served.goes_on_and_stops("m").await;
}
