//! Recovery from restarts, restores, damage, power cuts and a disk that refuses.
//!
//! `cargo test --release --test soak -- damage` cuts and refuses after every change, and not only every few;
//! `-- ids` sends 3,000,000 feedback ids.

mod backfill;
mod clock;
mod clocked;
mod full;
mod power;
mod refusing;
mod resent;
mod room;
mod scenario;
mod shortened;

use crate::support::{
    AUTO, Workspace, answers, digest, gradient, label, order, rows, teach, teach_rows,
};
use perennial::engine::{Acknowledgement, Engine, PredictOptions, Readiness, ServedModel};
use perennial::event::{Batch, Column, Feedback, Order, PredictionId, Signal, Subject};

#[tokio::test(flavor = "multi_thread")]
async fn p1_no_power_cut_loses_what_was_acknowledged() {
    power::cut_each(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_disk_whose_sync_does_nothing_is_found_out() {
    assert!(power::cut_each_unsynced(7).await > 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_change_that_fails_once_stops_feedback_and_nothing_else() {
    refusing::refuse_each(3, libc::EIO, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_disk_that_is_full_from_any_change_on_stops_feedback_and_nothing_else() {
    refusing::refuse_each(4, libc::ENOSPC, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_what_is_sent_again_is_a_duplicate_also_where_its_id_lies_on_disk_alone() {
    resent::known_after_a_kill_a_replay_and_jumps(20_000, "[journal]\nids_max = 2000\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_clean_restart_goes_on_with_an_equal_digest() {
    let workspace = Workspace::new(&[("auto", AUTO), ("net", &gradient("adamw", "8", "der++"))]);
    for name in ["auto", "net"] {
        let engine = workspace.open();
        let model = engine.model(name).unwrap();
        teach_rows(model, 60, 0.3, "first").await;
        let (before, answered) = (digest(model), answers(model));
        engine.close();
        drop(engine);
        let engine = workspace.open();
        let model = engine.model(name).unwrap();
        assert_eq!(digest(model), before, "{name}");
        assert_eq!(answers(model), answered, "{name}");
        teach_rows(model, 5, 0.3, "second").await;
        assert_ne!(digest(model), before, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_restored_version_answers_as_it_did() {
    let workspace = Workspace::new(&[("m", &gradient("sgd", "8", "er"))]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    teach_rows(model, 40, 0.0, "first").await;
    let made = order(model, Order::Checkpoint).await;
    let (then, answered) = (digest(model), answers(model));
    teach_rows(model, 40, 2.0, "second").await;
    assert_ne!(answers(model), answered);
    let restored = order(
        model,
        Order::Restore {
            version: made.version,
        },
    )
    .await;
    assert_eq!(restored.version, made.version + 1);
    assert_eq!(answers(model), answered);
    assert_eq!(digest(model), then);
    let status = model.status(false);
    assert_eq!(status.version, restored.version);
    assert_eq!(status.fates["undone"], 40);
    assert_eq!(status.fates["applied"], 40);
    assert_eq!(status.fates.values().sum::<u64>(), 80);
    // Learning goes on from there, and a restart finds all of it.
    teach_rows(model, 10, 0.0, "third").await;
    let (last, answered) = (digest(model), answers(model));
    drop(engine);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    assert_eq!((digest(model), answers(model)), (last, answered));
    let parents: Vec<_> = model
        .versions()
        .unwrap()
        .into_iter()
        .map(|(manifest, _)| (manifest.version, manifest.parent, manifest.reason))
        .collect();
    let expected = [(1, 0, "initial"), (2, 1, "checkpoint"), (3, 2, "restore")];
    assert_eq!(parents, expected.map(|(v, p, r)| (v, p, r.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_resent_event_is_known_across_a_restart() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    let snapshot = model.snapshot("").unwrap();
    let (batch, truth) = rows(1, 0.0).next().unwrap();
    let id = model
        .predict(&snapshot, batch, PredictOptions::default())
        .await
        .unwrap()
        .ids[0];
    let event = crate::support::label(id, "row-1", truth);
    let accepted = model.accept(event.clone()).unwrap().wait().await.unwrap();
    let Acknowledgement::Accepted { position } = accepted else {
        panic!("{accepted:?}")
    };
    drop(engine);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    let again = model.accept(event.clone()).unwrap().wait().await.unwrap();
    assert_eq!(again, Acknowledgement::Duplicate { position });
    // Another label under the same id is no retry, also after a restart.
    let other = Feedback {
        signal: Signal::Label("another".to_owned()),
        ..event
    };
    let refusal = model.accept(other).unwrap().wait().await.unwrap_err();
    let expected = format!("\"row-1\" was accepted at position {position} with another");
    assert!(refusal.to_string().contains(&expected), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_damaged_checkpoint_is_passed_over_and_not_restored() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    teach_rows(model, 20, 0.0, "first").await;
    let made = order(model, Order::Checkpoint).await;
    teach_rows(model, 20, 0.0, "second").await;
    let before = digest(model);
    drop(engine);
    let position = format!("{:020}", made.position);
    let weights = workspace.data().join("m/checkpoints").join(position);
    let weights = weights.join("weights.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    assert_eq!(digest(model), before);
    let error = model.check_restore(made.version).unwrap_err().to_string();
    assert!(error.contains("weights.safetensors"), "{error}");
    let error = model.check_restore(99).unwrap_err().to_string();
    assert!(error.contains("has no version 99; it has 1, 2"), "{error}");
    // It goes on serving and learning.
    teach_rows(model, 2, 0.0, "third").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_model_that_cannot_be_served_does_not_stop_the_others() {
    let workspace = Workspace::new(&[
        ("bad", &AUTO.replace("classification", "magic")),
        ("good", AUTO),
    ]);
    let engine = workspace.open();
    let Readiness::Unavailable(reason) = engine.model("bad").unwrap().status(false).state else {
        panic!("it cannot be ready")
    };
    assert!(reason.contains("task = \"magic\""), "{reason}");
    let (batch, truth) = rows(1, 0.0).next().unwrap();
    teach(engine.model("good").unwrap(), batch, truth, "one").await;
}

#[test]
fn p8_a_state_that_is_too_large_is_refused_before_it_is_made() {
    let many = AUTO.replacen("[[input]]", "classes_max = 100000\n[[input]]", 1);
    let network = "[network]\nkind = \"mlp\"\nhidden = [8192, 8192, 8192]\n";
    let deep = format!("{AUTO}{network}[learner]\nkind = \"gradient\"\n");
    let workspace = Workspace::new(&[("deep", &deep), ("good", AUTO), ("many", &many)]);
    let engine = workspace.open();
    for (model, n_outputs) in [("deep", 2), ("many", 100_000)] {
        let Readiness::Unavailable(reason) = engine.model(model).unwrap().status(false).state
        else {
            panic!("{model} cannot be ready")
        };
        let expected =
            format!(" MiB with {n_outputs} outputs, expected at most 256: state a smaller ");
        assert!(reason.contains(&expected), "{reason}");
    }
    assert!(engine.model("good").unwrap().snapshot("").is_ok());
}

#[test]
fn p9_a_locked_data_directory_is_refused() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let _first = workspace.open();
    let error = perennial::engine::Engine::open(workspace.config())
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("another process holds"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_description_is_taken_or_refused_by_its_key() {
    let toml = gradient("sgd", "8", "er");
    let workspace = Workspace::new(&[("m", &toml)]);
    let engine = workspace.open();
    teach_rows(engine.model("m").unwrap(), 5, 0.0, "first").await;
    drop(engine);
    workspace.describe(
        "m",
        &toml.replace("\"sgd\"", "\"sgd\"\nlearning_rate = 0.5"),
    );
    let engine = workspace.open();
    teach_rows(engine.model("m").unwrap(), 5, 0.0, "second").await;
    let before = digest(engine.model("m").unwrap());
    drop(engine);
    workspace.describe("m", &toml.replace("[8]", "[9]"));
    let engine = workspace.open();
    let error = engine.model("m").unwrap().spec().unwrap_err().to_string();
    assert!(error.contains("network is another"), "{error}");
    drop(engine);
    workspace.describe("m", &toml);
    let engine = workspace.open();
    assert_eq!(digest(engine.model("m").unwrap()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_damaged_version_that_replay_derives_again_is_replaced() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    teach_rows(model, 20, 0.0, "first").await;
    let made = order(model, Order::Checkpoint).await;
    let answered = answers(model);
    teach_rows(model, 20, 0.0, "second").await;
    let before = digest(model);
    drop(engine);
    let checkpoints = workspace.data().join("m/checkpoints");
    let mut positions: Vec<_> = std::fs::read_dir(&checkpoints)
        .unwrap()
        .map(|folder| folder.unwrap().path())
        .collect();
    positions.sort();
    // As if it had been killed: no checkpoint of the stop. The version's own is damaged.
    std::fs::remove_dir_all(positions.pop().unwrap()).unwrap();
    let weights = positions.last().unwrap().join("weights.safetensors");
    std::fs::write(&weights, b"not what was written").unwrap();
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    assert_eq!(digest(model), before);
    let version = made.version;
    order(model, Order::Restore { version }).await;
    assert_eq!(answers(model), answered);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cadence_makes_versions_and_keeps_the_newest() {
    let toml = format!("{AUTO}[versions]\nevery_examples = 10\nkeep = 2\n");
    let workspace = Workspace::new(&[("m", &toml)]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    teach_rows(model, 55, 0.0, "row").await;
    let made = order(model, Order::Checkpoint).await;
    assert_eq!(made.version, 7);
    let versions = model.versions().unwrap().into_iter();
    let versions: Vec<u64> = versions.map(|(manifest, _)| manifest.version).collect();
    assert_eq!(versions, [1, 5, 6, 7]);
}

/// Feedback that only a bug lets in: its row has a text for a number.
async fn break_learning(model: &ServedModel) {
    let feedback = Feedback {
        subject: Subject::Inputs {
            batch: Batch {
                n_rows: 1,
                columns: vec![Column::Strings(vec!["one".to_owned()])],
            },
            decision: None,
        },
        ..label(PredictionId(0), "broken", "a")
    };
    let receipt = model.accept(feedback).expect("there is room");
    let Ok(Acknowledgement::Accepted { position }) = receipt.wait().await else {
        panic!("it is on disk")
    };
    assert!(
        model.wait_for_position(position).await.is_err(),
        "it cannot be learned"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_bug_in_one_models_learning_leaves_the_others_alone() {
    let workspace = Workspace::new(&[("bad", AUTO), ("good", AUTO)]);
    let engine = workspace.open();
    let state = |engine: &Engine, name| engine.model(name).unwrap().status(false).state;
    let good = engine.model("good").unwrap();
    teach_rows(good, 10, 0.3, "first").await;
    break_learning(engine.model("bad").unwrap()).await;
    let Readiness::Unavailable(why) = state(&engine, "bad") else {
        panic!("it learns no more")
    };
    assert!(why.contains("a learner thread has panicked"), "{why}");
    teach_rows(good, 10, 0.3, "second").await;
    let learned = digest(good);
    engine.close();
    drop(engine);
    // An entry that cannot be learned is durable, and stands in the way of the next start.
    let engine = workspace.open();
    let Readiness::Unavailable(why) = state(&engine, "bad") else {
        panic!("it cannot be recovered")
    };
    assert!(why.contains("its recovery has panicked: "), "{why}");
    let good = engine.model("good").unwrap();
    assert_eq!(
        (digest(good), state(&engine, "good")),
        (learned, Readiness::Ready)
    );
    teach_rows(good, 10, 0.3, "third").await;
}
