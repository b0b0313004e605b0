//! The traces of erased feedback: numbers, texts, tags, keys and sources that stand nowhere else
//! are planted, and looked for in every file.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use perennial::engine::{Clock, Config as EngineConfig, RetrainingRequest};
use perennial::event::{Batch, Column, Decision, Subject};
use perennial::store::Reader;

use super::*;

pub(super) const SOURCE: &str = "planted-source-7f3a91";
const KEY: &str = "planted-key-9c41d0";
const TAG: &str = "planted-tag-e5d277";
const TEXT: &str = "planted-text-b7e013";
const COMMENT: &str = "planted-comment-61be08";
const ACTOR: &str = "planted-actor-d90c45";
const LABEL: &str = "planted-label-28fa17";
/// The value of a prediction's feedback, that of its correction, and an input that comes with feedback.
const NUMBERS: [f64; 3] = [
    0.841_470_984_807_896_5,
    0.141_120_008_059_867_2,
    0.756_802_495_307_928_2,
];

pub(super) const KINDS: [&str; 4] = [
    "",
    "[learner]\nkind = \"gradient\"\nexamples_per_update = 2\n[memory]\nstrategy = \"der++\"\n",
    "[learner]\nkind = \"analytic\"\n",
    "[learner]\nkind = \"neighbours\"\n",
];
pub(super) const TASKS: [&str; 4] = [
    "task = \"classification\"\nclasses = [\"a\", \"b\"]\n",
    "task = \"regression\"\n",
    "task = \"bandit\"\nactions = [\"a\", \"b\"]\n[feedback]\nwindow_s = 60\n\
     default_reward = 0.0\naggregate = \"sum\"\n",
    "task = \"classification\"\nclasses = [\"a\", \"b\"]\nclasses_max = 4\n",
];

/// The events between the planted feedback and its erasure.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scenario {
    Plain,
    Restored,
    RestoredTwice,
    Resent,
    WithInputs,
    Corrected,
    Late,
    Stopped,
    /// Another source is retracted as well, before or after.
    WithAnother,
    /// Taken back at first, and erased only later.
    ErasedLater,
    /// The champion has learned it.
    Promoted,
    /// A contradiction of a label of other people, which waits until a person releases it.
    Quarantined,
    Released,
    /// A learner that began anew has learned it.
    Retrained,
}

const GATED: &str = "[publish]\npolicy = \"gated\"\nevery_examples = 4\n";

const SCENARIOS: [Scenario; 14] = [
    Scenario::Plain,
    Scenario::Restored,
    Scenario::RestoredTwice,
    Scenario::Resent,
    Scenario::WithInputs,
    Scenario::Corrected,
    Scenario::Late,
    Scenario::Stopped,
    Scenario::WithAnother,
    Scenario::ErasedLater,
    Scenario::Promoted,
    Scenario::Quarantined,
    Scenario::Released,
    Scenario::Retrained,
];

/// How the feedback is chosen.
#[derive(Clone, Copy, Debug)]
enum By {
    Source,
    Key,
    Time,
}

pub(super) struct Planted {
    pub workspace: Workspace,
    now: Arc<AtomicI64>,
    task: &'static str,
    n_sent: usize,
}

impl Planted {
    pub(super) fn new(task: &'static str, kind: &str) -> Planted {
        let inputs = "[[input]]\nname = \"x\"\nkind = \"number\"\n\
            [[input]]\nname = \"y\"\nkind = \"number\"\n\
            [[input]]\nname = \"c\"\nkind = \"category\"\n";
        let toml = format!("{task}{inputs}{kind}[versions]\nevery_examples = 4\nkeep = 100\n");
        Planted {
            workspace: Workspace::new(&[("m", &toml)]),
            now: Arc::new(AtomicI64::new(1_700_000_000_000_000)),
            task,
            n_sent: 0,
        }
    }

    pub(super) fn open(&self) -> Arc<Engine> {
        let now = self.now.clone();
        let config = EngineConfig {
            clock: Clock::simulated(move || {
                perennial::engine::ClockReading::agreed(now.load(Relaxed))
            }),
            ..self.workspace.config()
        };
        Engine::open(config).expect("it opens")
    }

    /// The signal of a row: a label, or a number.
    pub(super) fn signal(&self, number: f64) -> Signal {
        match self.task {
            task if task == TASKS[0] || task == TASKS[3] => Signal::Label("b".to_owned()),
            task if task == TASKS[1] => Signal::Value(number),
            _ => Signal::Reward(number),
        }
    }

