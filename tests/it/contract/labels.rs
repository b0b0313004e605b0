//! Answers with labels that came with feedback: a place means another label after a restore or a
//! retraction, and an answer is judged by the label that was given.

use std::collections::BTreeMap;

use perennial::event::{
    Batch, Column, Command, Disposal, Event, Feedback, Order, Outputs, Prediction, PredictionId,
    Retraction, Selector, Signal, Subject,
};
use perennial::model::{REVISION, Spec};

use crate::support::LearnerHarness;

const KINDS: [&str; 4] = ["auto", "gradient", "analytic", "neighbours"];
const N_ROWS: usize = 20;

/// How answers stand in the journal: as this program writes them, or as the one before did.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Written {
    WithLabels,
    ByPlace,
}

/// The order that changes the places of labels.
#[derive(Clone, Copy, Debug)]
enum Undone {
    ByRestore,
    ByRetraction,
}

fn harness(kind: &str, revision: u32) -> LearnerHarness {
    let toml = format!(
        "task = \"classification\"\nclasses = [\"a\", \"b\"]\nclasses_max = 4\n\
         [[input]]\nname = \"x\"\nkind = \"vector\"\nlength = 4\n\
         [learner]\nkind = \"{kind}\"\n"
    );
    LearnerHarness::journaled(&Spec::pin(&toml, &[], revision))
}

/// A row of one of four kinds, far from the others.
fn row(kind: usize) -> Batch {
    let values = (0..4).map(|place| f32::from(u8::from(place == kind)) * 4.0);
    let bytes = values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
    Batch {
        n_rows: 1,
        columns: vec![Column::Vectors(bytes.into())],
    }
}

/// Teaches that rows of this kind have this label.
fn teach(harness: &mut LearnerHarness, kind: usize, label: &str, source: &str, n_rows: usize) {
    for _ in 0..n_rows {
        let feedback = Feedback {
            feedback_id: format!("row-{}", harness.learner.position()),
            subject: Subject::Inputs {
                batch: row(kind),
                decision: None,
            },
            signal: Signal::Label(label.to_owned()),
            source: source.to_owned(),
            event_time: None,
            tags: BTreeMap::new(),
            actor: String::new(),
            weight: 1.0,
            comment: String::new(),
            may_correct: false,
        };
        harness.append(Event::Feedback(feedback));
    }
}

fn command(harness: &mut LearnerHarness, order: Order) {
    let step = harness.append(Event::Command(Command {
        order,
        actor: String::new(),
        note: String::new(),
    }));
    assert_eq!(step.refused, None);
}

/// The answer to a row: the label, and the prediction, which waits from now on.
fn ask(harness: &mut LearnerHarness, kind: usize, written: Written) -> (String, PredictionId) {
    let model = harness.learner.model();
    let position = harness.learner.position();
    let ids = vec![PredictionId(u128::from(position) << 16)];
    let outputs = model.predict(&row(kind), perennial::model::Choice::Best);
    let outputs = outputs.unwrap();
    let labels = model.labels(&outputs);
    let Outputs::Probabilities(shares) = &outputs else {
        panic!("a classification")
    };
    let place = perennial::model::argmax(shares);
    let label = model.names[place].clone();
    assert_eq!(labels, BTreeMap::from([(place as u32, label.clone())]));
    harness.append(Event::Prediction(Prediction {
        ids: ids.clone(),
        batch: row(kind),
        outputs,
        labels: match written {
            Written::WithLabels => labels,
            Written::ByPlace => BTreeMap::new(),
        },
        version: harness.learner.version(),
        position,
    }));
    (label, ids[0])
}

