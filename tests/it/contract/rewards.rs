//! A bandit's feedback besides the first reward of an action that it served: labels, which are rewards
//! of all actions at once, and rewards that turn out to be others.

use perennial::event::{Batch, Event, Outputs, Prediction, PredictionId, Signal};
use perennial::learn::Fate;
use perennial::model::Choice;

use super::mean;
use crate::support::cases::{Case, SEED, case, gradient, learners, remembered_max};
use crate::support::{LearnerHarness, rows};

/// Every learner as a bandit; a network, too.
fn bandits(feedback: &str) -> Vec<Case> {
    let mut learners = learners();
    let mlp = gradient("mlp", "adamw", "er");
    learners.push((mlp, remembered_max("er")));
    let learners = learners.into_iter();
    let bandit = |(learner, remembered)| {
        let settings = format!("{feedback}{learner}");
        case("bandit", &settings, SEED, remembered)
    };
    learners.map(bandit).collect()
}

/// The reward that a bandit expects of each action.
pub(super) fn scores(harness: &LearnerHarness, batch: &Batch) -> Vec<f64> {
    match harness
        .learner
        .model()
        .predict(batch, Choice::Best)
        .unwrap()
    {
        Outputs::Actions { scores, .. } => scores.into_iter().map(f64::from).collect(),
        _ => panic!("a bandit"),
    }
}

/// The share of rows whose right action is expected to earn more.
fn known(harness: &LearnerHarness) -> f64 {
    let right = |(batch, class): (Batch, &str)| {
        let scores = scores(harness, &batch);
        f64::from(u8::from((scores[0] > scores[1]) == (class == "a")))
    };
    let all: Vec<f64> = rows(900, 0.3).skip(600).map(right).collect();
    mean(&all)
}

#[test]
fn labels_alone_teach_a_bandit_all_actions_at_once() {
    for case in bandits("") {
        println!("{}", case.name);
        let mut harness = LearnerHarness::new(&case.toml);
        for (batch, class) in rows(600, 0.3) {
            let id = harness.predict(batch).ids[0];
            harness.submit(id, Signal::Label(class.to_owned()));
        }
        let known = known(&harness);
        assert!(known > 0.9, "{known}: {}", case.name);
        // Of one row the other action is right by now: both move, whichever is served.
        let (batch, class) = rows(600, 0.3).last().expect("a row");
        let (best, label) = if class == "a" { (1, "b") } else { (0, "a") };
        let before = scores(&harness, &batch);
        for _ in 0..100 {
            let id = serve(&mut harness, batch.clone(), 0);
            harness.submit(id, Signal::Label(label.to_owned()));
        }
        let after = scores(&harness, &batch);
        let moved = [best, 1 - best].map(|action| after[action] - before[action]);
        println!("  {known:.3}, moved {moved:.3?}");
        let toward = moved[0] > 0.05 && moved[1] < -0.05;
        assert!(toward, "{moved:?}: {}", case.name);
    }
}

/// When the rewards of a stream come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Comes {
    AtOnce,
    /// After silence has earned nothing.
    Late,
    /// After half of it.
    InParts,
}

/// Rows that are served with an action by turns, and the final reward of each.
fn rewarded(case: &Case, comes: Comes) -> LearnerHarness {
    let mut harness = LearnerHarness::new(&case.toml);
    let mut waiting = std::collections::VecDeque::new();
    for (index, (batch, class)) in rows(600, 0.3).enumerate() {
        let action = u32::from(index % 3 == 0);
        let id = serve(&mut harness, batch, action);
        let reward = f64::from(u8::from((action == 0) == (class == "a")));
        match comes {
            Comes::AtOnce => submit(&mut harness, id, reward, &[Fate::Applied, Fate::Pending]),
            Comes::Late => waiting.push_back((id, reward)),
            Comes::InParts => {
                submit(
                    &mut harness,
                    id,
                    0.5 * reward,
                    &[Fate::Applied, Fate::Pending],
                );
                waiting.push_back((id, 0.5 * reward));
            }
        }
        if waiting.len() > 5
            && let Some((id, reward)) = waiting.pop_front()
        {
            submit(&mut harness, id, reward, fates(comes));
        }
    }
    for (id, reward) in waiting {
        submit(&mut harness, id, reward, &Fate::ALL);
    }
    harness
}

