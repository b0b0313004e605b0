//! A gate where silence earns a reward: decisions fall at the ends of entries, and entries close windows.
//!
//! Invariant: random histories, which replay and retract to the bit.

use crate::support::histories::check;

#[test]
fn p2_p6_random_histories_with_silence_and_a_gate_retract_to_the_bit() {
    for policy in ["live", "gated"] {
        for learner in ["kind = \"analytic\"\nfeatures = 12\n", "kind = \"auto\"\n"] {
            let toml = format!(
                "task = \"bandit\"\nactions = [\"a\", \"b\"]\n[[input]]\nname = \"x\"\nkind = \"number\"\n\
                 [[input]]\nname = \"y\"\nkind = \"number\"\n[[input]]\nname = \"c\"\nkind = \"category\"\n\
                 [versions]\nevery_examples = 16\n[feedback]\nwindow_s = 20\ndefault_reward = 0.0\n\
                 aggregate = \"sum\"\n[learner]\n{learner}[policy]\nkind = \"epsilon\"\nepsilon = 0.5\n\
                 [publish]\npolicy = \"{policy}\"\nevery_examples = 4\nscore_every = 1\nmargin = 0.5\n\
                 alpha = 0.5\nfreeze_within = 30\n"
            );
            for seed in 0..30 {
                println!("seed {seed}");
                check(&toml, seed, 120);
            }
        }
    }
}
