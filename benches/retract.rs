//! The cost of retracting a source, and its effect on predictions.
//!
//! Invariant: predictions go on without a pause from before the order until after its version is
//! served.
//!
//! `cargo bench --bench retract`, or shorter: `cargo bench --bench retract -- 10000`.

#[path = "traffic/feed.rs"]
mod feed;
#[path = "traffic/payments.rs"]
mod payments;
#[path = "traffic/quantile.rs"]
mod quantile;
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use perennial::proto::perennial::v1::RetractRequest;
use support::Workspace;
use tokio::task::JoinSet;

use crate::feed::feed;
use crate::quantile::quantile;
use crate::support::server::{Client, Server};

const N_EVENTS: u64 = 100_000;
/// Sources that are taken back, one after the other; there are ten.
const N_ROUNDS: u64 = 3;
/// Connections, and the predictions that each asks for in a second.
const N_CLIENTS: u64 = 8;
const PER_SECOND: u64 = 250;
const BEFORE: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<()> {
    let n_events = std::env::args().find_map(|argument| argument.parse().ok());
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(measure(n_events.unwrap_or(N_EVENTS)))
}

async fn measure(n_events: u64) -> anyhow::Result<()> {
    println!("cargo bench --bench retract -- {n_events}");
    let rate = N_CLIENTS * PER_SECOND;
    println!("models/fraud, ten sources, {n_events} labels, {rate} predictions a second\n");
    let workspace = Workspace::new(&[("fraud", payments::DESCRIPTION)]);
    let server = Server::of(&workspace);
    let mut client = Client::connect(&server.address).await;
    feed(&mut client, (0..n_events).map(payments::event), None).await?;
    server.status_of(payments::question(0)).await;
    for round in 0..N_ROUNDS {
        let before = load(&server.address, tokio::time::sleep(BEFORE)).await?;
        let request = RetractRequest {
            model: "fraud".to_owned(),
            source: Some(format!("team-{round}")),
            ..Default::default()
        };
        let mut certificate = None;
        let started = Instant::now();
        let retract = async {
            certificate = Some(client.registry.retract(request).await);
        };
        let during = load(&server.address, retract).await?;
        let took = started.elapsed();
        let certificate = certificate.expect("it was waited for")?.into_inner();
        println!(
            "{} events taken back in {took:.2?}: {} entries applied, version {}",
            certificate.excluded, certificate.entries, certificate.version
        );
        for (when, latencies) in [("before", before), ("during", during)] {
            let (p50, p99) = (quantile(&latencies, 0.5), quantile(&latencies, 0.99));
            println!(
                "  {when}: {} predictions, p50 {p50:.2?}, p99 {p99:.2?}",
                latencies.len()
            );
        }
    }
    server.stop();
    Ok(())
}

/// The latencies, rising, of predictions that are made as long as `work` goes on; each counts
/// from the moment at which it was due.
async fn load(address: &str, work: impl Future<Output = ()>) -> anyhow::Result<Vec<Duration>> {
    let done = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    for task in 0..N_CLIENTS {
        let (mut client, done) = (Client::connect(address).await, done.clone());
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            for index in 0.. {
                let due = started + Duration::from_secs_f64(index as f64 / PER_SECOND as f64);
                tokio::time::sleep_until(due.into()).await;
                if done.load(Relaxed) {
                    break;
                }
                let request = payments::question(task << 32 | index);
                client.inference.model_infer(request).await?;
                latencies.push(due.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    work.await;
    done.store(true, Relaxed);
    let mut latencies = Vec::new();
    while let Some(task) = tasks.join_next().await {
        latencies.extend(task??);
    }
    latencies.sort_unstable();
    Ok(latencies)
}
