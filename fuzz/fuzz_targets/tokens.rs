//! A tokenizer.json.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| perennial::fuzz::tokens(bytes));
