//! `perennial init`: a model description drafted from one pass over a file of rows.
//!
//! Invariant: memory is bounded by columns and classes, never by rows; every guess is written
//! down with its reason, and every excluded column has a line with the reason.

mod amounts;
mod choice;
mod column;
mod column_stats;
mod description;
pub(crate) mod draft;
mod extremes;
mod give_away;
mod goal;
mod hashed;
mod logged_columns;
mod marks;
mod screen;
mod selection;
mod sentinels;
mod series_key;
mod strays;
mod survey;
mod target;
mod time_formats;
mod times;
mod units;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use clap::error::ErrorKind;
use perennial::event::ModelName;
use perennial::model::RowFormat;

use crate::cli::output::print;
use crate::cli::rows::decisions::DecisionColumns;
use crate::cli::rows::lines::shown;
use crate::cli::rows::options::{ReadArgs, ReadOptions};
use crate::cli::rows::{DetectedEncoding, quoted};
use choice::ColumnChoice;
use column::ROW_ID;
use draft::{Draft, DraftInput, DraftKind, DraftTask, ExcludedColumn};
use extremes::Extremes;
pub(crate) use goal::Goal;
use logged_columns::LoggedColumn;
use selection::{ColumnSelection, SelectionContext};
use sentinels::sentinels;
use survey::Survey;
use target::TaskChoice;

/// The largest number of inputs of a model.
const INPUTS_MAX: usize = 4096;
/// The name of a description.
const MODEL_TOML: &str = "model.toml";
/// The refusal of a name that is taken.
const EXISTS: &str = "the model exists; remove it, or choose another name";
/// The input of decisions that have no other.
const CONTEXT: &str = "context";
/// The note on logged decisions without a context.
const NO_CONTEXT: &str = "no context beside action, reward and propensity: the input \"context\" is \
    always a gap, which requests may leave out, and the best action is the same for all";

/// The file of rows, and the target or the columns of logged decisions.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  perennial init fraud payments.csv --target is_fraud
  perennial init shop logs.csv --action item --reward click --propensity p")]
pub(crate) struct Args {
    /// The name of the new model
    name: ModelName,
    /// CSV, JSON or Parquet, packed or not
    rows: PathBuf,
    /// A third name, which is most likely that of the target
    #[arg(hide = true)]
    stray: Option<String>,
    /// The column to predict
    #[arg(long, value_name = "COLUMN", required_unless_present_any = ["action", "stray"])]
    #[arg(conflicts_with = "action")]
    target: Option<String>,
    #[command(flatten)]
    columns: DecisionColumns,
    /// The task; without it, it is guessed from the target
    #[arg(long, conflicts_with = "action")]
    task: Option<DraftTask>,
    /// The kind of a column: number, category, text, date, date:FORMAT (as date:%d/%m/%Y), or out
    #[arg(long = "as", value_name = "COLUMN=KIND")]
    choices: Vec<ColumnChoice>,
    /// The folder of models
    #[arg(long, default_value = "models")]
    models: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
}

/// Drafts a description from the file, and prints its path.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    if let Some(stray) = &args.stray {
        misused(format!(
            "{stray:?}: name the column to predict by --target {stray:?}"
        ));
    }
    let goal = match (&args.target, args.columns.given()) {
        (Some(target), _) => Goal::Target(target, args.task),
        (None, Some(columns)) => Goal::Decisions(columns),
        (None, None) => bail!("--target is missing"),
    };
    let options = ReadOptions::of(&args.read, &RowFormat::default());
    // A long file is not read for nothing.
    let path = args.models.join(args.name.as_str()).join(MODEL_TOML);
    ensure!(!path.exists(), "{}: {EXISTS}", path.display());
    let draft = draft(&args.rows, goal, &options, &args.choices)?;
    draft.shown().iter().for_each(print::note);
    let path = write(&args.models, &args.name, &draft)?;
    print::line(path.display())
}

/// Ends the program with a usage error.
fn misused(why: impl std::fmt::Display) -> ! {
    let command = clap::Command::new("init").bin_name("perennial init");
    let mut command = <Args as clap::Args>::augment_args(command);
    command.error(ErrorKind::ValueValidation, why).exit()
}

