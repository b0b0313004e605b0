//! The last program of tests: one line that counts and names those that were passed over.
//!
//! Invariant: it speaks of this run of cargo alone.

#[path = "it/support/passed_over.rs"]
mod passed_over;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use passed_over::{note_of, parent};

fn main() {
    let note = note_of(parent());
    let noted = fs::read_to_string(&note).unwrap_or_default();
    let tests: BTreeMap<&str, &str> = noted.lines().filter_map(|l| l.split_once(": ")).collect();
    let named = tests
        .iter()
        .map(|(test, lacks)| format!("{test} ({lacks})"));
    let named: Vec<String> = named.collect();
    let summary = match named.len() {
        0 => "none passed over".to_owned(),
        n => format!("{n} passed over: {}", named.join("; ")),
    };
    println!("{summary}");
    fs::write(note.with_file_name("passed-over"), summary).expect("it is kept");
    clear(note.parent().expect("a note lies in a folder"));
}

/// Removes the notes of this run, and of runs that have ended.
fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).expect("it is there").flatten() {
        let name = entry.file_name();
        let runner = name
            .to_str()
            .and_then(|name| name.strip_prefix("passed-over-"));
        let Some(runner) = runner else { continue };
        let runs = Path::new("/proc").join(runner).exists();
        if !runs || runner == parent().to_string() {
            // Another run may be clearing, too.
            let _ = fs::remove_file(entry.path());
        }
    }
}
