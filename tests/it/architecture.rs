//! The rules of the tree, read from its text: which room may use which, the words that each must not name,
//! and how large things may be.
//!
//! Invariant: one rule, one test; a failure lists every place as `file:line`.

mod ci;
mod doc_lines;
mod modules;
mod names;
mod promises;
mod public;
mod wire_document;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// The rooms, from left to right: each uses itself and those before it.
const ROOMS: [&str; 10] = [
    "event", "device", "onnx", "model", "learn", "store", "engine", "proto", "server", "fuzz",
];
/// Rooms that are functions of their arguments and nothing else.
const PURE: [&str; 5] = ["event", "device", "onnx", "model", "learn"];
/// The attribute of code that only tests have.
const TESTS: &str = "#[cfg(test)]";
const LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 60;
/// Tests that are longer: each is one story whose steps need those before.
const LONGER_TESTS: [(&str, &str); 10] = [
    (
        "tests/it/adoption.rs",
        "logged_decisions_are_as_they_were_taken",
    ),
    (
        "tests/it/evaluate.rs",
        "a_policy_is_valued_on_decisions_of_another",
    ),
    (
        "tests/it/evaluate.rs",
        "a_policy_is_valued_on_what_a_server_journaled",
    ),
    (
        "tests/it/grpc/undoing.rs",
        "p8_only_so_many_audits_and_dry_runs_are_under_way",
    ),
    ("tests/it/orders/meeting.rs", "check"),
    (
        "tests/it/pretrained/encoder.rs",
        "p9_a_bad_folder_is_refused_in_a_sentence_and_others_serve",
    ),
    (
        "tests/it/recovery/full.rs",
        "p12_orders_are_taken_by_a_full_journal_and_give_it_room",
    ),
    (
        "tests/it/retraction.rs",
        "p4_every_answer_is_given_again_bit_for_bit",
    ),
    (
        "tests/it/retraction.rs",
        "p6_a_retracted_source_was_never_there",
    ),
    (
        "tests/it/retraction.rs",
        "p6_what_is_erased_is_gone_and_the_journal_still_verifies",
    ),
];

/// A source file.
struct Source {
    /// From the root of the repository, with `/`.
    path: String,
    lines: Vec<String>,
    /// Whether it is a module that only tests have.
    of_tests: bool,
}

impl Source {
    /// The part of the crate that it belongs to: `src/learn/join.rs` is of `learn`.
    fn room(&self) -> &str {
        let inner = self.path.strip_prefix("src/").unwrap_or("");
        let first = inner.split('/').next().unwrap_or("");
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Lines of code with their 1-based number, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.lines.iter().enumerate();
        let numbered = lines.map(|(index, line)| (index + 1, line.trim()));
        numbered.filter(|(_, line)| !line.starts_with("//"))
    }

    /// The number of lines before the tests; none of a file of tests.
    fn n_untested(&self) -> usize {
        let mut marks = self.lines.windows(2);
        let end = marks.position(|pair| pair[0].trim() == TESTS && pair[1].ends_with('{'));
        if self.of_tests {
            0
        } else {
            end.unwrap_or(self.lines.len())
        }
    }

