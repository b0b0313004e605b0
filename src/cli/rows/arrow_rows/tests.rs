//! Arrow files and streams: every kind of value, endless unpacking, damage.

use arrow_array::builder::{ListBuilder, StringDictionaryBuilder};
use arrow_array::types::Int8Type;
use arrow_array::{
    Array, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int64Array,
    NullArray, RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};

use super::*;
use crate::cli::rows::tests::{error, read, temporary};

/// Two rows of every kind that is read, the second of gaps alone.
fn batch() -> RecordBatch {
    let mut coded = StringDictionaryBuilder::<Int8Type>::new();
    coded.append_value("red");
    coded.append_null();
    let mut lists = ListBuilder::new(arrow_array::builder::Float64Builder::new());
    lists.append_value([Some(0.5), Some(2.0)]);
    lists.append_null();
    fn of(array: impl Array + 'static) -> ArrayRef {
        Arc::new(array)
    }
    let price = Decimal128Array::from(vec![Some(12_345), None]).with_precision_and_scale(9, 2);
    let hour = TimestampNanosecondArray::from(vec![Some(3_600_000_000_000), None]);
    let columns = [
        (
            "n",
            of(Int64Array::from(vec![Some(9_007_199_254_740_993), None])),
        ),
        ("f", of(Float32Array::from(vec![0.1, f32::NAN]))),
        ("text", of(StringArray::from(vec![Some("\u{e9}"), None]))),
        ("yes", of(BooleanArray::from(vec![Some(true), None]))),
        ("day", of(Date32Array::from(vec![Some(19_000), None]))),
        ("at", of(hour)),
        ("price", of(price.unwrap())),
        ("colour", of(coded.finish())),
        ("v", of(lists.finish())),
        ("none", of(NullArray::new(2))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))
        .unwrap()
}

fn packed(codec: Option<CompressionType>) -> IpcWriteOptions {
    IpcWriteOptions::default()
        .try_with_compression(codec)
        .unwrap()
}

/// A file of batches.
fn file(batches: &[RecordBatch], codec: Option<CompressionType>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let schema = batches[0].schema();
    let mut file = FileWriter::try_new_with_options(&mut bytes, &schema, packed(codec)).unwrap();
    for batch in batches {
        file.write(batch).unwrap();
    }
    file.finish().unwrap();
    drop(file);
    bytes
}

fn stream(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let schema = batch.schema();
    let mut stream = StreamWriter::try_new(&mut bytes, &schema).unwrap();
    stream.write(batch).unwrap();
    stream.finish().unwrap();
    drop(stream);
    bytes
}

#[test]
fn values_of_every_kind_are_read_from_files_and_streams() {
    let row = |line| {
        format!(
            " {line}: 9007199254740993|0.1|\u{e9}|true|2022-01-08|1970-01-01T01:00:00Z|123.45|red|\
             [0.5, 2.0]| {}: |||||||||",
            line + 1
        )
    };
    let header = "n|f|text|yes|day|at|price|colour|v|none";
    let once = format!("{header}{}", row(1));
    assert_eq!(read(&stream(&batch())).unwrap(), once);
    let twice = format!("{once}{}", row(3));
    for codec in [
        None,
        Some(CompressionType::LZ4_FRAME),
        Some(CompressionType::ZSTD),
    ] {
        let bytes = file(&[batch(), batch()], codec);
        assert_eq!(read(&bytes).unwrap(), twice, "{codec:?}");
    }
}

#[test]
fn a_column_that_is_no_cell_is_named() {
    let column = arrow_array::DurationSecondArray::from(vec![1]);
    let batch = RecordBatch::try_from_iter([("took", Arc::new(column) as ArrayRef)]).unwrap();
    let refusal = error(read(&file(&[batch], None)));
    assert!(
        refusal.contains("column \"took\" holds Duration"),
        "{refusal}"
    );
}

#[test]
fn p9_what_unpacks_without_end_is_refused() {
    for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        // 40 batches of 8 MB that pack to nearly nothing.
        let zeros = Float64Array::from(vec![0.0; 1_000_000]);
        let batch = RecordBatch::try_from_iter([("x", Arc::new(zeros) as ArrayRef)]).unwrap();
        let bytes = file(&vec![batch; 40], Some(codec));
        assert!(bytes.len() < 4 << 20, "{}", bytes.len());
        let refusal = error(read(&bytes));
        // By its rows or by its bytes, whichever are too many first.
        assert!(refusal.contains("times as many"), "{codec:?}: {refusal}");
    }
}

#[test]
fn p9_rows_of_nothing_have_a_bound() {
    let nothing = Arc::new(NullArray::new(1 << 30)) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("x", nothing)]).unwrap();
    let bytes = stream(&batch);
    assert!(bytes.len() < 1 << 20, "{}", bytes.len());
    let file = temporary(&bytes);
    let mut rows = open(file.path()).unwrap();
    let refusal = loop {
        match rows.next() {
            Ok(row) => assert!(row.is_some(), "it ends"),
            Err(refusal) => break refusal.to_string(),
        }
    };
    assert!(refusal.contains("times as many rows"), "{refusal}");
}

#[test]
fn p9_a_damaged_file_is_refused_or_read_and_never_ends_the_program() {
    let drained = |bytes: &[u8]| {
        let file = temporary(bytes);
        let Ok(mut rows) = open(file.path()) else {
            return;
        };
        while let Ok(Some(_)) = rows.next() {}
    };
    for bytes in [
        file(&[batch()], Some(CompressionType::ZSTD)),
        file(&[batch()], None),
    ] {
        for place in 0..bytes.len() {
            for flip in [0x55, 0x80] {
                let mut damaged = bytes.clone();
                damaged[place] ^= flip;
                drained(&damaged);
            }
        }
        for length in 0..bytes.len() {
            drained(&bytes[..length]);
        }
    }
}
