//! The power is cut while retention lets segments go.
//!
//! Invariant: what is left is a journal without a gap, which leads to the digest that had been
//! reached with what was acknowledged.

use std::collections::BTreeMap;
use std::path::Path;

use perennial::engine::State;
use perennial::event::Event;
use perennial::store::{Reader, verify};

use super::disk::Recording;
use super::room::{Clocked, SHORT, feed, predict};
use crate::common::digest;

/// What had been learned once so many changes were made, by the position of the feedback.
type Learned = BTreeMap<u64, (usize, [u8; 32])>;

/// Lives through hours until segments go.
async fn live(clocked: &Clocked, recording: &Recording, disk: &perennial::store::Disk) -> Learned {
    let mut learned = Learned::new();
    for life in 0..6 {
        let engine = clocked.open_on(disk.clone(), clocked.house.data());
        let model = engine.model("m").unwrap();
        for n in 0..40 {
            clocked.pass(1);
            let id = predict(model, 50_000).expect("there is room");
            if n % 4 == 0 {
                let position = feed(model, id, &format!("{life}-{n}")).await.unwrap();
                learned.insert(position, (recording.len(), digest(model)));
            }
        }
        engine.close();
    }
    learned
}

/// What is wrong after a cut, if anything is.
async fn check(clocked: &Clocked, data: &Path, n: usize, learned: &Learned) {
    let journal = data.join("m/journal");
    let report = verify(&journal).unwrap();
    let (_, disk) = Recording::of(data);
    let engine = clocked.open_on(disk, data.to_owned());
    let model = engine.model("m").unwrap();
    let status = model.status(true);
    assert_eq!(status.state, State::Ready, "cut after {n}");
    let first = report.last_position + 1 - report.entries;
    let mut reader = Reader::open(&journal, first, 0).unwrap();
    let mut newest = 0;
    for (position, (changes, _)) in learned {
        if *changes <= n && *position >= first {
            let entry = reader.read(*position).unwrap();
            assert!(matches!(entry.event, Event::Feedback(_)), "cut after {n}");
        }
        if *position <= report.last_position {
            newest = *position;
        }
    }
    assert_eq!(status.digest, Some(learned[&newest].1), "cut after {n}");
    let id = predict(model, 10).unwrap();
    feed(model, id, "afterwards").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_power_cut_while_segments_go_leaves_a_journal_without_a_gap() {
    let clocked = Clocked::new(SHORT);
    let root = clocked.house.data().parent().unwrap().to_owned();
    let (recording, disk) = Recording::of(&root);
    let learned = live(&clocked, &recording, &disk).await;
    assert!(clocked.first_position() > 1, "something went");
    let removed = recording.segments_removed();
    assert!(removed.len() > 1, "{removed:?}");
    let image = root.join("image");
    let mut n_cuts = 0;
    for (index, before) in removed.iter().enumerate() {
        // Not yet, not synced, synced.
        for n in *before..before + 3 {
            recording.image(n, true, (index * 7 + n) as u64, &image);
            check(&clocked, &image.join("data"), n, &learned).await;
            std::fs::remove_dir_all(&image).unwrap();
            n_cuts += 1;
        }
    }
    println!("{n_cuts} power cuts around {} segments", removed.len());
}
