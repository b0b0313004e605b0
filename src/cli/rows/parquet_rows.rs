//! The rows of a Parquet file.
//!
//! Invariant: no page is unpacked before its header was checked, so that memory is bounded whatever
//! the file says; a file that makes its decoder panic is damaged, and ends no command.

mod cells;
mod columns;
mod pages;

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, anyhow, bail, ensure};
use parquet::basic::{LogicalType, TimeUnit};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Row as Record;
use parquet::record::reader::RowIter;

use super::lines::ROW_BYTES_MAX;
use super::names::names;
use super::row::{Cell, Row};
use super::source::check_ratio;
use cells::{Form, cell};
use columns::Columns;

/// Rows are handed over when they come to so many bytes.
const BATCH_BYTES: usize = 1 << 18;
/// Batches that wait to be taken.
const BATCHES_MAX: usize = 4;
/// The name of the thread whose panics are errors of the file.
pub(crate) const THREAD: &str = "parquet";

type Batch = anyhow::Result<Vec<Row>>;

/// The rows of a Parquet file, read by a thread of their own.
pub(super) struct ParquetRows {
    columns: Vec<String>,
    batches: Receiver<Batch>,
    ready: std::vec::IntoIter<Row>,
    reader: Option<thread::JoinHandle<()>>,
}

impl ParquetRows {
    /// Opens a file and reads its footer.
    pub(super) fn open(path: &Path) -> anyhow::Result<ParquetRows> {
        let path = path.to_owned();
        let (headers, first) = sync_channel(1);
        let (batches, taken) = sync_channel(BATCHES_MAX);
        let reader = move || match start(&path) {
            Err(error) => _ = headers.send(Err(error)),
            Ok(opened) => {
                let sent = headers.send(Ok(opened.columns.clone()));
                if sent.is_ok()
                    && let Err(error) = opened.send_rows(&batches)
                {
                    _ = batches.send(Err(error));
                }
            }
        };
        let reader = thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(reader)?;
        let columns = match first.recv() {
            Ok(columns) => columns?,
            Err(_) => bail!("a damaged Parquet file"),
        };
        Ok(ParquetRows {
            columns,
            batches: taken,
            ready: Vec::new().into_iter(),
            reader: Some(reader),
        })
    }

    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The next row; its line is its number, from 1.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Row>> {
        loop {
            if let Some(row) = self.ready.next() {
                return Ok(Some(row));
            }
            match self.batches.recv() {
                Ok(batch) => self.ready = batch?.into_iter(),
                Err(_) => {
                    let ended = self.reader.take().map(thread::JoinHandle::join);
                    ensure!(!matches!(ended, Some(Err(_))), "a damaged Parquet file");
                    return Ok(None);
                }
            }
        }
    }
}

struct Opened {
    columns: Vec<String>,
    forms: Vec<Form>,
    reader: SerializedFileReader<File>,
    n_packed: u64,
}

fn start(path: &Path) -> anyhow::Result<Opened> {
    let file = File::open(path)?;
    let n_packed = file.metadata()?.len();
    let reader = SerializedFileReader::new(file).context("a damaged Parquet file")?;
    pages::check(path, reader.metadata())?;
    let fields = reader.metadata().file_metadata().schema().get_fields();
    let headers = fields.iter().map(|field| field.name().to_owned());
    let (columns, _) = names(headers.collect(), |_| true);
    let forms = fields
        .iter()
        .map(|field| match field.get_basic_info().logical_type_ref() {
            Some(LogicalType::Timestamp(time)) if time.unit == TimeUnit::NANOS => Form::Nanoseconds,
            _ => Form::Plain,
        });
    Ok(Opened {
        columns,
        forms: forms.collect(),
        reader,
        n_packed,
    })
}

