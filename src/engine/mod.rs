//! The running system: threads, clocks, queues and disks around the pure learner.
//!
//! Promise: predictions never wait for learning, saving or restoring; feedback is acknowledged
//! only once it is on disk; everything has a bound.
//!
//! In reading order: [`Engine`] (every model), [`ServedModel`] (one model), then `flows`, one file a
//! flow (predict, feedback, command, gate, limits, retract, quarantine, retrain, erase, audit, fate, recover), and
//! `host`, with the journal's only writer (`writer`) and the learner (`learning`: apply and publish). [`Offline`] reads the
//! data of a server that has stopped.
//!
//! ```
//! use perennial::engine::{Acknowledgement, Config, Engine, PredictOptions};
//! use perennial::event::{Batch, Column, Feedback, Signal, Subject};
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let toml = "task = 'regression'\n[[input]]\nname = 'x'\nkind = 'number'";
//! std::fs::create_dir_all(folder.join("models/m"))?;
//! std::fs::write(folder.join("models/m/model.toml"), toml)?;
//! let (models, data) = (folder.join("models"), folder.join("data"));
//! let engine = Engine::open(Config { models, data, ..Config::default() })?;
//!
//! let model = engine.model("m")?;
//! let row = Batch { n_rows: 1, columns: vec![Column::Numbers(vec![2.0])] };
//! let runtime = tokio::runtime::Runtime::new()?;
//! let snapshot = model.snapshot("")?;
//! let answer = runtime.block_on(model.predict(&snapshot, row, PredictOptions::default()))?;
//! let receipt = model.accept(Feedback {
//!     feedback_id: "1".to_owned(),
//!     subject: Subject::Prediction(answer.ids[0]),
//!     signal: Signal::Value(5.0),
//!     source: String::new(),
//!     event_time: None,
//!     tags: Default::default(),
//!     actor: String::new(),
//!     weight: 1.0,
//!     comment: String::new(),
//!     may_correct: false,
//! })?;
//! let accepted = runtime.block_on(receipt.wait())?;
//! assert!(matches!(accepted, Acknowledgement::Accepted { .. }), "it is on disk");
//! engine.close();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod compute;
mod error;
mod flows;
mod history;
mod host;
mod offline;
mod versions;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded};
use tokio::sync::watch;

pub use crate::event::Disposal;
use crate::event::PredictionId;
pub use crate::learn::{
    ChampionChange, ChampionScore, ConfusionCount, Evidence, Fate, Figure, Incident, IncidentState,
    MovedAlias, PairedEvidence, Suspect, TrialOutcome, Veto,
};
pub(crate) use crate::store::regular::open_for_appending;
pub use crate::store::{Delivery, Manifest};
use crate::store::{DeliveryQueue, Directory, Disk};
pub use compute::clock::{Clock, ClockReading, WallClock};
pub use compute::described::{LoadedDescription, describe, tensor_matches};
use compute::embed::{Embedder, Embedders};
pub use compute::encoder_folder::check_kept_encoders;
pub use compute::histogram::HistogramCounts;
pub use compute::serving::Snapshot;
pub use compute::stages::{Stage, Stages};
use compute::threads::spawn;
pub use error::{Error, Remedy};
pub use flows::audit::{Audit, DerivationFailure, PredictionFeedback, Without};
pub use flows::command::NewVersion;
pub use flows::fate::FeedbackFate;
pub use flows::feedback::Receipt;
pub use flows::gate::FROZEN_ALREADY;
pub use flows::limits::Limits;
pub use flows::predict::{Answer, PredictOptions};
pub use flows::quarantine::QuarantinedFeedback;
use flows::recover::{Clocks, RecoveredData, RecoveryRequest};
pub use flows::retract::{Certificate, RetractionPlan, RetractionRequest};
pub use flows::retrain::{RetrainReport, RetrainingRequest};
pub use history::logged::{LoggedDecision, LoggedDecisions};
pub use history::translation::Divergence;
pub use history::truths::ROWS_MAX as COMPARED_ROWS_MAX;
pub use host::bounds::{Bound, Level};
use host::deliveries::EventIntake;
pub use host::deliveries::{AttemptOutcome, Deliveries, DeliveryCounts};
use host::event_publisher::EventPublisher;
pub(crate) use host::event_publisher::WATCH_EVENTS_MAX;
pub use host::event_publisher::{PublishedCounts, Subscription, WatchError};
use host::follower::UnsentEvents;
pub use host::learning_event::{LearningEvent, LearningEventKind};
pub(crate) use host::new_labels::check_place;
pub use host::phases::Phase;
use host::runtime::{LearnerTask, ModelRuntime, Queues, RecoveredModel};
pub use host::served_model::ServedModel;
pub use host::status::{GateStatus, MemberStatus, Readiness, SourceBudget, Status};
pub use host::work::Acknowledgement;
use host::work::Work;
use host::write_queue::WriteQueue;
use host::writer::JournalWriter;
pub use offline::compared::{CompareSettings, ComparisonReport, ExcludedRows, RowTruth};
pub use offline::difference::{
    Difference, DifferentRow, Disagreement, EntriesBetween, OrderBetween, TensorChange,
};
pub use offline::replay::{Replay, ReplayReport};
pub use offline::side_by_side::{GivenRow, SideBySide};
pub use offline::sides::Side;
pub use offline::stopped::Offline;

