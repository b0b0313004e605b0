//! Rewards after a restore: they teach the restored state, and not the undone one.

use perennial::event::{
    Command, Disposal, Event, Feedback, Order, PredictionId, Retraction, Selector, Signal, Time,
};
use perennial::learn::Fate;

use super::rewards::{scores, serve};
use crate::support::cases::{Case, SEED, case, learners};
use crate::support::{LearnerHarness, label, rows};

const BACKGROUND: usize = 60;

/// The rewards of the prediction in question.
const REWARDS: [f64; 3] = [0.25, 0.5, 0.125];

/// The version that is restored, and the time of the order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Restore {
    /// That before the prediction, after its first reward.
    Before,
    /// The version before the prediction, after its second reward.
    BeforeBoth,
    /// That between its first and its second reward.
    Between,
    /// That after both.
    After,
    /// That before, and then, once another reward has come, that between.
    Twice,
}

const RESTORES: [Restore; 5] = [
    Restore::Before,
    Restore::BeforeBoth,
    Restore::Between,
    Restore::After,
    Restore::Twice,
];

fn bandit(learner: &str, feedback: &str) -> Case {
    case(
        "bandit",
        &format!("[feedback]\n{feedback}\n{learner}"),
        SEED,
        0,
    )
}

fn order(harness: &mut LearnerHarness, order: Order) -> u64 {
    let (actor, note) = Default::default();
    let step = harness.append(Event::Command(Command { order, actor, note }));
    assert_eq!(step.refused, None);
    step.version.expect("a version").version
}

fn restore(harness: &mut LearnerHarness, version: u64) {
    order(harness, Order::Restore { version });
}

fn reward(harness: &mut LearnerHarness, id: PredictionId, reward: f64) -> Option<Fate> {
    harness.submit(id, Signal::Reward(reward)).fate
}

/// A learner with a history, and the prediction in question.
fn background(toml: &str) -> (LearnerHarness, u64, PredictionId) {
    let mut harness = LearnerHarness::new(toml);
    for (index, (batch, class)) in rows(BACKGROUND, 0.3).enumerate() {
        let action = index as u32 % 2;
        let id = serve(&mut harness, batch, action);
        let right = (action == 0) == (class == "a");
        reward(&mut harness, id, f64::from(u8::from(right)));
    }
    let version = order(&mut harness, Order::Checkpoint);
    let (batch, _) = rows(BACKGROUND + 1, 0.3).last().expect("a row");
    let id = serve(&mut harness, batch, 0);
    (harness, version, id)
}

/// The rewards with a restore among them; the final reward of the prediction as far as the
/// state holds it, and whether a version held some of it.
fn rewarded(case: &Case, aggregate: &str, when: Restore) -> (LearnerHarness, Option<f64>, bool) {
    let (mut harness, before, id) = background(&case.toml);
    let all = |rewards: &[f64]| {
        let all = rewards.iter().copied();
        match aggregate {
            "sum" => all.sum(),
            "max" => all.fold(f64::MIN, f64::max),
            "last" => rewards[rewards.len() - 1],
            _ => rewards[0],
        }
    };
    reward(&mut harness, id, REWARDS[0]);
    let between = order(&mut harness, Order::Checkpoint);
    let n_rewards = match when {
        Restore::Before => {
            restore(&mut harness, before);
            2
        }
        Restore::BeforeBoth | Restore::Between | Restore::After | Restore::Twice => {
            reward(&mut harness, id, REWARDS[1]);
            let after = order(&mut harness, Order::Checkpoint);
            let version = match when {
                Restore::Between => between,
                Restore::After => after,
                _ => before,
            };
            restore(&mut harness, version);
            3
        }
    };
    reward(&mut harness, id, REWARDS[n_rewards - 1]);
    let mut rewards = REWARDS[..n_rewards].to_vec();
    if when == Restore::Twice {
        restore(&mut harness, between);
        reward(&mut harness, id, 0.375);
        rewards.push(0.375);
    }
    let held = !matches!(when, Restore::Before | Restore::BeforeBoth);
    let last = match aggregate {
        // Only the first counts, and it was undone.
        "first" => held.then_some(REWARDS[0]),
        _ => Some(all(&rewards)),
    };
    let served = harness.learner.evaluation().served();
    assert_eq!(served.count, BACKGROUND as f64 + 1.0, "it is judged once");
    let without: f64 = rows(BACKGROUND, 0.3)
        .enumerate()
        .map(|(index, (_, class))| f64::from(u8::from((index % 2 == 0) == (class == "a"))))
        .sum();
    let earned = served.sum - without;
    assert!(
        (earned - all(&rewards)).abs() < 1e-9,
        "{earned}: {rewards:?}"
    );
    assert_eq!(
        harness.learner.ledger().total(),
        (BACKGROUND + rewards.len()) as u64
    );
    (harness, last, held)
}

