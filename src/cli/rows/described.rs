//! `[rows]` of a model.toml against the columns of a file.
//!
//! Invariant: a setting for a column that is nowhere is refused, and not passed over.

use anyhow::bail;

use super::file::FileRows;
use super::layout::{ModelInput, ModelInputKind};
use super::row::quoted;

/// Refuses `[rows]` that speaks of a column which neither the file nor the model has, nor is one of the
/// others that the command names.
///
/// # Errors
/// Names the column, and the nearest one that there is.
pub(super) fn check_described(
    rows: &mut FileRows,
    inputs: &[ModelInput],
    others: &[&str],
) -> anyhow::Result<()> {
    let is_input = |name: &str| inputs.iter().any(|input| input.name == name);
    let names = || inputs.iter().map(|input| input.name.as_str());
    let options = rows.options();
    let sentinels = options.sentinels.keys().map(|name| ("sentinels", name));
    let units = options.units.keys().map(|name| ("a unit", name));
    let named: Vec<(&str, String)> = sentinels
        .chain(units)
        .map(|(what, name)| (what, name.clone()))
        .collect();
    for (what, name) in named {
        if is_input(&name) || others.contains(&name.as_str()) || rows.column(&name).is_ok() {
            continue;
        }
        let columns = rows.columns().iter().map(String::as_str);
        let known = names().chain(others.iter().copied()).chain(columns);
        let (name, nearest) = (quoted(&name), nearest(known, &name));
        bail!(
            "[rows] of model.toml has {what} of {name}, and there is no such column; the nearest is \
             {nearest}"
        );
    }
    let mut constants = rows.options().constants.keys();
    if let Some(name) = constants.find(|name| !is_input(name)) {
        let (name, nearest) = (quoted(name), nearest(names(), name));
        bail!(
            "[rows] of model.toml has a constant for {name}, and the model has no such input; the nearest \
             is {nearest}"
        );
    }
    Ok(())
}

/// Refuses a column that the command compares answers with, or learns from, and that the model sees.
///
/// # Errors
/// Names the column, and the option.
pub(super) fn ensure_unseen(inputs: &[ModelInput], columns: &[(&str, &str)]) -> anyhow::Result<()> {
    for (option, column) in columns {
        let is_element = |name: &str| {
            let rest = column.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with('[') && rest.ends_with(']'))
        };
        let sees = |input: &&ModelInput| {
            input.name == *column
                || matches!(input.kind, ModelInputKind::Vector(_)) && is_element(&input.name)
        };
        if let Some(input) = inputs.iter().find(sees) {
            let (column, input) = (quoted(column), quoted(&input.name));
            bail!(
                "{option} {column}: the model sees it as its input {input}, and would be given the \
                 answer; name another column, or take the input out of model.toml"
            );
        }
    }
    Ok(())
}

/// The name that differs the least.
fn nearest<'a>(known: impl Iterator<Item = &'a str>, name: &str) -> String {
    let nearest = known.min_by_key(|known| strsim::levenshtein(known, name));
    quoted(nearest.unwrap_or_default())
}
