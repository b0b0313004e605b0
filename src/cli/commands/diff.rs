//! `perennial diff`: how two versions differ.
//!
//! Invariant: nothing on disk is changed.

use std::path::PathBuf;

use perennial::engine::{
    Difference, DifferentRow, Disagreement, EntriesBetween, Offline, OrderBetween, Side,
    TensorChange,
};
use perennial::event::{Batch, Column, Disposal, Order};
use perennial::model::Spec;
use serde_json::{Map, Value, json};

use crate::cli::output::print::{self, counted};

/// Characters of a value that are shown.
const VALUE_CHARS_MAX: usize = 60;

/// Two versions.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial diff fraud 3 7")]
pub(crate) struct Args {
    /// The model's name
    model: String,
    /// A version: its number, an alias, or champion
    #[arg(value_name = "A")]
    first: String,
    /// Another one
    #[arg(value_name = "B")]
    second: String,
    /// The data directory; no server may have it open
    #[arg(long, default_value = "data")]
    data: PathBuf,
    /// Print JSON, one object
    #[arg(long)]
    json: bool,
}

/// Prints the difference.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let offline = Offline::open(&args.data, &args.model)?;
    let first = offline.version_named(&args.first)?;
    let second = offline.version_named(&args.second)?;
    let sides = offline.side_by_side(first, &Side::Version(second))?;
    let spec = sides.specs()[0].clone();
    let difference = sides.difference()?;
    let versions = [first, second];
    if args.json {
        return print::line(object((&args.model, versions), &spec, &difference));
    }
    let shown = lines(versions, &spec, &difference);
    shown.iter().try_for_each(print::line)
}

/// The value of the one row of a column.
fn value(column: &Column) -> String {
    match column {
        Column::Numbers(values) => values[0].to_string(),
        Column::Strings(texts) | Column::Embedded { texts, .. } => texts[0].clone(),
        Column::Vectors(bytes) => format!("{} numbers", bytes.len() / 4),
    }
}

fn inputs(spec: &Spec, batch: &Batch) -> Vec<(String, String)> {
    let named = spec.inputs.iter().zip(&batch.columns);
    named
        .map(|(input, column)| (input.name.clone(), value(column)))
        .collect()
}

/// An order in words.
fn order(order: &Order) -> String {
    match order {
        Order::Checkpoint => "checkpoint".to_owned(),
        Order::Restore { version } | Order::EarlierRestore { version } => {
            format!("restore of version {version}")
        }
        Order::Retract(retraction) => {
            let erases = match retraction.disposal {
                Disposal::Keep => "",
                Disposal::Erase => " and erasure",
            };
            format!("retraction{erases} of {}", retraction.selector)
        }
        Order::Erase(selector) => format!("erasure of {selector}"),
        Order::Adopt(_) => "adoption of another description".to_owned(),
        Order::Promote { version, .. } => format!("promotion of version {version}"),
        Order::Freeze => "freeze".to_owned(),
        Order::Resume => "resume".to_owned(),
        Order::Acknowledge { incident } => format!("acknowledgement of incident {incident}"),
        Order::Close { incident } => format!("end of incident {incident}"),
        Order::BeginRetraining { .. } => "start of a retraining".to_owned(),
        Order::Retrain { from, .. } => format!("retraining from position {from}"),
        Order::EndRetraining => "end of a retraining".to_owned(),
        Order::SetAlias { alias, version } => format!("alias {alias} of version {version}"),
        Order::RemoveAlias { alias } => format!("end of alias {alias}"),
        Order::Release(selector) => format!("release from quarantine of {selector}"),
        Order::Discard(selector) => format!("discard from quarantine of {selector}"),
    }
}

fn lines([a, b]: [u64; 2], spec: &Spec, difference: &Difference) -> Vec<String> {
    let [first, second] = difference.positions;
    let mut lines = vec![format!(
        "version {a} at position {first}, version {b} at position {second}"
    )];
    lines.push(format!(
        "{:<32} {:>12} {:>12} {:>12}",
        "tensor",
        format!("norm of {a}"),
        format!("norm of {b}"),
        "moved by"
    ));
    lines.extend(difference.tensors.iter().map(tensor_line));
    if let Some((n, [first, second])) = difference.anchors {
        let share = |right: u64| right as f64 / n as f64;
        lines.push(format!(
            "{} right: {:.4} by {a}, {:.4} by {b}",
            counted(n, "anchor"),
            share(first),
            share(second)
        ));
    }
    lines.extend(disagreement_lines([a, b], spec, &difference.disagreement));
    lines.extend(between_lines(&difference.between));
    lines
}

