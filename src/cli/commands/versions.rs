//! `perennial versions` and `show`: the versions of a model, and one of them in full.
//!
//! Invariant: the two read a server or a data directory, and change nothing.

use std::path::{Path, PathBuf};

use perennial::engine::{Error, Offline};
use perennial::proto::perennial::v1::{
    GetVersionRequest, ListVersionsRequest, Version, VersionMade,
};
use perennial::server::version_message;
use serde_json::{Map, Value, json};

use super::status::sorted;
use crate::cli::client::{self, Client, refusal};
use crate::cli::output::print;

/// The model, on a server or in a data directory.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial versions fraud")]
pub struct Args {
    /// The model's name
    model: String,
    /// Read this data directory instead of a server; no server may have it open
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    client: client::Args,
}

/// The version, on a server or in a data directory.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial show fraud 3")]
pub struct ShowArgs {
    /// The model's name
    model: String,
    /// The version's number
    version: u64,
    /// Read this data directory instead of a server; no server may have it open
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    client: client::Args,
}

/// Prints the versions of a model; the served one is marked.
pub async fn run(args: Args) -> anyhow::Result<()> {
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

/// Prints every field of one version.
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

/// Reads the versions of a model in a data directory.
fn offline(data: &Path, model: &str) -> anyhow::Result<Vec<Version>> {
    let versions = Offline::open(data, model)?.versions()?.into_iter();
    let message = |(manifest, damage)| version_message(manifest, damage, None);
    Ok(versions.map(message).collect())
}

/// Reads one version of a model in a data directory.
pub fn offline_version(data: &Path, model: &str, version: u64) -> anyhow::Result<Version> {
    let mut versions = offline(data, model)?;
    match versions.iter().position(|known| known.version == version) {
        Some(index) => Ok(versions.swap_remove(index)),
        None => {
            let known: Vec<u64> = versions.iter().map(|known| known.version).collect();
            Err(Error::no_version(model, version, &known, 0).into())
        }
    }
}

/// Prints the version that a command made.
pub fn print_made(did: &str, made: &VersionMade, json: bool) -> anyhow::Result<()> {
    let VersionMade { version, position } = made;
    match json {
        true => print::line(json!({"version": version, "position": position})),
        false => print::line(format_args!(
            "{did} version {version} at position {position}"
        )),
    }
}

/// A version as one line; `*` marks the served one.
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
