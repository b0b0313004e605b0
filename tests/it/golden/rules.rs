//! Journals of both revisions of the learning rules: random histories with corrected rewards and
//! labels, silence, restores and retractions. Each record of a version holds the digest of what
//! was learned by then, so a journal that is applied proves that the rules still lead there.
//!
//! `tests/golden/8` was written on "cpu x86_64 avx512f f32" and `tests/golden/9` on "cpu x86_64 avx2+fma
//! f32", by the second test below with `PERENNIAL_GOLDEN_RULES=FOLDER`, a folder that is not there yet.

use std::path::{Path, PathBuf};

use perennial::event::Event;
use perennial::learn::Learner;
use perennial::model::{Device, profile};
use perennial::store::{Directory, Journal, verify};

use super::entries;
use crate::support::LearnerHarness;
use crate::support::histories::{History, descriptions};

/// The journals whose digests are of this processor.
fn golden() -> Option<PathBuf> {
    let folder = match profile(Device::Cpu, 1).as_str() {
        "cpu x86_64 avx512f f32" => "tests/golden/8",
        "cpu x86_64 avx2+fma f32" => "tests/golden/9",
        other => {
            println!("passed over: no golden digests are of {other}");
            return None;
        }
    };
    Some(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
}

/// The name of each journal, and the description of its model.
fn models() -> Vec<(String, String)> {
    let mut all = descriptions();
    // The last one is of a network on a device.
    all.pop();
    let silence = all[2].clone();
    let (bandit, _) = silence.split_once("[network]").expect("a network");
    all.push(bandit.to_owned());
    let names = ["auto", "network", "rewards", "analytic", "auto-rewards"];
    let second = names.map(str::to_owned).into_iter().zip(all);
    let first = |(name, toml): &(String, String)| {
        let toml = format!("{toml}[rules]\nrevision = 1\n");
        (format!("{name}-first"), toml)
    };
    let second: Vec<_> = second.collect();
    let first: Vec<_> = second.iter().map(first).collect();
    second.into_iter().chain(first).collect()
}

#[test]
fn p2_a_journal_of_either_revision_leads_where_its_records_say() {
    let Some(golden) = golden() else { return };
    for model in std::fs::read_dir(&golden).unwrap() {
        let model = model.unwrap();
        let name = model.file_name().into_string().unwrap();
        let entries = entries(&model.path().join("journal"));
        let Event::Description(first) = &entries[0].event else {
            panic!("a description")
        };
        let revision = if name.ends_with("-first") { 1 } else { 2 };
        let stated = format!("revision = {revision}");
        assert!(first.toml.contains(&stated), "{}", first.toml);
        let mut room = LearnerHarness::empty(&first.toml);
        for entry in &entries {
            room.apply(entry.clone());
        }
        let count = |of: fn(&Event) -> bool| entries.iter().filter(|one| of(&one.event)).count();
        let n_versions = count(|event| matches!(event, Event::Version(_)));
        let n_orders = count(|event| matches!(event, Event::Command(_)));
        assert!(n_versions > 10 && n_orders > 5, "{n_versions} {n_orders}");
        let learner: &Learner = &room.learner;
        assert_eq!(learner.position(), entries.len() as u64, "{name}");
    }
}

#[test]
fn a_journal_that_is_written_for_good_is_applied() {
    for (index, (name, toml)) in models().into_iter().enumerate() {
        let history = History::run(&toml, 71 + index as u64, 240);
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let directory = Directory::open(&data).unwrap();
        let config = perennial::store::Config::default();
        let journal = directory.journal(&name);
        let (mut journal, _) = Journal::create_or_open(&journal, 0, config).unwrap();
        for entry in &history.room.journal {
            journal.append(entry.time, &entry.event).unwrap();
        }
        journal.close().unwrap();
        let report = verify(&directory.journal(&name)).unwrap();
        assert_eq!(report.last_position, history.room.journal.len() as u64);
        if let Some(to) = std::env::var_os("PERENNIAL_GOLDEN_RULES") {
            let to = Path::new(env!("CARGO_MANIFEST_DIR")).join(to).join(&name);
            assert!(!to.exists(), "{} is there already", to.display());
            super::copy(&data.join(&name), &to);
        }
    }
}