/// The folders of models and their data, and the number of learner threads.
#[derive(Clone, Debug)]
pub struct Config {
    /// A folder with one folder a model, each with its model.toml.
    pub models: PathBuf,
    /// The data directory; it is made where it is missing.
    pub data: PathBuf,
    /// 0 takes one thread a core, less one, and at least one.
    pub learner_threads: usize,
    /// Learning events that may wait for a webhook, in a file of the data directory; none where there is no
    /// webhook.
    pub webhook_queue_max: Option<usize>,
    /// The disk that the data directory lies on.
    #[doc(hidden)]
    pub disk: Disk,
    /// The trust in a wall clock that is far ahead of a journal's last entry.
    pub wall_clock: WallClock,
    /// The clocks of the machine.
    #[doc(hidden)]
    pub clock: Clock,
    /// The watcher of orders, in tests.
    #[doc(hidden)]
    pub stages: Stages,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            models: "models".into(),
            data: "data".into(),
            learner_threads: 0,
            webhook_queue_max: None,
            disk: Disk::default(),
            wall_clock: WallClock::default(),
            clock: Clock::default(),
            stages: Stages::default(),
        }
    }
}

/// The number of learner threads where so many are asked for.
fn n_threads(asked: usize) -> usize {
    match asked {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get().max(2) - 1),
        asked => asked,
    }
}

/// Every model, served and learning.
pub struct Engine {
    models: BTreeMap<String, Arc<ServedModel>>,
    threads: Mutex<Option<Threads>>,
    feedback_stopped: watch::Receiver<bool>,
    events: Arc<EventPublisher>,
    deliveries: Option<Arc<Deliveries>>,
    _directory: Directory,
}

struct Threads {
    write_queue: WriteQueue,
    jobs: Sender<LearnerTask>,
    lagging_jobs: Sender<LearnerTask>,
    writer: JoinHandle<()>,
    learners: Vec<JoinHandle<()>>,
    /// The threads that learn models far behind, as many as `learners`.
    lagging_learners: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Beside the writer, so many learner threads of either kind.
    fn start(
        queues: Queues,
        writer: JoinHandle<()>,
        (due, lagging): (&Receiver<LearnerTask>, &Receiver<LearnerTask>),
        n_threads: usize,
    ) -> Threads {
        Threads {
            write_queue: queues.write_queue,
            jobs: queues.jobs,
            lagging_jobs: queues.lagging_jobs,
            writer,
            learners: (0..n_threads).map(|_| spawn_learner(due)).collect(),
            lagging_learners: (0..n_threads).map(|_| spawn_lagging(lagging)).collect(),
        }
    }
}

