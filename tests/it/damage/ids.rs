//! Feedback ids that the disk refuses, and groups larger than the ids in memory.
//!
//! Invariant: the refusal and the advice name the cause; once the disk takes ids again, feedback is taken
//! without a restart, and every id that was taken is known.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};

use perennial::engine::{Acknowledgement, Bound, Error, Level, ServedModel};
use perennial::event::{Feedback, PredictionId};
use perennial::store::Disk;
use perennial::store::disk::{ChangeOutcome, DiskChange};

use crate::damage::case::check_sentence;
use crate::damage::scarce::until;
use crate::support::{AUTO, Workspace, digest, label, syncing_nothing};

fn workspace(ids_max: usize) -> Workspace {
    let toml = format!("{AUTO}[journal]\nids_max = {ids_max}\n");
    Workspace::new(&[("m", &toml)])
}

/// A label of a prediction that nobody knows, which takes an id all the same.
fn event(n: usize, source: &str) -> Feedback {
    Feedback {
        source: source.to_owned(),
        ..label(PredictionId(7), &format!("event {n}"), "a")
    }
}

/// The replies to events that come together.
async fn send(
    model: &ServedModel,
    events: impl Iterator<Item = Feedback>,
) -> Vec<Result<Acknowledgement, Error>> {
    let receipts: Vec<_> = events.map(|event| model.accept(event)).collect();
    let mut replies = Vec::new();
    for receipt in receipts {
        replies.push(receipt.expect("there is room in the queue").wait().await);
    }
    replies
}

fn bound(model: &ServedModel) -> Bound {
    let mut bounds = model.bounds().into_iter();
    let bound = bounds.find(|bound| bound.name == "feedback_ids");
    bound.expect("it is among them")
}

fn is_below_ids(path: &Path) -> bool {
    path.iter().any(|name| name == "ids")
}

/// A disk without room below the folder of ids while the switch is on.
fn refusing() -> (Arc<AtomicBool>, Disk) {
    let refuses = Arc::new(AtomicBool::new(false));
    let switch = refuses.clone();
    let disk = Disk::watched(move |change| match change {
        DiskChange::Create(path) | DiskChange::Write(path, ..)
            if switch.load(Relaxed) && is_below_ids(path) =>
        {
            Err(std::io::Error::from_raw_os_error(libc::ENOSPC))
        }
        DiskChange::Sync(_) | DiskChange::SyncFolder(_) => Ok(ChangeOutcome::Pretend),
        _ => Ok(ChangeOutcome::Make),
    });
    (refuses, disk)
}

/// Sends until something is refused: how many were taken, and the refusal.
async fn fill(model: &ServedModel, begin: usize) -> (usize, Error) {
    const AT_ONCE: usize = 256;
    for first in (begin..50_000).step_by(AT_ONCE) {
        let events = (first..first + AT_ONCE).map(|n| event(n, "one"));
        for (place, reply) in send(model, events).await.into_iter().enumerate() {
            match reply {
                Ok(reply) => assert!(matches!(reply, Acknowledgement::Accepted { .. })),
                Err(error) => return (first + place, error),
            }
        }
    }
    panic!("ids that are not written have a bound");
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_ids_that_the_disk_refuses_are_the_cause_and_no_source_is() {
    let workspace = workspace(50);
    let (refuses, disk) = refusing();
    let engine = workspace.open_on(disk);
    let model = engine.model("m").unwrap();
    for reply in send(model, (0..20).map(|n| event(n, "one"))).await {
        assert!(matches!(reply, Ok(Acknowledgement::Accepted { .. })));
    }
    refuses.store(true, Relaxed);
    let (n_taken, refused) = fill(model, 20).await;
    let another = send(model, [event(n_taken, "another")].into_iter()).await;
    let why = std::io::Error::from_raw_os_error(libc::ENOSPC).to_string();
    let words = ["feedback ids are not written: ", &why, "it is tried again"];
    for refused in [Err(refused)].into_iter().chain(another) {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, Error::Full { .. }), "{refused}");
        check_sentence(&refused.to_string(), &words);
        for other in ["source", "ids_bytes_max"] {
            assert!(!refused.to_string().contains(other), "{refused}");
        }
    }
    let reached = bound(model);
    assert_eq!(reached.level, Level::Reached);
    check_sentence(&reached.advice, &words);
    assert!(!reached.advice.contains("ids_bytes_max"), "{reached:?}");
    // Nothing else comes meanwhile, which could have them written.
    refuses.store(false, Relaxed);
    until(|| (bound(model).level == Level::Ample).then_some(()));
    assert!(bound(model).advice.contains("ids_bytes_max"));
    let replies = send(model, (0..n_taken + 1).map(|n| event(n, "one"))).await;
    let duplicate = |one: &Result<_, _>| matches!(one, Ok(Acknowledgement::Duplicate { .. }));
    assert!(replies[..n_taken].iter().all(duplicate));
    let Ok(Acknowledgement::Accepted { position }) = replies[n_taken] else {
        panic!("{:?}", replies[n_taken]);
    };
    model.wait_for_position(position).await.unwrap();
    let learned = digest(model);
    engine.close();
    drop(engine);
    let engine = workspace.open_on(syncing_nothing());
    let model = engine.model("m").unwrap();
    assert_eq!(digest(model), learned);
    let replies = send(model, (0..=n_taken).map(|n| event(n, "one"))).await;
    assert!(replies.iter().all(duplicate));
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_group_larger_than_the_ids_in_memory_is_taken() {
    for ids_max in [1, 5] {
        let workspace = workspace(ids_max);
        let (go_on, waits) = mpsc::channel::<()>();
        let (is_held, waits) = (Arc::new(AtomicBool::new(false)), Mutex::new(waits));
        let holds = is_held.clone();
        let disk = Disk::watched(move |change| {
            Ok(match change {
                DiskChange::Sync(_) if holds.swap(false, Relaxed) => {
                    waits.lock().unwrap().recv().expect("the test goes on");
                    ChangeOutcome::Pretend
                }
                DiskChange::Sync(_) | DiskChange::SyncFolder(_) => ChangeOutcome::Pretend,
                _ => ChangeOutcome::Make,
            })
        });
        let engine = workspace.open_on(disk);
        let model = engine.model("m").unwrap();
        // As long as the first sync lasts, the others come together to a group.
        is_held.store(true, Relaxed);
        let receipts: Vec<_> = (0..200)
            .map(|n| model.accept(event(n, "one")).unwrap())
            .collect();
        go_on.send(()).unwrap();
        for (n, receipt) in receipts.into_iter().enumerate() {
            let reply = receipt.wait().await;
            let accepted = matches!(reply, Ok(Acknowledgement::Accepted { .. }));
            assert!(accepted, "{ids_max}, {n}: {reply:?}");
        }
        assert_eq!(bound(model).level, Level::Ample);
        let again = send(model, [event(3, "one")].into_iter()).await;
        assert!(matches!(again[0], Ok(Acknowledgement::Duplicate { .. })));
    }
}