/// A learner that saw the final reward from there on, and no other.
fn final_reward(case: &Case, last: Option<f64>) -> LearnerHarness {
    let (mut harness, _, id) = background(&case.toml);
    if let Some(last) = last {
        reward(&mut harness, id, last);
    }
    harness
}

/// The largest distance of two learners' expectations of an action.
fn apart(one: &LearnerHarness, other: &LearnerHarness) -> f64 {
    let apart = |(batch, _)| {
        let each = scores(one, &batch).into_iter().zip(scores(other, &batch));
        each.map(|(one, other)| (one - other).abs())
            .fold(0.0, f64::max)
    };
    rows(BACKGROUND + 1, 0.3).map(apart).fold(0.0, f64::max)
}

const APART_MAX: f64 = 0.03;

#[test]
fn p5_after_a_restore_a_reward_teaches_what_the_state_lacks() {
    for aggregate in ["last", "sum", "max", "first"] {
        for (learner, _) in learners() {
            let case = bandit(&learner, &format!("aggregate = \"{aggregate}\""));
            for when in RESTORES {
                let (harness, last, held) = rewarded(&case, aggregate, when);
                let expected = final_reward(&case, last);
                let apart = apart(&harness, &expected);
                let place = format!("{when:?}, {aggregate}, {}", case.name);
                println!("{apart:.4} apart: {place}");
                if !held {
                    // A whole example, so nothing tells the two apart.
                    let digests =
                        [&harness, &expected].map(|harness| harness.learner.learned().digest());
                    assert_eq!(digests[0], digests[1], "{place}");
                }
                assert!(apart < APART_MAX, "{apart}: {place}");
            }
        }
    }
}

#[test]
fn p5_after_a_restore_a_late_reward_teaches_what_silence_no_longer_does() {
    for (learner, _) in learners() {
        let case = bandit(&learner, "window_s = 3\ndefault_reward = 0.0");
        for held in [false, true] {
            let (mut harness, before, id) = background(&case.toml);
            let time = Time(harness.learner.time().0 + 5_000_000);
            harness.append(Event::Tick(time));
            let after = order(&mut harness, Order::Checkpoint);
            restore(&mut harness, if held { after } else { before });
            assert_eq!(reward(&mut harness, id, 1.0), Some(Fate::Late));
            let expected = final_reward(&case, Some(1.0));
            let apart = apart(&harness, &expected);
            println!("{apart:.4} apart, held: {held}, {}", case.name);
            assert!(apart < APART_MAX, "{apart}: {}", case.name);
            let served = harness.learner.evaluation().served();
            assert_eq!(served.count, BACKGROUND as f64 + 1.0);
        }
    }
}

#[test]
fn p6_a_reward_that_is_taken_back_after_a_restore_was_never_there() {
    for (learner, _) in learners() {
        let case = bandit(&learner, "aggregate = \"sum\"");
        let (mut harness, before, id) = background(&case.toml);
        let from = |harness: &mut LearnerHarness, source: &str, reward: f64| {
            let feedback_id = format!("{source}-{}", harness.learner.position());
            harness.append(Event::Feedback(Feedback {
                signal: Signal::Reward(reward),
                source: source.to_owned(),
                ..label(id, &feedback_id, "")
            }));
        };
        from(&mut harness, "bad", 0.25);
        let first_position = harness.learner.position();
        restore(&mut harness, before);
        from(&mut harness, "good", 0.5);
        let retraction = Retraction {
            selector: Selector::Source("bad".to_owned()),
            first_position,
            disposal: Disposal::Keep,
        };
        order(&mut harness, Order::Retract(retraction));
        let expected = final_reward(&case, Some(0.5));
        let digests = [&harness, &expected].map(|harness| harness.learner.learned().digest());
        assert_eq!(digests[0], digests[1], "{}", case.name);
    }
}
