//! Journals of the first revision of the learning rules: corrected and late rewards, signals,
//! restores, a retraction, classes that came by themselves, second labels, a tail of versions.
//!
//! `tests/golden/4` was written by the program before rules had revisions, on "cpu x86_64 avx512f
//! f32"; `expected.txt` holds the outcome of that program: per model its name, digest and fates,
//! and the digest and fates after the source "clicks" was retracted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use perennial::engine::{
    Clock, ClockReading, Config, Disposal, Engine, Offline, Readiness, RetractionRequest,
    ServedModel,
};
use perennial::event::{Entry, Event, Selector, Time};
use perennial::model::{Device, profile};
use tokio::runtime::Runtime;

use super::entries;
use crate::support::histories::twin;
use crate::support::passed_over::pass_over;
use crate::support::{copy, digest, syncing_nothing};

const MODELS: [&str; 7] = [
    "analytic",
    "auto",
    "averaged",
    "gradient",
    "neighbours",
    "open",
    "replayed",
];

/// The learned state of a model, and the number of events of each fate.
#[derive(Debug, PartialEq)]
struct Outcome {
    digest: String,
    fates: String,
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/4")
}

/// The state of each model, with and without the source "clicks"; none on a processor
/// whose bits are others.
fn expected() -> Option<BTreeMap<String, [Outcome; 2]>> {
    let here = profile(Device::Cpu, 1);
    if here != "cpu x86_64 avx512f f32" {
        pass_over(&format!("the digests are not of {here}"));
        return None;
    }
    let text = fs::read_to_string(golden().join("expected.txt")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let outcome = |lines: &[&str]| Outcome {
        digest: lines[0].to_owned(),
        fates: lines[1].to_owned(),
    };
    let models = lines.chunks_exact(5).map(|lines| {
        let both = [outcome(&lines[1..3]), outcome(&lines[3..5])];
        (lines[0].to_owned(), both)
    });
    Some(models.collect())
}

/// The fates that the program knew which wrote the folder.
fn fates(model: &ServedModel) -> String {
    let mut fates = model.status(false).fates;
    let later = ["held_out", "throttled", "discarded"];
    later
        .iter()
        .for_each(|fate| assert_eq!(fates.remove(fate), Some(0)));
    format!("{fates:?}")
}

/// A copy of the golden folder, in which no time passes.
struct Copy {
    folder: tempfile::TempDir,
    runtime: Runtime,
}

impl Copy {
    fn new() -> Copy {
        let folder = tempfile::tempdir().unwrap();
        copy(&golden(), folder.path());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        Copy {
            folder,
            runtime: runtime.unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn entries(&self, model: &str) -> Vec<Entry> {
        entries(&self.path("data").join(model).join("journal"))
    }

    fn open(&self) -> Arc<Engine> {
        let last = MODELS.map(|model| self.entries(model).last().unwrap().time);
        let last: Time = last.into_iter().max().unwrap();
        let config = Config {
            models: self.path("models"),
            data: self.path("data"),
            learner_threads: 1,
            disk: syncing_nothing(),
            clock: Clock::simulated(move || ClockReading::agreed(last.0)),
            ..Config::default()
        };
        Engine::open(config).unwrap()
    }

    fn retract(&self, model: &ServedModel) {
        let request = RetractionRequest {
            selector: Selector::Source("clicks".to_owned()),
            actor: String::new(),
            note: String::new(),
            disposal: Disposal::Keep,
        };
        self.runtime.block_on(model.retract(request)).unwrap();
    }
}

fn outcome(model: &ServedModel) -> Outcome {
    assert_eq!(
        model.status(false).state,
        Readiness::Ready,
        "{}",
        model.name()
    );
    Outcome {
        digest: digest(model).to_string(),
        fates: fates(model),
    }
}

#[test]
fn p2_an_old_journal_recovers_replays_and_retracts_as_under_the_program_that_wrote_it() {
    let Some(expected) = expected() else { return };
    let check = |remove_checkpoints: &dyn Fn(&Path)| {
        let copy = Copy::new();
        for model in MODELS {
            remove_checkpoints(&copy.path("data").join(model).join("checkpoints"));
            let offline = Offline::open(&copy.path("data"), model).unwrap();
            let mut replay = offline.replay(None).unwrap();
            while replay.advance(64).unwrap() {}
            assert_eq!(
                replay.outcome().digest,
                expected[model][0].digest,
                "{model}"
            );
        }
        let engine = copy.open();
        for model in engine.models() {
            let [before, after] = &expected[model.name()];
            assert_eq!(outcome(model), *before, "{}", model.name());
            assert_eq!(model.spec().unwrap().revision, 1, "it keeps its rules");
            copy.retract(model);
            assert_eq!(outcome(model), *after, "{}", model.name());
        }
    };
    check(&|_| {});
    check(&|checkpoints| fs::remove_dir_all(checkpoints).unwrap());
}

/// The revision that every kind can go over to from the first one.
const NEXT: u32 = 2;

#[test]
fn p2_another_revision_starts_at_an_entry_and_what_stands_before_keeps_its_own() {
    if expected().is_none() {
        return;
    }
    let copy = Copy::new();
    let mut last = BTreeMap::new();
    for model in MODELS {
        last.insert(model, copy.entries(model).len() as u64);
        let path = copy.path("models").join(model).join("model.toml");
        let toml = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{toml}[rules]\nrevision = {NEXT}\n")).unwrap();
    }
    let engine = copy.open();
    for model in engine.models() {
        assert_eq!(model.spec().unwrap().revision, NEXT);
        let start = &copy.entries(model.name())[last[model.name()] as usize];
        let Event::Description(description) = &start.event else {
            panic!("{start:?}")
        };
        assert!(description.profile.ends_with(&format!("rules {NEXT}")));
        let checkpoint = format!("{}/checkpoints/{:020}", model.name(), start.position);
        assert!(copy.path("data").join(checkpoint).exists());
        copy.retract(model);
    }
    let digests: BTreeMap<_, _> = engine
        .models()
        .map(|model| (model.name().to_owned(), digest(model)))
        .collect();
    engine.close();
    drop(engine);
    for model in MODELS {
        let entries = copy.entries(model);
        let twin = twin(&entries);
        assert_eq!(digests[model], twin.learner.learned().digest(), "{model}");
    }
}
