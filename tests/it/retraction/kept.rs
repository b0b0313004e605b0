//! The traces of erased feedback in rows that are kept one by one: anchors of the retention set, and rows
//! that wait for late labels.

use std::sync::Arc;

use super::traces::{KINDS, Planted, SOURCE, TASKS, found_in, restores};
use super::*;

/// Erases all of the planted source, and looks for it in every file.
async fn erase(planted: &Planted, engine: Arc<Engine>, name: &str) {
    let model = engine.model("m").unwrap();
    let erased = model
        .retract(request(source(SOURCE), Disposal::Erase))
        .await;
    assert!(erased.expect("it is erased").erased > 0, "{name}");
    drop(engine);
    let found = found_in(&planted.workspace.data());
    assert!(found.is_empty(), "{name}: {found:#?}");
    restores(planted, name).await;
    let found = found_in(&planted.workspace.data());
    assert!(found.is_empty(), "{name}, after restores: {found:#?}");
}

/// The files of checkpoints that hold planted values.
fn checkpoints_with_planted(planted: &Planted) -> Vec<String> {
    let found = found_in(&planted.workspace.data()).into_iter();
    found.filter(|place| !place.contains("journal")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_nothing_of_erased_feedback_is_left_in_anchors() {
    // A ridge regression stores no row, so that only an anchor holds its numbers.
    let mut planted = Planted::new(TASKS[0], "[learner]\nkind = \"analytic\"\nfeatures = 10\n");
    let engine = planted.open();
    let model = engine.model("m").unwrap();
    planted.teach(model, 150, "people").await;
    let before = retention(model);
    for number in 0..150 {
        let row = planted.planted_row();
        let row = Feedback {
            feedback_id: format!("{}-{number}", row.feedback_id),
            ..row
        };
        planted.send(model, row).await;
    }
    planted.teach(model, 30, "people").await;
    order(model, Order::Checkpoint).await;
    assert!(before.is_some() && retention(model).is_some());
    let held = checkpoints_with_planted(&planted);
    assert!(
        held.iter().any(|place| place.contains("as f64")),
        "{held:#?}"
    );
    erase(&planted, engine, "anchors").await;
}

fn retention(model: &ServedModel) -> Option<f64> {
    model.status(false).retention
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_nothing_of_erased_feedback_is_left_in_rows_that_wait_for_late_labels() {
    for task in [TASKS[1], TASKS[0]] {
        let mut planted = Planted::new(task, KINDS[0]);
        let engine = planted.open();
        let model = engine.model("m").unwrap();
        // Labels are eight rows late, so that the outputs for rows that wait are kept.
        let mut waiting = std::collections::VecDeque::new();
        for number in 0..60 {
            waiting.push_back(planted.ask(model).await);
            if waiting.len() > 8 {
                let id = waiting.pop_front().expect("one waits");
                let feedback = match number {
                    50 => planted.planted(id, 0),
                    _ => Feedback {
                        source: "people".to_owned(),
                        signal: planted.signal(0.25 + f64::from(number % 7)),
                        ..label(id, &format!("late-{number}"), "")
                    },
                };
                planted.send(model, feedback).await;
            }
        }
        order(model, Order::Checkpoint).await;
        if task == TASKS[1] {
            let held = checkpoints_with_planted(&planted);
            assert!(
                held.iter().any(|place| place.contains("as f64")),
                "{held:#?}"
            );
        }
        erase(&planted, engine, task).await;
    }
}
