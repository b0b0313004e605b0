//! A learner whose candidate is good, and then bad: its promotions, rewinds and freezes.
//!
//! Invariant: a bad candidate is a description with a rate of learning that undoes itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::fixture::PastFixture;
use super::*;
use crate::event::{
    Batch, Column, Command, Description, Entry, Event, Feedback, Signal, Subject, Time,
};
use crate::learn::algorithms::learned::answers::RowOutputs;
use crate::learn::gate::IncidentKind;
use crate::learn::records::ledger::Fate;
use crate::model::weights::Tensors;
use crate::model::{Choice, REVISION, Spec};

/// A description with a policy and a learning rate.
fn toml(policy: &str, learning_rate: f64) -> String {
    format!(
        "task = 'classification'\nclasses = ['low', 'high']\n[[input]]\nname = 'x'\nkind = 'number'\n\
         [learner]\nkind = 'gradient'\nlearning_rate = {learning_rate}\noptimizer = 'adamw'\n\
         [memory]\nstrategy = 'none'\n\
         [publish]\npolicy = '{policy}'\nevery_examples = 200\nscore_every = 1\n"
    )
}

/// A rate at which the network learns, and one at which each update undoes the last.
const GOOD: f64 = 0.05;
const BAD: f64 = 10.0;

/// A learner, the journal that it applied, and its steps.
#[derive(Clone)]
struct Story {
    learner: Learner,
    past: PastFixture,
    steps: Vec<Step>,
    rows: u64,
    /// The label of every row, where it does not follow from it.
    label: Option<&'static str>,
}

impl Story {
    fn new(policy: &str) -> Story {
        let spec = Spec::parse(&toml(policy, GOOD)).expect("a description");
        let mut story = Story {
            learner: Learner::new(Arc::new(spec)),
            past: PastFixture::default(),
            steps: Vec::new(),
            rows: 0,
            label: None,
        };
        story.describe(policy, GOOD);
        story
    }

    fn apply(&mut self, event: Event) -> Step {
        let position = self.learner.position() + 1;
        let entry = Entry {
            position,
            time: Time(position as i64),
            event,
        };
        let step = self.past.apply(&mut self.learner, entry);
        self.steps.push(step.clone());
        step
    }

    fn describe(&mut self, policy: &str, learning_rate: f64) {
        self.apply(Event::Description(Description {
            toml: Spec::pin(&toml(policy, learning_rate), &[], REVISION),
            build: String::new(),
            profile: String::new(),
        }));
    }

    fn order(&mut self, order: Order) -> Step {
        let (actor, note) = ("ann".to_owned(), "a reason".to_owned());
        self.apply(Event::Command(Command { order, actor, note }))
    }

    /// Learns `n` rows whose label follows from them, nine times of ten.
    fn learn(&mut self, n: u64) {
        for _ in 0..n {
            self.rows += 1;
            let hash = self.rows.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let x = (hash >> 40) as f64 / (1 << 24) as f64 - 0.5;
            let is_turned = (hash >> 20).is_multiple_of(10);
            let label = if (x > 0.0) != is_turned {
                "high"
            } else {
                "low"
            };
            let label = self.label.unwrap_or(label);
            self.apply(Event::Feedback(Feedback {
                feedback_id: self.rows.to_string(),
                subject: Subject::Inputs {
                    batch: batch(x),
                    decision: None,
                },
                signal: Signal::Label(label.to_owned()),
                source: if is_turned { "turned" } else { "desk" }.to_owned(),
                event_time: None,
                tags: BTreeMap::new(),
                actor: String::new(),
                weight: 1.0,
                comment: String::new(),
                may_correct: false,
            }));
        }
    }

    /// The decisions, each with its version.
    fn verdicts(&self) -> Vec<(Judgement, u64)> {
        let verdicts = self.steps.iter().flat_map(|step| &step.verdicts);
        verdicts
            .map(|verdict| (verdict.judgement, verdict.version))
            .collect()
    }

    fn n_verdicts(&self, judgement: Judgement) -> usize {
        let verdicts = self.verdicts();
        verdicts.iter().filter(|(one, _)| *one == judgement).count()
    }

