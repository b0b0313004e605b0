//! The one fixture: models and data in a temporary folder, an engine on them, and streams.

#![allow(dead_code)]

pub(crate) mod bert;
pub(crate) mod cases;
pub(crate) mod crash;
pub(crate) mod disk;
pub(crate) mod histories;
pub(crate) mod layout;
mod lookup;
pub(crate) mod mutations;
pub(crate) mod onnx;
pub(crate) mod passed_over;
pub(crate) mod served;
pub(crate) mod server;
pub(crate) mod special;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::Thread;

use bytes::Bytes;
use perennial::engine::{Acknowledgement, Config, Engine, NewVersion, PredictOptions, ServedModel};
use perennial::event::{
    Batch, Column, Command, Description, Entry, Event, Feedback, Order, Outputs, Prediction,
    PredictionId, Signal, Subject, Time, Version,
};
use perennial::learn::{Comparison, Error, Exclusion, Learner, Step};
use perennial::model::{Choice, REVISION, Spec, weights::Tensors};
use perennial::proto::inference::ModelInferRequest;
use perennial::proto::inference::model_infer_request::InferInputTensor;
use perennial::store::Disk;

use lookup::JournalLookup;

/// Two classes from two numbers and a category.
pub(crate) const AUTO: &str = "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
    [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"y\"\nkind = \"number\"\n\
    [[input]]\nname = \"c\"\nkind = \"category\"\n";

/// Two classes, learned by a small network with replay.
pub(crate) fn gradient(optimizer: &str, hidden: &str, strategy: &str) -> String {
    let network = match hidden {
        "" => "kind = \"linear\"".to_owned(),
        hidden => format!("kind = \"mlp\"\nhidden = [{hidden}]"),
    };
    format!(
        "{AUTO}[network]\n{network}\n[learner]\nkind = \"gradient\"\noptimizer = \"{optimizer}\"\n\
         [memory]\nstrategy = \"{strategy}\"\nlong_term = 64\nreplay = 4\n"
    )
}

/// A folder of models and a data directory that go with the test.
pub(crate) struct Workspace {
    folder: tempfile::TempDir,
}

impl Workspace {
    pub(crate) fn new(models: &[(&str, &str)]) -> Workspace {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let workspace = Workspace { folder };
        for (name, toml) in models {
            workspace.describe(name, toml);
        }
        workspace
    }

    pub(crate) fn describe(&self, name: &str, toml: &str) {
        let model = self.models().join(name);
        std::fs::create_dir_all(&model).expect("a model folder");
        std::fs::write(model.join("model.toml"), toml).expect("a description");
    }

    pub(crate) fn models(&self) -> PathBuf {
        self.folder.path().join("models")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn open(&self) -> Arc<Engine> {
        Engine::open(self.config()).expect("the engine opens")
    }

    /// On a disk that the test watches.
    pub(crate) fn open_on(&self, disk: Disk) -> Arc<Engine> {
        let config = Config {
            disk,
            ..self.config()
        };
        Engine::open(config).expect("the engine opens")
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            models: self.models(),
            data: self.data(),
            learner_threads: 1,
            ..Default::default()
        }
    }
}

/// A seeded stream of rows with their true class: the border turns with `turn`.
pub(crate) fn rows(n_rows: usize, turn: f64) -> impl Iterator<Item = (Batch, &'static str)> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..n_rows).map(move |_| {
        let (x, y) = (uniform() * 2.0 - 1.0, uniform() * 2.0 - 1.0);
        let c = ["red", "green", "blue"][(uniform() * 3.0) as usize];
        let truth = x * turn.cos() + y * turn.sin() > 0.0;
        let columns = vec![
            Column::Numbers(vec![x]),
            Column::Numbers(vec![y]),
            Column::Strings(vec![c.to_owned()]),
        ];
        (Batch { n_rows: 1, columns }, if truth { "a" } else { "b" })
    })
}