    /// Where the modules may lie that it declares for tests only.
    fn test_files(&self) -> impl Iterator<Item = String> {
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let own = self.path.trim_end_matches(".rs");
        let marks = self.lines.windows(2);
        let declared = marks.filter(|pair| pair[0].trim() == TESTS && pair[1].ends_with(';'));
        let names = declared.filter_map(|pair| pair[1].trim_end_matches(';').split("mod ").nth(1));
        names.flat_map(move |name| [folder, own].map(|place| format!("{place}/{name}.rs")))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

/// Every Rust file below these folders, in the order of their paths.
fn sources(folders: &[&str]) -> Vec<Source> {
    let mut files = Vec::new();
    folders
        .iter()
        .for_each(|folder| collect(&root().join(folder), &mut files));
    files.sort();
    let read = |file: PathBuf| Source {
        path: file
            .strip_prefix(root())
            .unwrap()
            .to_string_lossy()
            .replace('\\', "/"),
        lines: std::fs::read_to_string(&file)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect(),
        of_tests: false,
    };
    let mut files: Vec<Source> = files.into_iter().map(read).collect();
    let of_tests: Vec<String> = files.iter().flat_map(Source::test_files).collect();
    for file in &mut files {
        file.of_tests = of_tests.contains(&file.path);
    }
    files
}

/// Whether `word` stands in `line` and is not a part of longer names.
fn mentions(line: &str, word: &str) -> bool {
    let of_name = |c: char| c.is_alphanumeric() || c == '_';
    let (first, last) = (word.starts_with(of_name), word.ends_with(of_name));
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        !(first && before.is_some_and(of_name) || last && after.is_some_and(of_name))
    })
}

#[test]
fn words_are_found_whole() {
    let check = |line: &str, word: &str, expected: bool| {
        assert_eq!(mentions(line, word), expected, "{word} in {line}");
    };
    check("use crate::learn::Learner;", "crate::learn", true);
    check("use crate::learning;", "crate::learn", false);
    check("let Instants = 1;", "Instant", false);
    check("Instant::now()", "Instant", true);
    check("eprintln!()", "println!", false);
    check("a::HashMap<K, V>", "HashMap", true);
}

