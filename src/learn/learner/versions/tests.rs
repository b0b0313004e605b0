//! Every part of a learner, and the orders that move it: each field is filled, and each is named
//! here, so that a new one has to name its part.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::fixture::PastFixture;
use super::super::retrain::Retraining;
use super::*;
use crate::event::{
    Alarm, Batch, Change, Column, Description, Disposal, Entry, Event, Feedback, Judgement,
    Prediction, PredictionId, Retraction, Selector, Signal, Subject, Time, Verdict, WatchedStream,
};
use crate::learn::records::ledger::{Fate, Ledger};
use crate::learn::records::quarantine::{QuarantineCause, QuarantinedEvent};
use crate::model::{Choice, REVISION, Spec};

/// A class may come that a version does not know.
const TOML: &str = "task = 'classification'\nclasses = ['low', 'high']\nclasses_max = 9\n\
    [[input]]\nname = 'x'\nkind = 'number'\n[learner]\nkind = 'gradient'\n\
    [feedback]\nwindow_s = 10\n[sources]\nbudget = 100\n";
/// The description of the other history: another seed, another window.
const OTHER_TOML: &str = "task = 'classification'\nclasses = ['low', 'high']\nclasses_max = 9\nseed = 9\n\
    [[input]]\nname = 'x'\nkind = 'number'\n[learner]\nkind = 'gradient'\n\
    [feedback]\nwindow_s = 20\n";

struct Story {
    learner: Learner,
    past: PastFixture,
}

impl Story {
    fn new(toml: &str) -> Story {
        let spec = Spec::parse(toml).expect("a description");
        let mut story = Story {
            learner: Learner::new(Arc::new(spec)),
            past: PastFixture::default(),
        };
        story.apply(Event::Description(Description {
            toml: Spec::pin(toml, &[], REVISION),
            build: "a build".to_owned(),
            profile: "a profile".to_owned(),
        }));
        story
    }

    fn apply(&mut self, event: Event) -> Step {
        let position = self.learner.position() + 1;
        let entry = Entry {
            position,
            time: Time(position as i64),
            event,
        };
        self.past.apply(&mut self.learner, entry)
    }

    fn order(&mut self, order: Order) -> Step {
        let (actor, note) = Default::default();
        self.apply(Event::Command(Command { order, actor, note }))
    }

    fn predict(&mut self, x: f64) -> PredictionId {
        let position = self.learner.position();
        let id = PredictionId(u128::from(position) << 32);
        let batch = Batch {
            n_rows: 1,
            columns: vec![Column::Numbers(vec![x])],
        };
        let outputs = self.learner.model().predict(&batch, Choice::Best);
        self.apply(Event::Prediction(Prediction {
            ids: vec![id],
            batch,
            outputs: outputs.expect("an answer"),
            labels: BTreeMap::new(),
            version: self.learner.version(),
            position,
        }));
        id
    }

    fn label(&mut self, id: PredictionId, label: &str) {
        let position = self.learner.position();
        let step = self.apply(Event::Feedback(Feedback {
            feedback_id: format!("{position}"),
            subject: Subject::Prediction(id),
            signal: Signal::Label(label.to_owned()),
            source: format!("{label}-desk"),
            event_time: None,
            tags: BTreeMap::new(),
            actor: String::new(),
            weight: 1.0,
            comment: String::new(),
            may_correct: false,
        }));
        assert_eq!(step.fate, Some(Fate::Applied));
    }

    fn learn(&mut self, x: f64, label: &str) {
        let id = self.predict(x);
        self.label(id, label);
    }
}

