//! `perennial quarantine`: the feedback that waits for a person, who releases or discards it.
//!
//! Invariant: an event a line, the oldest first; nothing is decided without a choice of events.

use anyhow::ensure;
use perennial::proto::perennial::v1::{ListQuarantineRequest, QuarantinedFeedback, ReviewRequest};
use prost_types::Timestamp;
use serde_json::Value;

use super::audit::{feedback_line, feedback_object};
use super::promote::print_done;
use crate::cli::client::{self, Client, moment, refusal};
use crate::cli::output::print;

/// The model, the events, and the decision on them.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  perennial quarantine fraud
  perennial quarantine fraud --release --feedback-id order-7 --note \"checked by phone\"
  perennial quarantine fraud --discard --source team-7")]
#[command(group(clap::ArgGroup::new("choice").multiple(true)))]
#[command(group(clap::ArgGroup::new("decision")))]
pub(crate) struct Args {
    /// The model's name
    model: String,
    /// Learn the events, as if they came now
    #[arg(long, group = "decision", requires = "choice")]
    release: bool,
    /// Never learn the events
    #[arg(long, group = "decision", requires = "choice")]
    discard: bool,
    /// All that wait of this source
    #[arg(long, group = "choice", requires = "decision", conflicts_with_all = ["feedback_id", "since", "until"])]
    source: Option<String>,
    /// The event with this feedback id
    #[arg(long, value_name = "ID", group = "choice", requires = "decision", conflicts_with_all = ["since", "until"])]
    feedback_id: Option<String>,
    /// All that wait and were accepted from this moment on, as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", group = "choice", requires = "decision", value_parser = moment)]
    since: Option<Timestamp>,
    /// All that wait and were accepted up to and including this moment
    #[arg(long, value_name = "TIME", group = "choice", requires = "decision", value_parser = moment)]
    until: Option<Timestamp>,
    /// The reason, kept in the journal
    #[arg(long, value_name = "TEXT", default_value = "", requires = "decision")]
    note: String,
    #[command(flatten)]
    client: client::Args,
}

/// Lists the events that wait, or decides on them.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut client = Client::connect(&args.client).await?;
    if !args.release && !args.discard {
        let request = ListQuarantineRequest { model: args.model };
        let found = client.registry.list_quarantine(request).await;
        for one in found.map_err(refusal)?.into_inner().feedback {
            if args.client.json {
                print::line(object(&one))?;
            } else {
                print::line(line(&one))?;
            }
        }
        return Ok(());
    }
    let request = ReviewRequest {
        model: args.model,
        source: args.source,
        feedback_id: args.feedback_id,
        since: args.since,
        until: args.until,
        note: args.note,
    };
    let (did, done) = if args.release {
        ("released", client.registry.release(request).await)
    } else {
        ("discarded", client.registry.discard(request).await)
    };
    let done = done.map_err(refusal)?.into_inner();
    ensure!(done.position > 0, "the server named no position");
    print_done(did, &done, args.client.json)
}

fn line(one: &QuarantinedFeedback) -> String {
    let event = one.feedback.clone().unwrap_or_default();
    let about = match one.prediction_id.as_str() {
        "" => "the inputs that it brought",
        id => id,
    };
    let (cause, id) = (&one.cause, &event.feedback_id);
    let time = event.time.map_or_else(String::new, |time| time.to_string());
    format!(
        "{cause} {id:?} {}, about {about}, {time}",
        feedback_line(&event)
    )
}

fn object(one: &QuarantinedFeedback) -> Value {
    let mut object = feedback_object(&one.feedback.clone().unwrap_or_default());
    object["cause"] = one.cause.clone().into();
    object["prediction_id"] = one.prediction_id.clone().into();
    object
}

#[cfg(test)]
mod tests {
    use perennial::proto::perennial::v1::AuditedFeedback;

    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_its_texts_hold() {
        let one = QuarantinedFeedback {
            cause: "flood".to_owned(),
            feedback: Some(AuditedFeedback {
                position: 90,
                source: "ev\u{1b}[2J".to_owned(),
                feedback_id: "a\nb".to_owned(),
                signal: "label yes".to_owned(),
                fate: "quarantined".to_owned(),
                weight: 2.0,
                comment: "c\nd".to_owned(),
                ..AuditedFeedback::default()
            }),
            prediction_id: String::new(),
        };
        let expected = "flood \"a\\nb\" label yes from \"ev\\u{1b}[2J\" at 90, weight 2, quarantined, \
                        \"c\\nd\", about the inputs that it brought, ";
        assert_eq!(line(&one), expected);
        assert_eq!(object(&one)["cause"], "flood");
    }
}
