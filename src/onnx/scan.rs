//! The messages that a file would unfold into, counted before it is: a few bytes of it become one of some
//! hundred bytes in memory.
//!
//! Invariant: it reads each level that is counted once, and allocates nothing.

use super::error::Error;

/// Nodes, inputs, attributes and tensors at most, together.
const PARTS_MAX: usize = 1 << 18;

/// The fields of a message: their numbers, and the content of those that have a length.
struct MessageFields<'a>(&'a [u8]);

impl<'a> Iterator for MessageFields<'a> {
    type Item = Result<(u64, &'a [u8]), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            None
        } else {
            Some(self.field().ok_or_else(|| {
                self.0 = &[];
                Error::Unsound("it is cut short, or no ONNX file".to_owned())
            }))
        }
    }
}

impl<'a> MessageFields<'a> {
    fn field(&mut self) -> Option<(u64, &'a [u8])> {
        let key = self.varint()?;
        let n_bytes = match key & 7 {
            0 => {
                self.varint()?;
                0
            }
            1 => 8,
            2 => usize::try_from(self.varint()?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (content, rest) = self.0.split_at_checked(n_bytes)?;
        self.0 = rest;
        Some((key >> 3, content))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// Refuses a file of more parts than a network has.
pub(super) fn check(file: &[u8]) -> Result<(), Error> {
    let mut n_parts = 0;
    for field in MessageFields(file) {
        // The graph.
        let (7, graph) = field? else { continue };
        for field in MessageFields(graph) {
            n_parts += match field? {
                (1, node) => 1 + count(node)?,
                // An input or output: shapes take two bytes a dimension.
                (11 | 12, described) => 1 + described.len() / 2,
                _ => 1,
            };
            if n_parts > PARTS_MAX {
                let what = format!("it has more than {PARTS_MAX} parts");
                return Err(Error::Unsupported(what));
            }
        }
    }
    Ok(())
}

fn count(message: &[u8]) -> Result<usize, Error> {
    MessageFields(message).try_fold(0, |count, field| field.map(|_| count + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of this number with a length.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        let mut rest = content.len();
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        [&bytes, content].concat()
    }

    #[test]
    fn p9_a_file_that_unfolds_is_refused_before_it_does() {
        let nodes = |n: usize| field(7, &[0x0a, 0].repeat(n));
        assert_eq!(check(&nodes(1000)), Ok(()));
        let many = check(&nodes(PARTS_MAX + 1)).unwrap_err();
        assert_eq!(many.to_string(), "it has more than 262144 parts");
        let attributes = field(1, &[0x2a, 0].repeat(PARTS_MAX));
        assert_eq!(check(&field(7, &attributes)), Err(many.clone()));
        let dimensions = field(11, &[0x0a, 0].repeat(PARTS_MAX));
        assert_eq!(check(&field(7, &dimensions)), Err(many));
    }

    #[test]
    fn p9_a_file_that_ends_early_is_refused_at_every_byte() {
        let file = field(
            7,
            &[field(1, &field(4, b"Relu")), field(5, &[7; 200])].concat(),
        );
        assert_eq!(check(&file), Ok(()));
        for end in 1..file.len() {
            let error = check(&file[..end]).unwrap_err();
            let expected = "it is cut short, or no ONNX file".to_owned();
            assert_eq!(error, Error::Unsound(expected));
        }
        assert!(check(&[0xff; 20]).is_err());
    }
}