impl Opened {
    fn send_rows(self, batches: &SyncSender<Batch>) -> anyhow::Result<()> {
        let mut sender = Sender {
            batches,
            batch: Vec::new(),
            n_bytes: 0,
            n_all: 0,
            n_packed: self.n_packed,
        };
        let (reader, forms) = (self.reader, &self.forms);
        if !columns::is_flat(reader.metadata().file_metadata().schema_descr()) {
            for (line, record) in (1..).zip(RowIter::from_file_into(Box::new(reader))) {
                let record = record.with_context(|| format!("row {line}"))?;
                if !sender.take(row(line, record, forms)?)? {
                    return Ok(());
                }
            }
            return sender.finish();
        }
        let mut line = 0;
        for place in 0..reader.num_row_groups() {
            let group = reader.get_row_group(place)?;
            let n_rows = group.metadata().num_rows();
            let mut columns = Columns::new(&*group, forms)?;
            for _ in 0..n_rows {
                line += 1;
                let row = columns.row(line).with_context(|| format!("row {line}"))?;
                if !sender.take(row)? {
                    return Ok(());
                }
            }
        }
        sender.finish()
    }
}

/// The rows that are handed over, in batches.
struct Sender<'a> {
    batches: &'a SyncSender<Batch>,
    batch: Vec<Row>,
    /// Bytes of the batch, and of all rows.
    n_bytes: usize,
    n_all: u64,
    n_packed: u64,
}

impl Sender<'_> {
    /// Takes a row; false once nobody takes batches any more.
    fn take(&mut self, row: Row) -> anyhow::Result<bool> {
        let size: usize = row.cells.iter().map(size).sum();
        ensure!(
            size <= ROW_BYTES_MAX,
            "row {} is longer than {} MiB",
            row.line,
            ROW_BYTES_MAX >> 20
        );
        self.n_all += size as u64;
        check_ratio(self.n_all, self.n_packed).map_err(|why| anyhow!(why))?;
        self.n_bytes += size;
        self.batch.push(row);
        if self.n_bytes < BATCH_BYTES {
            return Ok(true);
        }
        self.n_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        Ok(self.batches.send(Ok(batch)).is_ok())
    }

    fn finish(self) -> anyhow::Result<()> {
        // Nobody may take it any more.
        _ = self.batches.send(Ok(self.batch));
        Ok(())
    }
}

/// The bytes that a cell takes.
fn size(cell: &Cell) -> usize {
    1 + match cell {
        Cell::Text(text) => text.len(),
        Cell::List(values) => values.len() * size_of::<f64>(),
    }
}

