//! The library opens only names that its callers use.
//!
//! Invariant: a public function or constant of the library is named by its program, a test, a bench, an
//! example or a fuzz target; all others are `pub(crate)`, so that the compiler finds those that nobody calls.

use std::collections::BTreeSet;

use super::{Source, sources};

/// The library's own folders; the program of the command line uses it from outside.
fn is_of_library(source: &Source) -> bool {
    let outside = ["src/cli/", "src/main.rs", "src/fuzz", "src/proto"];
    !source.of_tests && !outside.iter().any(|start| source.path.starts_with(start))
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The name of the public function or constant that a line begins.
fn public(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("pub ")?;
    let mut words = words(rest).skip_while(|word| ["const", "async", "unsafe"].contains(word));
    match words.next()? {
        "fn" | "static" => words.next(),
        // `const` was passed over.
        name => rest.starts_with("const ").then_some(name),
    }
}

#[test]
fn a_public_name_is_used_outside_the_library() {
    let library = sources(&["src"]);
    let outside = sources(&[
        "src/cli", "src/fuzz", "tests", "benches", "examples", "fuzz",
    ]);
    let program = sources(&["src"])
        .into_iter()
        .filter(|source| ["src/main.rs", "src/fuzz.rs"].contains(&source.path.as_str()));
    let outside: Vec<Source> = outside.into_iter().chain(program).collect();
    let lines = outside.iter().flat_map(|source| &source.lines);
    let used: BTreeSet<&str> = lines.flat_map(|line| words(line)).collect();
    let mut n_public = 0;
    let mut unused = Vec::new();
    for source in library.iter().filter(|source| is_of_library(source)) {
        for (number, line) in source.lines.iter().enumerate() {
            let Some(name) = public(line) else { continue };
            n_public += 1;
            if !used.contains(name) {
                unused.push(format!("{}:{}: {name}", source.path, number + 1));
            }
        }
    }
    assert!(n_public > 100, "{n_public} public names were found");
    assert!(unused.is_empty(), "{}", unused.join("\n"));
}

#[test]
fn public_functions_and_constants_are_found() {
    let check = |line, expected| assert_eq!(public(line), expected, "{line}");
    check("    pub fn bytes(&self) -> u64 {", Some("bytes"));
    check("pub const fn of(x: u64) -> u64 {", Some("of"));
    check("pub async fn run() {", Some("run"));
    check("pub const ROWS_MAX: usize = 4;", Some("ROWS_MAX"));
    check("pub(crate) fn hidden() {", None);
    check("pub struct Shape {", None);
    check("    pub bytes: u64,", None);
}
