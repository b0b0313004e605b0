//! Budgets of sources: the influence of each, and the feedback beyond it.
//!
//! Invariant: the effect of one source on another is derived again without it.

use perennial::event::{
    Command, Disposal, Event, Feedback, Order, Outputs, PredictionId, Retraction, Selector, Signal,
};
use perennial::learn::{Fate, Learner};

use crate::support::cases::{Case, SEED, cases, learners};
use crate::support::histories::twin;
use crate::support::{LearnerHarness, Workspace, label, rows};

/// One name that is vouched for; a source may teach 6 of 24 examples.
const BUDGET: &str = "[sources]\nbudget = 6\nper = 24\nvouched = [\"lab\"]\n";

/// The truth of an answer, or a wrong label; `action` is that of a bandit.
fn signal(case: &Case, class: &str, is_wrong: bool, outputs: &Outputs) -> Signal {
    let class = match (class, is_wrong) {
        ("a", false) | ("b", true) => "a",
        _ => "b",
    };
    match (case.task, outputs) {
        ("classification", _) => Signal::Label(class.to_owned()),
        ("regression", _) => Signal::Value(f64::from(u8::from(class == "a"))),
        (_, Outputs::Actions { chosen, .. }) => {
            let served = ["a", "b"][chosen[0] as usize];
            Signal::Reward(f64::from(u8::from(served == class)))
        }
        (_, other) => panic!("{other:?}"),
    }
}

/// Predicts a row, and has a source label it rightly or wrongly.
fn submit(
    harness: &mut LearnerHarness,
    case: &Case,
    (source, row): (&str, usize),
    change: impl Fn(&mut Feedback),
) -> Fate {
    let (batch, class) = rows(row + 1, 0.3).last().expect("rows go on");
    let prediction = harness.predict(batch);
    let is_wrong = source == "flood";
    let mut feedback = Feedback {
        source: source.to_owned(),
        signal: signal(case, class, is_wrong, &prediction.outputs),
        ..label(prediction.ids[0], &format!("{source}-{row}"), "")
    };
    change(&mut feedback);
    let step = harness.append(Event::Feedback(feedback));
    step.fate.expect("it is feedback")
}

fn learned_of(learner: &Learner, source: &str) -> u64 {
    let mut learned = learner.sources().learned();
    let found = learned.find(|(name, _)| *name == source);
    found.map_or(0, |(_, n)| n)
}

/// Three sources in turn: one that is vouched for, and two that share a budget, of which one floods.
fn flooded(case: &Case, n_rounds: usize) -> LearnerHarness {
    let mut harness = LearnerHarness::new(&case.toml);
    for round in 0..n_rounds {
        for place in 0..4 {
            submit(&mut harness, case, ("flood", 10 * round + place), |_| {});
        }
        submit(&mut harness, case, ("bee", 10 * round + 4), |_| {});
        submit(&mut harness, case, ("lab", 10 * round + 5), |_| {});
    }
    harness
}

fn retract(harness: &mut LearnerHarness, source: &str) {
    let selector = Selector::Source(source.to_owned());
    let is_first = |entry: &&perennial::event::Entry| match &entry.event {
        Event::Feedback(feedback) => feedback.source == source,
        _ => false,
    };
    let first = harness.journal.iter().find(is_first).expect("it sent some");
    let first_position = first.position;
    harness.append(Event::Command(Command {
        order: Order::Retract(Retraction {
            selector,
            first_position,
            disposal: Disposal::Keep,
        }),
        actor: String::new(),
        note: String::new(),
    }));
}

#[test]
fn every_learner_learns_no_more_of_a_source_than_its_budget() {
    for mut case in cases(SEED) {
        println!("{}", case.name);
        case.toml += BUDGET;
        let harness = flooded(&case, 12);
        let learner = &harness.learner;
        let ledger = learner.ledger();
        let [flood, bee, lab] = ["flood", "bee", "lab"].map(|source| learned_of(learner, source));
        let held = ledger.count(Fate::Applied) + ledger.count(Fate::Pending);
        assert_eq!(ledger.total(), 72, "{}", case.name);
        assert_eq!(held + ledger.count(Fate::Throttled), 72, "{}", case.name);
        // A quarter of all that is learned, but for what has begun.
        assert!(
            flood + bee <= 6 + held / 4,
            "{}: {flood} + {bee} of {held}",
            case.name
        );
        assert!(lab <= 6 + held / 4, "{}: {lab} of {held}", case.name);
        assert!(ledger.count(Fate::Throttled) > 20, "{}", case.name);
        let learned = learner.learned();
        assert_eq!(learned.next_number(), held + 1, "{}", case.name);
        assert!(learned.n_remembered() as u64 <= 2 * held, "{}", case.name);
        assert!(learner.budget_used() <= 1.0, "{}", case.name);
    }
}

