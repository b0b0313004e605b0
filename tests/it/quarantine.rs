//! Quarantine: outliers, floods and contradictions wait for a person, who releases or discards them.
//!
//! Invariant: waiting events are not learned, and the effect of one source on another is derived again without
//! it.

use perennial::engine::{Error, PredictOptions, ServedModel};
use perennial::event::{
    Command, Disposal, Entry, Event, Feedback, Order, Outputs, PredictionId, Retraction, Selector,
    Signal,
};
use perennial::learn::{Fate, Learner, QuarantineCause, Step};
use perennial::model::Choice;

use crate::support::cases::{Case, SEED, TASKS, case, learners};
use crate::support::histories::twin;
use crate::support::{LearnerHarness, Workspace, digest, label, rows};

const QUARANTINE: &str = "[quarantine]\noutliers = 8\nflood = 6\n";
const GATED: &str =
    "[publish]\npolicy = \"gated\"\nevery_examples = 4\nmargin = 0.5\nalpha = 0.5\n";

fn submit(
    harness: &mut LearnerHarness,
    (source, row): (&str, usize),
    signal: impl Fn(&Outputs, &str) -> Signal,
) -> Step {
    let (batch, class) = rows(row + 1, 0.3).last().expect("rows go on");
    let prediction = harness.predict(batch);
    let feedback = Feedback {
        source: source.to_owned(),
        signal: signal(&prediction.outputs, class),
        ..label(prediction.ids[0], &format!("{source}-{row}"), "")
    };
    harness.append(Event::Feedback(feedback))
}

fn class(name: &str) -> Signal {
    Signal::Label(name.to_owned())
}

/// The truth of a row, or the one label of a flood.
fn signal_of(case: &Case, source: &str, outputs: &Outputs, truth: &str, row: usize) -> Signal {
    let is_flood = source == "flood";
    match (case.task, outputs) {
        ("classification", _) => class(if is_flood { "a" } else { ["a", "b"][row % 2] }),
        ("regression", _) => Signal::Value(if is_flood { 1.0 } else { (row % 7) as f64 }),
        (_, Outputs::Actions { chosen, .. }) => {
            let right = ["a", "b"][chosen[0] as usize] == truth;
            let part = (row % 5) as f64 / 10.0;
            Signal::Reward(if is_flood {
                1.0
            } else {
                f64::from(u8::from(right)) + part
            })
        }
        (_, other) => panic!("{other:?}"),
    }
}

fn order(harness: &mut LearnerHarness, order: Order) -> Step {
    harness.append(Event::Command(Command {
        order,
        actor: "ann".to_owned(),
        note: String::new(),
    }))
}

fn source(name: &str) -> Selector {
    Selector::Source(name.to_owned()).hashed()
}

fn retract(harness: &mut LearnerHarness, name: &str) {
    let is_first = |entry: &&Entry| match &entry.event {
        Event::Feedback(feedback) => feedback.source == name,
        _ => false,
    };
    let first = harness.journal.iter().find(is_first).expect("it sent some");
    let first_position = first.position;
    let retraction = Retraction {
        selector: Selector::Source(name.to_owned()),
        first_position,
        disposal: Disposal::Keep,
    };
    order(harness, Order::Retract(retraction));
}

fn causes(learner: &Learner) -> Vec<QuarantineCause> {
    learner.quarantined().map(|one| one.cause).collect()
}

fn counts<const N: usize>(learner: &Learner, fates: [Fate; N]) -> [u64; N] {
    fates.map(|fate| learner.ledger().count(fate))
}

/// One source says the same again and again; another says what most others would, and what is usual in
/// the light of the first is a flood without it.
fn flooded(case: &Case, is_released: bool) -> LearnerHarness {
    let mut harness = LearnerHarness::new(&case.toml);
    for row in 0..60 {
        let name = ["flood", "bee", "flood"][row % 3];
        submit(&mut harness, (name, row), |outputs, truth| {
            signal_of(case, name, outputs, truth, row)
        });
    }
    if is_released {
        order(&mut harness, Order::Release(source("flood")));
        order(&mut harness, Order::Discard(source("bee")));
    }
    harness
}

#[test]
fn p6_a_flood_waits_and_without_it_nothing_of_it_was_there() {
    for (learner, _) in learners() {
        for task in TASKS {
            for gate in ["", GATED] {
                let case = case(task, &format!("{learner}{QUARANTINE}{gate}"), SEED, 0);
                for is_released in [false, true] {
                    check_flood(&case, is_released);
                }
            }
        }
    }
}

