//! Limits that an operator ordered while the model ran: a table `[ordered]` behind the text as its
//! author wrote it.
//!
//! Invariant: an order holds, over restarts, until model.toml states other limits than it did when
//! the order was given.

use super::raw::{Raw, raw};
use super::values::value;
use crate::model::spec::error::Error;
use crate::model::spec::limits::OrderedLimits;

const HEAD: &str = "\n[ordered]\n";

/// The text with these limits, beside those that were ordered before.
pub(super) fn order(toml: &str, limits: &OrderedLimits) -> Result<String, Error> {
    let earlier = raw(toml)?.ordered;
    Ok(write(
        toml,
        &OrderedLimits {
            bytes_max: limits.bytes_max.clone().or(earlier.bytes_max),
            retract_within: limits.retract_within.clone().or(earlier.retract_within),
        },
    ))
}

/// The text with the keys that `journaled` has ordered, unless its author has changed the same keys since.
pub(super) fn carry(journaled: &str, toml: &str) -> String {
    let stated = |raw: &Raw| raw.journal.orderable();
    match (raw(journaled), raw(toml)) {
        (Ok(before), Ok(now)) if stated(&before) == stated(&now) => write(toml, &before.ordered),
        _ => toml.to_owned(),
    }
}

/// Refuses the table where an author wrote it.
pub(super) fn check_absent(raw: &Raw) -> Result<(), Error> {
    if raw.ordered == OrderedLimits::default() {
        Ok(())
    } else {
        let allowed = "it is written behind a description by the program; leave it out";
        Err(value("ordered", "a table", allowed))
    }
}

fn write(toml: &str, limits: &OrderedLimits) -> String {
    let mut text = match toml.split_once(HEAD) {
        None => toml.to_owned(),
        Some((before, after)) => {
            let rest = after.find("\n[").map_or("", |next| &after[next..]);
            format!("{before}{rest}")
        }
    };
    if *limits == OrderedLimits::default() {
        return text;
    }
    text.push_str(HEAD);
    let keys = [
        ("bytes_max", &limits.bytes_max),
        ("retract_within", &limits.retract_within),
    ];
    for (key, value) in keys {
        if let Some(value) = value {
            // A JSON string without control characters is one of TOML, too.
            let value = serde_json::Value::from(value.as_str());
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Spec;

    const TOML: &str = "task = \"regression\"\n[[input]]\nname = \"x\"\nkind = \"number\"\n\
        [journal]\nbytes_max = \"64MiB\"\n";

    fn limits(bytes_max: Option<&str>, retract_within: Option<&str>) -> OrderedLimits {
        OrderedLimits {
            bytes_max: bytes_max.map(str::to_owned),
            retract_within: retract_within.map(str::to_owned),
        }
    }

    #[test]
    fn an_order_holds_until_the_author_states_other_limits() {
        let check = |toml: &str, expected: (u64, u64)| {
            let journal = Spec::parse(toml).unwrap().journal;
            assert_eq!(
                (journal.bytes_max >> 20, journal.retract_within_s),
                expected
            );
        };
        let one = order(TOML, &limits(Some("128MiB"), None)).unwrap();
        check(&one, (128, 7 * 24 * 3600));
        let pinned = Spec::pin(&one, &[], 2);
        let two = order(&pinned, &limits(None, Some("5s"))).unwrap();
        check(&two, (128, 5));
        assert_eq!(two.matches("[ordered]").count(), 1);
        check(&order(&two, &limits(Some("32MiB"), None)).unwrap(), (32, 5));
        check(&carry(&two, TOML), (128, 5));
        let other = TOML.replace("64MiB", "96MiB");
        check(&carry(&two, &other), (96, 7 * 24 * 3600));
        assert_eq!(carry(TOML, TOML), TOML);
    }

    #[test]
    fn p9_limits_that_cannot_be_are_refused() {
        let check = |ordered: OrderedLimits, message: &str| {
            let toml = order(TOML, &ordered).unwrap();
            let error = Spec::parse(&toml).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        };
        check(limits(Some("1MB"), None), "journal.bytes_max = \"1MB\"");
        check(
            limits(None, Some("soon")),
            "journal.retract_within = \"soon\"",
        );
        check(limits(Some("\"\n[x]"), None), "at least 16MiB");
        let written = order(TOML, &limits(Some("1GiB"), None)).unwrap();
        let error = Spec::named(&written).unwrap_err().to_string();
        assert!(error.contains("leave it out"), "{error}");
    }
}
