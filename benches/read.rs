//! Files of rows: how many megabytes a second `perennial init` reads of CSV and of Parquet, and the peak
//! of its memory.
//!
//! Invariant: both files hold the same rows, and are made on the spot.
//!
//! `cargo bench --bench read` on a CSV of 2 GB, or shorter: `cargo bench --bench read -- 200` for 200 MB.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

const MEGABYTE: u64 = 1_000_000;
const CSV_MEGABYTES: u64 = 2000;
const GROUP_ROWS: u64 = 100_000;
/// The peak that no file may pass, however long it is.
const PEAK_MEGABYTES_MAX: u64 = 600;

fn main() -> anyhow::Result<()> {
    let asked = std::env::args().find_map(|argument| argument.parse().ok());
    let megabytes = asked.unwrap_or(CSV_MEGABYTES);
    println!("cargo bench --bench read -- {megabytes}");
    let folder = tempfile::tempdir()?;
    let (csv, parquet) = (
        folder.path().join("rows.csv"),
        folder.path().join("rows.parquet"),
    );
    let n_rows = write_csv(&csv, megabytes * MEGABYTE)?;
    measure("CSV", &csv, n_rows)?;
    fs::remove_file(&csv)?;
    write_parquet(&parquet, n_rows)?;
    measure("Parquet, snappy", &parquet, n_rows)
}

/// One row: two numbers, a category, a text, and a target that follows from the numbers.
struct GeneratedRow {
    x: f64,
    n: i64,
    category: &'static str,
    text: String,
    y: f64,
}

fn row(index: u64) -> GeneratedRow {
    let mut bits = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits ^= bits >> 27;
    let x = (bits % 20_000) as f64 / 1000.0;
    let n = (bits >> 20) % 500;
    let mut text = String::new();
    for place in 0..4 {
        let word = (bits >> (8 * place)) % 900;
        write!(text, "word{word} ").expect("a string takes it");
    }
    GeneratedRow {
        x,
        n: n as i64,
        category: ["north", "south", "east", "west"][(bits >> 40) as usize % 4],
        text: text.trim_end().to_owned(),
        y: 3.0 * x - n as f64,
    }
}

/// Writes so many bytes; how many rows that is.
fn write_csv(path: &Path, n_bytes: u64) -> anyhow::Result<u64> {
    let mut file = BufWriter::new(File::create(path)?);
    let header = "x,n,category,text,y\n";
    file.write_all(header.as_bytes())?;
    let (mut n_rows, mut written) = (0, header.len() as u64);
    while written < n_bytes {
        let row = row(n_rows);
        let line = format!(
            "{},{},{},{},{}\n",
            row.x, row.n, row.category, row.text, row.y
        );
        file.write_all(line.as_bytes())?;
        written += line.len() as u64;
        n_rows += 1;
    }
    file.flush()?;
    Ok(n_rows)
}

fn write_parquet(path: &Path, n_rows: u64) -> anyhow::Result<()> {
    let schema = "message rows { required double x; required int64 n; required binary category (UTF8); \
        required binary text (UTF8); required double y; }";
    let schema = Arc::new(parse_message_type(schema)?);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
    let mut file =
        SerializedFileWriter::new(File::create(path)?, schema, Arc::new(properties.build()))?;
    for first in (0..n_rows).step_by(GROUP_ROWS as usize) {
        let rows: Vec<GeneratedRow> = (first..n_rows.min(first + GROUP_ROWS)).map(row).collect();
        let mut group = file.next_row_group()?;
        let doubles = |of: fn(&GeneratedRow) -> f64| rows.iter().map(of).collect::<Vec<f64>>();
        let texts = |of: fn(&GeneratedRow) -> &str| {
            let bytes = rows.iter().map(|row| ByteArray::from(of(row)));
            bytes.collect::<Vec<ByteArray>>()
        };
        let whole: Vec<i64> = rows.iter().map(|row| row.n).collect();
        for place in 0..5 {
            let mut column = group.next_column()?.context("five columns")?;
            match place {
                0 => column
                    .typed::<DoubleType>()
                    .write_batch(&doubles(|row| row.x), None, None)?,
                1 => column
                    .typed::<Int64Type>()
                    .write_batch(&whole, None, None)?,
                2 => {
                    let texts = texts(|row| row.category);
                    column
                        .typed::<ByteArrayType>()
                        .write_batch(&texts, None, None)?
                }
                3 => {
                    let texts = texts(|row| &row.text);
                    column
                        .typed::<ByteArrayType>()
                        .write_batch(&texts, None, None)?
                }
                _ => column
                    .typed::<DoubleType>()
                    .write_batch(&doubles(|row| row.y), None, None)?,
            };
            column.close()?;
        }
        group.close()?;
    }
    file.close()?;
    Ok(())
}

/// Runs `init` over a file, and prints its rate and its peak.
fn measure(what: &str, path: &Path, n_rows: u64) -> anyhow::Result<()> {
    let megabytes = fs::metadata(path)?.len() as f64 / MEGABYTE as f64;
    let models = tempfile::tempdir()?;
    let started = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_perennial"))
        .args(["init", "m"])
        .arg(path)
        .args(["--target", "y", "--models"])
        .arg(models.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let peak = peak_megabytes(child.id())?;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{what}: {megabytes:.0} MB, {n_rows} rows in {seconds:.1} s, {:.0} MB/s, {:.0} rows/s; peak {peak} MB",
        megabytes / seconds,
        n_rows as f64 / seconds
    );
    ensure!(
        peak <= PEAK_MEGABYTES_MAX,
        "memory is to stay below {PEAK_MEGABYTES_MAX} MB"
    );
    Ok(())
}

/// Waits for a process; the most memory that it had.
fn peak_megabytes(process: u32) -> anyhow::Result<u64> {
    let mut status = 0;
    // SAFETY: `rusage` is numbers only, for which zero bytes are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: it waits for a child of ours, and writes to the two values behind the pointers.
    let waited = unsafe { libc::wait4(process as libc::pid_t, &mut status, 0, &mut usage) };
    ensure!(waited > 0 && status == 0, "it ended with status {status}");
    Ok(usage.ru_maxrss as u64 * 1024 / MEGABYTE)
}
