//! `perennial audit`: computes a prediction again, and shows the feedback that shaped it.
//!
//! Invariant: an answer that differs is a failure, and so is one that cannot be computed again.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use perennial::engine::Offline;
use perennial::event::PredictionId;
use perennial::proto::perennial::v1::{
    AuditRequest, AuditResponse, AuditedFeedback, ErasedFeedback, Output,
};
use perennial::server::audit_message;
use serde_json::{Map, Value, json};

use super::status::sorted;
use crate::cli::client::{self, Client, refusal};
use crate::cli::output::print;

/// The prediction, on a server or in a data directory.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  perennial audit 01890a5d-ac96-774b-bcce-b302099a8057
  perennial audit 01890a5d-ac96-774b-bcce-b302099a8057 --without team-7 --data data")]
pub(crate) struct Args {
    /// The id of the prediction, from its response
    prediction_id: String,
    /// Also compute the answer without the feedback of this source
    #[arg(long, value_name = "SOURCE")]
    without: Option<String>,
    /// Read this data directory instead of a server; no server may have it open
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    client: client::Args,
}

/// Audits the prediction, and prints the result.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let found = match &args.data {
        Some(data) => offline(data, &args.prediction_id, args.without.as_deref())?,
        None => {
            let mut client = Client::connect(&args.client).await?;
            let request = AuditRequest {
                prediction_id: args.prediction_id,
                without: args.without.clone(),
            };
            client
                .registry
                .audit(request)
                .await
                .map_err(refusal)?
                .into_inner()
        }
    };
    if args.client.json {
        print::line(object(&found, args.without.is_some()))?;
    } else {
        lines(&found, args.without.as_deref())
            .iter()
            .try_for_each(print::line)?;
    }
    ensure!(
        found.again.is_some(),
        "it cannot be answered again: {}",
        found.reason
    );
    ensure!(
        found.bit_equal,
        "answered again, it differs from what was served: {}",
        found.reason
    );
    Ok(())
}

fn offline(data: &Path, id: &str, without: Option<&str>) -> anyhow::Result<AuditResponse> {
    let id: PredictionId = id
        .parse()
        .with_context(|| format!("prediction id {id:?}"))?;
    match Offline::audit_any(data, id, without)? {
        Some(found) => Ok(audit_message(found)),
        None => bail!("no journal in {} holds prediction {id}", data.display()),
    }
}

fn lines(found: &AuditResponse, without: Option<&str>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut put = |name: &str, text: String| lines.push(format!("{name:<12} {text}"));
    let time = found.time.map_or_else(String::new, |time| time.to_string());
    put(
        "prediction",
        format!(
            "{} entry {}, row {}, {time}",
            found.model, found.entry, found.row
        ),
    );
    put(
        "answered by",
        format!("version {}, position {}", found.version, found.position),
    );
    put("computed by", format!("{}, {}", found.build, found.profile));
    for input in &found.inputs {
        put("input", format!("{} = {:.200}", input.name, input.value));
    }
    put("answer", output_text(found.answer.as_ref()));
    let again = output_text(found.again.as_ref());
    let again = match (&found.again, found.bit_equal) {
        (None, _) => format!("not computed: {}", found.reason),
        (_, true) => format!("{again}, bit-equal"),
        (_, false) => format!("{again}, which DIFFERS: {}", found.reason),
    };
    put("again", again);
    for feedback in &found.feedback {
        put("feedback", feedback_line(feedback));
    }
    for ErasedFeedback { events, order } in &found.erased {
        let noun = if *events == 1 { "event" } else { "events" };
        put(
            "erased",
            format!("{events} {noun} about it, by the retraction at position {order}"),
        );
    }
    for line in learned_before(found) {
        put("had learned", line);
    }
    if let Some(retention) = found.retention {
        let share = print::shown(Some(retention));
        put("retention", format!("{share} of the retention set"));
    }
    if let Some(source) = without {
        let text = match &found.without {
            Some(output) => format!(
                "{source:?}, {} events less: {}",
                found.left_out,
                output_text(Some(output))
            ),
            None => format!("{source:?}: not computed: {}", found.without_reason),
        };
        put("without", text);
    }
    lines
}