fn row(line: u64, record: Record, forms: &[Form]) -> anyhow::Result<Row> {
    let fields = record.into_columns().into_iter().zip(forms);
    let cells = fields.map(|((_, field), form)| cell(field, *form));
    Ok(Row {
        line,
        cells: cells.collect::<anyhow::Result<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::basic::Compression;
    use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;
    use crate::cli::rows::tests::{error, read};

    /// A file of a time, a number with gaps and a text.
    fn written(texts: &[&str], properties: WriterProperties) -> Vec<u8> {
        let schema = "message rows {
            required int64 at (TIMESTAMP(NANOS, true));
            optional double x;
            required binary text (UTF8);
        }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut bytes = Vec::new();
        let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
        let mut group = file.next_row_group().unwrap();
        let n = texts.len();
        let times: Vec<i64> = (0..n as i64).map(|hour| hour * 3_600_000_000_000).collect();
        let mut column = group.next_column().unwrap().unwrap();
        let written = column.typed::<Int64Type>().write_batch(&times, None, None);
        assert_eq!(written.unwrap(), n);
        column.close().unwrap();
        // The second row has a gap.
        let levels: Vec<i16> = (0..n).map(|row| i16::from(row != 1)).collect();
        let values: Vec<f64> = (0..n)
            .filter(|row| *row != 1)
            .map(|row| row as f64 / 2.0)
            .collect();
        let mut column = group.next_column().unwrap().unwrap();
        let written = column
            .typed::<DoubleType>()
            .write_batch(&values, Some(&levels), None);
        assert_eq!(written.unwrap(), n - usize::from(n > 1));
        column.close().unwrap();
        let texts: Vec<ByteArray> = texts.iter().map(|text| ByteArray::from(*text)).collect();
        let mut column = group.next_column().unwrap().unwrap();
        let written = column
            .typed::<ByteArrayType>()
            .write_batch(&texts, None, None);
        assert_eq!(written.unwrap(), n);
        column.close().unwrap();
        group.close().unwrap();
        file.close().unwrap();
        bytes
    }

    fn packed(codec: Compression) -> WriterProperties {
        WriterProperties::builder().set_compression(codec).build()
    }

    #[test]
    fn rows_are_read_under_every_codec() {
        let expected = "at|x|text 1: 1970-01-01T00:00:00Z|0|a 2: 1970-01-01T01:00:00Z||\u{e9} \
                        3: 1970-01-01T02:00:00Z|1|a";
        for codec in [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::LZ4_RAW,
            Compression::GZIP(Default::default()),
            Compression::ZSTD(Default::default()),
        ] {
            let bytes = written(&["a", "\u{e9}", "a"], packed(codec));
            assert_eq!(read(&bytes).unwrap(), expected, "{codec}");
        }
        let refusal = error(read(&written(&["a"], packed(Compression::LZ4))));
        let said = "pages packed by LZ4; write them with snappy, gzip, zstd or LZ4_RAW";
        assert!(refusal.ends_with(said), "{refusal}");
    }

    #[test]
    fn p9_what_unpacks_without_end_is_refused() {
        let long = "x".repeat(100_000);
        let texts = vec![long.as_str(); 1000];
        // A dictionary of one text, taken again and again.
        for codec in [Compression::SNAPPY, Compression::LZ4_RAW] {
            let bytes = written(&texts, packed(codec));
            let refusal = error(read(&bytes));
            assert!(
                refusal.contains("unpack to more than 250 times as many"),
                "{codec}: {refusal}"
            );
        }
        // A page of all texts.
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_data_page_size_limit(1 << 30)
            .set_write_batch_size(2000)
            .set_compression(Compression::ZSTD(Default::default()));
        let bytes = written(&texts, properties.build());
        assert!(bytes.len() < 1 << 20);
        let refusal = error(read(&bytes));
        assert!(refusal.contains("a page of 1000"), "{refusal}");
    }

    /// A file of one list of the same number.
    fn list(n: usize) -> Vec<u8> {
        let schema = "message rows {
            optional group v (LIST) { repeated group list { required double element; } }
        }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut bytes = Vec::new();
        let properties = Arc::new(packed(Compression::ZSTD(Default::default())));
        let mut file = SerializedFileWriter::new(&mut bytes, schema, properties).unwrap();
        let mut group = file.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let levels: Vec<i16> = (0..n).map(|place| i16::from(place > 0)).collect();
        let written = column.typed::<DoubleType>().write_batch(
            &vec![0.5; n],
            Some(&vec![2; n]),
            Some(&levels),
        );
        assert_eq!(written.unwrap(), n);
        column.close().unwrap();
        group.close().unwrap();
        file.close().unwrap();
        bytes
    }

    #[test]
    fn p9_a_list_has_a_bound_in_what_it_unpacks_to() {
        assert_eq!(read(&list(2)).unwrap(), "v 1: [0.5, 0.5]");
        let bytes = list(3_000_000);
        assert!(bytes.len() < 1 << 20, "{}", bytes.len());
        let refusal = error(read(&bytes));
        assert!(refusal.contains("unpack to more than"), "{refusal}");
    }

    #[test]
    fn p9_a_damaged_file_is_refused_or_read_and_never_ends_the_program() {
        let bytes = written(
            &["a", "b", "a"],
            packed(Compression::ZSTD(Default::default())),
        );
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x55;
            let file = crate::cli::rows::tests::temporary(&damaged);
            if let Ok(mut rows) = ParquetRows::open(file.path()) {
                while let Ok(Some(_)) = rows.next() {}
            }
        }
        for length in 4..bytes.len() {
            let file = crate::cli::rows::tests::temporary(&bytes[..length]);
            assert!(ParquetRows::open(file.path()).is_err(), "{length}");
        }
    }
}
