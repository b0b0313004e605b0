//! `perennial token`: makes a token, and adds its digest to a file of credentials.
//!
//! Invariant: the token is printed once and stands in no file; the file is replaced whole, and is one that
//! the server takes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use perennial::server::{Scope, TokenRights, check_credentials, new_token};
use perennial::store::regular;
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde_json::json;

use crate::cli::output::print;

/// No more of a file is read.
const FILE_BYTES_MAX: u64 = 4 << 20;
const HEAD: &str = "\
# Who may call, and what for. `perennial serve --credentials` takes over changes within seconds: remove an
# entry to revoke it.
";

/// The holder and the rights.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  perennial token checkout --scope predict,feedback --model fraud --source checkout > checkout.token
  perennial token prometheus --scope observe --days 365
  perennial serve --credentials credentials.toml --certificate cert.pem --key key.pem")]
pub(crate) struct Args {
    /// The holder's name: the actor in journals and logs
    name: String,
    /// Its scopes: predict, feedback, review, operate, read, observe
    #[arg(
        long = "scope",
        value_name = "SCOPE",
        value_delimiter = ',',
        required = true
    )]
    scopes: Vec<String>,
    /// A model that it may use; again for more [default: all of them]
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// The only source of its feedback, which it may also retract
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Days until it expires
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// The file to add it to, made where there is none
    #[arg(long, value_name = "FILE", default_value = "credentials.toml")]
    credentials: PathBuf,
    /// Print JSON: name, token, expires
    #[arg(long)]
    json: bool,
}

/// Makes a token.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let scopes: Vec<Scope> = args
        .scopes
        .iter()
        .map(|name| scope(name))
        .collect::<anyhow::Result<_>>()?;
    let mut random = [0; 32];
    OsRng
        .try_fill_bytes(&mut random)
        .context("random bits of the system")?;
    let ends = SignedDuration::from_hours(24 * i64::from(args.days));
    let now = Timestamp::from_second(i64::try_from(since_1970()?)?);
    let expires = now.and_then(|now| now.checked_add(ends));
    let expires = expires.map_err(|error| anyhow!("--days {}: {error}", args.days))?;
    let made = new_token(
        random,
        &TokenRights {
            name: &args.name,
            scopes: &scopes,
            models: &args.models,
            source: args.source.as_deref(),
            expires,
        },
    )?;
    add(&args.credentials, &made.entry)?;
    if args.json {
        let (name, token) = (args.name, made.token);
        return print::line(json!({"name": name, "token": token, "expires": expires.to_string()}));
    }
    eprintln!(
        "{} may call until {expires}; the token is shown this once, and {} keeps its digest",
        args.name,
        args.credentials.display()
    );
    print::line(made.token)
}

fn scope(name: &str) -> anyhow::Result<Scope> {
    match Scope::ALL.into_iter().find(|scope| scope.name() == name) {
        Some(scope) => Ok(scope),
        None => bail!(
            "--scope {name}: expected some of {}",
            Scope::ALL.map(Scope::name).join(", ")
        ),
    }
}

fn since_1970() -> anyhow::Result<u64> {
    let since = std::time::UNIX_EPOCH.elapsed();
    Ok(since.context("the clock stands before 1970")?.as_secs())
}

/// Adds an entry at the end of a file; the file changes whole or not at all.
fn add(path: &Path, entry: &str) -> anyhow::Result<()> {
    let of_path = || path.display().to_string();
    let before = if regular::is_there(path) {
        let bytes = regular::read("/".as_ref(), path, FILE_BYTES_MAX).with_context(of_path)?;
        String::from_utf8(bytes).with_context(of_path)?
    } else {
        HEAD.to_owned()
    };
    check_credentials(&before).with_context(of_path)?;
    let text = format!("{}\n\n{entry}", before.trim_end());
    check_credentials(&text).with_context(of_path)?;
    ensure!(
        text.len() as u64 <= FILE_BYTES_MAX,
        "{}: it is full",
        of_path()
    );
    // A link stays one: its target is replaced.
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = match real.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mode = fs::metadata(&real).map_or(0o600, |metadata| metadata.permissions().mode());
    let mut written = tempfile_in(folder).with_context(of_path)?;
    let done = (|| {
        written
            .1
            .set_permissions(fs::Permissions::from_mode(mode))?;
        written.1.write_all(text.as_bytes())?;
        written.1.sync_all()?;
        fs::rename(&written.0, &real)
    })();
    if done.is_err() {
        // It may be gone already.
        let _ = fs::remove_file(&written.0);
    }
    done.with_context(of_path)
}

/// A file of its own name that no other user reads.
fn tempfile_in(folder: &Path) -> std::io::Result<(PathBuf, fs::File)> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = folder.join(format!(".credentials.{}.partial", std::process::id()));
    let mut options = fs::OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    Ok((path, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(folder: &Path, name: &str, scopes: &[&str]) -> anyhow::Result<String> {
        let path = folder.join("credentials.toml");
        run(Args {
            name: name.to_owned(),
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
            models: vec!["fraud".to_owned()],
            source: Some("check \"out\"".to_owned()),
            days: 1,
            credentials: path.clone(),
            json: false,
        })?;
        Ok(fs::read_to_string(path)?)
    }

    #[test]
    fn p8_a_token_is_added_to_the_file_and_stands_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let one = made(folder.path(), "one", &["predict", "feedback"]).unwrap();
        assert!(
            one.starts_with(HEAD) && !one.contains("perennial_"),
            "{one}"
        );
        let both = made(folder.path(), "two", &["operate"]).unwrap();
        assert!(both.starts_with(one.trim_end()), "{both}");
        check_credentials(&both).unwrap();
        let mode = fs::metadata(folder.path().join("credentials.toml")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
        let refused = |name, scopes: &[&str]| made(folder.path(), name, scopes).unwrap_err();
        let twice = format!("{:#}", refused("one", &["operate"]));
        assert!(
            twice.ends_with("credential \"one\": the name stands twice"),
            "{twice}"
        );
        let unknown = refused("three", &["admin"]).to_string();
        assert_eq!(
            unknown,
            "--scope admin: expected some of predict, feedback, review, operate, read, observe"
        );
        assert!(
            refused("10.0.0.1", &["operate"])
                .to_string()
                .starts_with("name: \"10.0.0.1\"")
        );
        assert_eq!(
            fs::read_to_string(folder.path().join("credentials.toml")).unwrap(),
            both
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
