//! `perennial promote`, `freeze` and `resume`: decisions of a person about the weights of a model.
//!
//! Invariant: the position of the order is printed once it is carried out.

use perennial::proto::perennial::v1::{FreezeRequest, OrderDone, PromoteRequest, ResumeRequest};
use serde_json::json;

use super::versions::{number, print_made};
use crate::cli::client::{self, Client, refusal};
use crate::cli::output::print;

/// The contender, and the reason.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial promote fraud --note \"looked at by the risk team\"")]
pub(crate) struct Args {
    /// The model's name
    model: String,
    /// The version of the contender, as status shows it; whichever it is if absent
    #[arg(value_parser = number)]
    version: Option<u64>,
    /// The reason, kept in the journal
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    #[command(flatten)]
    client: client::Args,
}

/// The model, and the reason.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial freeze fraud --note \"labels are under review\"")]
pub(crate) struct FreezeArgs {
    /// The model's name
    model: String,
    /// The reason, kept in the journal
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    #[command(flatten)]
    client: client::Args,
}

/// The model, and the reason.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial resume fraud")]
pub(crate) struct ResumeArgs {
    /// The model's name
    model: String,
    /// The reason, kept in the journal
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    #[command(flatten)]
    client: client::Args,
}

/// Promotes the contender.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut client = Client::connect(&args.client).await?;
    let request = PromoteRequest {
        model: args.model,
        version: args.version.unwrap_or_default(),
        note: args.note,
    };
    let made = client.registry.promote(request).await;
    let made = made.map_err(refusal)?.into_inner();
    print_made("promoted", &made, args.client.json)
}

/// Stops learning.
pub(crate) async fn freeze(args: FreezeArgs) -> anyhow::Result<()> {
    let mut client = Client::connect(&args.client).await?;
    let request = FreezeRequest {
        model: args.model,
        note: args.note,
    };
    let done = client.registry.freeze(request).await;
    print_done(
        "frozen",
        &done.map_err(refusal)?.into_inner(),
        args.client.json,
    )
}

/// Learns again.
pub(crate) async fn resume(args: ResumeArgs) -> anyhow::Result<()> {
    let mut client = Client::connect(&args.client).await?;
    let request = ResumeRequest {
        model: args.model,
        note: args.note,
    };
    let done = client.registry.resume(request).await;
    print_done(
        "resumed",
        &done.map_err(refusal)?.into_inner(),
        args.client.json,
    )
}

/// Prints an order that was carried out.
pub(super) fn print_done(did: &str, done: &OrderDone, json: bool) -> anyhow::Result<()> {
    if json {
        print::line(json!({ "position": done.position }))
    } else {
        print::line(format_args!("{did} at position {}", done.position))
    }
}
