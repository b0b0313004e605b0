//! The cost of a pretrained encoder to a prediction: latency at two lengths, and texts a second one at
//! a time, from many callers at once, and in one request.
//!
//! `PERENNIAL_ENCODER=FOLDER cargo bench --bench encoder`, with a folder like all-MiniLM-L6-v2.

#[path = "traffic/quantile.rs"]
mod quantile;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use perennial::engine::{Config, Engine, PredictOptions};
use perennial::event::{Batch, Column};

use crate::quantile::quantile;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Predictions of each measurement of latency.
const N_ALONE: usize = 100;
/// Texts of each measurement of throughput.
const N_TEXTS: usize = 512;
const CALLERS: usize = 32;
const TOKENS: [usize; 2] = [16, 128];

fn main() -> anyhow::Result<()> {
    // SAFETY: no other thread has started.
    unsafe {
        std::env::set_var("RAYON_NUM_THREADS", "1");
        std::env::set_var("CANDLE_NUM_THREADS", "1");
    }
    let Some(encoder) = std::env::var_os("PERENNIAL_ENCODER") else {
        println!("skipped: set PERENNIAL_ENCODER to the folder of an encoder");
        return Ok(());
    };
    let encoder = std::fs::canonicalize(encoder).context("PERENNIAL_ENCODER")?;
    let folder = tempfile::tempdir()?;
    let engine = open(folder.path(), &encoder)?;
    let runtime = tokio::runtime::Runtime::new()?;
    println!("tokens  p50 ms  p99 ms   alone/s  {CALLERS} callers/s  one request/s");
    for n_tokens in TOKENS {
        let text = text(n_tokens);
        let mut took = Vec::new();
        let started = Instant::now();
        for _ in 0..N_ALONE {
            let started = Instant::now();
            runtime.block_on(predict(&engine, 1, &text))?;
            took.push(started.elapsed());
        }
        let alone = N_ALONE as f64 / started.elapsed().as_secs_f64();
        took.sort_unstable();
        let ms = |took: Duration| took.as_secs_f64() * 1e3;
        let (p50, p99) = (ms(quantile(&took, 0.5)), ms(quantile(&took, 0.99)));
        let many = rate(|| runtime.block_on(callers(&engine, &text)))?;
        let one = rate(|| runtime.block_on(predict(&engine, N_TEXTS, &text)))?;
        println!("{n_tokens:>6} {p50:>7.2} {p99:>7.2} {alone:>9.1} {many:>13.1} {one:>14.1}");
    }
    Ok(())
}

/// An engine with one model that learns on the encoder's vectors.
fn open(folder: &Path, encoder: &Path) -> anyhow::Result<Arc<Engine>> {
    let model = folder.join("models/m");
    std::fs::create_dir_all(&model)?;
    let toml = format!(
        "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
         [[input]]\nname = \"text\"\nkind = \"text\"\nencoder = {:?}\n",
        encoder.display().to_string()
    );
    std::fs::write(model.join("model.toml"), toml)?;
    Ok(Engine::open(Config {
        models: folder.join("models"),
        data: folder.join("data"),
        ..Config::default()
    })?)
}

/// A text of so many tokens, the two that stand at its ends included.
fn text(n_tokens: usize) -> String {
    vec!["card"; n_tokens - 2].join(" ")
}

async fn predict(engine: &Engine, n_rows: usize, text: &str) -> anyhow::Result<()> {
    let model = engine.model("m")?;
    let batch = Batch {
        n_rows,
        columns: vec![Column::Strings(vec![text.to_owned(); n_rows])],
    };
    let snapshot = model.snapshot("")?;
    let batch = model.embed(&snapshot, batch).await?;
    let answer = model
        .predict(&snapshot, batch, PredictOptions::default())
        .await?;
    anyhow::ensure!(answer.ids.len() == n_rows, "it is journaled");
    Ok(())
}

/// Callers that each ask again once they are answered.
async fn callers(engine: &Arc<Engine>, text: &str) -> anyhow::Result<()> {
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (engine, text) = (engine.clone(), text.to_owned());
        all.spawn(async move {
            for _ in 0..N_TEXTS / CALLERS {
                predict(&engine, 1, &text).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = all.join_next().await {
        ended??;
    }
    Ok(())
}

/// Texts a second.
fn rate(run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let started = Instant::now();
    run()?;
    Ok(N_TEXTS as f64 / started.elapsed().as_secs_f64())
}
