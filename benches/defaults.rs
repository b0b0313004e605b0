//! The default learner: `perennial init` and `perennial evaluate`, with nothing changed, on streams in
//! blocks, turned, shuffled and drifting.
//!
//! Invariant: every figure comes from the program's own commands on the drafted description.
//!
//! `cargo bench --bench defaults`, or some of it: `cargo bench --bench defaults -- pairs elec2`. With
//! `--quick`, a smoke test of seconds whose figures mean nothing.

#[path = "learn/data.rs"]
mod data;
#[path = "defaults/made.rs"]
mod made;
#[path = "forgetting/task_sequence.rs"]
mod task_sequence;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::data::{Images, Random};
use crate::task_sequence::View;

/// Images of each stream of images, spread over all, and those that are asked for afterwards. The parts
/// of MNIST differ: its first test images are the harder ones.
const IMAGES: usize = 20_000;
const TESTED: usize = 10_000;
/// Orders of the digits.
const ORDERS: [[u8; 10]; 3] = [
    [7, 2, 9, 0, 4, 3, 8, 1, 6, 5],
    [5, 1, 8, 6, 0, 9, 2, 4, 7, 3],
    [3, 4, 6, 2, 1, 7, 0, 5, 9, 8],
];
/// Rows of a file with `--quick`: by then each has two classes.
const QUICK: usize = 2_000;
/// Degrees by which images are turned, one after the other.
const ANGLES: [f64; 5] = [0.0, 30.0, 60.0, 90.0, 120.0];
/// Files of the data folder that are learned as they are.
const FILES: [&str; 8] = [
    "elec2",
    "weather",
    "sea",
    "intrusion",
    "adult",
    "segment",
    "phishing",
    "bananas",
];

/// The rows of a stream whose labels are late, and how many rows late they are.
const LATE_ROWS: usize = 20_000;
const DELAYS: [usize; 2] = [500, 2_000];

/// Rows of the streams that are made on the spot.
const MADE: usize = 20_000;

/// Files of values to be predicted.
const VALUES: [&str; 4] = ["sftemps", "air", "nyse", "diamonds"];

/// Rounds of the stream of rewards.
const ROUNDS: usize = 10_000;

/// Where streams are written, and how long they may be.
struct Bench {
    folder: tempfile::TempDir,
    data: Option<PathBuf>,
    quick: bool,
    filters: Vec<String>,
}

fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let (options, filters): (Vec<_>, Vec<_>) = arguments.partition(|a| a.starts_with("--"));
    ensure!(
        options.iter().all(|option| option == "--quick"),
        "{options:?}: --quick is the only option; other words choose streams"
    );
    let bench = Bench {
        folder: tempfile::tempdir()?,
        data: data::folder(),
        quick: !options.is_empty(),
        filters,
    };
    if bench.data.is_none() && !bench.quick {
        println!("skipped: no data; set PERENNIAL_DATA to their folder");
        return Ok(());
    }
    println!("stream                       progressive  retention   afterwards   rows/CPU s");
    bench.images()?;
    bench.texts()?;
    bench.files()?;
    bench.made()?;
    bench.late_labels()?;
    bench.rewards()?;
    bench.values()
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        let asked = |filter: &String| name.contains(filter.as_str());
        self.filters.is_empty() || self.filters.iter().any(asked)
    }

    /// MNIST, two digits at a time in several orders, and turned by one angle after the other.
    fn images(&self) -> Result<()> {
        let (n_train, n_test) = if self.quick {
            (500, 100)
        } else {
            (IMAGES, TESTED)
        };
        let (train, test) = match &self.data {
            Some(folder) => (
                Images::read(folder, "train")?,
                Images::read(folder, "t10k")?,
            ),
            None => (Images::generated(n_train), Images::generated(n_test)),
        };
        let (train, test) = (spread(&train, n_train), spread(&test, n_test));
        let n_orders = if self.quick { 1 } else { ORDERS.len() };
        for (index, digits) in ORDERS.iter().take(n_orders).enumerate() {
            let name = format!("mnist-pairs-{}", index + 1);
            if !self.wants(&name) {
                continue;
            }
            let place = |digit: u8| digits.iter().position(|one| *one == digit).unwrap_or(0) / 2;
            let mut order: Vec<usize> = (0..train.digits.len()).collect();
            order.sort_by_key(|image| place(train.digits[*image]));
            let plain = |image: usize| (View::Plain, image);
            let all = (0..test.digits.len()).map(plain);
            let rows = table(&train, order.into_iter().map(plain));
            self.report(&name, &rows, Some(&table(&test, all)))?;
        }
        if self.wants("mnist-turned") {
            let turned = |n: usize| {
                let angle = move |image: usize| ANGLES[image * ANGLES.len() / n];
                (0..n).map(move |image| (View::Rotated(angle(image)), image))
            };
            let rows = table(&train, turned(train.digits.len()));
            let afterwards = table(&test, turned(test.digits.len()));
            self.report("mnist-turned", &rows, Some(&afterwards))?;
        }
        Ok(())
    }

    /// Banking77, class by class and shuffled.
    fn texts(&self) -> Result<()> {
        let Some(data) = &self.data else {
            return Ok(());
        };
        let read = |part: &str| -> Result<String> {
            let file = data.join(format!("banking77_{part}.csv.gz"));
            Ok(String::from_utf8(data::unpacked(&file)?)?)
        };
        let (train, test) = (read("train")?, read("test")?);
        let (header, rows) = train.split_once('\n').context("a header")?;
        let mut rows = records(rows);
        let mut random = Random(0x5eed);
        let order = random.order(rows.len());
        if self.quick {
            rows.truncate(500);
        }
        let file = |rows: &[&str]| format!("{header}\n{}\n", rows.join("\n"));
        if self.wants("banking77-shuffled") {
            let rows: Vec<&str> = order
                .iter()
                .filter_map(|at| rows.get(*at))
                .copied()
                .collect();
            self.report("banking77-shuffled", &file(&rows), Some(&test))?;
        }
        if self.wants("banking77-by-class") {
            rows.sort_by_key(|row| row.rsplit_once(',').map_or(*row, |(_, label)| label));
            self.report("banking77-by-class", &file(&rows), Some(&test))?;
        }
        Ok(())
    }

    /// The other classification streams, in their own order.
    fn files(&self) -> Result<()> {
        let Some(data) = &self.data else {
            return Ok(());
        };
        for name in FILES.iter().filter(|name| self.wants(name)) {
            let rows = String::from_utf8(data::unpacked(&data.join(format!("{name}.csv.gz")))?)?;
            let rows = if self.quick {
                rows.lines().take(QUICK).collect::<Vec<_>>().join("\n")
            } else {
                rows
            };
            self.report(name, &rows, None)?;
        }
        Ok(())
    }

    /// Streams whose rules are known.
    fn made(&self) -> Result<()> {
        let n_rows = if self.quick { QUICK } else { MADE };
        for name in made::NAMES.iter().filter(|name| self.wants(name)) {
            self.report(name, &made::rows(name, n_rows), None)?;
        }
        Ok(())
    }

    /// The first rows of a stream whose labels come late.
    fn late_labels(&self) -> Result<()> {
        let Some(data) = self.data.as_ref().filter(|_| self.wants("elec2-late")) else {
            return Ok(());
        };
        let all = String::from_utf8(data::unpacked(&data.join("elec2.csv.gz"))?)?;
        let n_rows = if self.quick { QUICK } else { LATE_ROWS };
        let rows: Vec<&str> = all.lines().take(1 + n_rows).collect();
        for delay in DELAYS {
            let name = format!("elec2-late-{delay}");
            let late = ["--delay".to_owned(), delay.to_string()];
            let scores = self.scores(&name, &rows.join("\n"), "label", &late)?;
            print(
                &name,
                &scores,
                &["progressive_accuracy", "retention", "test_accuracy"],
            )?;
        }
        Ok(())
    }

    /// The streams of values, in their own order.
    fn values(&self) -> Result<()> {
        let Some(data) = &self.data else {
            return Ok(());
        };
        println!(
            "stream                        abs. error   no change  season ago     covered   rows/CPU s"
        );
        let keys = [
            "mean_absolute_error",
            "no_change_absolute_error",
            "seasonal_no_change_absolute_error",
            "interval_coverage",
        ];
        for name in VALUES.iter().filter(|name| self.wants(name)) {
            let rows = String::from_utf8(data::unpacked(&data.join(format!("{name}.csv.gz")))?)?;
            print(name, &self.scores(name, &rows, "value", &[])?, &keys)?;
        }
        Ok(())
    }

    /// MNIST as ten arms: the chosen one is rewarded where it is the digit.
    fn rewards(&self) -> Result<()> {
        let name = "mnist-arms";
        let Some(folder) = self.data.as_ref().filter(|_| self.wants(name)) else {
            return Ok(());
        };
        let n_rounds = if self.quick { 500 } else { ROUNDS };
        let images = spread(&Images::read(folder, "train")?, n_rounds);
        let plain = (0..images.digits.len()).map(|image| (View::Plain, image));
        let rows = table(&images, plain);
        let scores =
            self.scores_of(name, &rows, &["--target", "label", "--task", "bandit"], &[])?;
        println!("stream                            reward   last tenth       regret   rows/CPU s");
        print(
            name,
            &scores,
            &["mean_reward", "last_tenth_reward", "regret_at_10000_rounds"],
        )
    }

    /// Drafts a model for the rows, evaluates it, and prints a line.
    fn report(&self, name: &str, rows: &str, afterwards: Option<&str>) -> Result<()> {
        let tested = self.folder.path().join(format!("{name}.test.csv"));
        let mut options = Vec::new();
        if let Some(afterwards) = afterwards {
            std::fs::write(&tested, afterwards)?;
            options = vec!["--test".to_owned(), tested.display().to_string()];
        }
        let scores = self.scores(name, rows, "label", &options)?;
        let keys = ["progressive_accuracy", "retention", "test_accuracy"];
        print(name, &scores, &keys)
    }

    /// Drafts a model for the rows, and evaluates it with these options.
    fn scores(&self, name: &str, rows: &str, target: &str, options: &[String]) -> Result<Value> {
        self.scores_of(name, rows, &["--target", target], options)
    }

    /// Drafts a model for the rows with the first options, of which two name the target, and evaluates it
    /// with the others.
    fn scores_of(
        &self,
        name: &str,
        rows: &str,
        drafted: &[&str],
        options: &[String],
    ) -> Result<Value> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir(&folder)?;
        let file = folder.join("rows.csv");
        std::fs::write(&file, rows)?;
        let models = folder.join("models");
        let mut draft = Command::new(PROGRAM);
        draft.args(["init", "model"]).args(drafted).arg("--models");
        run(draft.args([&models, &file]))?;
        let mut evaluate = Command::new(PROGRAM);
        evaluate.args(["evaluate", "--json"]).args(&drafted[..2]);
        evaluate.args([&models.join("model"), &file]).args(options);
        Ok(serde_json::from_str(&run(&mut evaluate)?)?)
    }
}

