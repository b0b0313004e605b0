//! The scenario of a model whose disk is watched, so that every kind of change is among it:
//! predictions, feedback, versions, a restore, a retraction, segments that go, and an erasure.
//!
//! Invariant: the expected state afterwards is computed from the acknowledged events and from every
//! byte that was ever appended, by a learner that has never seen the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use perennial::engine::{
    Acknowledgement, Certificate, Disposal, Engine, Error, PredictOptions, Readiness,
    RetractionRequest, ServedModel,
};
use perennial::event::{
    Batch, Column, Command, Entry, Event, Feedback, Order, Outputs, PredictionId, Selector,
};
use perennial::learn::Fate;
use perennial::model::Choice;
use perennial::store::{Disk, Reader, verify};

use super::clocked::{Clocked, SHORT, feed, predict};
use crate::support::disk::{Fault, Recording};
use crate::support::{LearnerHarness, label, rows, wait};

/// So large that three rows fill a segment.
const LARGE: usize = 400_000;

/// A request that was acknowledged, and the number of changes asked for by then.
pub(super) struct Acknowledged {
    changes: usize,
    what: AcknowledgedEvent,
}

#[derive(Debug)]
enum AcknowledgedEvent {
    Feedback { event: Box<Feedback>, position: u64 },
    Version(u64),
    Erased(Box<Certificate>),
}

/// The answers to a few rows, by the state at a position.
struct Answered {
    changes: usize,
    position: u64,
    outputs: Vec<Outputs>,
}

/// One model's life, and its outcome.
pub(super) struct Scenario {
    pub clocked: Clocked,
    pub recording: Recording,
    disk: Disk,
    pub acknowledged: Vec<Acknowledged>,
    answered: Vec<Answered>,
    n_rows: usize,
    /// Whether the journal that is open has failed, and whether any ever did.
    failed: bool,
    pub ever_failed: bool,
    /// The requests acknowledged although the journal had failed.
    pub after_failure: Vec<String>,
    /// Every entry as it was appended.
    appended: BTreeMap<u64, Entry>,
}

/// Lives, on a disk with a fault or on a sound one.
pub(super) async fn run(fault: Option<Fault>) -> Scenario {
    let clocked = Clocked::new(SHORT);
    let root = clocked.workspace.data().parent().unwrap().to_owned();
    let (recording, disk) = Recording::failing(&root, fault);
    let mut scenario = Scenario {
        clocked,
        recording,
        disk,
        acknowledged: Vec::new(),
        answered: Vec::new(),
        n_rows: 0,
        failed: false,
        ever_failed: false,
        after_failure: Vec::new(),
        appended: BTreeMap::new(),
    };
    scenario.first().await;
    scenario.clocked.pass(20);
    scenario.second().await;
    scenario.appended = appended(&scenario.recording);
    scenario
}

/// A sound life in which something of this did not happen would show less.
pub(super) fn shown(scenario: &Scenario) {
    assert!(!scenario.ever_failed);
    // Eighteen rows, five versions and an erasure.
    assert_eq!(scenario.acknowledged.len(), 18 + 5 + 1);
    let erased = scenario.acknowledged.iter().map(|one| match &one.what {
        AcknowledgedEvent::Erased(certificate) => certificate.erased,
        _ => 0,
    });
    assert_eq!(erased.sum::<u64>(), 4);
    assert!(scenario.clocked.first_position() > 1, "segments went");
}

/// The entries of every segment that there ever was.
fn appended(recording: &Recording) -> BTreeMap<u64, Entry> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in recording.segments() {
        if bytes.len() > 80 {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
    }
    let mut entries = BTreeMap::new();
    let Ok(mut reader) = Reader::open(folder.path(), 1, u64::MAX) else {
        return entries;
    };
    // Where it ends in half a group, nothing behind that is asked for.
    while let Ok(Some(entry)) = reader.next(u64::MAX) {
        entries.insert(entry.position, entry);
    }
    entries
}

