//! The tests of one input: the watched parts of its values.
//!
//! Invariant: a part of an input is a number or a kind a row, by a rule that never changes: the value
//! itself, whether it is a gap, a length, the share of new words, or a fixed random projection.

use super::change_test::{ChangeTest, StreamAlarm, StreamKind};
use super::vocabulary::Vocabulary;
use crate::event::{Batch, Column, WatchedStream};
use crate::learn::records::saved::{SavedReader, Writer};
use crate::model::InputKind;
use crate::model::weights::Error;

/// Random projections of a text or a vector.
const N_PROJECTIONS: usize = 3;
/// Texts are read up to this many bytes.
const BYTES_MAX: usize = 16 * 1024;

/// A part of an input, and its test.
type PartTest = (WatchedStream, ChangeTest);

/// The tests of all parts of an input.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct InputTests {
    tests: Vec<PartTest>,
    /// The vocabulary of texts.
    vocabulary: Option<Vocabulary>,
}

impl InputTests {
    /// The tests of an input of this kind; times move on by nature, and have none.
    pub(super) fn new(kind: &InputKind, seed: u64) -> InputTests {
        let test = |(part, watched): (usize, &WatchedStream)| {
            let values = match (kind, watched) {
                (InputKind::Category, _) => StreamKind::Kinds,
                _ => StreamKind::Numbers,
            };
            (*watched, ChangeTest::new(values, seed + part as u64))
        };
        InputTests {
            tests: parts(kind).iter().enumerate().map(test).collect(),
            vocabulary: (*kind == InputKind::Text).then(Vocabulary::default),
        }
    }

    /// The number of tests.
    pub(super) fn len(&self) -> usize {
        self.tests.len()
    }

    /// Takes the value of the input `place` in a row; `find` takes the alarms.
    pub(super) fn observe(
        &mut self,
        batch: &Batch,
        [place, row]: [usize; 2],
        threshold: f64,
        mut find: impl FnMut(WatchedStream, StreamAlarm),
    ) {
        let mut observe_number = |tests: &mut [PartTest], value| {
            for (watched, test) in tests {
                let found = test.observe_number(value, threshold);
                found.into_iter().for_each(|found| find(*watched, found));
            }
        };
        match (&batch.columns[place], &mut self.tests[..]) {
            (_, []) => {}
            (Column::Numbers(values), tests) if !values[row].is_nan() => {
                observe_number(&mut tests[..1], values[row]);
                observe_number(&mut tests[1..], 0.0);
            }
            (Column::Numbers(_), tests) => observe_number(&mut tests[1..], 1.0),
            (Column::Strings(texts), [(watched, test)]) => {
                let found = test.observe(hash(texts[row].as_bytes()), threshold);
                found.into_iter().for_each(|found| find(*watched, found));
            }
            (Column::Strings(texts), _) => self.observe_text(&texts[row], threshold, find),
            (Column::Vectors(bytes), tests) | (Column::Embedded { vectors: bytes, .. }, tests) => {
                let width = bytes.len() / batch.n_rows;
                let values = projections(&bytes[row * width..(row + 1) * width]);
                for (test, value) in tests.iter_mut().zip(values) {
                    observe_number(std::slice::from_mut(test), value);
                }
            }
        }
    }

    fn observe_text(
        &mut self,
        text: &str,
        threshold: f64,
        mut find: impl FnMut(WatchedStream, StreamAlarm),
    ) {
        let words = words(text);
        let n_words = words.len() as f64;
        let mut sums = [0.0; N_PROJECTIONS];
        for word in &words {
            add_signs(&mut sums, *word, 1.0);
        }
        let scale = n_words.max(1.0).sqrt();
        let mut projections = sums.iter().map(|sum| sum / scale);
        let new = self
            .vocabulary
            .as_mut()
            .and_then(|known| known.observe(&words));
        for (watched, test) in &mut self.tests {
            let value = match watched {
                WatchedStream::InputLength => Some(n_words),
                WatchedStream::InputWords => new,
                _ => projections.next(),
            };
            let found = value.and_then(|value| test.observe_number(value, threshold));
            if found.is_some() && *watched == WatchedStream::InputWords {
                self.vocabulary = Some(Vocabulary::default());
            }
            found.into_iter().for_each(|found| find(*watched, found));
        }
    }

