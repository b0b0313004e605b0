//! The headers of the pages of a Parquet file, checked before any page is unpacked.
//!
//! Invariant: a page that passes unpacks to the bytes that its header gives, and those are bounded.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use flate2::read::MultiGzDecoder;
use parquet::basic::Compression;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use super::super::bounds::{OF_COLUMNS, check_rows};

/// Bytes of an unpacked page.
const PAGE_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a header.
const HEADER_BYTES_MAX: u64 = 1 << 20;
/// Structs within structs of a header.
const DEPTH_MAX: usize = 8;
/// Bytes of a value of a list, as it is read.
const VALUE_BYTES: u64 = 48;
/// The page type of a dictionary.
const DICTIONARY: i64 = 2;

/// Checks every page of a file.
///
/// # Errors
/// There are more rows than a file of its length has, or a page is larger than is read, or unpacks to
/// more than its header gives.
pub(super) fn check(path: &Path, metadata: &ParquetMetaData) -> anyhow::Result<()> {
    let mut file = BufReader::new(File::open(path)?);
    let length = file.get_ref().metadata()?.len();
    let n_rows = metadata.row_groups().iter().map(|group| group.num_rows());
    let n_rows = n_rows.fold(0u64, |sum, n| sum.saturating_add(n.unsigned_abs()));
    check_rows(n_rows, length).map_err(|why| anyhow!(why))?;
    for group in metadata.row_groups() {
        for column in group.columns() {
            ensure_read(column.compression())?;
            check_column(&mut file, column, length).context("a damaged Parquet file")?;
        }
    }
    Ok(())
}

/// Refuses a codec that is not read.
fn ensure_read(codec: Compression) -> anyhow::Result<()> {
    let name = match codec {
        Compression::BROTLI(_) => "Brotli",
        Compression::LZO => "LZO",
        Compression::LZ4 => "LZ4",
        _ => return Ok(()),
    };
    bail!("pages packed by {name}; write them with snappy, gzip, zstd or LZ4_RAW")
}

fn check_column(
    file: &mut BufReader<File>,
    column: &ColumnChunkMetaData,
    length: u64,
) -> anyhow::Result<()> {
    let starts = [
        Some(column.data_page_offset()),
        column.dictionary_page_offset(),
    ];
    let starts = starts.into_iter().flatten().filter(|start| *start > 0);
    let start = u64::try_from(starts.min().unwrap_or(0))?;
    let n_bytes = u64::try_from(column.compressed_size())?;
    let end = start.saturating_add(n_bytes);
    ensure!(end <= length, "a column ends behind the file");
    let is_list = column.column_descr().max_rep_level() > 0;
    let mut n_in_lists = 0u64;
    let mut place = start;
    while place < end {
        file.seek(SeekFrom::Start(place))?;
        let header = PageHeader::read(file)?;
        let [unpacked, packed] = [header.unpacked, header.packed].map(u64::try_from);
        let (unpacked, packed) = (unpacked?, packed?);
        ensure!(
            unpacked <= PAGE_BYTES_MAX,
            "a page of {unpacked} bytes; at most {PAGE_BYTES_MAX} are read"
        );
        let n_values = u64::try_from(header.n_dictionary_values)?;
        ensure!(
            n_values <= unpacked,
            "a dictionary of {n_values} values in {unpacked} bytes"
        );
        if is_list {
            // A row of it is read whole, however many values it has.
            n_in_lists = n_in_lists.saturating_add(u64::try_from(header.n_values)?);
            let n_unpacked = n_in_lists.saturating_mul(VALUE_BYTES);
            OF_COLUMNS
                .check(n_unpacked, length)
                .map_err(|why| anyhow!(why))?;
        }
        let data = place + header.n_bytes;
        ensure!(data + packed <= end, "a page ends behind its column");
        file.seek(SeekFrom::Start(data))?;
        check_unpacked(file, column.compression(), &header, packed, unpacked)?;
        place = data + packed;
    }
    Ok(())
}

