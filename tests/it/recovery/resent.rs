//! Many feedback ids, of which most lie on disk alone: an event that is sent again is a duplicate and is learned
//! once.
//!
//! Invariant: a day passes for no id, so each of them has to be known.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use perennial::engine::{Acknowledgement, Engine, Offline, Receipt, ServedModel};
use perennial::event::{Batch, Feedback, PredictionId, Subject};

use super::clocked::Clocked;
use crate::support::{copy, digest, gradient, label, rows};

/// Events that are on their way at a time.
const IN_FLIGHT: usize = 1024;
/// Rows, which come again and again under new ids.
const ROWS: usize = 64;
/// The clock of the machine jumps by so many minutes before each start.
const JUMPS: [i64; 3] = [0, 400 * 24 * 60, -500 * 24 * 60];

/// Ids of which some are sent again.
struct Sent {
    clocked: Clocked,
    n_ids: u64,
    rows: Vec<(Batch, &'static str)>,
    /// Ids that are sent again, with the positions of their events.
    again: Vec<(u64, u64)>,
}

impl Sent {
    fn new(n_ids: u64, journal: &str) -> Sent {
        let learner = gradient("sgd", "", "none");
        let versions = "[versions]\nevery_examples = 1000000\n";
        let spread = [0, 1, n_ids / 3, n_ids / 2, n_ids - 1];
        Sent {
            clocked: Clocked::of(&format!("{learner}{versions}{journal}")),
            n_ids,
            rows: rows(ROWS, 0.3).collect(),
            again: spread.map(|number| (number, 0)).to_vec(),
        }
    }

    fn open(&self) -> Arc<Engine> {
        self.open_at(self.clocked.workspace.data())
    }

    fn open_at(&self, data: PathBuf) -> Arc<Engine> {
        let disk = self.clocked.workspace.config().disk;
        Engine::open(self.clocked.on(disk, data)).expect("the engine opens")
    }

    /// A copy of the files that a kill leaves behind, taken while the engine runs.
    async fn resend_after_a_kill(&self) {
        let image = tempfile::tempdir().expect("a temporary folder");
        copy(&self.clocked.workspace.data(), image.path());
        let engine = self.open_at(image.path().to_owned());
        let model = engine.model("m").expect("it is served");
        self.resend(model, "after a kill").await;
    }

    /// A row with its label, under the id of this number.
    fn event(&self, number: u64) -> Feedback {
        let (batch, class) = &self.rows[(number % ROWS as u64) as usize];
        Feedback {
            subject: Subject::Inputs {
                batch: batch.clone(),
                decision: None,
            },
            ..label(PredictionId(1), &format!("id-{number}"), class)
        }
    }

    /// Sends every id once.
    async fn send_all(&mut self, model: &ServedModel) {
        let mut in_flight: VecDeque<(u64, Receipt)> = VecDeque::new();
        for number in 0..self.n_ids {
            if in_flight.len() == IN_FLIGHT {
                let position = self.acknowledge(in_flight.pop_front()).await;
                if number.is_multiple_of(IN_FLIGHT as u64) {
                    model
                        .wait_for_position(position)
                        .await
                        .expect("it is learned");
                }
            }
            self.clocked.pass_us(1000);
            let receipt = model.accept(self.event(number)).expect("there is room");
            in_flight.push_back((number, receipt));
        }
        let mut position = 0;
        while !in_flight.is_empty() {
            position = self.acknowledge(in_flight.pop_front()).await;
        }
        model
            .wait_for_position(position)
            .await
            .expect("it is learned");
    }

    async fn acknowledge(&mut self, sent: Option<(u64, Receipt)>) -> u64 {
        let (number, receipt) = sent.expect("one is on its way");
        let Acknowledgement::Accepted { position } = receipt.wait().await.expect("it is journaled")
        else {
            panic!("id-{number} is new")
        };
        let again = self.again.iter_mut().filter(|(one, _)| *one == number);
        again.for_each(|(_, at)| *at = position);
        position
    }

    /// Sends some again: each is a duplicate of its first event, and all ids are learned once.
    async fn resend(&self, model: &ServedModel, when: &str) {
        for (number, position) in &self.again {
            let receipt = model.accept(self.event(*number)).expect("there is room");
            let accepted = receipt.wait().await.expect("it is journaled");
            let expected = Acknowledgement::Duplicate {
                position: *position,
            };
            assert_eq!(accepted, expected, "id-{number} {when}");
        }
        assert_eq!(model.status(false).fates["applied"], self.n_ids, "{when}");
    }
}

/// Sends so many ids and then some again: as served, after a kill, and after starts that no stop went
/// before, under clocks that jump; and applies the journal again.
pub(crate) async fn known_after_a_kill_a_replay_and_jumps(n_ids: u64, journal: &str) {
    let began = Instant::now();
    let took = |what: &str| println!("{:.1} s: {what}", began.elapsed().as_secs_f64());
    let mut sent = Sent::new(n_ids, journal);
    let mut engine = sent.open();
    sent.send_all(engine.model("m").expect("it is served"))
        .await;
    took(&format!("{n_ids} ids are sent, and their events learned"));
    sent.resend(engine.model("m").expect("it is served"), "as served")
        .await;
    sent.resend_after_a_kill().await;
    took("killed, and sent again");
    for jump in JUMPS {
        drop(engine);
        sent.clocked.jump(jump);
        engine = sent.open();
        let model = engine.model("m").expect("it is served");
        sent.resend(model, &format!("after a jump of {jump} minutes"))
            .await;
        took(&format!(
            "ended without a stop, clock {jump} minutes on: {} sent again are duplicates",
            sent.again.len()
        ));
    }
    let expected = digest(engine.model("m").expect("it is served"));
    engine.close();
    drop(engine);
    let offline = Offline::open(&sent.clocked.workspace.data(), "m").expect("it is stopped");
    let mut replay = offline.replay(None).expect("the journal is whole");
    while replay.advance(100_000).expect("it does not differ") {}
    assert_eq!(replay.outcome().digest, expected.to_string());
    took("applied again to the same digest");
}
