//! `perennial predict`: predictions for a row of options or for the rows of a file.
//!
//! Invariant: one line for each row, in the order of the rows.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use perennial::event::{Batch, value_text};
use serde_json::{Value, json};

use crate::cli::client::{self, AnswerValue, Client, ModelAnswer, PredictRequest};
use crate::cli::output::answers::AnswersFile;
use crate::cli::output::print;
use crate::cli::rows::lines;
use crate::cli::rows::number::{Decimals, is_ambiguous};
use crate::cli::rows::options::{ReadArgs, ReadOptions};
use crate::cli::rows::{Cell, FileRows, Layout, ModelInput, ModelInputKind, Row, quoted};
use crate::cli::run::usable::UnusableRows;

/// The model, and the rows.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial predict fraud --set amount=12.5 --set country=DE")]
#[command(group = clap::ArgGroup::new("request").args(["set", "file"]))]
pub(crate) struct Args {
    /// The model's name
    model: String,
    /// One value of one row; a vector as [1, 2, 3]
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Rows: CSV, JSON or Parquet, packed or not; - reads stdin
    #[arg(long)]
    file: Option<PathBuf>,
    /// The version that answers: champion, candidate, an alias, or the number of the one that serves; that
    /// one if absent. Answers of another one take no feedback
    #[arg(long, value_name = "VERSION")]
    model_version: Option<String>,
    /// Write a JSON line for each answered row of the file
    #[arg(long, value_name = "FILE", requires = "file")]
    out: Option<PathBuf>,
    /// Stop at the first row that cannot be used
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    client: client::Args,
}

fn setting(text: &str) -> anyhow::Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => bail!("expected NAME=VALUE"),
    }
}

/// Requests the predictions, and prints the answers.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut client = Client::connect(&args.client).await?;
    let described = client.describe(&args.model).await?;
    let inputs = described.inputs;
    let Some(path) = &args.file else {
        let options = ReadOptions::of(&args.read, &described.rows);
        let row = row(&args.set, &inputs, &options)?;
        let names = described.task.names();
        let answer = answer(&mut client, &args, (&inputs, names), &row).await;
        return answer.map(drop);
    };
    let mut rows = FileRows::open(path, &ReadOptions::of(&args.read, &described.rows))?;
    let of_file = || lines::shown(path);
    let mut layout = Layout::of_rows(&mut rows, &inputs).with_context(of_file)?;
    let notes = [rows.notes(), layout.notes()];
    notes.iter().flatten().for_each(print::note);
    let mut unusable = UnusableRows::new(args.strict);
    let out = args.out.as_deref();
    let mut out = out.map(|out| AnswersFile::create(out, path)).transpose()?;
    let mut n_answered = 0;
    for row in rows.by_ref() {
        let batch = row.and_then(|row| {
            let batch = layout.batch(&row).with_context(of_file);
            Ok((row.line, batch?))
        });
        let Some((line, batch)) = unusable.sort(batch)? else {
            continue;
        };
        let names = described.task.names();
        let answer = answer(&mut client, &args, (&inputs, names), &batch).await;
        let answer = answer.with_context(|| format!("line {line}"));
        let Some(answer) = unusable.sort(answer)? else {
            continue;
        };
        n_answered += 1;
        if let Some(out) = &mut out {
            out.write(&answer.row(line, described.task.names(), None))?;
        }
    }
    out.map_or(Ok(()), AnswersFile::finish)?;
    let notes = [rows.closing_notes(), layout.closing_notes()];
    notes.iter().flatten().for_each(print::note);
    unusable.ensure_used(path, n_answered)?;
    unusable.notes().iter().for_each(print::note);
    Ok(())
}

/// Requests one prediction, and prints the answer.
async fn answer(
    client: &mut Client,
    args: &Args,
    (inputs, names): (&[ModelInput], &[String]),
    batch: &Batch,
) -> anyhow::Result<ModelAnswer> {
    let request = PredictRequest {
        model: &args.model,
        inputs,
        batch,
        version: args.model_version.as_deref().unwrap_or_default(),
        min_position: 0,
        is_journaled: true,
    };
    let answer = client.predict(request.message()).await?.named(names);
    if args.client.json {
        print::line(object(&answer))?;
    } else {
        print::line(line(&answer))?;
    }
    Ok(answer)
}

/// The row of the `--set` options.
fn row(
    settings: &[(String, String)],
    inputs: &[ModelInput],
    options: &ReadOptions,
) -> anyhow::Result<Batch> {
    let mut names = Vec::new();
    let mut cells = Vec::new();
    for (name, value) in settings {
        ensure!(!names.contains(name), "--set {name}: it is set twice");
        let input = inputs.iter().find(|input| is_of(name, input));
        let input = input.with_context(|| {
            let known: Vec<String> = inputs.iter().map(|input| quoted(&input.name)).collect();
            format!(
                "--set {name}: no such input; the model takes {}",
                known.join(", ")
            )
        })?;
        names.push(name.clone());
        cells.push(match input.kind {
            ModelInputKind::Vector(_) if *name == input.name => {
                let list = serde_json::from_str(value);
                Cell::List(list.with_context(|| format!("--set {name}: expected a list"))?)
            }
            ModelInputKind::Number => Cell::Text(number(name, value, options)?),
            _ => Cell::Text(value.clone()),
        });
    }
    for input in inputs {
        let is_set = names.iter().any(|name| is_of(name, input));
        ensure!(
            is_set || input.gaps,
            "input {} is not given; use --set",
            quoted(&input.name)
        );
    }
    let mut layout = Layout::new(&names, inputs)?;
    layout.batch(&Row { line: 0, cells }).context("--set")
}

