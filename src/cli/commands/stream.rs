//! `perennial stream`: the whole loop against a running server.
//!
//! Invariant: unless `--open` is given, each answer comes from everything acknowledged before
//! it, so that the run equals `evaluate`.

mod open;
mod stream_run;

use std::path::PathBuf;

use uuid::Uuid;

use crate::cli::client::{self, Client};
use crate::cli::interrupt::Interrupt;
use crate::cli::output::answers::AnswersFile;
use crate::cli::output::print;
use crate::cli::output::progress::RunProgress;
use crate::cli::rows::labelled::LabelledRows;
use crate::cli::rows::options::ReadOptions;
use crate::cli::run::latency::Latencies;
use crate::cli::run::prequential_run::{PrequentialRun, RunArgs};
use crate::cli::run::usable::UnusableRows;
use stream_run::{StreamRun, members};

/// The model, its rows and its target.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial stream fraud payments.csv --target is_fraud")]
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
    /// Send rows and feedback without waiting until earlier feedback was learned
    #[arg(long)]
    open: bool,
    #[command(flatten)]
    client: client::Args,
}

/// Runs the loop and prints its report.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut client = Client::connect(&args.client).await?;
    let described = client.describe(&args.model).await?;
    let options = ReadOptions::of(&args.run.read, &described.rows);
    let mut file = LabelledRows::open(&args.rows, &args.target, &described, &options)?;
    file.notes().iter().for_each(print::note);
    let members = members(&mut client, &args.model).await?;
    let interrupt = Interrupt::listen()?;
    let out = args.run.out.as_deref().map(AnswersFile::create);
    let mut stream = StreamRun {
        client,
        interrupt: interrupt.clone(),
        run: PrequentialRun::new(&described.task, &args.run, RunProgress::alone())?,
        model: args.model,
        described,
        id: Uuid::now_v7(),
        predictions: Latencies::new(),
        acknowledgements: Latencies::new(),
        acknowledged: 0,
        last: None,
        unusable: UnusableRows::new(args.run.strict),
        out: out.transpose()?,
        options,
    };
    let limit = args.run.limit.map_or(usize::MAX, |limit| limit as usize);
    let rows = file
        .by_ref()
        .take(limit)
        .take_while(|_| !interrupt.is_set());
    if args.open {
        stream.open(rows).await?;
    } else {
        stream.closed(rows).await?;
    }
    stream.catch_up().await?;
    let seconds = stream.run.seconds();
    let test = match &args.run.test {
        Some(path) if !interrupt.is_set() => Some(stream.test(path, &args.target).await?),
        _ => None,
    };
    // Part of a test is no estimate of the whole.
    let test = test.filter(|_| !interrupt.is_set());
    let mut report = stream.report(members, seconds, test).await?;
    report.warnings.splice(0..0, file.closing_notes());
    report.print(args.client.json)?;
    interrupt.end()
}
