//! Random histories, each checked in memory and as an engine serves it.

use std::time::Instant;

use tokio::runtime::Runtime;

use crate::support::histories::{check, descriptions};
use crate::support::served;

const N_STEPS: usize = 120;

/// Checks the histories of `n_histories` seeds from `first` on, the descriptions in turn.
pub(crate) fn search(runtime: &Runtime, n_histories: u64, first: u64) {
    let descriptions = descriptions();
    let started = Instant::now();
    for seed in first..first + n_histories {
        let toml = &descriptions[(seed % descriptions.len() as u64) as usize];
        let harness = check(toml, seed, N_STEPS);
        served::check(toml, seed, &harness, runtime);
        let n_done = seed + 1 - first;
        if n_done.is_multiple_of(500) || n_done == n_histories {
            let rate = n_done as f64 / started.elapsed().as_secs_f64();
            println!("{n_done} of {n_histories} histories, {rate:.0} a second, none differs");
        }
    }
}
