//! The documents that the program prints: each file in docs/ equals the output of its command.

use std::fs;
use std::path::Path;

use crate::support::server::run;

fn check(file: &str, command: &[&str]) {
    let printed = run(command, 0).0;
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(file);
    let written = fs::read_to_string(path).unwrap_or_default();
    let command = command.join(" ");
    assert!(
        written == printed,
        "docs/{file} differs from the program: run `perennial {command} > docs/{file}`"
    );
}

#[test]
fn the_reference_of_keys_is_what_the_program_parses() {
    check("model-toml.md", &["config", "--markdown"]);
}

#[test]
fn the_reference_of_commands_is_their_help() {
    check("command-line.md", &["reference"]);
}
