//! `perennial watch`: the state of the models, and then learning events as they happen.
//!
//! Invariant: an event a line, in the order in which the server published them; ctrl-c ends it well.

use anyhow::Context;
use perennial::proto::perennial::v1::{StatusRequest, WatchRequest};
use tokio::signal::unix::{SignalKind, signal};

use super::status;
use crate::cli::client::{self, Client, refusal};
use crate::cli::output::{learning_event, print};

/// The model, or every model.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  perennial watch
  perennial watch fraud --from 5120 --json")]
pub(crate) struct Args {
    /// The model's name; every model if absent
    model: Option<String>,
    /// Begin with the events of this position of the journal and later that the server still keeps
    #[arg(long, value_name = "POSITION", requires = "model")]
    from: Option<u64>,
    #[command(flatten)]
    client: client::Args,
}

/// Prints the status, and then events until ctrl-c, or until the server ends the watch.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut interrupts = signal(SignalKind::interrupt()).context("listen for ctrl-c")?;
    let mut client = Client::connect(&args.client).await?;
    let model = args.model.unwrap_or_default();
    let request = WatchRequest {
        model: model.clone(),
        from_position: args.from.unwrap_or(0),
    };
    let watched = client.registry.watch(request).await;
    let mut events = watched.map_err(refusal)?.into_inner();
    if !args.client.json {
        let request = StatusRequest {
            model: model.clone(),
            digest: false,
        };
        let found = client.registry.status(request).await.map_err(refusal)?;
        let models = found.into_inner().models;
        let mut lines = models.iter().flat_map(status::block);
        lines.try_for_each(print::line)?;
    }
    let of = match model.as_str() {
        "" => "every model",
        model => model,
    };
    print::note(format_args!("watching {of}; ctrl-c ends it"));
    loop {
        let event = tokio::select! {
            event = events.message() => event.map_err(refusal)?,
            _ = interrupts.recv() => return Ok(()),
        };
        match event {
            Some(event) if args.client.json => print::line(learning_event::object(&event))?,
            Some(event) => print::line(learning_event::line(&event))?,
            None => return Ok(()),
        }
    }
}
