//! The traces of orders: erasures beside each other, checkpoints that are damaged later, and
//! labels that race for a place.

use std::path::Path;
use std::sync::Arc;

use perennial::engine::{Acknowledgement, Disposal, Engine, Error, RetractionRequest, ServedModel};
use perennial::event::{Batch, Column, Event, Feedback, Order, Selector, Signal, Subject};
use perennial::store::{Reader, verify};

use crate::support::{AUTO, Workspace, copy, digest, gradient, label, order, overwrite, rows};

fn retract(source: &str, disposal: Disposal) -> RetractionRequest {
    RetractionRequest {
        selector: Selector::Source(source.to_owned()),
        actor: String::new(),
        note: String::new(),
        disposal,
    }
}

async fn teach(model: &ServedModel, which: std::ops::Range<usize>, sources: &[&str]) {
    for (n, (batch, truth)) in rows(which.end, 0.3).enumerate().skip(which.start) {
        let snapshot = model.snapshot("").expect("it serves");
        let answer = model.predict(&snapshot, batch, Default::default()).await;
        let feedback = Feedback {
            source: sources[n % sources.len()].to_owned(),
            ..label(answer.unwrap().ids[0], &format!("row-{n}"), truth)
        };
        let receipt = model.accept(feedback).expect("there is room");
        match receipt.wait().await.expect("acknowledged") {
            Acknowledgement::Accepted { position } => {
                model.wait_for_position(position).await.expect("learned");
            }
            other => panic!("row {n} came before: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_erasures_of_what_was_retracted_before_take_turns() {
    let sources = ["one", "two", "three", "four"];
    let workspace = Workspace::new(&[("m", AUTO)]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    teach(model, 0..40, &sources).await;
    for source in sources {
        let kept = model.retract(retract(source, Disposal::Keep)).await;
        assert_eq!(kept.unwrap().plan.excluded, 10);
    }
    let erasing = sources.map(|source| {
        let model = model.clone();
        tokio::spawn(async move { model.retract(retract(source, Disposal::Erase)).await })
    });
    for one in erasing {
        let certificate = one.await.unwrap().expect("it is erased");
        assert_eq!(certificate.erased, 10);
    }
    engine.close();
    let report = verify(&workspace.data().join("m/journal")).unwrap();
    assert_eq!(report.erased, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_no_more_retractions_wait_for_their_turn_than_may() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    teach(model, 0..4, &["one"]).await;
    let asked: Vec<_> = (0..200)
        .map(|_| {
            let model = model.clone();
            tokio::spawn(async move { model.retract(retract("nobody", Disposal::Keep)).await })
        })
        .collect();
    for one in asked {
        match one
            .await
            .unwrap()
            .expect_err("nothing is there to be taken back")
        {
            Error::Refused { .. } => {}
            Error::Full { what, .. } => assert!(what.contains("wait for their turn"), "{what}"),
            error => panic!("{error}"),
        }
    }
}

/// Damages the weights of each checkpoint from a position on.
fn damage(data: &Path, from: u64) -> usize {
    let checkpoints = std::fs::read_dir(data.join("m/checkpoints")).unwrap();
    let paths = checkpoints.map(|entry| entry.unwrap().path());
    let behind = paths.filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.parse().is_ok_and(|position: u64| position >= from)
    });
    let damaged = behind.map(|path| {
        let weights = path.join("weights.safetensors");
        let mut bytes = std::fs::read(&weights).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        overwrite(&weights, &bytes);
    });
    damaged.count()
}

/// The learned state, the fates of its feedback, and the versions that are refused, with the reasons.
fn seen(model: &ServedModel) -> impl PartialEq + std::fmt::Debug + use<> {
    let refused: Vec<String> = (1..20)
        .filter_map(|version| match model.check_restore(version) {
            Err(Error::Refused { what, .. }) => Some(what),
            _ => None,
        })
        .collect();
    (digest(model), model.status(false).fates, refused)
}

fn killed(workspace: &Workspace, toml: &str) -> Workspace {
    let killed = Workspace::new(&[("m", toml)]);
    copy(&workspace.data(), &killed.data());
    killed
}

fn opened(workspace: &Workspace) -> (Arc<Engine>, Arc<ServedModel>) {
    let engine = workspace.open();
    let model = engine.model("m").unwrap().clone();
    model.snapshot("").expect("it is recovered");
    (engine, model)
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_after_an_erasure_damaged_checkpoints_are_derived_again() {
    for toml in [AUTO.to_owned(), gradient("sgd", "6", "er")] {
        let workspace = Workspace::new(&[("m", &toml)]);
        let (engine, model) = opened(&workspace);
        teach(&model, 0..8, &["people"]).await;
        let clean = order(&model, Order::Checkpoint).await;
        teach(&model, 8..28, &["people", "batch", "clicks"]).await;
        order(&model, Order::Checkpoint).await;
        teach(&model, 28..40, &["people", "batch", "clicks"]).await;
        let version = clean.version;
        order(&model, Order::Restore { version }).await;
        teach(&model, 40..50, &["people", "batch", "clicks"]).await;
        let kept = model
            .retract(retract("clicks", Disposal::Keep))
            .await
            .unwrap();
        teach(&model, 50..60, &["people", "batch"]).await;
        let erased = model
            .retract(retract("batch", Disposal::Erase))
            .await
            .unwrap();
        assert!(erased.erased > 0 && kept.position < erased.position);
        teach(&model, 60..65, &["people"]).await;
        engine
            .audit(perennial::event::PredictionId(7), None)
            .unwrap();
        let expected = seen(&model);
        let killed = killed(&workspace, &toml);
        assert!(damage(&killed.data(), erased.plan.first_position) > 0);
        let (engine, model) = opened(&killed);
        assert_eq!(seen(&model), expected, "{toml}");
        // And it goes on as if nothing had been damaged.
        teach(&model, 65..70, &["people"]).await;
        let learned = digest(&model);
        drop((engine, model));
        let (_engine, model) = opened(&killed);
        assert_eq!(digest(&model), learned, "{toml}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_restore_is_applied_again_although_its_version_is_damaged() {
    let toml = gradient("sgd", "6", "er");
    let workspace = Workspace::new(&[("m", &toml)]);
    let (engine, model) = opened(&workspace);
    teach(&model, 0..10, &["people"]).await;
    order(&model, Order::Checkpoint).await;
    teach(&model, 10..20, &["people"]).await;
    let made = order(&model, Order::Checkpoint).await;
    teach(&model, 20..30, &["people"]).await;
    let version = made.version;
    order(&model, Order::Restore { version }).await;
    teach(&model, 30..35, &["people"]).await;
    let (learned, fates) = (digest(&model), model.status(false).fates);
    drop((engine, model));
    assert!(damage(&workspace.data(), made.position) >= 2);
    let (_engine, model) = opened(&workspace);
    assert_eq!(
        (digest(&model), model.status(false).fates),
        (learned, fates)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_labels_that_race_for_the_last_place_do_not_all_get_it() {
    let workspace = Workspace::new(&[("m", &AUTO.replacen('\n', "\nclasses_max = 3\n", 1))]);
    let (engine, model) = opened(&workspace);
    let receipts: Vec<_> = ["c", "d", "e", "c"]
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let columns = vec![
                Column::Numbers(vec![1.0]),
                Column::Numbers(vec![1.0]),
                Column::Strings(vec!["red".to_owned()]),
            ];
            let feedback = Feedback {
                feedback_id: format!("new-{n}"),
                subject: Subject::Inputs {
                    batch: Batch { n_rows: 1, columns },
                    decision: None,
                },
                signal: Signal::Label((*name).to_owned()),
                source: String::new(),
                event_time: None,
                tags: Default::default(),
                actor: String::new(),
                weight: 1.0,
                comment: String::new(),
                may_correct: false,
            };
            model.accept(feedback).expect("there is room")
        })
        .collect();
    let mut taken = Vec::new();
    for receipt in receipts {
        taken.push(match receipt.wait().await {
            Ok(Acknowledgement::Accepted { position }) => {
                model.wait_for_position(position).await.unwrap();
                true
            }
            Err(Error::NoPlace { classes_max, .. }) => {
                assert_eq!(classes_max, 3);
                false
            }
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(taken, [true, false, false, true]);
    let status = model.status(false);
    assert_eq!((status.fates["applied"], status.fates["unmatched"]), (2, 0));
    drop((engine, model));
    let journal = workspace.data().join("m/journal");
    let last = verify(&journal).unwrap().last_position;
    let mut reader = Reader::from_start(&journal, last).unwrap();
    let entries = (1..=last).map(|_| reader.next(last).unwrap().unwrap().event);
    let n_feedback = entries
        .filter(|event| matches!(event, Event::Feedback(_)))
        .count();
    assert_eq!(n_feedback, 2);
}
