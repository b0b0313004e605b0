//! A data directory as the first format wrote it, which stays readable for ever.
//!
//! Invariant: the files below `tests/golden` are never written again. What comes later gets a
//! folder of its own, as `2` has the first column of embedded texts, `3` the first weights of a
//! start, `4` (see its test) journals of the first revision of the learning rules, `5` the first
//! answer with its labels, `6` the first orders whose refusals are recorded, and those that name
//! no source, and `7` the first version whose record has its tallies, with a checkpoint that knows
//! of versions only the finds of a retraction, `8` (see its test) journals of the second
//! revision, `11` the first answer that costs decide, `12` the first values of 64 bits, `13` the
//! first orders, decisions and versions of the gate, `14` the first alarm of drift, `15` the first
//! orders of retraining and the version that one makes, `16` the first version of a champion, `17` the first
//! feedback with a weight and a comment, and the first orders about quarantine, `18` the first aliases, and
//! `20` the first feedback of a sender who may correct others:
//! `PERENNIAL_GOLDEN=tests/golden/9 cargo test --release --test it golden` writes what the first test
//! made to a folder that is not there yet.

mod events;
mod newest;
mod revision;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::layout::{Header, groups};
use crate::support::{LearnerHarness, Workspace, copy};
use events::{
    ERASED, LIVED, TRAINED, after, all_names, answered, championed, counted, decided, hashed,
    judged, labelled, later, names, samples, samples_read, short_history, start, trained, wide,
};
use newest::{aliased, corrected, drift, retrained, weighted};
use perennial::engine::Readiness;
use perennial::event::{Batch, Column, Entry, Event, Outputs, Time};
use perennial::learn::Learner;
use perennial::model::Choice;
use perennial::store::{
    Config, Directory, Disk, Journal, Manifest, Reader, checkpoint, erase, verify,
};

/// The constants of a golden journal: its last position, how many payloads are erased, and
/// the chain over all entries.
const SAMPLES: (u64, u64, &str) = (
    26,
    3,
    "808d98b9a7d9ef14e3a1dc1b7aa2a5e2a49f6298412f820c3333b738b91e5405",
);
const LIVED_ENTRIES: (u64, u64, &str) = (
    30,
    0,
    "9f6e9209327f422851dfd0cd8b181b6aa633559921a4bed2cc92f32c834f2c9b",
);
/// The digest of the learned state at the checkpoint, and below the scores of its weights for x = 1.
const LIVED_DIGEST: &str = "42d0bac525ae8fda44d8170baa65a09c045fa55514a11fa356fc62691cec7fdf";
/// Digest of the first checkpoint that counts examples by source.
const COUNTED_DIGEST: &str = "e10c5f974d8b20f33c03de10023f7f80bacfee675ada455d707795d9d3eccb97";
const LIVED_SCORES: [f32; 2] = [0.567_579_3, 0.632_062_1];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/1")
}

/// The journal of the events that came after the first format.
fn golden_later() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/2")
}

/// A model that arrived trained, with the weights that it started with, and a checkpoint that
/// counts examples by source.
fn golden_newest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/3")
}

/// The journal of an answer with its labels.
fn golden_labelled() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/5")
}

/// The journal of an answer that costs decide.
fn golden_decided() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/11")
}

/// The journal of an answer with values of 64 bits.
fn golden_wide() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/12")
}

/// The journal of the gate's orders and records.
fn golden_judged() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/13")
}

/// The journal of an alarm of drift.
fn golden_drift() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/14")
}

/// The journal of the version of a champion.
fn golden_championed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/16")
}

/// The journal of feedback with a weight.
fn golden_weighted() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/17")
}

/// The journal of feedback of a sender who may correct others.
fn golden_corrected() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/20")
}

/// The journal of orders about aliases.
fn golden_aliased() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/18")
}

/// The journal of orders of retraining.
fn golden_retrained() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/15")
}

