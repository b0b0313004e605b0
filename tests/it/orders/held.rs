//! An engine that a test holds at one stage of an order.
//!
//! Invariant: it is held once each time that a point is armed, until it is let go.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use perennial::engine::{Config, Engine, Stage, Stages};
use perennial::store::Disk;
use perennial::store::disk::{ChangeOutcome, DiskChange};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::support::Workspace;

/// Where an order can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// A retraction has looked at the journal.
    Surveyed,
    /// The order is about to be journaled.
    HandedOver,
    /// The order is in the writer's group.
    Appended,
    /// The order is written, and about to be synced.
    Synced,
    /// The learner is about to apply it.
    Applying,
    /// The payloads that it erases are about to be overwritten.
    Erasing,
}

impl Point {
    pub(super) const ALL: [Point; 6] = [
        Point::Surveyed,
        Point::HandedOver,
        Point::Appended,
        Point::Synced,
        Point::Applying,
        Point::Erasing,
    ];

    fn of(stage: Stage) -> Point {
        match stage {
            Stage::Surveyed => Point::Surveyed,
            Stage::HandedOver => Point::HandedOver,
            Stage::Appended(_) => Point::Appended,
            Stage::Applying(_) => Point::Applying,
            Stage::Erasing(_) => Point::Erasing,
        }
    }
}

struct Gate {
    armed: Mutex<Option<Point>>,
    reached: UnboundedSender<()>,
    released: Mutex<Receiver<()>>,
}

impl Gate {
    fn pass(&self, point: Point) {
        let held = {
            let mut armed = self.armed.lock().expect("nothing panics under it");
            armed.take_if(|armed| *armed == point).is_some()
        };
        if held {
            let _ = self.reached.send(());
            // Where the test has failed meanwhile, it goes on.
            let _ = self.released.lock().expect("one at a time").recv();
        }
    }
}

/// An engine, and the gate that holds it.
pub(super) struct Held {
    pub engine: Arc<Engine>,
    gate: Arc<Gate>,
    pub reached: UnboundedReceiver<()>,
    release: Sender<()>,
}

impl Held {
    pub(super) fn open(workspace: &Workspace) -> Held {
        let (sender, reached) = unbounded_channel();
        let (release, released) = channel();
        let gate = Arc::new(Gate {
            armed: Mutex::new(None),
            reached: sender,
            released: Mutex::new(released),
        });
        let (of_disk, of_stages) = (gate.clone(), gate.clone());
        // No power is cut here.
        let disk = Disk::watched(move |change| {
            Ok(match change {
                DiskChange::Sync(path) => {
                    if path.extension().is_some_and(|it| it == "seg") {
                        of_disk.pass(Point::Synced);
                    }
                    ChangeOutcome::Pretend
                }
                DiskChange::SyncFolder(_) => ChangeOutcome::Pretend,
                _ => ChangeOutcome::Make,
            })
        });
        let stages = Stages::watched(move |stage| of_stages.pass(Point::of(stage)));
        let config = Config {
            disk,
            stages,
            ..workspace.config()
        };
        Held {
            engine: Engine::open(config).expect("the engine opens"),
            gate,
            reached,
            release,
        }
    }

    /// Holds the next that comes to this point.
    pub(super) fn arm(&self, point: Point) {
        *self.gate.armed.lock().expect("nothing panics under it") = Some(point);
    }

    /// Holds nothing any more that has not been held yet.
    pub(super) fn disarm(&self) {
        *self.gate.armed.lock().expect("nothing panics under it") = None;
    }

    pub(super) fn release(&self) {
        self.release.send(()).expect("the gate is there");
    }
}
