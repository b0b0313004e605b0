//! How a file is read: what a command was told, what model.toml says, and what the file shows.
//!
//! Invariant: an option of the command is stronger than model.toml, and that than the file.

use anyhow::{Context, bail};
use encoding_rs::Encoding;

use super::encoding;
use super::number::Decimals;

/// The options of every command that reads rows.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub(crate) struct ReadArgs {
    /// The separator of a CSV: a character, or tab or space; told from the file otherwise
    #[arg(long, value_name = "CHAR", value_parser = separator)]
    pub separator: Option<char>,
    /// The encoding of the file, as utf-8, windows-1252 or utf-16; told from the file otherwise
    #[arg(long, value_name = "NAME", value_parser = encoding)]
    pub encoding: Option<&'static Encoding>,
    /// The first row of a CSV is data: columns are column_1, column_2 and so on
    #[arg(long)]
    pub no_header: bool,
}

/// Parses a separator.
pub(crate) fn separator(text: &str) -> anyhow::Result<char> {
    match text {
        "tab" | "\\t" => return Ok('\t'),
        "space" => return Ok(' '),
        "comma" => return Ok(','),
        "semicolon" => return Ok(';'),
        _ => {}
    }
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(one), None) if one != '"' && !one.is_alphanumeric() => Ok(one),
        _ => bail!("expected one character, tab or space"),
    }
}

fn encoding(text: &str) -> anyhow::Result<&'static Encoding> {
    encoding::find(text).context("no such encoding; take utf-8, windows-1252, utf-16, ...")
}

/// How a file is to be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadOptions {
    pub separator: Option<char>,
    /// True if the separator is that of model.toml, which a file may contradict.
    pub separator_is_described: bool,
    pub encoding: Option<&'static Encoding>,
    /// True if the first row is data.
    pub no_header: bool,
    pub decimals: Option<Decimals>,
}

impl ReadOptions {
    /// The options of a command.
    pub(crate) fn of(args: &ReadArgs) -> ReadOptions {
        ReadOptions {
            separator: args.separator,
            separator_is_described: false,
            encoding: args.encoding,
            no_header: args.no_header,
            decimals: None,
        }
    }
}