pub(crate) fn label(id: PredictionId, feedback_id: &str, label: &str) -> Feedback {
    Feedback {
        feedback_id: feedback_id.to_owned(),
        subject: Subject::Prediction(id),
        signal: Signal::Label(label.to_owned()),
        source: "test".to_owned(),
        event_time: None,
        tags: Default::default(),
        actor: String::new(),
        weight: 1.0,
        comment: String::new(),
        may_correct: false,
    }
}

/// Predicts a row, feeds back its label, and waits until it is learned.
pub(crate) async fn teach(
    model: &ServedModel,
    batch: Batch,
    truth: &str,
    feedback_id: &str,
) -> Outputs {
    let snapshot = model.snapshot("").expect("it serves");
    let answer = model
        .predict(&snapshot, batch, PredictOptions::default())
        .await
        .unwrap();
    let receipt = model.accept(label(answer.ids[0], feedback_id, truth));
    match receipt.expect("there is room").wait().await.expect("acked") {
        Acknowledgement::Accepted { position } => {
            model.wait_for_position(position).await.expect("learned");
        }
        other => panic!("{feedback_id} came before: {other:?}"),
    }
    answer.outputs
}

/// Teaches `n_rows` rows.
pub(crate) async fn teach_rows(model: &ServedModel, n_rows: usize, turn: f64, prefix: &str) {
    for (index, (batch, truth)) in rows(n_rows, turn).enumerate() {
        teach(model, batch, truth, &format!("{prefix}-{index}")).await;
    }
}

pub(crate) async fn order(model: &ServedModel, order: Order) -> NewVersion {
    let command = Command {
        order,
        actor: String::new(),
        note: "a test asks".to_owned(),
    };
    model.command(command).await.expect("it is carried out")
}

