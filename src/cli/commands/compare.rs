//! `perennial compare`: a version beside another state, on rows that neither has learned.
//!
//! Invariant: the exit status is the outcome, and nothing on disk is changed.

use std::path::{Path, PathBuf};

use anyhow::Context;
use perennial::engine::{
    COMPARED_ROWS_MAX, CompareSettings, ComparisonReport, ExcludedRows, GivenRow, Offline,
    RowTruth, Side, SideBySide, TrialOutcome, describe,
};
use perennial::event::Batch;
use perennial::model::{Spec, Task};
use serde_json::json;

use crate::cli::output::print::{self, counted};
use crate::cli::process::ExitStatus;
use crate::cli::rows::decisions::{DecisionColumns, LoggedRows};
use crate::cli::rows::labelled::LabelledRows;
use crate::cli::rows::options::{ReadArgs, ReadOptions};
use crate::cli::rows::signature::ModelSignature;
use crate::cli::rows::target::RowTarget;
use crate::cli::run::usable::UnusableRows;

/// The exit status where nothing could be compared.
const NOT_COMPARED: u8 = 2;

const EXAMPLES: &str = "\
Exit status: 0 B passes, 1 B is worse, 2 nothing was compared, 3 no evidence

Examples:
  perennial compare fraud 3 7
  perennial compare fraud 3 7 --margin 0.02 --alpha 0.05 --json
  perennial compare fraud 3 models/fraud-next/model.toml
  perennial compare fraud 3 7 payments.csv --target is_fraud";

/// A version, the state beside it, and the rows that both answer.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The model's name
    model: String,
    /// A version: its number, an alias, or champion
    #[arg(value_name = "A")]
    first: String,
    /// A version; a model.toml or its folder, for the state that it leads to at the position of A; or a file of weights
    /// (.safetensors) for the network of A
    #[arg(value_name = "B")]
    second: String,
    /// Rows to compare on, instead of the labelled rows of the journal: CSV, JSON or Parquet
    #[arg(value_name = "ROWS")]
    rows: Option<PathBuf>,
    /// With ROWS: the column to predict
    #[arg(
        long,
        value_name = "COLUMN",
        requires = "rows",
        conflicts_with = "action"
    )]
    target: Option<String>,
    #[command(flatten)]
    columns: DecisionColumns,
    /// The loss, of 1 at most, by which B may be worse and pass; publish.margin of A otherwise
    #[arg(long, value_name = "LOSS", allow_negative_numbers = true)]
    margin: Option<f64>,
    /// The largest probability of each wrong outcome; publish.alpha of A otherwise
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    alpha: Option<f64>,
    /// The data directory; no server may have it open
    #[arg(long, default_value = "data")]
    data: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
    /// Print JSON, one object
    #[arg(long)]
    json: bool,
}

/// Compares the two, and prints the outcome, which is the exit status too.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let status = match compare(&args) {
        Ok(compared) => match compared.evidence.finding {
            TrialOutcome::Passes => return Ok(()),
            TrialOutcome::Worse => 1,
            TrialOutcome::NoEvidence => 3,
        },
        Err(error) if print::is_broken_pipe(&error) => return Err(error),
        Err(error) => {
            print::note(format_args!("error: {error:#}"));
            NOT_COMPARED
        }
    };
    Err(ExitStatus(status).into())
}

fn compare(args: &Args) -> anyhow::Result<ComparisonReport> {
    let settings = CompareSettings {
        margin: args.margin,
        alpha: args.alpha,
    };
    let offline = Offline::open(&args.data, &args.model)?;
    let first = offline.version_named(&args.first)?;
    let second = side(&offline, &args.second)?;
    if let Side::Described(described, _) = &second {
        offline.keep_encoders(described)?;
    }
    let sides = offline.side_by_side(first, &second)?;
    let compared = match &args.rows {
        None => sides.on_journal(settings)?,
        Some(path) => {
            let rows = given_rows(args, path, &sides)?;
            sides.on_rows(&rows, settings)?
        }
    };
    if args.json {
        print::line(object(args, &compared))?;
    } else {
        lines(&compared, args.rows.as_deref())
            .iter()
            .try_for_each(print::line)?;
    }
    Ok(compared)
}

/// The second side: a file by how its name ends, or a version.
fn side(offline: &Offline, text: &str) -> anyhow::Result<Side> {
    let mut path = PathBuf::from(text);
    if path.join("model.toml").is_file() {
        path.push("model.toml");
    }
    let ends_in = |end: &str| path.extension().is_some_and(|extension| extension == end);
    if ends_in("safetensors") {
        return Ok(Side::Weights(path));
    }
    if ends_in("toml") {
        return Ok(Side::Described(Box::new(describe(&path)?), path));
    }
    Ok(Side::Version(offline.version_named(text)?))
}

/// The rows of a file, as each side reads them.
fn given_rows(args: &Args, path: &Path, sides: &SideBySide<'_>) -> anyhow::Result<Vec<GivenRow>> {
    let [first, second] = sides.specs();
    let mut unusable = UnusableRows::default();
    let mut rows = Vec::new();
    let (of_first, of_second) = (truths(args, path, first)?, truths(args, path, second)?);
    for (one, two) in of_first.zip(of_second) {
        let both = one.and_then(|one| Ok((one, two?)));
        let Some((one, two)) = unusable.sort(both)? else {
            continue;
        };
        let Some((batch, truth)) = one else { continue };
        let Some((other, _)) = two else { continue };
        rows.push(GivenRow {
            batches: [batch, other],
            truth,
        });
        if rows.len() == COMPARED_ROWS_MAX {
            print::note(format_args!(
                "the first {COMPARED_ROWS_MAX} rows are compared, and no further ones"
            ));
            break;
        }
    }
    unusable.notes().iter().for_each(print::note);
    unusable.ensure_used(path, rows.len() as u64)?;
    Ok(rows)
}

