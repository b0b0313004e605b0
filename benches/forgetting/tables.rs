//! The tables: which figures there are, and how they are printed.
//!
//! Invariant: one line a model, each figure the mean over the seeds with the least and the most.

use anyhow::Result;

use crate::Bench;
use crate::models::{self, Setting};
use crate::task_run;
use crate::task_sequence::TaskSequence;

/// Slots of memory.
const SLOTS: [usize; 3] = [200, 500, 5120];
/// New examples in an update of the class-incremental stream.
const PER_UPDATE: usize = 10;

const fn setting(strategy: &'static str, learning_rate: f64, replay: usize) -> Setting {
    Setting {
        strategy,
        learning_rate,
        replay,
        standardise: true,
    }
}

/// On pixels as they are, as the papers have them: a background of zeros moves no weight.
const fn plain(strategy: &'static str, learning_rate: f64, replay: usize) -> Setting {
    Setting {
        standardise: false,
        ..setting(strategy, learning_rate, replay)
    }
}

const SPLIT: [Setting; 5] = [
    setting("none", 0.05, 32),
    setting("er", 0.05, 32),
    setting("er-ace", 0.05, 32),
    plain("der++", 0.1, 32),
    setting("cls-er", 0.05, 32),
];

const DOMAINS: [Setting; 5] = [
    setting("none", 0.05, 128),
    setting("er", 0.05, 128),
    setting("er-ace", 0.05, 128),
    plain("der++", 0.2, 256),
    setting("cls-er", 0.05, 128),
];

/// Class-incremental, by strategy and slots.
pub(crate) fn split(bench: &Bench) -> Result<()> {
    let mut title = Title::new(format!(
        "Split-MNIST, class-incremental: 5 tasks of 2 digits, one pass, MLP 784-100-100-10, sgd, \
         {PER_UPDATE} new examples an update\nstrategy | test accuracy, % with {SLOTS:?} slots"
    ));
    for setting in &SPLIT {
        let mut cells = Vec::new();
        for slots in SLOTS {
            let toml = models::network(setting, PER_UPDATE, slots);
            let name = format!("split/{}/{slots}", setting.strategy);
            let accuracy =
                |seed| Ok(task_run::through(bench, TaskSequence::Split, &toml, seed)?.accuracy);
            cells.push(figure(bench, &name, accuracy)?);
        }
        title.line(setting.strategy, &cells);
    }
    Ok(())
}

/// The table of the stream without a stored example.
pub(crate) fn analytic(bench: &Bench) -> Result<()> {
    let mut title = Title::new(
        "Split-MNIST, class-incremental, kind = \"analytic\", no stored example\n\
         features | test accuracy, %"
            .to_owned(),
    );
    for features in [1000, 2000, 4000] {
        let toml = models::analytic(features);
        let name = format!("analytic/{features}");
        let accuracy =
            |seed| Ok(task_run::through(bench, TaskSequence::Split, &toml, seed)?.accuracy);
        let cell = figure(bench, &name, accuracy)?;
        title.line(&features.to_string(), &[cell]);
    }
    let toml = models::analytic_of_images(2000);
    let accuracy = |seed| Ok(task_run::through(bench, TaskSequence::Split, &toml, seed)?.accuracy);
    let cell = figure(bench, "analytic/image", accuracy)?;
    title.line("2000, shape = [28, 28]", &[cell]);
    Ok(())
}

/// Domain-incremental, by strategy.
pub(crate) fn domains(bench: &Bench) -> Result<()> {
    for (sequence, name) in [
        (TaskSequence::Rotated, "rotated"),
        (TaskSequence::Permuted, "permuted"),
    ] {
        let mut title = Title::new(format!(
            "{sequence:?}-MNIST, domain-incremental: {} tasks, one pass, MLP 784-100-100-10, sgd, \
             128 new examples an update, 500 slots\nstrategy | test accuracy, % | forgotten, %",
            bench.n_tasks
        ));
        for setting in &DOMAINS {
            let toml = models::network(setting, 128, 500);
            let name = format!("{name}/{}", setting.strategy);
            let both = |seed| {
                let report = task_run::through(bench, sequence, &toml, seed)?;
                Ok([report.accuracy, report.forgotten])
            };
            title.line(setting.strategy, &figures(bench, &name, both)?);
        }
    }
    Ok(())
}

/// Event at a time.
pub(crate) fn events(bench: &Bench) -> Result<()> {
    let mut title = Title::new(
        "Split-MNIST, event at a time: 1 new example and 16 replayed an update, 500 slots, each \
         scored before it is learned\nstrategy | progressive accuracy, % | test accuracy, %"
            .to_owned(),
    );
    for strategy in ["er", "er-ace", "der++", "cls-er"] {
        let toml = models::network(&setting(strategy, 0.05, 16), 1, 500);
        let both = |seed| task_run::one_by_one(bench, TaskSequence::Split, &toml, seed);
        let cells = figures(bench, &format!("event/{strategy}"), both)?;
        title.line(strategy, &cells);
    }
    Ok(())
}

/// Digits as actions.
pub(crate) fn bandit(bench: &Bench) -> Result<()> {
    let mut title = Title::new(
        "MNIST as 10 arms, one pass: reward 1 for the right digit\n\
         model | mean reward of the actions served, % | of the last tenth, %"
            .to_owned(),
    );
    let auto = models::arms("");
    let both = |seed| task_run::rewarded(bench, &auto, seed);
    title.line("the defaults", &figures(bench, "bandit/defaults", both)?);
    Ok(())
}

/// Printed above the first line, if one comes.
struct Title(Option<String>);

impl Title {
    fn new(text: String) -> Title {
        Title(Some(text))
    }

    /// One model with its figures; nothing where none was asked for.
    fn line(&mut self, name: &str, cells: &[Option<String>]) {
        if cells.iter().all(Option::is_none) {
            return;
        }
        if let Some(text) = self.0.take() {
            println!("\n{text}");
        }
        let shown = |cell: &Option<String>| cell.clone().unwrap_or_else(|| "-".to_owned());
        let cells: Vec<String> = cells.iter().map(shown).collect();
        println!("{name} | {}", cells.join(" | "));
    }
}

/// One figure over all seeds, if it is asked for.
fn figure(
    bench: &Bench,
    name: &str,
    measure: impl Fn(u64) -> Result<f64>,
) -> Result<Option<String>> {
    let [cell] = figures(bench, name, |seed| Ok([measure(seed)?]))?;
    Ok(cell)
}

/// Several figures of the same runs.
fn figures<const N: usize>(
    bench: &Bench,
    name: &str,
    measure: impl Fn(u64) -> Result<[f64; N]>,
) -> Result<[Option<String>; N]> {
    if !bench.wants(name) {
        return Ok([const { None }; N]);
    }
    let mut runs = Vec::new();
    for seed in bench.seeds {
        let run = measure(*seed)?;
        let shown: Vec<String> = run
            .iter()
            .map(|share| format!("{:.2}", 100.0 * share))
            .collect();
        eprintln!("{name} seed {seed}: {}", shown.join(", "));
        runs.push(run);
    }
    Ok(std::array::from_fn(|index| {
        let mut shares: Vec<f64> = runs.iter().map(|run| 100.0 * run[index]).collect();
        shares.sort_by(f64::total_cmp);
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        let (least, most) = (shares[0], shares[shares.len() - 1]);
        Some(format!("{mean:.2} ({least:.2} to {most:.2})"))
    }))
}
