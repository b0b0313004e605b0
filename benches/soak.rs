//! Minutes of a model whose journal is too small for its traffic: 1,500 predictions of `digits`
//! and 50 corrections a second, 64 MiB, five seconds of age and one of retraction.
//!
//! Invariant: every sync is real. It fails where feedback was refused for more than a second in
//! all, or where a tenth of the predictions after the first minute had no id.
//!
//! `cargo bench --bench soak -- 600` for ten minutes; one by default.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use perennial::engine::{Config, Engine, PredictOptions, ServedModel};
use perennial::event::{Batch, Column, Feedback, PredictionId, Signal, Subject};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;

const PREDICTIONS_A_SECOND: u32 = 1500;
const CORRECTIONS_A_SECOND: u32 = 50;
const PREDICTIONS_A_CORRECTION: u64 = (PREDICTIONS_A_SECOND / CORRECTIONS_A_SECOND) as u64;
/// How much later than its prediction a correction comes, in predictions.
const DELAY: usize = PREDICTIONS_A_SECOND as usize;
const PIXELS: usize = 784;
const WARM_UP: Duration = Duration::from_secs(60);
const LIMITS: &str =
    "\n[journal]\nbytes_max = \"64MiB\"\nretract_within = \"1s\"\nage_max = \"5s\"\n";

/// The results.
#[derive(Debug, Default)]
struct Count {
    predictions: u64,
    late_predictions: u64,
    late_with_id: u64,
    corrections: u64,
    refused: u64,
    /// For how long, from a refusal until feedback is taken again.
    refused_for: Duration,
    bytes_max: u64,
}

fn main() -> anyhow::Result<()> {
    let seconds = std::env::args().find_map(|argument| argument.parse().ok());
    let runtime = tokio::runtime::Runtime::new()?;
    let count = runtime.block_on(soak(Duration::from_secs(seconds.unwrap_or(60))))?;
    println!("{count:?}");
    ensure!(
        count.refused_for <= Duration::from_secs(1),
        "feedback was refused"
    );
    ensure!(
        count.late_with_id * 10 >= count.late_predictions * 9,
        "predictions had no id"
    );
    Ok(())
}

/// An engine that serves the digits from this folder, with a small journal.
fn open(folder: &Path) -> anyhow::Result<Arc<Engine>> {
    let (models, data) = (folder.join("models"), folder.join("data"));
    std::fs::create_dir_all(models.join("digits"))?;
    let toml = std::fs::read_to_string("models/digits/model.toml")?;
    std::fs::write(models.join("digits/model.toml"), toml + LIMITS)?;
    Ok(Engine::open(Config {
        models,
        data,
        ..Config::default()
    })?)
}

async fn soak(duration: Duration) -> anyhow::Result<Count> {
    let folder = tempfile::tempdir()?;
    let engine = open(folder.path())?;
    let model = engine.model("digits")?.clone();
    let mut rng = SmallRng::seed_from_u64(1);
    let (mut count, mut waiting) = (Count::default(), VecDeque::new());
    let (started, mut printed) = (Instant::now(), Instant::now());
    let (ids, due) = mpsc::channel(4096);
    let corrections = tokio::spawn(correct(model.clone(), due));
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    while started.elapsed() < duration {
        pace.tick().await;
        let due = started.elapsed().as_secs_f64() * f64::from(PREDICTIONS_A_SECOND);
        while count.predictions < due as u64 {
            count.predictions += 1;
            let id = predict(&model, &mut rng).await?;
            if started.elapsed() > WARM_UP.min(duration / 2) {
                count.late_predictions += 1;
                count.late_with_id += u64::from(id.is_some());
            }
            waiting.push_back(id);
            let corrected = if waiting.len() > DELAY {
                waiting.pop_front().flatten()
            } else {
                None
            };
            if let Some(id) =
                corrected.filter(|_| count.predictions % PREDICTIONS_A_CORRECTION == 0)
            {
                ids.send(id).await?;
            }
        }
        if printed.elapsed() > Duration::from_secs(10) {
            printed = Instant::now();
            let status = model.status(false);
            count.bytes_max = count.bytes_max.max(status.journal_bytes);
            println!(
                "{:.0} s: {} bytes, lag {}, {count:?}",
                started.elapsed().as_secs_f64(),
                status.journal_bytes,
                status.lag
            );
        }
    }
    drop(ids);
    let corrected = corrections.await?;
    engine.close();
    Ok(Count {
        corrections: corrected.corrections,
        refused: corrected.refused,
        refused_for: corrected.refused_for,
        ..count
    })
}

/// Corrects the rows that it is sent, together those that come together.
async fn correct(model: Arc<ServedModel>, mut ids: mpsc::Receiver<PredictionId>) -> Count {
    let (mut count, mut due) = (Count::default(), Vec::new());
    let mut rng = SmallRng::seed_from_u64(2);
    let mut refused_since: Option<Instant> = None;
    while ids.recv_many(&mut due, 64).await > 0 {
        let mut receipts = Vec::new();
        for id in due.drain(..) {
            count.corrections += 1;
            receipts.push(model.accept(correction(id, count.corrections, &mut rng)));
        }
        for receipt in receipts {
            let taken = match receipt {
                Ok(receipt) => receipt.wait().await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                count.refused += 1;
                if refused_since.is_none() {
                    println!("refused: {error}");
                    refused_since = Some(Instant::now());
                }
            } else if let Some(since) = refused_since.take() {
                count.refused_for += since.elapsed();
            }
        }
    }
    if let Some(since) = refused_since {
        count.refused_for += since.elapsed();
    }
    count
}

async fn predict(model: &ServedModel, rng: &mut SmallRng) -> anyhow::Result<Option<PredictionId>> {
    let pixels = (0..PIXELS).flat_map(|_| rng.random::<f32>().to_le_bytes());
    let batch = Batch {
        n_rows: 1,
        columns: vec![Column::Vectors(Bytes::from_iter(pixels))],
    };
    let snapshot = model.snapshot("")?;
    let answer = model
        .predict(&snapshot, batch, PredictOptions::default())
        .await?;
    Ok(answer.ids.first().copied())
}

fn correction(id: PredictionId, n: u64, rng: &mut SmallRng) -> Feedback {
    Feedback {
        feedback_id: format!("correction-{n}"),
        subject: Subject::Prediction(id),
        signal: Signal::Label(rng.random_range(0..10).to_string()),
        source: "soak".to_owned(),
        event_time: None,
        tags: Default::default(),
        actor: String::new(),
        weight: 1.0,
        comment: String::new(),
        may_correct: false,
    }
}
