//! The nearest of the known keys for one that is misspelt.

use strsim::levenshtein;

/// The most letters in which a misspelt key differs.
const LETTERS_MAX: usize = 2;

/// The known key that differs least from the one that is written, and little.
pub(in crate::model::spec) fn nearest<'a>(
    written: &str,
    known: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let nearest = known.min_by_key(|known| levenshtein(known, written));
    nearest.filter(|known| levenshtein(known, written) <= LETTERS_MAX)
}

/// The error as a text: for an unknown key with the nearest of those that are expected.
pub fn with_nearest(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let message = error.message();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown field").then(|| quoted.next());
    let nearest = unknown
        .flatten()
        .and_then(|written| nearest(written, quoted));
    match nearest {
        Some(nearest) => format!("{}; did you mean `{nearest}`?", text.trim_end()),
        None => text,
    }
}
