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
use crate::cli::rows::{Found, quoted};
use choice::Choice;
use column::ROW_ID;
use draft::{Draft, DraftInput, DraftKind, ExcludedColumn, Task};
use extremes::Extremes;
pub(crate) use goal::Goal;
use logged_columns::LoggedColumn;
use selection::{Known, Selection};
use sentinels::sentinels;
use survey::Survey;
use target::TaskChoice;

/// As many inputs as a model takes.
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
    task: Option<Task>,
    /// The kind of a column: number, category, text, date, date:FORMAT (as date:%d/%m/%Y), or out
    #[arg(long = "as", value_name = "COLUMN=KIND")]
    choices: Vec<Choice>,
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
    choices: &[Choice],
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
    drafted.with_context(of_file)
}

/// The draft from a survey.
fn assembled(
    survey: Survey,
    goal: Goal,
    choices: &[Choice],
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
    let known = Known {
        task: choice.task,
        n_rows: survey.n_rows,
        choices,
        sentinels: &sentinels,
    };
    let Selection {
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
    if choice.task == Task::Regression {
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

/// Adds what was decided about inputs and labels to how files are read.
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

/// How the file was read, for the commands that come after.
fn format(survey: &Survey) -> RowFormat {
    let (form, mut rows) = (&survey.form, RowFormat::default());
    if let Some(separator) = form.separator {
        rows.separator = Some(separator.to_string());
        rows.decimals = Some(form.decimals.word().to_owned());
        rows.header = survey.no_header.then_some(false);
    }
    if let Found::Whole(encoding) = form.encoding {
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
mod tests {
    use super::*;
    use crate::cli::rows::number::Decimals;

    /// A file of the given rows below a header.
    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    /// A draft for the target `y`.
    pub(super) fn drafted(text: &str, task: Option<Task>) -> anyhow::Result<Draft> {
        draft(
            file(text).path(),
            Goal::Target("y", task),
            &ReadOptions::default(),
            &[],
        )
    }

    #[test]
    fn nothing_to_learn_from_is_refused() {
        let check = |text: &str, expected: &str| {
            let error = format!("{:#}", drafted(text, None).unwrap_err());
            assert!(error.ends_with(expected), "{error}");
        };
        check("x,y\n", ": no rows below the header");
        check("x,z\n1,2\n", ": no column \"y\"; the file has \"x\", \"z\"");
        check("y\na\nb\n", ": no column besides the target");
        check(
            ",x,y\n,1,a\n,1,b\n",
            ": no column to learn from: \"\": it has no name; \"x\": constant (1)",
        );
        check(
            "x,y\n1,2,3\n",
            ": line 2: 3 fields, expected 2 as in the header",
        );
        check(
            "{\"x\":1,\"y\":[1]}",
            ": line 1: the target is a list: an object of columns? expected an object a row",
        );
        check(
            "n,y\n1,a\n2,b\n3,a\n",
            ": no column to learn from: \"n\": a row id (1, 2, 3, ...); --as \"n=number\" takes it \
             all the same",
        );
    }

    #[test]
    fn an_index_and_a_value_are_a_series() {
        let series = drafted(",time,y\n1,1,2.5\n2,2,3.5\n3,3,1.5\n", None).unwrap();
        let inputs = series.inputs.iter();
        let inputs: Vec<_> = inputs.map(|input| (&*input.name, &input.kind)).collect();
        assert_eq!(inputs, [("time", &DraftKind::Number)]);
        assert!(series.inputs[0].reason.ends_with("a series"));
        let beside = drafted("n,x,y\n1,4,2.5\n2,9,3.5\n3,1,1.5\n", None).unwrap();
        assert_eq!(beside.inputs.len(), 1);
        assert_eq!(beside.inputs[0].name, "x");
    }

    #[test]
    fn decisions_make_a_bandit_that_sees_neither_reward_nor_propensity() {
        let drafted = |text: &str| {
            let goal = Goal::Decisions(["y", "r", "p"]);
            draft(file(text).path(), goal, &ReadOptions::default(), &[])
        };
        let sound = drafted("x,r,y,p\n5,0,b,0.5\n2,,a,1\n3,2,b,0.25\n").unwrap();
        assert_eq!(sound.task, Task::Bandit);
        assert_eq!(sound.task_reason, "logged decisions; 2 actions in \"y\"");
        assert_eq!(sound.labels, ["a", "b"]);
        let excluded: Vec<String> = sound
            .excluded
            .iter()
            .map(ExcludedColumn::to_string)
            .collect();
        let expected = [
            "\"r\": the reward of the logged action",
            "\"p\": the propensity of the logged action",
        ];
        assert_eq!(excluded, expected);
        let check = |text: &str, expected: &str| {
            let error = format!("{:#}", drafted(text).unwrap_err());
            assert!(error.ends_with(expected), "{error}");
        };
        let check_note = |text: &str, expected: &str| {
            let notes = drafted(text).unwrap().notes;
            assert!(
                notes.iter().any(|note| note.ends_with(expected)),
                "{notes:?}"
            );
        };
        let p = "the first: line 3: column \"p\": \"0\" is not a probability in (0, 1]";
        check_note("x,r,y,p\n1,0,b,0.5\n5,0,a,0\n2,1,a,0.5\n", p);
        let r = "the first: line 2: column \"r\": \"yes\" is not a finite number";
        check_note("x,r,y,p\n1,yes,b,0.5\n5,0,a,0.5\n", r);
        check_note(
            "x,r,y,p\n1,1,b,0.5\n5,0,b,0.5\n",
            "nothing can be learned from that",
        );
        let free = drafted("r,y,p\n1,b,0.5\n0,a,0.5\n").unwrap();
        assert_eq!(free.inputs.len(), 1);
        assert_eq!(free.rows.constants["context"], "");
        // A probability may be written as a percentage.
        let percent = drafted("x,r,y,p\n5,0,b,50%\n2,1,a,100 %\n3,2,b,25%\n").unwrap();
        assert!(
            percent
                .notes
                .iter()
                .all(|note| !note.contains("cannot be learned"))
        );
        for p in ["0", "150%", "-"] {
            let none = drafted(&format!("x,r,y,p\n1,0,b,{p}\n5,0,a,{p}\n")).unwrap_err();
            let none = format!("{none:#}");
            assert!(
                none.contains(": no row can be learned, the first: line 2"),
                "{none}"
            );
        }
        let toml = free.to_toml();
        let spec = perennial::model::Spec::parse(&toml).expect(&toml);
        assert_eq!(spec.rows, free.rows);
        check(
            "x,r,y\n1,1,b\n",
            ": no column \"p\"; the file has \"x\", \"r\", \"y\"",
        );
    }

    #[test]
    fn the_author_settles_what_the_file_leaves_open() {
        let check = |text: &str, decimals: Option<Decimals>, choice: &str, expected: &str| {
            let options = ReadOptions {
                decimals,
                ..ReadOptions::default()
            };
            let choices: Vec<Choice> = choice.parse().into_iter().collect();
            let goal = Goal::Target("y", None);
            let drafted = draft(file(text).path(), goal, &options, &choices);
            let got = match drafted {
                Ok(draft) => format!("{:?}", draft.inputs[0].kind),
                Err(error) => format!("{error:#}"),
            };
            assert!(got.contains(expected), "{got}, expected {expected}");
        };
        let open = "x;y\n2.107;a\n3.205;b\n2.107;a\n";
        check(open, None, "", "say --decimals point or --decimals comma");
        check(open, Some(Decimals::Point), "", "Number");
        check(open, Some(Decimals::Comma), "", "Number");
        let days = "d,y\n01/02/2004,a\n03/04/2004,b\n05/06/2004,a\n";
        check(days, None, "", "no value tells which");
        check(days, None, "d=date:%d/%m/%Y", "Time(\"%d/%m/%Y\")");
        let days = "d,y\n01/02/2004,a\n13/04/2004,b\n25/06/2004,a\n";
        check(days, None, "d=date:%m/%d/%Y", "reads 1 of the 3 values");
        let columns: Vec<String> = (0..5000).map(|n| format!("c{n}")).collect();
        let row = |from: usize| vec![from.to_string(); 5000].join(",");
        let wide = format!("{},y\n{},a\n{},b\n", columns.join(","), row(1), row(2));
        check(
            &wide,
            None,
            "",
            "5000 columns would be inputs, at most 4096",
        );
    }

    #[test]
    fn a_model_is_written_once() {
        let draft = drafted("x,y\n1,a\n2,b\n", None).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let models = folder.path().join("new/models");
        let name: ModelName = "0.x_y-Z".parse().unwrap();
        let path = write(&models, &name, &draft).unwrap();
        assert_eq!(path, models.join("0.x_y-Z/model.toml"));
        assert_eq!(fs::read_to_string(path).unwrap(), draft.to_toml());
        let error = write(&models, &name, &draft).unwrap_err().to_string();
        assert!(error.contains("Z/model.toml: the model exists"), "{error}");
    }

    /// Checks the draft from a data set: inputs as `kind name`, excluded names, number of labels.
    fn check_data(name: &str, inputs: &[String], excluded: &[&str], n_labels: usize) {
        let folder = std::env::var_os("PERENNIAL_DATA");
        let folder = folder.map_or("../shared/data".into(), PathBuf::from);
        let path = folder.join(name);
        if !path.exists() {
            return crate::cli::passed_over::pass_over(&format!(
                "no {}; set PERENNIAL_DATA",
                path.display()
            ));
        }
        let draft = draft(
            &path,
            Goal::Target("label", None),
            &ReadOptions::default(),
            &[],
        )
        .unwrap();
        let got = draft.inputs.iter();
        let got = got.map(|input| format!("{:?} {}", input.kind, input.name));
        assert_eq!(got.collect::<Vec<_>>(), inputs, "{name}");
        let got = draft.excluded.iter().map(|excluded| &excluded.name);
        assert_eq!(got.collect::<Vec<_>>(), excluded, "{name}");
        assert_eq!(draft.task, Task::Classification, "{name}");
        assert_eq!(draft.labels.len(), n_labels, "{name}");
        toml::from_str::<toml::Table>(&draft.to_toml()).unwrap();
    }

    #[test]
    fn streams_of_numbers_and_of_texts_are_drafted_whole() {
        let numbers = |names: &str| -> Vec<String> {
            let names = names.split(' ');
            names.map(|name| format!("Number {name}")).collect()
        };
        let elec2 = "date day period nswprice nswdemand vicprice vicdemand transfer";
        check_data("elec2.csv.gz", &numbers(elec2), &[], 2);
        check_data(
            "weather.csv.gz",
            &numbers("x0 x1 x2 x3 x4 x5 x6 x7"),
            &[],
            2,
        );
        check_data("sea.csv.gz", &numbers("x0 x1 x2"), &[], 2);
        let text = ["Text text".to_owned()];
        check_data("banking77_train.csv.gz", &text, &[], 77);
    }

    #[test]
    fn a_mixed_stream_keeps_all_but_its_constants() {
        let counts = "src_bytes dst_bytes land wrong_fragment urgent hot num_failed_logins \
                      logged_in num_compromised root_shell su_attempted num_root \
                      num_file_creations num_shells num_access_files is_guest_login count \
                      srv_count serror_rate srv_serror_rate rerror_rate srv_rerror_rate \
                      same_srv_rate diff_srv_rate srv_diff_host_rate dst_host_count \
                      dst_host_srv_count dst_host_same_srv_rate dst_host_diff_srv_rate \
                      dst_host_same_src_port_rate dst_host_srv_diff_host_rate \
                      dst_host_serror_rate dst_host_srv_serror_rate dst_host_rerror_rate \
                      dst_host_srv_rerror_rate";
        let mut inputs = vec!["Number duration".to_owned()];
        let words = ["protocol_type", "service", "flag"];
        inputs.extend(words.map(|name| format!("Category {name}")));
        inputs.extend(counts.split(' ').map(|name| format!("Number {name}")));
        let constants = ["num_outbound_cmds", "is_host_login"];
        check_data("intrusion.csv.gz", &inputs, &constants, 22);
    }
}
