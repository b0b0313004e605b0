//! Counts of the readings of a journal, entry by entry by the engine's readers.
//!
//! Invariant: a pass over the journal is as many entries as it holds. A command on a stopped server checks
//! the journal when it opens it, which is a pass of its own.

use perennial::engine::{Disposal, Offline, describe};
use perennial::event::{Order, PredictionId, Selector};

use super::{request, serve_rows, source};
use crate::support::{Workspace, gradient, order};

/// A journal of two sources, with versions, a restore and a retraction, and its last predictions.
async fn workspace() -> (Workspace, Vec<PredictionId>) {
    let versions = "[versions]\nevery_examples = 24\nkeep = 100\n";
    let workspace = Workspace::new(&[("m", &format!("{}{versions}", gradient("sgd", "8", "er")))]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    serve_rows(model, 0, 20, None).await;
    let early = Selector::FeedbackId("row-3".to_owned());
    model.retract(request(early, Disposal::Keep)).await.unwrap();
    serve_rows(model, 20, 60, Some("people")).await;
    let made = order(model, Order::Checkpoint).await;
    serve_rows(model, 80, 100, None).await;
    let version = made.version;
    order(model, Order::Restore { version }).await;
    let ids = serve_rows(model, 180, 120, None).await;
    engine.close();
    (workspace, ids)
}

fn last(workspace: &Workspace) -> u64 {
    Offline::open(&workspace.data(), "m").unwrap().positions().1
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_reads_the_journal_twice() {
    let (workspace, _) = workspace().await;
    let before = last(&workspace);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    let read = model.entries_read().unwrap();
    let done = model.retract(request(source("batch"), Disposal::Erase));
    let done = done.await.unwrap();
    assert!(done.erased > 100, "{done:?}");
    let read = model.entries_read().unwrap() - read;
    println!("{read} entries read of {before}");
    // One pass chooses, and one rebuilds; the rest are the order's own entries, and the events that
    // an earlier order may have taken back.
    assert!(read <= 2 * before + 32, "{read} of {before}");
    // Neither does a second retraction look for a version that the erasure has removed.
    let again = model.entries_read().unwrap();
    let selector = Selector::FeedbackId("row-298".to_owned());
    model
        .retract(request(selector, Disposal::Keep))
        .await
        .unwrap();
    let again = model.entries_read().unwrap() - again;
    assert!(again <= 2 * before + 64, "{again} of {before}");
    engine.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_without_a_source_reads_the_checked_journal_twice() {
    let (workspace, ids) = workspace().await;
    let offline = Offline::open(&workspace.data(), "m").unwrap();
    let (_, last) = offline.positions();
    let id = ids[ids.len() - 2];
    let audit = offline
        .audit(id, Some("batch"))
        .unwrap()
        .expect("it is there");
    assert!(audit.bit_equal());
    assert!(audit.without.expect("it was asked for").unwrap().excluded > 100);
    assert_eq!(audit.feedback.len(), 1);
    let read = offline
        .entries_read()
        .load(std::sync::atomic::Ordering::Relaxed);
    println!("{read} entries read of {last}");
    // One pass checks the journal, one finds the prediction, and one rebuilds without the source; the stretches from the last version
    // to the answer and to its feedback are short.
    assert!(read <= 3 * last + 160, "{read} of {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_adopted_reads_the_checked_journal_once() {
    let (workspace, _) = workspace().await;
    workspace.describe("other", &gradient("adamw", "8", "er"));
    let described = describe(&workspace.models().join("other/model.toml")).unwrap();
    let offline = Offline::open(&workspace.data(), "m").unwrap();
    let (_, last) = offline.positions();
    let entries_read = offline.entries_read();
    let mut replay = offline.replay_with(described.description).unwrap();
    while replay.advance(1000).unwrap() {}
    let digest = replay.outcome().digest;
    assert!(offline.served().unwrap().served().count > 0.0);
    let adopted = offline.adopt(replay, String::new(), String::new());
    let (made, _) = adopted.unwrap();
    let read = entries_read.load(std::sync::atomic::Ordering::Relaxed);
    println!("{read} entries read of {last}");
    assert!(read <= 2 * last + 8, "{read} of {last}");
    let offline = Offline::open(&workspace.data(), "m").unwrap();
    let state = offline.version(made.version).unwrap();
    let adopted = state.learned().digest().to_string();
    assert_eq!(adopted, digest);
}
