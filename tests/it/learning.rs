//! Learning from rewards as they arrive, silence, preferences, and classes that come later.
//!
//! Invariant: whatever order signals come in, a prediction counts with its final reward.

mod costs;
mod forgetting;
mod retention;
mod stored_rows;
mod streams;

use crate::support::{LearnerHarness, rows};
use perennial::event::{Column, Event, Outputs, Prediction, Signal, Time};
use perennial::learn::Fate;

const SECOND: i64 = 1_000_000;

fn bandit(feedback: &str) -> LearnerHarness {
    let inputs = "[[input]]\nname = \"x\"\nkind = \"number\"\n\
        [[input]]\nname = \"y\"\nkind = \"number\"\n[[input]]\nname = \"c\"\nkind = \"category\"\n";
    LearnerHarness::new(&format!(
        "task = \"bandit\"\nactions = [\"a\", \"b\"]\n{inputs}[feedback]\n{feedback}"
    ))
}

fn predictions(harness: &mut LearnerHarness, n: usize) -> Vec<Prediction> {
    let batches: Vec<_> = rows(n, 0.3).map(|(batch, _)| batch).collect();
    batches
        .into_iter()
        .map(|batch| harness.predict(batch))
        .collect()
}

fn submit(harness: &mut LearnerHarness, prediction: &Prediction, signal: Signal) -> Option<Fate> {
    harness.submit(prediction.ids[0], signal).fate
}

fn named(name: &str, value: f64) -> Signal {
    let name = name.to_owned();
    Signal::Named { name, value }
}

/// The mean reward that reports give, and how many rewards it is of.
fn served(harness: &LearnerHarness) -> (f64, f64) {
    let served = harness.learner.evaluation().served();
    (served.mean(), served.count)
}

#[test]
fn rewards_of_a_prediction_become_one() {
    let check = |aggregate: &str, fates: [Fate; 3], reward: f64| {
        let mut harness = bandit(&format!("aggregate = \"{aggregate}\"\n"));
        let prediction = &predictions(&mut harness, 1)[0];
        let got =
            [2.0, 5.0, 1.0].map(|reward| submit(&mut harness, prediction, Signal::Reward(reward)));
        assert_eq!(got, fates.map(Some), "{aggregate}");
        assert_eq!(served(&harness), (reward, 1.0), "{aggregate}");
        assert_eq!(harness.learner.learned().n_examples(), 1, "{aggregate}");
        assert_eq!(harness.learner.ledger().total(), 3);
    };
    let (applied, duplicate) = (Fate::Applied, Fate::Duplicate);
    check("first", [applied, duplicate, duplicate], 2.0);
    check("sum", [applied; 3], 8.0);
    check("max", [applied; 3], 5.0);
    check("last", [applied; 3], 1.0);
}

#[test]
fn implicit_signals_earn_what_the_description_says() {
    let signals = "aggregate = \"sum\"\n[feedback.signals]\nclick = { reward = 1.0 }\n\
        dwell_seconds = { scale = 60.0, max = 1.0 }\nthumbs_down = { reward = -2.0 }\n";
    let mut harness = bandit(signals);
    let all = predictions(&mut harness, 2);
    assert_eq!(
        submit(&mut harness, &all[0], named("click", 1.0)),
        Some(Fate::Applied)
    );
    assert_eq!(
        submit(&mut harness, &all[0], named("dwell_seconds", 30.0)),
        Some(Fate::Applied)
    );
    assert_eq!(
        submit(&mut harness, &all[0], named("click", 1.0)),
        Some(Fate::Duplicate)
    );
    assert_eq!(
        submit(&mut harness, &all[0], named("smile", 1.0)),
        Some(Fate::Unmatched)
    );
    assert_eq!(served(&harness), (1.5, 1.0));
    assert_eq!(
        submit(&mut harness, &all[1], named("thumbs_down", 1.0)),
        Some(Fate::Applied)
    );
    assert_eq!(served(&harness), (-0.25, 2.0));
    // With the first signal counting, another kind of signal is superseded.
    let mut harness = bandit("[feedback.signals]\nclick = { reward = 1.0 }\n");
    let prediction = &predictions(&mut harness, 1)[0];
    assert_eq!(
        submit(&mut harness, prediction, named("click", 0.0)),
        Some(Fate::Applied)
    );
    assert_eq!(
        submit(&mut harness, prediction, Signal::Reward(1.0)),
        Some(Fate::Superseded)
    );
    assert_eq!(served(&harness), (0.0, 1.0));
}

