//! The cost of many versions: the bytes of a state that has made them all, and the memory
//! that a replay of their journal takes.
//!
//! Invariant: a version after each example, of which ten are kept; the replay is a process of its
//! own, so that nothing else is in its peak.
//!
//! `cargo bench --bench versions`, or fewer: `cargo bench --bench versions -- 10000`. Linux only.

#[path = "../tests/it/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use perennial::engine::{Disposal, Offline, RetractionRequest, ServedModel};
use perennial::event::{Feedback, Order, PredictionId, Selector, Subject, Time};
use perennial::store::checkpoint;
use support::{AUTO, Workspace, label, order, rows, syncing_nothing};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const N_VERSIONS: usize = 100_000;
/// Bytes of a state that has made them all, at most.
const STATE_BYTES_MAX: u64 = 1_000_000;
/// Events on their way at a time.
const N_AT_ONCE: usize = 256;
/// Retractions on the way, each with a restore behind it.
const N_RETRACTIONS: usize = 4;
const LEARNER: &str = "[network]\nkind = \"linear\"\n\
    [learner]\nkind = \"gradient\"\noptimizer = \"sgd\"\n[memory]\nstrategy = \"none\"\n\
    [versions]\nevery_examples = 1\nkeep = 10\n";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|one| one == "--replay") {
        return replay(Path::new(&arguments[at + 1]));
    }
    let n_versions = arguments.iter().find_map(|one| one.parse().ok());
    let n_versions = n_versions.unwrap_or(N_VERSIONS);
    println!("cargo bench --bench versions -- {n_versions}\n");
    let runtime = tokio::runtime::Runtime::new()?;
    for n_versions in [n_versions / 100, n_versions] {
        runtime.block_on(measure(n_versions))?;
    }
    Ok(())
}

async fn measure(n_versions: usize) -> anyhow::Result<()> {
    let workspace = Workspace::new(&[("m", &format!("{AUTO}{LEARNER}"))]);
    let engine = workspace.open_on(syncing_nothing());
    let model = engine.model("m")?;
    let started = Instant::now();
    let stretch = n_versions / N_RETRACTIONS;
    for n in 0..N_RETRACTIONS {
        teach(model, n * stretch..(n + 1) * stretch).await?;
        let request = RetractionRequest {
            selector: Selector::FeedbackId(format!("row-{}", n * stretch + stretch / 2)),
            actor: String::new(),
            note: String::new(),
            disposal: Disposal::Keep,
        };
        let version = model.retract(request).await?.version;
        order(model, Order::Restore { version }).await;
    }
    let n_made = model.snapshot("")?.version;
    let seconds = started.elapsed().as_secs_f64();
    engine.close();
    drop(engine);
    let folder = workspace.data().join("m/checkpoints");
    let newest = checkpoint::positions(&folder)?.pop();
    let newest = folder.join(format!("{:020}", newest.context("a checkpoint")?));
    let bytes = |file: &str| std::fs::metadata(newest.join(file)).map(|file| file.len());
    let state = bytes("learner.safetensors")? + bytes("weights.safetensors")?;
    println!("{n_made} versions in {seconds:.0} s: {state} bytes of state");
    ensure!(
        state < STATE_BYTES_MAX,
        "{state} bytes, expected less than {STATE_BYTES_MAX}"
    );
    let child = Command::new(std::env::current_exe()?)
        .arg("--replay")
        .arg(workspace.data())
        .output()?;
    ensure!(child.status.success(), "the replay failed: {child:?}");
    print!("{}", String::from_utf8(child.stdout)?);
    Ok(())
}

async fn teach(model: &ServedModel, examples: std::ops::Range<usize>) -> anyhow::Result<()> {
    let few: Vec<_> = rows(1000, 0.3).collect();
    let all: Vec<usize> = examples.collect();
    for some in all.chunks(N_AT_ONCE) {
        let mut receipts = Vec::new();
        for n in some {
            let (batch, truth) = few[n % few.len()].clone();
            receipts.push(model.accept(Feedback {
                subject: Subject::Inputs {
                    batch,
                    decision: None,
                },
                event_time: Some(now()),
                ..label(PredictionId(0), &format!("row-{n}"), truth)
            })?);
        }
        for receipt in receipts {
            receipt.wait().await?;
        }
        let last = model.status(false).journal_position;
        model.wait_for_position(last).await?;
    }
    Ok(())
}

fn now() -> Time {
    let since = std::time::UNIX_EPOCH.elapsed().expect("it is later");
    Time(since.as_micros() as i64)
}

fn replay(data: &Path) -> anyhow::Result<()> {
    let offline = Offline::open(data, "m")?;
    let before = resident("VmHWM:")?;
    let started = Instant::now();
    let mut replay = offline.replay(None)?;
    while replay.advance(10_000)? {}
    let entries = replay.outcome().entries;
    let (peak, seconds) = (resident("VmHWM:")?, started.elapsed().as_secs_f64());
    println!(
        "    replayed {entries} entries in {seconds:.1} s: {peak} KiB at most, {before} KiB before"
    );
    Ok(())
}

/// Of this process, in KiB.
fn resident(what: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let digits = line.context("no such line")?.trim().trim_end_matches(" kB");
    Ok(digits.parse()?)
}
