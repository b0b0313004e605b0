//! A data directory in which one thing is wrong.
//!
//! Invariant: nothing is changed by refusing it, the other model goes on, and once it is mended
//! the model comes to the same digest.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use perennial::engine::{Clock, ClockReading, Config, Engine, Offline, Readiness, ServedModel};
use perennial::event::{Column, Command, Order};
use uuid::Uuid;

use crate::damage::flips::collect;
use crate::damage::log::warnings;
use crate::support::{
    AUTO, Workspace, copy, digest, order, rows, syncing_nothing, teach, teach_rows,
};

const LIMITS: &str = "[feedback]\nwaiting_max = 5\n[journal]\nbytes_max = \"16MiB\"\n";

/// A data directory in which both models have learned, and the digest of "m".
pub(super) struct Taught {
    pub workspace: Workspace,
    pub digest: blake3::Hash,
}

pub(super) fn describe() -> Workspace {
    let toml = format!("{AUTO}{LIMITS}");
    Workspace::new(&[("m", &toml), ("other", &toml)])
}

pub(super) fn taught() -> &'static Taught {
    static TAUGHT: OnceLock<Taught> = OnceLock::new();
    TAUGHT.get_or_init(|| on_a_thread_of_its_own(0.3))
}

/// Another one, which lived through other rows: its positions are the same, its journal is not.
pub(super) fn stranger() -> &'static Taught {
    static STRANGER: OnceLock<Taught> = OnceLock::new();
    STRANGER.get_or_init(|| on_a_thread_of_its_own(1.3))
}

/// Tests run within a runtime, which none can be started in.
fn on_a_thread_of_its_own(turn: f64) -> Taught {
    std::thread::spawn(move || run(turn)).join().unwrap()
}

fn run(turn: f64) -> Taught {
    let workspace = describe();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // Time stands still: a journal of more than ten seconds has a checkpoint of retention as well.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now_us = now.as_micros() as i64;
    let config = Config {
        disk: syncing_nothing(),
        clock: Clock::simulated(move || ClockReading::agreed(now_us)),
        ..workspace.config()
    };
    let engine = Engine::open(config).expect("the engine opens");
    let digest = runtime.block_on(async {
        teach_rows(engine.model("other").unwrap(), 5, turn, "row").await;
        let model = engine.model("m").unwrap();
        teach_rows(model, 20, turn, "row").await;
        order(model, Order::Checkpoint).await;
        // Rows of 50 kB, so that there are several segments.
        for n in 0..50 {
            large(model, n).await;
        }
        digest(model)
    });
    engine.close();
    drop(engine);
    Taught { workspace, digest }
}

pub(super) async fn large(model: &ServedModel, n: usize) {
    let (mut batch, truth) = rows(n + 1, 0.7).nth(n).unwrap();
    batch.columns[2] = Column::Strings(vec!["c".repeat(50_000)]);
    teach(model, batch, truth, &format!("large-{n}")).await;
}

/// A copy of it, for one thing to be wrong.
pub(super) struct Case(pub Workspace);

impl Case {
    pub(super) fn new() -> Case {
        let workspace = describe();
        copy(&taught().workspace.data(), &workspace.data());
        Case(workspace)
    }

    pub(super) fn segments(&self) -> Vec<PathBuf> {
        let segments = below(&self.0.data().join("m/journal"));
        assert_eq!(segments.len(), 3, "{segments:?}");
        segments
    }

    pub(super) fn segment(&self, index: usize) -> PathBuf {
        self.segments().swap_remove(index)
    }

    /// Of version 1, of version 2 and of the clean stop.
    pub(super) fn checkpoints(&self) -> Vec<PathBuf> {
        below(&self.0.data().join("m/checkpoints"))
    }

    /// The files without the checkpoints that make an older part of the journal needless.
    pub(super) fn forget(self, n_checkpoints: usize) -> Case {
        for newer in self.checkpoints().split_off(n_checkpoints) {
            fs::remove_dir_all(newer).unwrap();
        }
        self
    }

    pub(super) fn open(&self) -> (Arc<Engine>, String) {
        warnings(|| self.0.open_on(syncing_nothing()))
    }

    /// The model is not served, with these words; its files stay, and the other one learns.
    pub(super) async fn refuses(&self, words: &[&str]) {
        let before = self.files();
        let (engine, _) = self.open();
        let Readiness::Unavailable(reason) = engine.model("m").unwrap().status(false).state else {
            panic!("it cannot be served: {words:?}")
        };
        check_sentence(&reason, words);
        let (batch, truth) = rows(1, 0.0).next().unwrap();
        let feedback_id = format!("goes on {}", Uuid::from_u128(rand::random()));
        teach(engine.model("other").unwrap(), batch, truth, &feedback_id).await;
        engine.close();
        assert!(self.files() == before, "something was changed: {reason}");
    }

    /// A reader of the journal without a server gets the same sentence.
    pub(super) fn refuses_to_be_looked_at(&self, words: &[&str]) {
        let before = self.files();
        let error = Offline::open(&self.0.data(), "m").unwrap_err().to_string();
        check_sentence(&error, words);
        assert!(self.files() == before, "something was changed: {error}");
    }

    pub(super) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        collect(&self.0.data(), Path::new("m"), &mut files);
        files
    }

    /// The model comes to the same digest and learns on; gives the warnings.
    pub(super) async fn comes_back(&self) -> String {
        let (engine, log) = self.open();
        let model = engine.model("m").unwrap();
        assert_eq!(model.status(false).state, Readiness::Ready, "{log}");
        assert_eq!(digest(model), taught().digest, "{log}");
        large(model, 60).await;
        engine.close();
        log
    }

    /// The damage of the versions, as they are listed.
    pub(super) fn listed(&self) -> String {
        let offline = Offline::open(&self.0.data(), "m").unwrap();
        let wrong = offline.versions().unwrap().into_iter();
        let wrong: Vec<String> = wrong.filter_map(|(_, wrong)| wrong).collect();
        wrong.join("; ")
    }
}

pub(super) fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

pub(super) fn check_sentence(sentence: &str, words: &[&str]) {
    for word in words {
        assert!(sentence.contains(word), "{word:?} in {sentence:?}");
    }
    assert!(!sentence.contains('\n'), "one sentence: {sentence}");
}

/// Half of a file; gives all of it.
pub(super) fn truncate(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    bytes
}

/// Brings a version back without a server.
pub(super) fn restore(case: &Case, version: u64) -> Result<u64, String> {
    let command = Command {
        order: Order::Restore { version },
        actor: String::new(),
        note: String::new(),
    };
    let made = Offline::order(&case.0.data(), "m", command);
    made.map(|made| made.version)
        .map_err(|error| error.to_string())
}

impl Taught {
    pub(super) fn last_position(&self) -> u64 {
        Offline::open(&self.workspace.data(), "m")
            .unwrap()
            .positions()
            .1
    }
}
