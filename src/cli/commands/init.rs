//! `perennial init`: a model description drafted from one look at a whole file of rows.
//!
//! Invariant: memory is bounded by columns and classes, never by rows; every guess is written
//! down with its reason, and no column disappears without a line that says why.

mod column;
mod column_stats;
mod description;
mod logged_columns;
mod selection;
mod target;

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use crate::cli::rows::{Rows, find_column, quoted};
use column_stats::Look;
use logged_columns::{Told, told};
use selection::Selection;
use target::{Decision, TargetLook};

/// What a model learns to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Task {
    /// Tell which class a row belongs to.
    Classification,
    /// Tell a number.
    Regression,
    /// Choose an action, and learn from its reward.
    Bandit,
}

/// A guess at a model, with the reasons for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The name of the file it was drafted from.
    pub source: String,
    /// How many rows the file has.
    pub n_rows: u64,
    /// What the model learns to do.
    pub task: Task,
    /// Why.
    pub task_reason: String,
    /// Classes or actions in order of appearance; none for a regression.
    pub labels: Vec<String>,
    /// What the model takes, in the order of the file.
    pub inputs: Vec<Input>,
    /// What it does not take.
    pub left_out: Vec<LeftOut>,
}

/// One input of a drafted model.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The header of its column, verbatim.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// What was seen of it.
    pub reason: String,
    /// How many rows have a gap where a number belongs.
    pub n_gaps: u64,
}

/// What an input holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number, or a gap.
    Number,
    /// One of some values.
    Category,
    /// Words.
    Text,
    /// So many numbers.
    Vector(usize),
}

/// A column that is not an input.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftOut {
    /// Its header, verbatim.
    pub name: String,
    /// Why the model should not see it.
    pub reason: String,
}

/// What a model is to learn from the rows of a file.
#[derive(Clone, Copy, Debug)]
pub enum Goal<'a> {
    /// To predict a column; a task that was asked for is not guessed.
    Target(&'a str, Option<Task>),
    /// To choose an action, from decisions that were logged: the columns of the action, of its
    /// reward and of its propensity.
    Decisions([&'a str; 3]),
}

impl Goal<'_> {
    fn reason(&self, decision: &Decision) -> String {
        match self {
            Goal::Target(..) => decision.reason.clone(),
            Goal::Decisions([action, ..]) => {
                let n_actions = decision.labels.len();
                format!(
                    "logged decisions; {n_actions} actions in {}",
                    quoted(action)
                )
            }
        }
    }
}

/// Looks at every row of a file and drafts a model that learns what is asked.
///
/// # Errors
/// The file is not sound, has no such target or one that the task cannot learn, or has no other
/// column worth learning from.
pub fn draft(path: &Path, goal: Goal) -> anyhow::Result<Draft> {
    let rows = Rows::open(path)?;
    let of_file = || path.display().to_string();
    let (target, task) = match goal {
        Goal::Target(target, task) => (target, task),
        Goal::Decisions([action, ..]) => (action, Some(Task::Bandit)),
    };
    let target_index = find_column(rows.columns(), target).with_context(of_file)?;
    let told = told(rows.columns(), goal).with_context(of_file)?;
    let names = rows.columns().iter().enumerate();
    let mut looks: Vec<(usize, Look)> = names
        .filter(|&(index, _)| index != target_index)
        .filter(|&(index, _)| told.iter().all(|told| told.column != index))
        .map(|(index, name)| (index, Look::new(name)))
        .collect();
    ensure!(
        !looks.is_empty(),
        "{}: no column besides the target",
        of_file()
    );
    let mut target_look = TargetLook::new(target);
    let mut n_rows = 0;
    for row in rows {
        let row = row?;
        for told in &told {
            told.check(&row).with_context(of_file)?;
        }
        let label = row.target(target_index).with_context(of_file)?;
        let label = label.map(|text| target_look.see(row.line, text));
        for (index, look) in &mut looks {
            look.see(n_rows, &row.cells[*index], label.as_ref());
        }
        n_rows += 1;
    }
    ensure!(n_rows > 0, "{}: no rows below the header", of_file());
    let decision = target_look.decide(task).with_context(of_file)?;
    let looks: Vec<Look> = looks.into_iter().map(|(_, look)| look).collect();
    let Selection {
        inputs,
        mut left_out,
    } = selection::select(&looks, decision.task, n_rows);
    left_out.extend(told.iter().map(Told::left_out));
    ensure!(
        !inputs.is_empty(),
        "{}: no column to learn from: {}",
        of_file(),
        listed(&left_out)
    );
    let source = path.file_name().unwrap_or(path.as_os_str());
    Ok(Draft {
        source: source.to_string_lossy().into_owned(),
        n_rows,
        task: decision.task,
        task_reason: goal.reason(&decision),
        labels: decision.labels,
        inputs,
        left_out,
    })
}

fn listed(left_out: &[LeftOut]) -> String {
    let left_out: Vec<String> = left_out.iter().map(LeftOut::to_string).collect();
    left_out.join("; ")
}

/// Writes a draft as the description of a new model, and says where.
///
/// # Errors
/// The name is not a model's name, the model exists, or the file cannot be written.
pub fn write(models: &Path, name: &str, draft: &Draft) -> anyhow::Result<PathBuf> {
    ensure!(
        is_model_name(name),
        "model name {}: use 1 to 64 letters, digits, dots, underscores and hyphens, a letter or \
         digit first",
        quoted(name)
    );
    let folder = models.join(name);
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
        // Half a description would stand in the way of the next attempt.
        fs::remove_file(&path).with_context(of_file)?;
        return Err(error).with_context(of_file);
    }
    Ok(path)
}

