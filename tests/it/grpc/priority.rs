//! The scheduling policies of threads: learning runs in the background, orders do not.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};

use perennial::event::Column;
use perennial::proto::perennial::v1::RetractRequest;
use perennial::store::Disk;
use perennial::store::disk::{ChangeOutcome, DiskChange};

use crate::grpc::served::{Served, label, question, within};
use crate::support::{AUTO, rows};

/// The policies of the threads that saved checkpoints, in their order.
type Saved = Arc<Mutex<Vec<libc::c_int>>>;

/// A disk that notes the policy of whoever begins to save a checkpoint.
fn noting() -> (Disk, Saved) {
    noting_then(|| {})
}

/// A disk that notes the policy, and does more there.
fn noting_then(more: impl Fn() + Send + Sync + 'static) -> (Disk, Saved) {
    let saved = Saved::default();
    let noted = saved.clone();
    let disk = Disk::watched(move |change| {
        if let DiskChange::CreateFolder(path) = change
            && path.parent().is_some_and(is_of_checkpoints)
        {
            // SAFETY: it takes no pointer, and 0 names the calling thread.
            let policy = unsafe { libc::sched_getscheduler(0) };
            noted.lock().expect("nothing panics under it").push(policy);
            more();
        }
        Ok(ChangeOutcome::Make)
    });
    (disk, saved)
}

fn is_of_checkpoints(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name == "checkpoints")
}

fn take(saved: &Saved) -> Vec<libc::c_int> {
    std::mem::take(&mut saved.lock().expect("nothing panics under it"))
}

/// A disk that notes the policy and holds the first thread that saves after the flag was set, until the
/// sender is dropped.
fn holding() -> (Disk, Saved, Arc<AtomicBool>, mpsc::Sender<()>) {
    let (release, gate) = mpsc::channel();
    let (holds, gate) = (Arc::new(AtomicBool::new(false)), Mutex::new(gate));
    let held = holds.clone();
    let (disk, saved) = noting_then(move || {
        if held.swap(false, Relaxed) {
            let _ = gate.lock().expect("nothing panics under it").recv();
        }
    });
    (disk, saved, holds, release)
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn p8_a_learner_that_is_far_behind_runs_like_everything_else() {
    let (disk, saved, holds, release) = holding();
    let toml = format!("{AUTO}[versions]\nevery_examples = 10\n[journal]\nlag_max = 90\n");
    let mut served = Served::start_on(&[("m", &toml)], disk).await;
    // Dropped first, whatever happens: the server cannot stop while its learner is held.
    let release = release;
    let client = &mut served.client;
    take(&saved);
    let mut ids = Vec::new();
    for (batch, _) in rows(60, 0.0) {
        let reply = client.ask(question("m", &batch)).await.expect("an answer");
        ids.extend(reply.ids);
    }
    let events = ids
        .iter()
        .map(|id| label("m", id, &format!("of {id}"), "a"));
    let mut events: Vec<_> = events.collect();
    let later = events.split_off(10);
    // Behind the first one on disk, the predictions are learned, which alone are a lag.
    let first = client.submit(events.remove(0)).await.expect("it is taken");
    client.reach("m", first.position).await;
    // The learner is held at the tenth, and is then behind by more than half of what it may be.
    holds.store(true, Relaxed);
    client.stream(events).await;
    while holds.load(Relaxed) {
        tokio::task::yield_now().await;
    }
    assert_eq!(take(&saved), [libc::SCHED_IDLE], "the first version");
    let replies = client.stream(later).await;
    let last = replies.last().expect("replies").position;
    drop(release);
    client.reach("m", last).await;
    assert_eq!(client.status("m").await.examples, 60);
    // At some later one it has caught up.
    let policies = take(&saved);
    assert!(policies.contains(&libc::SCHED_OTHER), "{policies:?}");
    client.teach_rows("m", 10, 0.0, "later").await;
    client.status("m").await;
    assert_eq!(take(&saved), [libc::SCHED_IDLE], "the last version");
    served.goes_on_and_stops("m").await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn p8_a_learner_runs_like_everything_else_while_its_journal_is_full() {
    let (disk, saved, holds, release) = holding();
    let toml = format!("{AUTO}[versions]\nevery_examples = 10\n[journal]\nbytes_max = \"16MiB\"\n");
    let mut served = Served::start_on(&[("m", &toml)], disk).await;
    // Dropped first, whatever happens: the server cannot stop while its learner is held.
    let release = release;
    let client = &mut served.client;
    take(&saved);
    let mut ids = Vec::new();
    for (batch, _) in rows(30, 0.0) {
        let reply = client.ask(question("m", &batch)).await.expect("an answer");
        ids.extend(reply.ids);
    }
    let events = ids
        .iter()
        .map(|id| label("m", id, &format!("of {id}"), "a"));
    let mut events: Vec<_> = events.collect();
    let later = events.split_off(10);
    // The learner is held at the tenth.
    holds.store(true, Relaxed);
    client.stream(events).await;
    while holds.load(Relaxed) {
        tokio::task::yield_now().await;
    }
    assert_eq!(take(&saved), [libc::SCHED_IDLE], "the first version");
    // Predictions of 50 kB fill the journal, until they get no id any more.
    let (mut large, _) = rows(1, 0.0).next().expect("a row");
    large.columns[2] = Column::Strings(vec!["c".repeat(50_000)]);
    let mut n_asked = 0;
    while n_asked < 400 {
        let reply = client.ask(question("m", &large)).await.expect("an answer");
        if reply.ids.iter().all(String::is_empty) {
            break;
        }
        n_asked += 1;
    }
    assert!(n_asked < 400, "the journal is never full");
    let replies = client.stream(later).await;
    let last = replies.last().expect("replies").position;
    drop(release);
    client.reach("m", last).await;
    assert_eq!(client.status("m").await.examples, 30);
    let policies = take(&saved);
    assert!(policies.contains(&libc::SCHED_OTHER), "{policies:?}");
    served.stop().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn p5_an_order_that_a_person_waits_for_is_not_left_to_the_background() {
    let (disk, saved) = noting();
    let toml = format!("{AUTO}[versions]\nevery_examples = 10\n");
    let mut served = Served::start_on(&[("m", &toml)], disk).await;
    let client = &mut served.client;
    take(&saved);
    client.teach_rows("m", 10, 0.0, "row").await;
    // Its lock is free once the version is saved.
    assert_eq!(client.status("m").await.examples, 10);
    assert_eq!(take(&saved), [libc::SCHED_IDLE], "a version by the cadence");
    let made = crate::grpc::checkpoint(client, "m").await;
    assert_eq!(take(&saved), [libc::SCHED_OTHER], "a checkpoint");
    client
        .restore("m", made.version)
        .await
        .expect("it is restored");
    assert_eq!(take(&saved), [libc::SCHED_OTHER], "a restore");
    let retract = RetractRequest {
        model: "m".to_owned(),
        feedback_id: Some("row-3".to_owned()),
        ..Default::default()
    };
    within(client.registry.retract(retract))
        .await
        .expect("it is retracted");
    assert_eq!(take(&saved), [libc::SCHED_OTHER], "a retraction");
    // The learner threads are at it again, in the background.
    client.teach_rows("m", 10, 0.0, "later").await;
    client.status("m").await;
    assert_eq!(take(&saved), [libc::SCHED_IDLE], "a version by the cadence");
    served.goes_on_and_stops("m").await;
}
