//! As many random histories as are asked for, each checked as `tests/histories.rs` checks them.
//!
//! `cargo bench --bench histories -- 10000`, or with a first seed: `-- 10000 5000`.

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Instant;

use common::histories::{check, descriptions};
use common::served;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const N_STEPS: usize = 120;

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let (n_histories, first) = match numbers[..] {
        [] => (100, 0),
        [n_histories] => (n_histories, 0),
        [n_histories, first, ..] => (n_histories, first),
    };
    let descriptions = descriptions();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let started = Instant::now();
    for seed in first..first + n_histories {
        let toml = &descriptions[(seed % descriptions.len() as u64) as usize];
        let room = check(toml, seed, N_STEPS);
        served::check(toml, seed, &room, &runtime);
        let n_done = seed + 1 - first;
        if n_done.is_multiple_of(500) || n_done == n_histories {
            let rate = n_done as f64 / started.elapsed().as_secs_f64();
            println!("{n_done} of {n_histories} histories, {rate:.0} a second, none differs");
        }
    }
}
