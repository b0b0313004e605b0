//! The rewards of a journal's decisions are those that the learner credited.
//!
//! Invariant: the credits are those of a learner that applied the same entries, looked at after
//! each of them; the reader of decisions never sees it.

use std::collections::BTreeMap;

use perennial::engine::Offline;
use perennial::event::{
    Batch, Column, Command, Description, Event, Feedback, Order, PredictionId, Signal, Time,
};
use perennial::learn::PredictionSearch;
use perennial::model::{REVISION, Spec};
use perennial::store::{Config, Directory, Journal};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::BANDIT;
use crate::support::{LearnerHarness, Workspace, label, syncing_nothing};

const SECOND: i64 = 1_000_000;

/// A bandit's journal, and the rewards of its decisions.
struct JournaledBandit {
    harness: LearnerHarness,
    revision: u32,
    has_default: bool,
    rng: ChaCha8Rng,
    ids: Vec<PredictionId>,
    credits: BTreeMap<PredictionId, f64>,
}

impl JournaledBandit {
    fn new(feedback: &str, revision: u32, seed: u64) -> JournaledBandit {
        JournaledBandit {
            harness: LearnerHarness::journaled(&described(feedback, revision)),
            revision,
            has_default: is_default(feedback),
            rng: ChaCha8Rng::seed_from_u64(seed),
            ids: Vec::new(),
            credits: BTreeMap::new(),
        }
    }

    fn append(&mut self, event: Event) {
        self.harness.append(event);
        self.look();
    }

    /// Takes over the credits of the predictions that wait.
    fn look(&mut self) {
        for id in &self.ids {
            if let PredictionSearch::Waiting(waiting) = self.harness.learner.joins().find(*id) {
                let credit = waiting.credited.map(|credit| (*id, credit));
                self.credits.extend(credit);
            }
        }
    }

    /// Answers a row that tells its prediction.
    fn predict(&mut self) -> PredictionId {
        let numbers = vec![self.ids.len() as f64];
        let columns = vec![Column::Numbers(numbers)];
        let prediction = self.harness.predict(Batch { n_rows: 1, columns });
        self.ids.push(prediction.ids[0]);
        self.look();
        prediction.ids[0]
    }

    fn submit(&mut self, id: PredictionId, signal: Signal) {
        let feedback_id = format!("said-{}", self.harness.learner.position());
        self.append(Event::Feedback(Feedback {
            signal,
            ..label(id, &feedback_id, "")
        }));
    }

    fn describe(&mut self, feedback: &str) {
        self.append(Event::Description(Description {
            toml: described(feedback, self.revision),
            ..Description::default()
        }));
    }

    /// Time passes, one tick a second.
    fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.append(Event::Tick(Time(self.harness.learner.time().0 + SECOND)));
        }
    }

    fn step(&mut self) {
        let recent = self.ids.len().saturating_sub(24);
        let any = self.ids[recent..].choose(&mut self.rng).copied();
        let id = any.unwrap_or(PredictionId(9));
        let reward = f64::from(self.rng.random_range(-3..4));
        match self.rng.random_range(0..100) {
            0..25 => drop(self.predict()),
            25..50 => self.submit(id, Signal::Reward(reward)),
            50..65 => {
                let name = ["click", "dwell", "unknown"].choose(&mut self.rng);
                let name = (*name.expect("three")).to_owned();
                self.submit(
                    id,
                    Signal::Named {
                        name,
                        value: reward,
                    },
                );
            }
            65..72 => {
                let other = self.ids[recent..].choose(&mut self.rng);
                self.submit(id, Signal::PreferredOver(other.copied().unwrap_or(id)));
            }
            72..80 => {
                let label = ["left", "right", "neither"].choose(&mut self.rng);
                self.submit(id, Signal::Label((*label.expect("three")).to_owned()));
            }
            80..95 => {
                let seconds = self.rng.random_range(1..12);
                self.pass(seconds);
            }
            95..98 => {
                // A default that comes closes old windows within the entry that drops them, where
                // no look falls between.
                let same = |one: &&str| is_default(one) == self.has_default;
                let all: Vec<&str> = DESCRIPTIONS
                    .iter()
                    .copied()
                    .filter(|one| same(one))
                    .collect();
                let feedback = *all.choose(&mut self.rng).expect("some");
                self.describe(feedback);
            }
            _ => {
                let (order, actor, note) = (Order::Checkpoint, String::new(), String::new());
                self.append(Event::Command(Command { order, actor, note }));
            }
        }
    }

    /// Compares the credits with the rewards of the journal's decisions.
    fn check(&self, place: &str) {
        let workspace = Workspace::new(&[]);
        let directory = Directory::open(&workspace.data()).expect("a directory");
        let config = Config {
            disk: syncing_nothing(),
            ..Config::default()
        };
        let folder = directory.journal("m");
        let (mut journal, _) = Journal::create_or_open(&folder, 0, config).expect("a journal");
        for entry in &self.harness.journal {
            journal.append(entry.time, &entry.event).expect("appended");
        }
        journal.close().expect("closed");
        drop(directory);
        let offline = Offline::open(&workspace.data(), "m").expect("a sound journal");
        let spec = Spec::parse(BANDIT).expect("a description");
        let mut valued = BTreeMap::new();
        for decided in offline.decisions(&spec).expect("a bandit's journal") {
            let decided = decided.expect("a decision");
            let Column::Numbers(numbers) = &decided.batch.columns[0] else {
                panic!("a number")
            };
            valued.insert(self.ids[numbers[0] as usize], decided.reward);
        }
        assert_eq!(valued, self.credits, "{place}");
    }
}