/// A row with its truth; none where the file has no truth about it.
type KnownRow = Option<(Batch, RowTruth)>;

/// The rows of a file with their truths, as a description reads them.
fn truths(
    args: &Args,
    path: &Path,
    spec: &Spec,
) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<KnownRow>>>> {
    let options = ReadOptions::of(&args.read, &spec.rows);
    let signature = ModelSignature::of(spec);
    if let Task::Bandit { actions } = &spec.task {
        let columns = args.columns.given();
        let columns = columns
            .context("--action, --reward and --propensity name the columns of a bandit's rows")?;
        let actions = actions.clone();
        let rows = LoggedRows::open(path, columns, &signature, &options)?;
        return Ok(Box::new(rows.map(move |row| {
            let row = row?;
            let Some(reward) = row.reward else {
                return Ok(None);
            };
            let truth = RowTruth::Decision {
                action: actions[row.action as usize].clone(),
                propensity: row.propensity,
                reward,
            };
            Ok(Some((row.batch, truth)))
        })));
    }
    let target = args.target.as_deref();
    let target = target.context("--target names the column to predict")?;
    let rows = LabelledRows::open(path, target, &signature, &options)?;
    Ok(Box::new(rows.map(|row| {
        let row = row?;
        let label = row.label;
        let truth = row.truth.map(|truth| match truth {
            RowTarget::Value(value) => RowTruth::Value(value),
            RowTarget::Name(_) => RowTruth::Label(label),
        });
        Ok(truth.map(|truth| (row.batch, truth)))
    })))
}

/// The word for an outcome, for programs.
fn word(finding: TrialOutcome) -> &'static str {
    match finding {
        TrialOutcome::Passes => "passes",
        TrialOutcome::Worse => "worse",
        TrialOutcome::NoEvidence => "no_evidence",
    }
}

fn object(args: &Args, compared: &ComparisonReport) -> serde_json::Value {
    let evidence = &compared.evidence;
    let known = evidence.rows > 0;
    let both = |values: Option<[f64; 2]>| match values {
        Some([a, b]) => json!({"a": a, "b": b}),
        None => json!({"a": null, "b": null}),
    };
    let ExcludedRows {
        learned,
        past,
        older,
        unjudged,
    } = compared.excluded;
    json!({
        "model": args.model,
        "a": compared.names[0],
        "b": compared.names[1],
        "outcome": word(evidence.finding),
        "reason": compared.reason,
        "margin": compared.margin,
        "alpha": compared.alpha,
        "rows": evidence.rows,
        "left_out": {"learned": learned, "past": past, "older": older, "unjudged": unjudged},
        "score_name": compared.score.0,
        "score": both(compared.score.1),
        "loss": both(known.then_some(evidence.losses)),
        "difference": known.then_some(evidence.difference),
        "difference_low": evidence.bounds[0],
        "difference_high": evidence.bounds[1],
        "evidence_not_worse": evidence.not_worse,
        "evidence_worse": evidence.worse,
        "evidence_needed": evidence.needed,
        "decided_after": evidence.decided_after,
        "rows_disagree": evidence.disagrees,
    })
}

fn lines(compared: &ComparisonReport, file: Option<&Path>) -> Vec<String> {
    let evidence = &compared.evidence;
    let [a, b] = &compared.names;
    let of = match file {
        Some(path) => path.display().to_string(),
        None => "the journal".to_owned(),
    };
    let mut lines = vec![format!(
        "{a} and {b} on {} of {of}{}",
        counted(evidence.rows, "row"),
        left_out(compared.excluded)
    )];
    if evidence.rows > 0 {
        let line = |name: &str, a: f64, b: f64| format!("{name:<20} {a:>10.4} {b:>10.4}");
        if let (name, Some([a, b])) = compared.score {
            lines.push(line(&name.replace('_', " "), a, b));
        }
        lines.push(line("mean loss", evidence.losses[0], evidence.losses[1]));
        let [low, high] = evidence.bounds;
        lines.push(format!(
            "{:<20} {:>+10.4} from {low:+.4} to {high:+.4}, each bound at {:.4}",
            "difference",
            evidence.difference,
            1.0 - compared.alpha
        ));
        lines.push(format!(
            "{:<20} {:>10.1} that B is not worse by {}, {:.1} that it is; {:.1} is enough",
            "evidence", evidence.not_worse, compared.margin, evidence.worse, evidence.needed
        ));
    }
    let margin = compared.margin;
    lines.push(match (evidence.finding, &compared.reason) {
        (TrialOutcome::Passes, _) => {
            format!("passes: {b} is not worse than {a} by {margin} or more")
        }
        (TrialOutcome::Worse, _) => format!("worse: {b} is worse than {a} by more than {margin}"),
        (TrialOutcome::NoEvidence, Some(reason)) => format!("no evidence: {reason}"),
        (TrialOutcome::NoEvidence, None) => {
            format!("no evidence whether {b} is worse than {a} by more than {margin}")
        }
    });
    lines
}

/// The rows that were left out, as the end of a sentence.
fn left_out(rows: ExcludedRows) -> String {
    let reasons = [
        (rows.learned, "that one of them may have learned"),
        (rows.past, "of a time long past"),
        (rows.older, "that are older"),
        (rows.unjudged, "that are no evidence"),
    ];
    let counts = reasons.into_iter().filter(|(n, _)| *n > 0);
    let counts: Vec<String> = counts.map(|(n, why)| format!("{n} {why}")).collect();
    if counts.is_empty() {
        String::new()
    } else {
        format!("; left out: {}", counts.join(", "))
    }
}