impl Engine {
    /// Recovers every model of the folder and starts the threads. A model that cannot be served
    /// stays, unavailable, with its reason.
    ///
    /// # Errors
    /// When the models cannot be listed, or the data directory is locked or cannot be made.
    pub fn open(config: Config) -> Result<Arc<Engine>, Error> {
        let directory = Directory::open_on(&config.data, config.disk)?;
        let clocks = Clocks {
            clock: &config.clock,
            wall_clock: config.wall_clock,
        };
        let names = flows::recover::names(&directory, &config.models)?;
        let (write_queue, write_receiver) = host::write_queue::queue();
        // A model is in this queue at most once.
        let (jobs, due) = bounded(names.len().max(1) + 1024);
        let (lagging_jobs, lagging) = bounded(names.len().max(1) + 1024);
        let (stopped, feedback_stopped) = watch::channel(false);
        let deliveries = deliveries(&directory, config.webhook_queue_max)?;
        let intake = deliveries.as_ref().map(EventIntake::start);
        let events = Arc::new(EventPublisher::new(intake));
        let queues = Queues {
            write_queue,
            jobs,
            lagging_jobs,
            feedback_stopped: stopped,
            events: events.clone(),
        };
        let mut models = BTreeMap::new();
        let mut embedders = Embedders::default();
        let mut written = Vec::new();
        for name in names {
            let reached = deliveries.as_ref().and_then(|one| one.reached(&name));
            let model = RecoveryRequest::new(&name, reached);
            let opened =
                flows::recover::open(&directory, &config.models, model, clocks, &mut embedders);
            let served_model = match opened {
                Ok((mut opened, embedders)) => {
                    opened.follower.stages.clone_from(&config.stages);
                    let index = written.len();
                    let (runtime, journal) = serve(&name, index, opened, embedders, &queues);
                    written.push(journal);
                    ServedModel::available(&name, runtime)
                }
                Err(error) => {
                    tracing::error!(model = name, reason = %error, "model is unavailable");
                    ServedModel::unavailable(&name, error.to_string())
                }
            };
            models.insert(name, Arc::new(served_model));
        }
        let writer = spawn("writer", move || {
            host::writer::run(&write_receiver, written);
        });
        let n_threads = n_threads(config.learner_threads).min(models.len().max(1));
        let threads = Threads::start(queues, writer, (&due, &lagging), n_threads);
        Ok(Arc::new(Engine {
            threads: Mutex::new(Some(threads)),
            models,
            feedback_stopped,
            events,
            deliveries,
            _directory: directory,
        }))
    }

    /// Every model, in the order of their names.
    pub fn models(&self) -> impl Iterator<Item = &Arc<ServedModel>> {
        self.models.values()
    }

    /// True once feedback has stopped for a model for good, since its journal or its learning has
    /// failed; its predictions go on.
    pub(crate) fn feedback_stopped(&self) -> watch::Receiver<bool> {
        self.feedback_stopped.clone()
    }

    /// Watches the learning events of a model, or of every model for an empty name, from now on. With a
    /// position, those of it and later that are still kept come first.
    ///
    /// # Errors
    /// [`WatchError`]: too many watch, or events of that position are no longer kept.
    pub fn watch(
        &self,
        model: &str,
        from_position: Option<u64>,
    ) -> Result<Subscription, WatchError> {
        self.events.watch(model, from_position)
    }

    /// The newest learning events of a model since the start, at most so many, the oldest of them first.
    pub fn newest_events(&self, model: &str, n_max: usize) -> Vec<Arc<LearningEvent>> {
        self.events.newest(model, n_max)
    }

    /// Learning events since the start, and who watches them.
    pub fn published(&self) -> PublishedCounts {
        self.events.counts()
    }

    /// The deliveries to a webhook; none where [`Config::webhook_queue_max`] is none.
    pub fn deliveries(&self) -> Option<&Arc<Deliveries>> {
        self.deliveries.as_ref()
    }

    /// The model of this name.
    ///
    /// # Errors
    /// [`Error::UnknownModel`].
    pub fn model(&self, name: &str) -> Result<&Arc<ServedModel>, Error> {
        let model = self.models.get(name);
        model.ok_or_else(|| Error::UnknownModel(name.to_owned()))
    }