#[test]
fn silence_earns_the_default_and_a_late_reward_corrects_it() {
    let mut harness = bandit("window_s = 100\ndefault_reward = -1.0\n");
    let all = predictions(&mut harness, 3);
    submit(&mut harness, &all[0], Signal::Reward(1.0));
    let due = harness.learner.next_tick().expect("two of them are silent");
    // The second of them stands behind the description, a version and the first one.
    assert_eq!(due, Time(104 * SECOND + 1));
    let early = harness.append(Event::Tick(Time(due.0 - 1)));
    assert!(!early.changed && served(&harness) == (1.0, 1.0));
    harness.append(Event::Tick(Time(due.0 + SECOND)));
    assert_eq!(harness.learner.next_tick(), None);
    assert_eq!(served(&harness), (-1.0 / 3.0, 3.0));
    // Its window has closed: the reward is counted as late, and corrects.
    assert_eq!(
        submit(&mut harness, &all[1], Signal::Reward(2.0)),
        Some(Fate::Late)
    );
    assert_eq!(served(&harness), (2.0 / 3.0, 3.0));
    assert_eq!(
        submit(&mut harness, &all[1], Signal::Reward(3.0)),
        Some(Fate::Duplicate)
    );
    let before = harness.learner.clone();
    harness.reload();
    assert!(harness.learner == before);
}

#[test]
fn a_window_that_closed_with_a_reward_takes_no_other() {
    for default in ["", "default_reward = -1.0\n"] {
        for aggregate in ["sum", "max", "last"] {
            let feedback = format!("window_s = 100\naggregate = \"{aggregate}\"\n{default}");
            let mut harness = bandit(&feedback);
            let all = predictions(&mut harness, 2);
            submit(&mut harness, &all[0], Signal::Reward(1.0));
            let again = submit(&mut harness, &all[0], Signal::Reward(2.0));
            assert_eq!(again, Some(Fate::Applied), "it is open: {feedback}");
            harness.append(Event::Tick(Time(300 * SECOND)));
            let (digest, earned) = (harness.learner.learned().digest(), served(&harness));
            let late = submit(&mut harness, &all[0], Signal::Reward(4.0));
            assert_eq!(late, Some(Fate::Late), "{feedback}");
            assert_eq!(harness.learner.learned().digest(), digest, "{feedback}");
            assert_eq!(served(&harness), earned, "{feedback}");
        }
    }
}

#[test]
fn a_late_reward_without_a_default_changes_nothing() {
    let mut harness = bandit("window_s = 5\n");
    let all = predictions(&mut harness, 10);
    assert_eq!(harness.learner.next_tick(), None);
    let digest = harness.learner.learned().digest();
    assert_eq!(
        submit(&mut harness, &all[0], Signal::Reward(1.0)),
        Some(Fate::Late)
    );
    assert_eq!(harness.learner.learned().digest(), digest);
}