    pub(super) fn save(&self, out: &mut Writer) {
        self.tests.iter().for_each(|(_, test)| test.save(out));
        self.vocabulary.iter().for_each(|known| known.save(out));
    }

    /// Brings new tests to the state that was saved of those of the same kind and seed.
    pub(super) fn load(&mut self, saved: &mut SavedReader) -> Result<(), Error> {
        for (_, test) in &mut self.tests {
            test.load(saved)?;
        }
        if self.vocabulary.is_some() {
            self.vocabulary = Some(Vocabulary::load(saved)?);
        }
        Ok(())
    }
}

fn parts(kind: &InputKind) -> &'static [WatchedStream] {
    const PROJECTED: [WatchedStream; 1 + N_PROJECTIONS] = [
        WatchedStream::InputLength,
        WatchedStream::InputProjection,
        WatchedStream::InputProjection,
        WatchedStream::InputProjection,
    ];
    const TEXT: [WatchedStream; 2 + N_PROJECTIONS] = [
        WatchedStream::InputWords,
        WatchedStream::InputLength,
        WatchedStream::InputProjection,
        WatchedStream::InputProjection,
        WatchedStream::InputProjection,
    ];
    match kind {
        InputKind::Number { gaps: true } => &[WatchedStream::Input, WatchedStream::InputGaps],
        InputKind::Number { gaps: false } | InputKind::Category => &[WatchedStream::Input],
        InputKind::Time(_) => &[],
        InputKind::Text => &TEXT,
        InputKind::Embedded { .. }
        | InputKind::EmbeddedVector { .. }
        | InputKind::Vector { .. } => &PROJECTED,
    }
}

/// Adds a value to each sum or takes it off, by bits of a hash.
fn add_signs(sums: &mut [f64; N_PROJECTIONS], hash: u64, value: f64) {
    for (bit, sum) in sums.iter_mut().enumerate() {
        *sum += if hash >> (40 + bit) & 1 == 1 {
            value
        } else {
            -value
        };
    }
}

/// Places whose signs are looked up.
const LOOKED_UP: usize = 2048;

/// For each place the bit of the sign where a projection takes its value off.
static SIGNS: [[u64; N_PROJECTIONS]; LOOKED_UP] = {
    let mut all = [[0; N_PROJECTIONS]; LOOKED_UP];
    let mut place = 0;
    while place < LOOKED_UP {
        all[place] = signs(place as u64);
        place += 1;
    }
    all
};

const fn signs(place: u64) -> [u64; N_PROJECTIONS] {
    let hash = mixed(place);
    let mut signs = [0; N_PROJECTIONS];
    let mut bit = 0;
    while bit < N_PROJECTIONS {
        signs[bit] = (!hash >> (40 + bit) & 1) << 63;
        bit += 1;
    }
    signs
}

/// The length of a vector, and its projections.
fn projections(bytes: &[u8]) -> [f64; 1 + N_PROJECTIONS] {
    let (values, _) = bytes.as_chunks::<4>();
    let mut sums = [0.0; 1 + N_PROJECTIONS];
    let mut add = |value: [u8; 4], [a, b, c]: [u64; N_PROJECTIONS]| {
        let value = f64::from(f32::from_le_bytes(value));
        let signed = |sign: u64| f64::from_bits(value.to_bits() ^ sign);
        let terms = [value * value, signed(a), signed(b), signed(c)];
        for (sum, term) in sums.iter_mut().zip(terms) {
            *sum += term;
        }
    };
    let looked_up = values.iter().zip(&SIGNS);
    looked_up.for_each(|(value, signs)| add(*value, *signs));
    let further = values.iter().enumerate().skip(LOOKED_UP);
    further.for_each(|(place, value)| add(*value, signs(place as u64)));
    sums[0] = sums[0].sqrt();
    sums
}