/// Fails with every place that a rule finds.
fn check(rule: &str, files: &[Source], find: impl Fn(&Source) -> Vec<(usize, String)>) {
    assert!(!files.is_empty(), "{rule}: no file was read");
    let found = files.iter().flat_map(|file| {
        let places = find(file).into_iter();
        places.map(move |(line, what)| format!("{}:{line}: {what}", file.path))
    });
    let found: Vec<String> = found.collect();
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

/// Fails where a line of code has one of these words in a file that `of` picks.
fn check_words(rule: &str, files: &[Source], words: &[&str], of: impl Fn(&Source) -> bool) {
    check(rule, files, |file| {
        let lines = file.code().filter(|_| of(file));
        let named = lines.flat_map(|(number, line)| {
            let named = words.iter().filter(|word| mentions(line, word));
            named.map(move |word| (number, format!("names {word}")))
        });
        named.collect()
    });
}

#[test]
fn a_room_uses_itself_and_rooms_to_its_left() {
    check("rooms", &sources(&["src"]), |file| {
        let place = ROOMS.iter().position(|room| *room == file.room());
        let allowed = match (place, file.room()) {
            (Some(place), _) => &ROOMS[..=place],
            (None, "lib") => return Vec::new(),
            (None, "main" | "cli") => &[],
            (None, other) => return vec![(1, format!("{other} is no room"))],
        };
        let mut found = Vec::new();
        for (number, line) in file.code() {
            // A group would hide from this test which rooms it takes.
            if line.contains("crate::{") || line.contains("perennial::{") {
                found.push((number, "takes several rooms in one group".to_owned()));
            }
            let used = ROOMS.iter().filter(|room| {
                mentions(line, &format!("crate::{room}")) && !allowed.contains(*room)
            });
            found.extend(used.map(|room| (number, format!("uses {room}"))));
        }
        found
    });
}

#[test]
fn no_room_is_reached_around_the_root() {
    check("super", &sources(&["src"]), |file| {
        let module = file.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let root = "super::".repeat(module.split('/').count() - 1);
        let lines = file
            .code()
            .take_while(|(number, _)| *number <= file.n_untested());
        let around = lines.filter(|(_, line)| line.contains(&root));
        around
            .map(|(number, _)| (number, "write crate::".to_owned()))
            .collect()
    });
}

#[test]
fn the_server_reaches_learner_and_store_only_through_the_engine() {
    let words = ["crate::learn", "crate::store"];
    check_words("server", &sources(&["src"]), &words, |file| {
        file.room() == "server"
    });
}

#[test]
fn the_engine_knows_no_wire_and_no_command_line() {
    let words = ["tonic", "prost", "clap", "crate::proto"];
    check_words("engine", &sources(&["src"]), &words, |file| {
        file.room() == "engine"
    });
}

#[test]
fn generated_messages_stop_at_the_server() {
    check_words("messages", &sources(&["src"]), &["crate::proto"], |file| {
        !matches!(file.room(), "server" | "proto")
    });
}

#[test]
fn disk_formats_are_no_wire_messages() {
    let words = ["tonic", "prost"];
    check_words("store", &sources(&["src"]), &words, |file| {
        file.room() == "store"
    });
}

#[test]
fn pure_rooms_name_no_world() {
    let words = [
        "std::fs",
        "std::net",
        "std::thread",
        "std::time",
        "std::{",
        "SystemTime",
        "Instant",
        "tokio",
        "tracing",
        "println!",
        "eprintln!",
        "print!",
        "eprint!",
        "dbg!",
        "HashMap",
        "HashSet",
        "rand::rng",
        "thread_rng",
    ];
    let files = sources(&["src"]);
    let pure = |file: &Source| PURE.contains(&file.room());
    check_words("pure rooms", &files, &words, pure);
    check("pure rooms", &files, |file| {
        // The target of the build is a constant.
        let reads = |line: &str| mentions(&line.replace("std::env::consts", ""), "std::env");
        let lines = file.code().filter(|(_, line)| pure(file) && reads(line));
        lines
            .map(|(number, _)| (number, "reads the environment".to_owned()))
            .collect()
    });
}

#[test]
fn only_the_binary_uses_anyhow() {
    check_words("anyhow", &sources(&["src"]), &["anyhow"], |file| {
        !matches!(file.room(), "main" | "cli")
    });
}

/// The lines of code where an error is a bare `String`: the last argument of a `Result`, however
/// its lines are broken.
fn errors_without_a_type(file: &Source) -> Vec<usize> {
    const OPENS: &str = "Result<";
    let mut text = String::new();
    let mut starts = Vec::new();
    for (number, line) in file.code() {
        starts.push((text.len(), number));
        text.push_str(&line.replace("->", "  "));
        text.push(' ');
    }
    let is_untyped = |inside: &str| {
        let (mut depth, mut last) = (0, 0);
        for (place, sign) in inside.char_indices() {
            match sign {
                '>' | ')' | ']' if depth == 0 => {
                    return last > 0 && inside[last..place].trim_matches([' ', ',']) == "String";
                }
                '<' | '(' | '[' => depth += 1,
                '>' | ')' | ']' => depth -= 1,
                ',' if depth == 0 && !inside[place + 1..].trim_start().starts_with('>') => {
                    last = place + 1;
                }
                _ => {}
            }
        }
        false
    };
    let found = text.match_indices(OPENS);
    let found = found.filter(|(place, _)| is_untyped(&text[place + OPENS.len()..]));
    let line = |place: usize| starts.partition_point(|(start, _)| *start <= place) - 1;
    found.map(|(place, _)| starts[line(place)].1).collect()
}

#[test]
fn an_error_is_a_type_and_no_sentence() {
    check("errors", &sources(&["src"]), |file| {
        let lines = if ROOMS.contains(&file.room()) {
            errors_without_a_type(file)
        } else {
            Vec::new()
        };
        let untyped = |line| (line, "a Result whose error is a String".to_owned());
        lines.into_iter().map(untyped).collect()
    });
}

#[test]
fn errors_without_a_type_are_found() {
    let check = |text: &str, expected: &[usize]| {
        let file = Source {
            path: "src/model/a.rs".to_owned(),
            lines: text.lines().map(str::to_owned).collect(),
            of_tests: false,
        };
        assert_eq!(errors_without_a_type(&file), expected, "{text}");
    };
    check("fn a() -> Result<u8, String> {", &[1]);
    check(
        "// Result<u8, String>\nfn a() -> Result<Vec<(u8, f32)>, String>;",
        &[2],
    );
    check("fn a() -> Result<\n    (u8, u8),\n    String,\n> {", &[1]);
    check("a: Option<Result<fn(u8) -> u8, String>>,", &[1]);
    check("fn a() -> Result<BTreeMap<u8, String>, Error> {", &[]);
    check("fn a() -> Result<(u8, String), Error> {", &[]);
    check(
        "fn a() -> Result<String> { Result<Option<String>, Error> }",
        &[],
    );
}

#[test]
fn nothing_unwraps_outside_tests() {
    check("unwrap", &sources(&["src"]), |file| {
        let end = file.n_untested();
        let lines = file.code().take_while(|(number, _)| *number <= end);
        let unwraps = lines.filter(|(_, line)| line.contains(".unwrap()"));
        unwraps
            .map(|(number, _)| (number, "say why it holds".to_owned()))
            .collect()
    });
}

#[test]
fn every_file_says_what_it_is_for() {
    check("//!", &sources(&["src", "tests", "benches"]), |file| {
        let opens = file.lines.first().is_some_and(|l| l.starts_with("//!"));
        let missing = (1, "does not open with //!".to_owned());
        (!opens).then_some(missing).into_iter().collect()
    });
}

#[test]
fn files_are_short() {
    check("lines", &sources(&["src", "tests", "benches"]), |file| {
        let n_lines = file.lines.len();
        let long = (n_lines, format!("{n_lines} lines, at most {LINES_MAX}"));
        (n_lines > LINES_MAX).then_some(long).into_iter().collect()
    });
}

/// The functions of a formatted file: first line, number of lines.
fn functions(lines: &[String]) -> Vec<(usize, usize)> {
    let opens = |line: &str| {
        let line = line.trim_start();
        let mut words = line.split(' ');
        let before = [
            "pub",
            "pub(super)",
            "pub(crate)",
            "async",
            "const",
            "unsafe",
        ];
        words.find(|word| !before.contains(word)) == Some("fn")
    };
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate().filter(|(_, line)| opens(line)) {
        let indent = line.len() - line.trim_start().len();
        let (one_line, closing) = (line.ends_with('}'), " ".repeat(indent) + "}");
        let without_body =
            |line: &String| line.ends_with(';') && line.len() - line.trim_start().len() == indent;
        let ends = |line: &String| *line == closing || without_body(line);
        let more = lines[start..].iter().position(ends);
        match (one_line, more) {
            (true, _) | (_, None) => found.push((start + 1, 1)),
            (false, Some(more)) => found.push((start + 1, more + 1)),
        }
    }
    found
}

#[test]
fn functions_fit_a_screen() {
    let found: RefCell<Vec<(&str, &str)>> = RefCell::default();
    check(
        "functions",
        &sources(&["src", "tests", "benches"]),
        |file| {
            let read = if file.path.starts_with("src/") {
                &file.lines[..file.n_untested()]
            } else {
                &file.lines[..]
            };
            let mut long = functions(read);
            long.retain(|(_, n_lines)| *n_lines > FUNCTION_LINES_MAX);
            long.retain(|(start, _)| {
                let named = |name: &str| mentions(&file.lines[start - 1], &format!("fn {name}"));
                let mut excepted = LONGER_TESTS.iter();
                let excepted = excepted.find(|(path, name)| *path == file.path && named(name));
                found.borrow_mut().extend(excepted);
                excepted.is_none()
            });
            let what = |(start, n_lines)| (start, format!("a function of {n_lines} lines"));
            long.into_iter().map(what).collect()
        },
    );
    let mut found = found.into_inner();
    found.sort_unstable();
    assert_eq!(found, LONGER_TESTS, "an exception that is none any more");
}

#[test]
fn functions_are_measured_from_signature_to_brace() {
    let text = "fn a() {\n    b();\n}\n\nimpl T {\n    pub async fn c(\n        d: u8,\n    ) -> u8 {\n        e\n    }\n    fn f() {}\n}\n";
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(functions(&lines), [(1, 3), (6, 5), (11, 1)]);
}

#[test]
fn names_say_what_a_file_is() {
    let banned = [
        "utils", "common", "helpers", "manager", "handler", "base", "core", "impl",
    ];
    check("names", &sources(&["src", "benches"]), |file| {
        let parts = file.path.trim_end_matches(".rs").split('/');
        let named = parts.filter(|part| banned.contains(part));
        named
            .map(|part| (1, format!("{part} says nothing")))
            .collect()
    });
}

#[test]
fn no_test_is_ignored_and_nothing_sleeps() {
    // Put together, so that this file does not find itself.
    let words = [concat!("thread", "::sleep"), concat!("#[", "ignore")];
    let files = sources(&["src", "tests"]);
    check_words("tests", &files, &words, |_| true);
}

#[test]
fn the_build_is_pinned() {
    assert!(root().join("Cargo.lock").is_file(), "Cargo.lock is missing");
    let ignored = std::fs::read_to_string(root().join(".gitignore")).unwrap_or_default();
    let unpinned = ignored.lines().any(|line| line.contains("Cargo.lock"));
    assert!(!unpinned, ".gitignore leaves Cargo.lock out");
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let stated = |line: &str| line.starts_with("rust-version = \"");
    assert!(manifest.lines().any(stated), "rust-version is not stated");
}

#[test]
fn documents_name_files_that_are_there() {
    let mut documents: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
        .map(|name| root().join(name))
        .to_vec();
    let folder = std::fs::read_dir(root().join("docs")).unwrap();
    documents.extend(folder.map(|entry| entry.unwrap().path()));
    let mut missing = Vec::new();
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        let is_of_a_path = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
        for word in text.split(|c| !is_of_a_path(c)) {
            let path = word.trim_end_matches(['.', '/']);
            let ours = ["src/", "tests/", "benches/", "docs/", "examples/", "proto/"];
            if ours.iter().any(|folder| path.starts_with(folder)) && !root().join(path).exists() {
                missing.push(format!("{}: {path}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_bench_is_in_the_document_of_measurements() {
    let document = std::fs::read_to_string(root().join("docs/measured.md")).unwrap();
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let benches = manifest.split("[[bench]]\nname = \"").skip(1);
    let benches: Vec<&str> = benches.filter_map(|rest| rest.split('"').next()).collect();
    assert!(!benches.is_empty(), "Cargo.toml lists no bench");
    let is_missing = |name: &&str| !document.contains(&format!("--bench {name}"));
    let missing: Vec<&str> = benches.into_iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "docs/measured.md names no {missing:?}");
}

#[test]
fn every_promise_has_tests_that_carry_its_number() {
    let design = std::fs::read_to_string(root().join("docs/design.md")).unwrap();
    let promises = design.lines().filter_map(|line| {
        let number = line.strip_prefix("| P")?.split(' ').next()?;
        number.parse::<u32>().ok()
    });
    let files = sources(&["src", "tests"]);
    let is_tested = |number: &u32| {
        let name = format!("fn p{number}_");
        files
            .iter()
            .any(|file| file.code().any(|(_, line)| line.contains(&name)))
    };
    let promises: Vec<u32> = promises.collect();
    assert!(!promises.is_empty(), "docs/design.md lists no promise");
    let untested: Vec<u32> = promises
        .into_iter()
        .filter(|number| !is_tested(number))
        .collect();
    assert!(
        untested.is_empty(),
        "no test carries the number of {untested:?}"
    );
}
