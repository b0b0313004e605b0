//! Retraction where labels come late: the members of `auto` are weighed by their answers when a row
//! was asked, which another history answers from its own state.

use std::collections::VecDeque;

use super::{Disposal, SOURCES, request, source, workspace};
use crate::support::{AUTO, digest, label, rows};
use perennial::engine::{Acknowledgement, PredictOptions, ServedModel};
use perennial::event::Feedback;

/// Rows whose labels come.
const LABELLED: usize = 400;

/// Asks rows, whose labels come so many rows late, in turn from either source, or from `only` one.
async fn serve_late(model: &ServedModel, delay: usize, only: Option<&str>) {
    let (mut waiting, mut newest) = (VecDeque::new(), 0);
    for (index, (batch, truth)) in rows(LABELLED + delay, 0.3).enumerate() {
        let snapshot = model.snapshot("").expect("it serves");
        let asked = model.predict(&snapshot, batch, PredictOptions::default());
        waiting.push_back((index, asked.await.expect("it is answered").ids[0], truth));
        if waiting.len() <= delay {
            continue;
        }
        let (row, id, truth) = waiting.pop_front().expect("it has come");
        let name = SOURCES[row % 2];
        if only.is_some_and(|only| only != name) {
            continue;
        }
        let wrong = if truth == "a" { "b" } else { "a" };
        let feedback = Feedback {
            source: name.to_owned(),
            ..label(
                id,
                &format!("row-{row}"),
                if name == "batch" { wrong } else { truth },
            )
        };
        let receipt = model.accept(feedback).expect("there is room");
        match receipt.wait().await.expect("acknowledged") {
            Acknowledgement::Accepted { position } => newest = position,
            other => panic!("row {row} came before: {other:?}"),
        }
    }
    model.wait_for_position(newest).await.expect("learned");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_late_labels_that_are_retracted_were_never_there() {
    for delay in [500, 2_000] {
        let (_workspace, engine) = workspace(AUTO);
        let model = engine.model("m").expect("it serves");
        serve_late(model, delay, None).await;
        let done = model.retract(request(source("batch"), Disposal::Keep));
        let done = done.await.expect("it is retracted");
        assert_eq!(done.plan.excluded, LABELLED as u64 / 2);
        let (_other, other) = workspace(AUTO);
        let twin = other.model("m").expect("it serves");
        serve_late(twin, delay, Some("people")).await;
        assert_eq!(digest(model), digest(twin), "{delay} rows late");
    }
}
