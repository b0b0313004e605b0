//! The lines of a text, in whatever encoding and with whatever line ends.
//!
//! Invariant: memory is bounded whatever the text holds, and every line is UTF-8.

use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use encoding_rs::{UTF_8, WINDOWS_1252};

use super::bounds::ROW_BYTES_MAX;
use super::encoding::{Decoding, EncodingOptions, Transcoder, decoding, windows_1252};
use super::source::{ByteSource, FileContent, is_stdin, open};

/// Lines of the start by which the form of a file is detected.
const SAMPLE_LINES_MAX: usize = 300;
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// A text, read line by line.
pub(crate) struct Lines {
    path: PathBuf,
    reader: BufReader<Box<dyn Read + Send>>,
    /// The number of the line read last, from 1.
    number: u64,
    /// The byte that ends a line.
    end: u8,
    decoding: Decoding,
    sample: Vec<String>,
    /// The encoding that was named.
    given: Option<EncodingOptions>,
    /// A sentence where the file contradicts that.
    contradiction: Option<String>,
    n_other: u64,
    n_accented: u64,
    /// True where quotes within fields stand behind a backslash.
    is_escaped: bool,
}

/// The encoding in which a text turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DetectedEncoding {
    /// UTF-8, or nothing but ASCII.
    Utf8,
    /// The whole text in this one.
    Whole(&'static str),
    /// UTF-8, but for so many lines, which were read as Windows-1252.
    Mixed(u64),
}

