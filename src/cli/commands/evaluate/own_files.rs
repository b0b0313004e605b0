//! Files as people have them: `init` and `evaluate` on each, with the score of the same data in clean
//! form as the right value.

mod forms;

use std::fmt::Write as _;
use std::fs;

use perennial::event::ModelName;
use serde_json::{Map, Value};

use super::prequential::PrequentialEvaluation;
use crate::cli::commands::init::draft::{Draft, DraftKind, DraftTask};
use crate::cli::commands::init::{Goal, draft, write};
use crate::cli::interrupt::Interrupt;
use crate::cli::output::progress::RunProgress;
use crate::cli::rows::options::{ReadArgs, ReadOptions};
use crate::cli::run::prequential_run::RunArgs;
use crate::cli::run::report::CpuClock;

/// Half a point of accuracy.
const HALF_A_POINT: f64 = 0.005;

/// A number in [-1, 1), the same in every run.
fn noise(seed: u64) -> f64 {
    let mut x = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x >> 11) as f64 / (1u64 << 52) as f64) - 1.0
}

/// Two numbers and the class that they decide, of so many rows.
fn base(n_rows: u64) -> Vec<(f64, f64, &'static str)> {
    let row = |row: u64| {
        let (x, z) = (2.0 * noise(2 * row), 2.0 * noise(2 * row + 1));
        (x, z, if 1.5 * x + z > 0.2 { "up" } else { "down" })
    };
    (0..n_rows).map(row).collect()
}

/// The base as text, a line a row from a function.
fn lines(header: &str, n_rows: u64, line: impl Fn(u64, f64, f64, &str) -> String) -> String {
    let mut text = format!("{header}\n");
    for (row, (x, z, y)) in (0..).zip(base(n_rows)) {
        writeln!(text, "{}", line(row, x, z, y)).expect("a string takes it");
    }
    text
}

/// A draft from a file, and the fields of the evaluation on it.
fn try_out(bytes: &[u8], task: Option<DraftTask>) -> (Draft, Map<String, Value>) {
    try_out_by(bytes, Goal::Target("y", task), &ReadArgs::default())
}

/// A draft from a file read by these options, for another target, and the fields of its evaluation.
fn try_out_of(bytes: &[u8], target: &str, read: &ReadArgs) -> (Draft, Map<String, Value>) {
    try_out_by(bytes, Goal::Target(target, None), read)
}

fn try_out_by(bytes: &[u8], goal: Goal, read: &ReadArgs) -> (Draft, Map<String, Value>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rows");
    fs::write(&path, bytes).expect("a file");
    let options = ReadOptions::of(read, &perennial::model::RowFormat::default());
    let draft = draft(&path, goal, &options, &[]).expect("a draft");
    let name: ModelName = "m".parse().expect("a name");
    let toml = write(folder.path(), &name, &draft).expect("a description");
    let args = RunArgs {
        limit: None,
        delay: 0,
        test: None,
        correct: 0.0,
        strict: false,
        out: None,
        read: read.clone(),
    };
    let model = toml.parent().expect("a folder");
    let progress = RunProgress::alone();
    let (target, _) = goal.target();
    let opened = PrequentialEvaluation::open(model, &path, target, &args, progress);
    let report = opened
        .expect("it opens")
        .run(CpuClock::of_thread(), &Interrupt::unset());
    (draft, report.expect("it runs").0.fields())
}

fn accuracy(bytes: &[u8]) -> f64 {
    let (_, fields) = try_out(bytes, None);
    fields["progressive_accuracy"].as_f64().expect("a share")
}

fn error(bytes: &[u8]) -> f64 {
    let (_, fields) = try_out(bytes, None);
    fields["mean_absolute_error"].as_f64().expect("an error")
}

fn kind(draft: &Draft, name: &str) -> DraftKind {
    let input = draft.inputs.iter().find(|input| input.name == name);
    input
        .unwrap_or_else(|| panic!("{name} in {draft:?}"))
        .kind
        .clone()
}

/// Expects the accuracy of the clean file.
fn check(clean: f64, bytes: &[u8], what: &str) {
    let got = accuracy(bytes);
    assert!(
        (got - clean).abs() <= HALF_A_POINT,
        "{what}: {got}, clean {clean}"
    );
}

const N: u64 = 400;