/// A learner of which every field holds something, and that has a version of two classes behind it.
fn full() -> Story {
    let mut story = Story::new(TOML);
    for row in 0..40 {
        let label = ["low", "high"][row % 2];
        story.learn(row as f64 - 20.0 * (row % 2) as f64, label);
    }
    story.order(Order::Checkpoint);
    (0..5).for_each(|row| story.learn(100.0 + f64::from(row), "huge"));
    story.predict(3.0);
    let waiting = QuarantinedEvent {
        position: 4,
        time: Time(3),
        cause: QuarantineCause::Flood,
    };
    story.learner.accounts.quarantine.wait(waiting, 9);
    let stream = &mut story.learner.stream;
    stream.feedback_ids.insert("an id", 3, Time(3));
    stream.places.wait(5);
    stream.places.end(5, 9, &["a".to_owned(), "b".to_owned()]);
    stream.alarms.push(Alarm {
        position: 6,
        watched: WatchedStream::Label,
        input: String::new(),
        change: Change::Mix,
        evidence: 2e6,
    });
    stream.refusals.push(OrderRefusal { position: 7 });
    stream.erasures.push(8);
    stream.unknown_until = 1;
    stream.retraining = Some(Retraining {
        begun: 5,
        time: Time(5),
        n_events: 2,
        newest: 40,
        is_open: true,
    });
    stream.verdicts.push(Verdict {
        position: 6,
        judgement: Judgement::Rejected,
        version: 2,
        labels: 9,
        evidence: 0.5,
        difference: 0.25,
    });
    assert_eq!(stream.aliases.set("prod", 1), None);
    stream.tainted.add(90..=91, 92);
    stream
        .revised_tallies
        .push(93, story.learner.accounts.tallies());
    story
}

/// Every field holds something that a learner before its first entry does not.
fn assert_full(learner: &Learner) {
    let Accounts {
        pending,
        ledger,
        sources,
        budgets,
        quarantine,
        evaluation,
        gate,
        detectors,
        monitors,
    } = &learner.accounts;
    let none = Accounts::default();
    assert_ne!(*pending, none.pending);
    assert_ne!(*ledger, none.ledger);
    assert_ne!(*sources, none.sources);
    assert_ne!(*budgets, none.budgets);
    assert_ne!(*quarantine, none.quarantine);
    assert_ne!(*evaluation, none.evaluation);
    assert_ne!(*gate, none.gate);
    assert_ne!(*detectors, none.detectors);
    assert_ne!(*monitors, none.monitors);
    let Stream {
        position,
        time,
        version,
        newest_version,
        n_events,
        feedback_ids,
        places,
        unrecorded,
        verdicts,
        unknown_until,
        alarms,
        refusals,
        erasures,
        retraining,
        newest,
        aliases,
        tainted,
        revised_tallies,
    } = &learner.stream;
    let none = Stream::default();
    assert!(*position > 0 && *time > none.time && *version > 0 && *newest_version > 0);
    assert!(*n_events > 0 && !unrecorded.is_empty() && !refusals.is_empty());
    assert!(!erasures.is_empty() && !verdicts.is_empty() && *unknown_until > 0);
    assert!(!alarms.is_empty() && *retraining != none.retraining);
    assert_ne!(*feedback_ids, none.feedback_ids);
    assert_ne!(*places, none.places);
    assert_ne!(*newest, none.newest);
    assert_ne!(*aliases, none.aliases);
    assert_ne!(*tainted, none.tainted);
    assert_ne!(*revised_tallies, none.revised_tallies);
    assert_ne!(learner.description, Description::default());
}

/// The stream of a learner after an order that made a version of it.
fn with_version(before: &Stream, step: &Step) -> Stream {
    let made = step.version.clone().expect("a version");
    let mut stream = before.clone();
    stream.position += 1;
    stream.time = Time(stream.position as i64);
    stream.newest_version += 1;
    stream.version = stream.newest_version;
    stream.newest.add(&made);
    stream.unrecorded.push(made);
    stream
}

#[test]
fn a_learner_is_saved_whole() {
    let Story { learner, .. } = full();
    assert_full(&learner);
    let loaded = Learner::load(learner.learned().weights(), learner.state());
    assert_eq!(loaded.as_ref(), Ok(&learner));
}

