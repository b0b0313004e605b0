//! `perennial incidents`: the incidents of a model; a person acknowledges or closes one.
//!
//! Invariant: an incident a line, the oldest first.

use perennial::proto::perennial::v1::{Incident, ListIncidentsRequest, UpdateIncidentRequest};
use serde_json::{Value, json};

use super::promote::print_done;
use crate::cli::client::{self, Client, refusal};
use crate::cli::output::print;

/// The model, and what to do with an incident.
#[derive(clap::Args)]
#[command(
    after_help = "Example: perennial incidents fraud --close 5120 --note \"retracted team-7\""
)]
pub(crate) struct Args {
    /// The model's name
    model: String,
    /// Acknowledge this incident
    #[arg(long, value_name = "INCIDENT", conflicts_with = "close")]
    acknowledge: Option<u64>,
    /// Close this incident
    #[arg(long, value_name = "INCIDENT")]
    close: Option<u64>,
    /// A remark that is kept with the incident: its cause, or its remedy
    #[arg(long, value_name = "TEXT", default_value = "")]
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
    let evidence = incident.evidence.unwrap_or_default();
    let suspects = incident.suspects.iter();
    let suspects = suspects.map(|one| format!("{:?} {:.0} %", one.source, 100.0 * one.share));
    let suspects: Vec<String> = suspects.collect();
    let mut line = format!(
        "{} {} {}: worse than version {} by {:.4} over {} labels, learned since position {}; \
         its labels contradict {}",
        incident.incident,
        incident.kind,
        incident.state,
        incident.version,
        evidence.difference,
        evidence.labels,
        incident.since,
        match suspects.len() {
            0 => "none".to_owned(),
            _ => suspects.join(", "),
        },
    );
    if !incident.note.is_empty() {
        line += &format!("; {}: {}", incident.actor, incident.note);
    }
    line
}

fn object(incident: &Incident) -> Value {
    let evidence = incident.evidence.unwrap_or_default();
    let suspects = incident.suspects.iter();
    let suspects = suspects.map(|one| json!({ "source": one.source, "share": one.share }));
    json!({
        "incident": incident.incident,
        "kind": incident.kind,
        "state": incident.state,
        "version": incident.version,
        "since": incident.since,
        "labels": evidence.labels,
        "wealth": evidence.wealth,
        "needed": evidence.needed,
        "difference": evidence.difference,
        "suspects": suspects.collect::<Vec<_>>(),
        "actor": incident.actor,
        "note": incident.note,
    })
}
