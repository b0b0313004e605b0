//! Drift: how soon changes of generated streams are found, and how many alarms are false, beside
//! River's detectors on the same streams, and beside detectors that always and never alarm.
//!
//! Invariant: every detector sees the same rows; a delay is the number of rows from the change to
//! the first alarm of any of its streams, and every alarm before the change is false.
//!
//! `cargo bench --bench drift`, or one width: `cargo bench --bench drift -- 1000`; with `--alone` without
//! River, which takes python3 with venv and the
//! package index; with `--quick`, a smoke test of seconds whose figures mean nothing.

#[path = "learn/data.rs"]
mod data;
#[path = "drift/streams.rs"]
mod streams;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use perennial::event::{Batch, Column, Outputs, Signal};
use perennial::learn::{Detectors, JudgedAnswer};
use perennial::model::Spec;
use streams::{Change, Dependence, Row, Stream};

/// False alarms in 100,000 events: the default of a description.
const FALSE_ALARMS: f64 = 1.0;
/// Streams of each change that detectors see which take long.
const N_SLOW: u64 = 3;
const PACKAGE: &str = "river==0.26.1";

/// How much is run for one width.
struct Effort {
    n_inputs: usize,
    /// Streams of each change, with so many rows before it and after it.
    n_streams: u64,
    n_rows: usize,
    /// Streams without a change, each of so many rows.
    n_steady: u64,
    n_steady_rows: usize,
}

const WHOLE: [Effort; 2] = [
    Effort {
        n_inputs: 1,
        n_streams: 21,
        n_rows: 4000,
        n_steady: 10,
        n_steady_rows: 100_000,
    },
    Effort {
        n_inputs: 1000,
        n_streams: 3,
        n_rows: 3000,
        n_steady: 1,
        n_steady_rows: 20_000,
    },
];

const QUICK: [Effort; 1] = [Effort {
    n_inputs: 1,
    n_streams: 3,
    n_rows: 2000,
    n_steady: 1,
    n_steady_rows: 5000,
}];

/// The findings of one detector on one stream.
struct Found {
    name: String,
    /// The first row from the change on with an alarm.
    first: Option<usize>,
    /// Alarms before it.
    n_before: usize,
}

/// Of one detector: delays by change, false alarms, and the rows in which they came.
#[derive(Default)]
struct Totals {
    delays: BTreeMap<&'static str, Vec<usize>>,
    n_false: usize,
    n_rows: usize,
}

fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let (options, widths): (Vec<_>, Vec<_>) = arguments.partition(|a| a.starts_with("--"));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let (is_alone, effort): (bool, &[Effort]) = match options[..] {
        [] => (false, &WHOLE),
        ["--alone"] => (true, &WHOLE),
        ["--quick"] => (true, &QUICK),
        _ => bail!("{options:?}: --alone and --quick are the only options; numbers choose widths"),
    };
    let wanted =
        |effort: &&Effort| widths.is_empty() || widths.contains(&effort.n_inputs.to_string());
    let mut river = if is_alone { None } else { River::start()? };
    for effort in effort.iter().filter(wanted) {
        let mut all = BTreeMap::new();
        let mut seconds = (0.0, 0);
        for stream in streams_of(effort) {
            let started = Instant::now();
            let ours = find(&stream, "ours", FALSE_ALARMS)?;
            seconds = (
                seconds.0 + started.elapsed().as_secs_f64(),
                seconds.1 + stream.n_rows,
            );
            let strict = find(&stream, "ours, a tenth", FALSE_ALARMS / 10.0)?;
            let mut found = vec![ours, strict, always(&stream), never()];
            if let Some(river) = &mut river {
                found.extend(river.find(&stream)?);
            }
            add(&mut all, &stream, found);
        }
        print(effort, &all);
        println!(
            "ours: {:.2} us a row, with the rows made\n",
            1e6 * seconds.0 / seconds.1 as f64
        );
    }
    dependent(effort[0].n_steady_rows)
}

