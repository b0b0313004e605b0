//! The keys of TLS as PEM.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| perennial::fuzz::keys(bytes));
