//! `perennial stream`: the whole loop against a running server.
//!
//! Invariant: unless `--open` is given, each answer comes from everything acknowledged before
//! it, so that the run equals `evaluate`.

mod identity;
mod open;
mod stream_run;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::ensure;
use perennial::model::Task;

use crate::cli::client::{self, Client};
use crate::cli::interrupt::Interrupt;
use crate::cli::output::answers::AnswersFile;
use crate::cli::output::print::{self, counted};
use crate::cli::output::progress::RunProgress;
use crate::cli::rows::event_times::{EventTimes, event_times};
use crate::cli::rows::labelled::LabelledRows;
use crate::cli::rows::options::ReadOptions;
use crate::cli::run::latency::Latencies;
use crate::cli::run::prequential_run::{PrequentialRun, RunArgs};
use crate::cli::run::usable::{BrokenFile, UnusableRows};
use identity::{IdentityArgs, RunIdentity};
use stream_run::{StreamRun, status};

/// The model, its rows and its target.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  perennial stream fraud payments.csv --target is_fraud
  perennial stream fraud may.csv --target is_fraud --backfill may --time paid_at")]
pub(crate) struct Args {
    /// The model's name
    model: String,
    /// CSV, JSON or Parquet, packed or not; - reads stdin
    rows: PathBuf,
    /// The column to predict
    #[arg(long, value_name = "COLUMN")]
    target: String,
    #[command(flatten)]
    run: RunArgs,
    /// The source of the feedback, by which it can be retracted
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Learn rows again that an earlier run has sent; without it, each line of a file is learned once
    /// over all runs within a day, whatever the file is called
    #[arg(long, conflicts_with = "backfill")]
    again: bool,
    /// The default by now
    #[arg(long, hide = true, conflicts_with = "again")]
    once: bool,
    /// The name of a declared backfill: rows of any age, of which each line is learned once for as long
    /// as the journal retains them
    #[arg(long, value_name = "NAME", requires = "time")]
    backfill: Option<String>,
    /// The column of event times, in the format of the input of that name or in RFC 3339, or
    /// COLUMN=FORMAT, as in day=%d/%m/%Y
    #[arg(long, value_name = "COLUMN", value_parser = event_times)]
    time: Option<EventTimes>,
    /// How much each row counts beside one of weight 1
    #[arg(long, value_name = "WEIGHT")]
    weight: Option<f64>,
    /// Send rows and feedback without waiting until earlier feedback was learned
    #[arg(long)]
    open: bool,
    #[command(flatten)]
    client: client::Args,
}

impl Args {
    /// The part that the identity of the feedback is made of.
    fn identity<'a>(&'a self, task: &'a Task) -> IdentityArgs<'a> {
        IdentityArgs {
            source: self.source.clone(),
            is_again: self.again,
            backfill: self.backfill.clone(),
            weight: self.weight,
            has_times: self.time.is_some(),
            task,
        }
    }
}

/// Runs the loop and prints its report.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut client = Client::connect(&args.client).await?;
    let described = client.describe(&args.model).await?;
    let options = ReadOptions::of(&args.run.read, &described.rows);
    let identity = RunIdentity::new(args.identity(&described.task))?;
    let file = LabelledRows::open(&args.rows, &args.target, &described, &options)?;
    let mut file = file.timed(args.time, &described.inputs)?;
    file.notes().iter().for_each(print::note);
    let before = status(&mut client, &args.model).await?;
    let interrupt = Interrupt::listen()?;
    let create = |out: &Path| AnswersFile::create(out, &args.rows);
    let out = args.run.out.as_deref().map(create).transpose()?;
    let mut stream = StreamRun {
        client,
        interrupt: interrupt.clone(),
        run: PrequentialRun::new(&described.task, &args.run, RunProgress::alone())?,
        model: args.model,
        described,
        identity,
        serves_champion: before.gate.iter().any(|gate| gate.policy != "live"),
        known_so_far: Arc::default(),
        n_known: 0,
        n_retracted: 0,
        n_taken: 0,
        predictions: Latencies::new(),
        acknowledgements: Latencies::new(),
        acknowledged: 0,
        last: None,
        unusable: UnusableRows::new(args.run.strict),
        out,
        options,
    };
    let limit = args.run.limit.map_or(usize::MAX, |limit| limit as usize);
    let mut broken = BrokenFile::default();
    let rows = file
        .by_ref()
        .take(limit)
        .take_while(|_| !interrupt.is_set())
        .map_while(|row| broken.whole(row));
    if args.open {
        stream.open(rows).await?;
    } else {
        stream.closed(rows).await?;
    }
    if stream.run.n_answered() == 0 {
        broken.check()?;
    }
    stream.ensure_used(limit, &args.rows)?;
    stream.catch_up().await?;
    let seconds = stream.run.seconds();
    let test = args.run.test.as_deref().filter(|_| !broken.is_broken());
    let test = stream.tested(test, &args.target).await?;
    let mut report = stream.report(before, seconds, test).await?;
    report.warnings.splice(0..0, file.closing_notes());
    report.print(args.client.json)?;
    broken.check()?;
    check_learned(report.n_retracted)?;
    interrupt.end()
}

/// Fails where rows were not learned since their ids are of events that were retracted.
fn check_learned(n_retracted: u64) -> anyhow::Result<()> {
    ensure!(
        n_retracted == 0,
        "{} not learned again: their feedback ids are of events that were retracted",
        counted(n_retracted, "row")
    );
    Ok(())
}