/// Prints the alarms of one input whose values depend on each other, and do not change.
fn dependent(n_rows: usize) -> Result<()> {
    let toml = "task = \"regression\"\n[[input]]\nname = \"x\"\nkind = \"number\"\n";
    let spec = Spec::parse(toml)?;
    const N_STREAMS: u64 = 20;
    for dependence in [
        Dependence::Autoregressive,
        Dependence::Cycle(48),
        Dependence::Cycle(5000),
    ] {
        let mut n_alarms = 0;
        for seed in 0..N_STREAMS {
            let mut detectors = Detectors::new(&spec, FALSE_ALARMS);
            for (position, value) in dependence.values(n_rows, 1 + seed).enumerate() {
                let batch = Batch {
                    n_rows: 1,
                    columns: vec![Column::Numbers(vec![value])],
                };
                n_alarms += detectors
                    .observe_row(&spec, (&batch, 0), position as u64)
                    .len();
            }
        }
        let false_alarms = 1e5 * n_alarms as f64 / (n_rows as f64 * N_STREAMS as f64);
        println!("{dependence:?}, {n_rows} rows: {false_alarms:.2} alarms in 100,000 rows");
    }
    Ok(())
}

fn streams_of(effort: &Effort) -> impl Iterator<Item = Stream> {
    let changing = Change::ALL.into_iter().flat_map(move |change| {
        (0..effort.n_streams).map(move |seed| Stream {
            change,
            n_inputs: effort.n_inputs,
            n_rows: 2 * effort.n_rows,
            changed_at: effort.n_rows,
            seed: 1 + seed,
            is_for_slow: effort.n_inputs == 1 && seed < N_SLOW,
        })
    });
    let steady = (0..effort.n_steady).map(move |seed| Stream {
        change: Change::Never,
        n_inputs: effort.n_inputs,
        n_rows: effort.n_steady_rows,
        changed_at: effort.n_steady_rows,
        seed: 1000 + seed,
        is_for_slow: effort.n_inputs == 1 && seed == 0,
    });
    changing.chain(steady)
}

/// The findings of the detectors of a model that has these inputs and allows so many false alarms.
fn find(stream: &Stream, name: &str, false_alarms: f64) -> Result<Found> {
    let input = |n| format!("[[input]]\nname = \"x{n}\"\nkind = \"number\"\n");
    let inputs: String = (0..stream.n_inputs).map(input).collect();
    let toml = format!("task = \"classification\"\nclasses = [\"0\", \"1\"]\n{inputs}");
    let spec = Spec::parse(&toml)?;
    let mut detectors = Detectors::new(&spec, false_alarms);
    let mut rows = Vec::new();
    for (position, row) in stream.rows().enumerate() {
        let n_alarms = observe(&mut detectors, &spec, &row, position as u64);
        rows.extend(std::iter::repeat_n(position, n_alarms));
    }
    Ok(Found::of(name, stream, &rows))
}

fn observe(detectors: &mut Detectors, spec: &Spec, row: &Row, position: u64) -> usize {
    let column = |value: &f64| Column::Numbers(vec![*value]);
    let batch = Batch {
        n_rows: 1,
        columns: row.inputs.iter().map(column).collect(),
    };
    let answered = row.label ^ usize::from(row.is_wrong);
    let mut probabilities = vec![0.1, 0.1];
    probabilities[answered] = 0.9;
    let judged = JudgedAnswer::Label {
        is_right: !row.is_wrong,
        confidence: 0.9,
    };
    let outputs = Outputs::Probabilities(probabilities);
    let label = Signal::Label(row.label.to_string());
    let asked = detectors.observe_row(spec, (&batch, 0), position).len();
    let answered = detectors.observe_answer(&outputs, (1, 0), position).len();
    let labelled = detectors.observe_label(&label, position).len();
    let judged = detectors.observe_judged(judged, position).len();
    asked + answered + labelled + judged
}

impl Found {
    fn of(name: &str, stream: &Stream, rows: &[usize]) -> Found {
        let n_before = rows.iter().filter(|row| **row < stream.changed_at).count();
        Found {
            name: name.to_owned(),
            first: rows.get(n_before).copied(),
            n_before,
        }
    }
}

