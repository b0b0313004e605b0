//! The rows of an Arrow file, Feather's second version included, or of an Arrow stream.
//!
//! Invariant: a file is read message by message, as a stream is, and no message is decoded before its
//! lengths were checked.

mod cells;
mod messages;

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use arrow_array::ArrayRef;
use arrow_ipc::MessageHeader;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_schema::SchemaRef;

use super::columnar::{BatchedRows, Columnar, ColumnarFile};
use super::names::names;
use super::recognised::ColumnarFormat;
use super::row::Row;
use cells::ArrowColumn;
use messages::ArrowMessages;

/// Opens a file and reads its schema.
pub(super) fn open(path: &Path) -> anyhow::Result<Columnar> {
    let path = path.to_owned();
    Columnar::open(ColumnarFormat::Arrow, move || start(&path))
}

fn start(path: &Path) -> anyhow::Result<ColumnarFile> {
    let file = File::open(path)?;
    let n_packed = file.metadata()?.len();
    let (schema, messages) = ArrowMessages::open(BufReader::new(file), n_packed)?;
    for field in schema.fields() {
        cells::check(field)?;
    }
    let headers = schema.fields().iter().map(|field| field.name().clone());
    let (columns, _) = names(headers.collect(), |_| true);
    Ok(ColumnarFile {
        columns,
        n_packed,
        hand_over: Box::new(move |handed| hand_over(messages, Arc::new(schema), handed)),
    })
}

fn hand_over(
    mut messages: ArrowMessages<BufReader<File>>,
    schema: SchemaRef,
    handed: &mut BatchedRows,
) -> anyhow::Result<()> {
    let mut dictionaries: HashMap<i64, ArrayRef> = HashMap::new();
    let mut line = 0;
    while let Some(next) = messages.next()? {
        let message = next.header()?;
        let version = message.version();
        match message.header_type() {
            MessageHeader::DictionaryBatch => {
                let dictionary = message.header_as_dictionary_batch();
                let dictionary = dictionary.context("a dictionary without its header")?;
                read_dictionary(&next.body, dictionary, &schema, &mut dictionaries, &version)?;
            }
            MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch();
                let batch = batch.context("a batch of rows without its header")?;
                let schema = schema.clone();
                let batch =
                    read_record_batch(&next.body, batch, schema, &dictionaries, None, &version)?;
                let columns: Vec<ArrowColumn> =
                    batch.columns().iter().map(ArrowColumn::new).collect();
                for place in 0..batch.num_rows() {
                    line += 1;
                    let cells = columns.iter().map(|column| column.cell(place));
                    let cells = cells.collect::<anyhow::Result<_>>();
                    let cells = cells.with_context(|| format!("row {line}"))?;
                    if !handed.take(Row { line, cells })? {
                        return Ok(());
                    }
                }
            }
            MessageHeader::NONE => {}
            other => bail!("an Arrow file with a message of kind {other:?}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