/// The journal of orders whose refusals and erasures are recorded.
fn golden_answered() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/6")
}

/// The journal of orders that name nobody.
fn golden_hashed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/6")
}

/// The journal of a version with its tallies, and a checkpoint of today's form.
fn golden_counted() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/7")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All entries of a journal.
fn entries(journal: &Path) -> Vec<Entry> {
    let last = verify(journal).unwrap().last_position;
    let mut reader = Reader::open(journal, 1, last).unwrap();
    let mut entries = Vec::new();
    while let Some(entry) = reader.next(last).unwrap() {
        entries.push(entry);
    }
    entries
}

/// Writes the content of the golden files, as the program writes it today.
fn write(data: &Path) {
    let directory = Directory::open(data).unwrap();
    let samples_folder = directory.journal("samples");
    let create = |folder: &Path| Journal::create_or_open(folder, 0, Config::default()).unwrap();
    let (mut journal, _) = create(&samples_folder);
    for (index, event) in samples().iter().enumerate() {
        journal.append(Time(index as i64), event).unwrap();
        if index % 4 == 0 {
            journal.sync().unwrap();
        }
    }
    journal.close().unwrap();
    let erased = ERASED.map(|position| (position, 0));
    erase(&Disk::default(), &samples_folder, &erased.into()).unwrap();

    let kinds = [
        ("later", later()),
        ("labelled", vec![labelled()]),
        ("decided", vec![decided()]),
        ("wide", vec![wide()]),
        ("judged", judged()),
        ("drift", vec![drift()]),
        ("championed", vec![championed()]),
        ("weighted", weighted()),
        ("corrected", vec![corrected()]),
        ("retrained", retrained()),
        ("aliased", aliased()),
        ("answered", answered()),
        ("hashed", hashed().into()),
        ("counted", vec![counted()]),
        ("trained", trained()),
    ];
    for (name, events) in kinds {
        let (mut journal, _) = create(&directory.journal(name));
        for event in events {
            journal.append(Time(1), &event).unwrap();
        }
        journal.close().unwrap();
    }
    checkpoint::keep_file(&Disk::default(), &directory.start("trained"), &start()).unwrap();
    write_lived(&directory);
}

/// Writes the journal and the checkpoint of the model `lived`.
fn write_lived(directory: &Directory) {
    let create = |folder: &Path| Journal::create_or_open(folder, 0, Config::default()).unwrap();
    let (mut journal, recovered) = create(&directory.journal("lived"));
    let mut harness = LearnerHarness::journaled(LIVED);
    short_history()
        .into_iter()
        .for_each(|event| drop(harness.append(event)));
    append(&mut journal, &harness);
    journal.sync().unwrap();
    let learner = &harness.learner;
    let manifest = Manifest {
        model: "lived".to_owned(),
        journal_id: hex(&recovered.journal_id),
        version: learner.version(),
        position: learner.position(),
        time_us: learner.time().0,
        reason: "stop".to_owned(),
        description: blake3::hash(LIVED.as_bytes()).to_string(),
        build: learner.description().build.clone(),
        profile: learner.description().profile.clone(),
        digest: learner.learned().digest().to_string(),
        chain: journal.chain().to_string(),
        metrics: BTreeMap::from([("score".to_owned(), 0.1 + 0.2)]),
        ..Manifest::default()
    };
    let (weights, state) = (learner.learned().weights(), learner.state());
    let folder = directory.checkpoints("lived");
    checkpoint::save(&Disk::default(), &folder, manifest, &weights, &state).unwrap();
    after()
        .into_iter()
        .for_each(|event| drop(harness.append(event)));
    append(&mut journal, &harness);
    journal.close().unwrap();
}

/// Writes the entries that came since.
fn append(journal: &mut Journal, harness: &LearnerHarness) {
    for entry in &harness.journal {
        if entry.position > journal.synced() {
            journal.append(entry.time, &entry.event).unwrap();
        }
    }
}