impl Scenario {
    /// Fills two segments, and long after that learns, goes back, and takes back.
    async fn first(&mut self) {
        let Some(engine) = self.open() else { return };
        let model = engine.model("m").unwrap();
        for _ in 0..5 {
            self.row(model, LARGE, "old").await;
        }
        self.clocked.pass(120);
        self.teach(model, &["people", "people"]).await;
        self.order(model, Order::Checkpoint).await;
        self.teach(model, &["batch", "people", "clicks"]).await;
        self.order(model, Order::Restore { version: 2 }).await;
        self.teach(model, &["batch", "people"]).await;
        self.retract(model, "batch", Disposal::Keep).await;
        self.teach(model, &["clicks", "people"]).await;
        engine.close();
    }

    /// The first segments go, and the payloads of one source are overwritten.
    async fn second(&mut self) {
        let Some(engine) = self.open() else { return };
        let model = engine.model("m").unwrap();
        self.teach(model, &["people", "clicks"]).await;
        self.order(model, Order::Checkpoint).await;
        self.teach(model, &["clicks"]).await;
        self.retract(model, "clicks", Disposal::Erase).await;
        self.teach(model, &["people"]).await;
        engine.close();
    }

    /// Where the disk refuses this, the sentence says so.
    fn open(&mut self) -> Option<Arc<Engine>> {
        self.failed = false;
        let config = self
            .clocked
            .on(self.disk.clone(), self.clocked.workspace.data());
        let engine = match Engine::open(config) {
            Ok(engine) => engine,
            Err(error) => {
                assert!(error.to_string().contains("cannot "), "{error}");
                return None;
            }
        };
        match engine.model("m").unwrap().snapshot("") {
            Ok(_) => Some(engine),
            Err(error) => {
                assert!(error.to_string().contains("cannot "), "{error}");
                None
            }
        }
    }

    async fn teach(&mut self, model: &ServedModel, sources: &[&str]) {
        for source in sources {
            self.row(model, 1, source).await;
        }
    }

