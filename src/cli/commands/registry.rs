//! `perennial versions`, `show`, `checkpoint` and `restore`: what models have become.
//!
//! Invariant: a command that changes what is served says so before, and names the version after.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use perennial::engine::{Error, Offline};
use perennial::event::{Command, Order};
use perennial::proto::perennial::v1::{
    CheckpointRequest, GetVersionRequest, ListVersionsRequest, RestoreRequest, Version, VersionMade,
};
use perennial::server::version_message;
use serde_json::{Map, Value, json};

use super::status::sorted;
use crate::cli::client::{self, Client, refusal};
use crate::cli::output::print;

/// Whose versions to list.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial versions fraud")]
pub struct VersionsArgs {
    /// The model's name
    model: String,
    /// Read this data directory instead of asking a server; no server may have it open
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    client: client::Args,
}

/// Which version to show.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial show fraud 3")]
pub struct ShowArgs {
    /// The model's name
    model: String,
    /// The version's number
    version: u64,
    /// Read this data directory instead of asking a server; no server may have it open
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    client: client::Args,
}

/// Of what to make a version, and why.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial checkpoint fraud --note \"before the holidays\"")]
pub struct CheckpointArgs {
    /// The model's name
    model: String,
    /// Why, for whoever reads the list of versions
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    #[command(flatten)]
    client: client::Args,
}

/// What to bring back, and why.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial restore fraud 3 --note \"bad labels since Friday\"")]
pub struct RestoreArgs {
    /// The model's name
    model: String,
    /// The number of the version to bring back
    version: u64,
    /// Check that it could be restored, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Change this data directory instead of asking a server; no server may have it open
    #[arg(long)]
    data: Option<PathBuf>,
    /// Why, for whoever reads the list of versions
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    #[command(flatten)]
    client: client::Args,
}

/// Lists a model's versions; the one that is served is marked.
pub async fn versions(args: VersionsArgs) -> anyhow::Result<()> {
    let versions = match &args.data {
        Some(data) => offline(data, &args.model)?,
        None => {
            let mut client = Client::connect(&args.client).await?;
            let request = ListVersionsRequest { model: args.model };
            let reply = client.registry.list_versions(request).await;
            reply.map_err(refusal)?.into_inner().versions
        }
    };
    for version in versions {
        match args.client.json {
            true => print::line(Value::Object(fields(&version)))?,
            false => print::line(line(&version))?,
        }
    }
    Ok(())
}

/// Shows all that is known of one version.
pub async fn show(args: ShowArgs) -> anyhow::Result<()> {
    let version = match &args.data {
        Some(data) => offline_version(data, &args.model, args.version)?,
        None => {
            let mut client = Client::connect(&args.client).await?;
            let request = GetVersionRequest {
                model: args.model,
                version: args.version,
            };
            let reply = client.registry.get_version(request).await;
            reply.map_err(refusal)?.into_inner()
        }
    };
    let fields = fields(&version);
    if args.client.json {
        return print::line(Value::Object(fields));
    }
    for (name, value) in &fields {
        match value {
            Value::String(text) => print::line(format_args!("{name:<12} {text}"))?,
            value => print::line(format_args!("{name:<12} {value}"))?,
        }
    }
    Ok(())
}

/// Makes a version of a model as it is now.
pub async fn checkpoint(args: CheckpointArgs) -> anyhow::Result<()> {
    let mut client = Client::connect(&args.client).await?;
    let request = CheckpointRequest {
        model: args.model,
        note: args.note,
    };
    let made = client.registry.checkpoint(request).await;
    let made = made.map_err(refusal)?.into_inner();
    print_made("made", &made, args.client.json)
}

/// What a data directory holds, without a server.
fn offline(data: &Path, model: &str) -> anyhow::Result<Vec<Version>> {
    let versions = Offline::open(data, model)?.versions()?.into_iter();
    let message = |(manifest, damage)| version_message(manifest, damage, None);
    Ok(versions.map(message).collect())
}

/// One of them.
fn offline_version(data: &Path, model: &str, version: u64) -> anyhow::Result<Version> {
    let mut versions = offline(data, model)?;
    match versions.iter().position(|known| known.version == version) {
        Some(index) => Ok(versions.swap_remove(index)),
        None => {
            let known: Vec<u64> = versions.iter().map(|known| known.version).collect();
            Err(Error::no_version(model, version, &known, 0).into())
        }
    }
}

