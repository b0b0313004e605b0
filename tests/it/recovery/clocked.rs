//! A model whose clock the test sets, so that months pass in a test.

#![allow(dead_code)]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use perennial::engine::{
    Acknowledgement, Clock, ClockReading, Config, PredictOptions, ServedModel,
};
use perennial::event::{Batch, Column, PredictionId};
use perennial::store::{Disk, segments};

use crate::support::{AUTO, Workspace, label, rows, wait};

const MINUTE_US: i64 = 60 * 1_000_000;
/// An hour in which predictions take feedback, and ten minutes in which it can be retracted.
pub(super) const SHORT: &str =
    "[journal]\nbytes_max = \"16MiB\"\nage_max = \"1h\"\nretract_within = \"10m\"\n";

pub(super) struct Clocked {
    pub workspace: Workspace,
    pub now: Arc<Mutex<ClockReading>>,
}

impl Clocked {
    pub(super) fn new(journal: &str) -> Clocked {
        Clocked::of(&format!("{AUTO}{journal}"))
    }

    /// A model of this description.
    pub(super) fn of(toml: &str) -> Clocked {
        let workspace = Workspace::new(&[("m", toml)]);
        let now = Arc::new(Mutex::new(ClockReading::agreed(1_700_000_000_000_000)));
        Clocked { workspace, now }
    }

    /// On a disk that is watched, and in a data directory that may be an image of a cut.
    pub(super) fn on(&self, disk: Disk, data: PathBuf) -> Config {
        let now = self.now.clone();
        Config {
            disk,
            data,
            clock: Clock::simulated(move || *now.lock().unwrap()),
            ..self.workspace.config()
        }
    }

    pub(super) fn pass(&self, minutes: i64) {
        self.pass_us(minutes * MINUTE_US);
    }

    pub(super) fn pass_us(&self, us: i64) {
        let mut now = self.now.lock().unwrap();
        now.wall.0 += us;
        now.monotonic_us += us;
    }

    /// The wall clock jumps, and no time passes.
    pub(super) fn jump(&self, minutes: i64) {
        self.now.lock().unwrap().wall.0 += minutes * MINUTE_US;
    }

    pub(super) fn first_position(&self) -> u64 {
        let journal = self.workspace.data().join("m/journal");
        segments(&journal).unwrap()[0].first_position
    }
}

/// A row of so many bytes.
pub(super) fn large(n_bytes: usize) -> Batch {
    let (mut batch, _) = rows(1, 0.0).next().unwrap();
    batch.columns[2] = Column::Strings(vec!["c".repeat(n_bytes)]);
    batch
}

pub(super) fn predict(model: &ServedModel, n_bytes: usize) -> Option<PredictionId> {
    let snapshot = model.snapshot("").unwrap();
    let answer = wait(model.predict(&snapshot, large(n_bytes), PredictOptions::default())).unwrap();
    answer.ids.first().copied()
}

pub(super) async fn feed(
    model: &ServedModel,
    id: PredictionId,
    feedback_id: &str,
) -> Result<u64, String> {
    let receipt = model.accept(label(id, feedback_id, "a"));
    let receipt = receipt.map_err(|error| error.to_string())?;
    match receipt.wait().await.map_err(|error| error.to_string())? {
        Acknowledgement::Accepted { position } => {
            model.wait_for_position(position).await.unwrap();
            Ok(position)
        }
        other => panic!("{feedback_id} is new: {other:?}"),
    }
}
