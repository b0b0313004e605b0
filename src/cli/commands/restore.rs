//! `perennial restore`: restores a version, through a server or in a data directory.
//!
//! Invariant: the change is announced before it is made, and the new version is printed after.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use perennial::engine::{FROZEN_ALREADY, Offline};
use perennial::event::{Command, Order};
use perennial::proto::perennial::v1::{
    FreezeRequest, GetVersionRequest, RestoreRequest, ResumeRequest, Version, VersionMade,
};

use super::versions::{number, offline_version, print_made};
use crate::cli::client::{self, Client, refusal};
use crate::cli::output::print;

/// The version to restore, and the reason.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial restore fraud 3 --note \"bad labels since Friday\"")]
pub(crate) struct Args {
    /// The model's name
    model: String,
    /// The number of the version to restore
    #[arg(value_parser = number)]
    version: u64,
    /// Check that the version can be restored, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Learn nothing more from there on, until the model is resumed: it is frozen just before
    #[arg(long, conflicts_with_all = ["dry_run", "data"])]
    freeze: bool,
    /// Change this data directory instead of a server; no server may have it open
    #[arg(long)]
    data: Option<PathBuf>,
    /// The reason, shown in the list of versions
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    #[command(flatten)]
    client: client::Args,
}

/// Restores a version in a data directory.
fn restore_offline(args: &Args, data: &Path) -> anyhow::Result<VersionMade> {
    let found = offline_version(data, &args.model, args.version)?;
    announce(args, &found)?;
    let made = if args.dry_run {
        (found.version, found.position)
    } else {
        let order = Order::Restore {
            version: args.version,
        };
        let command = Command {
            order,
            actor: print::user(),
            note: args.note.clone(),
        };
        let made = Offline::order(data, &args.model, command)?;
        (made.version, made.position)
    };
    Ok(VersionMade {
        version: made.0,
        position: made.1,
    })
}

/// Announces the change, if the version can be restored.
fn announce(args: &Args, found: &Version) -> anyhow::Result<()> {
    ensure!(
        found.damage.is_empty(),
        "version {}: {}",
        args.version,
        found.damage
    );
    if !args.dry_run {
        print::note(format_args!(
            "{} returns to version {}; the versions since are kept",
            args.model, args.version
        ));
    }
    Ok(())
}

/// Freezes the model before the restore; true if it was not frozen.
async fn freeze(client: &mut Client, args: &Args) -> anyhow::Result<bool> {
    let request = FreezeRequest {
        model: args.model.clone(),
        note: args.note.clone(),
    };
    match client.registry.freeze(request).await {
        Ok(_) => Ok(true),
        Err(refused) if refused.message().contains(FROZEN_ALREADY) => Ok(false),
        Err(refused) => Err(refusal(refused)),
    }
}

/// Learns again, where the restore was refused.
async fn resume(client: &mut Client, model: String) -> anyhow::Result<()> {
    let request = ResumeRequest {
        model,
        note: "the restore was refused".to_owned(),
    };
    client.registry.resume(request).await.map_err(refusal)?;
    Ok(())
}

/// Restores a version, and prints the new one.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let made = match &args.data {
        Some(data) => restore_offline(&args, data)?,
        None => {
            let mut client = Client::connect(&args.client).await?;
            let request = GetVersionRequest {
                model: args.model.clone(),
                version: args.version,
            };
            let found = client.registry.get_version(request).await;
            announce(&args, &found.map_err(refusal)?.into_inner())?;
            let has_frozen = args.freeze && freeze(&mut client, &args).await?;
            let request = RestoreRequest {
                model: args.model.clone(),
                version: args.version,
                note: args.note,
                dry_run: args.dry_run,
            };
            let made = client.registry.restore(request).await;
            if made.is_err() && has_frozen {
                resume(&mut client, args.model).await?;
            }
            made.map_err(refusal)?.into_inner()
        }
    };
    let did = if args.dry_run {
        "would restore"
    } else {
        "made"
    };
    print_made(did, &made, args.client.json)
}
