//! Forgetting: the tables of continual learning on MNIST, through the real learner.
//!
//! Invariant: nothing here learns. Events go through `Learner::apply` under a description that
//! stands below in the open, and what is scored is what `learner.model()` answers, on all test
//! images. Rewards are scored before they are learned.
//!
//! `cargo bench --bench forgetting`, or some of it: `cargo bench --bench forgetting -- split/der`.
//! With `--quick`, a smoke test of seconds whose figures mean nothing.

#[path = "learn/data.rs"]
mod data;
#[path = "learn/events.rs"]
mod events;
#[path = "forgetting/models.rs"]
mod models;
#[path = "forgetting/tables.rs"]
mod tables;
#[path = "forgetting/task_run.rs"]
mod task_run;
#[path = "forgetting/task_sequence.rs"]
mod task_sequence;

use anyhow::Result;

use crate::data::Images;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seeds of every figure: of the stream's order and views, and of the learner.
const SEEDS: [u64; 3] = [1, 2, 3];

/// The options and the data.
pub struct Bench {
    pub(crate) train: Images,
    pub(crate) test: Images,
    pub(crate) seeds: &'static [u64],
    /// Tasks of the long streams.
    pub n_tasks: usize,
    filters: Vec<String>,
}

impl Bench {
    /// Whether a figure is asked for; its name is like `split/er/200`.
    pub fn wants(&self, name: &str) -> bool {
        let asked = |filter: &String| name.contains(filter.as_str());
        self.filters.is_empty() || self.filters.iter().any(asked)
    }
}

fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let (options, filters): (Vec<_>, Vec<_>) = arguments.partition(|a| a.starts_with("--"));
    let quick = match options.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--quick"] => true,
        _ => anyhow::bail!("{options:?}: --quick is the only option; other words choose figures"),
    };
    let (train, test) = match (data::folder(), quick) {
        (Some(folder), _) => (
            Images::read(&folder, "train")?,
            Images::read(&folder, "t10k")?,
        ),
        (None, true) => (Images::generated(2000), Images::generated(500)),
        (None, false) => {
            println!("skipped: no MNIST; set PERENNIAL_DATA to its folder");
            return Ok(());
        }
    };
    let bench = if !quick {
        Bench {
            train,
            test,
            seeds: &SEEDS,
            n_tasks: 20,
            filters,
        }
    } else {
        Bench {
            train: train.first(1000),
            test: test.first(500),
            seeds: &SEEDS[..1],
            n_tasks: 2,
            filters,
        }
    };
    tables::split(&bench)?;
    tables::analytic(&bench)?;
    tables::domains(&bench)?;
    tables::events(&bench)?;
    tables::bandit(&bench)
}
