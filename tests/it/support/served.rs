//! A history that a server recovers from its journal and lives on with.
//!
//! Invariant: the derived states of the engine are compared with learners that have never seen it: one that
//! applies the same entries in memory, and one that never had the retracted feedback.

use std::fs;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::task::Poll;

use perennial::engine::{
    Acknowledgement, Certificate, Clock, ClockReading, Disposal, Engine, Error, PredictOptions,
    Readiness, Receipt, RetractionRequest, ServedModel,
};
use perennial::event::{Command, Entry, Feedback, Order, Outputs, Selector, Signal, Time};
use perennial::learn::{Fate, Learner};
use perennial::store::disk::{ChangeOutcome, DiskChange};
use perennial::store::{Config, Directory, Disk, Journal, Reader, checkpoint, verify};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::runtime::Runtime;

use super::histories::{SOURCES, retracted, twin};
use super::{LearnerHarness, Workspace, digest, label, rows, syncing_nothing, wait};

/// Rows that are served between two orders.
const N_ROWS: usize = 3;
const SECOND: i64 = 1_000_000;
const DAY: i64 = 24 * 3600 * SECOND;
/// How far the wall clock may be from the monotonic one.
const JUMPS: [i64; 5] = [0, DAY, -DAY, 400 * DAY, -40 * DAY];

/// Syncs that wait while the test holds them.
#[derive(Default)]
struct HeldSyncs {
    held: Mutex<bool>,
    released: Condvar,
}

impl HeldSyncs {
    fn hold(&self, hold: bool) {
        *self.held.lock().expect("no thread has panicked") = hold;
        self.released.notify_all();
    }

    /// A disk that pretends to sync, as soon as it may.
    fn disk(self: &Arc<HeldSyncs>) -> Disk {
        let syncs = self.clone();
        Disk::watched(move |change| {
            Ok(match change {
                DiskChange::Sync(_) | DiskChange::SyncFolder(_) => {
                    let held = syncs.held.lock().expect("no thread has panicked");
                    let released = syncs.released.wait_while(held, |held| *held);
                    drop(released.expect("no thread has panicked"));
                    ChangeOutcome::Pretend
                }
                _ => ChangeOutcome::Make,
            })
        })
    }
}

/// A model of a history, and the settings that decide its course.
struct Served<'a> {
    workspace: Workspace,
    runtime: &'a Runtime,
    rng: ChaCha8Rng,
    now: Arc<AtomicI64>,
    /// How far the wall clock is ahead of the monotonic one.
    ahead: Arc<AtomicI64>,
    syncs: Arc<HeldSyncs>,
    n_submitted: usize,
}

/// Checks that what the engine makes of a history, live and recovered, is what it has to be.
pub(crate) fn check(toml: &str, seed: u64, harness: &LearnerHarness, runtime: &Runtime) {
    let mut served = Served {
        workspace: Workspace::new(&[("m", toml)]),
        runtime,
        rng: ChaCha8Rng::seed_from_u64(seed),
        now: Arc::default(),
        ahead: Arc::default(),
        syncs: Arc::default(),
        n_submitted: 0,
    };
    let place = |what: &str| format!("seed {seed}, {what}: {toml}");
    served.write(&harness.journal);
    let engine = served.open(harness.learner.time());
    same(&engine, &harness.learner, &place("recovered"));
    let selector = served.run(&engine);
    engine.close();
    drop(engine);
    let mut journal = served.journal(1);
    let learner = expected(&journal, &place("lived"));
    let saved = served.saved(learner.position());
    assert!(saved == learner, "{}", place("saved"));

    fs::remove_dir_all(served.workspace.data().join("m/checkpoints")).unwrap();
    let engine = served.open(learner.time());
    same(&engine, &learner, &place("replayed"));
    let Some(selector) = selector else { return };
    // Later feedback of the source is taken back as well.
    let done = served.retract(&engine, selector, Disposal::Erase).unwrap();
    assert!(done.erased > 0, "{}", place("erased"));
    engine.close();
    drop(engine);
    journal.extend(served.journal(learner.position() + 1));
    let erased = expected(&journal, &place("erased"));
    same(&served.open(erased.time()), &erased, &place("erased"));
}

/// The learner that applies these entries; it equals a second one that was
/// fed live without the retracted feedback.
fn expected(journal: &[Entry], place: &str) -> Learner {
    let mut harness = LearnerHarness::before(journal);
    let entries = journal.iter().cloned();
    entries.for_each(|entry| drop(harness.apply(entry)));
    let learners = [&harness.learner, &twin(journal).learner];
    let digests = learners.map(|learner| learner.learned().digest());
    assert_eq!(digests[0], digests[1], "{place}");
    let n_retracted = retracted(journal).len() as u64;
    let ledger = harness.learner.ledger();
    assert_eq!(ledger.count(Fate::Retracted), n_retracted, "{place}");
    harness.learner
}

/// The model has learned the same, and tells the same fates.
fn same(engine: &Engine, learner: &Learner, place: &str) {
    let model = engine.model("m").unwrap();
    assert_eq!(model.status(false).state, Readiness::Ready, "{place}");
    assert_eq!(digest(model), learner.learned().digest(), "{place}");
    let fates = model.status(false).fates;
    for fate in Fate::ALL {
        let n = fates.get(fate.word()).copied().unwrap_or(0);
        assert_eq!(n, learner.ledger().count(fate), "{} {place}", fate.word());
    }
}

