//! `perennial evaluate`: models run over one stream in process, in parallel, without a server.
//!
//! Invariant: the answers of a model do not depend on the models that run beside it.

#[cfg(test)]
mod look_alikes;
mod off_policy;
#[cfg(test)]
mod own_files;
mod prequential;

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::error::ErrorKind;
use perennial::engine::Offline;
use perennial::model::Task;
use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::cli::interrupt::Interrupt;
use crate::cli::output::print;
use crate::cli::output::progress::RunProgress;
use crate::cli::rows::decisions::{DecisionColumns, LoggedRows};
use crate::cli::rows::options::ReadOptions;
use crate::cli::rows::signature::ModelSignature;
use crate::cli::run::local_model::LocalModel;
use crate::cli::run::prequential_run::RunArgs;
use crate::cli::run::report::{CpuClock, RunReport, aligned};
use crate::cli::run::usable::{BrokenFile, UnusableRows};
use off_policy::{Mode, OffPolicyEvaluation, OffPolicyReport};
use prequential::PrequentialEvaluation;

const EXAMPLES: &str = "\
Examples:
  perennial evaluate models/fraud payments.csv --target is_fraud --classes
  perennial evaluate models/auto models/mlp rows.csv --target label --svg accuracy.svg
  perennial evaluate models/shop logs.csv --action item --reward click --propensity p
  perennial evaluate models/shop --journal data/shop
  perennial evaluate --journal data/shop --version 3 --unseen";

const USAGE: &str = "\
perennial evaluate [OPTIONS] --target <COLUMN> <MODEL_FOLDER>... <ROWS>
       perennial evaluate [OPTIONS] --action <COLUMN> --reward <COLUMN> --propensity <COLUMN> \
<MODEL_FOLDER>... <ROWS>
       perennial evaluate [OPTIONS] --journal <DATA/MODEL> [<MODEL_FOLDER>...]";

/// The models, and the rows or decisions that they are evaluated on.
#[derive(clap::Args)]
#[command(override_usage = USAGE, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folders that hold a model.toml, then the rows: CSV, JSON or Parquet, packed or not; - reads stdin
    #[arg(value_name = "PATH", required_unless_present = "journal")]
    paths: Vec<PathBuf>,
    /// The column to predict
    #[arg(
        long,
        value_name = "COLUMN",
        required_unless_present_any = ["action", "journal"],
        conflicts_with_all = ["action", "journal"],
    )]
    target: Option<String>,
    #[command(flatten)]
    columns: DecisionColumns,
    /// Instead of rows: the served decisions in the data directory of a stopped server
    #[arg(long, value_name = "DATA/MODEL", conflicts_with = "action")]
    journal: Option<PathBuf>,
    /// With --journal: evaluate this version as it is, without learning
    #[arg(long, value_name = "N", requires = "journal")]
    #[arg(conflicts_with_all = ["target", "action"])]
    version: Option<u64>,
    /// With --version: only decisions whose rewards the version cannot have learned
    #[arg(long, requires = "version")]
    unseen: bool,
    #[command(flatten)]
    run_args: RunArgs,
    /// Show count, precision and recall of each class
    #[arg(long, conflicts_with_all = ["action", "journal"])]
    classes: bool,
    /// Draw the score over time into this file, whose name ends in .svg
    #[arg(long, value_name = "FILE", conflicts_with_all = ["action", "journal"])]
    svg: Option<PathBuf>,
    /// Print JSON, one object a model
    #[arg(long)]
    json: bool,
}

/// The positional arguments.
struct Paths {
    folders: Vec<PathBuf>,
    /// The file of rows; none with a journal.
    rows: Option<PathBuf>,
}

/// Runs every model over the stream and prints the reports.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let paths = paths(&args);
    let names = names(&paths.folders);
    match (&args.journal, args.columns.given(), &args.target) {
        (Some(journal), _, _) => evaluate_journal(&args, &paths, names, journal),
        (None, Some(columns), _) => evaluate_logged(&args, &paths, &names, columns),
        (None, None, Some(target)) => evaluate_labelled(&args, &paths, &names, target),
        (None, None, None) => misused("--target is missing"),
    }
}

