//! The payload of an entry of a journal, behind its kind and the version of its format.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| perennial::fuzz::journal(bytes));
