//! `perennial evaluate`: models over one stream in process, side by side, without a server.
//!
//! Invariant: what a model answers does not depend on which others run beside it.

mod off_policy;
mod prequential;

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::CommandFactory;
use clap::error::ErrorKind;
use perennial::engine::Offline;
use perennial::model::Task;
use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::cli::interrupt::Interrupt;
use crate::cli::output::print;
use crate::cli::output::progress::Line;
use crate::cli::rows::decisions::{Columns, Logs};
use crate::cli::rows::signature::ModelSignature;
use crate::cli::run::local_model::Pupil;
use crate::cli::run::prequential_run::RunArgs;
use crate::cli::run::report::{CpuClock, Report, aligned};
use off_policy::{Mode, Valued, Worth};
use prequential::Labelled;

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

/// What is evaluated, and on what.
#[derive(clap::Args)]
#[command(override_usage = USAGE, after_help = EXAMPLES)]
pub struct Args {
    /// Folders that hold a model.toml, then the rows: CSV or JSON lines, plain or gzipped
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
    columns: Columns,
    /// Instead of rows: the decisions that a server served, from its data; it must be stopped
    #[arg(long, value_name = "DATA/MODEL", conflicts_with = "action")]
    journal: Option<PathBuf>,
    /// With --journal: value this version as it is, and learn nothing
    #[arg(long, value_name = "N", requires = "journal")]
    #[arg(conflicts_with_all = ["target", "action"])]
    version: Option<u64>,
    /// With --version: only decisions whose rewards it cannot have learned
    #[arg(long, requires = "version")]
    unseen: bool,
    #[command(flatten)]
    pace: RunArgs,
    /// Tell of each class: how many, precision, recall
    #[arg(long, conflicts_with_all = ["action", "journal"])]
    classes: bool,
    /// Draw the score over time into this file, whose name ends in .svg
    #[arg(long, value_name = "FILE", conflicts_with_all = ["action", "journal"])]
    svg: Option<PathBuf>,
    /// Print JSON, one object a model
    #[arg(long)]
    json: bool,
}

/// What the positional arguments name.
struct Paths {
    folders: Vec<PathBuf>,
    /// None with a journal.
    rows: Option<PathBuf>,
}

/// Runs every model over the stream and prints what it came to.
pub fn run(args: Args) -> anyhow::Result<()> {
    let paths = paths(&args);
    let names = names(&paths.folders);
    match (&args.journal, args.columns.given(), &args.target) {
        (Some(journal), _, _) => served(&args, &paths, names, journal),
        (None, Some(columns), _) => logged(&args, &paths, &names, columns),
        (None, None, Some(target)) => labelled(&args, &paths, &names, target),
        (None, None, None) => misused("--target is missing"),
    }
}

/// Rows with a target.
fn labelled(args: &Args, paths: &Paths, names: &[String], target: &str) -> anyhow::Result<()> {
    let rows = rows(paths);
    if let Some(path) = &args.svg {
        check_svg(path)?;
    }
    let opened = paths.folders.iter().zip(Line::of(names));
    let opened = opened.map(|(folder, line)| {
        let opened = Labelled::open(folder, rows, target, &args.pace, line)?;
        if let (Task::Regression, true) = (opened.task(), args.classes) {
            let folder = folder.display();
            misused(format!(
                "--classes: {folder} is a regression, which has none"
            ));
        }
        Ok(opened)
    });
    let opened: Vec<Labelled> = opened.collect::<anyhow::Result<_>>()?;
    let words = opened.iter().map(|one| one.task().word());
    let words: Vec<&str> = words.collect();
    if let Some(other) = words.iter().position(|word| *word != words[0]) {
        let (first, second) = (&names[0], &names[other]);
        let (task, another) = (words[0], words[other]);
        bail!("{first} is a {task} and {second} a {another}: compare models of one task");
    }
    let interrupt = Interrupt::listen()?;
    let reports = side_by_side(names, opened, |labelled, clock| {
        let mut report = labelled.run(clock, &interrupt)?;
        report.each_class = args.classes;
        Ok(report)
    })?;
    match &reports[..] {
        [report] => report.print(args.json)?,
        reports if args.json => print_objects(names, reports.iter().map(Report::fields))?,
        reports => {
            print_table(&prequential::table(names, reports))?;
            for (name, report) in names.iter().zip(reports).filter(|_| args.classes) {
                print::line(format_args!("\n{name}"))?;
                report.print_classes()?;
            }
        }
    }
    let chart = prequential::chart(names, &reports, paths);
    if let (Some(path), Some(chart)) = (&args.svg, chart) {
        let written = fs::write(path, chart.svg());
        written.with_context(|| path.display().to_string())?;
    }
    interrupt.end()
}

/// Refuses a picture that could not be written, before the models run for long; leaves nothing.
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