/// Evaluates models on labelled rows.
fn evaluate_labelled(
    args: &Args,
    paths: &Paths,
    names: &[String],
    target: &str,
) -> anyhow::Result<()> {
    let rows = rows(paths);
    if let Some(path) = &args.svg {
        check_svg(path)?;
    }
    if args.run_args.out.is_some() && paths.folders.len() > 1 {
        misused("--out takes the answers of one model");
    }
    let opened = paths.folders.iter().zip(RunProgress::of(names));
    let opened = opened.map(|(folder, progress)| {
        let opened = PrequentialEvaluation::open(folder, rows, target, &args.run_args, progress);
        let opened = match paths.folders.len() {
            1 => opened,
            _ => opened.with_context(|| folder.display().to_string()),
        }?;
        if let (Task::Regression, true) = (opened.task(), args.classes) {
            let folder = folder.display();
            misused(format!(
                "--classes: {folder} is a regression, which has none"
            ));
        }
        Ok(opened)
    });
    let opened: Vec<PrequentialEvaluation> = opened.collect::<anyhow::Result<_>>()?;
    let words = opened.iter().map(|one| one.task().word());
    let words: Vec<&str> = words.collect();
    if let Some(other) = words.iter().position(|word| *word != words[0]) {
        let (first, second) = (&names[0], &names[other]);
        let (task, another) = (words[0], words[other]);
        bail!("{first} is a {task} and {second} a {another}: compare models of one task");
    }
    let interrupt = Interrupt::listen()?;
    let reports = run_in_parallel(names, opened, |evaluation, clock| {
        let (mut report, broken) = evaluation.run(clock, &interrupt)?;
        report.each_class = args.classes;
        Ok((report, broken))
    })?;
    let (reports, broken): (Vec<RunReport>, Vec<BrokenFile>) = reports.into_iter().unzip();
    print_reports(args, names, &reports)?;
    let chart = prequential::chart(names, &reports, paths.rows.as_deref());
    if let (Some(path), Some(chart)) = (&args.svg, chart) {
        let written = fs::write(path, chart.svg());
        written.with_context(|| path.display().to_string())?;
    }
    // Each model has read the same file.
    broken
        .into_iter()
        .try_for_each(|mut broken| broken.check())?;
    interrupt.end()
}

/// Prints the report of one model, or a table of several.
fn print_reports(args: &Args, names: &[String], reports: &[RunReport]) -> anyhow::Result<()> {
    match reports {
        [report] => report.print(args.json)?,
        reports if args.json => print_objects(names, reports.iter().map(RunReport::fields))?,
        reports => {
            for (name, report) in names.iter().zip(reports) {
                let warnings = report.warnings.iter();
                warnings.for_each(|warning| print::note(format_args!("{name}: {warning}")));
            }
            print_table(&prequential::table(names, reports))?;
            for (name, report) in names.iter().zip(reports).filter(|_| args.classes) {
                print::line(format_args!("\n{name}"))?;
                report.print_classes()?;
            }
        }
    }
    Ok(())
}

/// Refuses a chart file that cannot be written, before the long runs; leaves no file behind.
fn check_svg(path: &Path) -> anyhow::Result<()> {
    if path.extension().is_none_or(|extension| extension != "svg") {
        let path = path.display();
        misused(format!("--svg: {path} does not end in .svg"));
    }
    let existed = path.exists();
    let mut opened = fs::OpenOptions::new().create(true).append(true).open(path);
    if opened.is_ok() && !existed {
        opened = fs::remove_file(path).and(opened);
    }
    opened.with_context(|| format!("--svg: {}", path.display()))?;
    Ok(())
}

/// Evaluates models on the logged decisions of a file.
fn evaluate_logged(
    args: &Args,
    paths: &Paths,
    names: &[String],
    columns: [&str; 3],
) -> anyhow::Result<()> {
    check_run_args(args);
    let rows = rows(paths);
    let mut opened = Vec::new();
    for (folder, progress) in paths.folders.iter().zip(RunProgress::of(names)) {
        let model = LocalModel::new(folder)?;
        let options = ReadOptions::of(&args.run_args.read, &model.spec().rows);
        let described = ModelSignature::of(model.spec());
        let decisions = LoggedRows::open(rows, columns, &described, &options)?;
        let decisions = decisions.checked(prequential::check(&model, &described));
        opened.push((off_policy_evaluation(args, model, progress), decisions));
    }
    let interrupt = Interrupt::listen()?;
    let reports = run_in_parallel(names, opened, |(evaluation, file), clock| {
        let mut broken = BrokenFile::default();
        let rows_read = file.take(limit(args));
        let rows_read = rows_read.map_while(|row| broken.whole(row));
        let report = evaluation.run(rows_read, clock, &interrupt)?;
        if report.n_read() == 0 {
            broken.check()?;
        }
        if args.run_args.limit != Some(0) && !interrupt.is_set() {
            report.ensure_used(rows)?;
        }
        Ok((report, broken))
    })?;
    let (reports, broken): (Vec<OffPolicyReport>, Vec<BrokenFile>) = reports.into_iter().unzip();
    print_off_policy(args, names, &reports)?;
    broken
        .into_iter()
        .try_for_each(|mut broken| broken.check())?;
    interrupt.end()
}

