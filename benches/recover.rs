//! The speed at which a journal is applied: a restart after a kill, a replay, and a check of every byte.
//!
//! Invariant: nothing but the journal is there to start from, so that every entry is applied.
//!
//! `cargo bench --bench recover`, or shorter: `cargo bench --bench recover -- 10000`.

#[path = "traffic/feed.rs"]
mod feed;
#[path = "traffic/payments.rs"]
mod payments;
#[path = "traffic/quantile.rs"]
mod quantile;
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::time::Instant;

use support::{Workspace, copy};

use crate::feed::feed;
use crate::support::server::{Client, Server, json, run, text};

const N_EVENTS: u64 = 100_000;
const N_ROUNDS: usize = 5;

fn main() -> anyhow::Result<()> {
    let n_events = std::env::args().find_map(|argument| argument.parse().ok());
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(measure(n_events.unwrap_or(N_EVENTS)))
}

async fn measure(n_events: u64) -> anyhow::Result<()> {
    println!("cargo bench --bench recover -- {n_events}\n");
    let workspace = Workspace::new(&[("fraud", payments::DESCRIPTION)]);
    let server = Server::of(&workspace);
    let mut client = Client::connect(&server.address).await;
    let fed = feed(&mut client, (0..n_events).map(payments::event), None).await?;
    let status = server.status_of(payments::question(0)).await;
    drop(server);
    println!(
        "models/fraud learned {} labels, {:.0} a second with their journal; then it was killed",
        status.examples,
        fed.per_second()
    );
    let alone = workspace.data().with_file_name("alone");
    for round in 1..=N_ROUNDS {
        if alone.exists() {
            fs::remove_dir_all(&alone)?;
        }
        copy(&workspace.data(), &alone);
        forget_checkpoints(&alone)?;
        let started = Instant::now();
        let server = Server::start(&workspace.models(), &alone);
        let seconds = started.elapsed().as_secs_f64();
        let after = server.status_of(payments::question(0)).await;
        anyhow::ensure!(
            after.digest == status.digest,
            "it recovered to another state"
        );
        let n_entries = after.position;
        println!(
            "round {round}: restarted in {seconds:.2} s from {n_entries} entries, {:.0} a second",
            n_entries as f64 / seconds
        );
    }
    let data = text(&alone);
    let replayed = json(&["replay", "fraud", "--data", data, "--json"]);
    println!(
        "perennial replay: {} entries, {:.0} a second",
        replayed["entries"],
        replayed["entries_per_second"].as_f64().unwrap_or(0.0)
    );
    let started = Instant::now();
    let (checked, _) = run(&["verify", "--data", data], 0);
    println!(
        "perennial verify: {:.2} s: {}",
        started.elapsed().as_secs_f64(),
        checked.trim()
    );
    Ok(())
}

fn forget_checkpoints(data: &Path) -> anyhow::Result<()> {
    let folder = data.join("fraud/checkpoints");
    fs::remove_dir_all(&folder)?;
    Ok(fs::create_dir(&folder)?)
}
