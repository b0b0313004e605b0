//! The rows of a Parquet file.
//!
//! Invariant: no page is unpacked before its header was checked, so that memory is bounded whatever
//! the file claims; a file that makes its decoder panic is damaged, and ends no command.

mod cells;
mod columns;
mod pages;

use std::fs::File;
use std::path::Path;

use anyhow::Context;
use parquet::basic::{LogicalType, TimeUnit};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Row as Record;
use parquet::record::reader::RowIter;

use super::columnar::{BatchedRows, Columnar, ColumnarFile};
use super::names::names;
use super::recognised::ColumnarFormat;
use super::row::Row;
use cells::{ValueForm, cell};
use columns::Columns;

/// Opens a file, reads its footer and checks its pages.
pub(super) fn open(path: &Path) -> anyhow::Result<Columnar> {
    let path = path.to_owned();
    Columnar::open(ColumnarFormat::Parquet, move || start(&path))
}

fn start(path: &Path) -> anyhow::Result<ColumnarFile> {
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
            Some(LogicalType::Timestamp(time)) if time.unit == TimeUnit::NANOS => {
                ValueForm::Nanoseconds
            }
            _ => ValueForm::Plain,
        });
    let forms: Vec<ValueForm> = forms.collect();
    Ok(ColumnarFile {
        columns,
        n_packed,
        hand_over: Box::new(move |handed| hand_over(reader, &forms, handed)),
    })
}

fn hand_over(
    reader: SerializedFileReader<File>,
    forms: &[ValueForm],
    handed: &mut BatchedRows,
) -> anyhow::Result<()> {
    if !columns::is_flat(reader.metadata().file_metadata().schema_descr()) {
        for (line, record) in (1..).zip(RowIter::from_file_into(Box::new(reader))) {
            let record = record.with_context(|| format!("row {line}"))?;
            if !handed.take(row(line, record, forms)?)? {
                break;
            }
        }
        return Ok(());
    }
    let mut line = 0;
    for place in 0..reader.num_row_groups() {
        let group = reader.get_row_group(place)?;
        let n_rows = group.metadata().num_rows();
        let mut columns = Columns::new(&*group, forms)?;
        for _ in 0..n_rows {
            line += 1;
            let row = columns.row(line).with_context(|| format!("row {line}"))?;
            if !handed.take(row)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn row(line: u64, record: Record, forms: &[ValueForm]) -> anyhow::Result<Row> {
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
    use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
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
        let sentence = "pages packed by LZ4; write them with snappy, gzip, zstd or LZ4_RAW";
        assert!(refusal.ends_with(sentence), "{refusal}");
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

    /// A file of runs of one number and one truth, in so many groups of a million rows.
    fn runs(n_groups: usize) -> Vec<u8> {
        let schema = "message rows { required int64 x; required boolean y; }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut bytes = Vec::new();
        let properties = Arc::new(packed(Compression::ZSTD(Default::default())));
        let mut file = SerializedFileWriter::new(&mut bytes, schema, properties).unwrap();
        for _ in 0..n_groups {
            let mut group = file.next_row_group().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let written = column
                .typed::<Int64Type>()
                .write_batch(&vec![7; 1 << 20], None, None);
            assert_eq!(written.unwrap(), 1 << 20);
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let written = column
                .typed::<BoolType>()
                .write_batch(&vec![true; 1 << 20], None, None);
            assert_eq!(written.unwrap(), 1 << 20);
            column.close().unwrap();
            group.close().unwrap();
        }
        file.close().unwrap();
        bytes
    }

    #[test]
    fn p9_runs_of_one_value_have_a_bound_in_rows_and_are_refused_before_the_first() {
        let bytes = runs(5);
        assert!(bytes.len() < 1 << 20, "{}", bytes.len());
        let file = crate::cli::rows::tests::temporary(&bytes);
        let refusal = error(open(file.path()).map(|_| ()));
        assert!(
            refusal.ends_with("as many rows: save the rows as CSV if the file is sound"),
            "{refusal}"
        );
        let file = crate::cli::rows::tests::temporary(&runs(1));
        let mut rows = open(file.path()).unwrap();
        assert_eq!(rows.next().unwrap().unwrap().cells.len(), 2);
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
            if let Ok(mut rows) = open(file.path()) {
                while let Ok(Some(_)) = rows.next() {}
            }
        }
        for length in 4..bytes.len() {
            let file = crate::cli::rows::tests::temporary(&bytes[..length]);
            assert!(open(file.path()).is_err(), "{length}");
        }
    }
}
