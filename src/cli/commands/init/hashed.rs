//! Sets and maps of numbers that are hashes already.

use std::hash::{BuildHasherDefault, Hasher};

/// The hasher of numbers that are hashes already.
pub(super) type IdentityHasher = BuildHasherDefault<HashedNumber>;

/// A number that is a hash already.
#[derive(Default)]
pub(super) struct HashedNumber(u64);

impl Hasher for HashedNumber {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
