//! The bytes of a file or of standard input, unpacked where they are packed.
//!
//! Invariant: nothing unpacks to more than so many times its size beyond its first bytes
//! ([`OF_TEXT`]), so that a small file cannot keep a command busy for hours.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{bail, ensure};
use flate2::bufread::{DeflateDecoder, MultiGzDecoder};

use super::bounds::OF_TEXT;
use super::recognised::{ColumnarFormat, RecognisedFormat, recognise};
use super::zip::{self, PackingMethod};

/// The bytes at the start of a file by which its format is recognised.
const HEAD_BYTES: usize = 256 << 10;
/// Packed bytes that are read ahead.
const PACKED_AHEAD_BYTES: usize = 16 << 10;
/// Packed bytes by which a format is recognised.
const MAGIC_BYTES: usize = 512;
/// The name of standard input among paths.
const STDIN: &str = "-";

type ByteReader = Box<dyn Read + Send>;

/// The unpacked bytes of a file.
pub(super) struct ByteSource {
    /// The first bytes, as far as they could be had without waiting for more.
    pub head: Vec<u8>,
    /// All bytes, those of the head included.
    pub bytes: ByteReader,
    /// True if the head holds everything.
    pub is_whole: bool,
}

/// The content of the file at a path.
pub(super) enum FileContent {
    /// Bytes of text, it is hoped.
    Text(ByteSource),
    /// A file that holds its columns one after the other.
    Columnar(ColumnarFormat, PathBuf),
}

/// True if a path stands for standard input.
pub(in crate::cli) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == STDIN
}

/// Opens a path, `-` for standard input.
///
/// # Errors
/// It cannot be read, or it is no file of rows: the sentence names its format.
pub(super) fn open(path: &Path) -> anyhow::Result<FileContent> {
    check_path(path)?;
    let is_live = is_stdin(path);
    let raw: ByteReader = if is_live {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path)?)
    };
    let packed = Arc::new(AtomicU64::new(0));
    let counted = CountedReader {
        bytes: raw,
        n_bytes: packed.clone(),
    };
    let (head, bytes) = look(Box::new(counted), is_live, MAGIC_BYTES)?;
    let unpacked: ByteReader = match recognise(&head) {
        RecognisedFormat::Gzip => Box::new(MultiGzDecoder::new(buffered(bytes))),
        RecognisedFormat::Zstd => Box::new(zstd::Decoder::with_buffer(buffered(bytes))?),
        RecognisedFormat::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(buffered(bytes))),
        RecognisedFormat::Zip => unzipped(path, packed.clone())?,
        RecognisedFormat::Columnar(format) if is_live => {
            bail!("{} on standard input: give its path", format.name())
        }
        RecognisedFormat::Columnar(format) => {
            return Ok(FileContent::Columnar(format, path.to_owned()));
        }
        RecognisedFormat::Unreadable(what) => bail!("{what}"),
        RecognisedFormat::Text => return text(bytes, is_live).map(FileContent::Text),
    };
    let bounded = BoundedReader {
        bytes: unpacked,
        n_bytes: 0,
        packed,
    };
    let source = text(Box::new(bounded), is_live)?;
    match recognise(&source.head) {
        RecognisedFormat::Text => Ok(FileContent::Text(source)),
        RecognisedFormat::Unreadable(what) => bail!("packed in it: {what}"),
        _ => bail!("it is packed twice, or holds Parquet or Arrow: unpack it once"),
    }
}

/// Packed bytes, read ahead no further than an expansion is to be noticed late.
fn buffered(bytes: ByteReader) -> BufReader<ByteReader> {
    BufReader::with_capacity(PACKED_AHEAD_BYTES, bytes)
}

/// Names a path that leads to no file.
fn check_path(path: &Path) -> anyhow::Result<()> {
    let text = path.to_string_lossy();
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    if let Some(scheme) = scheme.filter(|scheme| !scheme.is_empty() && !path.exists()) {
        bail!("a URL ({scheme}): fetch it first, as by `curl -L -o rows.csv URL`");
    }
    ensure!(!path.is_dir(), "a folder, expected a file of rows");
    Ok(())
}

fn text(bytes: ByteReader, is_live: bool) -> anyhow::Result<ByteSource> {
    let (head, bytes) = look(bytes, is_live, HEAD_BYTES)?;
    Ok(ByteSource {
        is_whole: head.len() < HEAD_BYTES && !is_live,
        head,
        bytes,
    })
}