/// Evaluates models, or a version, on the decisions of a journal.
fn evaluate_journal(
    args: &Args,
    paths: &Paths,
    names: Vec<String>,
    journal: &Path,
) -> anyhow::Result<()> {
    check_run_args(args);
    let Some(model) = journal.file_name().and_then(|name| name.to_str()) else {
        misused("--journal takes DATA/MODEL: a data directory and the name of a model in it");
    };
    let data = match journal.parent() {
        Some(data) if data != Path::new("") => data,
        _ => Path::new("."),
    };
    let served = Offline::open(data, model)?;
    let (names, models, frozen_at) = match args.version {
        Some(version) => {
            let learner = served.version(version)?;
            let position = learner.position();
            let folder = paths.folders.first().map(PathBuf::as_path);
            let models = vec![LocalModel::resume(learner, folder)?];
            (vec![format!("version {version}")], models, position)
        }
        None => {
            let models = paths.folders.iter().map(|folder| LocalModel::new(folder));
            (names, models.collect::<anyhow::Result<_>>()?, 0)
        }
    };
    let mut opened = Vec::new();
    for (model, progress) in models.into_iter().zip(RunProgress::of(&names)) {
        off_policy::ensure_bandit(&model.spec().task)?;
        let decisions = served.decisions(model.spec())?;
        opened.push((off_policy_evaluation(args, model, progress), decisions));
    }
    let interrupt = Interrupt::listen()?;
    let reports = run_in_parallel(&names, opened, |(evaluation, decisions), clock| {
        let task = evaluation.model.spec().task.clone();
        let n_before = Cell::new(0);
        let decisions = decisions.filter(|decided| match decided {
            Ok(decided) => !args.unseen || decided.position > frozen_at,
            Err(_) => true,
        });
        let decisions = decisions.take(limit(args)).map(|decided| {
            let decided = decided?;
            n_before.set(n_before.get() + u64::from(decided.position <= frozen_at));
            off_policy::logged(decided, &task)
        });
        let mut report = evaluation.run(decisions, clock, &interrupt)?;
        report.n_learned_before = args.version.map(|_| n_before.get());
        Ok(report)
    })?;
    print_off_policy(args, &names, &reports)?;
    interrupt.end()
}

fn off_policy_evaluation(
    args: &Args,
    model: LocalModel,
    progress: RunProgress,
) -> OffPolicyEvaluation {
    let mode = match args.version {
        Some(_) => Mode::Frozen,
        None => Mode::Learning {
            delay: args.run_args.delay,
        },
    };
    OffPolicyEvaluation {
        model,
        mode,
        progress,
        unusable: UnusableRows::new(args.run_args.strict),
    }
}

/// Refuses the options that have no meaning for logged decisions.
fn check_run_args(args: &Args) {
    let given = [
        ("--test", args.run_args.test.is_some()),
        ("--correct", args.run_args.correct > 0.0),
    ];
    if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
        misused(format!(
            "{option}: logged decisions take only --limit and --delay"
        ));
    }
}

fn limit(args: &Args) -> usize {
    args.run_args
        .limit
        .map_or(usize::MAX, |limit| limit as usize)
}

/// Runs each model on a thread of its own, at most one a core; the results are in order.
fn run_in_parallel<O: Send, R: Send>(
    names: &[String],
    opened: Vec<O>,
    run: impl Fn(O, CpuClock) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    if opened.len() == 1 {
        let results = opened.into_iter();
        return results
            .map(|one| run(one, CpuClock::of_process()))
            .collect();
    }
    // The process keeps rayon's own pool at one thread.
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(n_threads.min(opened.len()))
        .build()
        .context("start the threads")?;
    let results: Vec<anyhow::Result<R>> = pool.install(|| {
        // One at a time for each thread: those named first come first.
        let opened = opened.into_par_iter().with_max_len(1);
        opened.map(|one| run(one, CpuClock::of_thread())).collect()
    });
    let results = results.into_iter().zip(names);
    results
        .map(|(result, name)| result.with_context(|| name.clone()))
        .collect()
}