#[test]
fn the_form_of_a_file_does_not_matter() {
    let comma = |number: f64| format!("{number:.4}").replace('.', ",");
    let plain = lines("x,z,y", N, |_, x, z, y| format!("{x:.4},{z:.4},{y}"));
    let clean = accuracy(plain.as_bytes());
    assert!(clean > 0.9, "{clean}");
    let semicolons = lines("x;z;y", N, |_, x, z, y| {
        format!("{};{};{y}", comma(x), comma(z))
    });
    check(clean, semicolons.as_bytes(), "decimal commas");
    let named = format!("sep=;\n{semicolons}");
    check(clean, named.as_bytes(), "sep=");
    let quoted = lines("\"x\";\"z\";\"y\"", N, |_, x, z, y| {
        format!("{x:.4};{z:.4};\"{y}\"")
    });
    check(clean, quoted.as_bytes(), "quotes");
    let commented = format!("# exported by station 4, today\n{plain}");
    check(clean, commented.as_bytes(), "a comment");
    let wide: Vec<u8> = plain.encode_utf16().flat_map(u16::to_le_bytes).collect();
    check(clean, &[b"\xff\xfe".to_vec(), wide].concat(), "UTF-16");
    let returns = plain.replace('\n', "\r");
    check(clean, returns.as_bytes(), "carriage returns");
    let blanks = plain.replace(',', ", ");
    check(clean, blanks.as_bytes(), "blanks after commas");
    let json = lines("", N, |_, x, z, y| {
        format!("{{\"x\":{x:.4},\"z\":{z:.4},\"y\":\"{y}\"}},")
    });
    let array = format!("[{}]", json.trim().trim_end_matches(','));
    check(clean, array.as_bytes(), "a JSON array");
    let again = plain.replace("\n1.", "\nx,z,y\n,,\n1.") + "Total,12.5,\n";
    check(clean, again.as_bytes(), "rows that are none");
}

#[test]
fn every_token_for_nothing_is_a_gap() {
    let with = |token: &str| {
        lines("x,z,y", N, |row, x, z, y| match row % 25 {
            3 => format!("{token},{z:.4},{y}"),
            _ => format!("{x:.4},{z:.4},{y}"),
        })
    };
    let clean = accuracy(with("").as_bytes());
    for token in [
        "?", "N/A", "NULL", "None", "-", ".", "\\N", "#N/A", "nan", "-9999", "unknown",
    ] {
        check(clean, with(token).as_bytes(), token);
    }
}

#[test]
fn money_and_percent_are_numbers() {
    let plain = lines("price,share,y", N, |_, x, z, y| {
        format!("{:.2},{:.1},{y}", 5000.0 + 2000.0 * x, 50.0 + 20.0 * z)
    });
    let clean = accuracy(plain.as_bytes());
    let money = lines("price,share,y", N, |_, x, z, y| {
        let cents = ((5000.0 + 2000.0 * x) * 100.0).round() as u64;
        let (whole, cents) = (cents / 100, cents % 100);
        let price = match whole {
            0..1000 => format!("${whole}.{cents:02}"),
            _ => format!("\"${},{:03}.{cents:02}\"", whole / 1000, whole % 1000),
        };
        format!("{price},{:.1}%,{y}", 50.0 + 20.0 * z)
    });
    check(clean, money.as_bytes(), "money");
}

#[test]
fn both_decimal_marks_and_multiples_are_numbers() {
    // Four digits behind the mark, so that no number may be thousands.
    let plain = lines("x;z;y", N, |_, x, z, y| format!("{x:.4};{z:.4};{y}"));
    let clean = accuracy(plain.as_bytes());
    let comma = |number: f64| format!("{number:.4}").replace('.', ",");
    let by_column = lines("x;z;y", N, |_, x, z, y| format!("{x:.4};{};{y}", comma(z)));
    check(clean, by_column.as_bytes(), "a mark a column");
    let by_row = lines("x;z;y", N, |row, x, z, y| match row % 3 {
        0 => format!("{};{z:.4};{y}", comma(x)),
        _ => format!("{x:.4};{z:.4};{y}"),
    });
    check(clean, by_row.as_bytes(), "a mark a row");
    let sold = |x: f64| 5_000_000.0 + 2_000_000.0 * x;
    let plain = lines("sold,z,y", N, |_, x, z, y| {
        format!("{:.0},{z:.4},{y}", sold(x))
    });
    let clean = accuracy(plain.as_bytes());
    let multiples = lines("sold,z,y", N, |_, x, z, y| match sold(x) {
        sold if sold < 1e6 => format!("{:.3}K,{z:.4},{y}", sold / 1e3),
        sold => format!("{:.6}M,{z:.4},{y}", sold / 1e6),
    });
    check(clean, multiples.as_bytes(), "multiples");
}

#[test]
fn labels_that_are_spelled_in_two_ways_are_one() {
    let plain = lines("x,z,y", N, |_, x, z, y| {
        format!("{x:.4},{z:.4},{}", u8::from(y == "up"))
    });
    let clean = accuracy(plain.as_bytes());
    let mixed = lines("x,z,y", N, |row, x, z, y| {
        let tail = if row % 7 == 0 { ".0" } else { "" };
        format!("{x:.4},{z:.4},{}{tail}", u8::from(y == "up"))
    });
    let (draft, fields) = try_out(mixed.as_bytes(), None);
    assert_eq!(draft.labels.len(), 2);
    let got = fields["progressive_accuracy"].as_f64().expect("a share");
    assert!((got - clean).abs() <= HALF_A_POINT, "{got}, clean {clean}");
    assert!(
        draft
            .notes
            .iter()
            .any(|note| note.contains("read as one label"))
    );
}