    /// Predicts a row and feeds back its truth; predictions always go on.
    async fn row(&mut self, model: &ServedModel, n_bytes: usize, source: &str) {
        let (mut batch, truth) = rows(self.n_rows + 1, 0.3).nth(self.n_rows).unwrap();
        batch.columns[2] = Column::Strings(vec!["c".repeat(n_bytes)]);
        let feedback_id = format!("{source}-{}", self.n_rows);
        self.n_rows += 1;
        self.ask(model);
        let snapshot = model.snapshot("").unwrap();
        let answer = model
            .predict(&snapshot, batch, PredictOptions::default())
            .await
            .unwrap();
        let id = answer.ids.first().copied();
        // Without an id there is nothing to speak of, and nothing would be taken.
        let mut event = label(id.unwrap_or(PredictionId(1)), &feedback_id, truth);
        event.source = source.to_owned();
        let accepted = match model.accept(event.clone()) {
            Ok(receipt) => receipt.wait().await,
            Err(error) => Err(error),
        };
        match accepted {
            Ok(Acknowledgement::Accepted { position }) => {
                self.acknowledge(AcknowledgedEvent::Feedback {
                    event: Box::new(event),
                    position,
                });
                model.wait_for_position(position).await.unwrap();
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => self.fail(model, &error),
        }
        assert!(id.is_some() || self.failed, "only a failure takes the id");
        self.ask(model);
    }

    async fn order(&mut self, model: &ServedModel, order: Order) {
        let (actor, note) = Default::default();
        let command = Command { order, actor, note };
        match model.command(command).await {
            Ok(made) => self.acknowledge(AcknowledgedEvent::Version(made.version)),
            Err(error) => self.give_way(model, &error),
        }
        self.ask(model);
    }

    async fn retract(&mut self, model: &ServedModel, source: &str, disposal: Disposal) {
        let request = RetractionRequest {
            selector: Selector::Source(source.to_owned()),
            actor: String::new(),
            note: String::new(),
            disposal,
        };
        match model.retract(request).await {
            Ok(certificate) => {
                self.acknowledge(AcknowledgedEvent::Version(certificate.version));
                if disposal == Disposal::Erase {
                    self.acknowledge(AcknowledgedEvent::Erased(Box::new(certificate)));
                }
            }
            Err(error) => self.give_way(model, &error),
        }
        self.ask(model);
    }

    fn acknowledge(&mut self, what: AcknowledgedEvent) {
        if self.failed {
            self.after_failure.push(format!("{what:?}"));
        }
        self.acknowledged.push(Acknowledged {
            changes: self.recording.len(),
            what,
        });
    }

    /// A request is refused because of the journal, and the status has the reason.
    fn fail(&mut self, model: &ServedModel, error: &Error) {
        // A segment that cannot be made now is waited for: that is no failure yet.
        let waits = error.to_string().contains("cannot make this segment now");
        match model.status(false).state {
            Readiness::Unavailable(reason) => {
                assert!(reason.contains("journal failed"), "{reason}");
            }
            state => assert!(waits, "the status says {state:?}: {error}"),
        }
        (self.failed, self.ever_failed) = (true, true);
    }

    /// An order may also be refused, or a checkpoint be refused by the disk: the journal goes on.
    fn give_way(&mut self, model: &ServedModel, error: &Error) {
        if let Readiness::Unavailable(_) = model.status(false).state {
            self.fail(model, error);
        }
    }

    /// Asks a question that is not journaled.
    fn ask(&mut self, model: &ServedModel) {
        let snapshot = model.snapshot("").unwrap();
        let outputs = answers(|batch| {
            let options = PredictOptions {
                journal: false,
                explore: false,
                ..PredictOptions::default()
            };
            wait(model.predict(&snapshot, batch, options))
                .unwrap()
                .outputs
        });
        self.answered.push(Answered {
            changes: self.recording.len(),
            position: snapshot.position,
            outputs,
        });
    }
}

fn answers(answer: impl Fn(Batch) -> Outputs) -> Vec<Outputs> {
    rows(8, 0.0).map(|(batch, _)| answer(batch)).collect()
}

/// The entries of a journal, with those from before segments went and payloads were erased.
struct Found {
    /// The first position that is still there.
    first: u64,
    /// All, from the first that there ever was.
    entries: Vec<Entry>,
    erased: BTreeSet<u64>,
}

impl Scenario {
    /// The fault of a data directory once all up to so many changes has happened to it, if
    /// anything is. It is opened for that, and goes on.
    pub(super) async fn check(&self, n_changes: usize, data: &Path) -> Result<(), String> {
        let (_, disk) = Recording::of(data);
        let config = self.clocked.on(disk, data.to_owned());
        let engine = Engine::open(config).map_err(|error| error.to_string())?;
        let model = engine.model("m").unwrap();
        let state = model.status(false).state;
        if state != Readiness::Ready {
            return Err(format!("{state:?}"));
        }
        let journal = data.join("m/journal");
        let found = self.found(&journal, model.status(false).journal_position)?;
        for one in self.until(n_changes) {
            let there = self.is_there(&one.what, model, &found);
            there.map_err(|what| format!("{:?} is lost: {what}", one.what))?;
        }
        self.replays(n_changes, model, &found)?;
        self.goes_on(n_changes, model).await?;
        engine.close();
        drop(engine);
        let report = verify(&journal).map_err(|error| error.to_string())?;
        match report.torn_tail {
            Some(torn) => Err(format!("{torn:?}")),
            None => Ok(()),
        }
    }

    fn until(&self, n_changes: usize) -> impl Iterator<Item = &Acknowledged> {
        let all = self.acknowledged.iter();
        all.filter(move |one| one.changes <= n_changes)
    }

    fn found(&self, journal: &Path, last: u64) -> Result<Found, String> {
        let sentence = |error: perennial::store::Error| error.to_string();
        let mut reader = Reader::from_start(journal, last).map_err(sentence)?;
        let first = reader.next_position();
        let mut erased = BTreeSet::new();
        let mut entries = Vec::new();
        for position in 1..first {
            entries.push(self.appended[&position].clone());
        }
        while let Some(entry) = reader.next(last).map_err(sentence)? {
            match entry.event {
                Event::Erased(_) => {
                    erased.insert(entry.position);
                    entries.push(self.appended[&entry.position].clone());
                }
                _ => entries.push(entry),
            }
        }
        Ok(Found {
            first,
            entries,
            erased,
        })
    }

