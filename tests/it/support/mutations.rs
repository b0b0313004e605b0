//! Seeded mutations of sound samples: for readers of bytes that others bring.

/// Numbers at which readers err: of lengths, counts and places.
const EXTREMES: [u64; 8] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff_ffff,
    u32::MAX as u64,
    u64::MAX / 2,
];

/// A generator of mutations.
pub(crate) struct Mutations(u64);

impl Mutations {
    pub(crate) fn new(seed: u64) -> Mutations {
        Mutations(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 16) % n.max(1) as u64) as usize
    }

    /// One of the samples with up to five changes.
    pub(crate) fn of(&mut self, samples: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = samples[self.below(samples.len())].clone();
        for _ in 0..=self.below(5) {
            let other = &samples[self.below(samples.len())];
            self.change(&mut bytes, other);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let place = self.below(bytes.len() + 1);
        let end = (place + 1 + self.below(16)).min(bytes.len());
        match self.below(9) {
            0 if place < bytes.len() => bytes[place] ^= 1 << self.below(8),
            1 if place < bytes.len() => bytes[place] = EXTREMES[self.below(5)] as u8,
            2 if place < bytes.len() => bytes[place] = self.below(256) as u8,
            3 if place < end => drop(bytes.drain(place..end)),
            4 if place < end => {
                let again = bytes[place..end].repeat(1 + self.below(3));
                bytes.splice(place..place, again);
            }
            5 => {
                let width = [2, 4, 8][self.below(3)];
                let number = EXTREMES[self.below(EXTREMES.len())].to_le_bytes();
                let end = (place + width).min(bytes.len());
                bytes[place..end].copy_from_slice(&number[..end - place]);
            }
            6 => {
                // A part of another sample.
                let start = self.below(other.len());
                let stop = (start + 1 + self.below(64)).min(other.len());
                bytes.splice(place..end.max(place), other[start..stop].iter().copied());
            }
            7 => self.rewrite_number(bytes, place),
            _ => bytes.truncate(place),
        }
    }

    /// Another number in place of the digits that come next, where a text has some.
    fn rewrite_number(&mut self, bytes: &mut Vec<u8>, place: usize) {
        let is_digit = |byte: &u8| byte.is_ascii_digit();
        let Some(start) = bytes[place..].iter().position(is_digit) else {
            return;
        };
        let start = place + start;
        let n_digits = bytes[start..]
            .iter()
            .take_while(|byte| is_digit(byte))
            .count();
        let number = match self.below(4) {
            0 => "-1".to_owned(),
            1 => "1e308".to_owned(),
            _ => EXTREMES[self.below(EXTREMES.len())].to_string(),
        };
        bytes.splice(start..start + n_digits, number.into_bytes());
    }
}

/// Gives a reader the samples, and then so many mutations of them. One that it panics at is printed.
pub(crate) fn mutate(samples: &[Vec<u8>], n_mutations: usize, read: impl Fn(&[u8])) {
    struct Printed<'a>(&'a [u8]);
    impl Drop for Printed<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("the bytes: {}", self.0.escape_ascii());
            }
        }
    }
    let mut mutations = Mutations::new(7);
    let mutated = (0..n_mutations).map(|_| mutations.of(samples));
    for bytes in samples.iter().cloned().chain(mutated) {
        let printed = Printed(&bytes);
        read(printed.0);
    }
}