fn check_flood(case: &Case, is_released: bool) {
    let name = &case.name;
    let mut harness = flooded(case, is_released);
    let learner = &harness.learner;
    let [waiting, discarded] = counts(learner, [Fate::Quarantined, Fate::Discarded]);
    let floods = causes(learner);
    assert_eq!(learner.ledger().total(), 60, "{name}");
    assert_eq!(floods.len() as u64, waiting, "{name}");
    let has_floods = floods.contains(&QuarantineCause::Flood);
    assert_eq!(has_floods, !is_released, "{name}");
    assert!(is_released || discarded == 0, "{name}");
    harness.reload();
    retract(&mut harness, "flood");
    let never = twin(&harness.journal);
    let digests = [&harness, &never].map(|one| {
        (
            one.learner.learned().digest(),
            one.learner.champion_digest(),
        )
    });
    assert_eq!(digests[0], digests[1], "{name}");
    let all = [
        Fate::Applied,
        Fate::Pending,
        Fate::Quarantined,
        Fate::Discarded,
    ];
    assert_eq!(
        counts(&harness.learner, all),
        counts(&never.learner, all),
        "{name}"
    );
    assert_eq!(causes(&harness.learner), causes(&never.learner), "{name}");
}

/// A classification that learns each example at once.
fn classes(keys: &str) -> LearnerHarness {
    let learner = format!("[learner]\nkind = \"analytic\"\n{keys}");
    LearnerHarness::new(&case("classification", &learner, SEED, 0).toml)
}

/// One source labels a row, and another contradicts it, which may not supersede the first.
fn contradicted() -> LearnerHarness {
    let mut harness = classes("");
    let (batch, _) = rows(9, 0.3).last().expect("rows go on");
    let id = harness.predict(batch).ids[0];
    let mut say = |name: &str, label_of: &str| {
        let feedback = Feedback {
            source: name.to_owned(),
            actor: "somebody".to_owned(),
            ..label(id, name, label_of)
        };
        harness.append(Event::Feedback(feedback))
    };
    assert_eq!(say("bee", "a").fate, Some(Fate::Applied));
    let step = say("ant", "b");
    assert_eq!(step.fate, Some(Fate::Quarantined));
    assert_eq!(step.contradicts.as_deref(), Some("bee"));
    assert_eq!(causes(&harness.learner), [QuarantineCause::Contradiction]);
    harness
}

/// The probability of the first class for the contradicted row.
fn first_class(harness: &LearnerHarness) -> f32 {
    let (batch, _) = rows(9, 0.3).last().expect("rows go on");
    match harness.learner.model().predict(&batch, Choice::Best) {
        Ok(Outputs::Probabilities(p)) => p[0],
        other => panic!("{other:?}"),
    }
}

const DECIDED: [Fate; 4] = [
    Fate::Applied,
    Fate::Superseded,
    Fate::Quarantined,
    Fate::Discarded,
];

#[test]
fn p10_a_contradiction_is_discarded() {
    let mut harness = contradicted();
    let before = harness.learner.learned().digest();
    let step = order(&mut harness, Order::Discard(source("ant")));
    assert_eq!((step.refused, step.changed), (None, false));
    assert_eq!(counts(&harness.learner, DECIDED), [1, 0, 0, 1]);
    assert_eq!(harness.learner.learned().digest(), before);
    // A second time there is nothing to decide on.
    let step = order(&mut harness, Order::Release(source("ant")));
    let refused = step.refused.expect("nothing waits");
    assert!(refused.ends_with("waits in quarantine"), "{refused}");
}

#[test]
fn p6_p10_a_contradiction_is_released_and_retracted() {
    let mut harness = contradicted();
    let before = harness.learner.learned().digest();
    let step = order(&mut harness, Order::Release(source("ant")));
    assert_eq!((step.refused, step.changed), (None, true));
    assert_eq!(counts(&harness.learner, DECIDED), [1, 1, 0, 0]);
    assert_eq!(harness.learner.ledger().n_contradictions(), 0);
    // It is as if the other one had been right from the start.
    let mut right = classes("");
    let (batch, _) = rows(9, 0.3).last().expect("rows go on");
    let id = right.predict(batch).ids[0];
    right.append(Event::Feedback(label(id, "ant", "b")));
    assert!((first_class(&harness) - first_class(&right)).abs() < 0.05);
    // A label that comes after it is compared with the released one, where that stands.
    let later = Feedback {
        source: "ant".to_owned(),
        ..label(id, "ant-2", "a")
    };
    assert_eq!(
        harness.append(Event::Feedback(later)).fate,
        Some(Fate::Applied)
    );
    harness.reload();
    retract(&mut harness, "ant");
    assert_eq!(counts(&harness.learner, DECIDED), [1, 0, 0, 0]);
    assert_eq!(harness.learner.learned().digest(), before);
}

