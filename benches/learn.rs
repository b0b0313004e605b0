//! What learning costs: `Learner::apply` on events in memory, per second of CPU.
//!
//! Invariant: only `apply` is timed, by the CPU time of its own thread; every run starts from a
//! learner that has learned nothing and takes the same events. The events are feedback that
//! brings its own inputs, so encoding, the check for a repeated id, scoring and bookkeeping count.
//!
//! `cargo bench --bench learn`, or some of it: `cargo bench --bench learn -- linear`.

#[path = "learn/data.rs"]
mod data;
#[path = "learn/events.rs"]
mod events;

use anyhow::{Context, Result};
use perennial::event::{Column, Entry, Signal};

use crate::data::{Images, Rows};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const N_RUNS: usize = 7;
/// New examples in an update of the network.
const PER_UPDATE: usize = 10;
const N_IMAGES: usize = 20_000;

fn main() -> Result<()> {
    let filter: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let wanted = |name: &str| filter.is_empty() || filter.iter().any(|f| name.contains(f.as_str()));
    let folder = data::folder();
    if folder.is_none() {
        println!("no PERENNIAL_DATA and no ../shared/data: generated data of the same shape");
    }
    println!("{N_RUNS} runs, one thread; median (least to most) per second of CPU\n");
    if wanted("er-step") {
        let images = match &folder {
            Some(folder) => Images::read(folder, "train")?,
            None => Images::generated(N_IMAGES),
        };
        let events: Vec<Entry> = (0..N_IMAGES).map(|i| image(&images, i)).collect();
        let what = "er-step: MLP 784-256-256-10, sgd, 10 new + 10 replayed, steps";
        measure(what, &digits(), &events, PER_UPDATE)?;
    }
    let rows = match &folder {
        Some(folder) => Rows::elec2(folder)?,
        None => Rows::generated(),
    };
    let events: Vec<Entry> = (0..rows.labels.len()).map(|i| row(&rows, i)).collect();
    if wanted("linear") {
        let learner = "[learner]\nkind = \"gradient\"\n[memory]\nstrategy = \"none\"\n";
        let what = "linear: elec2, sgd, one step size, no memory, events";
        measure(what, &market(learner), &events, 1)?;
    }
    if wanted("auto") {
        measure("auto: elec2, events", &market(""), &events, 1)?;
    }
    Ok(())
}

/// Prints how many of `per` events are applied in a second of CPU.
fn measure(what: &str, toml: &str, taught: &[Entry], per: usize) -> Result<()> {
    let mut speeds = Vec::new();
    let mut last = String::new();
    for _ in 0..N_RUNS {
        let mut learner = events::described(toml)?;
        let before = cpu_ns()?;
        for entry in taught {
            events::apply(&mut learner, entry)?;
        }
        let spent = cpu_ns()? - before;
        speeds.push((taught.len() / per) as f64 / (spent as f64 / 1e9));
        last = format!("{} learned", learner.learned().n_examples());
    }
    speeds.sort_by(f64::total_cmp);
    let (least, most) = (speeds[0], speeds[N_RUNS - 1]);
    println!(
        "{what}: {:.0} ({least:.0} to {most:.0}); {last}",
        speeds[N_RUNS / 2]
    );
    Ok(())
}

fn digits() -> String {
    let head = events::of_images("classification", "classes");
    format!(
        "{head}[network]\nkind = \"mlp\"\nhidden = [256, 256]\n[learner]\n\
         kind = \"gradient\"\nexamples_per_update = {PER_UPDATE}\n[memory]\nstrategy = \"er\"\n\
         replay = {PER_UPDATE}\n"
    )
}

fn market(learner: &str) -> String {
    let inputs: Vec<String> = (0..8)
        .map(|input| format!("[[input]]\nname = \"{input}\"\nkind = \"number\"\n"))
        .collect();
    format!(
        "task = \"classification\"\nclasses = [\"up\", \"down\"]\n{}{learner}",
        inputs.concat()
    )
}

fn image(images: &Images, index: usize) -> Entry {
    let column = events::pixels([&images.pixels[index]].into_iter());
    let digit = images.digits[index].to_string();
    events::feedback(index, vec![column], Signal::Label(digit))
}

fn row(rows: &Rows, index: usize) -> Entry {
    let columns = rows.numbers[index].iter();
    let columns = columns.map(|number| Column::Numbers(vec![*number]));
    let label = rows.labels[index].clone();
    events::feedback(index, columns.collect(), Signal::Label(label))
}

/// Nanoseconds that this thread has run.
fn cpu_ns() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split(' ').next().context("schedstat is empty")?;
    Ok(first.parse()?)
}
