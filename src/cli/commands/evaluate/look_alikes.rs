//! Small look-alikes of public files, as they stand there: none is refused, every row is used or
//! counted, and no column of numbers or dates is lost.

#[cfg(test)]
mod trips;

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

const N_ROWS: u64 = 120;

/// A whole number below `n`, the same in every run.
fn pick(row: u64, n: u64) -> u64 {
    let mut x = row.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) % n
}

/// A number of tenths below `n`.
fn tenths(row: u64, n: u64) -> f64 {
    pick(row, 10 * n) as f64 / 10.0
}

/// A date, so many days after 1 January 2010.
fn date(day: u64) -> (u64, u64, u64) {
    let (year, rest) = (2010 + day / 336, day % 336);
    (year, 1 + rest / 28, 1 + rest % 28)
}

fn text(header: &str, row: impl Fn(u64) -> String) -> String {
    let mut text = header.to_owned();
    (0..N_ROWS).for_each(|n| writeln!(text, "{}", row(n)).expect("a string takes it"));
    text
}

/// The expected reading of a file.
#[derive(Clone, Copy)]
struct ExpectedReading<'a> {
    target: &'a str,
    task: DraftTask,
    numbers: &'a [&'a str],
    times: &'a [&'a str],
    /// Rows that are scored.
    examples: u64,
}

fn look(bytes: &[u8], args: &ReadArgs, target: &str) -> (Draft, Map<String, Value>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rows");
    fs::write(&path, bytes).expect("a file");
    let options = ReadOptions::of(args, &Default::default());
    let draft = draft(&path, Goal::Target(target, None), &options, &[]).expect("a draft");
    let name: ModelName = "m".parse().expect("a name");
    let toml = write(folder.path(), &name, &draft).expect("a description");
    // The description holds each decision.
    let run = RunArgs {
        limit: None,
        delay: 0,
        test: None,
        correct: 0.0,
        strict: false,
        out: None,
        read: ReadArgs::default(),
    };
    let model = toml.parent().expect("a folder");
    let opened = PrequentialEvaluation::open(model, &path, target, &run, RunProgress::alone());
    let report = opened
        .expect("it opens")
        .run(CpuClock::of_thread(), &Interrupt::unset());
    (draft, report.expect("it runs").0.fields())
}

fn check_with(args: &ReadArgs, bytes: &[u8], expected: &ExpectedReading) {
    let (draft, fields) = look(bytes, args, expected.target);
    let what = expected.target;
    assert_eq!(draft.task, expected.task, "{what}");
    let kind = |name: &&str| {
        let input = draft.inputs.iter().find(|input| input.name == **name);
        input.map(|input| input.kind.clone())
    };
    for name in expected.numbers {
        assert_eq!(kind(name), Some(DraftKind::Number), "{what}: {name}");
    }
    for name in expected.times {
        let is_time = matches!(kind(name), Some(DraftKind::Time(_)));
        assert!(is_time, "{what}: {name} is {:?}", kind(name));
    }
    assert_eq!(fields["examples"], expected.examples, "{what}: {fields:?}");
}

fn check(text: &str, expected: &ExpectedReading) {
    check_with(&ReadArgs::default(), text.as_bytes(), expected);
}

fn no_header() -> ReadArgs {
    ReadArgs {
        no_header: true,
        ..ReadArgs::default()
    }
}

const ALL: ExpectedReading = ExpectedReading {
    target: "y",
    task: DraftTask::Classification,
    numbers: &[],
    times: &[],
    examples: N_ROWS,
};

#[test]
fn files_with_semicolons_and_quotes() {
    let bank = text("\"age\";\"job\";\"balance\";\"pdays\";\"y\"\n", |n| {
        let (age, job) = (
            18 + pick(n, 60),
            ["admin.", "unknown"][pick(n + 1, 2) as usize],
        );
        let paid = if n % 4 == 0 { pick(n, 300) as i64 } else { -1 };
        format!(
            "{age};\"{job}\";{};{paid};\"{}\"",
            pick(n, 9000),
            if age > 40 { "yes" } else { "no" }
        )
    });
    check(
        &bank,
        &ExpectedReading {
            numbers: &["age", "balance", "pdays"],
            ..ALL
        },
    );
    let wine = text("\"fixed acidity\";\"alcohol\";\"quality\"\n", |n| {
        let alcohol = 8.0 + tenths(n, 6);
        let quality = (alcohol / 2.0 + tenths(n + 7, 2) - 1.0).round();
        format!("{:.1};{alcohol:.1};{quality}", 5.0 + tenths(n + 3, 7))
    });
    let numbers = &["fixed acidity", "alcohol"];
    let of_wine = ExpectedReading {
        target: "quality",
        task: DraftTask::Regression,
        numbers,
        ..ALL
    };
    check(&wine, &of_wine);
    let student = text("school;sex;age;absences;G1;G2;G3\r\n", |n| {
        let first = 2 + pick(n, 9) + pick(n + 1, 8);
        let last = first + pick(n + 2, 3);
        format!(
            "\"GP\";\"F\";{};{};\"{first}\";\"{first}\";{last}\r",
            15 + pick(n, 6),
            pick(n, 30)
        )
    });
    let numbers = &["age", "absences", "G1", "G2"];
    check(
        &student,
        &ExpectedReading {
            target: "G3",
            task: DraftTask::Regression,
            numbers,
            ..ALL
        },
    );
}

