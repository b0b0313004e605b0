//! `perennial alias`: names of versions.
//!
//! Invariant: the position of the order is printed once it is carried out.

use anyhow::bail;
use perennial::proto::perennial::v1::{SetAliasRequest, StatusRequest};
use serde_json::{Map, Value, json};

use super::promote::print_done;
use super::status::sorted;
use super::versions::number;
use crate::cli::client::{self, Client, refusal};
use crate::cli::output::print;

/// The name, and the version that has it from now on.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  perennial alias fraud prod 7 --note \"looked at by the risk team\"
  perennial alias fraud
  perennial alias fraud prod --remove")]
pub(crate) struct Args {
    /// The model's name
    model: String,
    /// The alias: a name to ask for as model_version; without one, list those that are set
    alias: Option<String>,
    /// The version that it names from now on
    #[arg(value_parser = number)]
    version: Option<u64>,
    /// Remove the alias
    #[arg(long, requires = "alias", conflicts_with = "version")]
    remove: bool,
    /// The reason, kept in the journal
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    #[command(flatten)]
    client: client::Args,
}

/// Sets, moves, removes or lists aliases.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut client = Client::connect(&args.client).await?;
    let Some(alias) = args.alias else {
        return list(&mut client, args.model, args.client.json).await;
    };
    let version = match (args.version, args.remove) {
        (Some(0), _) => bail!("version 0: versions are numbered from 1"),
        (Some(version), _) => version,
        (None, true) => 0,
        (None, false) => bail!("name the version that {alias:?} is to be given to, or --remove"),
    };
    let request = SetAliasRequest {
        model: args.model,
        alias: alias.clone(),
        version,
        note: args.note,
    };
    let done = client.registry.set_alias(request).await;
    let done = done.map_err(refusal)?.into_inner();
    let did = match version {
        0 => format!("removed {alias}"),
        version => format!("named version {version} {alias}"),
    };
    print_done(&did, &done, args.client.json)
}

async fn list(client: &mut Client, model: String, json: bool) -> anyhow::Result<()> {
    let digest = false;
    let reply = client
        .registry
        .status(StatusRequest { model, digest })
        .await;
    let statuses = reply.map_err(refusal)?.into_inner().models;
    for status in statuses {
        let aliases = sorted(&status.aliases);
        if json {
            let aliases: Map<String, Value> = aliases.into_iter().collect();
            print::line(json!({"model": status.model, "aliases": aliases}))?;
            continue;
        }
        for (alias, version) in aliases {
            print::line(format_args!("{alias:<20} {version}"))?;
        }
    }
    Ok(())
}