/// Whether silence earns something.
fn is_default(feedback: &str) -> bool {
    feedback.contains("default_reward")
}

/// As a journal holds it.
fn described(feedback: &str, revision: u32) -> String {
    let toml = format!(
        "{BANDIT}[learner]\nkind = \"analytic\"\nfeatures = 8\n[feedback]\n{feedback}\
         [feedback.signals]\nclick = {{ reward = 1.0 }}\ndwell = {{ scale = 2.0 }}\n\
         [journal]\nage_max = \"40s\"\n"
    );
    Spec::pin(&toml, &[], revision)
}

const DESCRIPTIONS: [&str; 5] = [
    "window_s = 10\ndefault_reward = 0.25\naggregate = \"sum\"\n",
    "window_s = 25\ndefault_reward = 0.75\naggregate = \"last\"\n",
    "window_s = 10\naggregate = \"max\"\n",
    "window_s = 5\ndefault_reward = 0.25\nwaiting_max = 20\n",
    "window_s = 25\naggregate = \"sum\"\nwaiting_max = 20\n",
];

/// Of a first description under a revision of the learning rules: the signals of each source, and the credits.
fn check(revision: u32, feedback: &str, steps: impl Fn(&mut JournaledBandit), expected: &[f64]) {
    let mut bandit = JournaledBandit::new(feedback, revision, 0);
    steps(&mut bandit);
    bandit.check(&format!("revision {revision}, {feedback}"));
    let credits: Vec<f64> = bandit.credits.values().copied().collect();
    assert_eq!(credits, expected, "revision {revision}, {feedback}");
}

#[test]
fn a_late_reward_counts_as_it_does_for_the_learner() {
    let [silence, .., open] = DESCRIPTIONS;
    let late = |bandit: &mut JournaledBandit| {
        let id = bandit.predict();
        bandit.pass(30);
        bandit.submit(id, Signal::Reward(3.0));
    };
    for revision in 1..=REVISION {
        // It corrects the reward of silence; without a default its window has ended.
        check(revision, silence, late, &[3.0]);
        check(revision, open, late, &[]);
    }
}

#[test]
fn a_reward_beyond_the_age_of_its_prediction_counts_nowhere() {
    let old = |bandit: &mut JournaledBandit| {
        let id = bandit.predict();
        bandit.pass(60);
        bandit.submit(id, Signal::Reward(3.0));
    };
    for revision in 1..=REVISION {
        check(revision, DESCRIPTIONS[0], old, &[0.25]);
    }
}

#[test]
fn a_label_that_is_no_action_leaves_silence_its_reward() {
    let strange = |bandit: &mut JournaledBandit| {
        let id = bandit.predict();
        bandit.submit(id, Signal::Label("neither".to_owned()));
        bandit.pass(30);
    };
    for revision in 1..=REVISION {
        check(revision, DESCRIPTIONS[0], strange, &[0.25]);
    }
}

#[test]
fn any_decision_is_worth_what_the_learner_credited() {
    for revision in 1..=REVISION {
        for seed in 0..40 {
            let first = DESCRIPTIONS[seed as usize % DESCRIPTIONS.len()];
            let mut bandit = JournaledBandit::new(first, revision, seed);
            (0..150).for_each(|_| bandit.step());
            bandit.pass(30);
            bandit.check(&format!("revision {revision}, seed {seed}"));
        }
    }
}