/// Reads every row of a file and drafts a model for the goal.
///
/// # Errors
/// The file is malformed, has no such target or one that the task cannot learn, or has no column
/// left as an input.
pub(crate) fn draft(
    path: &Path,
    goal: Goal,
    options: &ReadOptions,
    choices: &[ColumnChoice],
) -> anyhow::Result<Draft> {
    let of_file = || shown(path);
    let survey = Survey::by_its_marks(path, (goal, choices), options)?;
    survey
        .ensure_read(choices, options.decimals)
        .with_context(of_file)?;
    let is_bandit = matches!(goal, Goal::Decisions(_));
    ensure!(
        !survey.stats.is_empty() || is_bandit,
        "{}: no column besides the target",
        of_file()
    );
    let source = path.file_name().unwrap_or(path.as_os_str());
    let source = source.to_string_lossy().into_owned();
    let unusable = survey.unusable.join("; ");
    let drafted = assembled(survey, goal, choices, source);
    // Rows that were not used may be why.
    let drafted = drafted.map_err(|error| match unusable.as_str() {
        "" => error,
        unusable => anyhow!("{error:#}; {unusable}"),
    });
    let mut draft = drafted.with_context(of_file)?;
    draft.series = series_key::series_key(path, &draft, options).with_context(of_file)?;
    Ok(draft)
}

/// The draft from a survey.
fn assembled(
    survey: Survey,
    goal: Goal,
    choices: &[ColumnChoice],
    source: String,
) -> anyhow::Result<Draft> {
    let (target, task) = goal.target();
    let unit_of_target = survey.target.unit.known.clone();
    let sentinels = all_sentinels(&survey);
    let mut rows = format(&survey);
    let of_target = sentinels.get(&survey.stats.len()).cloned();
    let choice = survey
        .target
        .choose(task, of_target.as_deref().unwrap_or_default())?;
    let known = SelectionContext {
        task: choice.task,
        n_rows: survey.n_rows,
        choices,
        sentinels: &sentinels,
    };
    let ColumnSelection {
        mut inputs,
        mut excluded,
    } = selection::select(&survey.stats, &known)?;
    excluded.extend(survey.logged.iter().map(LoggedColumn::excluded));
    let is_context_free = inputs.is_empty() && matches!(goal, Goal::Decisions(_));
    ensure!(
        !inputs.is_empty() || is_context_free,
        "no column to learn from: {}{}",
        listed(&excluded),
        index_hint(&excluded)
    );
    ensure_takes(inputs.len())?;
    let mut notes = survey.notes;
    if is_context_free {
        inputs.push(context(survey.n_rows));
        rows.constants.insert(CONTEXT.to_owned(), String::new());
        notes.push(NO_CONTEXT.to_owned());
    }
    add_decided(&mut rows, &inputs, &choice);
    if choice.task == DraftTask::Regression {
        let of_target = of_target.unwrap_or_default();
        notes.extend(add_target(&mut rows, target, (of_target, unit_of_target)));
    }
    notes.extend(target_notes(&choice));
    Ok(Draft {
        source,
        n_rows: survey.n_rows,
        task: choice.task,
        task_reason: goal.reason(&choice),
        target: target.to_owned(),
        labels: choice.labels,
        inputs,
        excluded,
        series: None,
        rows,
        notes,
    })
}

/// Adds how the target of a regression is read: values that stand for none, and the unit. Returns
/// sentences about it.
fn add_target(
    rows: &mut RowFormat,
    target: &str,
    (values, unit): (Vec<(f64, u64)>, Option<String>),
) -> Vec<String> {
    let mut notes = Vec::new();
    if !values.is_empty() {
        let shown = values.iter().map(|(value, _)| value.to_string()).collect();
        rows.sentinels.insert(target.to_owned(), shown);
        notes.extend(values.iter().map(|(value, n)| {
            format!("target: {value} stands apart and comes {n} times: taken as a gap")
        }));
    }
    if let Some(unit) = unit {
        notes.push(format!("target: the unit {} is taken off", quoted(&unit)));
        rows.units.insert(target.to_owned(), unit);
    }
    notes
}

/// Refuses more inputs than a model takes.
fn ensure_takes(n_inputs: usize) -> anyhow::Result<()> {
    ensure!(
        n_inputs <= INPUTS_MAX,
        "{n_inputs} columns would be inputs, at most {INPUTS_MAX}; leave some out with --as \
         COLUMN=out, or name those of a vector v[0], v[1] and so on"
    );
    Ok(())
}