/// Unpacks a page of a codec that has no length of its own, and counts.
fn check_unpacked(
    file: &mut BufReader<File>,
    codec: Compression,
    header: &PageHeader,
    packed: u64,
    unpacked: u64,
) -> anyhow::Result<()> {
    let bytes = file.take(packed);
    let mut levels = u64::try_from(header.n_level_bytes)?.min(packed);
    if !header.is_packed {
        return Ok(());
    }
    let mut bytes = bytes;
    // The levels of a page of the second version stand before the packed bytes.
    io::copy(&mut (&mut bytes).take(levels), &mut io::sink())?;
    levels = levels.min(unpacked);
    let limit = unpacked - levels + 1;
    let n = match codec {
        Compression::GZIP(_) => {
            io::copy(&mut MultiGzDecoder::new(bytes).take(limit), &mut io::sink())
        }
        Compression::ZSTD(_) => {
            io::copy(&mut zstd::Decoder::new(bytes)?.take(limit), &mut io::sink())
        }
        Compression::SNAPPY | Compression::LZ4_RAW | Compression::UNCOMPRESSED => return Ok(()),
        other => bail!("pages packed by {other}"),
    };
    ensure!(n? < limit, "a page unpacks to more than its header says");
    Ok(())
}

/// The header of a page.
#[derive(Debug)]
struct PageHeader {
    unpacked: i64,
    packed: i64,
    /// The number of values of a dictionary.
    n_dictionary_values: i64,
    /// The number of values of a page of data.
    n_values: i64,
    /// Bytes of levels before the packed ones, of the second version of pages.
    n_level_bytes: i64,
    is_packed: bool,
    /// The length of the header itself.
    n_bytes: u64,
}

impl PageHeader {
    /// Reads a header in Thrift's compact protocol.
    fn read(file: &mut BufReader<File>) -> anyhow::Result<PageHeader> {
        let mut compact = Compact {
            bytes: file.take(HEADER_BYTES_MAX),
        };
        let mut fields = [0; 4];
        let (mut n_dictionary_values, mut n_values) = (0, 0);
        let (mut levels, mut is_packed) = (0, true);
        compact.fields(0, &mut |path, value| {
            match *path {
                [field @ 1..=3] => fields[field as usize] = value,
                [5 | 8, 1] => n_values = value,
                [7, 1] => n_dictionary_values = value,
                [8, 5 | 6] => levels += value.clamp(0, i64::from(i32::MAX)),
                [8, 7] => is_packed = value != 0,
                _ => {}
            };
        })?;
        let n_bytes = HEADER_BYTES_MAX - compact.bytes.limit();
        let [_, kind, unpacked, packed] = fields;
        Ok(PageHeader {
            unpacked,
            packed,
            n_dictionary_values: if kind == DICTIONARY {
                n_dictionary_values
            } else {
                0
            },
            n_values,
            n_level_bytes: levels,
            is_packed,
            n_bytes,
        })
    }
}

/// Thrift's compact protocol, as far as page headers use it.
struct Compact<R> {
    bytes: R,
}

impl<R: Read> Compact<R> {
    /// Reads the fields of a struct, and hands on each number and truth with its path.
    fn fields(&mut self, depth: usize, found: &mut impl FnMut(&[i16], i64)) -> anyhow::Result<()> {
        let mut path = Vec::new();
        self.fields_at(depth, &mut path, found)
    }

    fn fields_at(
        &mut self,
        depth: usize,
        path: &mut Vec<i16>,
        found: &mut impl FnMut(&[i16], i64),
    ) -> anyhow::Result<()> {
        ensure!(depth < DEPTH_MAX, "a header of too many levels");
        let mut id = 0i16;
        loop {
            let byte = self.byte()?;
            let (delta, kind) = (byte >> 4, byte & 0xf);
            if kind == 0 {
                return Ok(());
            }
            id = match delta {
                0 => self.number()? as i16,
                delta => id.saturating_add(delta.into()),
            };
            path.push(id);
            match kind {
                1 | 2 => found(path, i64::from(kind == 1)),
                3 => found(path, self.byte()?.into()),
                4..=6 => {
                    let number = self.number()?;
                    found(path, number);
                }
                7 => self.skip(8)?,
                8 => {
                    let n = self.varint()?;
                    self.skip(n)?;
                }
                12 => self.fields_at(depth + 1, path, found)?,
                other => bail!("a header with a field of kind {other}"),
            }
            path.pop();
        }
    }

    fn byte(&mut self) -> anyhow::Result<u8> {
        let mut byte = [0];
        self.bytes.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn varint(&mut self) -> anyhow::Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        bail!("a header with a number that does not end")
    }

    /// A number in zigzag form.
    fn number(&mut self) -> anyhow::Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn skip(&mut self, n: u64) -> anyhow::Result<()> {
        let skipped = io::copy(&mut (&mut self.bytes).take(n), &mut io::sink())?;
        ensure!(skipped == n, "a header that does not end");
        Ok(())
    }
}
