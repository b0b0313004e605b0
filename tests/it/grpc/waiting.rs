//! Predictions beyond `feedback.waiting_max`: feedback for one is refused at once.

use perennial::engine::Clock;
use perennial::proto::perennial::v1::feedback_reply::Status as Fate;
use perennial::proto::perennial::v1::{FeedbackRequest, ModelStatus, Tensor};
use tonic::Code;

use crate::grpc::served::{Client, Served, label, question};
use crate::support::{AUTO, rows};

/// Predicts so many rows, of which none is learned before the last.
async fn ask(client: &mut Client, n_rows: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for (batch, _) in rows(n_rows, 0.0) {
        let reply = client.ask(question("m", &batch)).await.expect("an answer");
        ids.extend(reply.ids);
    }
    ids
}

/// The event with its inputs in place of its prediction.
fn with_inputs(event: FeedbackRequest) -> FeedbackRequest {
    let (batch, _) = rows(1, 0.0).next().expect("a row");
    let request = question("m", &batch);
    let parts = request.inputs.into_iter().zip(request.raw_input_contents);
    let inputs = parts.map(|(input, raw)| Tensor {
        name: input.name,
        datatype: input.datatype,
        shape: input.shape,
        contents: raw,
    });
    FeedbackRequest {
        prediction_id: None,
        inputs: inputs.collect(),
        event_time: Some(std::time::SystemTime::now().into()),
        ..event
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_label_beyond_waiting_max_is_refused_at_once_and_says_what_to_do() {
    let toml = format!("{AUTO}[feedback]\nwaiting_max = 3\n");
    let mut served = Served::start(&[("m", &toml)]).await;
    let client = &mut served.client;
    let first = ask(client, 1).await.remove(0);
    let reply = client.submit(label("m", &first, "early", "a")).await;
    let early = reply.expect("it waits").position;
    // Nothing says yet what the learner has come to.
    let ids = ask(client, 5).await;
    let events = ids.iter().enumerate();
    let events = events.map(|(n, id)| label("m", id, &format!("late-{n}"), "a"));
    let replies = client.stream(events.collect()).await;
    let (gone, waiting) = replies.split_at(2);
    for reply in gone {
        assert_eq!(reply.status(), Fate::Refused, "{reply:?}");
        assert_eq!(Code::from(reply.code), Code::FailedPrecondition);
        assert_eq!((&*reply.field, reply.position), ("prediction_id", 0));
        let expected = "prediction_id: this prediction takes feedback no more: newer ones took its \
                        place, since 3 may wait (feedback.waiting_max)";
        assert!(reply.message.starts_with(expected), "{}", reply.message);
        assert!(reply.message.ends_with("send its inputs instead of its id"));
    }
    for reply in waiting {
        assert_eq!(reply.status(), Fate::Accepted, "{reply:?}");
    }
    client.reach("m", waiting[2].position).await;
    // A second look at the same: alone, once all is learned.
    let refusal = client.submit(label("m", &ids[0], "alone", "a")).await;
    assert_eq!(refusal.unwrap_err().code(), Code::FailedPrecondition);
    // Feedback accepted while its prediction waited is known, and the advice works.
    let again = client.submit(label("m", &first, "early", "a")).await;
    let again = again.expect("known");
    assert_eq!((again.status(), again.position), (Fate::Duplicate, early));
    let inputs = with_inputs(label("m", "", "with inputs", "a"));
    let taken = client.submit(inputs).await.expect("taken");
    client.reach("m", taken.position).await;
    let status = client.status("m").await;
    assert_eq!((status.fates["applied"], status.fates["expired"]), (5, 0));
    let bound = |status: &ModelStatus| {
        let mut bounds = status.bounds.iter();
        let bound = bounds.find(|bound| bound.name == "waiting_predictions");
        bound.expect("it is there").clone()
    };
    assert_eq!(bound(&status).level, "reached");
    assert!(
        bound(&status)
            .advice
            .contains("feedback for those is refused")
    );
    // A start knows it before anything is asked.
    let workspace = served.stop().await;
    let mut served = Served::in_workspace(workspace, Clock::default()).await;
    assert_eq!(bound(&served.client.status("m").await).level, "reached");
    let refusal = served
        .client
        .submit(label("m", &ids[1], "alone", "a"))
        .await;
    assert_eq!(refusal.unwrap_err().code(), Code::FailedPrecondition);
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_preference_over_an_answer_that_has_gone_names_it() {
    let toml = "task = \"bandit\"\nactions = [\"a\", \"b\"]\n[feedback]\nwaiting_max = 2\n\
        [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"y\"\nkind = \"number\"\n\
        [[input]]\nname = \"c\"\nkind = \"category\"\n";
    let mut served = Served::start(&[("m", toml)]).await;
    let ids = ask(&mut served.client, 3).await;
    let prefer = |one: usize, other: usize| FeedbackRequest {
        label: None,
        preferred_over: Some(ids[other].clone()),
        ..label("m", &ids[one], &format!("{one} over {other}"), "")
    };
    let replies = served
        .client
        .stream(vec![prefer(1, 0), prefer(0, 1), prefer(1, 2)]);
    let replies = replies.await;
    let fields: Vec<_> = replies.iter().map(|reply| &*reply.field).collect();
    assert_eq!(fields, ["preferred_over", "prediction_id", ""]);
    assert_eq!(replies[2].status(), Fate::Accepted, "{:?}", replies[2]);
    served.stop().await;
}