/// The first bytes, and a source that still begins with them; of a live source those that have come.
fn look(mut bytes: ByteReader, is_live: bool, n_bytes: usize) -> io::Result<(Vec<u8>, ByteReader)> {
    let mut head = vec![0; n_bytes];
    let mut n = 0;
    while n < n_bytes {
        match bytes.read(&mut head[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if is_live && n >= 8 {
            break;
        }
    }
    head.truncate(n);
    Ok((head.clone(), Box::new(Cursor::new(head).chain(bytes))))
}

/// The one file in a zip archive.
fn unzipped(path: &Path, packed: Arc<AtomicU64>) -> anyhow::Result<ByteReader> {
    ensure!(
        !is_stdin(path),
        "a zip archive on standard input: give its path, or `unzip -p`"
    );
    let mut file = File::open(path)?;
    let (method, n_packed) = zip::seek_to_file(&mut file)?;
    let stored = CountedReader {
        bytes: Box::new(file.take(n_packed)),
        n_bytes: packed,
    };
    Ok(match method {
        PackingMethod::Stored => Box::new(stored),
        PackingMethod::Deflated => Box::new(DeflateDecoder::new(buffered(Box::new(stored)))),
    })
}

/// Bytes that are counted as they are read.
struct CountedReader {
    bytes: ByteReader,
    n_bytes: Arc<AtomicU64>,
}

impl Read for CountedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.bytes.read(buffer)?;
        self.n_bytes.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Unpacked bytes, held to [`OF_TEXT`].
struct BoundedReader {
    bytes: ByteReader,
    n_bytes: u64,
    packed: Arc<AtomicU64>,
}

impl Read for BoundedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.bytes.read(buffer)?;
        self.n_bytes += n as u64;
        let n_packed = self.packed.load(Ordering::Relaxed);
        OF_TEXT
            .check(self.n_bytes, n_packed)
            .map_err(io::Error::other)?;
        Ok(n)
    }
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use std::io::Write;

    use super::*;
    use crate::cli::rows::tests::{error, gzipped, read};

    fn zstd_packed(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).unwrap()
    }

    fn bzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A zip archive of files, each deflated.
    pub(in crate::cli) fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut archive, mut directory) = (Vec::new(), Vec::new());
        for (name, bytes) in files {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Default::default());
            encoder.write_all(bytes).unwrap();
            let packed = encoder.finish().unwrap();
            let start = archive.len() as u32;
            let sizes = [0u32, packed.len() as u32, bytes.len() as u32];
            let sizes: Vec<u8> = sizes.iter().flat_map(|n| n.to_le_bytes()).collect();
            let name_length = (name.len() as u16).to_le_bytes();
            // Version, flags, deflate, time and date.
            let common = [20u16, 0, 8, 0, 0].map(u16::to_le_bytes).concat();
            let common = [common, sizes, name_length.to_vec(), vec![0; 2]].concat();
            archive.extend([b"PK\x03\x04", &common[..], name.as_bytes(), &packed].concat());
            directory.extend([b"PK\x01\x02\x14\0", &common[..], &[0; 10]].concat());
            directory.extend(start.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let n = (files.len() as u16).to_le_bytes();
        let places = [directory.len() as u32, archive.len() as u32].map(u32::to_le_bytes);
        let end = [b"PK\x05\x06\0\0\0\0", &n[..], &n, &places.concat(), &[0; 2]].concat();
        [archive, directory, end].concat()
    }

    #[test]
    fn packed_files_are_read_as_they_were() {
        let text = b"a,b\n1,2\n3,4\n";
        let once = zipped(&[("__MACOSX/._x", b"?"), ("rows/", b""), ("rows/x.csv", text)]);
        for packed in [gzipped(text), zstd_packed(text), bzipped(text), once] {
            assert_eq!(read(&packed).unwrap(), "a|b 2: 1|2 3: 3|4");
        }
        let again = |packed: &[u8]| [packed, packed].concat();
        let lines = b"a\n";
        for packed in [gzipped(lines), zstd_packed(lines), bzipped(lines)] {
            assert_eq!(
                read(&again(&packed)).unwrap(),
                "a",
                "members follow each other"
            );
        }
    }

    #[test]
    fn p9_what_unpacks_without_end_is_refused() {
        // Each member is a mebibyte of rows, in so few bytes that 100 of them are a small file.
        let rows = b"0123456\n".repeat(1 << 17);
        let members = |packed: Vec<u8>| packed.repeat(100);
        let whole = zipped(&[("x.csv", &rows.repeat(100))]);
        for bomb in [
            members(gzipped(&rows)),
            members(zstd_packed(&rows)),
            members(bzipped(&rows)),
            whole,
        ] {
            assert!(bomb.len() < 1 << 20);
            let refusal = error(read(&bomb));
            assert!(
                refusal.contains("unpack to more than 250 times as many: unpack the file"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn p9_what_unpacks_without_end_is_refused_within_its_first_megabytes() {
        // 8 GiB of rows in some hundred kilobytes, of which the first bytes are read alone.
        let rows = b"0123456\n".repeat(1 << 17);
        let gigabytes = zstd_packed(&rows.repeat(64)).repeat(128);
        assert!(gigabytes.len() < 1 << 20, "{}", gigabytes.len());
        let file = crate::cli::rows::tests::temporary(&gigabytes);
        let FileContent::Text(mut source) = open(file.path()).unwrap() else {
            panic!("it is text")
        };
        let mut n_bytes = 0;
        let mut buffer = vec![0; 64 << 10];
        let refusal = loop {
            match source.bytes.read(&mut buffer) {
                Ok(n) => n_bytes += n,
                Err(refusal) => break refusal.to_string(),
            }
            assert!(n_bytes < 16 << 20, "no refusal within {n_bytes} bytes");
        };
        assert!(
            refusal.contains("unpack to more than 250 times"),
            "{refusal}"
        );
    }

    #[test]
    fn p9_what_is_no_file_of_rows_is_named() {
        let check = |bytes: &[u8], expected: &str| {
            let refusal = error(read(bytes));
            assert!(refusal.contains(expected), "{refusal}, expected {expected}");
        };
        check(
            &zipped(&[("a", b"1"), ("b", b"2")]),
            "a zip archive of 2 files (a, b)",
        );
        check(&zipped(&[("xl/workbook.xml", b"1")]), "an Excel workbook");
        check(&zipped(&[("a", b"1")])[..60], "a torn zip archive");
        check(&gzipped(&gzipped(b"a\n1\n")), "it is packed twice");
        check(&gzipped(b"RDX3\nX\n\0"), "packed in it: data of R");
        check(b"PAR1 and nothing else", "a damaged Parquet file");
        let of_path = |path: &str| error(open(Path::new(path)).map(|_| ()));
        assert!(of_path("https://x.org/a.csv").contains("a URL (https): fetch it first"));
        assert!(of_path("src").contains("a folder, expected a file of rows"));
    }
}
