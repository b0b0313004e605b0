//! The cost of feedback: events a second through one stream, and how long until it is on disk.
//!
//! Invariant: the server is the program itself, in a process of its own, with every sync real.
//!
//! `cargo bench --bench feedback`, or shorter: `cargo bench --bench feedback -- 20000`.

#[path = "traffic/feed.rs"]
mod feed;
#[path = "traffic/quantile.rs"]
mod quantile;
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::time::{Duration, SystemTime};

use anyhow::Context;
use bytes::Bytes;
use perennial::proto::inference::ModelInferRequest;
use perennial::proto::inference::model_infer_request::InferInputTensor;
use perennial::proto::perennial::v1::{FeedbackRequest, Tensor};
use prost::Message;
use support::Workspace;

use crate::feed::feed;
use crate::support::server::{Client, Server};

/// Events at full rate, and again at half of it.
const N_EVENTS: usize = 200_000;
const N_ROUNDS: usize = 3;
/// Events a second to reach, and how long a rate is held.
const TO_REACH: f64 = 20_000.0;
const SECONDS: f64 = 5.0;
/// So many numbers make an event of 1 KB.
const LENGTH: usize = 226;

fn main() -> anyhow::Result<()> {
    let n_events = std::env::args().find_map(|argument| argument.parse().ok());
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(measure(n_events.unwrap_or(N_EVENTS)))
}

async fn measure(n_events: usize) -> anyhow::Result<()> {
    let size = event("size", 0).encoded_len();
    println!("cargo bench --bench feedback -- {n_events}");
    println!("one stream, {size} bytes an event, {n_events} events at most at each rate\n");
    let description = format!(
        "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
         [[input]]\nname = \"x\"\nkind = \"vector\"\nlength = {LENGTH}\n\
         [learner]\nkind = \"gradient\"\n"
    );
    for round in 1..=N_ROUNDS {
        let workspace = Workspace::new(&[("m", &description)]);
        let server = Server::of(&workspace);
        let mut client = Client::connect(&server.address).await;
        let warm = events("warm", n_events.div_ceil(10));
        feed(&mut client, warm, None).await?;
        let full = feed(&mut client, events("full", n_events), None).await?;
        client.reach(question(), full.last_position).await;
        println!(
            "round {round}: {:.0} events/s acknowledged",
            full.per_second()
        );
        for (prefix, rate) in [
            ("to-reach", TO_REACH / 2.0),
            ("half", full.per_second() / 2.0),
        ] {
            let before = syncs(&server)?;
            let n_paced = n_events.min((rate * SECONDS) as usize);
            let acked = feed(&mut client, events(prefix, n_paced), Some(rate)).await?;
            client.reach(question(), acked.last_position).await;
            let sync = sync_quantile(&before, &syncs(&server)?, 0.99);
            let (p50, p99) = (acked.quantile(0.5), acked.quantile(0.99));
            println!("  at {rate:.0} a second: acknowledged after p50 {p50:.1?}, p99 {p99:.1?};");
            println!(
                "    a sync took at least {sync:.1?} at p99, so the limit is {:.1?}",
                limit(sync)
            );
        }
    }
    Ok(())
}

/// The longest time that an acknowledgement may take.
fn limit(sync: Duration) -> Duration {
    (sync * 4).max(Duration::from_millis(10))
}

fn events(prefix: &'static str, n: usize) -> impl Iterator<Item = FeedbackRequest> + Send {
    (0..n).map(move |index| event(prefix, index))
}

fn event(prefix: &str, index: usize) -> FeedbackRequest {
    let sign = if index.is_multiple_of(2) { 1.0 } else { -1.0 };
    let number = |place: usize| sign * ((place * 31 + index) % 97) as f32 / 97.0;
    let contents: Vec<u8> = (0..LENGTH).map(number).flat_map(f32::to_le_bytes).collect();
    FeedbackRequest {
        model: "m".to_owned(),
        feedback_id: format!("{prefix}-{index:09}"),
        inputs: vec![Tensor {
            name: "x".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1, LENGTH as i64],
            contents: Bytes::from(contents),
        }],
        source: "bench".to_owned(),
        event_time: Some(SystemTime::now().into()),
        label: Some(if sign > 0.0 { "a" } else { "b" }.to_owned()),
        ..Default::default()
    }
}

fn question() -> ModelInferRequest {
    let event = event("asked", 0);
    let tensor = &event.inputs[0];
    ModelInferRequest {
        model_name: event.model,
        inputs: vec![InferInputTensor {
            name: tensor.name.clone(),
            datatype: tensor.datatype.clone(),
            shape: tensor.shape.clone(),
            ..Default::default()
        }],
        raw_input_contents: vec![tensor.contents.clone()],
        ..Default::default()
    }
}

/// How many syncs took at most how long, from the server's metrics, bounds rising.
fn syncs(server: &Server) -> anyhow::Result<Vec<(f64, f64)>> {
    let metrics = server.metrics();
    let of_bound = |line: &str| {
        let rest = line.strip_prefix("perennial_sync_seconds_bucket{")?;
        let (labels, count) = rest.split_once("} ")?;
        let (_, bound) = labels.split_once("le=\"")?;
        let bound = bound.split('"').next()?.replace("+Inf", "inf");
        Some((bound.parse().ok()?, count.parse().ok()?))
    };
    let bounds: Vec<_> = metrics.lines().filter_map(of_bound).collect();
    bounds.last().context("the metrics tell of no sync")?;
    Ok(bounds)
}

/// The bound below the one that this share of the syncs in between stayed in.
fn sync_quantile(before: &[(f64, f64)], after: &[(f64, f64)], share: f64) -> Duration {
    let between = |index: usize| after[index].1 - before[index].1;
    let wanted = between(after.len() - 1) * share;
    let reached = (0..after.len()).find(|index| between(*index) >= wanted);
    let below = reached.unwrap_or(0).saturating_sub(1);
    Duration::from_secs_f64(after[below].0)
}
