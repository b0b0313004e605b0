//! As many kills of a serving process as are asked for, each checked as `tests/crash.rs` does.
//!
//! `cargo bench --bench crash -- 10000`, or with a first seed: `-- 10000 7`.

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/crash.rs"]
mod crash;
#[path = "../tests/common/server.rs"]
mod server;

use std::time::Instant;

use crash::{Life, Toll};

/// Kills of one data directory; its witnesses hold the whole journal in memory.
const KILLS_A_LIFE: u64 = 200;

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let (n_kills, seed) = match numbers[..] {
        [] => (KILLS_A_LIFE, 0),
        [n_kills] => (n_kills, 0),
        [n_kills, seed, ..] => (n_kills, seed),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(kill(n_kills, seed));
}

async fn kill(n_kills: u64, first_seed: u64) {
    let started = Instant::now();
    let mut toll = Toll::default();
    for seed in first_seed.. {
        let n_left = n_kills - toll.kills;
        if n_left == 0 {
            break;
        }
        let mut life = Life::new(seed);
        for _ in 0..n_left.min(KILLS_A_LIFE) {
            life.round().await;
        }
        toll += life.end().await;
        let Toll {
            kills,
            early_kills,
            acknowledged,
            repeated,
            versions,
            restored,
            retracted,
            entries,
            compared,
        } = toll;
        println!(
            "{kills} of {n_kills} kills under load and {early_kills} at start, {:.1} a second: \
             {acknowledged} acknowledged, 0 lost; {entries} entries, 0 events twice, {repeated} \
             sent again; {versions} versions by order, {restored} of them restores and \
             {retracted} retractions; {compared} digests equal",
            (kills + early_kills) as f64 / started.elapsed().as_secs_f64(),
        );
    }
}