impl Lines {
    /// Opens a text, `-` for standard input.
    ///
    /// # Errors
    /// It cannot be read, or is no text.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Lines> {
        let opened = open(path).with_context(|| shown(path))?;
        match opened {
            FileContent::Text(source) => Lines::new(path, source, None),
            FileContent::Columnar(format, _) => {
                bail!("{}: {} rows, expected text", shown(path), format.name())
            }
        }
    }

    /// The lines of a source, in the encoding that was named, if any.
    pub(super) fn new(
        path: &Path,
        source: ByteSource,
        given: Option<EncodingOptions>,
    ) -> anyhow::Result<Lines> {
        let ByteSource {
            head,
            bytes,
            is_whole,
        } = source;
        let (decoding, contradiction) = decoding(&head, given);
        let is_marked = head.starts_with(&BYTE_ORDER_MARK);
        let (head, bytes): (Vec<u8>, Box<dyn Read + Send>) = match decoding {
            Decoding::Whole(encoding) => {
                let mut text = Vec::new();
                let read = Transcoder::new(Cursor::new(&head), encoding).read_to_end(&mut text);
                read.with_context(|| shown(path))?;
                (text, Box::new(Transcoder::new(bytes, encoding)))
            }
            Decoding::ByLine | Decoding::Utf8 if is_marked => {
                let mut bytes = bytes;
                let read = bytes.read_exact(&mut [0; BYTE_ORDER_MARK.len()]);
                read.with_context(|| shown(path))?;
                (head[BYTE_ORDER_MARK.len()..].to_vec(), bytes)
            }
            Decoding::ByLine | Decoding::Utf8 => (head, bytes),
        };
        let end = if head.contains(&b'\r') && !head.contains(&b'\n') {
            b'\r'
        } else {
            b'\n'
        };
        Ok(Lines {
            path: path.to_owned(),
            reader: BufReader::with_capacity(1 << 16, bytes),
            number: 0,
            end,
            decoding,
            sample: sample(&head, end, is_whole),
            given,
            contradiction,
            n_other: 0,
            n_accented: 0,
            is_escaped: false,
        })
    }

    /// The first lines, as far as they could be had without waiting; reading begins before them.
    pub(super) fn sample(&self) -> &[String] {
        &self.sample
    }

    /// Reads quotes behind a backslash as doubled ones from here on.
    pub(super) fn unescape(&mut self) {
        self.is_escaped = true;
        self.sample = self.sample.iter().map(|line| unescaped(line)).collect();
    }

    /// The next line with its end, or nothing at the end of the text.
    ///
    /// `n_bytes_before` of its row have been read: rows are bounded, not only lines.
    pub(crate) fn next(&mut self, n_bytes_before: usize) -> anyhow::Result<Option<String>> {
        let n_bytes_max = ROW_BYTES_MAX.saturating_sub(n_bytes_before);
        let mut line = Vec::new();
        self.number += 1;
        (&mut self.reader)
            .take(n_bytes_max as u64 + 1)
            .read_until(self.end, &mut line)
            .with_context(|| self.refusal(self.number, "cannot be read"))?;
        if line.len() > n_bytes_max {
            let why = format!("a row is longer than {} MiB", ROW_BYTES_MAX >> 20);
            bail!(self.refusal(self.number, why));
        }
        if line.is_empty() {
            return Ok(None);
        }
        match String::from_utf8(line) {
            Ok(line) => {
                self.n_accented += u64::from(!line.is_ascii());
                Ok(Some(if self.is_escaped {
                    unescaped(&line)
                } else {
                    line
                }))
            }
            Err(error) => match self.decoding {
                Decoding::Utf8 => {
                    let at = error.utf8_error().valid_up_to() + 1;
                    let why = format!("byte {at} is not valid UTF-8");
                    Err(self.refusal(self.number, why))
                }
                Decoding::ByLine | Decoding::Whole(_) => {
                    self.n_other += 1;
                    Ok(Some(windows_1252(error.as_bytes())))
                }
            },
        }
    }

    /// The next bytes up to a closing brace, or to the end of the text: its line is the one in which
    /// they end.
    pub(super) fn next_chunk(&mut self, n_bytes_before: usize) -> anyhow::Result<Option<String>> {
        let (end, number) = (self.end, self.number);
        self.end = b'}';
        let chunk = self.next(n_bytes_before);
        self.end = end;
        let n_lines = match &chunk {
            Ok(Some(chunk)) => chunk.bytes().filter(|byte| *byte == end).count(),
            _ => 0,
        };
        self.number = number.max(1) + n_lines as u64;
        chunk
    }

    /// The number of the line read last.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The encoding of the lines read so far.
    pub(super) fn found(&self) -> DetectedEncoding {
        match (self.decoding, self.n_other, self.n_accented) {
            (Decoding::Whole(encoding), ..) => DetectedEncoding::Whole(encoding.name()),
            (_, 0, _) => DetectedEncoding::Utf8,
            (_, _, 0) => DetectedEncoding::Whole("windows-1252"),
            (_, n, _) => DetectedEncoding::Mixed(n),
        }
    }

    /// A sentence where the start of the file contradicts the encoding that was named.
    pub(super) fn note(&self) -> Option<&str> {
        self.contradiction.as_deref()
    }

    /// A sentence about the encoding of the lines read so far, if it is not UTF-8 or not the one that
    /// model.toml has.
    pub(super) fn closing_note(&self) -> Option<String> {
        let described = self.given.filter(|given| given.is_described);
        let is_described = |encoding| described.is_some_and(|given| given.encoding == encoding);
        let says = |name: &str| format!(", and model.toml says {name}");
        match self.found() {
            DetectedEncoding::Utf8
                if is_described(WINDOWS_1252)
                    && self.n_accented > 0
                    && self.contradiction.is_none() =>
            {
                Some(format!("read as UTF-8{}", says("windows-1252")))
            }
            DetectedEncoding::Utf8 => None,
            DetectedEncoding::Whole(name) => {
                let says = if is_described(UTF_8) && name == "windows-1252" {
                    says("utf-8")
                } else {
                    String::new()
                };
                Some(format!("read as {name}{says}"))
            }
            DetectedEncoding::Mixed(n) => {
                let says = if is_described(UTF_8) {
                    says("utf-8")
                } else {
                    String::new()
                };
                let lines_are = match n {
                    1 => "1 line is not valid UTF-8 and was".to_owned(),
                    n => format!("{n} lines are not valid UTF-8 and were"),
                };
                Some(format!("{lines_are} read as Windows-1252{says}"))
            }
        }
    }

    /// The name of the file in messages.
    pub(super) fn name(&self) -> String {
        shown(&self.path)
    }

    /// The error that a line of this text deserves.
    pub(super) fn refusal(&self, line: u64, why: impl std::fmt::Display) -> anyhow::Error {
        anyhow!("{}: line {line}: {why}", self.name())
    }
}

/// A path in messages.
pub(crate) fn shown(path: &Path) -> String {
    if is_stdin(path) {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// A line with doubled quotes in place of those behind a backslash.
pub(super) fn unescaped(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some('"')) => {
                chars.next();
                plain.push_str("\"\"");
            }
            ('\\', Some('\\')) => {
                chars.next();
                plain.push('\\');
            }
            _ => plain.push(c),
        }
    }
    plain
}

