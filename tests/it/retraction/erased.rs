//! Audits of predictions whose feedback was erased, or came late; and what an erasure leaves of
//! versions that never learned it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use super::*;
use perennial::engine::{Clock, ClockReading, Config};
use perennial::learn::Fate;

const OPEN: &str = "task = \"classification\"\nclasses = [\"a\", \"b\"]\nclasses_max = 3\n\
    [journal]\nage_max = \"1h\"\n\
    [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"y\"\nkind = \"number\"\n\
    [[input]]\nname = \"c\"\nkind = \"category\"\n[learner]\nkind = \"neighbours\"\n";

async fn ask(model: &ServedModel) -> PredictionId {
    let (batch, _) = rows(1, 0.3).last().expect("a row");
    let snapshot = model.snapshot("").expect("it serves");
    let answer = model
        .predict(&snapshot, batch, PredictOptions::default())
        .await;
    answer.expect("an answer").ids[0]
}

async fn submit(
    model: &ServedModel,
    id: PredictionId,
    feedback_id: &str,
    truth: &str,
    source: &str,
) -> u64 {
    let feedback = Feedback {
        source: source.to_owned(),
        ..label(id, feedback_id, truth)
    };
    let receipt = model.accept(feedback).expect("there is room");
    match receipt.wait().await.expect("acknowledged") {
        Acknowledgement::Accepted { position } => {
            model.wait_for_position(position).await.expect("learned");
            position
        }
        other => panic!("{feedback_id} came before: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_an_audit_tells_what_was_erased_and_by_which_order() {
    let (workspace, engine) = workspace(OPEN);
    let model = engine.model("m").unwrap();
    for n in 0..4 {
        let id = ask(model).await;
        submit(model, id, &format!("batch-{n}"), "late label", "batch").await;
    }
    // Answered with a label that only came with feedback.
    let id = ask(model).await;
    submit(model, id, "first", "late label", "batch").await;
    let other = ask(model).await;
    submit(model, other, "second", "a", "people").await;
    let erase = |selector| request(selector, Disposal::Erase);
    let by_key = Selector::FeedbackId("first".to_owned());
    let first = model.retract(erase(by_key)).await.unwrap();
    submit(model, id, "third", "late label", "batch").await;
    submit(model, id, "fourth", "b", "people").await;
    let second = model.retract(erase(source("batch"))).await.unwrap();
    assert_eq!((first.erased, second.erased), (1, 5));
    let check = |audit: Audit, when: &str| {
        let expected = [(first.position, 1), (second.position, 1)];
        assert_eq!(audit.erased, expected.into(), "{when}");
        let kept: Vec<_> = audit
            .feedback
            .iter()
            .map(|one| &one.feedback_id[..])
            .collect();
        assert_eq!(kept, ["fourth"], "{when}");
        // Its answer is named, although nothing can be derived again that knows the label.
        assert!(audit.again.is_err(), "{when}");
        assert_eq!(audit.names, ["a", "b", "late label"], "{when}");
    };
    check(engine.audit(id, None).unwrap().unwrap(), "at once");
    let kept = engine.audit(other, None).unwrap().unwrap();
    assert!(kept.erased.is_empty(), "{:?}", kept.erased);
    drop(engine);
    let offline = Offline::open(&workspace.data(), "m").unwrap();
    check(
        offline.audit(id, None).unwrap().unwrap(),
        "without a server",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_an_audit_tells_what_became_of_each_event() {
    let workspace = Workspace::new(&[("m", OPEN)]);
    let now = Arc::new(AtomicI64::new(1_700_000_000_000_000));
    let reading = now.clone();
    let config = Config {
        clock: Clock::simulated(move || ClockReading::agreed(reading.load(Relaxed))),
        ..workspace.config()
    };
    let engine = Engine::open(config).unwrap();
    let model = engine.model("m").unwrap();
    let [first, second] = [ask(model).await, ask(model).await];
    submit(model, first, "in time", "a", "people").await;
    now.fetch_add(2 * 3600 * 1_000_000, Relaxed);
    submit(model, first, "again", "b", "people").await;
    submit(model, second, "too late", "b", "people").await;
    let fates = |id| {
        let audit = engine.audit(id, None).unwrap().unwrap();
        let fates = audit.feedback.into_iter();
        fates
            .map(|one| (one.feedback_id, one.fate))
            .collect::<Vec<_>>()
    };
    let of = |id: &str, fate| (id.to_owned(), Some(fate));
    assert_eq!(
        fates(first),
        [of("in time", Fate::Applied), of("again", Fate::Expired)]
    );
    assert_eq!(fates(second), [of("too late", Fate::Expired)]);
}

const BANDIT: &str = "task = \"bandit\"\nactions = [\"a\", \"b\"]\n\
    [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"y\"\nkind = \"number\"\n\
    [[input]]\nname = \"c\"\nkind = \"category\"\n[learner]\nkind = \"analytic\"\n\
    [feedback]\naggregate = \"last\"\n";

async fn reward(model: &ServedModel, id: PredictionId, reward: f64, source: &str) {
    let feedback = Feedback {
        source: source.to_owned(),
        signal: Signal::Reward(reward),
        ..label(id, &format!("{id} {reward}"), "")
    };
    let receipt = model.accept(feedback).expect("there is room");
    match receipt.wait().await.expect("acknowledged") {
        Acknowledgement::Accepted { position } => {
            model.wait_for_position(position).await.expect("learned");
        }
        other => panic!("it came before: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_version_kept_through_an_erasure_knows_what_it_learned_of_whom() {
    let (kept, engine) = workspace(BANDIT);
    let model = engine.model("m").unwrap();
    let mut asked = Vec::new();
    for n in 0..12 {
        asked.push(ask(model).await);
        reward(model, asked[n], n as f64 / 16.0, "people").await;
    }
    let before = order(model, Order::Checkpoint).await.version;
    let undone = ask(model).await;
    reward(model, undone, 0.875, "batch").await;
    let version = order(model, Order::Restore { version: before })
        .await
        .version;
    drop(engine);
    let erased = Workspace::new(&[("m", BANDIT)]);
    crate::support::copy(&kept.data(), &erased.data());
    let mut digests = Vec::new();
    for (workspace, disposal) in [(&kept, Disposal::Keep), (&erased, Disposal::Erase)] {
        let engine = workspace.open();
        let model = engine.model("m").unwrap();
        model
            .retract(request(source("batch"), disposal))
            .await
            .unwrap();
        let versions = model.versions().unwrap();
        let (manifest, _) = versions
            .iter()
            .find(|(one, _)| one.version == version)
            .unwrap();
        assert_eq!(manifest.erased_by > 0, disposal == Disposal::Erase);
        order(model, Order::Restore { version }).await;
        let restored = digest(model);
        // Their first rewards are taken off, since the version has learned them.
        for id in &asked {
            reward(model, *id, 0.9375, "people").await;
        }
        assert_ne!(digest(model), restored);
        digests.push(digest(model));
    }
    assert_eq!(digests[0], digests[1]);
}
