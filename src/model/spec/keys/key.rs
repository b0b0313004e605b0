//! A key of model.toml, and the values that it accepts.
//!
//! Invariant: [`AllowedValues`] print as the refusal of another value names them.

use std::fmt;

/// One key of model.toml.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The key with its table, as in `journal.lag_max`.
    pub name: &'static str,
    /// The values that it accepts.
    pub values: AllowedValues,
    /// Its default as it would be written, or in words where it depends on other keys; empty for a
    /// key that must be given.
    pub default: &'static str,
    /// The unit of its value; empty for none.
    pub unit: &'static str,
    /// Its meaning, in a sentence.
    pub meaning: &'static str,
}

impl Key {
    /// The values that the key accepts, with their type and unit, as a refusal names them.
    pub fn expected(&self) -> String {
        let of_unit = match self.unit {
            "" => String::new(),
            unit => format!(" of {unit}"),
        };
        match self.values {
            AllowedValues::Text(words) => format!("a text in quotes: {words}"),
            AllowedValues::List(words) => format!("a list: {words}"),
            AllowedValues::Words(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
                match &quoted[..] {
                    [others @ .., last] if !others.is_empty() => {
                        format!("{} or {last}", others.join(", "))
                    }
                    words => words.concat(),
                }
            }
            AllowedValues::Count(min, max) => {
                format!("a whole number{of_unit} from {min} to {max}")
            }
            AllowedValues::Between(min, max) => format!("a number{of_unit} from {min} to {max}"),
            values @ AllowedValues::Above(..) => format!("a number{of_unit} {values}"),
            values => values.to_string(),
        }
    }
}

/// The values that a key accepts.
#[derive(Clone, Copy, Debug)]
pub enum AllowedValues {
    /// A text, with the words for the allowed ones.
    Text(&'static str),
    /// A list, with the words for its elements.
    List(&'static str),
    /// A table, with the words for its elements.
    Table(&'static str),
    /// `true` or `false`.
    Bool,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A whole number between two, both included.
    Count(u64, u64),
    /// A number between two, both included.
    Between(f64, f64),
    /// A number above the first, and at most the second.
    Above(f64, f64),
    /// A finite number; with words for its range.
    Finite(&'static str),
    /// A size of at least so many MiB, with its unit.
    Size(u64),
    /// A size with its unit; the words bound it.
    SizeBelow(&'static str),
    /// A time of at most a century, with its unit.
    Time,
}

impl AllowedValues {
    /// True if a key of these values accepts a number.
    ///
    /// # Panics
    /// The key takes no number.
    pub(crate) fn allows(&self, number: f64) -> bool {
        match *self {
            AllowedValues::Between(min, max) => (min..=max).contains(&number),
            AllowedValues::Above(min, max) => number > min && number <= max,
            AllowedValues::Finite(_) => number.is_finite(),
            _ => unreachable!("the key is a number in the table"),
        }
    }

    /// The bytes of a size that is written with its unit, `KiB`, `MiB`, `GiB` or `TiB`, if they accept it.
    ///
    /// # Panics
    /// They take no size with a least one.
    pub fn size(&self, written: &str) -> Option<u64> {
        let &AllowedValues::Size(min_mib) = self else {
            unreachable!("the key is a size in the table");
        };
        bytes(written).filter(|bytes| *bytes >= min_mib << 20)
    }

    /// The seconds of a time that is written with its unit, `d`, `h`, `m` or `s`, if they accept it.
    pub fn seconds(&self, written: &str) -> Option<u64> {
        const CENTURY_S: u64 = 36_500 * 24 * 3600;
        let units = [("d", 24 * 3600), ("h", 3600), ("m", 60), ("s", 1)];
        let (count, unit) = units
            .iter()
            .find_map(|(unit, seconds)| Some((written.strip_suffix(unit)?, *seconds)))?;
        let seconds = count.parse::<u64>().ok()?.checked_mul(unit)?;
        (seconds <= CENTURY_S && matches!(self, AllowedValues::Time)).then_some(seconds)
    }

    /// True if a key of these values accepts a whole number.
    pub fn counts(&self, number: u64) -> bool {
        matches!(self, AllowedValues::Count(min, max) if (min..=max).contains(&&number))
    }
}

/// Bytes, from a size with its unit: `KiB`, `MiB`, `GiB` or `TiB`.
pub(in crate::model::spec) fn bytes(text: &str) -> Option<u64> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    let (count, shift) = units
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))?;
    count.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

impl fmt::Display for AllowedValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AllowedValues::Text(words)
            | AllowedValues::List(words)
            | AllowedValues::Table(words) => f.write_str(words),
            AllowedValues::Bool => f.write_str("true or false"),
            AllowedValues::Words([one]) => write!(f, "{one}"),
            AllowedValues::Words(words) => {
                let (last, others) = words.split_last().expect("a key accepts a word");
                write!(f, "{} or {last}", others.join(", "))
            }
            AllowedValues::Count(min, max) => write!(f, "{min} to {max}"),
            AllowedValues::Between(min, max) => write!(f, "{min} to {max}"),
            AllowedValues::Above(min, f64::MAX) => write!(f, "larger than {min}"),
            AllowedValues::Above(min, max) => write!(f, "larger than {min}, at most {max}"),
            AllowedValues::Finite("") => f.write_str("a finite number"),
            AllowedValues::Finite(words) => write!(f, "a finite number, {words}"),
            AllowedValues::Size(mib) => write!(
                f,
                "a size of at least {mib}MiB, as in \"500MiB\" or \"20GiB\""
            ),
            AllowedValues::SizeBelow(words) => write!(f, "a size of {words}, as in \"100MiB\""),
            AllowedValues::Time => {
                f.write_str("a time of at most 36500d, as in \"90d\", \"12h\", \"30m\" or \"45s\"")
            }
        }
    }
}