#[test]
fn messages_as_tabs_and_as_a_table_with_empty_headers() {
    let message = |n: u64| match n % 3 {
        0 => ("spam", format!("Claim your £{} prize now, call", 100 + n)),
        _ => ("ham", format!("see you at {} for dinner then", n % 12)),
    };
    let tabs = text("", |n| format!("{}\t{}", message(n).0, message(n).1));
    let of_tabs = ExpectedReading {
        target: "column_1",
        ..ALL
    };
    check_with(&no_header(), tabs.as_bytes(), &of_tabs);
    let table = text("v1,v2,,,\n", |n| {
        format!("{},\"{}\",,,", message(n).0, message(n).1)
    });
    let latin: Vec<u8> = table.chars().map(|c| c as u8).collect();
    check_with(
        &ReadArgs::default(),
        &latin,
        &ExpectedReading {
            target: "v1",
            ..ALL
        },
    );
}

#[test]
fn series_of_months_days_and_hours() {
    let passengers = text("Month,#Passengers\n", |n| {
        format!(
            "{}-{:02},{}",
            1949 + n / 12,
            1 + n % 12,
            110 + 2 * n + pick(n, 30)
        )
    });
    let regression = ExpectedReading {
        task: DraftTask::Regression,
        ..ALL
    };
    let of_passengers = ExpectedReading {
        target: "#Passengers",
        times: &["Month"],
        ..regression
    };
    check(&passengers, &of_passengers);
    let title = "Daily minimum temperatures, 1981-1990";
    let mut days = text(&format!("\"Date\",\"{title}\"\n"), |n| {
        let (_, month, day) = date(n);
        let mark = if n == 77 { "?" } else { "" };
        format!(
            "\"1981-{month:02}-{day:02}\",{mark}{:.1}",
            5.0 + tenths(n, 10)
        )
    });
    days += &format!("\n{title}, of a station\n");
    let of_days = ExpectedReading {
        target: title,
        times: &["Date"],
        examples: N_ROWS - 1,
        ..regression
    };
    check(&days, &of_days);
    let mut air = text("Date;Time;CO(GT);PT08.S1(CO);T;;\n", |n| {
        let (hour, (year, month, day)) = (n % 24, date(9 + n / 24));
        let decimal = |value: f64| format!("{value:.1}").replace('.', ",");
        let co = if n % 20 == 7 {
            "-200".to_owned()
        } else {
            decimal(1.0 + tenths(n, 3))
        };
        let sensor = if n % 12 == 3 {
            -200
        } else {
            900 + pick(n, 300) as i64
        };
        let t = decimal(13.0 + tenths(n, 4));
        format!("{day:02}/{month:02}/{year};{hour:02}.00.00;{co};{sensor};{t};;")
    });
    air += ";;;;;;\n;;;;;;\n";
    let (numbers, times) = (&["PT08.S1(CO)", "T"], &["Date", "Time"]);
    let of_air = ExpectedReading {
        target: "CO(GT)",
        numbers,
        times,
        examples: 114,
        ..regression
    };
    check(&air, &of_air);
    let power = text(
        "Date;Time;Global_active_power;Voltage;Sub_metering_1\n",
        |n| {
            let (year, month, day) = date(12 + n / 24);
            let values = match n % 25 {
                9 => "?;?;".to_owned(),
                _ => format!(
                    "{:.3};{:.3};0.00{}",
                    tenths(n, 4),
                    239.0 + tenths(n + 1, 4),
                    n % 3
                ),
            };
            format!("{day}/{month}/{year};{:02}:24:00;{values}", n % 24)
        },
    );
    let (numbers, times) = (&["Voltage", "Sub_metering_1"], &["Date", "Time"]);
    let target = "Global_active_power";
    check(
        &power,
        &ExpectedReading {
            target,
            numbers,
            times,
            examples: 115,
            ..regression
        },
    );
}

