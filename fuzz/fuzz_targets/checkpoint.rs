//! The files of a checkpoint.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| perennial::fuzz::checkpoint(bytes));