/// A number as a row has it, read by the decimal mark of the model's files alone; any other text as it
/// stands.
fn number(name: &str, text: &str, options: &ReadOptions) -> anyhow::Result<String> {
    let decimals = options.decimals.unwrap_or_default();
    let bare = options.without_unit(name, text);
    let by_other = options.number_by(bare, decimals.other());
    let number = options.number_by(bare, decimals);
    let has_other = bare.contains(if decimals == Decimals::Point {
        ','
    } else {
        '.'
    });
    let is_open = has_other && (number.is_none() && by_other.is_some() || is_ambiguous(bare));
    ensure!(
        !is_open,
        "--set {name}: {} may be thousands or a fraction: the numbers of the model have a decimal {}",
        quoted(text),
        decimals.word()
    );
    Ok(number.map_or_else(|| text.to_owned(), |number| number.to_string()))
}

/// True if a name is that of an input, or of an element of it.
fn is_of(name: &str, input: &ModelInput) -> bool {
    let rest = name.strip_prefix(input.name.as_str());
    rest.is_some_and(|rest| {
        rest.is_empty() || matches!(input.kind, ModelInputKind::Vector(_)) && rest.starts_with('[')
    })
}

fn line(answer: &ModelAnswer) -> String {
    let value = match &answer.value {
        AnswerValue::Label { label, probability } => format!("{label} {probability:.4}"),
        AnswerValue::Value(value) => value_text(*value),
        AnswerValue::Action { action, propensity } => format!("{action} {propensity:.4}"),
    };
    let id = match answer.prediction_id.as_str() {
        "" => "none (not journaled: it takes no feedback)",
        id => id,
    };
    format!(
        "{value}  prediction_id={id} version={} position={}",
        answer.version, answer.position
    )
}

fn object(answer: &ModelAnswer) -> Value {
    let mut object = match &answer.value {
        AnswerValue::Label { label, probability } => {
            json!({"label": label, "probability": probability})
        }
        AnswerValue::Value(value) => json!({"value": value}),
        AnswerValue::Action { action, propensity } => {
            json!({"action": action, "propensity": propensity})
        }
    };
    object["prediction_id"] = answer.prediction_id.clone().into();
    // The server's own versions are numbers.
    let version = answer.version.parse::<u64>();
    object["version"] = version.map_or_else(|_| answer.version.clone().into(), Value::from);
    object["position"] = answer.position.into();
    object
}

#[cfg(test)]
mod tests {
    use perennial::event::Column;

    use super::*;

    #[test]
    fn a_setting_is_a_name_and_a_value() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(setting(text).ok(), expected, "{text}");
        };
        check("a=1", Some(("a", "1")));
        check("a=", Some(("a", "")));
        check("a=b=c", Some(("a", "b=c")));
        check("a", None);
        check("=1", None);
    }

    fn inputs() -> [ModelInput; 3] {
        [
            ("n", ModelInputKind::Number),
            ("t", ModelInputKind::Text),
            ("v", ModelInputKind::Vector(2)),
        ]
        .map(|(name, kind)| ModelInput {
            name: name.into(),
            gaps: false,
            kind,
        })
    }

    fn set(settings: &[&str]) -> anyhow::Result<Batch> {
        let settings = settings.iter().map(|text| setting(text).unwrap());
        let settings: Vec<_> = settings.collect();
        row(&settings, &inputs(), &ReadOptions::default())
    }

    #[test]
    fn a_number_is_read_by_the_decimal_mark_of_the_model() {
        let read = |decimals: Decimals, text: &str| {
            let options = ReadOptions {
                decimals: Some(decimals),
                ..ReadOptions::default()
            };
            number("n", text, &options).map_err(|error| error.to_string())
        };
        for (text, by_point, by_comma) in [
            ("1.5", Some("1.5"), None),
            ("1,5", None, Some("1.5")),
            ("1.234", Some("1.234"), None),
            ("1,234", None, Some("1.234")),
            ("1,234.5", Some("1234.5"), None),
            ("12", Some("12"), Some("12")),
            ("1e-7", Some("0.0000001"), Some("0.0000001")),
            ("NA", Some("NA"), Some("NA")),
        ] {
            for (decimals, expected) in [(Decimals::Point, by_point), (Decimals::Comma, by_comma)] {
                let read = read(decimals, text);
                match expected {
                    Some(expected) => assert_eq!(read.as_deref(), Ok(expected), "{text}"),
                    None => assert!(read.unwrap_err().contains("may be thousands"), "{text}"),
                }
            }
        }
    }

    #[test]
    fn settings_make_a_row() {
        let batch = set(&["t=x y", "v=[1, 2]", "n=0.5"]).unwrap();
        assert_eq!(batch.columns[0], Column::Numbers(vec![0.5]));
        assert_eq!(batch.columns[1], Column::Strings(vec!["x y".into()]));
        assert_eq!(set(&["t=x y", "v[0]=1", "v[1]=2", "n=0.5"]).unwrap(), batch);
    }

    #[test]
    fn settings_that_make_no_row_are_refused() {
        let check = |settings: &[&str], expected: &str| {
            let error = format!("{:#}", set(settings).unwrap_err());
            assert!(error.contains(expected), "{error}");
        };
        check(
            &["m=1"],
            "--set m: no such input; the model takes \"n\", \"t\"",
        );
        check(&["n=1", "n=2"], "--set n: it is set twice");
        check(&["n=1", "t=a"], "input \"v\" is not given");
        check(&["n=x", "t=a", "v=[1,2]"], "\"x\" is not a finite number");
        check(&["n=1", "t=a", "v=1,2"], "--set v: expected a list");
        check(&["n=1", "t=a", "v=[1]"], "a list of 1, expected 2");
    }
}
