//! Kills of a serving process, under load and at its start.

use std::time::Instant;

use crate::support::crash::{Counts, Scenario};

/// Kills of one data directory; its witnesses hold the whole journal in memory.
const KILLS_A_LIFE: u64 = 200;

/// Kills `n_kills` times, or as often as one data directory takes.
pub(crate) async fn search(n_kills: Option<u64>, first_seed: u64) {
    let n_kills = n_kills.unwrap_or(KILLS_A_LIFE);
    let started = Instant::now();
    let mut counts = Counts::default();
    for seed in first_seed.. {
        let n_left = n_kills - counts.kills;
        if n_left == 0 {
            break;
        }
        let mut scenario = Scenario::new(seed);
        for _ in 0..n_left.min(KILLS_A_LIFE) {
            scenario.round().await;
        }
        counts += scenario.end().await;
        let Counts {
            kills,
            early_kills,
            acknowledged,
            repeated,
            versions,
            restored,
            retracted,
            left,
            entries,
            compared,
        } = counts;
        println!(
            "{kills} of {n_kills} kills under load and {early_kills} at start, {:.1} a second: \
             {acknowledged} acknowledged, 0 lost; {entries} entries, 0 events twice, {repeated} \
             sent again; {versions} versions by order, {restored} of them restores and \
             {retracted} retractions; {left} orders whose callers left; {compared} digests equal",
            (kills + early_kills) as f64 / started.elapsed().as_secs_f64(),
        );
    }
}