/// The whole lines among the first bytes, with their ends.
fn sample(head: &[u8], end: u8, is_whole: bool) -> Vec<String> {
    let mut lines: Vec<&[u8]> = head.split_inclusive(|byte| *byte == end).collect();
    let is_torn = lines.last().is_some_and(|line| line.last() != Some(&end));
    // A torn line shows its separator where there is no other.
    if is_torn && !is_whole && lines.len() > 1 {
        lines.pop();
    }
    let text = |line: &&[u8]| match std::str::from_utf8(line) {
        Ok(line) => line.to_owned(),
        Err(_) => windows_1252(line),
    };
    lines.iter().take(SAMPLE_LINES_MAX).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use perennial::model::encoding_named;

    use crate::cli::rows::FileRows;
    use crate::cli::rows::options::ReadOptions;
    use crate::cli::rows::tests::{error, read, temporary};

    #[test]
    fn a_named_encoding_is_used_and_a_contradiction_is_noted() {
        let check = |bytes: &[u8], name: &str, is_described, expected: &str, note: &[&str]| {
            let file = temporary(bytes);
            let options = ReadOptions {
                encoding: encoding_named(name),
                encoding_is_described: is_described,
                ..ReadOptions::default()
            };
            let mut rows = FileRows::open(file.path(), &options).expect("rows");
            let mut notes = rows.notes();
            let cells: Vec<String> = rows
                .by_ref()
                .map(|row| format!("{:?}", row.unwrap().cells))
                .collect();
            notes.extend(rows.closing_notes());
            assert!(cells.join(" ").contains(expected), "{name}: {cells:?}");
            assert_eq!(notes, note, "{name}");
        };
        let wide = |text: &str| -> Vec<u8> {
            let pairs = text.encode_utf16().flat_map(u16::to_le_bytes);
            [0xff, 0xfe].into_iter().chain(pairs).collect()
        };
        let (narrow, utf_8) = (b"x,y\n1,caf\xe9\n", "x,y\n1,caf\u{e9}\n");
        let (cafe, mojibake) = ("caf\u{e9}", "caf\u{c3}\u{a9}");
        check(
            narrow,
            "windows-1252",
            true,
            cafe,
            &["read as windows-1252"],
        );
        let note = "the file is UTF-8, and model.toml says windows-1252: read as it stands";
        check(utf_8.as_bytes(), "windows-1252", true, cafe, &[note]);
        let note = [
            "the file looks like UTF-8, and --encoding says windows-1252",
            "read as windows-1252",
        ];
        check(utf_8.as_bytes(), "windows-1252", false, mojibake, &note);
        let note = "read as windows-1252, and model.toml says utf-8";
        check(narrow, "utf-8", true, cafe, &[note]);
        check(utf_8.as_bytes(), "utf-8", true, cafe, &[]);
        check(&wide(utf_8), "utf-16", true, cafe, &["read as UTF-16LE"]);
        let big: Vec<u8> = utf_8.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let big = [b"\xfe\xff".to_vec(), big].concat();
        check(&big, "utf-16", false, cafe, &["read as UTF-16BE"]);
        let note = "the file looks like UTF-8, and --encoding says UTF-16LE: read as it stands";
        check(utf_8.as_bytes(), "utf-16", false, cafe, &[note]);
        let note = "the file is UTF-8, and model.toml says UTF-16LE: read as it stands";
        check(utf_8.as_bytes(), "utf-16", true, cafe, &[note]);
        let note = [
            "the file is UTF-16LE, and model.toml says UTF-8: read as it stands",
            "read as UTF-16LE",
        ];
        check(&wide(utf_8), "utf-8", true, cafe, &note);
        check(
            b"x,y\n1,\xb1\n",
            "iso-8859-2",
            true,
            "\u{105}",
            &["read as ISO-8859-2"],
        );
        let note = "the file is UTF-8, and model.toml says ISO-8859-2: read as it stands";
        check(utf_8.as_bytes(), "iso-8859-2", true, cafe, &[note]);
    }

    #[test]
    fn a_row_without_an_end_is_refused() {
        let check = |bytes: Vec<u8>, expected: &str| {
            let got = error(read(&bytes));
            assert!(got.contains(expected), "{got}");
        };
        let long = ROW_BYTES_MAX;
        let too_long = "a row is longer than 16 MiB";
        let row = |n_bytes| [b"a\n".to_vec(), vec![b'x'; n_bytes]].concat();
        assert!(read(&row(long)).is_ok());
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