    pub(super) async fn send(
        &mut self,
        model: &ServedModel,
        feedback: Feedback,
    ) -> Acknowledgement {
        self.n_sent += 1;
        // One second after the other, so that each has a moment of its own.
        self.now.fetch_add(1_000_000, Relaxed);
        let receipt = model.accept(feedback).expect("there is room");
        let accepted = receipt.wait().await.expect("it is on disk");
        let last = model.status(false).journal_position;
        model.wait_for_position(last).await.expect("it is learned");
        accepted
    }

    pub(super) async fn ask(&self, model: &ServedModel) -> PredictionId {
        let (batch, _) = rows(self.n_sent + 1, 0.3).last().expect("a row");
        let snapshot = model.snapshot("").expect("it serves");
        let answer = model
            .predict(&snapshot, batch, PredictOptions::default())
            .await;
        answer.expect("an answer").ids[0]
    }

    /// Other people's feedback, of which nothing is to be erased.
    pub(super) async fn teach(&mut self, model: &ServedModel, n_rows: usize, source: &str) {
        for _ in 0..n_rows {
            let id = self.ask(model).await;
            let feedback = Feedback {
                source: source.to_owned(),
                signal: self.signal(0.25),
                ..label(id, &format!("other-{}", self.n_sent), "")
            };
            self.send(model, feedback).await;
        }
    }

    /// A label of other people, which the planted one is to contradict.
    async fn contradict(&mut self, model: &ServedModel, id: PredictionId) {
        let first = Feedback {
            source: "people".to_owned(),
            signal: self.signal(0.25),
            ..label(id, "first", "")
        };
        self.send(model, first).await;
    }

    /// The next contender takes the place of the champion.
    async fn promote(&mut self, model: &ServedModel) {
        let contender = |model: &ServedModel| model.status(false).gate?.contender;
        let version = loop {
            match contender(model) {
                Some((version, _)) => break version,
                None => self.teach(model, 1, "people").await,
            }
            assert!(self.n_sent < 200, "a contender is due every four examples");
        };
        let promoted = model.promote(Some(version), Default::default()).await;
        promoted.expect("a contender is tested");
    }

    /// True if a prediction answered the planted label: the answer that was given stands in its entry.
    fn has_answered(&self) -> bool {
        let journal = self.workspace.data().join("m/journal");
        let last = verify(&journal).unwrap().last_position;
        let mut reader = Reader::open(&journal, 1, last).unwrap();
        let entries = std::iter::from_fn(|| reader.next(last).unwrap());
        let mut predictions = entries.filter_map(|entry| match entry.event {
            Event::Prediction(one) => Some(one),
            _ => None,
        });
        predictions.any(|one| one.labels.values().any(|label| label == LABEL))
    }

    /// The traces of the planted feedback.
    fn traces(&self) -> Vec<String> {
        let mut found = found_in(&self.workspace.data());
        if self.has_answered() {
            found.retain(|trace| !trace.starts_with(LABEL));
        }
        found
    }

    /// Planted feedback about a prediction, under the `n`th key.
    pub(super) fn planted(&self, id: PredictionId, n: usize) -> Feedback {
        Feedback {
            source: SOURCE.to_owned(),
            signal: match self.task {
                task if task == TASKS[0] => Signal::Label("a".to_owned()),
                task if task == TASKS[3] => Signal::Label(LABEL.to_owned()),
                _ => self.signal(NUMBERS[n % 2]),
            },
            tags: [(TAG.to_owned(), TAG.to_owned())].into(),
            comment: COMMENT.to_owned(),
            actor: ACTOR.to_owned(),
            ..label(id, &format!("{KEY}-{n}"), "")
        }
    }

    /// The planted feedback with a row of its own.
    pub(super) fn planted_row(&self) -> Feedback {
        let decision = (self.task == TASKS[2]).then(|| Decision {
            action: "b".to_owned(),
            propensity: 0.5,
        });
        let columns = vec![
            Column::Numbers(vec![NUMBERS[2]]),
            Column::Numbers(vec![-NUMBERS[2]]),
            Column::Strings(vec![TEXT.to_owned()]),
        ];
        Feedback {
            subject: Subject::Inputs {
                batch: Batch { n_rows: 1, columns },
                decision,
            },
            event_time: Some(Time(self.now.load(Relaxed))),
            ..self.planted(PredictionId(1), 0)
        }
    }
}

/// A person releases the planted feedback from quarantine.
async fn release(model: &ServedModel) {
    let (actor, note) = Default::default();
    let order = Order::Release(source(SOURCE).hashed());
    let done = model.command(Command { order, actor, note }).await;
    done.expect("it is released");
}

