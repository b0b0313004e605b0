//! The power is cut after every single change of the disk.
//!
//! Invariant: what was acknowledged before the cut is there after it, once, and what was learned
//! is what the journal alone gives.

use std::path::Path;

use perennial::engine::{Accepted, Engine, Manner};
use perennial::event::{Event, Order, PredictionId};
use perennial::store::Reader;

use super::disk::Recording;
use crate::common::{AUTO, House, digest, label, order, rows, teach};
use crate::replay::replayed;

/// An acknowledgement: so many changes had been made by then.
struct Acknowledged {
    changes: usize,
    feedback_id: String,
    position: u64,
}

/// Predictions, feedback, versions, a restore and a clean stop.
async fn work(recording: &Recording, engine: &Engine) -> Vec<Acknowledged> {
    let model = engine.model("m").unwrap();
    let mut acknowledged = Vec::new();
    for (index, (batch, truth)) in rows(24, 0.3).enumerate() {
        let snapshot = model.snapshot("").unwrap();
        let answer = model.predict(&snapshot, batch, Manner::default());
        let feedback_id = format!("row-{index}");
        let event = label(answer.ids[0], &feedback_id, truth);
        let accepted = model.accept(event).unwrap().wait().await.unwrap();
        let Accepted::Accepted { position } = accepted else {
            panic!("{feedback_id} is new")
        };
        acknowledged.push(Acknowledged {
            changes: recording.len(),
            feedback_id,
            position,
        });
        model.reach(position).await.unwrap();
        match index {
            7 => drop(order(model, Order::Checkpoint).await),
            15 => drop(order(model, Order::Restore { version: 2 }).await),
            _ => {}
        }
    }
    engine.close();
    acknowledged
}

/// What is wrong after a cut, if anything is.
async fn check(house: &House, data: &Path, before: &[&Acknowledged]) -> Result<(), String> {
    let (_, disk) = Recording::of(data);
    let config = perennial::engine::Config {
        data: data.to_owned(),
        disk,
        ..house.config()
    };
    let engine = Engine::open(config).map_err(|error| error.to_string())?;
    let model = engine.model("m").unwrap();
    let status = model.status(true);
    if status.task.is_empty() {
        return Err(format!("{:?}", status.state));
    }
    let n_fates: u64 = status.fates.values().sum();
    let journal = data.join("m/journal");
    let last = status.journal_position;
    let mut reader = Reader::open(&journal, 1, last).map_err(|error| error.to_string())?;
    for one in before {
        match reader.read(one.position).map(|entry| entry.event) {
            Ok(Event::Feedback(feedback)) if feedback.feedback_id == one.feedback_id => {}
            other => return Err(format!("{} is lost: {other:?}", one.feedback_id)),
        }
    }
    if n_fates < before.len() as u64 {
        return Err(format!("{n_fates} fates of {}", before.len()));
    }
    let learned = replayed(&journal, last)?;
    if learned != digest(model) {
        return Err("the digest is not that of the journal".to_owned());
    }
    // Sent again, the newest is known by where it first stood.
    if let Some(one) = before.last() {
        let again = label(PredictionId(1), &one.feedback_id, "a");
        let accepted = model.accept(again).map_err(|error| error.to_string())?;
        let position = one.position;
        match accepted.wait().await {
            Ok(Accepted::Duplicate { position: first }) if first == position => {}
            other => return Err(format!("{} came again: {other:?}", one.feedback_id)),
        }
    }
    engine.close();
    Ok(())
}

/// Every cut, on an honest disk or on one whose syncs do nothing: how many there were, and what
/// went wrong after which.
async fn cuts(honest: bool) -> (usize, Vec<String>) {
    let house = House::new(&[("m", AUTO)]);
    let root = house.data().parent().unwrap().to_owned();
    let (recording, disk) = Recording::of(&root);
    let acknowledged = work(&recording, &house.open_on(disk)).await;
    assert_eq!(acknowledged.len(), 24);
    let image = root.join("image");
    let mut wrong = Vec::new();
    let n_changes = recording.len();
    for n in 0..=n_changes {
        let before: Vec<_> = acknowledged.iter().filter(|a| a.changes <= n).collect();
        recording.image(n, honest, n as u64, &image);
        if let Err(what) = check(&house, &image.join("data"), &before).await {
            wrong.push(format!("cut after {n} of {n_changes} changes: {what}"));
        }
        std::fs::remove_dir_all(&image).unwrap();
    }
    (n_changes, wrong)
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_no_power_cut_loses_what_was_acknowledged() {
    let (n_changes, wrong) = cuts(true).await;
    println!("{n_changes} power cuts");
    assert!(n_changes > 100, "{n_changes}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_disk_whose_sync_does_nothing_is_found_out() {
    let (n_changes, wrong) = cuts(false).await;
    println!("{} of {n_changes} power cuts are found", wrong.len());
    let lost = wrong.iter().filter(|what| what.contains("is lost"));
    assert!(lost.count() > 10, "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_after_a_cut_it_goes_on() {
    let house = House::new(&[("m", AUTO)]);
    let root = house.data().parent().unwrap().to_owned();
    let (recording, disk) = Recording::of(&root);
    work(&recording, &house.open_on(disk)).await;
    let image = root.join("image");
    recording.image(recording.len() / 2, true, 1, &image);
    let config = perennial::engine::Config {
        data: image.join("data"),
        ..house.config()
    };
    let engine = Engine::open(config).unwrap();
    let model = engine.model("m").unwrap();
    let (batch, truth) = rows(1, 0.0).next().unwrap();
    teach(model, batch, truth, "afterwards").await;
}