fn tensor_line(tensor: &TensorChange) -> String {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    let [first, second] = tensor.norms.map(number);
    format!(
        "{:<32} {first:>12} {second:>12} {:>12}",
        tensor.name,
        number(tensor.moved)
    )
}

fn disagreement_lines([a, b]: [u64; 2], spec: &Spec, found: &Disagreement) -> Vec<String> {
    if found.rows == 0 {
        return vec!["no journaled input that both answer".to_owned()];
    }
    let share = found.different as f64 / found.rows as f64;
    let apart = found
        .mean_difference
        .map_or_else(String::new, |mean| format!(", {mean:.4} apart on average"));
    let mut lines = vec![format!(
        "{} of the newest {} answered differently, a share of {share:.4}{apart}",
        found.different,
        counted(found.rows, "row")
    )];
    for row in &found.examples {
        let inputs = inputs(spec, &row.batch).into_iter();
        let shown = inputs.map(|(name, value)| {
            let value: String = value.chars().take(VALUE_CHARS_MAX).collect();
            format!("{name}={}", value.escape_debug())
        });
        let [first, second] = &row.answers;
        let truth = row
            .truth
            .as_ref()
            .map_or_else(String::new, |truth| format!(", it was {truth}"));
        lines.push(format!(
            "  {} at {}: {first} by {a}, {second} by {b}{truth}: {}",
            row.id,
            row.position,
            shown.collect::<Vec<_>>().join(" ")
        ));
    }
    lines
}

fn between_lines(between: &EntriesBetween) -> Vec<String> {
    let (low, high) = between.positions;
    let mut lines = vec![format!(
        "between positions {low} and {high}: {} entries, {}",
        between.entries,
        counted(between.predictions, "prediction")
    )];
    let sources = between.sources.iter();
    lines.extend(sources.map(|(source, n)| format!("  {n} events of source {source:?}")));
    if between.other_sources > 0 {
        lines.push(format!(
            "  {} events of further sources",
            between.other_sources
        ));
    }
    if between.n_older_orders > 0 {
        lines.push(format!("  {} older orders", between.n_older_orders));
    }
    lines.extend(between.orders.iter().map(|one| {
        let by = match (one.actor.as_str(), one.note.as_str()) {
            ("", "") => String::new(),
            (actor, "") => format!(" by {actor}"),
            (actor, note) => format!(" by {actor}: {}", note.escape_debug()),
        };
        format!("  {} at {}{by}", order(&one.order), one.position)
    }));
    lines
}

fn object((model, versions): (&str, [u64; 2]), spec: &Spec, difference: &Difference) -> Value {
    let tensors = difference.tensors.iter().map(|one| {
        let [a, b] = one.norms;
        json!({"name": one.name, "norm_a": a, "norm_b": b, "moved": one.moved})
    });
    let anchors = difference.anchors.map(|(n, [a, b])| {
        let share = |right: u64| right as f64 / n as f64;
        json!({"rows": n, "a": share(a), "b": share(b)})
    });
    let found = &difference.disagreement;
    let examples = found.examples.iter().map(|row| example(spec, row));
    let between = &difference.between;
    let orders = between.orders.iter().map(
        |OrderBetween {
             position,
             order: given,
             actor,
             note,
         }| {
            json!({"position": position, "order": order(given), "actor": actor, "note": note})
        },
    );
    let [a, b] = difference.positions;
    json!({
        "model": model,
        "a": {"version": versions[0], "position": a},
        "b": {"version": versions[1], "position": b},
        "tensors": tensors.collect::<Vec<_>>(),
        "anchors": anchors,
        "rows": found.rows,
        "different": found.different,
        "mean_difference": found.mean_difference,
        "examples": examples.collect::<Vec<_>>(),
        "between": {
            "entries": between.entries,
            "predictions": between.predictions,
            "sources": between.sources,
            "other_sources": between.other_sources,
            "orders": orders.collect::<Vec<_>>(),
            "older_orders": between.n_older_orders,
        },
    })
}

fn example(spec: &Spec, row: &DifferentRow) -> Value {
    let inputs: Map<String, Value> = inputs(spec, &row.batch)
        .into_iter()
        .map(|(name, value)| (name, value.into()))
        .collect();
    let [a, b] = &row.answers;
    json!({
        "prediction_id": row.id.to_string(),
        "position": row.position,
        "inputs": inputs,
        "a": a,
        "b": b,
        "truth": row.truth,
    })
}
