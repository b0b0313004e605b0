//! Rewards after a restore: they teach the restored state, and not the undone one.

use perennial::event::{
    Command, Disposal, Event, Feedback, Order, PredictionId, Retraction, Selector, Signal, Time,
};
use perennial::learn::Fate;

use super::rewards::{scores, serve};
use crate::support::cases::{Case, SEED, case, learners};
use crate::support::{LearnerHarness, label, rows};

const BACKGROUND: usize = 60;

const AGGREGATES: [&str; 4] = ["last", "sum", "max", "first"];

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

/// The reward that several make.
fn combined(aggregate: &str, rewards: &[f64]) -> f64 {
    let all = rewards.iter().copied();
    match aggregate {
        "sum" => all.sum(),
        "max" => all.fold(f64::MIN, f64::max),
        "last" => rewards[rewards.len() - 1],
        _ => rewards[0],
    }
}

/// The rewards with a restore among them; the final reward of the prediction, and whether a version
/// held some of it.
fn rewarded(case: &Case, aggregate: &str, when: Restore) -> (LearnerHarness, f64, bool) {
    let (mut harness, before, id) = background(&case.toml);
    let all = |rewards: &[f64]| combined(aggregate, rewards);
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
    (harness, all(&rewards), held)
}

/// A learner that saw the final reward from there on, and no other.
fn final_reward(case: &Case, last: f64) -> LearnerHarness {
    let (mut harness, _, id) = background(&case.toml);
    reward(&mut harness, id, last);
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
    for aggregate in AGGREGATES {
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
            check_final(&case, &harness, 1.0, &format!("held: {held}"));
        }
    }
}

/// The state differs by no more than 3 % from one that saw the final reward alone, and the prediction is
/// judged once.
fn check_final(case: &Case, harness: &LearnerHarness, last: f64, place: &str) {
    let apart = apart(harness, &final_reward(case, last));
    let place = format!("{place}, {}", case.name);
    println!("{apart:.4} apart: {place}");
    assert!(apart < APART_MAX, "{apart}: {place}");
    let served = harness.learner.evaluation().served();
    assert_eq!(served.count, BACKGROUND as f64 + 1.0, "{place}");
}

/// The version that is restored after silence and a late reward, which another one follows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Silence {
    /// That which holds the silence alone.
    Between,
    /// That before the silence, and once the late reward has come, that between.
    Twice,
    /// That which holds both.
    After,
}

#[test]
fn p5_after_a_restore_late_rewards_teach_the_difference_to_the_silence_that_is_held() {
    for aggregate in AGGREGATES {
        for (learner, _) in learners() {
            let settings =
                format!("window_s = 3\ndefault_reward = 0.0\naggregate = \"{aggregate}\"");
            let case = bandit(&learner, &settings);
            for when in [Silence::Between, Silence::Twice, Silence::After] {
                let (mut harness, before, id) = background(&case.toml);
                let time = Time(harness.learner.time().0 + 5_000_000);
                harness.append(Event::Tick(time));
                let between = order(&mut harness, Order::Checkpoint);
                if when == Silence::Twice {
                    restore(&mut harness, before);
                }
                assert_eq!(reward(&mut harness, id, REWARDS[1]), Some(Fate::Late));
                let after = order(&mut harness, Order::Checkpoint);
                let version = if when == Silence::After {
                    after
                } else {
                    between
                };
                restore(&mut harness, version);
                reward(&mut harness, id, REWARDS[0]);
                let last = combined(aggregate, &[REWARDS[1], REWARDS[0]]);
                check_final(&case, &harness, last, &format!("{when:?}, {aggregate}"));
            }
        }
    }
}

/// A reward of a prediction from a source; its position.
fn reward_from(harness: &mut LearnerHarness, id: PredictionId, source: &str, reward: f64) -> u64 {
    let feedback_id = format!("{source}-{}", harness.learner.position());
    harness.append(Event::Feedback(Feedback {
        signal: Signal::Reward(reward),
        source: source.to_owned(),
        ..label(id, &feedback_id, "")
    }));
    harness.learner.position()
}

fn retract(harness: &mut LearnerHarness, source: &str, first_position: u64) {
    let retraction = Retraction {
        selector: Selector::Source(source.to_owned()),
        first_position,
        disposal: Disposal::Keep,
    };
    order(harness, Order::Retract(retraction));
}

/// A bad reward and three good ones, behind one of them a restore, and behind one of them the retraction of
/// the bad one; of predictions that may have earned the reward of silence before.
fn check_retracted(case: &Case, aggregate: &str, is_silent: bool) {
    for restored_behind in 0..3 {
        for retracted_behind in 0..=3 {
            let (mut harness, before, id) = background(&case.toml);
            if is_silent {
                let time = Time(harness.learner.time().0 + 5_000_000);
                harness.append(Event::Tick(time));
            }
            let mut first_position = 0;
            let rewards = [REWARDS[0], REWARDS[1], REWARDS[2], 0.375];
            for (place, reward) in rewards.into_iter().enumerate() {
                let source = if place == 0 { "bad" } else { "good" };
                let position = reward_from(&mut harness, id, source, reward);
                if place == 0 {
                    first_position = position;
                }
                if place == restored_behind {
                    restore(&mut harness, before);
                }
                if place == retracted_behind {
                    retract(&mut harness, "bad", first_position);
                }
            }
            let last = combined(aggregate, &rewards[1..]);
            let place = format!(
                "silence {is_silent}, restored behind {restored_behind}, retracted behind \
                 {retracted_behind}, {aggregate}"
            );
            check_final(case, &harness, last, &place);
        }
    }
}

#[test]
fn p6_a_reward_that_is_retracted_around_a_restore_was_never_there() {
    for aggregate in AGGREGATES {
        for (learner, _) in learners() {
            let case = bandit(&learner, &format!("aggregate = \"{aggregate}\""));
            check_retracted(&case, aggregate, false);
            let settings =
                format!("window_s = 3\ndefault_reward = 0.0\naggregate = \"{aggregate}\"");
            check_retracted(&bandit(&learner, &settings), aggregate, true);
        }
    }
}

#[test]
fn a_reward_that_adds_nothing_is_refused_where_the_credit_is_held() {
    let (learner, _) = learners().swap_remove(0);
    let case = bandit(&learner, "aggregate = \"first\"");
    let (mut harness, before, id) = background(&case.toml);
    reward(&mut harness, id, REWARDS[0]);
    assert_eq!(reward(&mut harness, id, REWARDS[1]), Some(Fate::Duplicate));
    restore(&mut harness, before);
    assert_eq!(reward(&mut harness, id, REWARDS[2]), Some(Fate::Applied));
    assert_eq!(reward(&mut harness, id, REWARDS[1]), Some(Fate::Duplicate));
}

#[test]
fn p6_a_reward_that_is_taken_back_after_a_restore_was_never_there() {
    for (learner, _) in learners() {
        let case = bandit(&learner, "aggregate = \"sum\"");
        let (mut harness, before, id) = background(&case.toml);
        let first_position = reward_from(&mut harness, id, "bad", 0.25);
        restore(&mut harness, before);
        reward_from(&mut harness, id, "good", 0.5);
        retract(&mut harness, "bad", first_position);
        let expected = final_reward(&case, 0.5);
        let digests = [&harness, &expected].map(|harness| harness.learner.learned().digest());
        assert_eq!(digests[0], digests[1], "{}", case.name);
    }
}
