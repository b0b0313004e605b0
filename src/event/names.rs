//! The names of models, and the ids of predictions.
//!
//! Invariant: each is read only in its one form.

use std::fmt;
use std::str::FromStr;

/// The name of a model: 1 to 64 letters, digits, dots, underscores and hyphens, with a letter or a
/// digit first. It can be a folder and a label of a metric on every system.
///
/// ```
/// let name: perennial::event::ModelName = "fraud-2".parse()?;
/// assert_eq!(name.as_str(), "fraud-2");
/// assert!("../fraud".parse::<perennial::event::ModelName>().is_err());
/// # Ok::<(), perennial::event::MalformedName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelName(String);

/// The text is not the name of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 64 letters, digits, dots, underscores and hyphens, a letter or digit first")]
pub struct MalformedName;

impl ModelName {
    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModelName {
    type Err = MalformedName;

    fn from_str(text: &str) -> Result<Self, MalformedName> {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let starts_well = text.starts_with(|first: char| first.is_ascii_alphanumeric());
        if starts_well && text.len() <= 64 && text.bytes().all(is_inner) {
            Ok(ModelName(text.to_owned()))
        } else {
            Err(MalformedName)
        }
    }
}

/// The text is not the alias of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedAlias {
    /// The text cannot be a name, or reads as a number.
    #[error("expected 1 to 64 letters, digits, dots, underscores and hyphens, a letter first")]
    Form,
    /// Every model has it already.
    #[error("champion and candidate are the two sides of every model; take another name")]
    Reserved,
}

/// Refuses a text that is no alias: 1 to 64 letters, digits, dots, underscores and hyphens, with a letter
/// first, so that it is never the number of a version; and not `champion` nor `candidate`.
///
/// # Errors
/// [`MalformedAlias`].
pub(crate) fn check_alias(text: &str) -> Result<(), MalformedAlias> {
    let starts_well = text.starts_with(|first: char| first.is_ascii_alphabetic());
    if !starts_well || text.parse::<ModelName>().is_err() {
        return Err(MalformedAlias::Form);
    }
    if ["champion", "candidate"].contains(&text) {
        return Err(MalformedAlias::Reserved);
    }
    Ok(())
}

/// The id of one predicted row: a UUIDv7, unique over models, restarts and servers.
///
/// ```
/// let id: perennial::event::PredictionId = "01890a5d-ac96-774b-bcce-b302099a8057".parse()?;
/// assert_eq!(id.to_string(), "01890a5d-ac96-774b-bcce-b302099a8057");
/// # Ok::<(), perennial::event::MalformedId>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PredictionId(pub u128);

/// The text is not a hyphenated UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a hyphenated UUID")]
pub struct MalformedId;

impl fmt::Display for PredictionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hyphenated(&mut [0; 36]))
    }
}

impl PredictionId {
    /// The text form, written into the caller's buffer: no allocation on the predict path.
    pub(crate) fn hyphenated<'a>(&self, text: &'a mut [u8; 36]) -> &'a str {
        uuid::Uuid::from_u128(self.0)
            .hyphenated()
            .encode_lower(text)
    }
}

impl FromStr for PredictionId {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        if text.len() != 36 {
            return Err(MalformedId);
        }
        let id = uuid::Uuid::try_parse(text).map_err(|_| MalformedId)?;
        Ok(PredictionId(id.as_u128()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_a_name_that_can_be_a_folder() {
        let check = |text: &str, is_name: bool| {
            assert_eq!(text.parse::<ModelName>().is_ok(), is_name, "{text}");
        };
        check("a", true);
        check("Fraud_2.next-1", true);
        check(&"x".repeat(64), true);
        check(&"x".repeat(65), false);
        check("", false);
        check(".hidden", false);
        check("-x", false);
        check("a/b", false);
        check("a b", false);
        check("é", false);
    }

    #[test]
    fn an_alias_is_neither_a_number_nor_a_side() {
        let check = |text: &str, expected: Result<(), MalformedAlias>| {
            assert_eq!(check_alias(text), expected, "{text}");
        };
        check("prod", Ok(()));
        check("Champion", Ok(()));
        check("v7.eu-west_1", Ok(()));
        for text in ["", "7", "7up", "-prod", "a b", &"x".repeat(65)] {
            check(text, Err(MalformedAlias::Form));
        }
        check("champion", Err(MalformedAlias::Reserved));
        check("candidate", Err(MalformedAlias::Reserved));
    }

    #[test]
    fn ids_are_read_only_in_their_hyphenated_form() {
        let check = |text: &str, sound: bool| {
            assert_eq!(text.parse::<PredictionId>().is_ok(), sound, "{text}");
        };
        check("01890a5d-ac96-774b-bcce-b302099a8057", true);
        check("01890a5dac96774bbcceb302099a8057", false);
        check("01890a5d-ac96-774b-bcce-b302099a805", false);
        check("{01890a5d-ac96-774b-bcce-b302099a80}", false);
        check("not an id", false);
        check("", false);
    }
}
