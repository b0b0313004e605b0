//! The facts kept of versions: all that a restore, a retraction or an audit can still ask, and no
//! more.
//!
//! Invariant: its bytes do not grow with the versions that were made; a version that was not
//! tainted can be restored for as long as it is there, and one that is gone is refused in a
//! sentence.

use std::collections::BTreeSet;

use crate::support::server::{Client, Server, run, text};
use crate::support::{AUTO, LearnerHarness, Workspace, label, order, rows, teach_rows};
use perennial::engine::{Disposal, Error, Offline, RetractionRequest, ServedModel};
use perennial::event::{
    Command, Event, Feedback, Order, PredictionId, Retraction, Selector, Version,
};
use perennial::learn::{Exclusion, Learner, Step};
use perennial::model::{REVISION, Spec};
use perennial::proto::perennial::v1::{GetVersionRequest, RestoreRequest};
use tonic::Code;

/// Little to learn, at once, and little that waits.
const SMALL: &str = "[network]\nkind = \"linear\"\n\
    [learner]\nkind = \"gradient\"\noptimizer = \"sgd\"\n[memory]\nstrategy = \"none\"\n\
    [feedback]\nwaiting_max = 10\n";

/// A small learner with a version after each example.
fn every_example(keep: usize) -> String {
    format!("{AUTO}{SMALL}[versions]\nevery_examples = 1\nkeep = {keep}\n")
}

fn give(harness: &mut LearnerHarness, order: Order) -> Step {
    harness.append(Event::Command(Command {
        order,
        actor: String::new(),
        note: String::new(),
    }))
}

/// Says the truth of the `n`th row, and where that stands.
fn submit(harness: &mut LearnerHarness, n: usize, source: &str) -> (PredictionId, u64) {
    let (batch, truth) = rows(n % 50 + 1, 0.3).last().expect("a row");
    let id = harness.predict(batch).ids[0];
    harness.append(Event::Feedback(Feedback {
        source: source.to_owned(),
        ..label(id, &format!("said-{n}"), truth)
    }));
    let feedback = |entry: &&perennial::event::Entry| matches!(entry.event, Event::Feedback(_));
    let entry = harness.journal.iter().rev().find(feedback);
    (id, entry.expect("it was said").position)
}

fn retract(harness: &mut LearnerHarness, source: &str, first_position: u64) {
    let selector = Selector::Source(source.to_owned());
    let step = give(
        harness,
        Order::Retract(Retraction {
            selector,
            first_position,
            disposal: Disposal::Keep,
        }),
    );
    assert!(!step.excluded.is_empty(), "{source}");
}

/// The bytes of a saved state, but for its monitors, whose window fills up to its described length.
fn state_bytes(learner: &Learner) -> usize {
    let (weights, mut state) = (learner.learned().weights(), learner.state());
    let is_monitor = |name: &String| name.starts_with("world.monitors.");
    state.0.retain(|name, _| !is_monitor(name));
    let tensors = weights.0.values().chain(state.0.values());
    tensors.map(|tensor| tensor.data.n_bytes()).sum()
}

/// The versions that were made, in the order of their numbers.
fn made(harness: &LearnerHarness) -> Vec<Version> {
    let version = |entry: &perennial::event::Entry| match &entry.event {
        Event::Version(version) => Some(version.clone()),
        _ => None,
    };
    harness.journal.iter().filter_map(version).collect()
}

#[test]
fn p12_a_hundred_thousand_versions_leave_the_state_small() {
    // `cargo bench --bench versions -- 100000` shows as many.
    let mut harness = LearnerHarness::new(&every_example(10));
    let mut bytes = Vec::new();
    for n in 0..4000 {
        let source = format!("source-{}", n / 1000);
        let (_, position) = submit(&mut harness, n, &source);
        if n % 1000 == 500 {
            // Feedback since the last thousand began.
            give(&mut harness, Order::Checkpoint);
            retract(&mut harness, &source, position - 1000);
            give(&mut harness, Order::Restore { version: 1 });
        }
        if n % 1000 == 999 {
            bytes.push(state_bytes(&harness.learner));
        }
    }
    let n_versions = harness.learner.version();
    assert!(n_versions > 4000, "{n_versions}");
    // The tests for drift have their reference windows within the first thousand.
    let grown = bytes[3] - bytes[1];
    println!("{n_versions} versions: {bytes:?} bytes of state");
    assert!(
        grown < 500,
        "{bytes:?}: less than the 96 bytes that a version took"
    );
}

