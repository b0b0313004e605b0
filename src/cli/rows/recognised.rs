//! The formats that the first bytes of a file show.
//!
//! Invariant: a file that is no text has a sentence with its format and the remedy.

/// The format of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RecognisedFormat {
    Text,
    Gzip,
    Zstd,
    Bzip2,
    Zip,
    Columnar(ColumnarFormat),
    /// The sentence.
    Unreadable(&'static str),
}

/// The formats of files that hold their columns one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnarFormat {
    Parquet,
    Arrow,
}

impl ColumnarFormat {
    /// Its name in messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            ColumnarFormat::Parquet => "Parquet",
            ColumnarFormat::Arrow => "Arrow",
        }
    }
}

/// The first bytes of formats that are read.
const PACKED: [(&[u8], RecognisedFormat); 8] = [
    (&[0x1f, 0x8b], RecognisedFormat::Gzip),
    (&[0x28, 0xb5, 0x2f, 0xfd], RecognisedFormat::Zstd),
    (b"BZh", RecognisedFormat::Bzip2),
    (b"PK\x03\x04", RecognisedFormat::Zip),
    (b"PAR1", RecognisedFormat::Columnar(ColumnarFormat::Parquet)),
    (b"ARROW1", RecognisedFormat::Columnar(ColumnarFormat::Arrow)),
    (
        b"\xff\xff\xff\xff",
        RecognisedFormat::Columnar(ColumnarFormat::Arrow),
    ),
    (
        b"PARE",
        RecognisedFormat::Unreadable("an encrypted Parquet file"),
    ),
];