/// Decisions of a file.
fn logged(args: &Args, paths: &Paths, names: &[String], columns: [&str; 3]) -> anyhow::Result<()> {
    check_pace(args);
    let rows = rows(paths);
    let mut opened = Vec::new();
    for (folder, line) in paths.folders.iter().zip(Line::of(names)) {
        let pupil = Pupil::new(folder)?;
        let logs = Logs::open(rows, columns, &ModelSignature::of(pupil.spec()))?;
        opened.push((valued(args, pupil, line), logs));
    }
    let interrupt = Interrupt::listen()?;
    let worths = side_by_side(names, opened, |(valued, logs), clock| {
        valued.run(logs.take(limit(args)), clock, &interrupt)
    })?;
    print_worths(args, names, &worths)?;
    interrupt.end()
}

/// Decisions of a journal.
fn served(args: &Args, paths: &Paths, names: Vec<String>, journal: &Path) -> anyhow::Result<()> {
    check_pace(args);
    let Some(model) = journal.file_name().and_then(|name| name.to_str()) else {
        misused("--journal takes DATA/MODEL: a data directory and the name of a model in it");
    };
    let data = match journal.parent() {
        Some(data) if data != Path::new("") => data,
        _ => Path::new("."),
    };
    let served = Offline::open(data, model)?;
    let (names, pupils, frozen_at) = match args.version {
        Some(version) => {
            let learner = served.version(version)?;
            let position = learner.position();
            let folder = paths.folders.first().map(PathBuf::as_path);
            let pupils = vec![Pupil::resume(learner, folder)?];
            (vec![format!("version {version}")], pupils, position)
        }
        None => {
            let pupils = paths.folders.iter().map(|folder| Pupil::new(folder));
            (names, pupils.collect::<anyhow::Result<_>>()?, 0)
        }
    };
    let mut opened = Vec::new();
    for (pupil, line) in pupils.into_iter().zip(Line::of(&names)) {
        off_policy::ensure_bandit(&pupil.spec().task)?;
        let decisions = served.decisions(pupil.spec())?;
        opened.push((valued(args, pupil, line), decisions));
    }
    let interrupt = Interrupt::listen()?;
    let worths = side_by_side(&names, opened, |(valued, decisions), clock| {
        let task = valued.pupil.spec().task.clone();
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
        let mut worth = valued.run(decisions, clock, &interrupt)?;
        worth.n_learned_before = args.version.map(|_| n_before.get());
        Ok(worth)
    })?;
    print_worths(args, &names, &worths)?;
    interrupt.end()
}

fn valued(args: &Args, pupil: Pupil, line: Line) -> Valued {
    let mode = match args.version {
        Some(_) => Mode::Frozen,
        None => Mode::Learning {
            delay: args.pace.delay,
        },
    };
    Valued { pupil, mode, line }
}

/// Refuses what means nothing where decisions were made by another.
fn check_pace(args: &Args) {
    let given = [
        ("--test", args.pace.test.is_some()),
        ("--correct", args.pace.correct > 0.0),
    ];
    if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
        misused(format!(
            "{option}: decisions are valued, and --limit and --delay are all they take"
        ));
    }
}

fn limit(args: &Args) -> usize {
    args.pace.limit.map_or(usize::MAX, |limit| limit as usize)
}

/// Runs each model on a thread of its own, at most one a core; the results are in order.
fn side_by_side<O: Send, R: Send>(
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

fn print_worths(args: &Args, names: &[String], worths: &[Worth]) -> anyhow::Result<()> {
    for (name, worth) in names.iter().zip(worths) {
        for note in worth.notes() {
            match worths.len() {
                1 => print::note(note),
                _ => print::note(format_args!("{name}: {note}")),
            }
        }
    }
    match worths {
        [worth] if args.json => print::line(Value::Object(worth.fields())),
        [worth] => worth.print(),
        worths if args.json => print_objects(names, worths.iter().map(Worth::fields)),
        worths => print_table(&off_policy::table(names, worths)),
    }
}

/// One object a model, which begins with its name.
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

/// Which paths are model folders, and which is the file of rows.
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
        (Some(_), None, 0) => misused("--journal needs a model folder to value, or --version"),
        (Some(_), Some(_), 2..) => misused("--version takes one model folder at most"),
        _ => {}
    }
    Paths { folders, rows }
}

fn rows(paths: &Paths) -> &Path {
    let rows = paths.rows.as_deref();
    rows.expect("without a journal there is a file of rows")
}

/// Folders by their last name, or by their path where two share that.
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

/// Ends the program as one that was called wrongly.
fn misused(why: impl std::fmt::Display) -> ! {
    let mut command = crate::cli::Cli::command();
    command.build();
    let evaluate = command.find_subcommand_mut("evaluate");
    let evaluate = evaluate.expect("this is its code");
    evaluate.error(ErrorKind::ValueValidation, why).exit()
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
        let squares = side_by_side(&names, vec![4, 3, 2, 1, 0], run).unwrap();
        assert_eq!(squares, [16, 9, 4, 1, 0]);
        let error = side_by_side(&names, vec![1, 7, 2, 7, 3], run).unwrap_err();
        assert_eq!(format!("{error:#}"), "1: it broke");
    }
}
