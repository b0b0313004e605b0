//! `perennial retrain`: has a learner begin anew from the journal, beside live traffic.
//!
//! Invariant: the version is printed once it serves; a caller that stops waiting gives it up.

use perennial::proto::perennial::v1::{Evidence, RetrainRequest, Retrained};
use serde_json::json;

use crate::cli::client::{self, Client, refusal};
use crate::cli::output::print;

/// The model, the first entry, and the reason.
#[derive(clap::Args)]
#[command(
    after_help = "Example: perennial retrain fraud --newest 20000 --note \"new card scheme\""
)]
pub(crate) struct Args {
    /// The model's name
    model: String,
    /// Learn from the newest N labelled rows; from all that the journal retains if absent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    newest: Option<u64>,
    /// Take its state whatever the evidence
    #[arg(long)]
    force: bool,
    /// The reason, kept in the journal
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    #[command(flatten)]
    client: client::Args,
}

/// Has a learner begin anew.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut client = Client::connect(&args.client).await?;
    eprintln!("a learner begins anew beside the served one; stop this command to give it up");
    let request = RetrainRequest {
        model: args.model,
        newest: args.newest.unwrap_or_default(),
        force: args.force,
        note: args.note,
    };
    let done = client.registry.retrain(request).await;
    let done = done.map_err(refusal)?.into_inner();
    if args.client.json {
        return print::line(object(&done));
    }
    let Retrained {
        version,
        position,
        from,
        examples,
        ..
    } = done;
    print::line(format_args!(
        "retrained: version {version} at position {position} has learned {examples} examples from \
         position {from} on{}",
        done.evidence.as_ref().map_or(String::new(), shown)
    ))
}

/// The comparison of its answers with those that were served.
fn shown(evidence: &Evidence) -> String {
    format!(
        "; beside what was served its mean loss is {:+.4} over {} labels",
        evidence.difference, evidence.labels
    )
}

fn object(done: &Retrained) -> serde_json::Value {
    let evidence = done.evidence.as_ref().map(|evidence| {
        json!({
            "labels": evidence.labels,
            "wealth": evidence.wealth,
            "needed": evidence.needed,
            "difference": evidence.difference,
        })
    });
    json!({
        "version": done.version,
        "position": done.position,
        "from": done.from,
        "examples": done.examples,
        "evidence": evidence,
    })
}
