//! Retractions beside restores, failures, traffic and callers who leave.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use perennial::engine::{Disposal, Engine, Error, Readiness};
use perennial::event::{Command, Order};
use perennial::store::Disk;
use perennial::store::disk::{ChangeOutcome, DiskChange};

use crate::retraction::{request, serve_rows, source, workspace};
use crate::support::{AUTO, Workspace, copy, digest, label, order, rows};

fn restore(version: u64) -> Command {
    Command {
        order: Order::Restore { version },
        actor: String::new(),
        note: String::new(),
    }
}

/// An engine whose next sync of a journal, once asked for, waits to be let go.
struct Held {
    engine: Arc<Engine>,
    hold: Arc<AtomicBool>,
    reached: std::sync::mpsc::Receiver<()>,
    release: std::sync::mpsc::Sender<()>,
}

impl Held {
    fn open(workspace: &Workspace) -> Held {
        let hold = Arc::new(AtomicBool::new(false));
        let (sender, reached) = channel();
        let (release, released) = channel();
        let (held, released) = (hold.clone(), Mutex::new(released));
        let disk = Disk::watched(move |change| {
            let of_segment = matches!(
                change,
                DiskChange::Sync(path) if path.extension().is_some_and(|it| it == "seg")
            );
            if of_segment && held.swap(false, Relaxed) {
                sender.send(()).expect("the test waits");
                let released = released.lock().expect("one at a time");
                released.recv().expect("the test releases");
            }
            Ok(ChangeOutcome::Make)
        });
        Held {
            engine: workspace.open_on(disk),
            hold,
            reached,
            release,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_restore_on_its_way_is_seen_by_a_retraction() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let held = Held::open(&workspace);
    let model = held.engine.model("m").unwrap().clone();
    serve_rows(&model, 0, 30, None).await;
    let made = order(&model, Order::Checkpoint).await;
    serve_rows(&model, 30, 60, Some("people")).await;
    held.hold.store(true, Relaxed);
    let (one, other) = (model.clone(), model.clone());
    let restoring = tokio::spawn(async move { one.command(restore(made.version)).await });
    tokio::task::block_in_place(|| held.reached.recv()).expect("it is being synced");
    let retract = request(source("batch"), Disposal::Keep);
    let retracting = tokio::spawn(async move { other.retract(retract).await });
    // It looks at the journal once the writer has written the earlier entries.
    held.release.send(()).unwrap();
    restoring.await.unwrap().expect("it is restored");
    let certificate = retracting.await.unwrap().expect("it is retracted");
    assert_eq!(certificate.plan.excluded, 15);

    let (_twin_house, twin_engine) = self::workspace(AUTO);
    let twin = twin_engine.model("m").unwrap();
    serve_rows(twin, 0, 30, Some("people")).await;
    let made = order(twin, Order::Checkpoint).await;
    serve_rows(twin, 30, 60, Some("people")).await;
    twin.command(restore(made.version)).await.unwrap();
    assert_eq!(digest(&model), digest(twin));
    let tainted = |version| model.check_restore(version).unwrap_err().to_string();
    assert!(tainted(made.version).contains("retracted"));
    assert!(tainted(made.version + 1).contains("retracted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_source_that_goes_on_is_erased_up_to_the_order() {
    let (_workspace, engine) = workspace(AUTO);
    let model = engine.model("m").unwrap().clone();
    serve_rows(&model, 0, 60, None).await;
    let done = Arc::new(AtomicBool::new(false));
    let (sender, stop) = (model.clone(), done.clone());
    let sending = tokio::spawn(async move {
        let (batch, truth) = rows(1, 0.3).next().expect("a row");
        for n in 0..1_000_000 {
            if stop.load(Relaxed) {
                return;
            }
            let snapshot = sender.snapshot("").expect("it serves");
            let answer = sender
                .predict(&snapshot, batch.clone(), Default::default())
                .await
                .unwrap();
            let mut more = label(answer.ids[0], &format!("more-{n}"), truth);
            more.source = "batch".to_owned();
            let receipt = sender.accept(more).expect("there is room");
            receipt.wait().await.expect("acknowledged");
        }
    });
    for _ in 0..3 {
        let erase = request(source("batch"), Disposal::Erase);
        let certificate = model.retract(erase).await.expect("it is erased");
        assert!(certificate.plan.excluded > 0);
        assert_eq!(certificate.erased, certificate.plan.excluded);
    }
    done.store(true, Relaxed);
    sending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_what_is_erased_is_never_needed_again() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let full = Arc::new(AtomicBool::new(false));
    let refuses = full.clone();
    let disk = Disk::watched(move |change| match change {
        DiskChange::CreateFolder(_) if refuses.load(Relaxed) => {
            Err(std::io::Error::from_raw_os_error(libc::ENOSPC))
        }
        _ => Ok(ChangeOutcome::Make),
    });
    let engine = workspace.open_on(disk);
    let model = engine.model("m").unwrap().clone();
    serve_rows(&model, 0, 40, None).await;
    full.store(true, Relaxed);
    let erase = || request(source("batch"), Disposal::Erase);
    let unsaved = model.retract(erase()).await.unwrap_err();
    assert!(unsaved.to_string().contains("not saved"), "{unsaved}");
    let still_full = model.retract(erase()).await.unwrap_err();
    assert!(matches!(still_full, Error::Store(_)), "{still_full}");
    full.store(false, Relaxed);
    let certificate = model.retract(erase()).await.expect("it is erased");
    assert_eq!(certificate.erased, 20);
    let learned = digest(&model);
    // As a kill leaves it.
    let killed = Workspace::new(&[("m", AUTO)]);
    copy(&workspace.data(), &killed.data());
    let engine = killed.open();
    let model = engine.model("m").unwrap();
    assert_eq!(model.status(false).state, Readiness::Ready);
    assert_eq!(digest(model), learned);
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_retraction_that_nobody_waits_for_ends() {
    let (_workspace, engine) = workspace(AUTO);
    let model = engine.model("m").unwrap().clone();
    serve_rows(&model, 0, 400, None).await;
    let keep = || request(source("batch"), Disposal::Keep);
    let left = tokio::time::timeout(Duration::ZERO, model.retract(keep())).await;
    assert!(left.is_err(), "nothing is retracted in no time");
    let started = Instant::now();
    let certificate = loop {
        match model.retract(keep()).await {
            Ok(certificate) => break certificate,
            Err(error) => assert!(error.to_string().contains("under way"), "{error}"),
        }
        assert!(started.elapsed() < Duration::from_secs(60), "it never ends");
    };
    assert_eq!(certificate.plan.excluded, 200);
}