/// Sentences about the target.
fn target_notes(choice: &TaskChoice) -> Vec<String> {
    let remarks = choice.remarks.iter();
    let mut notes: Vec<String> = remarks.map(|remark| format!("target: {remark}")).collect();
    if let [only] = &choice.labels[..] {
        let only = quoted(only);
        notes.push(format!(
            "only {only} was ever taken: nothing can be learned from that"
        ));
    }
    notes
}

/// Adds the decisions about inputs and labels to how files are read.
fn add_decided(rows: &mut RowFormat, inputs: &[DraftInput], choice: &TaskChoice) {
    for input in inputs.iter().filter(|input| !input.sentinels.is_empty()) {
        let sentinels = input.sentinels.clone();
        rows.sentinels.insert(input.name.clone(), sentinels);
    }
    let units = inputs.iter();
    let units = units.filter_map(|input| Some((input.name.clone(), input.unit.clone()?)));
    rows.units.extend(units);
    rows.labels = choice.spellings.clone();
}

/// The numbers that stand for none, by the place of a column; the target stands behind the columns.
fn all_sentinels(survey: &Survey) -> BTreeMap<usize, Vec<(f64, u64)>> {
    let columns = survey.stats.iter().enumerate();
    let mut extremes: Vec<(usize, &Extremes, u64)> = columns
        .map(|(index, column)| (index, &column.extremes, column.n_numbers))
        .collect();
    extremes.push((survey.stats.len(), &survey.target.extremes, survey.n_rows));
    sentinels(&extremes)
}

/// The format of the file, for the commands that come after.
fn format(survey: &Survey) -> RowFormat {
    let (form, mut rows) = (&survey.form, RowFormat::default());
    if let Some(separator) = form.separator {
        rows.separator = Some(separator.to_string());
        rows.decimals = Some(form.decimals.word().to_owned());
        rows.header = survey.no_header.then_some(false);
    }
    if let DetectedEncoding::Whole(encoding) = form.encoding {
        rows.encoding = Some(encoding.to_lowercase());
    }
    if survey.has_percent() {
        // The default, which the author sees and may change.
        rows.percent = Some("points".to_owned());
    }
    rows
}

/// The input of decisions without a context.
fn context(n_rows: u64) -> DraftInput {
    DraftInput {
        name: CONTEXT.to_owned(),
        kind: DraftKind::Number,
        reason: "always a gap: the decisions have no context".to_owned(),
        n_gaps: n_rows,
        examples: Vec::new(),
        remarks: Vec::new(),
        sentinels: Vec::new(),
        unit: None,
    }
}

fn listed(excluded: &[ExcludedColumn]) -> String {
    let excluded: Vec<String> = excluded.iter().map(ExcludedColumn::to_string).collect();
    excluded.join("; ")
}

/// The way on where a column of row numbers may be an input all the same.
fn index_hint(excluded: &[ExcludedColumn]) -> String {
    let mut ids = excluded.iter().filter(|one| one.reason.starts_with(ROW_ID));
    ids.next().map_or_else(String::new, |one| {
        let is_of_words = one.reason.contains("distinct");
        let kind = if is_of_words { "category" } else { "number" };
        let name = &one.name;
        format!("; --as \"{name}={kind}\" takes it all the same")
    })
}

/// Writes a draft as the description of a new model, and returns its path.
///
/// # Errors
/// The model exists, or the file cannot be written.
pub(crate) fn write(models: &Path, name: &ModelName, draft: &Draft) -> anyhow::Result<PathBuf> {
    let folder = models.join(name.as_str());
    let path = folder.join(MODEL_TOML);
    let of_file = || path.display().to_string();
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let created = OpenOptions::new().write(true).create_new(true).open(&path);
    let mut file = match created {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{}: {EXISTS}", of_file())
        }
        created => created.with_context(of_file)?,
    };
    if let Err(error) = file.write_all(draft.to_toml().as_bytes()) {
        // Half a description would make the next attempt fail.
        fs::remove_file(&path).with_context(of_file)?;
        return Err(error).with_context(of_file);
    }
    Ok(path)
}

#[cfg(test)]
mod tests;
