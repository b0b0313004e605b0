//! Evidence from rewards at the defaults of a bandit: ten actions, of which the policy explores few.
//!
//! Invariant: every stream follows from its number.

use super::at_defaults::deviation;
use super::*;

const ACTIONS: usize = 10;
const EPSILON: f64 = 0.05;

fn bandit(policy: &str) -> Spec {
    let names: Vec<String> = (0..ACTIONS).map(|action| format!("'{action}'")).collect();
    let toml = format!(
        "task = 'bandit'\nactions = [{}]\n[[input]]\nname = 'x'\nkind = 'number'\n\
         [policy]\nkind = 'epsilon'\nepsilon = {EPSILON}\n[publish]\npolicy = '{policy}'\n",
        names.join(", ")
    );
    Spec::parse(&toml).expect("a description")
}

/// The shares of a policy that prefers this action.
fn prefers(action: usize) -> RowOutputs {
    let mut outputs = vec![EPSILON / ACTIONS as f64; ACTIONS];
    outputs[action] += 1.0 - EPSILON;
    RowOutputs { outputs }
}

/// Action and propensity as a policy draws them.
fn drawn(answer: &RowOutputs, number: u64) -> (usize, f64) {
    let mut left = deviation(3 * number) + 0.5;
    for (action, share) in answer.outputs.iter().enumerate() {
        left -= share;
        if left < 0.0 {
            return (action, *share);
        }
    }
    (ACTIONS - 1, answer.outputs[ACTIONS - 1])
}

/// The mean reward of the action that the champion prefers, of the contender's, and of all others.
type Means = [f64; 3];

/// A gate whose champion prefers the first action and whose contender the second, and the label at which the
/// contender was promoted, if it was. Rewards are 0 or 1.
fn judged(policy: &str, means: Means, (stream, n_labels): (u64, u64)) -> (Gate, Option<u64>) {
    let mut story = Story::new("gated");
    story.learn(1);
    let spec = bandit(policy);
    let mut gate = story.learner.accounts.gate.clone().expect("a gate");
    let (champion, contender) = (prefers(0), prefers(1));
    let serves = if policy == "live" {
        &contender
    } else {
        &champion
    };
    for label in 1..=n_labels {
        let number = stream * n_labels + label;
        let (action, propensity) = drawn(serves, number);
        let is_earned = deviation(3 * number + 1) + 0.5 < means[action.min(2)];
        let truth = Truth {
            target: Target::Reward {
                action: action as u32,
                reward: f64::from(u8::from(is_earned)),
            },
            propensity: Some(propensity),
        };
        // The candidate is as good as the champion: it is the contender that is looked at.
        let answers = SideAnswers {
            candidate: Some(champion.clone()),
            champion: Some(champion.clone()),
            contender: gate.contender().map(|_| contender.clone()),
        };
        gate.observe(&spec, truth, &answers, "web");
        gate.count(&spec);
        match gate.judgement(&spec.publish) {
            Some(Judgement::Promoted) => return (gate, Some(label)),
            Some(Judgement::Rejected) => gate.reject(None),
            Some(_) => gate.begin_again(),
            None => {}
        }
        if gate.wants_contender(&spec.publish) {
            gate.challenge(gate.champion().clone());
        }
    }
    (gate, None)
}

#[test]
fn p7_the_worst_contender_of_a_bandit_is_not_promoted_and_the_best_is() {
    for policy in ["live", "gated"] {
        for stream in 0..5 {
            let (_, worst) = judged(policy, [1.0, 0.0, 0.0], (stream, 20_000));
            assert_eq!(worst, None, "{policy} {stream}");
            let (_, best) = judged(policy, [0.0, 1.0, 0.0], (stream, 20_000));
            assert!(best.is_some(), "{policy} {stream}");
        }
    }
}

#[test]
fn p7_contenders_of_a_bandit_that_are_worse_by_the_margin_are_seldom_promoted() {
    for policy in ["live", "gated"] {
        let means = [0.52, 0.5, 0.5];
        let wrong = (0..100).filter(|stream| judged(policy, means, (*stream, 10_000)).1.is_some());
        assert!(wrong.count() <= 1, "{policy}");
        let means = [0.2, 0.8, 0.5];
        let right = (0..20).filter(|stream| judged(policy, means, (*stream, 40_000)).1.is_some());
        let right = right.count();
        assert!(right >= 15, "{policy}: {right} of 20");
    }
}

#[test]
fn people_see_the_evidence_of_a_bandit_in_rewards() {
    let (gate, _) = judged("gated", [0.6, 0.2, 0.4], (0, 1_200));
    let ChampionScore { labels, loss, .. } = gate.champion_score();
    let loss = loss.expect("it was scored");
    // All but those before the first other reward, which nothing is measured by.
    assert!((1_100..=1_201).contains(&labels), "{labels}");
    // The first action has 0.955 of the shares.
    let reward = 0.955 * 0.6 + 0.005 * 0.2 + 0.04 * 0.4;
    assert!((loss + reward).abs() < 0.05, "{loss}");
    let evidence = gate
        .promotion(&bandit("gated").publish)
        .expect("it is tested");
    assert!((0.02..1.0).contains(&evidence.difference), "{evidence:?}");
}