    /// The share of right answers of the served state on a line of rows.
    fn right(&self) -> f64 {
        let model = self.learner.served();
        let right = |place: &i32| {
            let x = f64::from(*place) / 100.0;
            let answer = model.predict(&batch(x), Choice::Best).expect("an answer");
            let probabilities = answer.probabilities().expect("of classes").to_vec();
            (probabilities[1] > probabilities[0]) == (x > 0.0)
        };
        let places: Vec<i32> = (-50..50).filter(|place| *place != 0).collect();
        places.iter().filter(|place| right(place)).count() as f64 / places.len() as f64
    }

    fn digest_of(&self, version: u64) -> blake3::Hash {
        let mut versions = self.steps.iter().filter_map(|step| step.version.as_ref());
        let found = versions.find(|one| one.version == version);
        found.expect("it was made").digest
    }

    fn champion_digest(&self) -> blake3::Hash {
        let gate = self.learner.accounts.gate.as_ref().expect("a gate");
        gate.champion().learned.digest()
    }

    /// The journal with its records, applied by a learner that is saved and loaded every `every` entries.
    fn replayed(&self, every: usize) -> Learner {
        let mut learner = Learner::new(self.learner.spec().clone());
        let (mut kept, mut position) = (self.past.clone(), 0);
        let mut apply = |learner: &mut Learner, event: Event, time| {
            position += 1;
            let entry = Entry {
                position,
                time,
                event,
            };
            learner
                .apply(&entry, &mut kept)
                .expect("it does not diverge");
        };
        for (index, entry) in self.past.journal.iter().enumerate() {
            apply(&mut learner, entry.event.clone(), entry.time);
            for record in learner.unrecorded() {
                apply(&mut learner, record, entry.time);
            }
            if index % every == 0 {
                let loaded = Learner::load(learner.learned().weights(), learner.state());
                let loaded = loaded.expect("it was saved");
                assert!(loaded == learner, "entry {index}");
                learner = loaded;
            }
        }
        learner
    }
}

fn batch(x: f64) -> Batch {
    Batch {
        n_rows: 1,
        columns: vec![Column::Numbers(vec![x])],
    }
}

#[test]
fn a_contender_that_proved_itself_is_promoted_bit_for_bit() {
    for policy in ["live", "gated"] {
        let mut story = Story::new(policy);
        story.learn(900);
        let mut promoted = story.verdicts();
        promoted.retain(|(judgement, _)| *judgement == Judgement::Promoted);
        let (_, version) = *promoted.last().expect(policy);
        assert_eq!(story.champion_digest(), story.digest_of(version));
        assert_eq!(
            story.learner.champion().map(|(version, _)| version),
            Some(version)
        );
        assert_ne!(story.learner.learned().digest(), story.champion_digest());
        assert!(story.right() > 0.9, "{policy}: {}", story.right());
    }
}

#[test]
fn p7_a_candidate_that_turned_bad_is_not_promoted() {
    let mut story = Story::new("gated");
    story.learn(2000);
    let good = story.learner.position();
    story.describe("gated", BAD);
    story.learn(4000);
    let (version, position) = story.learner.champion().expect("a gate");
    assert!(position <= good, "version {version} at {position}");
    assert_eq!(story.champion_digest(), story.digest_of(version));
    assert!(story.right() > 0.9, "{}", story.right());
    // The candidate itself is bad, and people are notified once.
    let incidents = story.learner.incidents();
    assert_eq!(incidents.len(), 1);
    assert_eq!(incidents[0].kind, IncidentKind::Worse);
    let model = story.learner.model();
    assert!(model.n_examples > 5000, "it learned on");
}

#[test]
fn p7_a_candidate_that_proves_worse_is_rewound() {
    let mut story = Story::new("live");
    story.learn(2000);
    let (champion, _) = story.learner.champion().expect("a gate");
    let digest = story.champion_digest();
    story.describe("live", BAD);
    let before = story.steps.len();
    while story.n_verdicts(Judgement::Rewound) == 0 {
        story.learn(1);
        assert!(story.steps.len() - before < 600, "it is not found");
    }
    let step = story.steps.last().expect("it was found");
    let version = step.version.as_ref().expect("a version");
    assert_eq!((version.reason, version.parent), (Reason::Rewind, champion));
    assert!(step.changed);
    assert_eq!((version.digest, story.champion_digest()), (digest, digest));
    assert_eq!(story.learner.learned().digest(), digest);
    assert!(story.learner.ledger().count(Fate::Undone) > 0);
    assert_eq!(story.learner.ledger().total(), story.rows);
    let incident = &story.learner.incidents()[0];
    assert_eq!(incident.kind, IncidentKind::Rewound);
    assert_eq!(incident.version, champion);
    assert_eq!(incident.suspects[0].source, "turned");
    assert!(story.right() > 0.9);
}

