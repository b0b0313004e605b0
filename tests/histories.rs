//! Random histories: replayed they lead to the same bits, and what was retracted was never there.
//!
//! Invariant: a seed decides a history whole, and is printed before it is checked.

mod common;

use common::histories::{check, descriptions};

/// Histories of each description; `cargo bench --bench histories -- 10000` runs more.
const N_HISTORIES: u64 = 50;
const N_STEPS: usize = 120;

#[test]
fn p2_p6_p10_random_histories_replay_and_retract_to_the_bit() {
    for toml in descriptions() {
        for seed in 0..N_HISTORIES {
            println!("seed {seed}");
            check(&toml, seed, N_STEPS);
        }
    }
}
