//! Random histories: replayed they lead to the same bits, and the retracted feedback was never there,
//! in memory and as an engine serves them.
//!
//! Invariant: a seed decides a history whole, and is printed before it is checked.

use crate::support::histories::{check, descriptions};
use crate::support::served;

/// Histories of each description, every other one served as well; `cargo test --release --test soak -- histories
/// -- 10000` runs more, and serves each.
const N_HISTORIES: u64 = 50;
const N_STEPS: usize = 120;
/// Here a version comes back that a retraction had found to be the same without what it took back,
/// though it had learned that from another source: a description and a seed.
const RETOLD: [(usize, u64); 2] = [(2, 50), (3, 1119)];

#[test]
fn p2_p6_p10_random_histories_replay_and_retract_to_the_bit() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for toml in descriptions() {
        for seed in 0..N_HISTORIES {
            println!("seed {seed}");
            let harness = check(&toml, seed, N_STEPS);
            if seed % 2 == 0 {
                served::check(&toml, seed, &harness, &runtime);
            }
        }
    }
    let descriptions = descriptions();
    for (index, seed) in RETOLD {
        println!("seed {seed}");
        let toml = &descriptions[index];
        let harness = check(toml, seed, N_STEPS);
        served::check(toml, seed, &harness, &runtime);
    }
}