#[test]
fn a_second_rewind_soon_after_the_first_freezes_the_model() {
    let mut story = Story::new("live");
    story.learn(1000);
    story.describe("live", BAD);
    story.learn(2500);
    assert_eq!(story.n_verdicts(Judgement::Rewound), 2);
    assert_eq!(story.n_verdicts(Judgement::Frozen), 1);
    assert!(story.learner.is_frozen());
    let kinds = story.learner.incidents().iter().map(|one| one.kind);
    let kinds: Vec<IncidentKind> = kinds.collect();
    use IncidentKind::{Frozen, Rewound};
    assert_eq!(kinds, [Rewound, Frozen]);
    let (digest, held) = (
        story.learner.learned().digest(),
        story.learner.ledger().count(Fate::HeldOut),
    );
    story.learn(10);
    assert_eq!(story.learner.learned().digest(), digest);
    assert_eq!(story.learner.ledger().count(Fate::HeldOut), held + 10);
    assert!(story.right() > 0.9);
    // A person mends the description, resumes, and closes the incident.
    story.describe("live", GOOD);
    assert_eq!(story.order(Order::Resume).refused, None);
    let incident = story.learner.incidents()[1].position;
    assert_eq!(story.order(Order::Close { incident }).refused, None);
    story.learn(10);
    assert_ne!(story.learner.learned().digest(), digest);
    let closed = &story.learner.incidents()[1];
    assert_eq!(closed.state, IncidentState::Closed);
    assert_eq!((&closed.actor[..], &closed.note[..]), ("ann", "a reason"));
}

#[test]
fn a_contender_that_is_tested_stays_where_the_candidate_proves_worse() {
    let mut story = Story::new("manual");
    story.learn(1000);
    let (version, _) = story.learner.contender().expect("one is tested");
    let digest = story.digest_of(version);
    assert_eq!(
        story.order(Order::Promote { version, digest }).refused,
        None
    );
    story.learn(250);
    let contender = story.learner.contender().expect("another is tested");
    let tested = |story: &Story| story.learner.promotion_evidence().map(|one| one.labels);
    let labels = tested(&story);
    story.describe("manual", BAD);
    while story.n_verdicts(Judgement::Declined) == 0 {
        story.learn(1);
        assert!(story.rows < 3000, "it is not found");
    }
    assert_eq!(story.learner.contender(), Some(contender));
    assert!(tested(&story) > labels);
    // The next one is not a copy of the candidate that has just proved worse.
    let gate = story.learner.accounts.gate.as_mut().expect("a gate");
    gate.reject(None);
    let next = story.learner.next_contender().expect("none is tested");
    assert_eq!(next, story.learner.n_scored() + 2_000);
}

#[test]
fn under_manual_a_person_alone_promotes() {
    let mut story = Story::new("manual");
    story.learn(1500);
    assert_eq!(story.n_verdicts(Judgement::Promoted), 0);
    assert_eq!(
        story.learner.champion().map(|(version, _)| version),
        Some(1)
    );
    let (version, _) = story.learner.contender().expect("one is tested");
    let evidence = story
        .learner
        .promotion_evidence()
        .expect("of the contender");
    assert!(evidence.wealth >= evidence.needed, "{evidence:?}");
    let digest = story.digest_of(version);
    let other = Order::Promote {
        version,
        digest: [7; 32].into(),
    };
    let refused = story.order(other).refused.expect("other weights");
    assert!(refused.contains("is not the contender"), "{refused}");
    let step = story.order(Order::Promote { version, digest });
    assert_eq!((step.refused, step.changed), (None, true));
    assert_eq!(story.champion_digest(), digest);
    assert!(story.right() > 0.9);
    let refused = story.order(Order::Promote { version, digest }).refused;
    assert!(refused.is_some_and(|why| why.contains("is not the contender")));
}

