//! That a served propensity is the probability with which its action was chosen.

use perennial::event::{Outputs, PredictionId};
use perennial::model::Choice;

use super::teach;
use crate::support::cases::{POLICIES, SEED, policies};
use crate::support::{LearnerHarness, rows};

/// Rows that are asked about, and how often each.
const N_ROWS: usize = 12;
const N_DRAWS: usize = 500;
/// An action that is rarer says little: its weight is large, and nearly always missing.
const RARE: f64 = 0.02;
/// Deviations that chance does not reach.
const SURE: f64 = 5.0;

/// The sum of each action's draws, divided by the propensities that were served with them,
/// beside the expected one: one for every draw that was asked for.
#[derive(Default)]
struct Weighed {
    off: f64,
    /// The deviation, had each propensity been a tenth larger.
    off_by_tenth: f64,
    variance: f64,
    /// The most deviations by which one action of one row is off, and would be with the other
    /// action's propensity.
    most: f64,
    most_swapped: f64,
    /// Whether any action was left to chance.
    explores: bool,
}

impl Weighed {
    /// Asks the same row again and again.
    fn ask(&mut self, harness: &LearnerHarness, row: usize) {
        let batch = rows(row + 1, 0.3).last().expect("a row").0;
        let model = harness.learner.model();
        let shares = model.distribution(&batch).unwrap();
        let total: f64 = shares.iter().map(|share| f64::from(*share)).sum();
        assert!((total - 1.0).abs() < 1e-6, "{shares:?}");
        let mut counts = vec![0.0; shares.len()];
        for draw in 0..N_DRAWS {
            let id = PredictionId((row * N_DRAWS + draw) as u128 + 1);
            let Outputs::Actions {
                chosen,
                propensities,
                ..
            } = model.predict(&batch, Choice::Drawn(&[id])).unwrap()
            else {
                panic!("a bandit")
            };
            let propensity = f64::from(propensities[0]);
            assert!(propensity > 0.0 && propensity <= 1.0, "{propensity}");
            counts[chosen[0] as usize] += 1.0 / propensity;
        }
        let n = N_DRAWS as f64;
        let shares: Vec<f64> = shares.into_iter().map(f64::from).collect();
        for (action, (share, count)) in shares.iter().copied().zip(counts).enumerate() {
            if share == 0.0 {
                assert_eq!(count, 0.0, "an action that is never taken");
            } else if share > RARE {
                self.off += count - n;
                self.off_by_tenth += count / 1.1 - n;
                if share < 1.0 - RARE {
                    self.explores = true;
                    let deviation = (n * (1.0 / share - 1.0)).sqrt();
                    let swapped = count * share / shares[1 - action];
                    self.most = self.most.max((count - n).abs() / deviation);
                    self.most_swapped = self.most_swapped.max((swapped - n).abs() / deviation);
                }
            }
        }
        self.variance += n * variance(&shares_above(&model.distribution(&batch).unwrap()));
    }
}

fn shares_above(shares: &[f32]) -> Vec<f64> {
    let shares = shares.iter().map(|share| f64::from(*share));
    shares.filter(|share| *share > RARE).collect()
}

/// Of one over the share of a drawn action, counted for the actions of these shares.
fn variance(shares: &[f64]) -> f64 {
    let squares: f64 = shares.iter().map(|share| 1.0 / share).sum();
    squares - (shares.len() as f64).powi(2)
}

#[test]
fn served_propensities_are_those_of_the_draws() {
    for policy in POLICIES {
        let mut weighed = Weighed::default();
        for (_, case) in policies(SEED).iter().filter(|(of, _)| *of == policy) {
            println!("{}", case.name);
            let mut harness = LearnerHarness::new(&case.toml);
            // Few examples: there is doubt left.
            teach(&mut harness, case, 0, 20);
            (0..N_ROWS).for_each(|row| weighed.ask(&harness, row));
        }
        let deviation = weighed.variance.max(0.0).sqrt();
        let Weighed {
            off, off_by_tenth, ..
        } = weighed;
        // Nor is any single one off, as it would be with the propensities of a row swapped.
        let [most, most_swapped] = [weighed.most, weighed.most_swapped];
        println!("  at most {most:.1} deviations, swapped {most_swapped:.1}");
        assert!(most <= SURE, "{policy}: {most}");
        assert!(!weighed.explores || most_swapped > SURE, "{policy}");
        println!("  {off:.1}, a tenth less {off_by_tenth:.1}, deviation {deviation:.1}");
        assert!(off.abs() <= SURE * deviation + 1e-3, "{policy}");
        // The same check tells a propensity that is a tenth too large.
        assert!(off_by_tenth.abs() > SURE * deviation, "{policy}");
        let explores = !matches!(policy, "greedy" | "linucb");
        assert_eq!(weighed.explores, explores, "{policy}");
    }
}