/// Brings back what a model knew at a version, without a server.
fn restore_offline(args: &RestoreArgs, data: &Path) -> anyhow::Result<VersionMade> {
    let found = offline_version(data, &args.model, args.version)?;
    announce(args, &found)?;
    let made = match args.dry_run {
        true => (found.version, found.position),
        false => {
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
        }
    };
    Ok(VersionMade {
        version: made.0,
        position: made.1,
    })
}

/// Says what a restore changes, once it is known that the version can be brought back.
fn announce(args: &RestoreArgs, found: &Version) -> anyhow::Result<()> {
    ensure!(
        found.damage.is_empty(),
        "version {}: {}",
        args.version,
        found.damage
    );
    if !args.dry_run {
        print::note(format_args!(
            "{} goes back to what it knew at version {}; the versions since are kept",
            args.model, args.version
        ));
    }
    Ok(())
}

/// Brings back what a model knew at a version.
pub async fn restore(args: RestoreArgs) -> anyhow::Result<()> {
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
            let request = RestoreRequest {
                model: args.model,
                version: args.version,
                note: args.note,
                dry_run: args.dry_run,
            };
            let made = client.registry.restore(request).await;
            made.map_err(refusal)?.into_inner()
        }
    };
    let did = match args.dry_run {
        true => "would restore",
        false => "made",
    };
    print_made(did, &made, args.client.json)
}

fn print_made(did: &str, made: &VersionMade, json: bool) -> anyhow::Result<()> {
    let VersionMade { version, position } = made;
    match json {
        true => print::line(json!({"version": version, "position": position})),
        false => print::line(format_args!(
            "{did} version {version} at position {position}"
        )),
    }
}

/// The version in one line; `*` marks the one that is served.
fn line(version: &Version) -> String {
    let mark = if version.served { '*' } else { ' ' };
    let mut line = format!(
        "{mark} {:<4} from {:<4} position {:<10} {:<20} {:<10}",
        version.version,
        version.parent,
        version.position,
        time(version),
        version.reason,
    );
    for metric in sorted(&version.metrics) {
        line += &format!(" {}={}", metric.0, metric.1);
    }
    if !version.note.is_empty() {
        line += &format!(" {:?}", version.note);
    }
    if !version.damage.is_empty() {
        line += &format!(" not to be restored: {}", version.damage);
    }
    line.trim_end().to_owned()
}

fn time(version: &Version) -> String {
    version
        .time
        .map_or_else(String::new, |time| time.to_string())
}

fn fields(version: &Version) -> Map<String, Value> {
    let metrics: Map<_, _> = sorted(&version.metrics).into_iter().collect();
    let fields = [
        ("version", json!(version.version)),
        ("parent", json!(version.parent)),
        ("position", json!(version.position)),
        ("time", json!(time(version))),
        ("reason", json!(version.reason)),
        ("note", json!(version.note)),
        ("actor", json!(version.actor)),
        ("digest", json!(version.digest)),
        ("description", json!(version.description)),
        ("chain", json!(version.chain)),
        ("build", json!(version.build)),
        ("profile", json!(version.profile)),
        ("metrics", Value::Object(metrics)),
        ("served", json!(version.served)),
        ("damage", json!(version.damage)),
    ];
    fields
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_one_line() {
        let version = Version {
            version: 2,
            parent: 1,
            position: 40,
            time: "1970-01-01T00:00:01Z".parse().ok(),
            reason: "checkpoint".into(),
            note: "two\nlines".into(),
            metrics: [("accuracy".into(), 0.5)].into(),
            served: true,
            ..Default::default()
        };
        let line = line(&version);
        assert!(line.starts_with("* 2    from 1    position 40 "), "{line}");
        let end = "1970-01-01T00:00:01Z checkpoint accuracy=0.5 \"two\\nlines\"";
        assert!(line.ends_with(end), "{line}");
        assert_eq!(fields(&version)["time"], "1970-01-01T00:00:01Z");
        assert_eq!(fields(&version).len(), 15);
    }
}
