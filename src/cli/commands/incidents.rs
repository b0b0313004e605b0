//! `perennial incidents`: the incidents of a model; a person acknowledges or closes one.
//!
//! Invariant: an incident a line, the oldest first.

use perennial::proto::perennial::v1::{Incident, ListIncidentsRequest, UpdateIncidentRequest};
use serde_json::{Value, json};

use super::promote::print_done;
use crate::cli::client::{self, Client, refusal};
use crate::cli::output::{learning_event, print};

/// The model, and the decision on an incident.
#[derive(clap::Args)]
#[command(
    after_help = "Example: perennial incidents fraud --close 5120 --note \"retracted team-7\""
)]
pub(crate) struct Args {
    /// The model's name
    model: String,
    /// Acknowledge this incident
    #[arg(
        long,
        value_name = "INCIDENT",
        conflicts_with = "close",
        group = "changed"
    )]
    acknowledge: Option<u64>,
    /// Close this incident
    #[arg(long, value_name = "INCIDENT", group = "changed")]
    close: Option<u64>,
    /// A remark that is kept with the incident: its cause, or its remedy
    #[arg(long, value_name = "TEXT", default_value = "", requires = "changed")]
    note: String,
    #[command(flatten)]
    client: client::Args,
}

/// Lists incidents, or moves one on.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut client = Client::connect(&args.client).await?;
    let (state, incident) = match (args.acknowledge, args.close) {
        (Some(incident), _) => ("acknowledged", incident),
        (None, Some(incident)) => ("closed", incident),
        (None, None) => {
            let request = ListIncidentsRequest { model: args.model };
            let found = client.registry.list_incidents(request).await;
            for incident in found.map_err(refusal)?.into_inner().incidents {
                if args.client.json {
                    print::line(object(&incident))?;
                } else {
                    print::line(line(&incident))?;
                }
            }
            return Ok(());
        }
    };
    let request = UpdateIncidentRequest {
        model: args.model,
        incident,
        state: state.to_owned(),
        note: args.note,
    };
    let done = client.registry.update_incident(request).await;
    print_done(
        state,
        &done.map_err(refusal)?.into_inner(),
        args.client.json,
    )
}

fn line(incident: &Incident) -> String {
    let Incident {
        incident: number,
        kind,
        version,
        since,
        state,
        actor,
        note,
        ..
    } = incident;
    let evidence = incident.evidence.unwrap_or_default();
    let what = match kind.as_str() {
        "void" => format!(
            "the approval at position {number} was of weights that have changed since; {} served from \
             there on",
            champion(*version, *since)
        ),
        "errors" | "slice" => format!(
            "{} err more, by {:.4} over the newest {} labels{}",
            answers(&incident.about),
            evidence.difference,
            evidence.labels,
            contradictions(incident)
        ),
        "constant" => format!(
            "the candidate gives every row the same answer, {} does not; learned since position {since}",
            champion(*version, *since)
        ),
        "exploding" => format!(
            "the weights of the candidate are many times as large as those of {}; learned since \
             position {since}",
            champion(*version, *since)
        ),
        "silent" => "no feedback came for as long as monitor.silence_after allows".to_owned(),
        "stale" => "nothing was learned for as long as monitor.stale_after allows".to_owned(),
        _ => format!(
            "worse than {} by {:.4} over {} labels, learned since position {since}{}",
            champion(*version, *since),
            evidence.difference,
            evidence.labels,
            contradictions(incident)
        ),
    };
    let mut line = format!("{number} {kind} {state}: {what}");
    if state != "closed" && !incident.remedy.is_empty() {
        line += &format!("; {}", incident.remedy.escape_debug());
    }
    if !note.is_empty() {
        let (actor, note) = (actor.escape_debug(), note.escape_debug());
        line += &format!("; {actor}: {note}");
    }
    line
}

/// A champion, which is no version where an order has brought another history since.
fn champion(version: u64, since: u64) -> String {
    match version {
        0 => format!("the champion of position {since}"),
        _ => format!("version {version}"),
    }
}

/// The answers whose errors rose: all, or those to the rows of a slice.
fn answers(about: &str) -> String {
    match about {
        "" => "served answers".to_owned(),
        slice => format!("served answers to {}", slice.escape_debug()),
    }
}

/// The sources whose labels contradicted the champion, or the served answers.
fn contradictions(incident: &Incident) -> String {
    let suspects = incident.suspects.iter().map(|one| {
        format!(
            "{:?} {:.2} a label, {:.0} % of the loss, {} labels",
            one.source,
            one.loss,
            100.0 * one.share,
            one.labels
        )
    });
    let suspects: Vec<String> = suspects.collect();
    match suspects.len() {
        0 => String::new(),
        _ => format!(
            "; labels that contradicted {}: {}",
            match incident.kind.as_str() {
                "errors" | "slice" => "what was served",
                _ => "the champion",
            },
            suspects.join("; ")
        ),
    }
}

fn object(incident: &Incident) -> Value {
    let evidence = incident.evidence.unwrap_or_default();
    json!({
        "incident": incident.incident,
        "kind": incident.kind,
        "about": incident.about,
        "state": incident.state,
        "version": incident.version,
        "since": incident.since,
        "labels": evidence.labels,
        "wealth": evidence.wealth,
        "needed": evidence.needed,
        "difference": evidence.difference,
        "suspects": learning_event::suspects(incident),
        "remedy": incident.remedy,
        "actor": incident.actor,
        "note": incident.note,
    })
}

#[cfg(test)]
mod tests {
    use perennial::proto::perennial::v1::{Evidence, Suspect};

    use super::*;

    #[test]
    fn an_incident_is_one_line_whatever_its_texts_hold() {
        let incident = Incident {
            incident: 90,
            kind: "worse".to_owned(),
            version: 4,
            since: 30,
            evidence: Some(Evidence {
                labels: 50,
                difference: 0.25,
                ..Evidence::default()
            }),
            suspects: vec![Suspect {
                source: "ev\u{1b}[2J".to_owned(),
                share: 0.75,
                labels: 20,
                loss: 0.5,
            }],
            state: "closed".to_owned(),
            actor: "ann".to_owned(),
            note: "one\ntwo\u{7}".to_owned(),
            about: String::new(),
            remedy: "`perennial restore m 4` puts the champion in its place".to_owned(),
        };
        let open = Incident {
            state: "open".to_owned(),
            ..incident.clone()
        };
        let remedied =
            "20 labels; `perennial restore m 4` puts the champion in its place; ann: one";
        assert!(line(&open).contains(remedied), "{}", line(&open));
        let expected = "90 worse closed: worse than version 4 by 0.2500 over 50 labels, learned since \
                        position 30; labels that contradicted the champion: \"ev\\u{1b}[2J\" 0.50 a \
                        label, 75 % of the loss, 20 labels; ann: one\\ntwo\\u{7}";
        assert_eq!(line(&incident), expected);
        let slice = Incident {
            kind: "slice".to_owned(),
            about: "source:ev\n".to_owned(),
            note: String::new(),
            ..incident.clone()
        };
        let expected = "90 slice closed: served answers to source:ev\\n err more, by 0.2500 over the newest \
                        50 labels; labels that contradicted what was served: \"ev\\u{1b}[2J\" 0.50 a \
                        label, 75 % of the loss, 20 labels";
        assert_eq!(line(&slice), expected);
        let void = Incident {
            kind: "void".to_owned(),
            version: 0,
            note: String::new(),
            ..incident
        };
        let expected = "90 void closed: the approval at position 90 was of weights that have changed \
                        since; the champion of position 30 served from there on";
        assert_eq!(line(&void), expected);
    }
}
