//! Other faults of a data directory: stray files, the files that a crash leaves, two servers, a
//! full disk, and a replay under another shape.
//!
//! Invariant: a sentence names the fault, and afterwards all is there.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread::JoinHandle;

use perennial::engine::{Engine, Offline, PredictOptions};

use crate::damage::case::{Case, below, check_sentence, describe, large, restore, taught};
use crate::support::{AUTO, Workspace, digest, label, rows, teach_rows};

#[tokio::test(flavor = "multi_thread")]
async fn p9_stray_files() {
    let case = Case::new();
    let model = case.0.data().join("m");
    for (folder, words) in [
        (
            "journal",
            "notes.txt: not a segment of a journal; move it out of this folder",
        ),
        (
            "checkpoints",
            "notes.txt: not a checkpoint; move it out of this folder",
        ),
    ] {
        let stray = model.join(folder).join("notes.txt");
        fs::write(&stray, "mine").unwrap();
        case.refuses(&[words]).await;
        fs::remove_file(stray).unwrap();
    }
    // Where nothing is looked for, they do no harm.
    let newest = case.checkpoints().pop().unwrap();
    for folder in [&case.0.data(), &model, &newest] {
        fs::write(folder.join("notes.txt"), "mine").unwrap();
    }
    assert_eq!(case.comes_back().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_what_a_crash_leaves_is_cleared_away() {
    let case = Case::new();
    let newest = case.checkpoints().pop().unwrap();
    let name = newest.file_name().unwrap().to_str().unwrap().to_owned();
    let replaced = newest.with_file_name(format!(".replaced-{name}"));
    fs::rename(&newest, replaced).unwrap();
    for prefix in [".partial-", ".removed-"] {
        let half = newest.with_file_name(format!("{prefix}{name}"));
        fs::create_dir(&half).unwrap();
        fs::write(half.join("weights.safetensors"), "half").unwrap();
    }
    let journal = case.0.data().join("m/journal");
    // A list of erasures and a segment that were not synced whole, and the start of a group.
    fs::write(journal.join("erasing"), b"\x93perlst\n").unwrap();
    let last = case.0.data().join("m/journal").join(last_name(&journal));
    let torn = [&fs::read(&last).unwrap()[..], b"\x93pergrp\n and no more"].concat();
    fs::write(&last, torn).unwrap();
    let log = case.comes_back().await;
    assert!(log.contains("cut a torn end of the journal"), "{log}");
    assert!(!journal.join("erasing").exists());
    let hidden = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with('.');
    assert!(!case.checkpoints().iter().any(hidden));

    let case = Case::new();
    let position = taught().last_position() + 1;
    let next = case.0.data().join(format!("m/journal/{position:020}.seg"));
    fs::write(&next, [0; 40]).unwrap();
    let log = case.comes_back().await;
    assert!(log.contains("cut a torn end of the journal"), "{log}");
    assert!(!next.exists());
}

fn last_name(journal: &Path) -> std::ffi::OsString {
    let mut names = below(journal);
    names.retain(|path| path.extension().is_some_and(|end| end == "seg"));
    names.pop().unwrap().file_name().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_two_servers_on_one_directory() {
    let case = Case::new();
    let (engine, _) = case.open();
    let words = [
        "another process holds this data directory",
        "use another --data",
    ];
    for refused in [
        Engine::open(case.0.config()).err().unwrap().to_string(),
        Offline::open(&case.0.data(), "m").unwrap_err().to_string(),
        restore(&case, 1).unwrap_err(),
    ] {
        check_sentence(&refused, &words);
    }
    large(engine.model("m").unwrap(), 62).await;
    engine.close();
    drop(engine);
    let looking = Offline::open(&case.0.data(), "m").unwrap();
    check_sentence(
        &Engine::open(case.0.config()).err().unwrap().to_string(),
        &words,
    );
    drop(looking);
    case.open();
}

/// A process that has been forked, and runs its program only once it is released.
struct Forked {
    go: io::PipeWriter,
    started: JoinHandle<io::Result<ExitStatus>>,
}

impl Forked {
    fn new() -> Forked {
        let (mut pipe, go) = io::pipe().unwrap();
        let (mut forked, mut append) = io::pipe().unwrap();
        let mut command = Command::new("true");
        let wait = move || {
            append.write_all(b"1")?;
            pipe.read_exact(&mut [0])
        };
        // SAFETY: it writes to a pipe and reads from another, and allocates nothing.
        unsafe { command.pre_exec(wait) };
        let started = std::thread::spawn(move || command.status());
        forked.read_exact(&mut [0]).unwrap();
        Forked { go, started }
    }

    fn run(mut self) {
        self.go.write_all(b"1").unwrap();
        assert!(self.started.join().unwrap().unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_process_that_is_being_started_does_not_keep_the_lock() {
    let case = Case::new();
    let serving = case.open().0;
    let forked = Forked::new();
    serving.close();
    drop(serving);
    let looking = Offline::open(&case.0.data(), "m").unwrap();
    forked.run();
    let forked = Forked::new();
    drop(looking);
    // One that cannot begin has held it, too.
    let mut config = case.0.config();
    config.models = case.0.data().join("no such folder");
    for _ in 0..2 {
        let refused = Engine::open(config.clone()).err().unwrap().to_string();
        check_sentence(&refused, &["cannot read the models in", "no such folder"]);
    }
    large(case.open().0.model("m").unwrap(), 62).await;
    forked.run();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_disk_that_is_full_at_the_start() {
    use perennial::store::Disk;
    use perennial::store::disk::{ChangeOutcome, DiskChange};
    let full = || {
        Disk::watched(|change| match change {
            DiskChange::Sync(_) | DiskChange::SyncFolder(_) => Ok(ChangeOutcome::Pretend),
            DiskChange::Create(path) if path.exists() => Ok(ChangeOutcome::Make),
            DiskChange::Rename(..) | DiskChange::Remove(_) | DiskChange::RemoveFolder(_) => {
                Ok(ChangeOutcome::Make)
            }
            _ => Err(std::io::Error::from_raw_os_error(libc::ENOSPC)),
        })
    };
    // Nothing is there yet: the sentence names the folder.
    let workspace = describe();
    let config = perennial::engine::Config {
        disk: full(),
        ..workspace.config()
    };
    let refused = Engine::open(config).err().unwrap().to_string();
    check_sentence(
        &refused,
        &["data: cannot create this folder", "No space left on device"],
    );
    teach_rows(workspace.open().model("m").unwrap(), 1, 0.0, "row").await;

    // There is something: it is served, and feedback says why it cannot be taken.
    let case = Case::new();
    let engine = case.0.open_on(full());
    let model = engine.model("m").unwrap();
    assert_eq!(digest(model), taught().digest);
    let (batch, truth) = rows(1, 0.0).next().unwrap();
    let snapshot = model.snapshot("").unwrap();
    let answer = model
        .predict(&snapshot, batch, PredictOptions::default())
        .await
        .unwrap();
    let receipt = model.accept(label(answer.ids[0], "no room", truth));
    let refused = match receipt {
        Ok(receipt) => receipt.wait().await.unwrap_err(),
        Err(error) => error,
    };
    check_sentence(
        &refused.to_string(),
        &["its journal failed", "No space left on device"],
    );
    engine.close();
    drop(engine);
    case.comes_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_replay_under_a_description_of_another_shape() {
    let case = Case::new();
    let before = case.files();
    let offline = Offline::open(&case.0.data(), "m").unwrap();
    let check = |toml: &str, words: &[&str]| {
        let other = Workspace::new(&[("m", toml)]);
        let described = perennial::engine::describe(&other.models().join("m/model.toml"));
        let mut replay = offline.replay_with(described.unwrap().description).unwrap();
        check_sentence(
            &replay.advance(u64::MAX >> 1).unwrap_err().to_string(),
            words,
        );
    };
    check(
        &AUTO.replace("name = \"y\"", "name = \"z\""),
        &["input: \"z\" is not in the journal"],
    );
    check(
        &AUTO.replace("kind = \"category\"", "kind = \"number\""),
        &["\"c\""],
    );
    let task = AUTO.replace("classification", "regression");
    let task = task.replace("classes = [\"a\", \"b\"]\n", "");
    check(&task, &["task: the journal is of a classification"]);
    let bandit = AUTO
        .replace("classification", "bandit")
        .replace("classes", "actions");
    check(&bandit, &["cannot be learned as bandit"]);
    drop(offline);
    assert!(case.files() == before);
    case.comes_back().await;
}
