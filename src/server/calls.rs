//! The calls over gRPC, counted by method and by the code of their answer.
//!
//! Invariant: each call is counted once. One whose caller takes it back before it is answered counts as
//! CANCELLED, and a stream that was opened as OK, however it ends.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tonic::Code;

use super::access::Method;

/// The codes of gRPC, by their number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The name of a code, as gRPC writes it.
pub(super) fn name(code: Code) -> &'static str {
    CODES[code as usize]
}

/// The number of calls, by method and code.
#[derive(Debug)]
pub(super) struct Calls(Vec<[AtomicU64; CODES.len()]>);

impl Calls {
    pub(super) fn new() -> Calls {
        Calls((0..Method::PLACES).map(|_| Default::default()).collect())
    }

    /// One more.
    pub(super) fn add(&self, method: Method, code: Code) {
        self.0[method.place()][code as usize].fetch_add(1, Relaxed);
    }

    /// The counts that are not zero, with service, method and code.
    pub(super) fn counted(&self) -> impl Iterator<Item = ([&'static str; 3], u64)> {
        Method::all().flat_map(|(place, service, method)| {
            let counts = self.0[place].iter().zip(CODES);
            counts.filter_map(move |(count, code)| {
                let n = count.load(Relaxed);
                (n > 0).then_some(([service, method, code], n))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_names() {
        for number in 0..CODES.len() as i32 {
            assert_eq!(Code::from(number) as i32, number);
        }
        assert_eq!(name(Code::Ok), "OK");
        assert_eq!(name(Code::DeadlineExceeded), "DEADLINE_EXCEEDED");
        assert_eq!(name(Code::Unauthenticated), "UNAUTHENTICATED");
    }
}
