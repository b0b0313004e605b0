//! The cost of a prediction beside a bare gRPC echo, and that of a learner beside it.
//!
//! Invariant: every figure compares servers of the same run, taken in turn; CPU time is the
//! server's alone, because it runs in a process of its own.
//!
//! `cargo bench --bench predict`, or shorter: `cargo bench --bench predict -- --requests 2000`.
//! `cargo bench --bench predict -- --overload 5`: at fixed rates, each for 5 seconds, up to more than it
//! can do. `cargo bench --bench predict -- --attacks 5`: beside clients that want too much.

#[path = "predict/attacks.rs"]
mod attacks;
#[path = "predict/child.rs"]
mod child;
#[path = "predict/figures.rs"]
mod figures;
#[path = "predict/load.rs"]
mod load;
#[path = "predict/overload.rs"]
mod overload;
#[path = "traffic/quantile.rs"]
mod quantile;
#[path = "predict/served.rs"]
mod served;
#[path = "predict/strangers.rs"]
mod strangers;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::{Context, bail, ensure};

use crate::child::{Kind, ServerProcess};
use crate::figures::Figures;
use crate::load::{Client, LoadResult, closed};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const N_REQUESTS: usize = 40_000;
/// Pairs of echo and perennial at 64 in flight.
const N_PAIRS: usize = 5;
/// Rounds without a learner at work and with one.
const N_ROUNDS: usize = 3;
/// In flight beside the learner.
const BESIDE: usize = 8;
/// Feedback events of one round.
const N_EVENTS_MAX: usize = 500_000;

fn main() -> anyhow::Result<()> {
    // As the program does.
    // SAFETY: no other thread has been started, so nothing can read the environment meanwhile.
    unsafe {
        std::env::set_var("RAYON_NUM_THREADS", "1");
        std::env::set_var("CANDLE_NUM_THREADS", "1");
    }
    let (mut n_requests, mut n_pairs) = (N_REQUESTS, N_PAIRS);
    let (mut overload, mut attacks) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().context("an argument lacks its value");
        match argument.as_str() {
            "--serve" => return child::serve(&value()?, Path::new(&value()?)),
            "--requests" => n_requests = value()?.parse().context("--requests")?,
            "--pairs" => n_pairs = value()?.parse().context("--pairs")?,
            "--overload" => overload = Some(value()?.parse().context("--overload")?),
            "--attacks" => attacks = Some(value()?.parse().context("--attacks")?),
            // Cargo passes it to every bench.
            "--bench" => {}
            other => bail!(
                "{other}: expected --requests N, --pairs N, --overload SECONDS or --attacks SECONDS"
            ),
        }
    }
    ensure!(n_requests >= 64, "--requests {n_requests}: expected >= 64");
    ensure!(n_pairs > 0, "--pairs {n_pairs}: expected >= 1");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let cores = std::thread::available_parallelism()?;
        println!("{cores} cores, shared by client and server; digits 784-256-256-10, FP32, 1 row");
        match (overload, attacks) {
            (Some(seconds), _) => overload::measure(seconds, n_pairs).await,
            (None, Some(seconds)) => attacks::measure(seconds, n_pairs).await,
            (None, None) => measure(n_requests, n_pairs).await,
        }
    })
}

async fn measure(n_requests: usize, n_pairs: usize) -> anyhow::Result<()> {
    println!("cargo bench --bench predict -- --requests {n_requests} --pairs {n_pairs}");
    println!("CPU is the server's, with journal and learner; its clock ticks every 10 ms\n");
    for in_flight in [1, 8] {
        compare((in_flight, 1), 1, n_requests).await?;
    }
    let ratios = compare((64, 1), n_pairs, n_requests).await?;
    let over_eight = compare((64, 8), n_pairs, n_requests).await?;
    beside_learner(n_requests.div_ceil(2)).await?;
    println!(
        "ratio perennial/echo at 64 in flight: {}; over eight connections: {}",
        ratios.shown(1.0, 2),
        over_eight.shown(1.0, 2)
    );
    Ok(())
}

/// The measurements of one server, or of one condition.
#[derive(Default)]
struct Table {
    cpu_us: Figures,
    p50_us: Figures,
    p99_us: Figures,
    per_second: Figures,
}

impl Table {
    fn add(&mut self, result: &LoadResult) {
        self.p50_us.0.push(result.quantile_us(0.5));
        self.p99_us.0.push(result.quantile_us(0.99));
        self.per_second.0.push(result.per_second());
    }

    fn print(&self, name: &str) {
        println!("{name}");
        if !self.cpu_us.0.is_empty() {
            println!("  CPU us/request  {}", self.cpu_us.shown(1.0, 1));
        }
        println!("  p50 ms          {}", self.p50_us.shown(1e3, 3));
        println!("  p99 ms          {}", self.p99_us.shown(1e3, 3));
        println!("  requests/s      {}", self.per_second.shown(1.0, 0));
    }
}