/// A long life with all that a restore can name: versions of every kind, restored, taken back.
fn long_history() -> (LearnerHarness, BTreeSet<u64>) {
    let mut harness = LearnerHarness::new(&format!("{AUTO}{SMALL}"));
    let mut excluded = BTreeSet::new();
    let mut submitted = Vec::new();
    for n in 0..240 {
        let source = ["people", "clicks", "batch"][n % 3].to_owned() + &(n / 24).to_string();
        let (id, position) = submit(&mut harness, n, &source);
        submitted.push((source, position));
        // A second word of somebody else, which contradicts the first.
        if n % 7 == 0 {
            harness.append(Event::Feedback(Feedback {
                source: format!("clicks{}", n / 24),
                ..label(id, &format!("against-{n}"), "b")
            }));
        }
        if n % 2 == 0 {
            give(&mut harness, Order::Checkpoint);
        }
        if n % 5 == 0 {
            let versions = made(&harness);
            let version = versions[n * 7 % versions.len()].version;
            give(&mut harness, Order::Restore { version });
        }
        if n % 24 == 23 {
            let source = format!("clicks{}", n / 24 / 2);
            let of_source = submitted.iter().filter(|(by, _)| *by == source);
            let positions: Vec<u64> = of_source.map(|(_, position)| *position).collect();
            if !positions.iter().any(|position| excluded.contains(position)) {
                retract(&mut harness, &source, positions[0]);
                excluded.extend(positions);
            }
        }
        if n % 60 == 59 {
            harness.reload();
        }
    }
    (harness, excluded)
}

#[test]
fn p12_a_version_that_holds_nothing_taken_back_never_leaves() {
    let (harness, excluded) = long_history();
    assert!(excluded.len() > 20);
    let journal = &harness.journal;
    let retractions = journal.iter().filter_map(|entry| match &entry.event {
        Event::Command(Command {
            order: Order::Retract(retraction),
            ..
        }) => Some(Exclusion {
            selector: retraction.selector.clone(),
            before: entry.position,
        }),
        _ => None,
    });
    let refused = journal.iter().filter_map(|entry| match &entry.event {
        Event::Refusal(refusal) => Some(refusal.position),
        _ => None,
    });
    let other = LearnerHarness::derive(journal, retractions.collect(), refused.collect());
    let (mut n_clean, mut n_tainted) = (0, 0);
    for version in made(&harness) {
        let refusal = harness.learner.tainted().refusal(version.version);
        let clean = other.digest_of(version.version) == Some(version.digest);
        assert_eq!(refusal.is_none(), clean, "{version:?}: {refusal:?}");
        if !clean {
            n_tainted += 1;
            continue;
        }
        n_clean += 1;
        let mut harness = harness.clone();
        let step = give(
            &mut harness,
            Order::Restore {
                version: version.version,
            },
        );
        assert_eq!(step.refused, None);
        assert_eq!(harness.learner.learned().digest(), version.digest);
        // The other history counts the same of it.
        let mut other = other.clone();
        give(
            &mut other,
            Order::Restore {
                version: version.version,
            },
        );
        assert_eq!(
            harness.learner.sources(),
            other.learner.sources(),
            "{version:?}"
        );
        let fates = [&harness, &other].map(|harness| harness.learner.ledger().clone());
        assert_eq!(fates[0], fates[1], "{version:?}");
    }
    assert!(n_clean > 30 && n_tainted > 30, "{n_clean} and {n_tainted}");
}

#[test]
fn p2_what_is_known_of_versions_is_derived_again_bit_for_bit() {
    let (harness, _) = long_history();
    let mut again = LearnerHarness::empty(&Spec::pin(&format!("{AUTO}{SMALL}"), &[], REVISION));
    for (index, entry) in harness.journal.iter().enumerate() {
        again.apply(entry.clone());
        if index % 97 == 0 {
            again.reload();
        }
    }
    assert!(again.learner == harness.learner);
    assert_eq!(
        again.learner.state().digest(),
        harness.learner.state().digest()
    );
}

#[test]
fn p12_a_version_of_which_nothing_is_known_is_refused_and_the_refusal_recorded() {
    let mut harness = LearnerHarness::new(&format!("{AUTO}{SMALL}"));
    for n in 0..6 {
        submit(&mut harness, n, "people");
        give(&mut harness, Order::Checkpoint);
    }
    let (weights, mut state) = (harness.learner.learned().weights(), harness.learner.state());
    state.put_u64("world.tainted.left", &[1], vec![4]);
    harness.learner = Learner::load(weights, state).expect("a state");
    let step = give(&mut harness, Order::Restore { version: 4 });
    let gone = "version 4 is no longer kept; version 1 and those from 5 on are";
    assert_eq!((step.refused.as_deref(), step.version), (Some(gone), None));
    let last = harness.journal.last().expect("there are some");
    assert!(matches!(last.event, Event::Refusal(_)), "{last:?}");
    for version in [5, 1] {
        let step = give(&mut harness, Order::Restore { version });
        assert_eq!(step.refused, None, "version {version}");
    }
}

