//! The `[[input]]` tables.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::pins::{Pins, encoder, vector_encoder};
use super::values::{
    count, count_or, flag, is_word, not_here, number, refused, unknown, value, word,
};
use crate::model::spec::error::Error;
use crate::model::spec::input::{Input, InputKind, LowRank, Times};
use crate::model::spec::time::{TimeFormat, zone as zone_s};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInput {
    pub(super) name: String,
    pub(super) kind: String,
    missing: Option<String>,
    format: Option<String>,
    zone: Option<String>,
    origin: Option<String>,
    pub(super) length: Option<u64>,
    standardise: Option<bool>,
    shape: Option<Vec<u64>>,
    pub(super) encoder: Option<String>,
    adapters: Option<RawAdapters>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAdapters {
    rank: Option<u64>,
    layers: Option<u64>,
    learning_rate: Option<f64>,
}

/// The adapters of a text's encoder, if any.
fn adapters(input: &RawInput) -> Result<Option<LowRank>, Error> {
    let Some(raw) = &input.adapters else {
        return Ok(None);
    };
    Ok(Some(LowRank {
        learning_rate: number("input.adapters.learning_rate", raw.learning_rate)? as f32,
        rank: count("input.adapters.rank", raw.rank)? as usize,
        layers: count("input.adapters.layers", raw.layers)? as usize,
    }))
}

/// The inputs, in their order.
pub(super) fn inputs(written: &[RawInput], pins: &Pins) -> Result<Vec<Input>, Error> {
    let n_inputs = written.len();
    if n_inputs == 0 || n_inputs > 4096 {
        let allowed = "1 to 4096 [[input]] tables are needed";
        return Err(value("input", format!("{n_inputs} tables"), allowed));
    }
    let mut names = BTreeSet::new();
    let mut inputs = Vec::new();
    for input in written {
        let of_input = |error: Error| error.renamed("input.", &format!("input {:?}: ", input.name));
        if input.name.is_empty() || input.name.len() > 200 || !names.insert(&input.name) {
            return Err(of_input(unknown("input.name", &input.name)));
        }
        let described = Input {
            name: input.name.clone(),
            kind: kind(input, pins).map_err(of_input)?,
            may_be_empty: input.missing.as_deref() == Some("empty"),
        };
        check_missing(input.missing.as_deref(), &described).map_err(of_input)?;
        inputs.push(described);
    }
    Ok(inputs)
}

/// Refuses a value of `missing` that the kind does not have.
fn check_missing(written: Option<&str>, input: &Input) -> Result<(), Error> {
    let Some(written) = written else {
        return Ok(());
    };
    let kind = &input.kind;
    let allowed = match input.missing_word() {
        Some(word) if word == written => return Ok(()),
        Some(word) => format!("a {kind} has missing = {word:?}"),
        None => format!("a {kind} has no missing"),
    };
    Err(value("input.missing", format!("{written:?}"), allowed))
}

/// The kind of an input; an error has its key as the table names it.
fn kind(input: &RawInput, pins: &Pins) -> Result<InputKind, Error> {
    if !is_word("input.kind", &input.kind) {
        return Err(unknown("input.kind", &input.kind));
    }
    if !matches!(input.kind.as_str(), "text" | "vector") {
        not_here("input.encoder", &input.encoder, "a text or a vector")?;
    }
    if input.adapters.is_some() && (input.kind != "text" || input.encoder.is_none()) {
        let allowed = "only a text with an encoder has them";
        return Err(value("input.adapters", "{ .. }", allowed));
    }
    let gaps = input.missing.as_deref() == Some("mean");
    if input.kind != "time" {
        not_here("input.format", &input.format, "a time")?;
        not_here("input.zone", &input.zone, "a time")?;
        not_here("input.origin", &input.origin, "a time")?;
    }
    if input.length.is_some() && input.kind != "vector" {
        let allowed = "only a vector has a length";
        return Err(value("input.length", input.length.unwrap_or(0), allowed));
    }
    if let (Some(standardise), true) = (input.standardise, input.kind != "vector") {
        let allowed = "only a vector has the choice";
        return Err(value("input.standardise", standardise, allowed));
    }
    if let (Some(shape), true) = (
        &input.shape,
        input.kind != "vector" || input.encoder.is_some(),
    ) {
        let allowed = "only a vector without an encoder has a shape";
        return Err(value("input.shape", format!("{shape:?}"), allowed));
    }
    Ok(match input.kind.as_str() {
        "number" => InputKind::Number { gaps },
        "time" => InputKind::Time(times(input, gaps)?),
        "category" => InputKind::Category,
        "text" => match &input.encoder {
            Some(path) => encoder(pins, &input.name, path, adapters(input)?)?,
            None => InputKind::Text,
        },
        "vector" => vector(input, pins)?,
        other => return Err(unknown("input.kind", other)),
    })
}

/// The reading of an input's times.
fn times(input: &RawInput, gaps: bool) -> Result<Times, Error> {
    let format = match &input.format {
        None => Some(TimeFormat::default()),
        Some(written) => TimeFormat::parse(written),
    };
    let format = format.ok_or_else(|| {
        unknown(
            "input.format",
            word("input.format", input.format.as_deref()),
        )
    })?;
    let zone = word("input.zone", input.zone.as_deref());
    let zone_s = zone_s(zone).ok_or_else(|| unknown("input.zone", zone))?;
    let origin = word("input.origin", input.origin.as_deref());
    let origin_us = TimeFormat::default().read(origin, zone_s);
    Ok(Times {
        format,
        zone_s,
        origin_us: origin_us.ok_or_else(|| unknown("input.origin", origin))?,
        gaps,
    })
}

fn vector(input: &RawInput, pins: &Pins) -> Result<InputKind, Error> {
    let length = count_or("input.length", input.length, || 0)? as usize;
    match (&input.encoder, input.standardise) {
        (Some(path), None) => vector_encoder(pins, &input.name, path, length),
        (Some(_), Some(standardise)) => {
            let allowed = "the output of an encoder is standardised; leave it out";
            Err(value("input.standardise", standardise, allowed))
        }
        (None, standardise) => Ok(InputKind::Vector {
            length,
            standardise: flag("input.standardise", standardise),
            shape: input
                .shape
                .as_ref()
                .map(|written| shape(written, length))
                .transpose()?,
        }),
    }
}

/// Height, width and channels of an image with so many values.
fn shape(written: &[u64], length: usize) -> Result<[usize; 3], Error> {
    let [height, width, n_channels] = match *written {
        [height, width] => [height, width, 1],
        [height, width, n_channels] => [height, width, n_channels],
        _ => return Err(refused("input.shape", format!("{written:?}"))),
    };
    if [height, width, n_channels].contains(&0) {
        return Err(refused("input.shape", format!("{written:?}")));
    }
    let product = height
        .checked_mul(width)
        .and_then(|n| n.checked_mul(n_channels));
    if product != Some(length as u64) {
        let allowed = format!("the product has to be input.length, which is {length}");
        return Err(value("input.shape", format!("{written:?}"), allowed));
    }
    Ok([height as usize, width as usize, n_channels as usize])
}
