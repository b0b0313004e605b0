//! A message of the wire, whose kind the first byte says.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| perennial::fuzz::wire(bytes));
