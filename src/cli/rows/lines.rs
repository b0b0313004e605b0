//! The lines of a file, plain or gzipped.
//!
//! Invariant: memory is bounded whatever the file holds, and every line is UTF-8.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Result as IoResult};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use flate2::read::MultiGzDecoder;

/// The longest row; one without an end must not fill the memory.
pub(super) const ROW_BYTES_MAX: usize = 16 << 20;
/// The bytes at the start of a file by which its format is recognised.
const HEAD_BYTES: u64 = 4096;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

type Source = Box<dyn Read + Send>;

/// A file, read line by line.
pub(super) struct Lines {
    path: PathBuf,
    reader: BufReader<Source>,
    /// The number of the line read last, from 1.
    number: u64,
    first_byte: Option<u8>,
}

impl Lines {
    /// Opens a file and undoes its gzip, if its bytes say that it has one.
    pub(super) fn open(path: &Path) -> anyhow::Result<Lines> {
        Lines::start(path).with_context(|| path.display().to_string())
    }

    fn start(path: &Path) -> anyhow::Result<Lines> {
        let (mut head, mut source) = look(Box::new(File::open(path)?))?;
        if head.starts_with(&GZIP_MAGIC) {
            (head, source) = look(Box::new(MultiGzDecoder::new(source)))?;
        }
        let mut reader = BufReader::with_capacity(1 << 16, source);
        if head.starts_with(&BYTE_ORDER_MARK) {
            reader.read_exact(&mut [0; BYTE_ORDER_MARK.len()])?;
            head.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(Lines {
            path: path.to_owned(),
            reader,
            number: 0,
            first_byte: head.into_iter().find(|byte| !byte.is_ascii_whitespace()),
        })
    }

    /// The first byte that is not blank, by which formats differ.
    pub(super) fn first_byte(&self) -> Option<u8> {
        self.first_byte
    }

    /// The next line with its end, or nothing at the end of the file.
    ///
    /// `n_bytes_before` of its row have been read: rows are bounded, not only lines.
    pub(super) fn next(&mut self, n_bytes_before: usize) -> anyhow::Result<Option<String>> {
        let n_bytes_max = ROW_BYTES_MAX.saturating_sub(n_bytes_before);
        let mut line = Vec::new();
        self.number += 1;
        (&mut self.reader)
            .take(n_bytes_max as u64 + 1)
            .read_until(b'\n', &mut line)
            .with_context(|| self.refusal(self.number, "cannot be read"))?;
        if line.len() > n_bytes_max {
            let why = format!("a row is longer than {} MiB", ROW_BYTES_MAX >> 20);
            bail!(self.refusal(self.number, why));
        }
        if line.is_empty() {
            return Ok(None);
        }
        let line = String::from_utf8(line).map_err(|error| {
            let at = error.utf8_error().valid_up_to() + 1;
            self.refusal(self.number, format!("byte {at} is not valid UTF-8"))
        })?;
        Ok(Some(line))
    }

    /// The number of the line read last.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The error that a line of this file deserves.
    pub(super) fn refusal(&self, line: u64, why: impl std::fmt::Display) -> anyhow::Error {
        anyhow!("{}: line {line}: {why}", self.path.display())
    }
}

/// The first bytes of a source, and a source that still begins with them.
fn look(mut source: Source) -> IoResult<(Vec<u8>, Source)> {
    let mut head = Vec::new();
    source.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(Cursor::new(head).chain(source))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::rows::tests::{error, gzipped, read};

    #[test]
    fn a_row_without_an_end_is_refused() {
        let check = |bytes: Vec<u8>, expected: &str| {
            let got = error(read(&gzipped(&bytes)));
            assert!(got.contains(expected), "{got}");
        };
        let long = ROW_BYTES_MAX;
        let too_long = "a row is longer than 16 MiB";
        let row = |n_bytes| [b"a\n".to_vec(), vec![b'x'; n_bytes]].concat();
        assert!(read(&gzipped(&row(long))).is_ok());
        check(row(long + 1), too_long);
        check(
            [
                b"a\n\"".to_vec(),
                vec![b'x'; long / 2],
                vec![b'\n'],
                vec![b'x'; long / 2],
            ]
            .concat(),
            too_long,
        );
        check([b"{".to_vec(), vec![b' '; long]].concat(), too_long);
    }
}
