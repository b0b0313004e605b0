//! `perennial limits`: the bounds of a journal, shown or changed while its model runs.
//!
//! Invariant: the loss of retractable feedback is printed before the limits change.

use perennial::proto::perennial::v1::{Limits, SetLimitsRequest};
use serde_json::{Value, json};

use crate::cli::client::{self, Client, refusal};
use crate::cli::output::print;

/// The model, and its new bounds.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  perennial limits fraud
  perennial limits fraud --bytes-max 40GiB
  perennial limits fraud --retract-within 1d --dry-run")]
pub(crate) struct Args {
    /// The model's name
    model: String,
    /// The largest size of the journal, in place of journal.bytes_max in model.toml
    #[arg(long, value_name = "SIZE")]
    bytes_max: Option<String>,
    /// The time for which feedback can be retracted, in place of journal.retract_within
    #[arg(long, value_name = "TIME")]
    retract_within: Option<String>,
    /// Print the effect, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    client: client::Args,
}

/// Announces the loss, if any, and changes the bounds.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut client = Client::connect(&args.client).await?;
    let changes = args.bytes_max.is_some() || args.retract_within.is_some();
    let request = SetLimitsRequest {
        model: args.model,
        bytes_max: args.bytes_max,
        retract_within: args.retract_within,
        dry_run: true,
    };
    let planned = client.registry.set_limits(request.clone()).await;
    let planned = planned.map_err(refusal)?.into_inner();
    if let Some(lost_before) = &planned.lost_before {
        print::note(format_args!(
            "feedback accepted before {lost_before} can no longer be retracted then"
        ));
    }
    if args.dry_run || !changes {
        return show(&planned, args.client.json);
    }
    let request = SetLimitsRequest {
        dry_run: false,
        ..request
    };
    let changed = client.registry.set_limits(request).await;
    show(&changed.map_err(refusal)?.into_inner(), args.client.json)
}

fn show(limits: &Limits, json: bool) -> anyhow::Result<()> {
    if json {
        return print::line(object(limits));
    }
    let put = |name: &str, text: String| print::line(format_args!("{name:<15} {text}"));
    let Limits {
        bytes_max,
        journal_bytes,
        retract_within_s,
        held_since,
        ..
    } = limits;
    put(
        "bytes_max",
        format!("{bytes_max} bytes, of which {journal_bytes} are taken"),
    )?;
    let since = held_since.map_or_else(String::new, |time| time.to_string());
    put(
        "retract_within",
        format!("{retract_within_s} s; the oldest entry is of {since}"),
    )?;
    match limits.position {
        0 => Ok(()),
        position => put("in force", format!("from position {position} on")),
    }
}

fn object(limits: &Limits) -> Value {
    json!({
        "model": limits.model,
        "bytes_max": limits.bytes_max,
        "journal_bytes": limits.journal_bytes,
        "retract_within_s": limits.retract_within_s,
        "held_since": limits.held_since.map(|time| time.to_string()),
        "lost_before": limits.lost_before.map(|time| time.to_string()),
        "position": limits.position,
    })
}