/// The headers of all entries of a model's one segment.
fn headers(data: &Path, model: &str) -> Vec<Header> {
    let segment = data.join(model).join("journal/00000000000000000001.seg");
    let groups = groups(&fs::read(segment).unwrap());
    groups.into_iter().flat_map(|group| group.entries).collect()
}

#[test]
fn what_is_written_today_has_the_golden_layout() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write(&data);
    if let Some(to) = std::env::var_os("PERENNIAL_GOLDEN") {
        let to = Path::new(env!("CARGO_MANIFEST_DIR")).join(to);
        assert!(!to.exists(), "{} is there already", to.display());
        copy(&data, &to);
    }
    assert_eq!(headers(&data, "samples"), headers(&golden(), "samples"));
    assert_eq!(headers(&data, "later"), headers(&golden_later(), "later"));
    let labelled = [&data, &golden_labelled()].map(|data| headers(data, "labelled"));
    assert_eq!(labelled[0], labelled[1]);
    let decided = [&data, &golden_decided()].map(|data| headers(data, "decided"));
    assert_eq!(decided[0], decided[1]);
    let wide = [&data, &golden_wide()].map(|data| headers(data, "wide"));
    assert_eq!(wide[0], wide[1]);
    let judged = [&data, &golden_judged()].map(|data| headers(data, "judged"));
    assert_eq!(judged[0], judged[1]);
    let drift = [&data, &golden_drift()].map(|data| headers(data, "drift"));
    assert_eq!(drift[0], drift[1]);
    let championed = [&data, &golden_championed()].map(|data| headers(data, "championed"));
    assert_eq!(championed[0], championed[1]);
    let weighted = [&data, &golden_weighted()].map(|data| headers(data, "weighted"));
    assert_eq!(weighted[0], weighted[1]);
    let corrected = [&data, &golden_corrected()].map(|data| headers(data, "corrected"));
    assert_eq!(corrected[0], corrected[1]);
    let retrained = [&data, &golden_retrained()].map(|data| headers(data, "retrained"));
    assert_eq!(retrained[0], retrained[1]);
    let aliased = [&data, &golden_aliased()].map(|data| headers(data, "aliased"));
    assert_eq!(aliased[0], aliased[1]);
    assert_eq!(
        headers(&data, "answered"),
        headers(&golden_answered(), "answered")
    );
    let hashed = [&data, &golden_hashed()].map(|data| headers(data, "hashed"));
    assert_eq!(hashed[0], hashed[1]);
    let counted = [&data, &golden_counted()].map(|data| headers(data, "counted"));
    assert_eq!(counted[0], counted[1]);
    let trained = [&data, &golden_newest()].map(|data| headers(data, "trained"));
    assert_eq!(trained[0], trained[1]);
    // Records hold digests of arithmetic, which another processor may do otherwise.
    let causes = |data: &Path| -> Vec<Header> {
        let headers = headers(data, "lived").into_iter();
        headers.filter(|header| header.kind < 16).collect()
    };
    assert_eq!(causes(&data), causes(&golden()));
}

#[test]
fn every_kind_of_event_is_among_the_samples() {
    let there: BTreeSet<_> = samples_read()
        .iter()
        .chain(&samples())
        .chain(&later())
        .chain(&answered())
        .chain(&judged())
        .chain(&hashed())
        .chain(&retrained())
        .chain(&weighted())
        .chain(&aliased())
        .chain(&[decided(), wide(), drift(), championed(), corrected()])
        .flat_map(names)
        .collect();
    assert_eq!(there, all_names());
}

