//! The names of types: each has one meaning in the whole crate, and is a noun.
//!
//! Invariant: a type outside of tests is defined in one file; the idioms of [`IDIOMS`] in several.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, check, sources};

/// Names that several files define: the arguments of each command, the configuration and the error of
/// each room.
const IDIOMS: [&str; 3] = ["Args", "Config", "Error"];
/// Participles and pronouns that name no thing.
const NO_NOUNS: [&str; 30] = [
    "Ahead",
    "Amended",
    "Answered",
    "Answering",
    "Asked",
    "Closed",
    "Computed",
    "Counted",
    "Expected",
    "Found",
    "Given",
    "Held",
    "Kept",
    "LeftOut",
    "Listed",
    "Made",
    "NotDerived",
    "Opened",
    "Pending",
    "Reached",
    "Refused",
    "Sharing",
    "Spending",
    "Spent",
    "Stored",
    "Taken",
    "Then",
    "Told",
    "Unsent",
    "Waiting",
];

/// The type that a line defines at the root of its file.
fn defined(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub") {
        Some(rest) => rest.split_once(' ')?.1,
        None => line,
    };
    // `pub(in crate::learn) struct`
    let line = line.split_once(") ").map_or(line, |(visible, rest)| {
        if visible.starts_with("crate::") {
            rest
        } else {
            line
        }
    });
    let (keyword, rest) = line.split_once(' ')?;
    let is_type = matches!(keyword, "struct" | "enum" | "trait" | "type" | "union");
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    is_type.then(|| &rest[..end.unwrap_or(rest.len())])
}

/// The types of a file with the numbers of their lines, without those of its tests.
fn types(file: &Source) -> Vec<(usize, &str)> {
    let lines = file.lines.iter().enumerate().take(file.n_untested());
    let defined = lines.filter_map(|(index, line)| Some((index + 1, defined(line)?)));
    defined.collect()
}

#[test]
fn a_type_name_is_defined_in_one_file() {
    let files = sources(&["src"]);
    let mut by_name: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in &files {
        for (_, name) in types(file) {
            by_name.entry(name).or_default().insert(&file.path);
        }
    }
    assert!(by_name.len() > 500, "{} types were read", by_name.len());
    check("names of types", &files, |file| {
        let own = types(file).into_iter();
        let shared = own.filter(|(_, name)| by_name[name].len() > 1 && !IDIOMS.contains(name));
        let sentence = |name| format!("{name} is defined in {:?}", by_name[name]);
        shared.map(|(line, name)| (line, sentence(name))).collect()
    });
    for idiom in IDIOMS {
        assert!(by_name[idiom].len() > 1, "{idiom} is in one file: no idiom");
    }
}

#[test]
fn a_type_is_named_by_a_noun() {
    check("nouns", &sources(&["src"]), |file| {
        let own = types(file).into_iter();
        let others = own.filter(|(_, name)| NO_NOUNS.contains(name));
        others
            .map(|(line, name)| (line, format!("{name} names no thing")))
            .collect()
    });
}

#[test]
fn definitions_are_read_from_lines() {
    let check = |line: &str, expected: Option<&str>| {
        assert_eq!(defined(line), expected, "{line}");
    };
    check("pub struct Journal {", Some("Journal"));
    check("pub(crate) enum Level {", Some("Level"));
    check("pub(in crate::learn) struct Whole<'a> {", Some("Whole"));
    check("type WindowEnd = (Time, u64, u32);", Some("WindowEnd"));
    check("struct Floats(Vec<f32>);", Some("Floats"));
    check("    type Item = u8;", None);
    check("fn struct_of(a: u8) -> u8 {", None);
    check("/// struct Of a sentence", None);
    check("impl Learner {", None);
}