    /// Answers a prediction again, whichever model it was of; none where no journal holds it.
    ///
    /// # Errors
    /// No journal that can be read holds it, and of one that cannot be: [`Error::Store`], or
    /// [`Error::Unavailable`].
    pub fn audit(&self, id: PredictionId, without: Option<&str>) -> Result<Option<Audit>, Error> {
        if let Some(runtime) = self.models().find_map(|model| model.get().ok()) {
            // An answer of a moment ago is found as well.
            runtime.write_queue().flush();
        }
        flows::audit::first(self.models().map(|model| {
            let runtime = model.get()?;
            let last = runtime.progress().synced();
            flows::audit::audit(runtime.versions(), last, id, without)
        }))
    }

    /// Stops accepting, learns the journaled feedback, writes a checkpoint of each model and closes
    /// the journals. Blocks; the second call does nothing.
    pub fn close(&self) {
        let threads = self.threads.lock().expect("closing does not panic").take();
        let Some(threads) = threads else { return };
        let runtime: Vec<_> = self.models().filter_map(|model| model.get().ok()).collect();
        runtime.iter().for_each(|model| model.stop_accepting());
        for _ in &threads.learners {
            // The queue has room: each model is in it once, and each thread takes one of these.
            let _ = threads.jobs.send(LearnerTask::Stop);
        }
        for _ in &threads.lagging_learners {
            let _ = threads.lagging_jobs.send(LearnerTask::Stop);
        }
        for learner in threads.learners.into_iter().chain(threads.lagging_learners) {
            let _ = learner.join();
        }
        drain(&threads.write_queue, &runtime);
        // A journaled retraction ends with its erasure.
        runtime.iter().for_each(|model| model.retractions().join());
        runtime.iter().for_each(|model| model.retraining().join());
        drain(&threads.write_queue, &runtime);
        runtime.iter().for_each(|model| model.save_at_stop());
        let _ = threads.write_queue.insist(Work::Close);
        let _ = threads.writer.join();
        self.events.close();
    }
}

/// Splits a recovered model into its runtime and the part of the writer.
fn serve(
    name: &str,
    index: usize,
    mut opened: RecoveredData,
    embedders: Vec<Option<Embedder>>,
    queues: &Queues,
) -> (Arc<ModelRuntime>, JournalWriter) {
    let unsent = opened.follower.unsent.take();
    let recovered = RecoveredModel {
        follower: opened.follower,
        embedders,
        clock: opened.clock,
        retracted: opened.retracted,
    };
    let position = recovered.follower.learner.position();
    let unsent = unsent.map_or(Vec::new(), UnsentEvents::events);
    queues.events.begin(name, position, unsent);
    let runtime = Arc::new(ModelRuntime::new(name, index, recovered, queues));
    runtime.note_journal(&opened.journal);
    let written = JournalWriter::new(opened.journal, opened.ids, runtime.clone());
    (runtime, written)
}

/// The deliveries to a webhook, if there is one, with those that were left when the last server ended.
fn deliveries(
    directory: &Directory,
    queue_max: Option<usize>,
) -> Result<Option<Arc<Deliveries>>, Error> {
    let Some(queue_max) = queue_max else {
        return Ok(None);
    };
    let (queue, n_damaged) = DeliveryQueue::open(directory)?;
    if n_damaged > 0 {
        let path = directory.delivery_queue();
        tracing::warn!(path = %path.display(), n_damaged, "damaged lines were passed over");
    }
    if !queue.is_empty() {
        let queued = queue.len();
        tracing::info!(queued, "learning events wait for the webhook since before");
    }
    Ok(Some(Arc::new(Deliveries::new(queue, queue_max))))
}

/// Learns all that is journaled, and journals the records that follow.
fn drain(write_queue: &WriteQueue, runtime: &[&Arc<ModelRuntime>]) {
    // Learning can make versions, whose records are journaled in turn.
    while write_queue.flush() && !runtime.iter().all(|model| model.catch_up()) {}
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

fn spawn_learner(due: &Receiver<LearnerTask>) -> JoinHandle<()> {
    let due = due.clone();
    spawn("learner", move || host::learning::run(&due))
}

fn spawn_lagging(due: &Receiver<LearnerTask>) -> JoinHandle<()> {
    let due = due.clone();
    spawn("lagging learner", move || {
        host::learning::run_lagging(&due);
    })
}
