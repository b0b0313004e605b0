//! The weight of an example: every learner takes one of weight 3 about as it takes three examples.

use perennial::event::{Batch, Decision, Event, Feedback, Outputs, PredictionId, Signal, Subject};
use perennial::learn::Fate;
use perennial::model::Choice;

use crate::support::cases::{Case, SEED, TASKS, case, gradient, learners};
use crate::support::{LearnerHarness, label, rows};

use super::mean;

/// The label of two of three events, and that of the third.
fn signals(case: &Case) -> [Signal; 2] {
    match case.task {
        "classification" => ["b", "a"].map(|class| Signal::Label(class.to_owned())),
        "regression" => [0.0, 1.0].map(Signal::Value),
        _ => [0.0, 1.0].map(Signal::Reward),
    }
}

/// One event that brings its row; of a bandit it is about the first action.
fn submit(harness: &mut LearnerHarness, batch: &Batch, signal: &Signal, weight: f64) {
    let decision = matches!(signal, Signal::Reward(_)).then(|| Decision {
        action: "a".to_owned(),
        propensity: 1.0,
    });
    let batch = batch.clone();
    let feedback = Feedback {
        subject: Subject::Inputs { batch, decision },
        signal: signal.clone(),
        weight,
        ..label(
            PredictionId(0),
            &format!("feedback-{}", harness.learner.position()),
            "",
        )
    };
    let step = harness.append(Event::Feedback(feedback));
    assert!(
        step.fate
            .is_some_and(|fate| matches!(fate, Fate::Applied | Fate::Pending))
    );
}

/// Every third event says something else than the others, and counts `weight` times.
fn taught(case: &Case, weight: f64) -> LearnerHarness {
    let mut harness = LearnerHarness::new(&case.toml);
    let [usual, other] = signals(case);
    for (index, (batch, _)) in rows(240, 0.3).enumerate() {
        if index % 3 == 0 {
            submit(&mut harness, &batch, &other, weight);
        } else {
            submit(&mut harness, &batch, &usual, 1.0);
        }
    }
    harness
}

/// The mean probability of the third event's label for fresh rows.
fn third(harness: &LearnerHarness) -> f64 {
    let model = harness.learner.model();
    let of_row = |(batch, _)| match model.predict(&batch, Choice::Best).expect("an answer") {
        Outputs::Probabilities(p) => f64::from(p[0]),
        Outputs::Decisions { probabilities, .. } => f64::from(probabilities[0]),
        Outputs::Values(values) => values[0],
        Outputs::Actions { scores, .. } => f64::from(scores[0]),
    };
    mean(&rows(300, 0.3).skip(240).map(of_row).collect::<Vec<_>>())
}

#[test]
fn an_example_of_weight_3_teaches_about_as_three_examples() {
    let adaptive = gradient("mlp", "adamw", "er");
    let kinds = learners().into_iter().map(|(learner, _)| learner);
    for learner in kinds.chain([adaptive]) {
        for task in TASKS {
            let case = case(task, &learner, SEED, 0);
            let [once, weighted] = [1.0, 3.0].map(|weight| third(&taught(&case, weight)));
            println!("{once:.3} {weighted:.3} {}", case.name);
            // One of three events, and three of five by weight.
            let [from_count, from_weight] =
                [1.0 / 3.0, 0.6].map(|share: f64| (weighted - share).abs());
            assert!(from_weight < from_count, "{}: {weighted}", case.name);
            assert!(weighted > once, "{}: {once} {weighted}", case.name);
        }
    }
}

#[test]
fn an_example_of_a_small_weight_teaches_little() {
    for (learner, _) in learners() {
        let case = case("classification", &learner, SEED, 0);
        let [little, once] = [0.01, 1.0].map(|weight| third(&taught(&case, weight)));
        println!("{little:.3} {once:.3} {}", case.name);
        assert!(little < 0.6 * once, "{}: {little} of {once}", case.name);
    }
}

#[test]
fn a_weighted_example_that_is_another_is_the_other_with_its_weight() {
    let learner = "[learner]\nkind = \"analytic\"\n";
    // How sharply classes are separated is learned once more with a correction.
    for (task, tolerance) in [("classification", 0.7), ("bandit", 0.05)] {
        let last = match task {
            "bandit" => "[feedback]\naggregate = \"last\"\n",
            _ => "",
        };
        let case = case(task, &format!("{learner}{last}"), SEED, 0);
        let [wrong, right] = signals(&case);
        // One gets the right label at once, the other a wrong one first.
        let taught = |signals: &[(&Signal, f64)]| {
            let mut harness = taught(&case, 1.0);
            let (batch, _) = rows(300, 0.3).last().expect("rows go on");
            let id = harness.predict(batch.clone()).ids[0];
            for (n, (signal, weight)) in signals.iter().enumerate() {
                let feedback = Feedback {
                    signal: (*signal).clone(),
                    weight: *weight,
                    ..label(id, &format!("said-{n}"), "")
                };
                let step = harness.append(Event::Feedback(feedback));
                assert_eq!(step.fate, Some(Fate::Applied));
            }
            let answer = harness.learner.model().predict(&batch, Choice::Best);
            match answer.expect("an answer") {
                Outputs::Probabilities(p) => f64::from(p[0]),
                Outputs::Actions { scores, .. } => f64::from(scores[0] + scores[1]),
                other => panic!("{other:?}"),
            }
        };
        let [before, once] = [&[][..], &[(&right, 7.0)]].map(taught);
        // The weight is of the example, whatever that of its correction is.
        let corrected = taught(&[(&wrong, 7.0), (&right, 1.0)]);
        println!("{task}: {before:.5} {once:.5} {corrected:.5}");
        let moved = once - before;
        assert!(moved.abs() > 1e-3, "{task}: {before} {once}");
        assert!(
            (corrected - once).abs() < tolerance * moved.abs(),
            "{task}: {before} {once} {corrected}"
        );
    }
}
