//! A learner that begins anew behind a change of the world, beside one that goes on: elec2, whose labels
//! change places in the middle, as an engine serves it.
//!
//! Invariant: every run takes the same rows, each predicted, labelled and learned before the next one.
//!
//! `cargo bench --bench retrain`, or fewer rows: `cargo bench --bench retrain -- 8000`.

#[path = "learn/data.rs"]
mod data;
#[path = "../tests/it/support/mod.rs"]
mod support;

use anyhow::Result;
use perennial::event::{Batch, Column, Outputs};
use perennial::model::argmax;
use support::{Workspace, syncing_nothing, teach};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const N_ROWS: usize = 16_000;
/// Labelled rows that a learner begins anew from.
const NEWEST: usize = 1000;
/// Kinds of learners: one that keeps all that it learned, one that follows, and the default.
const LEARNERS: [(&str, &str); 3] = [
    ("analytic", "kind = \"analytic\"\n"),
    ("gradient", "kind = \"gradient\"\nlearning_rate = 0.003\n"),
    ("auto", "kind = \"auto\"\n"),
];

fn main() -> Result<()> {
    let n_rows = std::env::args().find_map(|one| one.parse().ok());
    let n_rows = n_rows.unwrap_or(N_ROWS);
    println!("cargo bench --bench retrain -- {n_rows}\n");
    let rows = match data::folder() {
        Some(folder) => data::Rows::elec2(&folder)?,
        None => {
            println!("no PERENNIAL_DATA and no ../shared/data: generated data of the same shape");
            data::Rows::generated()
        }
    };
    println!("labels change places behind row {}\n", n_rows / 2);
    println!("| learner | retrain | before | after | last quarter | began anew |");
    println!("|---|---|---|---|---|---|");
    let runtime = tokio::runtime::Runtime::new()?;
    for (name, learner) in LEARNERS {
        for asked in [
            "",
            "on_drift = true\n",
            "on_drift = true\nbelow_accuracy = 0.7\n",
        ] {
            let retrain = match asked {
                "" => String::new(),
                asked => format!("[retrain]\nnewest = {NEWEST}\ncooldown_events = 1000\n{asked}"),
            };
            let toml = format!("{}[learner]\n{learner}{retrain}", description(&rows));
            let run = runtime.block_on(run(&toml, &rows, n_rows))?;
            let asked = match asked {
                "" => "none".to_owned(),
                asked => asked.trim().replace('\n', ", "),
            };
            println!("| {name} | {asked} | {run} |");
        }
    }
    Ok(())
}

fn description(rows: &data::Rows) -> String {
    let mut classes: Vec<&String> = rows.labels.iter().take(1000).collect();
    classes.sort();
    classes.dedup();
    let inputs: Vec<String> = (0..8)
        .map(|input| format!("[[input]]\nname = \"{input}\"\nkind = \"number\"\n"))
        .collect();
    format!(
        "task = \"classification\"\nclasses = {classes:?}\n{}",
        inputs.concat()
    )
}

/// The accuracy before the change, after it and over the last quarter, and how often one began anew.
async fn run(toml: &str, rows: &data::Rows, n_rows: usize) -> Result<String> {
    let workspace = Workspace::new(&[("m", toml)]);
    let engine = workspace.open_on(syncing_nothing());
    let model = engine.model("m")?;
    let names = model.spec()?.task.names().to_vec();
    let mut right = Vec::new();
    for row in 0..n_rows {
        let columns = rows.numbers[row].iter();
        let columns = columns.map(|value| Column::Numbers(vec![*value])).collect();
        let label = &rows.labels[row];
        let other = names.iter().find(|name| *name != label);
        let truth = if row < n_rows / 2 {
            label
        } else {
            other.expect("two classes")
        };
        let batch = Batch { n_rows: 1, columns };
        let outputs = teach(model, batch, truth, &format!("row-{row}")).await;
        let Outputs::Probabilities(shares) = outputs else {
            anyhow::bail!("a classification answers with probabilities");
        };
        right.push(names[argmax(&shares)] == *truth);
    }
    let versions = model.versions()?.into_iter();
    let n_anew = versions.filter(|(one, _)| one.reason == "retrain").count();
    let share = |part: &[bool]| part.iter().filter(|one| **one).count() as f64 / part.len() as f64;
    let (before, after) = right.split_at(n_rows / 2);
    let last = &right[n_rows - n_rows / 4..];
    engine.close();
    Ok(format!(
        "{:.3} | {:.3} | {:.3} | {n_anew}",
        share(before),
        share(after),
        share(last)
    ))
}
