//! Feedback that comes again once it was taken back: it stays away, and the reply names the retraction.

use super::*;
use perennial::event::{Duplicate, ErasedKind};
use perennial::store::Reader;

/// The reply to a label under this key.
async fn send(
    model: &ServedModel,
    id: PredictionId,
    feedback_id: &str,
    source: &str,
) -> Acknowledgement {
    let feedback = Feedback {
        source: source.to_owned(),
        ..label(id, feedback_id, "a")
    };
    let accepted = model.accept(feedback).expect("there is room").wait().await;
    let accepted = accepted.expect("acknowledged");
    if let Acknowledgement::Accepted { position } = accepted {
        model.wait_for_position(position).await.expect("learned");
    }
    accepted
}

/// Sends an event of each source again: one was retracted, the other was not.
async fn check(model: &ServedModel, ids: &[PredictionId], when: &str) {
    let before = model.status(true);
    let people = send(model, ids[0], "row-0", "people").await;
    assert!(
        matches!(people, Acknowledgement::Duplicate { .. }),
        "{when}: {people:?}"
    );
    let batch = send(model, ids[1], "row-1", "batch").await;
    let Acknowledgement::Retracted { position } = batch else {
        panic!("{when}: {batch:?}")
    };
    assert!(position < before.position, "{when}");
    let last = model.status(false).journal_position;
    model.wait_for_position(last).await.unwrap();
    let after = model.status(true);
    assert_eq!(
        after.digest, before.digest,
        "{when}: nothing is learned again"
    );
    let total = |status: &perennial::engine::Status| status.fates.values().sum::<u64>();
    assert_eq!(total(&after), total(&before) + 2, "{when}");
    assert_eq!(
        after.fates["duplicate"],
        before.fates.get("duplicate").unwrap_or(&0) + 2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_retracted_feedback_that_comes_again_is_refused_and_not_learned() {
    let (workspace, engine) = workspace(&gradient("sgd", "", "none"));
    let model = engine.model("m").unwrap();
    let ids = serve_rows(model, 0, 10, None).await;
    let again = send(model, ids[1], "row-1", "batch").await;
    assert!(
        matches!(again, Acknowledgement::Duplicate { .. }),
        "{again:?}"
    );
    let retract = |disposal| request(source("batch"), disposal);
    model.retract(retract(Disposal::Keep)).await.unwrap();
    check(model, &ids, "after the order").await;
    // The correction comes under a new key, and is learned.
    let examples = model.status(false).examples;
    let corrected = send(model, ids[1], "row-1-corrected", "batch").await;
    assert!(
        matches!(corrected, Acknowledgement::Accepted { .. }),
        "{corrected:?}"
    );
    assert_eq!(model.status(false).examples, examples + 1);
    drop(engine);

    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    check(model, &ids, "after a restart").await;
    let again = send(model, ids[1], "row-1-corrected", "batch").await;
    assert!(
        matches!(again, Acknowledgement::Duplicate { .. }),
        "{again:?}"
    );
    model.retract(retract(Disposal::Erase)).await.unwrap();
    check(model, &ids, "after the erasure").await;
    drop(engine);

    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    check(model, &ids, "after a restart behind the erasure").await;
    drop(engine);
    // A resent event is known by the position of the first one: its key may have been erased.
    let journal = workspace.data().join("m/journal");
    let last = verify(&journal).unwrap().last_position;
    let mut reader = Reader::open(&journal, 1, 0).unwrap();
    let mut keys = Vec::new();
    while let Some(entry) = reader.next(last).unwrap() {
        match entry.event {
            Event::Duplicate(Duplicate { feedback_id, .. }) => keys.push(feedback_id),
            Event::Erased(ErasedKind::Duplicate) => keys.push("erased".to_owned()),
            _ => {}
        }
    }
    keys.retain(|key| !["row-1", "row-1-corrected", "erased"].contains(&key.as_str()));
    assert_eq!(keys, ["row-0", ""].repeat(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_an_order_that_a_crash_interrupted_is_known_to_have_retracted() {
    let (workspace, engine) = workspace(&gradient("sgd", "", "none"));
    let ids = serve_rows(engine.model("m").unwrap(), 0, 10, None).await;
    engine.close();
    drop(engine);
    // As a crash leaves it: the order is on disk, and nothing that came of it.
    let directory = Directory::open(&workspace.data()).unwrap();
    let config = Config::default();
    let (mut journal, _) = Journal::create_or_open(&directory.journal("m"), 0, config).unwrap();
    let order = Event::Command(Command {
        order: Order::Retract(Retraction {
            selector: source("batch"),
            first_position: 1,
            disposal: Disposal::Keep,
        }),
        actor: String::new(),
        note: String::new(),
    });
    journal.append(Time(0), &order).unwrap();
    journal.close().unwrap();
    drop(directory);
    let engine = workspace.open();
    check(engine.model("m").unwrap(), &ids, "after the crash").await;
}