#[test]
fn a_preference_rewards_one_answer_and_not_the_other() {
    let mut harness = bandit("");
    let all = predictions(&mut harness, 4);
    let over = |index: usize| Signal::PreferredOver(all[index].ids[0]);
    assert_eq!(submit(&mut harness, &all[0], over(1)), Some(Fate::Applied));
    assert_eq!(served(&harness), (0.5, 2.0));
    assert_eq!(
        submit(&mut harness, &all[0], over(1)),
        Some(Fate::Duplicate)
    );
    assert_eq!(submit(&mut harness, &all[2], over(2)), Some(Fate::Applied));
    let unknown = Signal::PreferredOver(perennial::event::PredictionId(u128::MAX));
    assert_eq!(
        submit(&mut harness, &all[3], unknown),
        Some(Fate::Unmatched)
    );
}

#[test]
fn a_new_class_takes_its_place_and_is_predicted_within_a_few_examples() {
    let gradient = "\"gradient\"\n[memory]\nstrategy = ";
    let strategies = ["none", "er", "er-ace", "der++", "cls-er"];
    let kinds = strategies.map(|strategy| format!("{gradient}\"{strategy}\""));
    let kinds = kinds.into_iter();
    let others = ["auto", "analytic", "neighbours"].map(|kind| format!("{kind:?}"));
    for learner in kinds.chain(others) {
        let learner = format!("[learner]\nkind = {learner}\n");
        let toml = crate::support::AUTO.replacen("[[input]]", "classes_max = 3\n[[input]]", 1);
        let mut harness = LearnerHarness::new(&(toml + &learner));
        let stream: Vec<_> = rows(400, 0.3).collect();
        let mut right = 0;
        for (index, (mut batch, mut class)) in stream.into_iter().enumerate() {
            // From the three hundredth row on, everything is far off, and of a class never seen.
            if index >= 300 {
                class = "c";
                batch.columns[0] = Column::Numbers(vec![5.0]);
                batch.columns[2] = Column::Strings(vec!["violet".to_owned()]);
            }
            let prediction = harness.predict(batch);
            let Outputs::Probabilities(shares) = &prediction.outputs else {
                panic!("a classification")
            };
            assert_eq!(shares.len(), 2 + usize::from(index > 300));
            assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            let best = shares.iter().copied().fold(0.0, f32::max);
            right += usize::from(index >= 310 && shares.last() == Some(&best));
            submit(&mut harness, &prediction, Signal::Label(class.to_owned()));
        }
        println!("{learner}: {right} of 90");
        assert!(right > 80, "{learner}: {right} of 90");
        assert_eq!(harness.learner.learned().names()[..], ["a", "b", "c"]);
        let id = predictions(&mut harness, 1);
        let full = submit(&mut harness, &id[0], Signal::Label("d".to_owned()));
        assert_eq!(full, Some(Fate::Unmatched));
        let before = harness.learner.clone();
        harness.reload();
        assert!(harness.learner == before);
    }
}

#[test]
fn every_policy_finds_the_better_action() {
    for (policy, learner) in [
        ("greedy", "auto"),
        ("epsilon", "auto"),
        ("softmax", "auto"),
        ("squarecb", "auto"),
        ("squarecb", "neighbours"),
        ("epsilon", "gradient"),
        ("thompson", "analytic"),
        ("linucb", "analytic"),
    ] {
        let text = format!("[policy]\nkind = \"{policy}\"\n[learner]\nkind = \"{learner}\"\n");
        let mut harness = bandit(&text);
        let mut earned = 0.0;
        for (index, (batch, class)) in rows(600, 0.3).enumerate() {
            let prediction = harness.predict(batch);
            let Outputs::Actions {
                chosen,
                propensities,
                ..
            } = &prediction.outputs
            else {
                panic!("a bandit")
            };
            let propensity = propensities[0];
            assert!(propensity > 0.0 && propensity <= 1.0, "{propensity}");
            let reward = f64::from(u8::from(["a", "b"][chosen[0] as usize] == class));
            if index >= 300 {
                earned += reward;
            }
            submit(&mut harness, &prediction, Signal::Reward(reward));
        }
        println!("{policy} {learner}: {earned} of 300");
        assert!(earned > 225.0, "{policy} with {learner}: {earned} of 300");
    }
}