#[test]
fn the_golden_journals_verify_and_every_entry_is_what_it_was() {
    for (model, expected) in [("samples", SAMPLES), ("lived", LIVED_ENTRIES)] {
        let report = verify(&golden().join(model).join("journal")).unwrap();
        let chain = report.chain.to_string();
        let found = (report.last_position, report.erased, chain.as_str());
        assert_eq!(found, expected, "{model}");
        assert_eq!((report.entries, report.segments), (expected.0, 1));
        assert!(report.torn_tail.is_none(), "{model}");
    }
    let journal = golden().join("samples/journal");
    let mut reader = Reader::open(&journal, 1, SAMPLES.0).unwrap();
    for (index, event) in samples_read().into_iter().enumerate() {
        let entry = reader.next(SAMPLES.0).unwrap().unwrap();
        assert_eq!(entry.position, index as u64 + 1);
        assert_eq!(entry.time, Time(index as i64));
        assert_eq!(entry.event, event);
    }
    assert!(reader.next(SAMPLES.0).unwrap().is_none());
    let holds = |data: PathBuf, model: &str, events: Vec<Event>| {
        let journal = data.join(model).join("journal");
        let mut reader = Reader::open(&journal, 1, 0).unwrap();
        for event in events {
            assert_eq!(reader.next(u64::MAX).unwrap().unwrap().event, event);
        }
    };
    holds(golden_later(), "later", later());
    holds(golden_labelled(), "labelled", vec![labelled()]);
    holds(golden_decided(), "decided", vec![decided()]);
    holds(golden_wide(), "wide", vec![wide()]);
    holds(golden_judged(), "judged", judged());
    holds(golden_drift(), "drift", vec![drift()]);
    holds(golden_championed(), "championed", vec![championed()]);
    holds(golden_weighted(), "weighted", weighted());
    holds(golden_corrected(), "corrected", vec![corrected()]);
    holds(golden_retrained(), "retrained", retrained());
    holds(golden_aliased(), "aliased", aliased());
    holds(golden_answered(), "answered", answered());
    holds(golden_hashed(), "hashed", hashed().into());
    holds(golden_counted(), "counted", vec![counted()]);
    let journal = golden().join("lived/journal");
    let mut reader = Reader::open(&journal, 1, LIVED_ENTRIES.0).unwrap();
    let mut read = Vec::new();
    while let Some(entry) = reader.next(LIVED_ENTRIES.0).unwrap() {
        read.push(entry.event);
    }
    read.retain(|event| !matches!(event, Event::Version(_) | Event::Description(_)));
    assert_eq!(read, [short_history(), after()].concat());
}

#[test]
fn the_golden_checkpoints_load_to_their_digest_and_are_written_again_to_the_byte() {
    let before = check_checkpoint(&golden(), LIVED_DIGEST, Form::Earlier);
    answers_as_it_did(&before);
    assert_eq!(
        (before.sources().since(), before.sources().learned().count()),
        (27, 0)
    );
    let newest = check_checkpoint(&golden_newest(), COUNTED_DIGEST, Form::Earlier);
    let learned: Vec<_> = newest.sources().learned().collect();
    assert_eq!(
        (newest.sources().since(), learned),
        (1, vec![("people", 5)])
    );
    let today = check_checkpoint(&golden_counted(), COUNTED_DIGEST, Form::Today);
    // Programs that kept the tree of all versions knew the same of them.
    for learner in [&before, &newest, &today] {
        let refused: Vec<u64> = (1..=4)
            .filter(|version| learner.tainted().refusal(*version).is_some())
            .collect();
        assert_eq!(refused, [2]);
        assert_eq!(learner.newest(), today.newest());
    }
    assert_eq!(newest.revised_tallies(), today.revised_tallies());
}

/// Whether a checkpoint has the form that is written today, or one that is only read.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Earlier,
    Today,
}