/// Echo and perennial in turn; the ratio of their CPU time a request, one a pair.
async fn compare(
    (in_flight, n_connections): (usize, usize),
    n_pairs: usize,
    n_requests: usize,
) -> anyhow::Result<Figures> {
    let load = (in_flight, n_connections);
    let (mut echo, mut perennial) = (Table::default(), Table::default());
    let mut ratios = Figures::default();
    for _ in 0..n_pairs {
        let floor = cost(Kind::Echo, load, n_requests, &mut echo).await?;
        let ours = cost(Kind::Perennial, load, n_requests, &mut perennial).await?;
        ratios.0.push(ours / floor);
    }
    println!(
        "{in_flight} in flight over {n_connections} connections, {n_pairs} x {n_requests} requests each, in turn"
    );
    echo.print("echo");
    perennial.print("perennial, journaled");
    println!("ratio of CPU      {}\n", ratios.shown(1.0, 2));
    Ok(ratios)
}

/// CPU time a request of a fresh server, in microseconds.
async fn cost(
    kind: Kind,
    (in_flight, n_connections): (usize, usize),
    n_requests: usize,
    table: &mut Table,
) -> anyhow::Result<f64> {
    let server = ServerProcess::start(kind)?;
    let clients = Client::connect_all(&server, n_connections).await?;
    closed(&clients, in_flight, n_requests.div_ceil(8)).await?;
    clients[0].settle(kind).await?;
    let before = server.cpu()?;
    let result = closed(&clients, in_flight, n_requests).await?;
    clients[0].settle(kind).await?;
    let cpu = server.cpu()? - before;
    let cpu_us = cpu.as_secs_f64() * 1e6 / n_requests as f64;
    table.cpu_us.0.push(cpu_us);
    table.add(&result);
    Ok(cpu_us)
}

/// The work beside the predictions.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Nothing,
    /// The learner works off the events that were sent before.
    Backlog,
    /// Feedback arrives as fast as it is taken.
    Feedback,
}

async fn beside_learner(n_requests: usize) -> anyhow::Result<()> {
    let conditions = [
        (Beside::Nothing, "no feedback"),
        (Beside::Backlog, "the learner works off a backlog"),
        (
            Beside::Feedback,
            "the learner works, feedback comes as fast as it is taken",
        ),
    ];
    let mut tables: [LearningTable; 3] = Default::default();
    for _ in 0..N_ROUNDS {
        for ((beside, _), table) in conditions.iter().zip(&mut tables) {
            learn_beside(*beside, n_requests, table).await?;
        }
    }
    println!("{BESIDE} in flight, {N_ROUNDS} x {n_requests} requests each, in turn");
    for ((beside, name), measured) in conditions.iter().zip(&tables) {
        measured.table.print(name);
        if *beside != Beside::Nothing {
            println!("  learned         {}", measured.learned.shown(1.0, 0));
            println!("  learned/s       {}", measured.per_second.shown(1.0, 0));
            println!("  not yet learned {}", measured.left.shown(1.0, 0));
        }
    }
    println!();
    Ok(())
}

/// Predictions beside a learner.
#[derive(Default)]
struct LearningTable {
    table: Table,
    /// Examples learned while the predictions were made, and those that waited at their end.
    learned: Figures,
    per_second: Figures,
    left: Figures,
}

async fn learn_beside(
    beside: Beside,
    n_requests: usize,
    table: &mut LearningTable,
) -> anyhow::Result<()> {
    let server = ServerProcess::start(Kind::Perennial)?;
    let client = Client::connect(&server).await?;
    client.load(BESIDE, n_requests.div_ceil(4)).await?;
    client.settle(Kind::Perennial).await?;
    // Feedback has a connection of its own, as a client of its own would.
    let teacher = Client::connect(&server).await?;
    let stop = Arc::new(AtomicBool::new(false));
    // A learner takes longer over an example than a server over a prediction.
    let mut positions = match beside {
        Beside::Nothing => Vec::new(),
        _ => teacher.teach("before", n_requests, stop.clone()).await?,
    };
    let streaming = (beside == Beside::Feedback).then(|| {
        let (teacher, stop) = (teacher.clone(), stop.clone());
        tokio::spawn(async move { teacher.teach("beside", N_EVENTS_MAX, stop).await })
    });
    let from = client.position().await?;
    let result = client.load(BESIDE, n_requests).await?;
    let to = client.position().await?;
    stop.store(true, Relaxed);
    if let Some(streaming) = streaming {
        positions.extend(streaming.await??);
    }
    table.table.add(&result);
    if beside == Beside::Nothing {
        return Ok(());
    }
    let between = |position: &&u64| (from + 1..=to).contains(*position);
    let learned = positions.iter().filter(between).count();
    let left = positions.iter().filter(|position| **position > to).count();
    let status = client.status().await?;
    ensure!(
        status.examples >= learned as u64,
        "{} examples learned, expected {learned}",
        status.examples
    );
    table.learned.0.push(learned as f64);
    table
        .per_second
        .0
        .push(learned as f64 / result.took.as_secs_f64());
    table.left.0.push(left as f64);
    Ok(())
}
