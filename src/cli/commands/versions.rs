//! `perennial versions` and `show`: the versions of a model, and one of them in full.
//!
//! Invariant: the two read a server or a data directory, and change nothing.

use std::path::{Path, PathBuf};

use anyhow::Context;
use perennial::engine::{Error, Offline};
use perennial::learn::HOLDS_RETRACTED;
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
pub(crate) struct Args {
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
pub(crate) struct ShowArgs {
    /// The model's name
    model: String,
    /// The version's number
    #[arg(value_parser = number)]
    version: u64,
    /// Read this data directory instead of a server; no server may have it open
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    client: client::Args,
}

/// Prints the versions of a model; the served one is marked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let versions = match &args.data {
        Some(data) => offline(data, &args.model)?,
        None => {
            let mut client = Client::connect(&args.client).await?;
            let request = ListVersionsRequest { model: args.model };
            let reply = client.registry.list_versions(request).await;
            reply.map_err(refusal)?.into_inner().versions
        }
    };
    if !args.client.json {
        print::note(header());
    }
    for version in versions {
        if args.client.json {
            print::line(Value::Object(fields(&version)))?;
        } else {
            print::line(line(&version))?;
        }
    }
    Ok(())
}

/// Prints every field of one version.
pub(crate) async fn show(args: ShowArgs) -> anyhow::Result<()> {
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
            Value::String(text) => {
                print::line(format_args!("{name:<12} {}", text.escape_debug()))?;
            }
            value => print::line(format_args!("{name:<12} {value}"))?,
        }
    }
    Ok(())
}

/// Reads the versions of a model in a data directory.
fn offline(data: &Path, model: &str) -> anyhow::Result<Vec<Version>> {
    let offline = Offline::open(data, model)?;
    let aliases = offline.aliases()?;
    let versions = offline.versions()?.into_iter();
    let message = |(manifest, damage)| version_message(manifest, damage, None, &aliases);
    Ok(versions.map(message).collect())
}

/// The number of a version.
pub(crate) fn number(text: &str) -> anyhow::Result<u64> {
    let number = text.parse().ok();
    number.context("expected the number of a version, as `perennial versions` lists them")
}

/// Reads one version of a model in a data directory.
pub(crate) fn offline_version(data: &Path, model: &str, version: u64) -> anyhow::Result<Version> {
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
pub(crate) fn print_made(did: &str, made: &VersionMade, json: bool) -> anyhow::Result<()> {
    let VersionMade { version, position } = made;
    if json {
        print::line(json!({"version": version, "position": position}))
    } else {
        print::line(format_args!(
            "{did} version {version} at position {position}"
        ))
    }
}

/// The width of a line, for a terminal.
const LINE_CHARS_MAX: usize = 80;

/// The names above the fields of a line.
fn header() -> String {
    format!(
        "  {:<5} {:>6} {:>10} {:<17} {:<10} {:>6} {:>6} note",
        "nr", "parent", "position", "time", "reason", "score", "kept"
    )
}

/// A version as one line of a terminal's width; `*` marks the served one. A note that is too long
/// is cut; a version that cannot be restored has no note, and `show` says why.
fn line(version: &Version) -> String {
    let mark = if version.served { '*' } else { ' ' };
    let metric = |name: &str| print::shown(version.metrics.get(name).copied());
    let (score, retention) = (metric("score"), metric("retention"));
    // To the minute, which distinguishes versions.
    let minute: String = time(version)
        .chars()
        .take("2026-01-31T12:00".len())
        .collect();
    let note = match version.damage.as_str() {
        "" => version.note.escape_debug().to_string(),
        damage if damage.contains(HOLDS_RETRACTED) => "tainted".to_owned(),
        _ => "DAMAGED".to_owned(),
    };
    let note = match &version.aliases[..] {
        [] => note,
        aliases => format!("[{}] {note}", aliases.join(" ")),
    };
    let line = format!(
        "{mark} {:<5} {:>6} {:>10} {minute:<16}Z {:<10} {score:>6} {retention:>6} {note}",
        version.version, version.parent, version.position, version.reason,
    );
    let line = line.trim_end();
    match line.char_indices().nth(LINE_CHARS_MAX) {
        None => line.to_owned(),
        Some(_) => line.chars().take(LINE_CHARS_MAX - 1).chain(['…']).collect(),
    }
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
        ("aliases", json!(version.aliases)),
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
    fn a_line_has_at_most_80_columns() {
        let check = |note: &str, damage: &str, end: &str| {
            let version = Version {
                version: 12_345,
                parent: 12_344,
                position: 1_234_567_890,
                time: "2026-01-31T12:00:00.123456Z".parse().ok(),
                reason: "checkpoint".into(),
                note: note.into(),
                damage: damage.into(),
                ..Default::default()
            };
            let line = line(&version);
            assert!(line.chars().count() <= LINE_CHARS_MAX, "{line}");
            assert!(line.ends_with(end), "{line}");
        };
        check("", "", " checkpoint      -      -");
        check("before the campaign", "", " before the…");
        check(
            "",
            "the file of weights is not what was written",
            " DAMAGED",
        );
        check(
            "",
            "version 12345 holds feedback that was retracted; version 12346 is the first without it",
            " tainted",
        );
        assert!(header().len() <= LINE_CHARS_MAX);
    }

    #[test]
    fn a_version_is_one_line() {
        let version = Version {
            version: 2,
            parent: 1,
            position: 40,
            time: "1970-01-01T00:00:01Z".parse().ok(),
            reason: "checkpoint".into(),
            note: "two\nlines".into(),
            metrics: [("score".into(), 0.5), ("retention".into(), 0.25)].into(),
            served: true,
            ..Default::default()
        };
        let expected =
            "* 2          1         40 1970-01-01T00:00Z checkpoint 0.5000 0.2500 two\\nlines";
        assert_eq!(line(&version), expected);
        assert_eq!(fields(&version)["time"], "1970-01-01T00:00:01Z");
        assert_eq!(fields(&version).len(), 16);
    }
}