#[test]
fn tables_of_people_and_their_gaps() {
    let adult = text("", |n| {
        let (job, years) = (["?", "Sales", "Tech"][pick(n, 3) as usize], 1 + pick(n, 16));
        let income = if years > 9 { ">50K" } else { "<=50K" };
        format!(
            "{}, {job}, {}, {years}, {income}",
            17 + pick(n, 60),
            20_000 + pick(n, 280_000)
        )
    });
    let numbers = &["column_1", "column_3", "column_4"];
    let of_adult = ExpectedReading {
        target: "column_5",
        numbers,
        ..ALL
    };
    check_with(&no_header(), (adult + "\n").as_bytes(), &of_adult);
    let titanic = text("PassengerId,Survived,Pclass,Name,Age,Fare,Cabin\n", |n| {
        let age = if n % 5 == 0 {
            String::new()
        } else {
            (20 + pick(n, 40)).to_string()
        };
        let cabin = if n % 4 == 0 { "C85" } else { "" };
        let name = format!("\"Braund{n}, Mr. Owen \"\"O\"\" Harris\"");
        format!(
            "{n},{},{},{name},{age},{:.4},{cabin}",
            pick(n + 5, 2),
            1 + pick(n, 3),
            tenths(n, 80)
        )
    });
    let numbers = &["Pclass", "Age", "Fare"];
    check(
        &titanic,
        &ExpectedReading {
            target: "Survived",
            numbers,
            ..ALL
        },
    );
    let telco = text("customerID,tenure,TotalCharges,Churn\n", |n| {
        let months = pick(n, 72);
        let total = if n % 9 == 0 {
            " ".to_owned()
        } else {
            format!("{:.2}", tenths(n, 900))
        };
        format!(
            "{n}-VHVEG,{months},{total},{}",
            if months < 20 { "Yes" } else { "No" }
        )
    });
    let numbers = &["tenure", "TotalCharges"];
    check(
        &telco,
        &ExpectedReading {
            target: "Churn",
            numbers,
            ..ALL
        },
    );
    let hotel = text(
        "hotel,is_canceled,lead_time,children,agent,adr,status_date\n",
        |n| {
            let (lead, (year, month, day)) = (pick(n, 400), date(n / 2));
            let children = ["0", "1", "NA"][pick(n + 1, 3) as usize];
            let agent = ["NULL", "304", "240"][pick(n + 2, 3) as usize];
            let left = format!(
                "City Hotel,{},{lead},{children},{agent}",
                u64::from(lead > 200)
            );
            format!(
                "{left},{:.2},{year}-{month:02}-{day:02}",
                30.0 + tenths(n, 170)
            )
        },
    );
    let (numbers, times) = (&["lead_time", "children", "agent", "adr"], &["status_date"]);
    check(
        &hotel,
        &ExpectedReading {
            target: "is_canceled",
            numbers,
            times,
            ..ALL
        },
    );
    let credit = text(
        ",X1,X5,X6,Y\nID,LIMIT_BAL,AGE,PAY_0,default payment\n",
        |n| {
            let pay = pick(n, 7) as i64 - 2;
            let limit = 10_000 * (1 + pick(n, 50));
            format!(
                "{n},{limit},{},{pay},{}",
                21 + pick(n, 50),
                u64::from(pay > 1)
            )
        },
    );
    check(
        &credit,
        &ExpectedReading {
            target: "Y",
            numbers: &["X1", "X5", "X6"],
            ..ALL
        },
    );
    let penguins = text("species,bill_length_mm,flipper_length_mm,sex\n", |n| {
        let species = ["Adelie", "Gentoo"][(n % 2) as usize];
        let bill = if n % 40 == 4 {
            "NA".to_owned()
        } else {
            format!("{:.1}", 38.0 + tenths(n, 9))
        };
        format!(
            "{species},{bill},{},{}",
            180 + pick(n, 40),
            ["male", "NA"][pick(n, 2) as usize]
        )
    });
    let numbers = &["bill_length_mm", "flipper_length_mm"];
    check(
        &penguins,
        &ExpectedReading {
            target: "species",
            numbers,
            ..ALL
        },
    );
}