/// Right answers of all that were judged: twenty rows answered "d", of which the world says so
/// once "d" has another place.
fn judged(kind: &str, revision: u32, written: Written, undone: Undone) -> (f64, f64) {
    let mut harness = harness(kind, revision);
    teach(&mut harness, 0, "a", "people", 4);
    command(&mut harness, Order::Checkpoint);
    let (version, first) = (harness.learner.version(), harness.learner.position() + 1);
    teach(&mut harness, 2, "c", "batch", 4);
    teach(&mut harness, 3, "d", "people", 60);
    let answered: Vec<_> = (0..N_ROWS).map(|_| ask(&mut harness, 3, written)).collect();
    assert!(answered.iter().all(|(label, _)| label == "d"), "{kind}");
    match undone {
        Undone::ByRestore => command(&mut harness, Order::Restore { version }),
        Undone::ByRetraction => {
            let selector = Selector::Source("batch".to_owned());
            let first_position = first;
            command(
                &mut harness,
                Order::Retract(Retraction {
                    selector,
                    first_position,
                    disposal: Disposal::Keep,
                }),
            );
        }
    }
    // A restart in between changes nothing.
    harness.reload();
    for (label, id) in answered {
        harness.submit(id, Signal::Label(label));
    }
    assert_eq!(harness.learner.learned().names()[2], "d");
    let served = harness.learner.evaluation().served();
    (served.sum, served.count)
}

#[test]
fn an_answer_is_judged_by_its_label_whatever_its_place_is_by_then() {
    let all = (N_ROWS as f64, N_ROWS as f64);
    for undone in [Undone::ByRestore, Undone::ByRetraction] {
        for kind in KINDS {
            for revision in 1..=REVISION {
                let judged = judged(kind, revision, Written::WithLabels, undone);
                assert_eq!(judged, all, "{kind}, {undone:?}, revision {revision}");
            }
            let old = judged(kind, REVISION, Written::ByPlace, undone);
            assert_eq!(old, all, "{kind}, {undone:?}, without labels");
        }
        // The state that an older program made of its entries stays.
        let old = judged("neighbours", 1, Written::ByPlace, undone);
        assert_eq!(old, (0.0, N_ROWS as f64), "{undone:?}");
    }
}

#[test]
fn an_answer_whose_label_is_not_known_any_more_is_not_judged() {
    let mut harness = harness("neighbours", 1);
    teach(&mut harness, 0, "a", "people", 4);
    command(&mut harness, Order::Checkpoint);
    let version = harness.learner.version();
    teach(&mut harness, 2, "c", "people", 4);
    teach(&mut harness, 3, "d", "people", 60);
    let before = ask(&mut harness, 3, Written::ByPlace);
    let described = ask(&mut harness, 0, Written::ByPlace);
    command(&mut harness, Order::Restore { version });
    teach(&mut harness, 3, "d", "people", 60);
    let since = ask(&mut harness, 3, Written::ByPlace);
    // From here on labels count, and those of the answer before the restore are gone.
    let mut next = harness.learner.description().clone();
    next.toml = format!("{}[rules]\nrevision = {REVISION}\n", next.toml);
    harness.append(Event::Description(next));
    assert_eq!(harness.learner.spec().revision, REVISION);
    let mut check = |(label, id): (String, PredictionId), expected: (f64, f64)| {
        harness.submit(id, Signal::Label(label));
        let served = harness.learner.evaluation().served();
        assert_eq!((served.sum, served.count), expected);
    };
    check(before, (0.0, 0.0));
    check(described, (1.0, 1.0));
    check(since, (2.0, 2.0));
}

#[test]
fn the_newest_label_is_repeated_by_its_name() {
    let mut harness = harness("neighbours", REVISION);
    let repeated = |harness: &LearnerHarness| {
        let score = harness.learner.evaluation().no_change();
        (score.sum, score.count)
    };
    teach(&mut harness, 2, "c", "people", 1);
    teach(&mut harness, 3, "d", "people", 1);
    command(&mut harness, Order::Checkpoint);
    let version = harness.learner.version();
    teach(&mut harness, 0, "a", "people", 1);
    assert_eq!(repeated(&harness), (0.0, 2.0));
    command(&mut harness, Order::Restore { version });
    teach(&mut harness, 0, "a", "people", 1);
    assert_eq!(repeated(&harness), (1.0, 3.0));
    command(&mut harness, Order::Restore { version: 1 });
    // "d" takes the place that "c" had.
    teach(&mut harness, 3, "d", "people", 1);
    command(&mut harness, Order::Restore { version });
    teach(&mut harness, 3, "d", "people", 1);
    assert_eq!(repeated(&harness), (2.0, 5.0));
    command(&mut harness, Order::Restore { version: 1 });
    teach(&mut harness, 2, "c", "people", 1);
    assert_eq!(
        repeated(&harness),
        (2.0, 5.0),
        "what was newest is not known"
    );
}