/// True if the model repeats its first answer.
fn audited(workspace: &Workspace, id: PredictionId) -> Result<bool, String> {
    let offline = Offline::open(&workspace.data(), "m").unwrap();
    let audit = offline.audit(id, None).unwrap().expect("it is there");
    audit.again.as_ref().map_err(ToString::to_string)?;
    Ok(audit.bit_equal())
}

async fn ask(model: &ServedModel) -> PredictionId {
    let (batch, _) = rows(1, 0.3).next().expect("a row");
    let snapshot = model.snapshot("").unwrap();
    model
        .predict(&snapshot, batch, Default::default())
        .await
        .unwrap()
        .ids[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_version_that_is_gone_is_told_of_and_keeps_nothing_from_being_audited() {
    let workspace = Workspace::new(&[("m", &every_example(2))]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    teach_rows(model, 3, 0.3, "first").await;
    let asked = ask(model).await;
    let by_gone = model.snapshot("").unwrap().version;
    teach_rows(model, 9, 0.3, "then").await;
    let gone = model.check_restore(by_gone).unwrap_err();
    assert!(matches!(gone, Error::NoLongerKept { .. }), "{gone}");
    let expected = "model \"m\": version 4 is no longer kept; it has 1, 12, 13";
    assert_eq!(gone.to_string(), expected);
    // Feedback from before it is taken back through it.
    let request = RetractionRequest {
        selector: Selector::FeedbackId("first-1".to_owned()),
        actor: String::new(),
        note: String::new(),
        disposal: Disposal::Keep,
    };
    let done = model.retract(request).await.unwrap();
    assert_eq!(done.plan.tainted, (3..=13).collect::<Vec<u64>>());
    // The next two push out the first of these.
    teach_rows(model, 3, 0.3, "last").await;
    assert_eq!(done.version, 14);
    drop(engine);
    assert_eq!(audited(&workspace, asked), Ok(true));
    let folder = workspace.data();
    let data = ["--data", text(&folder)];
    let (_, refused) = run(&[&["restore", "m", "15"][..], &data].concat(), 1);
    assert!(
        refused.contains("version 15 is no longer kept; it has 1, "),
        "{refused}"
    );
    let (_, refused) = run(&[&["show", "m", "15"][..], &data].concat(), 1);
    assert!(
        refused.contains("version 15 is no longer kept"),
        "{refused}"
    );
    let server = Server::start(&workspace.models(), &workspace.data());
    server.refuses(&["restore", "m", "15"], "version 15 is no longer kept");
    server.refuses(&["show", "m", "99"], "has no version 99");
    let mut client = Client::connect(&server.address).await;
    let request = RestoreRequest {
        model: "m".to_owned(),
        version: 15,
        ..Default::default()
    };
    let status = client.registry.restore(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    let request = GetVersionRequest {
        model: "m".to_owned(),
        version: 15,
    };
    let status = client.registry.get_version(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    assert!(status.message().contains("version 15 is no longer kept"));
    server.stop();
}

/// Recovered from its checkpoint, from none, and replayed: all the same.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_journal_of_many_versions_recovers_and_replays_to_the_same() {
    let workspace = Workspace::new(&[("m", &every_example(3))]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    for n in 0..8 {
        teach_rows(model, 10, 0.3, &format!("row-{n}")).await;
        let made = order(model, Order::Checkpoint).await;
        let request = RetractionRequest {
            selector: Selector::FeedbackId(format!("row-{n}-4")),
            actor: String::new(),
            note: String::new(),
            disposal: Disposal::Keep,
        };
        let done = model.retract(request).await.unwrap();
        assert!(model.check_restore(made.version).is_err(), "it is tainted");
        let version = done.version;
        order(model, Order::Restore { version }).await;
    }
    let digest = crate::support::digest(model);
    let listed = |model: &ServedModel| -> Vec<(u64, Option<String>)> {
        let versions = model.versions().unwrap().into_iter();
        versions
            .map(|(one, damage)| (one.version, damage))
            .collect()
    };
    let before = listed(model);
    drop(engine);
    let offline = Offline::open(&workspace.data(), "m").unwrap();
    let mut replay = offline.replay(None).unwrap();
    while replay.advance(64).unwrap() {}
    assert_eq!(replay.outcome().digest, digest.to_string());
    drop(offline);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    assert_eq!(
        (crate::support::digest(model), listed(model)),
        (digest, before.clone())
    );
    drop(engine);
    std::fs::remove_dir_all(workspace.data().join("m/checkpoints")).unwrap();
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    assert_eq!(crate::support::digest(model), digest);
    let after = listed(model);
    assert!(
        before.iter().all(|one| after.contains(one)),
        "{before:?}: {after:?}"
    );
}
