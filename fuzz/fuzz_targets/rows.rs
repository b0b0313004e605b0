//! A file of rows. Its readers are of the program, whose modules are compiled in.

#![no_main]

use std::fs;
use std::sync::LazyLock;

use tempfile::TempDir;

#[allow(dead_code)]
#[path = "../../src/cli/mod.rs"]
mod cli;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = FOLDER.path().join("rows");
    fs::write(&path, bytes).expect("it is written");
    if let Ok(rows) = cli::rows::Rows::open(&path, &Default::default()) {
        rows.take_while(Result::is_ok).for_each(drop);
    }
});
