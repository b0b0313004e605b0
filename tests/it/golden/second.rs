//! Journals of the second revision of the learning rules: random histories with corrected rewards
//! and labels, silence, restores and retractions. Each record of a version holds the digest of what
//! was learned by then, so a journal that is applied proves that the rules still lead there.
//!
//! `tests/golden/8` was written on "cpu x86_64 avx512f f32", by the second test below with
//! `PERENNIAL_GOLDEN_SECOND=FOLDER`, a folder that is not there yet.

use std::path::{Path, PathBuf};

use perennial::event::Event;
use perennial::learn::Learner;
use perennial::model::{Device, profile};
use perennial::store::{Directory, Journal, verify};

use super::entries;
use crate::support::Classroom;
use crate::support::histories::{History, descriptions};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/8")
}

/// The name of each journal, and what it is of.
fn models() -> Vec<(String, String)> {
    let mut all = descriptions();
    // Its last one is of a network on a device.
    all.pop();
    let silence = all[2].clone();
    let (bandit, _) = silence.split_once("[network]").expect("a network");
    all.push(bandit.to_owned());
    let names = ["auto", "network", "rewards", "analytic", "auto-rewards"];
    names.map(str::to_owned).into_iter().zip(all).collect()
}

#[test]
fn p2_a_journal_of_the_second_revision_leads_where_its_records_say() {
    let here = profile(Device::Cpu, 1);
    if here != "cpu x86_64 avx512f f32" {
        println!("passed over: the golden digests are not of {here}");
        return;
    }
    for (name, _) in models() {
        let entries = entries(&golden().join(&name).join("journal"));
        let Event::Description(first) = &entries[0].event else {
            panic!("a description")
        };
        assert!(first.toml.contains("revision = 2"), "{}", first.toml);
        let mut room = Classroom::empty(&first.toml);
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
        let history = History::live(&toml, 71 + index as u64, 240);
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
        if let Some(to) = std::env::var_os("PERENNIAL_GOLDEN_SECOND") {
            let to = Path::new(env!("CARGO_MANIFEST_DIR")).join(to).join(&name);
            assert!(!to.exists(), "{} is there already", to.display());
            super::copy(&data.join(&name), &to);
        }
    }
}
