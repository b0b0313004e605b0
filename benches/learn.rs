//! The cost of learning: `Learner::apply` on events in memory, per second of CPU; and that of wide
//! inputs beside their arithmetic.
//!
//! Invariant: only what a row names is timed, by the CPU time of its own thread; every run of
//! `apply` starts from a learner that has learned nothing and takes the same events. The events
//! are feedback that brings its own inputs, so encoding, the check for a repeated id, scoring and
//! bookkeeping count.
//!
//! `cargo bench --bench learn`, or some of it: `cargo bench --bench learn -- linear`.
//! With `--quick`, a smoke test of seconds whose figures mean nothing.

#[path = "learn/arithmetic.rs"]
mod arithmetic;
#[path = "learn/data.rs"]
mod data;
#[path = "learn/events.rs"]
mod events;

use anyhow::Result;
use perennial::event::{Column, Entry, Signal};

use crate::data::{Images, Rows};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// New examples in an update of the network.
const PER_UPDATE: usize = 10;

/// How much is run.
pub struct Effort {
    pub(crate) n_runs: usize,
    n_images: usize,
    n_rows: usize,
    /// Rows in the memories that are searched, and how often each is.
    pub n_remembered: &'static [usize],
    pub(crate) n_lookups: usize,
}

const WHOLE: Effort = Effort {
    n_runs: 7,
    n_images: 20_000,
    n_rows: usize::MAX,
    // 5,000 is the default.
    n_remembered: &[1000, 5000, 20_000],
    n_lookups: 1000,
};

const QUICK: Effort = Effort {
    n_runs: 1,
    n_images: 640,
    n_rows: 640,
    n_remembered: &[1000],
    n_lookups: 10,
};

fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let (options, filter): (Vec<_>, Vec<_>) = arguments.partition(|a| a.starts_with("--"));
    let effort = match options.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => WHOLE,
        ["--quick"] => QUICK,
        _ => anyhow::bail!("{options:?}: --quick is the only option; other words choose rows"),
    };
    let wanted = |name: &str| filter.is_empty() || filter.iter().any(|f| name.contains(f.as_str()));
    let folder = data::folder();
    if folder.is_none() {
        println!("no PERENNIAL_DATA and no ../shared/data: generated data of the same shape");
    }
    let n_runs = effort.n_runs;
    println!("{n_runs} runs, one thread; median (least to most) per second of CPU\n");
    if wanted("er-step") || wanted("analytic") {
        let images = match &folder {
            Some(folder) => Images::read(folder, "train")?,
            None => Images::generated(effort.n_images),
        };
        let events: Vec<Entry> = (0..effort.n_images).map(|i| image(&images, i)).collect();
        if wanted("er-step") {
            let what = "er-step: MLP 784-256-256-10, sgd, 10 new + 10 replayed, steps";
            measure(&effort, what, &digits(), &events, PER_UPDATE)?;
        }
        if wanted("analytic") {
            arithmetic::analytic(&effort, &events)?;
        }
    }
    if wanted("neighbours") {
        arithmetic::neighbours(&effort);
    }
    let rows = match &folder {
        Some(folder) => Rows::elec2(folder)?,
        None => Rows::generated(),
    };
    let n_rows = rows.labels.len().min(effort.n_rows);
    let events: Vec<Entry> = (0..n_rows).map(|i| row(&rows, i)).collect();
    if wanted("linear") {
        let learner = "[learner]\nkind = \"gradient\"\n[memory]\nstrategy = \"none\"\n";
        let what = "linear: elec2, sgd, one step size, no memory, events";
        measure(&effort, what, &market(learner), &events, 1)?;
    }
    if wanted("auto") {
        measure(&effort, "auto: elec2, events", &market(""), &events, 1)?;
    }
    Ok(())
}

/// Prints how many of `per` events are applied in a second of CPU.
fn measure(effort: &Effort, what: &str, toml: &str, taught: &[Entry], per: usize) -> Result<()> {
    let (mut speeds, mut n_learned) = (Vec::new(), 0);
    for _ in 0..effort.n_runs {
        let (speed, learned) = applied(toml, taught)?;
        speeds.push(speed / per as f64);
        n_learned = learned;
    }
    println!("{what}: {}; {n_learned} learned", spread(&mut speeds));
    Ok(())
}

/// How many events a second of CPU applies, from the description on, and how many examples they
/// were.
fn applied(toml: &str, taught: &[Entry]) -> Result<(f64, u64)> {
    let mut learner = events::described(toml)?;
    let before = cpu_ns();
    for entry in taught {
        events::apply(&mut learner, entry)?;
    }
    let spent = cpu_ns() - before;
    let speed = taught.len() as f64 * 1e9 / spent as f64;
    Ok((speed, learner.learned().n_examples()))
}

/// The median, and the least and the most.
fn spread(speeds: &mut [f64]) -> String {
    speeds.sort_by(f64::total_cmp);
    let (least, most) = (speeds[0], speeds[speeds.len() - 1]);
    format!("{:.0} ({least:.0} to {most:.0})", speeds[speeds.len() / 2])
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
fn cpu_ns() -> u64 {
    // SAFETY: `timespec` is numbers only, for which zero bytes are a value.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a `timespec` that lives through the call.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "it fails only for a bad pointer or clock");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
