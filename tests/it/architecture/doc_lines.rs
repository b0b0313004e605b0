//! The first lines of documents in the sources: each names its thing.
//!
//! Invariant: no first line of a doc comment begins with a pronoun before its noun.

use super::{Source, check, sources};

/// Words that stand for a thing which the line has not named yet.
const PRONOUNS: [&str; 7] = ["It", "None", "The same", "These", "They", "Those", "What"];
/// Words that begin a question, where the head of a file names its noun or flow.
const QUESTIONS: [&str; 5] = ["How", "When", "Where", "Whether", "Why"];

/// The first of these words by which a text begins.
fn begins_with<'a>(text: &str, words: &[&'a str]) -> Option<&'a str> {
    let begins = |word: &&&str| {
        let rest = text.strip_prefix(**word);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    words.iter().find(begins).copied()
}

/// The first lines of the doc comments of a file, with their numbers.
fn first_lines(file: &Source) -> impl Iterator<Item = (usize, &str)> {
    let is_doc = |line: &str| line.trim_start().starts_with("///");
    let lines = file.lines.iter().enumerate();
    lines.filter_map(move |(index, line)| {
        let follows = index > 0 && is_doc(&file.lines[index - 1]);
        let first = line.trim_start().strip_prefix("///")?;
        (!follows).then(|| (index + 1, first.trim_start()))
    })
}

#[test]
fn a_doc_line_names_its_thing() {
    let files = sources(&["src", "tests", "benches"]);
    let n_lines: usize = files.iter().map(|file| first_lines(file).count()).sum();
    assert!(n_lines > 5000, "{n_lines} first lines were read");
    check("first lines of documents", &files, |file| {
        let sentence = |word: &str| format!("begins with {word}, which names no thing");
        let head = file
            .lines
            .first()
            .and_then(|line| line.strip_prefix("//! "));
        let words = [&PRONOUNS[..], &QUESTIONS[..]].concat();
        let head = head.and_then(|line| begins_with(line, &words));
        let head = head.map(|word| (1, sentence(word)));
        let items = first_lines(file).filter_map(|(number, line)| {
            let word = begins_with(line, &PRONOUNS)?;
            Some((number, sentence(word)))
        });
        head.into_iter().chain(items).collect()
    });
}

#[test]
fn beginnings_are_whole_words() {
    let check = |text: &str, expected: Option<&str>| {
        assert_eq!(begins_with(text, &PRONOUNS), expected, "{text}");
    };
    check("It waits.", Some("It"));
    check("Items of the queue.", None);
    check("None.", Some("None"));
    check("The same of a class.", Some("The same"));
    check("The sameness of two states.", None);
    check("The loss of a class.", None);
    check("", None);
}