#[test]
fn p6_a_source_that_was_throttled_by_a_flood_is_as_if_there_had_been_none() {
    let gates = [
        "",
        "[publish]\npolicy = \"gated\"\nevery_examples = 4\nmargin = 0.5\nalpha = 0.5\n",
    ];
    for (learner, remembered_max) in learners() {
        for task in crate::support::cases::TASKS {
            for gate in gates {
                let learner = format!("{learner}{BUDGET}{gate}");
                let case = crate::support::cases::case(task, &learner, SEED, remembered_max);
                check_flood(&case);
            }
        }
    }
}

fn check_flood(case: &Case) {
    let mut harness = flooded(case, 12);
    let throttled = harness.learner.ledger().count(Fate::Throttled);
    let bee = learned_of(&harness.learner, "bee");
    harness.reload();
    retract(&mut harness, "flood");
    let never = twin(&harness.journal);
    let digests = [&harness, &never].map(|one| {
        let learner = &one.learner;
        (learner.learned().digest(), learner.champion_digest())
    });
    assert_eq!(digests[0], digests[1], "{}", case.name);
    let spent = [&harness, &never].map(|one| {
        let spent = one.learner.spent();
        spent.map(|(_, spent)| spent).collect::<Vec<f64>>()
    });
    assert_eq!(spent[0], spent[1], "{}", case.name);
    let ledger = harness.learner.ledger();
    assert_eq!(ledger.total(), 72, "{}", case.name);
    assert!(ledger.count(Fate::Throttled) < throttled, "{}", case.name);
    assert!(learned_of(&harness.learner, "bee") > bee, "{}", case.name);
    println!(
        "{throttled} then {}: {}",
        ledger.count(Fate::Throttled),
        case.name
    );
}

/// A classification that learns each example at once.
fn classes() -> Case {
    let learner = format!("[learner]\nkind = \"analytic\"\n{BUDGET}");
    crate::support::cases::case("classification", &learner, SEED, 0)
}

#[test]
fn an_example_is_learned_whole_or_not_at_all() {
    let case = classes();
    let mut harness = LearnerHarness::new(&case.toml);
    let mut fate =
        |row, weight| submit(&mut harness, &case, ("bee", row), |one| one.weight = weight);
    assert_eq!(fate(0, 4.0), Fate::Applied);
    assert_eq!(fate(1, 2.5), Fate::Throttled);
    assert_eq!(fate(2, 2.0), Fate::Applied);
    assert_eq!(fate(3, 0.001), Fate::Throttled);
    let spent: Vec<(&str, f64)> = harness.learner.spent().collect();
    assert_eq!(spent, [("lab", 0.0), ("", 6.0)]);
    assert_eq!(harness.learner.budget_used(), 1.0);
}

#[test]
fn a_throttled_label_keeps_no_other_label_away() {
    let case = classes();
    let mut harness = LearnerHarness::new(&case.toml);
    submit(&mut harness, &case, ("flood", 0), |one| one.weight = 6.0);
    let (batch, _) = rows(9, 0.3).last().expect("rows go on");
    let id = harness.predict(batch).ids[0];
    let mut say = |source: &str, class: &str, actor: &str| {
        let feedback_id = format!("{source}-{class}-{actor}");
        let feedback = Feedback {
            source: source.to_owned(),
            actor: actor.to_owned(),
            ..label(id, &feedback_id, class)
        };
        harness.append(Event::Feedback(feedback)).fate
    };
    assert_eq!(say("flood", "b", "somebody"), Some(Fate::Throttled));
    // It is the first truth that is learned, and contradicts nothing.
    assert_eq!(say("lab", "a", "somebody"), Some(Fate::Applied));
    assert_eq!(say("flood", "b", "somebody else"), Some(Fate::Quarantined));
    let ledger = harness.learner.ledger();
    let fates = [
        Fate::Applied,
        Fate::Throttled,
        Fate::Quarantined,
        Fate::Superseded,
    ];
    assert_eq!(fates.map(|fate| ledger.count(fate)), [2, 1, 1, 0]);
    assert_eq!(harness.learner.evaluation().served().count, 2.0);
}

#[test]
fn a_source_corrects_its_own_labels_at_no_cost() {
    let case = classes();
    let mut harness = LearnerHarness::new(&case.toml);
    submit(&mut harness, &case, ("bee", 0), |one| one.weight = 5.0);
    let (batch, _) = rows(9, 0.3).last().expect("rows go on");
    let id = harness.predict(batch).ids[0];
    let mut say = |source: &str, n: u32, class: &str| {
        let feedback = Feedback {
            source: source.to_owned(),
            ..label(id, &format!("{source}-{n}"), class)
        };
        harness.append(Event::Feedback(feedback)).fate
    };
    assert_eq!(say("bee", 1, "a"), Some(Fate::Applied));
    assert_eq!(say("bee", 2, "b"), Some(Fate::Applied));
    assert_eq!(
        say("ant", 1, "a"),
        Some(Fate::Throttled),
        "it shares the budget"
    );
    assert_eq!(say("lab", 1, "a"), Some(Fate::Applied));
    let spent: Vec<f64> = harness.learner.spent().map(|one| one.1).collect();
    assert_eq!(spent, [1.0, 6.0]);
}