    fn is_there(
        &self,
        what: &AcknowledgedEvent,
        model: &ServedModel,
        found: &Found,
    ) -> Result<(), String> {
        match what {
            AcknowledgedEvent::Feedback { event, position } => {
                let entry = found.entries.get(*position as usize - 1);
                let Some(Event::Feedback(feedback)) = entry.map(|entry| &entry.event) else {
                    return Err(format!("{entry:?}"));
                };
                let may_go = match feedback.source.as_str() {
                    "old" => !found.erased.contains(position),
                    "clicks" => *position >= found.first,
                    _ => *position >= found.first && !found.erased.contains(position),
                };
                if may_go && feedback.feedback_id == event.feedback_id {
                    Ok(())
                } else {
                    Err(format!("{feedback:?}"))
                }
            }
            AcknowledgedEvent::Version(version) => match model.check_restore(*version) {
                Err(error) if !error.to_string().contains("feedback that was retracted") => {
                    Err(error.to_string())
                }
                _ => Ok(()),
            },
            AcknowledgedEvent::Erased(certificate) => {
                let listed = model.versions().map_err(|error| error.to_string())?;
                let tainted = &certificate.plan.tainted;
                let kept = listed
                    .iter()
                    .find(|(one, _)| tainted.contains(&one.version));
                let n_erased = found.erased.len() as u64;
                if kept.is_none() && n_erased == certificate.erased {
                    Ok(())
                } else {
                    Err(format!("{kept:?}, {n_erased} erased"))
                }
            }
        }
    }

    /// A learner that applies every entry from the first comes to the same, and gave the same
    /// answers on its way.
    fn replays(&self, n_changes: usize, model: &ServedModel, found: &Found) -> Result<(), String> {
        let Event::Description(first) = &found.entries[0].event else {
            return Err("the journal does not start with a description".to_owned());
        };
        let mut harness = LearnerHarness::empty(&first.toml);
        let answered = self.answered.iter().filter(|one| one.changes <= n_changes);
        let mut answered: Vec<&Answered> = answered.collect();
        for entry in &found.entries {
            harness.apply(entry.clone());
            let position = entry.position;
            let mut ours = None;
            for one in answered.extract_if(.., |one| one.position == position) {
                let learned = harness.learner.model();
                let ours = ours.get_or_insert_with(|| {
                    answers(|row| learned.predict(&row, Choice::Best).unwrap())
                });
                if *ours != one.outputs {
                    return Err(format!("at {position} it answered otherwise"));
                }
            }
        }
        if let Some(one) = answered.first() {
            return Err(format!(
                "an answer stood on entry {}, which is lost",
                one.position
            ));
        }
        let status = model.status(true);
        if status.digest != Some(harness.learner.learned().digest()) {
            return Err("the digest is not that of the journal".to_owned());
        }
        for fate in Fate::ALL {
            let n = status.fates.get(fate.word()).copied().unwrap_or(0);
            if n != harness.learner.ledger().count(fate) {
                return Err(format!("{n} are {}", fate.word()));
            }
        }
        Ok(())
    }

    /// Sent again, the newest is known by where it first stood; a new event is learned.
    async fn goes_on(&self, n_changes: usize, model: &ServedModel) -> Result<(), String> {
        let newest = self.until(n_changes).filter_map(|one| match &one.what {
            AcknowledgedEvent::Feedback { event, position } => Some((event, *position)),
            _ => None,
        });
        if let Some((event, position)) = newest.last() {
            let feedback_id = &event.feedback_id;
            let accepted = model.accept(Feedback::clone(event));
            let accepted = accepted.map_err(|error| error.to_string())?;
            match accepted.wait().await {
                Ok(
                    Acknowledgement::Duplicate { position: first }
                    | Acknowledgement::Retracted { position: first },
                ) if first == position => {}
                other => return Err(format!("{feedback_id} came again: {other:?}")),
            }
        }
        let id = predict(model, 10).ok_or("a prediction takes no feedback")?;
        feed(model, id, "afterwards").await.map(drop)
    }
}
