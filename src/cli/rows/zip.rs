//! The one file in a zip archive: its place, and how it is packed.
//!
//! Invariant: the directory of the archive is hostile until it is checked; no more than
//! [`DIRECTORY_BYTES_MAX`] of it are held.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use anyhow::{Context, bail, ensure};

/// Bytes of a directory that are read.
const DIRECTORY_BYTES_MAX: u64 = 1 << 20;
/// The end of an archive: its record, and the longest comment.
const END_BYTES_MAX: u64 = 22 + 0xffff;
const END_MAGIC: [u8; 4] = *b"PK\x05\x06";
const ENTRY_MAGIC: [u8; 4] = *b"PK\x01\x02";
const LOCAL_MAGIC: [u8; 4] = *b"PK\x03\x04";

/// The packing of a file in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PackingMethod {
    Stored,
    Deflated,
}

/// One file of the directory.
struct ZipEntry {
    name: String,
    flags: u16,
    method: u16,
    n_packed: u32,
    start: u32,
}

/// Places `file` at the packed bytes of the one file in it, and gives their method and number.
///
/// # Errors
/// It holds no file, several, or one that is packed in another way.
pub(super) fn seek_to_file(file: &mut File) -> anyhow::Result<(PackingMethod, u64)> {
    let entries = entries(file)?;
    if entries.iter().any(|entry| entry.name == "xl/workbook.xml") {
        bail!("an Excel workbook: save the sheet as CSV");
    }
    let is_file =
        |entry: &&ZipEntry| !entry.name.ends_with('/') && !entry.name.starts_with("__MACOSX/");
    let files: Vec<&ZipEntry> = entries.iter().filter(is_file).collect();
    let [entry] = files[..] else {
        let names: Vec<&str> = files
            .iter()
            .take(5)
            .map(|entry| entry.name.as_str())
            .collect();
        let (n, names) = (files.len(), names.join(", "));
        bail!("a zip archive of {n} files ({names}): unpack it, and give one of them");
    };
    ensure!(entry.flags & 1 == 0, "a zip archive with a password");
    let method = match entry.method {
        0 if entry.n_packed < u32::MAX => PackingMethod::Stored,
        8 => PackingMethod::Deflated,
        _ => bail!("a zip archive that is packed in another way than by deflate: unpack it"),
    };
    file.seek(SeekFrom::Start(entry.start.into()))?;
    let mut local = [0; 30];
    file.read_exact(&mut local).context("a torn zip archive")?;
    ensure!(local.starts_with(&LOCAL_MAGIC), "a torn zip archive");
    let n_skipped = i64::from(u16_at(&local, 26)) + i64::from(u16_at(&local, 28));
    file.seek(SeekFrom::Current(n_skipped))?;
    let n_packed = match entry.n_packed {
        u32::MAX => u64::MAX,
        n => n.into(),
    };
    Ok((method, n_packed))
}

fn entries(file: &mut File) -> anyhow::Result<Vec<ZipEntry>> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(END_BYTES_MAX)))?;
    let mut end = Vec::new();
    file.take(END_BYTES_MAX).read_to_end(&mut end)?;
    let place = end
        .windows(22)
        .rposition(|bytes| bytes.starts_with(&END_MAGIC));
    let place = place.context("a torn zip archive: it has no directory")?;
    let (n_bytes, start) = (u32_at(&end, place + 12), u32_at(&end, place + 16));
    let n_bytes = u64::from(n_bytes).min(DIRECTORY_BYTES_MAX);
    file.seek(SeekFrom::Start(start.into()))?;
    let mut directory = Vec::new();
    file.take(n_bytes).read_to_end(&mut directory)?;
    let mut entries = Vec::new();
    let mut rest = &directory[..];
    while rest.len() >= 46 && rest.starts_with(&ENTRY_MAGIC) {
        let [n_name, n_extra, n_comment] = [28, 30, 32].map(|at| usize::from(u16_at(rest, at)));
        let name = rest.get(46..46 + n_name).context("a torn zip archive")?;
        entries.push(ZipEntry {
            name: String::from_utf8_lossy(name).into_owned(),
            flags: u16_at(rest, 8),
            method: u16_at(rest, 10),
            n_packed: u32_at(rest, 20),
            start: u32_at(rest, 42),
        });
        rest = rest.get(46 + n_name + n_extra + n_comment..).unwrap_or(&[]);
    }
    Ok(entries)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