fn is_model_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&name.len())
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name.bytes().all(is_inner)
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
    pub fn drafted(text: &str, task: Option<Task>) -> anyhow::Result<Draft> {
        draft(file(text).path(), Goal::Target("y", task))
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
            ",x,y\n0,1,a\n1,1,b\n",
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
        let drafted = |text: &str| draft(file(text).path(), Goal::Decisions(["y", "r", "p"]));
        let sound = drafted("x,r,y,p\n5,0,b,0.5\n2,,a,1\n3,2,b,0.25\n").unwrap();
        assert_eq!(sound.task, Task::Bandit);
        assert_eq!(sound.task_reason, "logged decisions; 2 actions in \"y\"");
        assert_eq!(sound.labels, ["b", "a"]);
        let left_out: Vec<String> = sound.left_out.iter().map(LeftOut::to_string).collect();
        let expected = [
            "\"r\": the reward of the logged action",
            "\"p\": the propensity of the logged action",
        ];
        assert_eq!(left_out, expected);
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
    fn a_model_is_written_once_and_under_a_sound_name() {
        let draft = drafted("x,y\n1,a\n2,b\n", None).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let models = folder.path().join("new/models");
        for name in ["", ".", "..", "-a", "a/b", "a b", "ä", &"a".repeat(65)] {
            assert!(write(&models, name, &draft).is_err(), "{name}");
        }
        assert!(!models.exists(), "a refusal leaves nothing behind");
        for name in ["a", "0.x_y-Z", &"a".repeat(64)] {
            let path = write(&models, name, &draft).unwrap();
            assert_eq!(path, models.join(name).join("model.toml"));
            assert_eq!(fs::read_to_string(path).unwrap(), draft.to_toml());
        }
        let error = write(&models, "a", &draft).unwrap_err().to_string();
        assert!(error.contains("a/model.toml: the model exists"), "{error}");
    }

    /// What is drafted from a data set: inputs as `kind name`, names left out, number of labels.
    fn check_data(name: &str, inputs: &[String], left_out: &[&str], n_labels: usize) {
        let folder = std::env::var_os("PERENNIAL_DATA");
        let folder = folder.map_or("../shared/data".into(), PathBuf::from);
        let path = folder.join(name);
        if !path.exists() {
            return passed_over::pass_over(&format!("no {}; set PERENNIAL_DATA", path.display()));
        }
        let draft = draft(&path, Goal::Target("label", None)).unwrap();
        let got = draft.inputs.iter();
        let got = got.map(|input| format!("{:?} {}", input.kind, input.name));
        assert_eq!(got.collect::<Vec<_>>(), inputs, "{name}");
        let got = draft.left_out.iter().map(|left_out| &left_out.name);
        assert_eq!(got.collect::<Vec<_>>(), left_out, "{name}");
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
        let text = ["Text text".to_string()];
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
        let mut inputs = vec!["Number duration".to_string()];
        let words = ["protocol_type", "service", "flag"];
        inputs.extend(words.map(|name| format!("Category {name}")));
        inputs.extend(counts.split(' ').map(|name| format!("Number {name}")));
        let constants = ["num_outbound_cmds", "is_host_login"];
        check_data("intrusion.csv.gz", &inputs, &constants, 22);
    }
}