impl Served<'_> {
    fn write(&self, entries: &[Entry]) {
        let directory = Directory::open(&self.workspace.data()).unwrap();
        let config = Config {
            disk: syncing_nothing(),
            ..Config::default()
        };
        let folder = directory.journal("m");
        let (mut journal, _) = Journal::create_or_open(&folder, 0, config).unwrap();
        for entry in entries {
            journal.append(entry.time, &entry.event).unwrap();
        }
        journal.close().unwrap();
    }

    /// No time has passed since the last entry, so nothing falls due by itself.
    fn open(&self, last: Time) -> Arc<Engine> {
        self.now.store(last.0, Relaxed);
        self.ahead.store(0, Relaxed);
        let (now, ahead) = (self.now.clone(), self.ahead.clone());
        let read = move || {
            let monotonic_us = now.load(Relaxed);
            let wall = Time(monotonic_us + ahead.load(Relaxed));
            ClockReading { wall, monotonic_us }
        };
        let config = perennial::engine::Config {
            disk: self.syncs.disk(),
            clock: Clock::simulated(read),
            ..self.workspace.config()
        };
        Engine::open(config).expect("the engine opens")
    }

    fn journal(&self, first: u64) -> Vec<Entry> {
        let journal = self.workspace.data().join("m/journal");
        let last = verify(&journal).unwrap().last_position;
        let mut reader = Reader::open(&journal, first, last).unwrap();
        let entries = (first..=last).map(|_| reader.next(last).unwrap().unwrap());
        entries.collect()
    }

    /// The state that a clean stop saved.
    fn saved(&self, position: u64) -> Learner {
        let folder = self.workspace.data().join("m/checkpoints");
        let found = checkpoint::load(&folder, position).unwrap();
        Learner::load(found.weights, found.learner).unwrap()
    }

    /// Rows, versions, and between them a source is taken back, if there is anything of it.
    fn run(&mut self, engine: &Engine) -> Option<Selector> {
        let model = engine.model("m").unwrap();
        self.teach(model);
        let made = self.order(model, Order::Checkpoint).expect("it is made");
        self.teach(model);
        let is_left = self.rng.random_bool(0.5);
        if is_left {
            self.leave(model, made);
        }
        let source = SOURCES.choose(&mut self.rng).expect("there are three");
        let selector = Selector::Source((*source).to_owned());
        let done = self.retract(engine, selector.clone(), Disposal::Keep);
        self.teach(model);
        if self.rng.random_bool(0.5) {
            let restored = self.order(model, Order::Restore { version: made });
            // It may hold the retracted feedback.
            assert!(restored.is_ok() || done.is_ok() || is_left);
            self.teach(model);
        }
        match done {
            Ok(_) => Some(selector),
            Err(Error::Refused { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn order(&self, model: &ServedModel, order: Order) -> Result<u64, Error> {
        let (actor, note) = Default::default();
        let command = Command { order, actor, note };
        let made = self.runtime.block_on(model.command(command));
        made.map(|made| made.version)
    }

    /// Asks for an order, and goes away before the answer.
    fn leave(&mut self, model: &ServedModel, version: u64) {
        let (actor, note) = <(String, String)>::default();
        if self.rng.random_bool(0.5) {
            let source = SOURCES.choose(&mut self.rng).expect("there are three");
            let selector = Selector::Source((*source).to_owned());
            let disposal = Disposal::Keep;
            self.poll_once(model.retract(RetractionRequest {
                selector,
                actor,
                note,
                disposal,
            }));
        } else {
            let order = Order::Restore { version };
            self.poll_once(model.command(Command { order, actor, note }));
        }
    }

    fn poll_once(&self, asked: impl Future) {
        self.runtime.block_on(async {
            let mut asked = pin!(asked);
            poll_fn(|context| {
                let _ = asked.as_mut().poll(context);
                Poll::Ready(())
            })
            .await;
        });
    }

    fn retract(
        &self,
        engine: &Engine,
        selector: Selector,
        disposal: Disposal,
    ) -> Result<Certificate, Error> {
        let model = engine.model("m").unwrap();
        let (actor, note) = Default::default();
        let request = RetractionRequest {
            selector,
            actor,
            note,
            disposal,
        };
        self.runtime.block_on(model.retract(request))
    }

    /// Serves rows and sends their feedback; sometimes nothing is synced before all of it is sent.
    fn teach(&mut self, model: &ServedModel) {
        let ahead = JUMPS.choose(&mut self.rng).expect("there are five");
        self.ahead.store(*ahead, Relaxed);
        self.syncs.hold(self.rng.random_bool(0.3));
        let receipts: Vec<Receipt> = (0..N_ROWS).map(|_| self.submit(model)).collect();
        self.syncs.hold(false);
        for receipt in receipts {
            let accepted = self.runtime.block_on(receipt.wait());
            assert!(matches!(accepted, Ok(Acknowledgement::Accepted { .. })));
        }
    }

    fn submit(&mut self, model: &ServedModel) -> Receipt {
        let passed = self.rng.random_range(0..12) * SECOND;
        self.now.fetch_add(passed, Relaxed);
        let skip = self.rng.random_range(0..500);
        let (batch, truth) = rows(500, 0.3).nth(skip).expect("rows go on");
        let snapshot = model.snapshot("").unwrap();
        let answer = wait(model.predict(&snapshot, batch, PredictOptions::default())).unwrap();
        self.n_submitted += 1;
        let source = SOURCES.choose(&mut self.rng).expect("there are three");
        let feedback = label(
            answer.ids[0],
            &format!("served-{}", self.n_submitted),
            truth,
        );
        let signal = match answer.outputs {
            Outputs::Values(_) => Signal::Value(self.rng.random_range(0..3).into()),
            Outputs::Actions { .. } => Signal::Reward(self.rng.random_range(0..3).into()),
            _ => feedback.signal.clone(),
        };
        let feedback = Feedback {
            source: (*source).to_owned(),
            signal,
            ..feedback
        };
        model.accept(feedback).expect("there is room")
    }
}