/// The first bytes of formats that are not read, with the remedy.
const OTHERS: [(&[u8], &str); 19] = [
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\xfd7zXZ\0", "packed by xz: unpack it with `xz -d`"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"Rar!", "a RAR archive: unpack it"),
    (
        b"\xd0\xcf\x11\xe0",
        "an old Excel workbook: save the sheet as CSV",
    ),
    (b"%PDF", "a PDF: no rows can be read from it"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (
        b"SQLite format 3\0",
        "a SQLite database: export a table, as by `sqlite3 -csv -header`",
    ),
    (b"\x89HDF", "an HDF5 file: export a table as CSV or Parquet"),
    (b"\x93NUMPY", "a NumPy array: save it as CSV or Parquet"),
    (
        b"FEA1",
        "a Feather file of its first version: save it as Parquet",
    ),
    (b"ORC", "an ORC file: save it as Parquet"),
    (b"Obj\x01", "an Avro file: save it as Parquet"),
    (b"RDX", "data of R: save it as CSV or Parquet"),
    (
        b"\x80\x04\x95",
        "a Python pickle: save it as CSV or Parquet",
    ),
    (
        b"\x80\x05\x95",
        "a Python pickle: save it as CSV or Parquet",
    ),
    (b"\x7fELF", "a program"),
];

/// Recognises a format by the first bytes of a file.
pub(super) fn recognise(head: &[u8]) -> RecognisedFormat {
    // Three of them are letters alone, with which a text may begin as well.
    let is_text = head.iter().take(1024).all(|byte| *byte != 0);
    let is_of = |magic: &[u8]| {
        let may_be_text = matches!(magic, b"PARE" | b"ORC" | b"RDX");
        head.starts_with(magic) && !(may_be_text && is_text)
    };
    for (magic, format) in PACKED {
        if is_of(magic) {
            return format;
        }
    }
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| is_of(magic)) {
        return RecognisedFormat::Unreadable(what);
    }
    if head.get(257..262) == Some(b"ustar") {
        return RecognisedFormat::Unreadable("a tar archive: unpack it, and give one of its files");
    }
    let start = head.trim_ascii_start();
    let begins = |word: &[u8]| {
        let start = start.get(..word.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    if begins(b"<!doctype html") || begins(b"<html") {
        let what = "an HTML page: the address gave a page, and not the file behind it";
        return RecognisedFormat::Unreadable(what);
    }
    if begins(b"<?xml") {
        return RecognisedFormat::Unreadable("XML: save the rows as CSV or JSON lines");
    }
    if begins(b"+-") && has_line(start, b"|") {
        return RecognisedFormat::Unreadable(
            "a table drawn for a screen: write it without borders, as `mysql --batch` does",
        );
    }
    if begins(b"version https://git-lfs") {
        return RecognisedFormat::Unreadable(
            "a pointer of Git LFS: fetch the file with `git lfs pull`",
        );
    }
    if begins(b"@relation") || begins(b"% ") && has_line(start, b"@relation") {
        return RecognisedFormat::Unreadable(
            "an ARFF file: save it as CSV, with the names of its attributes as the header",
        );
    }
    if is_svmlight(head) {
        return RecognisedFormat::Unreadable(
            "rows of svmlight, as 1:0.5 for the first input: save them as CSV or JSON lines",
        );
    }
    if is_utf_32(head) {
        return RecognisedFormat::Unreadable("text in UTF-32: save it as UTF-8");
    }
    if head.contains(&0) && !is_utf_16(head) {
        return RecognisedFormat::Unreadable("a binary file of no format that is known here");
    }
    RecognisedFormat::Text
}

/// True if one of the first lines begins with a word.
fn has_line(head: &[u8], word: &[u8]) -> bool {
    let mut lines = head.split(|byte| *byte == b'\n');
    lines.any(|line| {
        let start = line.get(..word.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(word))
    })
}

/// True if the first two lines are a number and then pairs of a place and a number.
fn is_svmlight(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let is_row = |line: &str| {
        let mut words = line.split_whitespace();
        let is_label = words.next().is_some_and(|word| word.parse::<f64>().is_ok());
        let is_pair = |word: &str| {
            let pair = word.split_once(':');
            pair.is_some_and(|(place, value)| {
                place.parse::<u32>().is_ok() && value.parse::<f64>().is_ok()
            })
        };
        is_label && words.clone().next().is_some() && words.all(is_pair)
    };
    let mut lines = text.split_inclusive('\n');
    let whole = lines.by_ref().take_while(|line| line.ends_with('\n'));
    let first: Vec<&str> = whole.take(2).collect();
    first.len() == 2 && first.into_iter().all(is_row)
}

/// True if bytes are text of four bytes a character, by their mark or by their zeros.
fn is_utf_32(head: &[u8]) -> bool {
    let (fours, _) = head[..head.len().min(512)].as_chunks::<4>();
    let is_marked = head.starts_with(&[0xff, 0xfe, 0, 0]) || head.starts_with(&[0, 0, 0xfe, 0xff]);
    let of_ascii = |four: &[u8; 4]| matches!(four, [1..=255, 0, 0, 0] | [0, 0, 0, 1..=255]);
    is_marked || fours.len() >= 2 && fours.iter().all(of_ascii)
}

/// True if bytes are text of two bytes a character: by their mark, or by every other one being zero.
pub(super) fn is_utf_16(head: &[u8]) -> bool {
    head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) || zeros(head).is_some()
}

/// The place of the zeros in text of two bytes a character without a mark: 0 or 1.
pub(super) fn zeros(head: &[u8]) -> Option<usize> {
    let (pairs, _) = head[..head.len().min(512)].as_chunks::<2>();
    let share = |place: usize| {
        let n = pairs.iter().filter(|pair| pair[place] == 0).count();
        n * 10 >= pairs.len() * 8
    };
    (pairs.len() >= 4).then(|| {
        [0, 1]
            .into_iter()
            .find(|place| share(*place) && !share(1 - place))
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_first_bytes() {
        let check = |head: &[u8], expected: &str| {
            let RecognisedFormat::Unreadable(what) = recognise(head) else {
                panic!("{head:?}")
            };
            assert!(what.contains(expected), "{what}");
        };
        check(b"\xd0\xcf\x11\xe0\xa1", "Excel");
        check(b"SQLite format 3\0", "SQLite");
        check(b"\n<!DOCTYPE HTML><html>", "HTML");
        check(b"<html>", "HTML");
        check(b"a\0b\0\0\0c", "binary");
        check(b"@RELATION iris\n@attribute x numeric\n", "ARFF");
        check(b"+---+---+\n| a | b |\n", "mysql --batch");
        check(b"% by hand\n%\n@relation iris\n", "ARFF");
        check(b"-1 1:0.5 2:1e3\n1 2:7\n", "svmlight");
        check(b"\xff\xfe\0\0a\0\0\0", "UTF-32");
        check(b"a\0\0\0,\0\0\0", "UTF-32");
        check(
            b"version https://git-lfs.github.com/spec/v1",
            "git lfs pull",
        );
        for text in [
            &b""[..],
            b"a,b\n1,2\n",
            b"1 10:30\n2 eleven\n",
            b"{\"a\":1}",
            b"a\0,\0b\0\n\0",
            b"\xff\xfea\0",
        ] {
            assert_eq!(recognise(text), RecognisedFormat::Text, "{text:?}");
        }
        assert_eq!(
            recognise(b"PAR1...."),
            RecognisedFormat::Columnar(ColumnarFormat::Parquet)
        );
        for arrow in [&b"ARROW1\0\0"[..], b"\xff\xff\xff\xff\xa8\0\0\0"] {
            assert_eq!(
                recognise(arrow),
                RecognisedFormat::Columnar(ColumnarFormat::Arrow)
            );
        }
    }
}