fn check_checkpoint(golden: &Path, digest: &str, form: Form) -> Learner {
    let folder = golden.join("lived/checkpoints");
    let listed = checkpoint::list(&folder).unwrap();
    let [one] = listed.as_slice() else {
        panic!("one checkpoint: {listed:?}")
    };
    let found = checkpoint::load(&folder, one.position).unwrap();
    let manifest = found.manifest.clone();
    assert_eq!(manifest.digest, digest);
    assert_eq!(manifest.metrics["score"], 0.1 + 0.2);
    let again = tempfile::tempdir().unwrap();
    let learner = Learner::load(found.weights, found.learner).unwrap();
    assert_eq!(learner.learned().digest().to_string(), digest);
    assert_eq!(learner.position(), manifest.position);
    let (weights, state) = (learner.learned().weights(), learner.state());
    checkpoint::save(&Disk::default(), again.path(), manifest, &weights, &state).unwrap();
    let name = format!("{:020}", one.position);
    for file in [
        "manifest.json",
        "weights.safetensors",
        "learner.safetensors",
    ] {
        let written = fs::read(again.path().join(&name).join(file)).unwrap();
        let golden = fs::read(folder.join(&name).join(file)).unwrap();
        let same = form == Form::Today || file == "weights.safetensors";
        assert_eq!(written == golden, same, "{file}");
    }
    let found = checkpoint::load(again.path(), one.position).unwrap();
    assert!(Learner::load(found.weights, found.learner).unwrap() == learner);
    learner
}

/// The answer may differ in its last bits where another processor computes it.
fn answers_as_it_did(learner: &Learner) {
    let batch = Batch {
        n_rows: 1,
        columns: vec![Column::Numbers(vec![1.0])],
    };
    let Outputs::Actions { scores, .. } = learner.model().predict(&batch, Choice::Best).unwrap()
    else {
        panic!("a bandit")
    };
    for (score, golden) in scores.iter().zip(LIVED_SCORES) {
        assert!((score - golden).abs() < 1e-5, "{scores:?}");
    }
}

#[test]
fn a_model_recovers_from_the_golden_files_and_goes_on() {
    let workspace = Workspace::new(&[("lived", LIVED)]);
    copy(&golden(), &workspace.data());
    let engine = workspace.open();
    let model = engine.model("lived").unwrap();
    let status = model.status(false);
    assert_eq!(status.state, Readiness::Ready);
    assert!(status.position >= LIVED_ENTRIES.0);
    let fates = |name: &str| status.fates.get(name).copied().unwrap_or(0);
    let counted = ["applied", "duplicate", "retracted", "undone"].map(fates);
    assert_eq!(counted, [6, 1, 1, 2]);
    drop(engine);
    let report = verify(&workspace.data().join("lived/journal")).unwrap();
    assert!(report.last_position >= LIVED_ENTRIES.0 && report.torn_tail.is_none());
}

#[test]
fn a_model_that_arrived_trained_recovers_from_its_golden_start() {
    let kept = golden_newest().join("trained/start.safetensors");
    assert_eq!(fs::read(&kept).unwrap(), start());
    let digest = blake3::hash(&start());
    let loaded = checkpoint::load_start(&kept, &digest).unwrap();
    assert_eq!(loaded.tensors.0.len(), 2);
    let workspace = Workspace::new(&[("trained", TRAINED)]);
    fs::write(workspace.models().join("trained/net.safetensors"), start()).unwrap();
    copy(&golden_newest(), &workspace.data());
    let engine = workspace.open();
    let model = engine.model("trained").unwrap();
    let status = model.status(false);
    assert_eq!(status.state, Readiness::Ready);
    assert_eq!(status.fates["applied"], 3);
    // It still answers "yes" for large values, as it arrived, despite its labels.
    let snapshot = model.snapshot("").unwrap();
    let batch = Batch {
        n_rows: 1,
        columns: vec![Column::Numbers(vec![1.0])],
    };
    let Outputs::Probabilities(shares) = snapshot.model.predict(&batch, Choice::Best).unwrap()
    else {
        panic!("a classification")
    };
    assert!(shares[1] > 0.7, "{shares:?}");
}
