//! `perennial init`: a model description drafted from one pass over a file of rows.
//!
//! Invariant: memory is bounded by columns and classes, never by rows; every guess is written
//! down with its reason, and every excluded column has a line with the reason.

mod column;
mod column_stats;
mod description;
pub(crate) mod draft;
mod goal;
mod logged_columns;
mod selection;
mod target;

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use perennial::event::ModelName;

use crate::cli::output::print;
use crate::cli::rows::decisions::DecisionColumns;
use crate::cli::rows::lines::shown;
use crate::cli::rows::options::{ReadArgs, ReadOptions};
use crate::cli::rows::{Cell, Rows};
use crate::cli::run::usable::UnusableRows;
use column_stats::ColumnStats;
use draft::{Draft, ExcludedColumn, Task};
use goal::Goal;
use logged_columns::{LoggedColumn, logged_columns};
use selection::Selection;
use target::TargetStats;

/// The hint where a file may have no header.
const LOOKS_LIKE_DATA: &str = "the first row looks like data, and was read as the header: with \
    --no-header it is a row, and the columns are column_1, column_2 and so on";

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
    /// The column to predict
    #[arg(long, value_name = "COLUMN", required_unless_present = "action")]
    #[arg(conflicts_with = "action")]
    target: Option<String>,
    #[command(flatten)]
    columns: DecisionColumns,
    /// The task; without it, it is guessed from the target
    #[arg(long, conflicts_with = "action")]
    task: Option<Task>,
    /// The folder of models
    #[arg(long, default_value = "models")]
    models: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
}

/// Drafts a description from the file, and prints its path.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let goal = match (&args.target, args.columns.given()) {
        (Some(target), _) => Goal::Target(target, args.task),
        (None, Some(columns)) => Goal::Decisions(columns),
        (None, None) => bail!("--target is missing"),
    };
    let draft = draft(&args.rows, goal, &ReadOptions::of(&args.read))?;
    draft.notes.iter().for_each(print::note);
    let path = write(&args.models, &args.name, &draft)?;
    print::line(path.display())
}

/// Reads every row of a file and drafts a model for the goal.
///
/// # Errors
/// The file is malformed, has no such target or one that the task cannot learn, or has no column
/// left as an input.
pub(crate) fn draft(path: &Path, goal: Goal, options: &ReadOptions) -> anyhow::Result<Draft> {
    let mut rows = Rows::open(path, options)?;
    let decimals = rows.form().decimals;
    let mut notes = rows.notes();
    if rows.looks_like_data() {
        notes.push(LOOKS_LIKE_DATA.to_owned());
    }
    let of_file = || shown(path);
    let (target, task) = match goal {
        Goal::Target(target, task) => (target, task),
        Goal::Decisions([action, ..]) => (action, Some(Task::Bandit)),
    };
    let target_index = rows.column(target).with_context(of_file)?;
    let logged_columns = logged_columns(&mut rows, goal).with_context(of_file)?;
    let nothing = Cell::Text(String::new());
    let is_feature = |index: usize| {
        index != target_index && logged_columns.iter().all(|logged| logged.column != index)
    };
    let mut stats: Vec<(usize, ColumnStats)> = Vec::new();
    let mut target_stats = TargetStats::new(target, decimals);
    let mut unusable = UnusableRows::new(false);
    let (mut n_rows, mut n_known) = (0, 0);
    while let Some(row) = rows.next() {
        let Some(row) = unusable.sort(row)? else {
            continue;
        };
        // Keys of JSON may come later.
        let new = rows.columns().iter().enumerate().skip(n_known);
        let new = new.filter(|(index, _)| is_feature(*index));
        stats.extend(new.map(|(index, name)| (index, ColumnStats::new(name, n_rows, decimals))));
        n_known = rows.columns().len();
        for logged in &logged_columns {
            logged.check(&row).with_context(of_file)?;
        }
        let label = row.target(target_index).with_context(of_file)?;
        let label = label.map(|text| target_stats.add(row.line, text));
        for (index, column) in &mut stats {
            let cell = row.cells.get(*index).unwrap_or(&nothing);
            column.add(n_rows, cell, label.as_ref());
        }
        n_rows += 1;
    }
    notes.extend(rows.closing_notes());
    notes.extend(unusable.notes());
    if n_rows == 0 && unusable.n_rows() > 0 {
        bail!("{}", unusable.notes().join("; "));
    }
    ensure!(n_rows > 0, "{}: no rows below the header", of_file());
    ensure!(
        !stats.is_empty(),
        "{}: no column besides the target",
        of_file()
    );
    let choice = target_stats.choose(task).with_context(of_file)?;
    let stats: Vec<ColumnStats> = stats.into_iter().map(|(_, column)| column).collect();
    let Selection {
        inputs,
        mut excluded,
    } = selection::select(&stats, choice.task, n_rows);
    excluded.extend(logged_columns.iter().map(LoggedColumn::excluded));
    ensure!(
        !inputs.is_empty(),
        "{}: no column to learn from: {}",
        of_file(),
        listed(&excluded)
    );
    let source = path.file_name().unwrap_or(path.as_os_str());
    Ok(Draft {
        source: source.to_string_lossy().into_owned(),
        n_rows,
        task: choice.task,
        task_reason: goal.reason(&choice),
        labels: choice.labels,
        inputs,
        excluded,
        notes,
    })
}

fn listed(excluded: &[ExcludedColumn]) -> String {
    let excluded: Vec<String> = excluded.iter().map(ExcludedColumn::to_string).collect();
    excluded.join("; ")
}

/// Writes a draft as the description of a new model, and returns its path.
///
/// # Errors
/// The model exists, or the file cannot be written.
pub(crate) fn write(models: &Path, name: &ModelName, draft: &Draft) -> anyhow::Result<PathBuf> {
    let folder = models.join(name.as_str());
    let path = folder.join("model.toml");
    let of_file = || path.display().to_string();
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let created = OpenOptions::new().write(true).create_new(true).open(&path);
    let mut file = match created {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(
            "{}: the model exists; remove it, or choose another name",
            of_file()
        ),
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
#[path = "../../../tests/it/support/passed_over.rs"]
mod passed_over;

#[cfg(test)]
mod tests {
    use super::*;

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
        check("{\"x\":1,\"y\":[1]}", ": line 1: the target is a list");
    }

    #[test]
    fn decisions_make_a_bandit_that_sees_neither_reward_nor_propensity() {
        let drafted = |text: &str| {
            let goal = Goal::Decisions(["y", "r", "p"]);
            draft(file(text).path(), goal, &ReadOptions::default())
        };
        let sound = drafted("x,r,y,p\n5,0,b,0.5\n2,,a,1\n3,2,b,0.25\n").unwrap();
        assert_eq!(sound.task, Task::Bandit);
        assert_eq!(sound.task_reason, "logged decisions; 2 actions in \"y\"");
        assert_eq!(sound.labels, ["b", "a"]);
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
        let p = ": line 3: column \"p\": \"0\" is not a probability in (0, 1]";
        check("x,r,y,p\n1,0,b,0.5\n5,0,a,0\n", p);
        let r = ": line 2: column \"r\": \"yes\" is not a finite number";
        check("x,r,y,p\n1,yes,b,0.5\n", r);
        check(
            "x,r,y\n1,1,b\n",
            ": no column \"p\"; the file has \"x\", \"r\", \"y\"",
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
            return passed_over::pass_over(&format!("no {}; set PERENNIAL_DATA", path.display()));
        }
        let draft = draft(&path, Goal::Target("label", None), &ReadOptions::default()).unwrap();
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
