//! A model.toml.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| perennial::fuzz::model_toml(bytes));
