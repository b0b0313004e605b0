//! Random histories: replayed they lead to the same bits, and what was retracted was never there,
//! in memory and as an engine serves them.
//!
//! Invariant: a seed decides a history whole, and is printed before it is checked.

mod common;

use common::histories::{check, descriptions};
use common::served;

/// Histories of each description, every other one served as well; `cargo bench --bench histories
/// -- 10000` runs more, and serves each.
const N_HISTORIES: u64 = 50;
const N_STEPS: usize = 120;

#[test]
fn p2_p6_p10_random_histories_replay_and_retract_to_the_bit() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for toml in descriptions() {
        for seed in 0..N_HISTORIES {
            println!("seed {seed}");
            let room = check(&toml, seed, N_STEPS);
            if seed % 2 == 0 {
                served::check(&toml, seed, &room, &runtime);
            }
        }
    }
}