#[test]
fn p6_a_restore_brings_back_what_was_learned_and_its_tallies() {
    let mut story = full();
    let before = story.learner.clone();
    let (weights, state) = story.past.versions[&2].clone();
    let then = Learner::load(weights, state).expect("version 2");
    assert_ne!(before.learned, then.learned);
    let step = story.order(Order::Restore { version: 2 });
    let now = &story.learner;
    assert_eq!(now.learned, then.learned);
    assert_eq!(now.learned.names().len(), 2);
    assert_eq!(
        (&now.spec, &now.description),
        (&before.spec, &before.description)
    );

    let mut stream = with_version(&before.stream, &step);
    stream.unrecorded.last_mut().expect("a version").parent = 2;
    // The labels that places had until now are known for the answers that wait.
    stream.places = now.stream.places.clone();
    assert_ne!(stream.places, before.stream.places);
    assert_eq!(now.stream, stream);

    assert_eq!(now.accounts.sources, then.accounts.sources);
    let restored = |learner: &Learner| learner.accounts.ledger.restored();
    assert_eq!(restored(now), restored(&then));
    assert_eq!(now.accounts.ledger.count(Fate::Undone), 5);
    assert_eq!(now.accounts.ledger.total(), before.accounts.ledger.total());
    assert_eq!(now.tallies().held, then.tallies().held);
    assert_eq!(now.accounts.pending.len(), before.accounts.pending.len());
    assert_eq!(
        now.accounts.evaluation.served(),
        before.accounts.evaluation.served()
    );
}

#[test]
fn p6_another_history_brings_its_learning_and_its_accounts_whole() {
    let mut story = full();
    let before = story.learner.clone();
    let mut other = Story::new(OTHER_TOML);
    (0..45).for_each(|row| other.learn(f64::from(row), "else"));
    let other = other.learner.rederive(Vec::new());
    story.past.other = Some((other.clone(), vec![4]));
    let step = story.order(Order::Retract(Retraction {
        selector: Selector::Source("high-desk".to_owned()),
        first_position: 4,
        disposal: Disposal::Erase,
    }));
    assert_eq!(step.excluded, [4]);
    let now = &story.learner;
    assert_eq!(
        (&now.spec, &now.description),
        (&other.spec, &other.description)
    );
    assert_eq!(now.learned, other.learned);
    assert_eq!(now.accounts, other.accounts);
    assert_eq!(now.history, History::Recorded);
    let mut stream = with_version(&before.stream, &step);
    stream.erasures.push(stream.position);
    stream.feedback_ids = Default::default();
    stream.places = now.stream.places.clone();
    assert_eq!(now.stream, stream);
}

#[test]
fn p6_a_version_from_before_an_erasure_keeps_its_learning_and_its_tallies_alone() {
    let Story { learner, .. } = full();
    let kept = learner.restorable_part(None);
    assert_eq!(kept.learned, learner.learned);
    assert_eq!(
        (&kept.spec, &kept.description),
        (&learner.spec, &learner.description)
    );
    let Accounts {
        pending,
        ledger,
        sources,
        budgets,
        quarantine,
        evaluation,
        gate,
        detectors,
        monitors,
    } = &kept.accounts;
    assert_eq!(
        (ledger, sources),
        (&learner.accounts.ledger, &learner.accounts.sources)
    );
    assert_eq!(*budgets, Default::default());
    assert_eq!(*quarantine, Default::default());
    assert_eq!(*evaluation, Default::default());
    assert_eq!(*gate, None);
    assert_eq!(*detectors, None);
    assert_eq!(*monitors, None);
    assert_eq!(kept.tallies(), learner.tallies());
    let ids = learner.accounts.pending.len();
    assert!(
        pending.len() < ids,
        "an answer of which nothing is learned is gone"
    );
    let stream = Stream {
        position: learner.stream.position,
        time: learner.stream.time,
        version: learner.stream.version,
        newest_version: learner.stream.newest_version,
        n_events: learner.stream.n_events,
        ..Stream::default()
    };
    assert_eq!(kept.stream, stream);
    let ledger = Ledger::default();
    assert_ne!(kept.accounts.ledger, ledger);
}