#[test]
fn an_outlier_teaches_nothing_until_it_is_released() {
    let learner = format!("[learner]\nkind = \"analytic\"\n{QUARANTINE}");
    let case = case("regression", &learner, SEED, 0);
    let run = |has_outlier: bool| {
        let mut harness = LearnerHarness::new(&case.toml);
        for row in 0..60 {
            submit(&mut harness, ("bee", row), |_, _| {
                Signal::Value((row % 7) as f64)
            });
        }
        if has_outlier {
            let step = submit(&mut harness, ("ant", 60), |_, _| Signal::Value(1e6));
            assert_eq!(step.held_back, Some(QuarantineCause::Outlier));
            assert!(!step.changed);
        }
        harness
    };
    let mut harness = run(true);
    assert_eq!(
        harness.learner.learned().digest(),
        run(false).learner.learned().digest()
    );
    assert_eq!(
        harness.learner.evaluation().served().count,
        59.0,
        "nobody is scored on it"
    );
    order(&mut harness, Order::Release(source("ant")));
    assert_eq!(
        counts(&harness.learner, [Fate::Applied, Fate::Quarantined]),
        [61, 0]
    );
    assert_eq!(harness.learner.evaluation().served().count, 60.0);
}

#[test]
fn p8_the_oldest_that_waits_is_discarded_for_room_and_with_age() {
    let keys = format!(
        "{QUARANTINE}waiting_max = 2\n[journal]\nage_max = \"1h\"\nretract_within = \"1h\"\n"
    );
    let mut harness = classes(&keys);
    submit(&mut harness, ("bee", 0), |_, _| class("b"));
    for row in 1..12 {
        submit(&mut harness, ("ant", row), |_, _| class("a"));
    }
    let all = [Fate::Quarantined, Fate::Discarded];
    assert_eq!(counts(&harness.learner, all), [2, 4]);
    assert_eq!(
        harness
            .learner
            .oldest_needed()
            .map(|at| at < harness.learner.position()),
        Some(true)
    );
    let last = harness.journal.last().expect("there is one").time;
    let later = perennial::event::Time(last.0 + 2 * 3600 * 1_000_000);
    harness.append_at(later, Event::Tick(later));
    assert_eq!(counts(&harness.learner, all), [0, 6]);
    assert_eq!(harness.learner.ledger().total(), 12);
}

async fn say(model: &ServedModel, id: PredictionId, name: &str, class: &str, actor: &str) {
    let feedback = Feedback {
        source: name.to_owned(),
        actor: actor.to_owned(),
        ..label(id, &format!("{name}-{class}"), class)
    };
    let receipt = model.accept(feedback).expect("there is room");
    receipt.wait().await.expect("acknowledged");
}

/// Four rows, each with the right label of one source and a wrong one of another.
async fn four_contradictions(model: &ServedModel) {
    for (n, (batch, truth)) in rows(4, 0.3).enumerate() {
        let snapshot = model.snapshot("").expect("it serves");
        let answer = model
            .predict(&snapshot, batch, PredictOptions::default())
            .await;
        let id = answer.expect("an answer").ids[0];
        let other = if truth == "a" { "b" } else { "a" };
        say(model, id, &format!("bee-{n}"), truth, "bee").await;
        say(model, id, &format!("ant-{n}"), other, "ant").await;
    }
    let last = model.status(false).journal_position;
    model.wait_for_position(last).await.expect("learned");
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_p10_what_waits_is_listed_and_decided_on_and_a_restart_knows_it() {
    let workspace = Workspace::new(&[("m", crate::support::AUTO)]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    four_contradictions(model).await;
    let waiting = model.quarantined().expect("it is read");
    let listed: Vec<&str> = waiting
        .iter()
        .map(|one| one.feedback.source.as_str())
        .collect();
    assert_eq!(listed, ["ant-0", "ant-1", "ant-2", "ant-3"]);
    let decide = |order| {
        model.command(Command {
            order,
            actor: "ann".to_owned(),
            note: "checked".to_owned(),
        })
    };
    decide(Order::Release(source("ant-1")))
        .await
        .expect("it waits");
    decide(Order::Discard(source("ant-2")))
        .await
        .expect("it waits");
    let refused = decide(Order::Discard(source("ant-2"))).await;
    match refused.expect_err("it waits no more") {
        Error::Refused { field, what } => {
            assert_eq!(field, "selector");
            assert!(what.ends_with("waits in quarantine"), "{what}");
        }
        other => panic!("{other}"),
    }
    let status = model.status(false);
    let fates = ["applied", "superseded", "quarantined", "discarded"];
    assert_eq!(fates.map(|fate| status.fates[fate]), [4, 1, 2, 1]);
    assert_eq!((status.quarantined, status.contradictions), (2, 2));
    let learned = digest(model);
    engine.close();
    drop(engine);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    assert_eq!(digest(model), learned);
    assert_eq!(model.quarantined().expect("it is read").len(), 2);
    engine.close();
    drop(engine);
    std::fs::remove_dir_all(workspace.data().join("m/checkpoints")).unwrap();
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    assert_eq!(digest(model), learned, "from the journal alone");
    assert_eq!(model.status(false).quarantined, 2);
}
