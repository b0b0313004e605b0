//! The rows of a file that holds its columns one after the other.
//!
//! Invariant: rows are handed over in bounded batches by a thread of their own, whose panics are
//! damage of the file and end no command.

pub(super) mod values;

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::{anyhow, bail, ensure};

use super::bounds::{OF_COLUMNS, ROW_BYTES_MAX, check_rows};
use super::recognised::ColumnarFormat;
use super::row::{Cell, Row};

/// Rows are handed over when they reach so many bytes.
const BATCH_BYTES: usize = 1 << 18;
/// Batches that wait to be taken.
const BATCHES_MAX: usize = 4;
/// The name of the thread whose panics are errors of the file.
pub(crate) const THREAD: &str = "columns";

type RowBatch = anyhow::Result<Vec<Row>>;
type HandOver = Box<dyn FnOnce(&mut BatchedRows) -> anyhow::Result<()>>;

/// The rows of a file, one after the other.
pub(super) struct Columnar {
    format: ColumnarFormat,
    columns: Vec<String>,
    batches: Receiver<RowBatch>,
    ready: std::vec::IntoIter<Row>,
    reader: Option<thread::JoinHandle<()>>,
}

/// A file whose columns are known.
pub(super) struct ColumnarFile {
    /// Their names.
    pub columns: Vec<String>,
    /// The bytes of the file.
    pub n_packed: u64,
    /// Reads all rows and hands them over.
    pub hand_over: HandOver,
}

impl Columnar {
    /// Opens a file of a format by a function that runs on the reading thread.
    pub(super) fn open(
        format: ColumnarFormat,
        start: impl FnOnce() -> anyhow::Result<ColumnarFile> + Send + 'static,
    ) -> anyhow::Result<Columnar> {
        let (headers, first) = sync_channel(1);
        let (batches, taken) = sync_channel(BATCHES_MAX);
        let reader = move || match start() {
            Err(error) => _ = headers.send(Err(error)),
            Ok(opened) => {
                if headers.send(Ok(opened.columns)).is_ok() {
                    let mut handed = BatchedRows::new(&batches, opened.n_packed);
                    let read = (opened.hand_over)(&mut handed);
                    // The receiver may be gone.
                    _ = batches.send(read.map(|()| handed.batch));
                }
            }
        };
        let reader = thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(reader)?;
        let columns = match first.recv() {
            Ok(columns) => columns?,
            Err(_) => bail!("a damaged {} file", format.name()),
        };
        Ok(Columnar {
            format,
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
                    let has_panicked = matches!(ended, Some(Err(_)));
                    ensure!(!has_panicked, "a damaged {} file", self.format.name());
                    return Ok(None);
                }
            }
        }
    }
}

/// The rows that are handed over, in batches.
pub(super) struct BatchedRows<'a> {
    batches: &'a SyncSender<RowBatch>,
    batch: Vec<Row>,
    /// Bytes of the batch, and of all rows.
    n_bytes: usize,
    n_all: u64,
    n_rows: u64,
    n_packed: u64,
}

impl<'a> BatchedRows<'a> {
    fn new(batches: &'a SyncSender<RowBatch>, n_packed: u64) -> BatchedRows<'a> {
        BatchedRows {
            batches,
            batch: Vec::new(),
            n_bytes: 0,
            n_all: 0,
            n_rows: 0,
            n_packed,
        }
    }

    /// Takes a row; false once no receiver takes batches any more.
    ///
    /// # Errors
    /// The row is too long, or the file unpacks to more, or has more rows, than a file of rows does.
    pub(super) fn take(&mut self, row: Row) -> anyhow::Result<bool> {
        let size: usize = row.cells.iter().map(size).sum();
        ensure!(
            size <= ROW_BYTES_MAX,
            "row {} is longer than {} MiB",
            row.line,
            ROW_BYTES_MAX >> 20
        );
        self.n_all += size as u64;
        self.n_rows += 1;
        OF_COLUMNS
            .check(self.n_all, self.n_packed)
            .and_then(|()| check_rows(self.n_rows, self.n_packed))
            .map_err(|why| anyhow!(why))?;
        self.n_bytes += size;
        self.batch.push(row);
        if self.n_bytes < BATCH_BYTES {
            return Ok(true);
        }
        self.n_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        Ok(self.batches.send(Ok(batch)).is_ok())
    }
}

/// The bytes that a cell takes.
fn size(cell: &Cell) -> usize {
    1 + match cell {
        Cell::Text(text) => text.len(),
        Cell::List(values) => values.len() * size_of::<f64>(),
    }
}
