//! The rate of a device on a network and an encoder: rows answered and updates made a second.
//!
//! `cargo bench --bench device` computes on the processor, by the steps of a GPU; `cargo bench
//! --features cuda --bench device -- cuda:0` on a GPU. `benches/device.py` runs it beside PyTorch on
//! the same GPU. `PERENNIAL_ENCODER=FOLDER` adds an encoder; `--quick` measures for a moment.
//!
//! Each line: what, rows at once, and how many times a second that was done: the median of five.

use std::time::{Duration, Instant};

use anyhow::Context;
use perennial::engine::describe;
use perennial::event::{Batch, Column};
use perennial::model::{Device, Encoded, Network, Parameters, Rule, Training, softmax};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As MNIST has them.
const WIDTHS: [usize; 4] = [784, 256, 256, 10];
const ROWS: [usize; 3] = [1, 256, 4096];
const TEXTS: [usize; 2] = [1, 64];
const TOKENS: [usize; 2] = [16, 128];
const N_TIMES: usize = 5;
/// AdamW's first step, whose corrections do not change what a step costs.
const RULE: Rule = Rule::AdamW {
    betas: [0.9, 0.999],
    rate: 1e-3,
    correction: 1.0,
    epsilon: 1e-8,
    decay: 1e-5,
};

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let is_quick = words.iter().any(|word| word == "--quick");
    let named = words.iter().find_map(|word| Device::parse(word));
    let device = named.unwrap_or(Device::Candle);
    if let Err(why) = device.check() {
        println!("skipped: {why}");
        return Ok(());
    }
    let long = if is_quick {
        Duration::from_millis(20)
    } else {
        Duration::from_secs(1)
    };
    let parameters = Parameters::new(&WIDTHS, 0, 1);
    for n_rows in ROWS {
        let rows = rows(n_rows);
        let rows: Vec<&Encoded> = rows.iter().collect();
        let network = Network::on(&parameters, device);
        let rate = rate(long, || Ok(network.forward(&rows).map(drop)?))?;
        println!("forward {n_rows} {rate:.1}");
    }
    for n_rows in ROWS {
        let rate = updates(&parameters, device, n_rows, long)?;
        println!("update {n_rows} {rate:.1}");
    }
    match std::env::var_os("PERENNIAL_ENCODER") {
        Some(folder) => encoder(folder.as_ref(), device, long),
        None => Ok(()),
    }
}

fn rows(n_rows: usize) -> Vec<Encoded> {
    let value = |index: usize| (index as f32 * 0.7).sin();
    let row = |row: usize| Encoded {
        dense: (0..WIDTHS[0]).map(|i| value(row * 31 + i)).collect(),
        sparse: vec![],
        past: None,
    };
    (0..n_rows).map(row).collect()
}

/// How often a second something is done: the median of a few times so long.
fn rate(long: Duration, mut once: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    // The first time loads what the device runs.
    once()?;
    let mut rates = Vec::new();
    for _ in 0..N_TIMES {
        let (started, mut n_done) = (Instant::now(), 0);
        while started.elapsed() < long / N_TIMES as u32 || n_done == 0 {
            once()?;
            n_done += 1;
        }
        rates.push(f64::from(n_done) / started.elapsed().as_secs_f64());
    }
    rates.sort_unstable_by(f64::total_cmp);
    Ok(rates[N_TIMES / 2])
}

/// Forward, the gradient of a cross-entropy, backward, and a step.
fn updates(
    parameters: &Parameters,
    device: Device,
    n_rows: usize,
    long: Duration,
) -> anyhow::Result<f64> {
    let rows = rows(n_rows);
    let rows: Vec<&Encoded> = rows.iter().collect();
    let zeros = Parameters {
        layers: parameters.layers.iter().map(zeros).collect(),
        sparse: parameters.sparse.clone(),
    };
    let moments = Some([&zeros.layers[..], &zeros.layers[..]]);
    let training = Training::new(&parameters.layers, moments, device);
    let mut training = training?;
    let factors = vec![1.0 / n_rows as f32; n_rows];
    rate(long, || {
        let mut gradient = training.forward(&parameters.sparse, &rows)?;
        for (index, gradient) in gradient.chunks_exact_mut(WIDTHS[3]).enumerate() {
            softmax(gradient);
            gradient[index % WIDTHS[3]] -= 1.0;
        }
        training.backward(&gradient)?;
        training.step(&factors, RULE, false)?;
        Ok(())
    })
}

fn zeros(layer: &perennial::model::Layer) -> perennial::model::Layer {
    perennial::model::Layer {
        weight: vec![0.0; layer.weight.len()],
        bias: vec![0.0; layer.bias.len()],
        ..*layer
    }
}

fn encoder(folder: &std::path::Path, device: Device, long: Duration) -> anyhow::Result<()> {
    let folder = std::fs::canonicalize(folder).context("PERENNIAL_ENCODER")?;
    let models = tempfile::tempdir()?;
    let path = models.path().join("model.toml");
    let toml = format!(
        "task = \"classification\"\nclasses = [\"a\", \"b\"]\n[[input]]\nname = \"text\"\n\
         kind = \"text\"\nencoder = {:?}\n[backend]\ndevice = \"{device}\"\n",
        folder.display().to_string()
    );
    std::fs::write(&path, toml)?;
    let described = describe(&path)?;
    for n_tokens in TOKENS {
        let text = vec!["card"; n_tokens - 2].join(" ");
        for n_rows in TEXTS {
            let rate = rate(long, || {
                let mut batch = Batch {
                    n_rows,
                    columns: vec![Column::Strings(vec![text.clone(); n_rows])],
                };
                Ok(described.embed(&mut batch)?)
            })?;
            println!("encoder-{n_tokens} {n_rows} {rate:.1}");
        }
    }
    Ok(())
}
