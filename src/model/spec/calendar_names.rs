//! The names of months and of weekdays as files write them: whole or cut, in English, German, French,
//! Spanish and Italian.
//!
//! Invariant: no name of a month is that of another month in another language, so that none has to be
//! given the language of a text.

/// The names of each month.
const MONTHS: [&[&str]; 12] = [
    &[
        "january", "januar", "jänner", "janvier", "enero", "gennaio", "janv", "jan", "jän", "ene",
        "gen",
    ],
    &[
        "february", "februar", "février", "fevrier", "febrero", "febbraio", "févr", "fevr", "feb",
        "fév", "fev",
    ],
    &[
        "march", "märz", "maerz", "mars", "marzo", "mar", "mär", "mrz",
    ],
    &["april", "avril", "abril", "aprile", "apr", "avr", "abr"],
    &["may", "mai", "mayo", "maggio", "mag"],
    &["june", "juni", "juin", "junio", "giugno", "jun", "giu"],
    &[
        "july", "juli", "juillet", "julio", "luglio", "juil", "jul", "lug",
    ],
    &["august", "août", "aout", "agosto", "aug", "aoû", "ago"],
    &[
        "september",
        "septembre",
        "septiembre",
        "setiembre",
        "settembre",
        "sept",
        "sett",
        "sep",
        "set",
    ],
    &[
        "october", "oktober", "octobre", "octubre", "ottobre", "oct", "okt", "ott",
    ],
    &["november", "novembre", "noviembre", "nov"],
    &[
        "december",
        "dezember",
        "décembre",
        "decembre",
        "diciembre",
        "dicembre",
        "dec",
        "dez",
        "déc",
        "dic",
    ],
];
/// The names of weekdays, which are passed over.
const WEEKDAYS: [&str; 82] = [
    "monday",
    "montag",
    "lundi",
    "lunes",
    "lunedì",
    "lunedi",
    "mon",
    "mo",
    "lun",
    "tuesday",
    "dienstag",
    "mardi",
    "martes",
    "martedì",
    "martedi",
    "tues",
    "tue",
    "di",
    "mar",
    "wednesday",
    "mittwoch",
    "mercredi",
    "miércoles",
    "miercoles",
    "mercoledì",
    "mercoledi",
    "wed",
    "mi",
    "mer",
    "mié",
    "mie",
    "thursday",
    "donnerstag",
    "jeudi",
    "jueves",
    "giovedì",
    "giovedi",
    "thurs",
    "thur",
    "thu",
    "do",
    "jeu",
    "jue",
    "gio",
    "friday",
    "freitag",
    "vendredi",
    "viernes",
    "venerdì",
    "venerdi",
    "fri",
    "fr",
    "ven",
    "vie",
    "saturday",
    "samstag",
    "sonnabend",
    "samedi",
    "sábado",
    "sabado",
    "sabato",
    "sat",
    "sa",
    "sam",
    "sáb",
    "sab",
    "sunday",
    "sonntag",
    "dimanche",
    "domingo",
    "domenica",
    "sun",
    "so",
    "dim",
    "dom",
    "lu",
    "ma",
    "me",
    "je",
    "ve",
    "gi",
    "sá",
];

/// The month, from 1, whose name a text begins with, and the rest of the text.
pub(super) fn month(text: &str) -> Option<(i64, &str)> {
    let months = MONTHS.iter().zip(1..);
    let named = months.flat_map(|(names, month)| names.iter().map(move |name| (*name, month)));
    let found = named.filter_map(|(name, month)| Some((month, after(text, name)?)));
    longest(found)
}

/// The text behind the name of a weekday.
pub(super) fn after_weekday(text: &str) -> Option<&str> {
    let found = WEEKDAYS
        .iter()
        .filter_map(|name| Some(((), after(text, name)?)));
    longest(found).map(|((), rest)| rest)
}

/// The find that leaves the shortest rest, without the point after a cut name.
fn longest<'a, T>(found: impl Iterator<Item = (T, &'a str)>) -> Option<(T, &'a str)> {
    let (found, rest) = found.min_by_key(|(_, rest)| rest.len())?;
    Some((found, rest.trim_start_matches('.')))
}

/// The rest of a text that begins with a name in any case.
fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = text.chars();
    for expected in name.chars() {
        let found = rest.next()?;
        let is_same = found == expected || found.to_lowercase().eq([expected]);
        if !is_same {
            return None;
        }
    }
    Some(rest.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_read_in_five_languages_and_in_any_case() {
        let check = |text: &str, expected: Option<(i64, &str)>| {
            assert_eq!(month(text), expected, "{text}");
        };
        check("March 5", Some((3, " 5")));
        check("MAR5", Some((3, "5")));
        check("sept. 1", Some((9, " 1")));
        check("März 2024", Some((3, " 2024")));
        check("MÄRZ", Some((3, "")));
        check("mrz. 24", Some((3, " 24")));
        check("Okt. 24", Some((10, " 24")));
        check("Dez", Some((12, "")));
        check("févr.-21", Some((2, "-21")));
        check("août 2021", Some((8, " 2021")));
        check("juillet", Some((7, "")));
        check("juin", Some((6, "")));
        check("enero de", Some((1, " de")));
        check("setiembre", Some((9, "")));
        check("gennaio", Some((1, "")));
        check("mag 21", Some((5, " 21")));
        check("maggio", Some((5, "")));
        check("ma 21", None);
        check("", None);
    }

    #[test]
    fn a_name_is_of_one_month() {
        let months = MONTHS.iter().zip(1..);
        for (name, expected) in
            months.flat_map(|(names, month)| names.iter().map(move |name| (name, month)))
        {
            assert_eq!(month(name), Some((expected, "")), "{name}");
        }
    }

    #[test]
    fn weekdays_are_passed_over() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(after_weekday(text), expected, "{text}");
        };
        check("Monday, 4", Some(", 4"));
        check("MON 4", Some(" 4"));
        check("Mo 04.01.2021", Some(" 04.01.2021"));
        check("Donnerstag, 7.", Some(", 7."));
        check("lun. 4", Some(" 4"));
        check("Miércoles 6", Some(" 6"));
        check("domenica 3", Some(" 3"));
        check("4", None);
    }
}