/// The part of a scenario between the planted event and its erasure. The prediction is of `id`;
/// `before` is a version that has not learned the event.
async fn go_on(
    planted: &mut Planted,
    scenario: Scenario,
    mut engine: Arc<Engine>,
    (before, id, first): (u64, PredictionId, Feedback),
) -> Arc<Engine> {
    let model = engine.model("m").unwrap();
    match scenario {
        Scenario::Restored => drop(order(model, Order::Restore { version: before }).await),
        Scenario::RestoredTwice => {
            let restored = order(model, Order::Restore { version: before }).await;
            planted.teach(model, 3, "people").await;
            let version = restored.version;
            order(model, Order::Restore { version }).await;
        }
        Scenario::Resent => {
            for _ in 0..2 {
                let again = planted.send(model, first.clone()).await;
                assert!(
                    matches!(again, Acknowledgement::Duplicate { .. }),
                    "{again:?}"
                );
            }
        }
        Scenario::Corrected => {
            let second = planted.planted(id, 1);
            planted.send(model, second).await;
        }
        Scenario::Stopped => {
            drop(engine);
            engine = planted.open();
        }
        Scenario::WithAnother => {
            let others = request(source("others"), Disposal::Keep);
            model.retract(others).await.unwrap();
        }
        Scenario::Promoted => {
            // One that was taken before has not learned it.
            for _ in 0..2 {
                planted.promote(model).await;
            }
        }
        Scenario::Released => release(model).await,
        Scenario::Retrained => {
            let request = RetrainingRequest {
                force: true,
                ..RetrainingRequest::default()
            };
            model.retrain(request).await.expect("it took the place");
        }
        _ => {}
    }
    engine
}

/// Runs the scenario, erases, and gives the number of erased entries; the engine is closed.
async fn run_and_erase(planted: &mut Planted, scenario: Scenario, by: By) -> u64 {
    let engine = planted.open();
    let model = engine.model("m").unwrap();
    planted.teach(model, 5, "people").await;
    let before = order(model, Order::Checkpoint).await.version;
    let id = planted.ask(model).await;
    if scenario == Scenario::Late {
        // Silence has become a reward by then.
        planted.now.fetch_add(100_000_000, Relaxed);
        planted.teach(model, 1, "people").await;
    }
    if matches!(scenario, Scenario::Quarantined | Scenario::Released) {
        planted.contradict(model, id).await;
    }
    // A gap on either side, and an order in it: the writer reads the clock once for many events.
    let since = Time(planted.now.fetch_add(10_000_000, Relaxed) + 5_000_000);
    order(model, Order::Checkpoint).await;
    let first = match scenario {
        Scenario::WithInputs => planted.planted_row(),
        _ => planted.planted(id, 0),
    };
    planted.send(model, first.clone()).await;
    let until = Time(planted.now.fetch_add(10_000_000, Relaxed) + 5_000_000);
    order(model, Order::Checkpoint).await;
    planted.teach(model, 2, "others").await;
    let engine = go_on(planted, scenario, engine, (before, id, first.clone())).await;
    let model = engine.model("m").unwrap();
    planted.teach(model, 5, "people").await;
    order(model, Order::Checkpoint).await;
    let selector = match by {
        By::Source => source(SOURCE),
        By::Key => Selector::FeedbackId(format!("{KEY}-0")),
        By::Time => Selector::Accepted { since, until },
    };
    if scenario == Scenario::ErasedLater {
        let selector = Selector::Accepted { since, until };
        model
            .retract(request(selector, Disposal::Keep))
            .await
            .unwrap();
        planted.teach(model, 2, "people").await;
    }
    let erased = model.retract(request(selector, Disposal::Erase)).await;
    let mut n_erased = erased.expect("it is erased").erased;
    if scenario == Scenario::Corrected && !matches!(by, By::Source) {
        let second = Selector::FeedbackId(format!("{KEY}-1"));
        let erased = model.retract(request(second, Disposal::Erase)).await;
        n_erased += erased.expect("it is erased").erased;
    }
    if scenario == Scenario::Resent {
        let again = planted.send(model, first).await;
        assert!(
            matches!(again, Acknowledgement::Retracted { .. }),
            "{again:?}"
        );
    }
    planted.teach(model, 2, "people").await;
    drop(engine);
    n_erased
}

/// The bytes that must stand nowhere, and their names.
fn needles() -> Vec<(String, Vec<u8>)> {
    let texts = [SOURCE, KEY, TAG, TEXT, COMMENT, ACTOR, LABEL];
    let mut all: Vec<_> = texts
        .map(|text| (text.to_owned(), text.as_bytes().to_vec()))
        .into();
    for number in NUMBERS {
        for number in [number, -number] {
            let text = number.to_string();
            all.push((format!("{number} as text"), text.into_bytes()));
            all.push((format!("{number} as f64"), number.to_le_bytes().to_vec()));
            let short = (number as f32).to_le_bytes().to_vec();
            all.push((format!("{number} as f32"), short));
        }
    }
    all
}