/// Blocks this thread on a future.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Sleeper(Thread);
    impl Wake for Sleeper {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Sleeper(std::thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// The model's answers to the same fifty rows, now.
pub(crate) fn answers(model: &ServedModel) -> Vec<Outputs> {
    let snapshot = model.snapshot("").expect("it serves");
    let options = PredictOptions {
        journal: false,
        explore: false,
        ..PredictOptions::default()
    };
    let ask = |(batch, _)| {
        let answer = wait(model.predict(&snapshot, batch, options));
        answer.unwrap().outputs
    };
    rows(50, 0.0).map(ask).collect()
}

pub(crate) fn digest(model: &ServedModel) -> blake3::Hash {
    model.status(true).digest.expect("it was asked for")
}

/// A learner that is fed in memory, with the journal it was fed and the versions it made.
#[derive(Clone)]
pub(crate) struct LearnerHarness {
    pub learner: Learner,
    pub journal: Vec<Entry>,
    versions: BTreeMap<u64, (Tensors, Tensors)>,
    exclusions: Vec<Exclusion>,
    /// Orders that the recorded history refused.
    refused: BTreeSet<u64>,
    /// The versions of another history beside the versions of this one.
    comparison: Comparison,
}

impl LearnerHarness {
    /// The state of this journal without some of its feedback, where these orders were refused.
    pub(crate) fn derive(
        journal: &[Entry],
        exclusions: Vec<Exclusion>,
        refused: BTreeSet<u64>,
    ) -> LearnerHarness {
        LearnerHarness::compare(journal, exclusions, refused, None)
    }

    /// The derived history, whose versions from a position on are compared with those of the journal.
    fn compare(
        journal: &[Entry],
        exclusions: Vec<Exclusion>,
        refused: BTreeSet<u64>,
        from: Option<u64>,
    ) -> LearnerHarness {
        let mut harness = LearnerHarness::before(journal);
        harness.learner = harness.learner.rederive(exclusions.clone());
        harness.exclusions = exclusions;
        harness.refused = refused;
        from.iter()
            .for_each(|first| harness.comparison.begin(*first));
        let mut made: BTreeMap<u64, Vec<&Version>> = BTreeMap::new();
        for entry in journal {
            if let Event::Version(version) = &entry.event {
                made.entry(version.position).or_default().push(version);
            }
        }
        for entry in journal {
            let position = entry.position;
            harness.apply(entry.clone());
            // The candidate's comes first, and those of the sides that a retraction froze behind it.
            let versions = made.get(&position).into_iter().flatten().enumerate();
            for (place, version) in versions {
                let side = harness.learner.side(version.reason).filter(|_| place > 0);
                let state = side.as_ref().unwrap_or(&harness.learner);
                let saved = (state.learned().weights(), state.state());
                harness.versions.insert(version.version, saved);
            }
        }
        harness
    }

    /// The state of a learner that applied the entries of this journal from a position on alone.
    fn begin_anew(
        journal: &[Entry],
        (from, description): (u64, &Description),
        exclusions: Vec<Exclusion>,
        refused: BTreeSet<u64>,
    ) -> LearnerHarness {
        let mut harness = LearnerHarness::empty(&description.toml);
        let learner = harness.learner.rederive(exclusions.clone());
        harness.learner = learner.begin_behind(from - 1, description.clone());
        (harness.exclusions, harness.refused) = (exclusions, refused);
        let (before, behind) = journal.split_at(from as usize - 1);
        harness.journal.extend_from_slice(before);
        behind
            .iter()
            .for_each(|entry| drop(harness.apply(entry.clone())));
        harness
    }

    /// Nothing has come yet, not even the description, which is as a journal holds it.
    pub(crate) fn empty(toml: &str) -> LearnerHarness {
        let spec = Spec::journaled(toml).expect("a description");
        LearnerHarness {
            learner: Learner::new(Arc::new(spec)),
            journal: Vec::new(),
            versions: BTreeMap::new(),
            exclusions: Vec::new(),
            refused: BTreeSet::new(),
            comparison: Comparison::default(),
        }
    }

    /// A learner before the first entry of a journal, which is its description.
    pub(crate) fn before(journal: &[Entry]) -> LearnerHarness {
        match journal.first().map(|entry| &entry.event) {
            Some(Event::Description(first)) => LearnerHarness::empty(&first.toml),
            other => panic!("a journal starts with a description, not {other:?}"),
        }
    }

    /// Its first entry is the description, under the newest revision of the learning rules.
    pub(crate) fn new(toml: &str) -> LearnerHarness {
        LearnerHarness::journaled(&Spec::pin(toml, &[], REVISION))
    }

    /// Its first entry is the description, as a journal holds it.
    pub(crate) fn journaled(toml: &str) -> LearnerHarness {
        let mut harness = LearnerHarness::empty(toml);
        harness.append(Event::Description(Description {
            toml: toml.to_owned(),
            build: "a build".to_owned(),
            profile: "a profile".to_owned(),
        }));
        harness
    }

    /// Writes a cause down, one second after the one before, and the records that follow.
    pub(crate) fn append(&mut self, event: Event) -> Step {
        let step = self.apply(self.next(event));
        // Time goes on with a record, too, and may make the next version due.
        while let Some(record) = self.learner.unrecorded().into_iter().next() {
            self.apply(self.next(record));
        }
        step
    }

    /// Appends an event at a moment of its own.
    pub(crate) fn append_at(&mut self, time: Time, event: Event) -> Step {
        let at = |harness: &LearnerHarness, event| Entry {
            time,
            ..harness.next(event)
        };
        let step = self.apply(at(self, event));
        for record in self.learner.unrecorded() {
            self.apply(at(self, record));
        }
        step
    }

    pub(crate) fn next(&self, event: Event) -> Entry {
        let last = self.journal.last().map_or(0, |entry| entry.time.0);
        let time = match event {
            Event::Tick(time) => Time(time.0.max(last)),
            _ => Time(last + 1_000_000),
        };
        Entry {
            position: self.learner.position() + 1,
            time,
            event,
        }
    }

    /// Applies the next entry, with its lookups.
    pub(crate) fn apply(&mut self, entry: Entry) -> Step {
        self.try_apply(entry).expect("an entry of this state")
    }

    pub(crate) fn try_apply(&mut self, entry: Entry) -> Result<Step, Error> {
        let mut lookup = JournalLookup {
            journal: &self.journal,
            versions: &self.versions,
            exclusions: &self.exclusions,
            refused: &self.refused,
        };
        let step = self.learner.apply(&entry, &mut lookup)?;
        if let Some(version) = &step.version {
            let saved = (self.learner.learned().weights(), self.learner.state());
            self.versions.insert(version.version, saved);
        }
        for version in &step.frozen {
            let frozen = self.learner.frozen_part(version.version);
            let (frozen, _) = frozen.expect("it was made of a side");
            let saved = (frozen.learned().weights(), frozen.state());
            self.versions.insert(version.version, saved);
        }
        self.comparison.observe(&entry, &self.learner);
        self.journal.push(entry);
        Ok(step)
    }

    /// The digest of the learned state at a version, where the state is still there.
    pub(crate) fn digest_of(&self, version: u64) -> Option<blake3::Hash> {
        let (weights, state) = self.versions.get(&version)?.clone();
        let learner = Learner::load(weights, state).expect("what was saved");
        Some(learner.learned().digest())
    }

    /// Goes on from the saved state.
    pub(crate) fn reload(&mut self) {
        let (weights, state) = (self.learner.learned().weights(), self.learner.state());
        self.learner = Learner::load(weights, state).expect("what was saved");
    }

    /// Answers rows, which then wait for feedback.
    pub(crate) fn predict(&mut self, batch: Batch) -> Prediction {
        let position = self.learner.position();
        let first = u128::from(position) << 16;
        let ids: Vec<_> = (0..batch.n_rows as u128)
            .map(|row| PredictionId(first + row))
            .collect();
        let model = self.learner.served();
        let outputs = model.predict(&batch, Choice::Drawn(&ids)).unwrap();
        let prediction = Prediction {
            labels: model.labels(&outputs),
            outputs,
            ids,
            version: self.learner.served_version(),
            position,
            batch,
        };
        self.append(Event::Prediction(prediction.clone()));
        prediction
    }

    /// Says something of a prediction, under an id of its own.
    pub(crate) fn submit(&mut self, id: PredictionId, signal: Signal) -> Step {
        let feedback_id = format!("feedback-{}", self.learner.position());
        let feedback = Feedback {
            signal,
            ..label(id, &feedback_id, "")
        };
        self.append(Event::Feedback(feedback))
    }
}

/// Rows of the fixture's x, y and c as a request.
pub(crate) fn question(model: &str, batch: &Batch) -> ModelInferRequest {
    let tensor = |(name, column): (&str, &Column)| {
        let (datatype, raw) = match column {
            Column::Numbers(values) => ("FP64", numbers(values)),
            Column::Strings(texts) => {
                ("BYTES", texts.iter().flat_map(|text| bytes(text)).collect())
            }
            other => panic!("the fixture has no {other:?}"),
        };
        let tensor = InferInputTensor {
            name: name.to_owned(),
            datatype: datatype.to_owned(),
            shape: vec![batch.n_rows as i64],
            ..Default::default()
        };
        (tensor, raw)
    };
    let (inputs, raw) = ["x", "y", "c"]
        .into_iter()
        .zip(&batch.columns)
        .map(tensor)
        .unzip();
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs,
        raw_input_contents: raw,
        ..Default::default()
    }
}

pub(crate) fn numbers(values: &[f64]) -> Bytes {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u32).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// Copies a folder and all in it.
pub(crate) fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("its type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("a copy");
        }
    }
}

/// A disk that makes every change and only pretends to sync: where no power is cut.
pub(crate) fn syncing_nothing() -> Disk {
    use perennial::store::disk::{ChangeOutcome, DiskChange};
    Disk::watched(|change| {
        Ok(match change {
            DiskChange::Sync(_) | DiskChange::SyncFolder(_) => ChangeOutcome::Pretend,
            _ => ChangeOutcome::Make,
        })
    })
}

/// Writes these bytes over those of a file that is there, which is faster than to empty it first.
pub(crate) fn overwrite(path: &std::path::Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    let file = file.expect("a file");
    file.write_all_at(bytes, 0).expect("room");
    file.set_len(bytes.len() as u64).expect("room");
}
