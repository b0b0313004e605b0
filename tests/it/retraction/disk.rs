//! A disk that fails while a history is rebuilt: the request is not at fault.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use perennial::engine::{Disposal, Error};
use perennial::event::Order;
use perennial::store::Disk;
use perennial::store::disk::{ChangeOutcome, DiskChange};

use super::{request, serve_rows, source};
use crate::support::{Workspace, gradient, order};

/// A disk on which no state can be set aside while `fails` says so.
fn failing(fails: Arc<AtomicBool>) -> Disk {
    Disk::watched(move |change| match change {
        DiskChange::Create(path) | DiskChange::CreateFolder(path)
            if fails.load(Relaxed) && path.to_string_lossy().contains(".scratch-") =>
        {
            Err(io::Error::from_raw_os_error(libc::EIO))
        }
        DiskChange::Sync(_) | DiskChange::SyncFolder(_) => Ok(ChangeOutcome::Pretend),
        _ => Ok(ChangeOutcome::Make),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retraction_that_the_disk_fails_is_no_fault_of_the_request() {
    let workspace = Workspace::new(&[("m", &gradient("sgd", "8", "er"))]);
    let fails = Arc::new(AtomicBool::new(false));
    let engine = workspace.open_on(failing(fails.clone()));
    let model = engine.model("m").unwrap();
    serve_rows(model, 0, 10, None).await;
    let version = order(model, Order::Checkpoint).await.version;
    serve_rows(model, 10, 10, None).await;
    order(model, Order::Restore { version }).await;
    // More than the learner is left to catch up with: the rebuild beside it begins first.
    serve_rows(model, 20, 180, None).await;

    fails.store(true, Relaxed);
    let asked = request(source("batch"), Disposal::Keep);
    let error = model.retract(asked.clone()).await.unwrap_err();
    assert!(matches!(error, Error::Store(_)), "{error:?}");
    assert!(error.to_string().contains(".scratch-"), "{error}");

    fails.store(false, Relaxed);
    let done = model.retract(asked).await.unwrap();
    assert_eq!(done.plan.excluded, 100);
    engine.close();
}
