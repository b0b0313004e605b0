//! Look-alikes of files of trips, rents, ratings and prices, and of old files without a header.

use super::{ALL, ExpectedReading, N_ROWS, check, check_with, date, no_header, pick, tenths, text};
use crate::cli::commands::init::draft::DraftTask;
use crate::cli::rows::options::ReadArgs;

#[test]
fn trips_rents_ratings_and_prices() {
    let regression = ExpectedReading {
        task: DraftTask::Regression,
        ..ALL
    };
    let moment = |minutes: u64| {
        let (year, month, day) = date(minutes / 1440);
        let (hour, minute) = (minutes / 60 % 24, minutes % 60);
        format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:00")
    };
    let taxi = text(
        "pickup_datetime,dropoff_datetime,passengers,distance,fare\n",
        |n| {
            let distance = 0.5 + tenths(n, 14);
            let fare = 2.5 + 2.5 * distance;
            let (from, to) = (moment(37 * n), moment(37 * n + 4 + pick(n, 30)));
            format!("{from},{to},{},{distance:.1},{fare:.2}", 1 + pick(n, 6))
        },
    );
    let (numbers, times) = (
        &["passengers", "distance"],
        &["pickup_datetime", "dropoff_datetime"],
    );
    check(
        &taxi,
        &ExpectedReading {
            target: "fare",
            numbers,
            times,
            ..regression
        },
    );
    let bike = text("instant,dteday,hr,temp,windspeed,cnt\n", |n| {
        let (year, month, day) = date(n / 24);
        let day = format!("{year}-{month:02}-{day:02}");
        format!(
            "{n},{day},{},{:.2},{:.4},{}",
            n % 24,
            tenths(n, 1),
            tenths(n + 1, 1),
            20 + pick(n, 200)
        )
    });
    let numbers = &["hr", "temp", "windspeed"];
    let of_bike = ExpectedReading {
        target: "cnt",
        numbers,
        times: &["dteday"],
        ..regression
    };
    check(&bike, &of_bike);
    let ratings = text("", |n| {
        let (user, film) = (1 + pick(n, 90), 1 + pick(n + 1, 160));
        format!(
            "{user}\t{film}\t{}\t{}",
            1 + pick(n, 5),
            881_250_949 + 7919 * pick(n, 9000)
        )
    });
    let numbers = &["column_1", "column_2", "column_4"];
    let of_ratings = ExpectedReading {
        target: "column_3",
        numbers,
        ..ALL
    };
    check_with(&no_header(), ratings.as_bytes(), &of_ratings);
    let prices = text("Date,Open,Close,Volume\n", |n| {
        let (year, month, day) = date(n);
        let values = match n {
            50 => "null,null,null".to_owned(),
            _ => format!(
                "{:.6},{:.6},{}",
                90.0 + tenths(n, 9),
                90.0 + tenths(n + 1, 9),
                pick(n, 9_000_000)
            ),
        };
        format!("{year}-{month:02}-{day:02},{values}")
    });
    let numbers = &["Open", "Volume"];
    let (target, times) = ("Close", &["Date"][..]);
    check(
        &prices,
        &ExpectedReading {
            target,
            numbers,
            times,
            examples: N_ROWS - 1,
            ..regression
        },
    );
    let retail = text(
        "InvoiceNo,Description,Price,InvoiceDate,CustomerID\n",
        |n| {
            let day = 1 + n % 28;
            let customer = ["17850", ""][pick(n, 2) as usize];
            format!(
                "{},\"HEART, £{}\",{:.2},12/{day}/2010 8:26,{customer}",
                536_365 + n / 3,
                n % 5,
                tenths(n, 8)
            )
        },
    );
    let latin: Vec<u8> = retail.chars().map(|c| c as u8).collect();
    let of_retail = ExpectedReading {
        target: "Price",
        times: &["InvoiceDate"],
        ..regression
    };
    check_with(&ReadArgs::default(), &latin, &of_retail);
    let avocado = text(",Date,AveragePrice,Total Volume,type\n", |n| {
        let (year, month, day) = date(7 * (n % 52));
        let kind = ["conventional", "organic"][(n % 2) as usize];
        let price = 1.0 + tenths(n, 9) / 10.0;
        format!(
            "{},{year}-{month:02}-{day:02},{price:.2},{:.2},{kind}",
            n % 52,
            tenths(n, 90_000)
        )
    });
    let of_avocado = ExpectedReading {
        target: "AveragePrice",
        numbers: &["Total Volume"],
        times: &["Date"],
        ..regression
    };
    check(&avocado, &of_avocado);
}

#[test]
fn old_files_without_a_header() {
    let iris = text("", |n| {
        let c = n % 3;
        let name = ["setosa", "versicolor", "virginica"][c as usize];
        format!(
            "{:.1},{:.1},Iris-{name}",
            5.0 + tenths(n, 3),
            1.0 + 2.0 * c as f64 + tenths(n + 1, 1)
        )
    });
    let numbers = &["column_1", "column_2"];
    let of_iris = ExpectedReading {
        target: "column_3",
        numbers,
        ..ALL
    };
    check_with(&no_header(), (iris + "\n").as_bytes(), &of_iris);
    let heart = text("", |n| {
        let (age, vessels) = (
            29 + pick(n, 48),
            if n % 40 == 9 {
                "?"
            } else {
                ["0.0", "1.0"][pick(n, 2) as usize]
            },
        );
        format!(
            "{age}.0,{}.0,{vessels},{}",
            94 + pick(n, 100),
            u64::from(age > 55)
        )
    });
    let numbers = &["column_1", "column_2", "column_3"];
    let of_heart = ExpectedReading {
        target: "column_4",
        numbers,
        ..ALL
    };
    check_with(&no_header(), heart.as_bytes(), &of_heart);
    // Blanks between the columns, and a tab before the last one.
    let mpg = text("", |n| {
        let (miles, power) = (
            15.0 + tenths(n, 20),
            if n % 40 == 3 {
                "?".to_owned()
            } else {
                format!("{:.1}", 80.0 + tenths(n, 90))
            },
        );
        format!(
            "{miles:4.1}   {}   {power}      {}.\t\"chevrolet {}\"",
            4 + 2 * pick(n, 3),
            1500 + pick(n, 2000),
            n % 9
        )
    });
    let at_blanks = ReadArgs {
        separator: Some(' '),
        ..no_header()
    };
    let numbers = &["column_2", "column_3", "column_4"];
    let of_mpg = ExpectedReading {
        target: "column_1",
        task: DraftTask::Regression,
        numbers,
        ..ALL
    };
    check_with(&at_blanks, mpg.as_bytes(), &of_mpg);
    // Also without an option: a tab alone parts no more than the name.
    check_with(&no_header(), mpg.as_bytes(), &of_mpg);
}