/// Looks into every file below a folder; those found, with where.
pub(super) fn found_in(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(found_in(&path));
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        for (name, needle) in needles() {
            if bytes.windows(needle.len()).any(|place| place == needle) {
                found.push(format!("{name} in {}", path.display()));
            }
        }
    }
    found
}

/// Every version that can be restored is restored, and is what its manifest says.
pub(super) async fn restores(planted: &Planted, name: &str) {
    let engine = planted.open();
    let model = engine.model("m").unwrap();
    for (manifest, damage) in model.versions().unwrap() {
        let version = manifest.version;
        if damage.is_some() {
            continue;
        }
        model.check_restore(version).expect(name);
        order(model, Order::Restore { version }).await;
        assert_eq!(
            digest(model).to_string(),
            manifest.digest,
            "{name}, version {version}"
        );
        let status = model.status(false);
        let total = status.fates.values().sum::<u64>();
        assert!(
            total >= planted.n_sent as u64,
            "{name}: {total} of {}",
            planted.n_sent
        );
    }
}

async fn check(task: &'static str, kind: &str, scenario: Scenario, by: By) {
    let name = format!("{task} {kind} {scenario:?} by {by:?}");
    let mut planted = Planted::new(task, kind);
    let erased = run_and_erase(&mut planted, scenario, by).await;
    let expected = match scenario {
        Scenario::Resent => 3,
        Scenario::Corrected => 2,
        _ => 1,
    };
    assert_eq!(erased, expected, "{name}");
    let found = planted.traces();
    assert!(found.is_empty(), "{name}: {found:#?}");
    let report = verify(&planted.workspace.data().join("m/journal")).unwrap();
    assert_eq!(report.erased, erased, "{name}");
    restores(&planted, &name).await;
    let found = planted.traces();
    assert!(found.is_empty(), "{name}, after restores: {found:#?}");
    let offline = Offline::open(&planted.workspace.data(), "m").unwrap();
    let mut replay = offline.replay(None).expect(&name);
    while replay.advance(1000).expect(&name) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_nothing_of_erased_feedback_is_left_in_any_file() {
    for task in TASKS {
        for scenario in SCENARIOS {
            // A release is of feedback that waits, and rewards do not contradict each other.
            if scenario == Scenario::Released && task == TASKS[2] {
                continue;
            }
            let kind = match scenario {
                Scenario::Promoted => GATED,
                _ => KINDS[0],
            };
            check(task, kind, scenario, By::Source).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_however_it_is_chosen_and_learned_nothing_is_left() {
    let scenarios = [
        Scenario::Restored,
        Scenario::Resent,
        Scenario::WithInputs,
        Scenario::Corrected,
    ];
    for kind in &KINDS[1..] {
        for (scenario, task) in scenarios.into_iter().zip(TASKS.into_iter().cycle()) {
            for by in [By::Key, By::Time] {
                check(task, kind, scenario, by).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_what_never_learned_it_stays_restorable_through_an_erasure() {
    let mut planted = Planted::new(TASKS[1], KINDS[2]);
    let engine = planted.open();
    let model = engine.model("m").unwrap();
    planted.teach(model, 4, "people").await;
    let before = order(model, Order::Checkpoint).await.version;
    let id = planted.ask(model).await;
    let first = planted.planted(id, 0);
    planted.send(model, first).await;
    let learned = order(model, Order::Checkpoint).await.version;
    let restored = order(model, Order::Restore { version: before })
        .await
        .version;
    // Tainted by another source, which is not erased; ours was undone before.
    planted.teach(model, 2, "others").await;
    let other = order(model, Order::Checkpoint).await.version;
    let others = request(source("others"), Disposal::Keep);
    model.retract(others).await.unwrap();
    model
        .retract(request(source(SOURCE), Disposal::Erase))
        .await
        .unwrap();
    let versions = model.versions().unwrap();
    let of = |version: u64| {
        versions
            .iter()
            .find(|(manifest, _)| manifest.version == version)
    };
    assert!(of(learned).is_none(), "what learned it is gone");
    let (manifest, damage) = of(restored).expect("what it was undone in stays");
    assert_eq!((damage, manifest.reason.as_str()), (&None, "restore"));
    assert!(
        manifest.erased_by > 0 && manifest.metrics.len() == 1,
        "{manifest:?}"
    );
    let (manifest, damage) = of(other).expect("what another source has tainted stays");
    assert!(damage.as_ref().unwrap().contains("retracted"), "{damage:?}");
    assert!(manifest.erased_by > 0);
    let digests = [before, restored].map(|version| of(version).unwrap().0.digest.clone());
    assert_eq!(digests[0], digests[1]);
    assert_eq!(
        of(before).unwrap().0.erased_by,
        0,
        "it is older than the feedback"
    );
}
