//! A journal that retention has shortened, and one that is being erased: what can no longer be
//! derived is refused up front, and what is still there is found.
//!
//! Invariant: nothing that is gone is passed over silently.

use std::sync::{Arc, Mutex};

use perennial::engine::{
    Acknowledgement, Config, Disposal, Engine, Error, Offline, PredictOptions, RetractionRequest,
    ServedModel,
};
use perennial::event::{Batch, Column, Feedback, Order, PredictionId, Selector};
use perennial::store::disk::{ChangeOutcome, DiskChange};
use perennial::store::{Directory, Disk, Journal, segments};

use crate::support::{AUTO, Workspace, digest, label, order, rows, syncing_nothing};

fn source(name: &str) -> Selector {
    Selector::Source(name.to_owned())
}

/// A row of 50 kB, and its truth.
fn large(n: usize) -> (Batch, &'static str) {
    let (mut batch, truth) = rows(n + 1, 0.3).nth(n).unwrap();
    batch.columns[2] = Column::Strings(vec!["c".repeat(50_000)]);
    (batch, truth)
}

/// Predicts `n_rows` rows and says the truth of each, as from this source.
async fn serve_rows(model: &ServedModel, n_rows: usize, source: &str) -> Vec<PredictionId> {
    let mut ids = Vec::new();
    for n in 0..n_rows {
        let (batch, truth) = large(n);
        let snapshot = model.snapshot("").unwrap();
        let id = model
            .predict(&snapshot, batch, PredictOptions::default())
            .await
            .unwrap()
            .ids[0];
        ids.push(id);
        let feedback = Feedback {
            source: source.to_owned(),
            ..label(id, &format!("{source}-{n}"), truth)
        };
        let receipt = model.accept(feedback).unwrap();
        match receipt.wait().await.unwrap() {
            Acknowledgement::Accepted { position } => {
                model.wait_for_position(position).await.unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    ids
}

/// A data directory before and after a version, and shortened up to shortly before it.
struct Shortened {
    workspace: Workspace,
    version: u64,
    position: u64,
    first: u64,
    ids: Vec<PredictionId>,
}

/// Four segments; the first two go. Predictions beyond `waiting_max` wait no more.
async fn shortened(waiting_max: u64) -> Shortened {
    let limits = format!(
        "{AUTO}[feedback]\nwaiting_max = {waiting_max}\n[journal]\nbytes_max = \"16MiB\"\n"
    );
    let workspace = Workspace::new(&[("m", &limits)]);
    let engine = workspace.open_on(syncing_nothing());
    let model = engine.model("m").unwrap();
    serve_rows(model, 60, "early").await;
    let made = order(model, Order::Checkpoint).await;
    let ids = serve_rows(model, 10, "late").await;
    engine.close();
    drop(engine);
    let directory = Directory::open(&workspace.data()).unwrap();
    let folder = directory.journal("m");
    let (mut journal, _) = Journal::create_or_open(&folder, 0, Default::default()).unwrap();
    assert!(journal.trim(made.position - 10).unwrap() > 0);
    journal.close().unwrap();
    let first = segments(&folder).unwrap()[0].first_position;
    assert!(1 < first && first <= made.position - 10, "{first}");
    Shortened {
        workspace,
        version: made.version,
        position: made.position,
        first,
        ids,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_state_whose_waiting_predictions_are_gone_is_refused_up_front() {
    let one = shortened(1000).await;
    let (first, position) = (one.first, one.position);
    let offline = Offline::open(&one.workspace.data(), "m").unwrap();
    let refused = offline.replay(Some(one.version)).err().unwrap().to_string();
    let expected = format!(
        "predictions or feedback from position 3 on wait in the state at {position}, but the journal \
         was shortened and starts at {first} now"
    );
    assert!(refused.contains(&expected), "{refused}");
    let refused = offline.replay(Some(1)).err().unwrap().to_string();
    let expected = format!(
        "no longer reaches back far enough: it was shortened and starts at position {first} now, \
         behind position 2"
    );
    assert!(refused.contains(&expected), "{refused}");
    drop(offline);
    // The dry run and the order say the same, and the model goes on.
    let engine = one.workspace.open();
    let model = engine.model("m").unwrap();
    let before = digest(model);
    let planned = model.plan_retraction(&source("late")).unwrap_err();
    assert!(matches!(planned, Error::Refused { .. }), "{planned:?}");
    let expected = format!(
        "the journal no longer reaches back far enough: it was shortened and starts at position \
         {first} now"
    );
    assert!(planned.to_string().contains(&expected), "{planned}");
    let request = request(source("late"), Disposal::Keep);
    let refused = model.retract(request).await.unwrap_err();
    assert_eq!(refused.to_string(), planned.to_string());
    assert_eq!(digest(model), before);
    serve_rows(model, 2, "later").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_within_what_is_left_of_a_shortened_journal_all_goes_on() {
    let one = shortened(5).await;
    let offline = Offline::open(&one.workspace.data(), "m").unwrap();
    let audit = offline.audit(one.ids[8], Some("late")).unwrap().unwrap();
    assert!(audit.bit_equal(), "{:?}", audit.again);
    // Removed feedback has led to the answer, too.
    let sources = [("early".to_owned(), 60), ("late".to_owned(), 8)];
    assert_eq!((audit.sources_from, audit.sources), (1, sources.into()));
    assert_eq!(audit.without.unwrap().unwrap().excluded, 8);
    let mut replay = offline.replay(Some(one.version)).unwrap();
    while replay.advance(100).unwrap() {}
    drop(offline);
    let engine = one.workspace.open();
    let model = engine.model("m").unwrap();
    let plan = model.plan_retraction(&source("late")).unwrap();
    assert_eq!((plan.base, plan.excluded), (one.position, 10));
    let beyond = model.plan_retraction(&source("early")).unwrap_err();
    let expected = "the journal no longer reaches back far enough";
    assert!(beyond.to_string().contains(expected), "{beyond}");
    let done = model.retract(request(source("late"), Disposal::Keep)).await;
    assert_eq!(done.unwrap().plan.excluded, 10);
}

fn request(selector: Selector, disposal: Disposal) -> RetractionRequest {
    RetractionRequest {
        selector,
        actor: String::new(),
        note: String::new(),
        disposal,
    }
}

/// The check that runs while payloads are overwritten.
type Look = Box<dyn Fn() + Send>;

#[tokio::test(flavor = "multi_thread")]
async fn p6_who_reads_while_payloads_are_erased_finds_them_whole_or_erased() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let look: Arc<Mutex<Option<Look>>> = Arc::default();
    let looking = look.clone();
    let list = workspace.data().join("m/journal/erasing");
    // Erasure has a thread of its own; another that holds the files must not run the check.
    let erases = || std::thread::current().name() == Some("retract");
    let disk = Disk::watched(move |change| {
        if erases()
            && list.exists()
            && let Some(look) = looking.lock().unwrap().as_ref()
        {
            look();
        }
        Ok(match change {
            DiskChange::Sync(_) | DiskChange::SyncFolder(_) => ChangeOutcome::Pretend,
            _ => ChangeOutcome::Make,
        })
    });
    let config = Config {
        disk,
        ..workspace.config()
    };
    let engine = Engine::open(config).unwrap();
    let model = engine.model("m").unwrap();
    serve_rows(model, 6, "people").await;
    let ids = serve_rows(model, 6, "batch").await;
    let seen = Arc::new(Mutex::new(0));
    let (count, watched) = (seen.clone(), engine.clone());
    *look.lock().unwrap() = Some(Box::new(move || {
        let audit = watched.audit(ids[5], Some("people")).unwrap().unwrap();
        if let Err(reason) = &audit.again {
            assert!(reason.to_string().contains("erased"), "{reason}");
        }
        let model = watched.model("m").unwrap();
        let plan = model.plan_retraction(&source("people")).unwrap();
        assert_eq!(plan.excluded, 6);
        *count.lock().unwrap() += 1;
    }));
    let request = request(source("batch"), Disposal::Erase);
    let erased = model.retract(request).await.unwrap().erased;
    *look.lock().unwrap() = None;
    assert_eq!(erased, 6);
    let n_looks = *seen.lock().unwrap();
    assert!(n_looks > 6, "{n_looks}");
}