fn print_off_policy(
    args: &Args,
    names: &[String],
    reports: &[OffPolicyReport],
) -> anyhow::Result<()> {
    for (name, report) in names.iter().zip(reports) {
        for note in report.notes() {
            match reports.len() {
                1 => print::note(note),
                _ => print::note(format_args!("{name}: {note}")),
            }
        }
    }
    match reports {
        [report] if args.json => print::line(Value::Object(report.fields())),
        [report] => report.print(),
        reports if args.json => print_objects(names, reports.iter().map(OffPolicyReport::fields)),
        reports => print_table(&off_policy::table(names, reports)),
    }
}

/// Prints one object a model, which begins with its name.
fn print_objects(
    names: &[String],
    objects: impl Iterator<Item = Map<String, Value>>,
) -> anyhow::Result<()> {
    for (name, fields) in names.iter().zip(objects) {
        let model = ("model".to_owned(), Value::from(name.clone()));
        let object: Map<String, Value> = std::iter::once(model).chain(fields).collect();
        print::line(Value::Object(object))?;
    }
    Ok(())
}

fn print_table(rows: &[Vec<String>]) -> anyhow::Result<()> {
    aligned(rows).iter().try_for_each(print::line)
}

/// Divides the positional arguments into model folders and the file of rows.
fn paths(args: &Args) -> Paths {
    let mut folders = args.paths.clone();
    let rows = match args.journal {
        Some(_) => None,
        None => folders.pop(),
    };
    if let Some(rows) = &rows {
        if rows.is_dir() {
            let rows = rows.display();
            misused(format!(
                "{rows} is a folder; the file of rows comes last, after the models"
            ));
        }
        if folders.is_empty() {
            misused("give a model folder, and after it the file of rows");
        }
    }
    if let Some(file) = folders.iter().find(|folder| folder.is_file()) {
        misused(match file.file_name().and_then(|name| name.to_str()) {
            Some("model.toml") => format!("{} is a file; name the folder it is in", file.display()),
            _ => format!("{} is a file; expected a model folder", file.display()),
        });
    }
    match (&args.journal, args.version, folders.len()) {
        (Some(_), None, 0) => misused("--journal needs a model folder, or --version"),
        (Some(_), Some(_), 2..) => misused("--version takes one model folder at most"),
        _ => {}
    }
    Paths { folders, rows }
}

fn rows(paths: &Paths) -> &Path {
    let rows = paths.rows.as_deref();
    rows.expect("without a journal there is a file of rows")
}

/// Names folders by their last component, or by their path where two share it.
fn names(folders: &[PathBuf]) -> Vec<String> {
    let last = |folder: &PathBuf| {
        let name = folder.file_name().unwrap_or(folder.as_os_str());
        name.to_string_lossy().into_owned()
    };
    let short: Vec<String> = folders.iter().map(last).collect();
    let name = |(folder, name): (&PathBuf, &String)| match short
        .iter()
        .filter(|other| *other == name)
        .count()
    {
        1 => name.clone(),
        _ => folder.display().to_string(),
    };
    folders.iter().zip(&short).map(name).collect()
}

/// Ends the program with a usage error.
fn misused(why: impl std::fmt::Display) -> ! {
    let command = clap::Command::new("evaluate").bin_name("perennial evaluate");
    let mut command = <Args as clap::Args>::augment_args(command);
    command.error(ErrorKind::ValueValidation, why).exit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_named_by_their_folders() {
        let check = |folders: &[&str], expected: &[&str]| {
            let folders: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
            assert_eq!(names(&folders), expected);
        };
        check(&["models/a", "b/"], &["a", "b"]);
        check(&["x/a", "y/a", "x/b"], &["x/a", "y/a", "b"]);
        check(&["."], &["."]);
    }

    #[test]
    fn results_are_in_the_order_of_the_models() {
        let names: Vec<String> = (0..5).map(|n| n.to_string()).collect();
        let run = |n: usize, _: CpuClock| match n {
            7 => bail!("it broke"),
            n => Ok(n * n),
        };
        let squares = run_in_parallel(&names, vec![4, 3, 2, 1, 0], run).unwrap();
        assert_eq!(squares, [16, 9, 4, 1, 0]);
        let error = run_in_parallel(&names, vec![1, 7, 2, 7, 3], run).unwrap_err();
        assert_eq!(format!("{error:#}"), "1: it broke");
    }
}
