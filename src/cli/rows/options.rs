//! The reading of a file: the options of a command, the settings of model.toml, and the form of the file.
//!
//! Invariant: an option of the command is stronger than model.toml, and that than the file.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use encoding_rs::Encoding;
use perennial::model::{RowFormat, encoding_named};

use super::number::{Decimals, finite, finite_by_either, is_gap};
use super::units::without_unit;

/// The options of every command that reads rows.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub(crate) struct ReadArgs {
    /// The separator of a CSV: a character, or tab or space; detected from the file otherwise
    #[arg(long, value_name = "CHAR", value_parser = separator)]
    pub separator: Option<char>,
    /// The encoding of the file, as utf-8, windows-1252 or utf-16; detected from the file otherwise
    #[arg(long, value_name = "NAME", value_parser = encoding)]
    pub encoding: Option<&'static Encoding>,
    /// The mark before the fraction of a number; detected from the file otherwise
    #[arg(long, value_name = "MARK")]
    pub decimals: Option<Decimals>,
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
    encoding_named(text).context("no such encoding; take utf-8, windows-1252, utf-16, ...")
}

/// The options by which a file is read.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadOptions {
    pub separator: Option<char>,
    /// True if the separator is that of model.toml, which a file may contradict.
    pub separator_is_described: bool,
    pub encoding: Option<&'static Encoding>,
    /// True if the encoding is that of model.toml, which a file may contradict.
    pub encoding_is_described: bool,
    /// True if the first row is data.
    pub no_header: bool,
    pub decimals: Option<Decimals>,
    /// True if the decimal mark is that of model.toml, and not of an option.
    pub decimals_are_described: bool,
    /// True if 12% is 0.12 and not 12.
    pub percent_is_fraction: bool,
    /// The reading of percentages that model.toml has: `points` or `fraction`.
    pub percent: Option<String>,
    /// Texts that are gaps beside the usual ones.
    pub gaps: Vec<String>,
    /// Values that stand for no value, by column.
    pub sentinels: BTreeMap<String, Vec<String>>,
    /// The values of inputs that a file does not have.
    pub constants: BTreeMap<String, String>,
    /// The unit behind the numbers, by column.
    pub units: BTreeMap<String, String>,
    /// Other spellings of labels, each with its label.
    pub labels: BTreeMap<String, String>,
}

impl ReadOptions {
    /// The options of a command for a model with settings for files.
    pub(crate) fn of(args: &ReadArgs, described: &RowFormat) -> ReadOptions {
        let separator = described
            .separator
            .as_ref()
            .and_then(|text| text.chars().next());
        let encoding = described.encoding.as_deref().and_then(encoding_named);
        ReadOptions {
            separator: args.separator.or(separator),
            separator_is_described: args.separator.is_none() && separator.is_some(),
            encoding: args.encoding.or(encoding),
            encoding_is_described: args.encoding.is_none(),
            no_header: args.no_header || described.header == Some(false),
            decimals: args.decimals.or(match described.decimals.as_deref() {
                Some("comma") => Some(Decimals::Comma),
                Some(_) => Some(Decimals::Point),
                None => None,
            }),
            decimals_are_described: args.decimals.is_none() && described.decimals.is_some(),
            percent_is_fraction: described.percent.as_deref() == Some("fraction"),
            percent: described.percent.clone(),
            gaps: described.gaps.clone(),
            sentinels: described.sentinels.clone(),
            constants: described.constants.clone(),
            units: described.units.clone(),
            labels: described.labels.clone(),
        }
    }

    /// True if a text stands for no value in a column of numbers or times.
    pub(crate) fn is_gap(&self, column: &str, text: &str, decimals: Decimals) -> bool {
        is_gap(text) || self.is_named_gap(column, text, decimals)
    }

    /// True if `[rows]` names a text as a gap, in this column or in all.
    pub(crate) fn is_named_gap(&self, column: &str, text: &str, decimals: Decimals) -> bool {
        let text = text.trim();
        if self.gaps.iter().any(|gap| gap == text) {
            return true;
        }
        let Some(sentinels) = self.sentinels.get(column) else {
            return false;
        };
        let value = finite_by_either(text, decimals);
        // In model.toml numbers have a decimal point.
        let is_same = |sentinel: &String| {
            sentinel == text || value.is_some() && finite(sentinel, Decimals::Point) == value
        };
        sentinels.iter().any(is_same)
    }

    /// A cell of a column without the unit behind its number.
    pub(crate) fn without_unit<'a>(&self, column: &str, text: &'a str) -> &'a str {
        match self.units.get(column) {
            Some(unit) => without_unit(text, unit),
            None => text,
        }
    }

    /// The number of a cell, none for any other text. Where the decimal mark of the file makes no number
    /// of it, and the other one does, it is that.
    pub(crate) fn number(&self, text: &str, decimals: Decimals) -> Option<f64> {
        let by_file = self.number_by(text, decimals);
        by_file.or_else(|| self.number_by(text, decimals.other()))
    }

    /// The number of a cell by a decimal mark.
    pub(crate) fn number_by(&self, text: &str, decimals: Decimals) -> Option<f64> {
        let value = finite(text, decimals)?;
        if self.percent_is_fraction && text.trim_end().ends_with('%') {
            Some(value / 100.0)
        } else {
            Some(value)
        }
    }
}