#[test]
fn a_throttled_reward_earns_nothing_that_others_could_teach() {
    for aggregate in ["first", "sum", "max", "last"] {
        let learner = format!(
            "[learner]\nkind = \"analytic\"\n{BUDGET}[feedback]\naggregate = \"{aggregate}\"\n"
        );
        let case = crate::support::cases::case("bandit", &learner, SEED, 0);
        let run = |has_flood: bool| {
            let mut harness = LearnerHarness::new(&case.toml);
            submit(&mut harness, &case, ("bee", 0), |one| one.weight = 6.0);
            let (batch, _) = rows(9, 0.3).last().expect("rows go on");
            let id = harness.predict(batch).ids[0];
            let mut say = |source: &str, reward| {
                let feedback = Feedback {
                    source: source.to_owned(),
                    signal: Signal::Reward(reward),
                    ..label(id, source, "")
                };
                harness.append(Event::Feedback(feedback)).fate
            };
            if has_flood {
                assert_eq!(say("flood", 1000.0), Some(Fate::Throttled));
            }
            assert_eq!(say("lab", 1.0), Some(Fate::Applied));
            harness.learner.learned().digest()
        };
        assert_eq!(run(true), run(false), "{aggregate}");
    }
}

#[test]
fn a_preference_costs_its_weight_once() {
    let learner = format!("[learner]\nkind = \"analytic\"\n{BUDGET}");
    let case = crate::support::cases::case("bandit", &learner, SEED, 0);
    let mut harness = LearnerHarness::new(&case.toml);
    let mut prefer = |row: usize, weight| {
        let mut ids = rows(row + 2, 0.3)
            .skip(row)
            .map(|(batch, _)| harness.predict(batch).ids[0]);
        let [first, second]: [PredictionId; 2] = [(); 2].map(|()| ids.next().expect("two"));
        drop(ids);
        let feedback = Feedback {
            source: "bee".to_owned(),
            signal: Signal::PreferredOver(second),
            weight,
            ..label(first, &format!("{row}"), "")
        };
        harness.append(Event::Feedback(feedback)).fate
    };
    assert_eq!(prefer(0, 6.0), Some(Fate::Applied));
    assert_eq!(prefer(2, 0.5), Some(Fate::Throttled));
    assert_eq!(harness.learner.spent().map(|one| one.1).last(), Some(6.0));
}

#[test]
fn p12_a_description_with_a_larger_budget_takes_more_at_once() {
    let case = classes();
    let mut harness = LearnerHarness::new(&case.toml);
    let full = |harness: &mut LearnerHarness, row| {
        submit(harness, &case, ("bee", row), |one| one.weight = 6.0)
    };
    assert_eq!(full(&mut harness, 0), Fate::Applied);
    assert_eq!(full(&mut harness, 1), Fate::Throttled);
    let Event::Description(mut description) = harness.journal[0].event.clone() else {
        panic!("a journal begins with its description")
    };
    description.toml = description.toml.replace("budget = 6", "budget = 12");
    harness.append(Event::Description(description.clone()));
    assert_eq!(full(&mut harness, 2), Fate::Applied);
    assert_eq!(full(&mut harness, 3), Fate::Throttled);
    description.toml = description.toml.replace("[\"lab\"]", "[\"bee\"]");
    harness.append(Event::Description(description));
    assert_eq!(full(&mut harness, 4), Fate::Applied);
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_p12_a_throttled_event_says_so_and_the_bound_is_shown() {
    let toml = format!("{}{BUDGET}", crate::support::AUTO);
    let workspace = Workspace::new(&[("m", &toml)]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    for (index, (batch, truth)) in rows(8, 0.3).enumerate() {
        crate::support::teach(model, batch, truth, &format!("row-{index}")).await;
    }
    let status = model.status(false);
    assert_eq!(status.fates["throttled"], 2);
    assert_eq!(status.fates.values().sum::<u64>(), 8);
    let first = &status.budgets[0];
    assert_eq!(
        (first.source.as_str(), first.spent, first.budget),
        ("", 6.0, 6.0)
    );
    let is_budget = |bound: &&perennial::engine::Bound| bound.name == "source_budget";
    let bound = status.bounds.iter().find(is_budget).expect("it is listed");
    assert_eq!((bound.used, bound.level.word()), (1.0, "reached"));
    let found = model.fate("row-7").unwrap().expect("it is there");
    assert_eq!(found.feedback.fate, Some(Fate::Throttled));
    let found = model.fate("row-5").unwrap().expect("it is there");
    assert_eq!(
        (found.feedback.fate, found.feedback.weight),
        (Some(Fate::Applied), 1.0)
    );
}
