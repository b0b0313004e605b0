//! `perennial fate`: shows the fate of a feedback event.
//!
//! Invariant: nothing is changed.

use std::path::PathBuf;

use anyhow::anyhow;
use perennial::engine::Offline;
use perennial::proto::perennial::v1::{FateRequest, FateResponse};
use perennial::server::fate_message;

use super::audit::{feedback_line, feedback_object};
use crate::cli::client::{self, Client, refusal};
use crate::cli::output::print;

/// The event, on a server or in a data directory.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  perennial fate payments order-7
  perennial fate payments order-7 --data data

The fate is that of when it came: applied (learned), pending (it waits for others), unmatched (no
prediction or place of its name), duplicate, superseded, expired, late, held_out (the model was
frozen), throttled (its source had spent its budget) or quarantined (it contradicts another source,
lies far from usual values, is part of a flood, or its update was not finite).")]
pub(crate) struct Args {
    /// The model's name
    model: String,
    /// The id under which the event was sent
    feedback_id: String,
    /// Read this data directory instead of a server; no server may have it open
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    client: client::Args,
}

/// Finds the event, and prints its fate.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let (model, feedback_id) = (&args.model, &args.feedback_id);
    let found = match &args.data {
        Some(data) => {
            let found = Offline::open(data, model)?.fate(feedback_id)?;
            let refusal = || anyhow!("the journal of {model:?} holds no feedback {feedback_id:?}");
            fate_message(found.ok_or_else(refusal)?)
        }
        None => {
            let mut client = Client::connect(&args.client).await?;
            let request = FateRequest {
                model: model.clone(),
                feedback_id: feedback_id.clone(),
            };
            let found = client.registry.fate(request).await;
            found.map_err(refusal)?.into_inner()
        }
    };
    let FateResponse {
        feedback,
        prediction_id,
        resent,
    } = found;
    let event = feedback.unwrap_or_default();
    if args.client.json {
        let mut object = feedback_object(&event);
        object["prediction_id"] = prediction_id.into();
        object["resent"] = resent.into();
        return print::line(object);
    }
    print::line(format_args!("feedback     {}", feedback_line(&event)))?;
    let time = event.time.map_or_else(String::new, |time| time.to_string());
    print::line(format_args!("accepted     {time}"))?;
    let about = match prediction_id.as_str() {
        "" => "the inputs that it brought",
        id => id,
    };
    print::line(format_args!("about        {about}"))?;
    if resent > 0 {
        let times = print::counted(resent, "time");
        print::line(format_args!("sent again   {times}, learned once"))?;
    }
    Ok(())
}
