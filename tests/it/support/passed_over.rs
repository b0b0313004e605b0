//! Tests that are passed over for want of something: data, an encoder, a device.
//!
//! Invariant: none is passed over in silence. Each is named on stderr at once, whether or not the
//! output of tests is captured, and counted by `tests/zz_passed_over.rs`, which runs last.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

/// Prints that the test on this thread is passed over, and the reason.
#[allow(dead_code)]
pub(crate) fn pass_over(lacks: &str) {
    let thread = std::thread::current();
    let line = format!("{}: {lacks}\n", thread.name().unwrap_or("a test"));
    // Not by a macro, whose output would be captured.
    let written = std::io::stderr().write_all(format!("passed over: {line}").as_bytes());
    let mut note = OpenOptions::new();
    let noted = note.create(true).append(true).open(note_of(parent()));
    let noted = noted.and_then(|mut note| note.write_all(line.as_bytes()));
    written.and(noted).expect("it is noted");
}

/// Where the tests that were started by this process are noted: beside the programs.
pub(crate) fn note_of(runner: u32) -> PathBuf {
    let program = std::env::current_exe().expect("it has a path");
    let folder = program
        .ancestors()
        .nth(2)
        .expect("it lies in target/release/deps");
    folder.join(format!("passed-over-{runner}"))
}

/// The parent of this program: one run of cargo starts all programs of tests.
pub(crate) fn parent() -> u32 {
    std::os::unix::process::parent_id()
}