fn always(stream: &Stream) -> Found {
    let rows: Vec<usize> = (0..stream.n_rows).collect();
    Found::of("always", stream, &rows)
}

fn never() -> Found {
    Found {
        name: "never".to_owned(),
        first: None,
        n_before: 0,
    }
}

fn add(all: &mut BTreeMap<String, Totals>, stream: &Stream, found: Vec<Found>) {
    for found in found {
        let totals = all.entry(found.name).or_default();
        totals.n_false += found.n_before;
        totals.n_rows += stream.changed_at;
        if stream.change != Change::Never {
            let delay = found
                .first
                .map_or(usize::MAX, |row| row + 1 - stream.changed_at);
            totals
                .delays
                .entry(stream.change.word())
                .or_default()
                .push(delay);
        }
    }
}

fn print(effort: &Effort, all: &BTreeMap<String, Totals>) {
    println!(
        "{} inputs, {} streams a change, {} rows before it: median delay in rows, -: not found in {}",
        effort.n_inputs, effort.n_streams, effort.n_rows, effort.n_rows
    );
    let words = Change::ALL.map(Change::word);
    println!(
        "| detector | {} | false alarms in 100,000 rows |",
        words.join(" | ")
    );
    println!("|---|{}---|", "---|".repeat(words.len()));
    for (name, totals) in all {
        let delay = |word: &str| {
            let mut delays = totals.delays[word].clone();
            delays.sort_unstable();
            match delays[delays.len() / 2] {
                usize::MAX => "-".to_owned(),
                delay => delay.to_string(),
            }
        };
        let false_alarms = 1e5 * totals.n_false as f64 / totals.n_rows as f64;
        println!(
            "| {name} | {} | {false_alarms:.1} |",
            words.map(delay).join(" | ")
        );
    }
}

/// River in a process of its own.
struct River {
    child: Child,
    streams: BufWriter<ChildStdin>,
    found: BufReader<ChildStdout>,
}

impl River {
    /// The process; none where there is no python3.
    fn start() -> Result<Option<River>> {
        if Command::new("python3").arg("--version").output().is_err() {
            println!("without River: there is no python3");
            return Ok(None);
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/drift.py");
        let mut child = Command::new(environment()?)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Some(River {
            streams: BufWriter::new(child.stdin.take().context("it is piped")?),
            found: BufReader::new(child.stdout.take().context("it is piped")?),
            child,
        }))
    }

    fn find(&mut self, stream: &Stream) -> Result<Vec<Found>> {
        let Stream {
            n_inputs,
            n_rows,
            changed_at,
            ..
        } = stream;
        let slow = u8::from(stream.is_for_slow);
        writeln!(self.streams, "{n_inputs} {n_rows} {changed_at} {slow}")?;
        for row in stream.rows() {
            let others = [row.label as f64, f64::from(u8::from(row.is_wrong))];
            for value in row.inputs.into_iter().chain(others) {
                self.streams.write_all(&value.to_le_bytes())?;
            }
        }
        self.streams.flush()?;
        let mut all = Vec::new();
        loop {
            let mut line = String::new();
            ensure!(self.found.read_line(&mut line)? > 0, "River has ended");
            let found: serde_json::Value = serde_json::from_str(&line)?;
            let Some(name) = found["name"].as_str() else {
                return Ok(all);
            };
            all.push(Found {
                name: name.to_owned(),
                first: found["first"].as_u64().map(|row| row as usize),
                n_before: found["before"].as_u64().context("a count")? as usize,
            });
        }
    }
}

impl Drop for River {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Python with River; it is made once.
fn environment() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("drift-python");
    let python = folder.join("bin/python");
    let run = |command: &mut Command| -> Result<()> {
        let status = command.stdout(Stdio::null()).status()?;
        ensure!(status.success(), "{command:?}: {status}");
        Ok(())
    };
    if !python.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    }
    let install = ["-m", "pip", "install", "--quiet", PACKAGE];
    run(Command::new(&python).args(install))?;
    Ok(python)
}