#[test]
fn dates_make_a_forecast() {
    // At intervals of no pattern, so that the past does not give the hour away.
    let sample = |row: u64| {
        let at = 5 * row + (row.wrapping_mul(2_654_435_761) >> 16) % 5;
        let (day, hour) = (1 + at / 24, at % 24);
        let (month, day) = (1 + (day - 1) / 28, 1 + (day - 1) % 28);
        let load = 5.0 * (std::f64::consts::TAU * hour as f64 / 24.0).sin() + noise(row);
        (format!("{day:02}/{month:02}/2024 {hour:02}:00"), load)
    };
    let text = |with_time: bool| {
        let mut text = "at,other,y\n".to_owned();
        for row in 0..1000 {
            let (at, load) = sample(row);
            let at = if with_time { at } else { String::new() };
            writeln!(text, "{at},{:.3},{load:.3}", noise(row + 5000)).expect("a string takes it");
        }
        text
    };
    let (draft, fields) = try_out(text(true).as_bytes(), None);
    assert_eq!(
        kind(&draft, "at"),
        DraftKind::Time("%d/%m/%Y %H:%M".to_owned())
    );
    let got = fields["mean_absolute_error"].as_f64().expect("an error");
    // The mean of the random addend is 0.5.
    assert!(got < 0.8, "{got}");
    let without = error(text(false).as_bytes());
    assert!(without > 1.4 * got, "{without} {got}");
}

#[test]
fn dates_in_words_make_the_same_forecast() {
    const MONTHS: [(&str, &str); 3] = [
        ("Januar", "enero"),
        ("März", "marzo"),
        ("Dezember", "diciembre"),
    ];
    let text = |date: &dyn Fn(usize, usize) -> String| {
        let mut text = "Datum;y\n".to_owned();
        for row in 0..84 {
            let (day, month) = (1 + row % 28, row / 28);
            let value = 10.0 * month as f64 + day as f64 + noise(row as u64);
            writeln!(text, "{};{value:.2}", date(day, month)).expect("a string takes it");
        }
        error(text.as_bytes())
    };
    let clean = text(&|day, month| format!("{day:02}.{:02}.2024", [1, 3, 12][month]));
    let german = text(&|day, month| format!("{day}. {} 2024", MONTHS[month].0));
    let spanish = text(&|day, month| format!("{day} de {} de 2024", MONTHS[month].1));
    assert_eq!((german, spanish), (clean, clean));
}

#[test]
fn what_cannot_be_used_is_counted_and_the_run_goes_on() {
    let long = "word ".repeat(14_000);
    let mut text = "text,n,y\n".to_owned();
    for row in 0..60 {
        let words = if row % 2 == 0 {
            "pay now at once please"
        } else {
            "see you at home later"
        };
        let (words, n) = match row {
            20 => (long.as_str(), "1"),
            30 => (words, ""),
            _ => (words, "2.5"),
        };
        let label = ["spam", "ham"][row % 2];
        let label = if row == 40 { "" } else { label };
        writeln!(text, "{words},{},{label}", if row == 31 { "7" } else { n }).expect("it fits");
        if row == 50 {
            text += "one,two\n";
        }
    }
    let (_, fields) = try_out(text.as_bytes(), None);
    assert_eq!(fields["unusable_rows"], 2, "{fields:?}");
    assert_eq!(fields["rows_without_target"], 1);
    assert_eq!(fields["examples"], 58);
}

#[test]
fn sentinels_are_gaps_of_inputs_and_of_the_target() {
    let text = |nothing: &str| {
        let mut text = "resistance,y\n".to_owned();
        for row in 0..600 {
            let co = 3.0 + 2.0 * noise(row);
            let resistance = 900.0 + 150.0 * co + 20.0 * noise(row + 9000);
            let cell = |value: String, every: u64| {
                if row % every == 3 {
                    nothing.to_owned()
                } else {
                    value
                }
            };
            let resistance = cell(format!("{resistance:.0}"), 25);
            writeln!(text, "{resistance},{}", cell(format!("{co:.2}"), 12)).expect("it fits");
        }
        text
    };
    let clean = error(text("").as_bytes());
    let got = error(text("-200").as_bytes());
    assert!(
        (got - clean).abs() <= 0.005 * clean.max(1.0),
        "{got}, clean {clean}"
    );
}

#[test]
fn few_whole_numbers_are_amounts_where_they_look_like_it() {
    let task = |label: &dyn Fn(u64) -> u64, header: &str| {
        let mut text = format!("x,{header}\n");
        (0..400)
            .for_each(|row| writeln!(text, "{:.3},{}", noise(row), label(row)).expect("it fits"));
        let folder = tempfile::NamedTempFile::new().expect("a file");
        fs::write(folder.path(), text).expect("a file");
        let goal = Goal::Target(header, None);
        draft(folder.path(), goal, &ReadOptions::default(), &[])
            .expect("a draft")
            .task
    };
    let hill = |row: u64| (6.0 + noise(row) + noise(row + 1000) + noise(row + 2000)).round() as u64;
    assert_eq!(task(&hill, "quality"), DraftTask::Regression);
    assert_eq!(task(&hill, "class"), DraftTask::Classification);
    assert_eq!(task(&|row| row % 10, "y"), DraftTask::Classification);
    assert_eq!(task(&|row| row % 2, "y"), DraftTask::Classification);
}