/// Prints the scores of these names, and the rows a second of processor time.
fn print(name: &str, scores: &Value, keys: &[&str]) -> Result<()> {
    let shown = |key: &str| {
        let value = scores[key].as_f64();
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"))
    };
    let rate = scores["examples"].as_f64().context("examples")?
        / scores["cpu_seconds"].as_f64().context("cpu_seconds")?;
    let mut line = format!("{name:<28}");
    for key in keys {
        write!(line, " {:>11}", shown(key))?;
    }
    println!("{line} {rate:>12.0}");
    Ok(())
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_perennial");

/// The output of a command.
fn run(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {error}");
    Ok(String::from_utf8(output.stdout)?)
}

/// So many images, evenly spread.
fn spread(images: &Images, n_images: usize) -> Images {
    let place = |index: usize| index * images.digits.len() / n_images;
    Images {
        pixels: (0..n_images)
            .map(|index| images.pixels[place(index)])
            .collect(),
        digits: (0..n_images)
            .map(|index| images.digits[place(index)])
            .collect(),
    }
}

/// The records of a CSV; a quoted field may run over lines.
fn records(text: &str) -> Vec<&str> {
    let (mut all, mut start, mut quoted) = (Vec::new(), 0, false);
    for (at, byte) in text.bytes().enumerate() {
        quoted ^= byte == b'"';
        if byte == b'\n' && !quoted {
            all.push(&text[start..at]);
            start = at + 1;
        }
    }
    all
}

/// Images as rows of pixels with their digits.
fn table(images: &Images, seen: impl Iterator<Item = (View, usize)>) -> String {
    let mut rows: String = (0..784).map(|pixel| format!("p{pixel},")).collect();
    rows.push_str("label\n");
    for (view, image) in seen {
        for pixel in view.of(&images.pixels[image]) {
            rows.push_str(&format!("{pixel},"));
        }
        rows.push_str(&format!("{}\n", images.digits[image]));
    }
    rows
}