/// A feedback event about the row, with its fate.
pub(super) fn feedback_line(feedback: &AuditedFeedback) -> String {
    let AuditedFeedback {
        position,
        source,
        signal,
        weight,
        comment,
        ..
    } = feedback;
    let weight = match *weight {
        1.0 => String::new(),
        weight => format!(", weight {weight}"),
    };
    let comment = match comment.as_str() {
        "" => String::new(),
        comment => format!(", {comment:?}"),
    };
    let fate = match feedback.fate.as_str() {
        "" => String::new(),
        fate => format!(", {fate}"),
    };
    let retracted = if feedback.retracted {
        ", retracted since"
    } else {
        ""
    };
    format!("{signal} from {source:?} at {position}{weight}{fate}{retracted}{comment}")
}

/// The examples that the answering state had learned, by source.
fn learned_before(found: &AuditResponse) -> Vec<String> {
    let sources = sorted(&found.sources).into_iter();
    let mut lines: Vec<String> = sources
        .map(|(source, n)| format!("{n} examples of source {source:?}"))
        .collect();
    if found.sources_from > 1 {
        lines.push(format!(
            "examples before position {}, learned by an older program that did not count them",
            found.sources_from
        ));
    }
    lines
}

fn output_text(output: Option<&Output>) -> String {
    let Some(output) = output else {
        return "nothing".to_owned();
    };
    let named = output.names.iter().zip(&output.values);
    let values: Vec<String> = named
        .map(|(name, value)| format!("{name} {value:.4}"))
        .collect();
    let mut text = output.answer.clone();
    if let Some(propensity) = output.propensity {
        text += &format!(" with propensity {propensity:.4}");
    }
    if values.is_empty() {
        text
    } else {
        format!("{text} ({})", values.join(", "))
    }
}

fn object(found: &AuditResponse, without: bool) -> Value {
    let text: Map<String, Value> = found
        .inputs
        .iter()
        .map(|input| (input.name.clone(), json!(input.value)))
        .collect();
    let feedback = found.feedback.iter().map(feedback_object);
    let erased = found.erased.iter();
    let erased = erased.map(|one| json!({ "events": one.events, "order": one.order }));
    let mut object = json!({
        "model": found.model,
        "entry": found.entry,
        "row": found.row,
        "time": found.time.map(|time| time.to_string()),
        "version": found.version,
        "position": found.position,
        "build": found.build,
        "profile": found.profile,
        "inputs": text,
        "answer": output(found.answer.as_ref()),
        "again": output(found.again.as_ref()),
        "bit_equal": found.bit_equal,
        "reason": found.reason,
        "feedback": feedback.collect::<Vec<_>>(),
        "erased": erased.collect::<Vec<_>>(),
        "sources": sorted(&found.sources).into_iter().collect::<Map<_, _>>(),
        "sources_from": found.sources_from,
        "retention": print::json(found.retention),
    });
    if without {
        object["without"] = output(found.without.as_ref());
        object["left_out"] = json!(found.left_out);
        object["without_reason"] = json!(found.without_reason);
    }
    object
}

pub(super) fn feedback_object(event: &AuditedFeedback) -> Value {
    json!({
        "position": event.position,
        "time": event.time.map(|time| time.to_string()),
        "source": event.source,
        "feedback_id": event.feedback_id,
        "signal": event.signal,
        "retracted": event.retracted,
        "fate": event.fate,
        "weight": event.weight,
        "comment": event.comment,
    })
}

fn output(output: Option<&Output>) -> Value {
    output.map_or(Value::Null, |output| {
        json!({
            "answer": output.answer,
            "propensity": output.propensity,
            "names": output.names,
            "values": output.values,
            "value": output.value,
        })
    })
}
