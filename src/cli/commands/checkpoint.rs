//! `perennial checkpoint`: makes a version of a running model.
//!
//! Invariant: the number of the version is printed once it is on disk.

use perennial::proto::perennial::v1::CheckpointRequest;

use super::versions::print_made;
use crate::cli::client::{self, Client, refusal};

/// The model, and the reason for the version.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial checkpoint fraud --note \"before the holidays\"")]
pub(crate) struct Args {
    /// The model's name
    model: String,
    /// The reason, shown in the list of versions
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    #[command(flatten)]
    client: client::Args,
}

/// Makes a version of the current state.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut client = Client::connect(&args.client).await?;
    let request = CheckpointRequest {
        model: args.model,
        note: args.note,
    };
    let made = client.registry.checkpoint(request).await;
    let made = made.map_err(refusal)?.into_inner();
    print_made("made", &made, args.client.json)
}
