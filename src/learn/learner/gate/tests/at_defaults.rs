//! The speed and the error rate of promotions at the defaults.
//!
//! Invariant: every stream follows from its number.

use super::*;

/// A description with the policy as its only setting of evidence.
fn at_defaults(kind: &str) -> String {
    format!(
        "task = 'classification'\nclasses = ['low', 'high']\n[[input]]\nname = 'x'\nkind = 'number'\n\
         [learner]\nkind = '{kind}'\n[publish]\npolicy = 'gated'\n"
    )
}

/// The rows after which each promotion came, of so many rows.
fn promotions(kind: &str, n_rows: u64) -> Vec<u64> {
    let toml = at_defaults(kind);
    let mut story = Story::new("gated");
    let spec = Spec::parse(&toml).expect("a description");
    story.learner = Learner::new(Arc::new(spec));
    story.apply(Event::Description(Description {
        toml: Spec::pin(&toml, &[], REVISION),
        ..Description::default()
    }));
    let mut promoted = Vec::new();
    for row in 1..=n_rows {
        story.steps.clear();
        story.learn(1);
        if story.n_verdicts(Judgement::Promoted) > 0 {
            promoted.push(row);
        }
    }
    promoted
}

#[test]
fn an_untrained_champion_makes_room_within_four_hundred_rows() {
    for kind in ["auto", "analytic", "gradient", "neighbours"] {
        let promoted = promotions(kind, 400);
        assert!(!promoted.is_empty(), "{kind} is not promoted");
        // The first contender is a copy after 250 rows.
        assert!(promoted[0] > 250, "{kind}: {promoted:?}");
    }
}

#[test]
fn later_contenders_follow_at_least_every_four_thousand_rows() {
    let mut promoted = promotions("analytic", 16_000);
    promoted.push(16_000);
    let far = promoted.windows(2).find(|pair| pair[1] - pair[0] > 4_000);
    assert_eq!(far, None, "{promoted:?}");
}

/// Deviations of a uniform value from its mean, by SplitMix64 (Steele, Lea and Flood 2014).
pub(super) fn deviation(number: u64) -> f64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
}

/// An answer whose loss is this where the first class is right: half the Brier score is (1 - p)^2.
fn answer_of_loss(loss: f64) -> Option<RowOutputs> {
    let share = 1.0 - loss.sqrt();
    Some(RowOutputs {
        outputs: vec![share, 1.0 - share],
    })
}

/// The number of streams with a promotion, where each contender is worse than the champion by this on
/// average; and the number of contenders that were tested.
fn promoted_of(n_streams: u64, n_labels: u64, worse: f64, alpha: f64) -> (usize, u64) {
    let mut story = Story::new("gated");
    story.learn(1);
    let toml = at_defaults("gradient") + &format!("alpha = {alpha}\n");
    let spec = Spec::parse(&toml).expect("a description");
    let publish = spec.publish;
    let begun = story.learner.accounts.gate.clone().expect("a gate");
    let (mut n_promoted, mut n_tested) = (0, 0);
    for stream in 0..n_streams {
        let mut gate = begun.clone();
        for label in 0..n_labels {
            let number = stream * n_labels + label;
            if gate.count(&spec) {
                let losses = [0.3, 0.3 + worse].map(|mean| mean + 0.4 * deviation(2 * number));
                let apart = 0.2 * deviation(2 * number + 1);
                let answers = SideAnswers {
                    candidate: answer_of_loss(losses[0]),
                    champion: answer_of_loss(losses[0]),
                    contender: answer_of_loss(losses[1] + apart),
                };
                let truth = Truth {
                    target: Target::Class(0),
                    propensity: None,
                };
                gate.observe(&spec, truth, &answers, "desk");
            }
            match gate.judgement(&publish) {
                Some(Judgement::Promoted) => {
                    n_promoted += 1;
                    break;
                }
                Some(Judgement::Rejected) => gate.reject(None),
                _ => {}
            }
            if gate.wants_contender(&publish) {
                gate.challenge(gate.champion().clone());
                n_tested += 1;
            }
        }
    }
    (n_promoted, n_tested)
}

#[test]
fn p7_contenders_that_are_worse_by_the_margin_are_promoted_in_fewer_streams_than_alpha() {
    let (n_streams, alpha) = (400, 0.05);
    // Worse by exactly the margin, in tests that begin again and again and choose the scored rows.
    let (wrong, n_tested) = promoted_of(n_streams, 6_000, 0.01, alpha);
    assert!(n_tested > 3 * n_streams, "{n_tested} contenders");
    let allowed = alpha * n_streams as f64;
    assert!(wrong as f64 <= allowed, "{wrong} of {n_streams}");
    // The test does decide on streams of equal sides: it is no empty one.
    let (right, _) = promoted_of(40, 6_000, 0.0, alpha);
    assert!(right >= 30, "{right} of 40 equal ones");
    assert_eq!(promoted_of(40, 6_000, 0.05, alpha).0, 0);
}