/// The hashes of the words of a text.
fn words(text: &str) -> Vec<u64> {
    let mut end = text.len().min(BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let words = text[..end].split(|c: char| !c.is_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    words.map(|word| hash(word.as_bytes())).collect()
}

/// FNV-1a, and a last mix.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    mixed(hash)
}

/// The last mix of MurmurHash3.
const fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::bins::draw;
    use super::*;

    const THRESHOLD: f64 = 1e6;

    fn first(kind: &InputKind, column: impl Fn(u64) -> Column) -> Option<(u64, WatchedStream)> {
        let mut tests = InputTests::new(kind, 1);
        for n in 0..4000 {
            let batch = Batch {
                n_rows: 1,
                columns: vec![column(n)],
            };
            let mut found = None;
            tests.observe(&batch, [0, 0], THRESHOLD, |watched, _| {
                found = Some(watched);
            });
            if let Some(watched) = found {
                return Some((n, watched));
            }
        }
        None
    }

    #[test]
    fn p4_projections_add_values_or_take_them_off_by_the_hashes_of_their_places() {
        for n in [0, 1, 5, 784, LOOKED_UP + 9] {
            let value = |place: usize| ((place * 7919) % 2003) as f32 / 1001.0 - 1.0;
            let bytes: Vec<u8> = (0..n)
                .flat_map(|place| value(place).to_le_bytes())
                .collect();
            let (mut square, mut sums) = (0.0, [0.0; N_PROJECTIONS]);
            for place in 0..n {
                let value = f64::from(value(place));
                square += value * value;
                add_signs(&mut sums, mixed(place as u64), value);
            }
            let [length, projected @ ..] = projections(&bytes);
            assert_eq!(length.to_bits(), square.sqrt().to_bits(), "{n}");
            assert_eq!(projected.map(f64::to_bits), sums.map(f64::to_bits), "{n}");
        }
    }

    fn check(kind: &InputKind, column: impl Fn(u64, bool) -> Column, expected: WatchedStream) {
        assert_eq!(first(kind, |n| column(n, false)), None, "{kind} steady");
        let found = first(kind, |n| column(n, n >= 2000));
        let soon = |(n, watched)| (2000..2400).contains(&n) && watched == expected;
        assert!(found.is_some_and(soon), "{kind}: {found:?}");
    }

    #[test]
    fn a_change_of_any_kind_of_input_is_found() {
        let number = |n, drifts| Column::Numbers(vec![draw(1, n) + f64::from(u8::from(drifts))]);
        check(
            &InputKind::Number { gaps: false },
            number,
            WatchedStream::Input,
        );
        let gap = |n, drifts| {
            let is_gap = draw(2, n) < if drifts { 0.5 } else { 0.1 };
            Column::Numbers(vec![if is_gap { f64::NAN } else { draw(1, n) }])
        };
        check(
            &InputKind::Number { gaps: true },
            gap,
            WatchedStream::InputGaps,
        );
        let category = |n, drifts| {
            let kind = (draw(1, n) * if drifts { 12.0 } else { 9.0 }) as u64;
            Column::Strings(vec![format!("kind {kind}")])
        };
        check(&InputKind::Category, category, WatchedStream::Input);
        let text = |n, drifts| {
            let word = |k| {
                let word = draw(1, 8 * n + k) * draw(5, 8 * n + k) * 300.0;
                let topic = if drifts && k < 4 { "other" } else { "usual" };
                format!("{topic}{}", word as u64)
            };
            Column::Strings(vec![(0..8).map(word).collect::<Vec<_>>().join(" ")])
        };
        check(&InputKind::Text, text, WatchedStream::InputWords);
        let vector = |n, drifts| {
            let value = |k| draw(1, 8 * n + k) as f32 + if drifts { 1.0 } else { 0.0 };
            let values = (0..8).flat_map(|k| value(k).to_le_bytes());
            Column::Vectors(Bytes::from(values.collect::<Vec<u8>>()))
        };
        let kind = InputKind::Vector {
            length: 8,
            standardise: true,
            shape: None,
        };
        check(&kind, vector, WatchedStream::InputProjection);
    }
}