#[test]
fn a_version_that_a_person_restores_is_the_champion() {
    let mut story = Story::new("gated");
    story.learn(900);
    let step = story.order(Order::Restore { version: 1 });
    let version = step.version.expect("a version").version;
    assert_eq!(
        story.learner.champion().map(|(version, _)| version),
        Some(version)
    );
    assert_eq!(story.champion_digest(), story.learner.learned().digest());
    assert_eq!(story.learner.contender(), None);
}

#[test]
fn p2_a_replay_from_any_save_makes_the_same_decisions() {
    for policy in ["live", "gated", "manual"] {
        let mut story = Story::new(policy);
        story.learn(500);
        story.order(Order::Freeze);
        story.learn(20);
        story.order(Order::Resume);
        story.learn(300);
        story.order(Order::Restore { version: 2 });
        story.learn(500);
        story.describe(policy, BAD);
        story.learn(1500);
        story.order(Order::Acknowledge { incident: 9999 });
        let replayed = story.replayed(97);
        assert_eq!(
            replayed.learned().digest(),
            story.learner.learned().digest()
        );
        let digest = |learner: &Learner| {
            let gate = learner.accounts.gate.as_ref().expect("a gate");
            gate.champion().learned.digest()
        };
        assert_eq!(digest(&replayed), digest(&story.learner));
        assert_eq!(replayed.incidents().len(), story.learner.incidents().len());
        assert_eq!(replayed.ledger(), story.learner.ledger());
        assert!(!story.verdicts().is_empty());
    }
}

#[test]
fn blame_reaches_as_far_back_as_the_state_of_the_champion() {
    let mut story = Story::new("gated");
    story.learn(10);
    let spec = story.learner.spec().clone();
    let mut gate = story.learner.accounts.gate.clone().expect("a gate");
    let sure = |share: f64| {
        Some(RowOutputs {
            outputs: vec![share, 1.0 - share],
        })
    };
    let observe = |gate: &mut Gate, source: &str, share: f64, n: usize| {
        for _ in 0..n {
            let answers = SideAnswers {
                candidate: sure(0.5),
                champion: sure(share),
                contender: gate.contender().and(sure(share)),
            };
            let truth = Truth {
                target: Target::Class(0),
                propensity: None,
            };
            gate.observe(&spec, truth, &answers, source);
        }
    };
    // Half the Brier score of 0.1 for the class that is right is 0.81, and that of 0.7 is 0.09.
    observe(&mut gate, "before", 0.1, 50);
    gate.challenge(gate.champion().clone());
    observe(&mut gate, "poison", 0.1, 20);
    observe(&mut gate, "desk", 0.7, 400);
    gate.promote();
    observe(&mut gate, "desk", 0.7, 100);
    let score = gate.champion_score();
    let loss = (20.0 * 0.81 + 500.0 * 0.09) / 520.0;
    assert_eq!(score.labels, 520);
    assert!(
        score.loss.is_some_and(|mean| (mean - loss).abs() < 1e-9),
        "{score:?}"
    );
    gate.note_decline(900, &spec.publish);
    let suspects = &gate.incidents.all()[0].suspects;
    let named: Vec<(&str, u64)> = suspects
        .iter()
        .map(|one| (&one.source[..], one.labels))
        .collect();
    // The desk has most of the loss, and the poison has more of it a label.
    assert_eq!(named, [("poison", 20), ("desk", 500)]);
    assert!((suspects[0].loss - 0.81).abs() < 1e-9 && suspects[0].share < 0.5);
    let mut tensors = Tensors::default();
    gate.save(&mut tensors);
    assert!(Gate::load(&spec, &mut tensors) == Ok(Some(gate)));
}

#[test]
fn earlier_revisions_have_no_gate() {
    let mut story = Story::new("live");
    let toml = toml("live", GOOD) + "[rules]\nrevision = 2\n";
    story.learner = Learner::new(Arc::new(Spec::parse(&toml).expect("a description")));
    story.apply(Event::Description(Description {
        toml,
        ..Description::default()
    }));
    story.learn(900);
    assert_eq!(story.learner.champion(), None);
    assert_eq!(story.verdicts(), []);
    let refused = story.order(Order::Freeze).refused.expect("no gate");
    assert!(refused.contains("has no gate:"), "{refused}");
}

mod at_defaults;
mod bandits;
mod broken;
mod forgetting;