/// Answers a row with this action.
pub(super) fn serve(harness: &mut LearnerHarness, batch: Batch, action: u32) -> PredictionId {
    let position = harness.learner.position();
    let ids = vec![PredictionId(u128::from(position) << 16)];
    let mut outputs = harness
        .learner
        .model()
        .predict(&batch, Choice::Drawn(&ids))
        .unwrap();
    if let Outputs::Actions { chosen, .. } = &mut outputs {
        chosen[0] = action;
    }
    let prediction = Prediction {
        ids: ids.clone(),
        version: harness.learner.version(),
        position,
        batch,
        outputs,
        labels: Default::default(),
    };
    harness.append(Event::Prediction(prediction));
    ids[0]
}

fn fates(comes: Comes) -> &'static [Fate] {
    match comes {
        Comes::Late => &[Fate::Late],
        _ => &[Fate::Applied, Fate::Pending],
    }
}

fn submit(harness: &mut LearnerHarness, id: PredictionId, reward: f64, fates: &[Fate]) {
    let fate = harness.submit(id, Signal::Reward(reward)).fate;
    assert!(fates.iter().any(|one| fate == Some(*one)), "{fate:?}");
}

/// The distance of two learners' expectations of each action, on the whole.
fn apart(one: &LearnerHarness, other: &LearnerHarness) -> f64 {
    let apart = |(batch, _): (Batch, _)| {
        let each = scores(one, &batch).into_iter().zip(scores(other, &batch));
        each.map(|(one, other)| (one - other).abs()).sum::<f64>() / 2.0
    };
    let all: Vec<f64> = rows(900, 0.3).skip(600).map(apart).collect();
    mean(&all)
}

#[test]
fn a_reward_that_comes_late_or_in_parts_is_learned_as_if_it_had_come_at_once() {
    for (comes, feedback) in [
        (Comes::InParts, "aggregate = \"sum\"\n"),
        (Comes::Late, "window_s = 3\ndefault_reward = 0.0\n"),
    ] {
        for case in bandits(&format!("[feedback]\n{feedback}")) {
            let at_once = feedback.replace("window_s = 3\ndefault_reward = 0.0\n", "");
            let at_once = Case {
                toml: case.toml.replace(feedback, &at_once),
                ..case.clone()
            };
            let at_once = rewarded(&at_once, Comes::AtOnce);
            let harness = rewarded(&case, comes);
            let (apart, known) = (apart(&at_once, &harness), [&at_once, &harness].map(known));
            println!(
                "{comes:?} {apart:.3} apart, knows {known:.3?}, {}",
                case.name
            );
            // Had nothing been learned of it, they were a quarter apart in parts, and half late.
            assert!(apart < 0.12, "{apart}: {}", case.name);
            assert!(known[1] > known[0] - 0.05, "{known:?}: {}", case.name);
        }
    }
}

#[test]
fn p10_a_preference_has_the_fate_of_both_its_examples() {
    // Two examples make up an update: those of the preference fill one, or wait.
    let learner = gradient("linear", "sgd", "none");
    let case = case("bandit", &learner, SEED, 0);
    let mut harness = LearnerHarness::new(&case.toml);
    let ids: Vec<_> = rows(5, 0.3)
        .map(|(batch, _)| serve(&mut harness, batch, 0))
        .collect();
    let prefer = |harness: &mut LearnerHarness, over: [usize; 2]| {
        let [id, other] = over.map(|index| ids[index]);
        harness.submit(id, Signal::PreferredOver(other)).fate
    };
    assert_eq!(prefer(&mut harness, [0, 1]), Some(Fate::Applied));
    submit(&mut harness, ids[2], 1.0, &[Fate::Pending]);
    // The first fills an update, the second waits for the next.
    assert_eq!(prefer(&mut harness, [3, 4]), Some(Fate::Pending));
    let count = |harness: &LearnerHarness, fate| harness.learner.ledger().count(fate);
    assert_eq!(
        [Fate::Applied, Fate::Pending].map(|fate| count(&harness, fate)),
        [2, 1]
    );
}
