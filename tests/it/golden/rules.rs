//! Journals of every revision of the learning rules: random histories with corrected rewards and
//! labels, silence, restores and retractions. Each record of a version holds the digest of the
//! state learned by then, so a journal that is applied proves that the rules still lead there.
//!
//! `tests/golden/8` (the first two revisions) was written on "cpu x86_64 avx512f f32", `tests/golden/9` (the
//! first two) and `tests/golden/10` (the third) on "cpu x86_64 avx2+fma f32", by the second test below with
//! `PERENNIAL_GOLDEN_RULES=FOLDER`, a folder that is not there yet.

use std::path::{Path, PathBuf};

use perennial::event::Event;
use perennial::learn::Learner;
use perennial::model::{Device, LearnerKind, REVISION, Spec, profile};
use perennial::store::{Directory, Journal, verify};

use super::entries;
use crate::support::LearnerHarness;
use crate::support::histories::{History, named};
use crate::support::passed_over::pass_over;

/// The folders of journals whose digests are of this processor.
fn golden() -> Vec<PathBuf> {
    let folders: &[&str] = match profile(Device::Cpu, 1).as_str() {
        "cpu x86_64 avx512f f32" => &["tests/golden/8"],
        "cpu x86_64 avx2+fma f32" => &["tests/golden/9", "tests/golden/10"],
        other => {
            pass_over(&format!("no digests are of {other}"));
            &[]
        }
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    folders.iter().map(|folder| root.join(folder)).collect()
}

/// The name of each journal, and the description of its model.
fn models() -> Vec<(String, String)> {
    let all = named();
    let of = |name: &str| {
        let found = all.iter().find(|(one, _)| *one == name);
        found.expect("a description of this name").1.clone()
    };
    let rewards = of("rewards");
    let (bandit, _) = rewards.split_once("[network]").expect("a network");
    let models = [
        ("auto", of("auto")),
        ("network", of("network")),
        ("rewards", of("rewards")),
        ("analytic", of("analytic")),
        ("auto-rewards", bandit.to_owned()),
        ("series", of("series")),
    ];
    let stated = |revision: u32| {
        let models = models.iter();
        // Series are remembered from the third revision on.
        let models = models.filter(move |(name, _)| *name != "series" || revision >= 3);
        models.map(move |(name, toml)| {
            let toml = format!("{toml}[rules]\nrevision = {revision}\n");
            (format!("{name}-{revision}"), toml)
        })
    };
    (1..=REVISION).flat_map(stated).collect()
}

#[test]
fn each_journal_is_of_the_model_that_it_is_named_after() {
    for (name, toml) in models() {
        let spec = Spec::parse(&toml).expect("a description");
        let is_auto = matches!(spec.learner, LearnerKind::Auto(_));
        let expected = match name.rsplit_once('-').expect("a revision").0 {
            "auto" => (true, "classification"),
            "network" => (false, "classification"),
            "rewards" | "analytic" => (false, "bandit"),
            "auto-rewards" => (true, "bandit"),
            _ => (true, "regression"),
        };
        assert_eq!((is_auto, spec.task.word()), expected, "{name}");
    }
}

#[test]
fn p2_a_journal_of_every_revision_leads_where_its_records_say() {
    let models = golden().into_iter();
    let models = models.flat_map(|folder| std::fs::read_dir(folder).unwrap());
    for model in models {
        let model = model.unwrap();
        let name = model.file_name().into_string().unwrap();
        let entries = entries(&model.path().join("journal"));
        let Event::Description(first) = &entries[0].event else {
            panic!("a description")
        };
        // Those of the first two are named by words.
        let revision = match name.rsplit_once('-') {
            Some((_, "first" | "1")) => 1,
            Some((_, "3")) => 3,
            _ => 2,
        };
        let stated = format!("revision = {revision}");
        assert!(first.toml.contains(&stated), "{}", first.toml);
        let mut harness = LearnerHarness::empty(&first.toml);
        for entry in &entries {
            harness.apply(entry.clone());
        }
        let count = |of: fn(&Event) -> bool| entries.iter().filter(|one| of(&one.event)).count();
        let n_versions = count(|event| matches!(event, Event::Version(_)));
        let n_orders = count(|event| matches!(event, Event::Command(_)));
        assert!(n_versions > 10 && n_orders > 5, "{n_versions} {n_orders}");
        let learner: &Learner = &harness.learner;
        assert_eq!(learner.position(), entries.len() as u64, "{name}");
    }
}

#[test]
fn a_journal_that_is_written_for_good_is_applied() {
    for (index, (name, toml)) in models().into_iter().enumerate() {
        // A retention set comes about only after some rows.
        let n_steps = if name.ends_with("-3") { 600 } else { 240 };
        let history = History::run(&toml, 71 + index as u64, n_steps);
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let directory = Directory::open(&data).unwrap();
        let config = perennial::store::Config::default();
        let journal = directory.journal(&name);
        let (mut journal, _) = Journal::create_or_open(&journal, 0, config).unwrap();
        for entry in &history.harness.journal {
            journal.append(entry.time, &entry.event).unwrap();
        }
        journal.close().unwrap();
        let report = verify(&directory.journal(&name)).unwrap();
        assert_eq!(report.last_position, history.harness.journal.len() as u64);
        if let Some(to) = std::env::var_os("PERENNIAL_GOLDEN_RULES") {
            let to = Path::new(env!("CARGO_MANIFEST_DIR")).join(to).join(&name);
            assert!(!to.exists(), "{} is there already", to.display());
            super::copy(&data.join(&name), &to);
        }
    }
}
