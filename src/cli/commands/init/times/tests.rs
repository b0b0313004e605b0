//! Tests of the formats under which the values of a column are times.

use super::*;

fn found(name: &str, values: &[&str]) -> TimesFound {
    let mut candidates = TimeCandidates::new(name);
    values.iter().for_each(|value| candidates.add(value));
    candidates.found()
}

#[test]
fn a_format_is_proved_by_the_values() {
    let check = |values: &[&str], expected: &str| match found("date", values) {
        TimesFound::Format(format, _) => assert_eq!(format, expected, "{values:?}"),
        other => panic!("{values:?}: {other:?}"),
    };
    check(&["2024-01-01", "2024-01-02"], "");
    check(&["2008-01", "2008-02"], "");
    check(&["2024-01-01 00:00:00", "2024-01-01 01:00:00"], "");
    check(&["10/03/2004", "13/03/2004"], "%d/%m/%Y");
    check(&["10/03/2004", "10/31/2004"], "%m/%d/%Y");
    check(
        &["1/2/2011 3:05 PM", "12/25/2011 11:00 AM"],
        "%m/%d/%Y %I:%M %p",
    );
    check(&["18.00.00", "19.00.00"], "%H.%M.%S");
    check(&["18:00", "19:30"], "%H:%M");
    check(&["Jan-1-1995", "Feb-1-1995"], "%b-%d-%Y");
    check(&["1991 Jul", "1991 Aug"], "%Y %b");
    check(&["01-2023", "02-2023"], "%m-%Y");
    check(&["1/86", "2/86"], "%m/%y");
    check(
        &["Tuesday, 03 January 2023", "Wednesday, 04 January 2023"],
        "%a, %d %b %Y",
    );
    check(
        &["2023-01-03 12:00 AM", "2023-01-03 11:00 PM"],
        "%Y-%m-%d %I:%M %p",
    );
    check(&["2023-W01", "2023-W02"], "%G-W%V");
    check(&["1955-01-01", "14/01/1955", "1955-02-01"], "%d/%m/%Y");
    // A time of day in some rows alone.
    check(
        &["13/01/2020", "14/01/2020 12:00", "15/01/2020"],
        "%d/%m/%Y %H:%M",
    );
    check(
        &["13/01/2020 12:00", "14/01/2020", "15/01/2020"],
        "%d/%m/%Y %H:%M",
    );
    check(&["Jan 2008", "Feb 2008"], "%b %Y");
    check(&["20240131", "20240201"], "%Y%m%d");
    check(&["19550101", "19550110"], "%Y%m%d");
    check(&["2023010300", "2023010311", "2023013123"], "%Y%m%d%H");
    check(&["20230103000000", "20230103110000"], "%Y%m%d%H%M%S");
    check(&["800102", "991231"], "%y%m%d");
    check(&["1672704000.25", "1672743600.5"], "%s");
    check(&["1672704000000", "1672743600000"], "%Q");
    check(&["881250949", "891717742"], "%s");
    check(
        &["10/Oct/2000:13:55:36 -0700", "11/Oct/2000:00:00:01 +0000"],
        "%d/%b/%Y:%H:%M:%S %z",
    );
    check(
        &[
            "Tue, 1 Jul 2003 10:52:37 +0200",
            "Fri, 11 Jul 2003 10:52:37 GMT",
        ],
        "%a, %d %b %Y %H:%M:%S %z",
    );
}

#[test]
fn months_and_weekdays_are_read_in_other_languages() {
    let check = |values: &[&str], expected: &str| match found("x", values) {
        TimesFound::Format(format, range) => {
            assert_eq!(format, expected, "{values:?}");
            assert!(range.starts_with("2021-01-04"), "{range}");
        }
        other => panic!("{values:?}: {other:?}"),
    };
    check(&["4. Januar 2021", "5. März 2021"], "%d. %b %Y");
    check(&["04. Jan 21", "05. Mrz 21", "06. Okt 21"], "%d. %b %y");
    check(
        &["04. Jan. 2021 10:00", "05. Mai 2021 11:30"],
        "%d. %b %Y %H:%M",
    );
    check(&["4 janvier 2021", "5 août 2021"], "%d %b %Y");
    check(&["04-janv.-21", "05-févr.-21", "06-mai-21"], "%d-%b-%y");
    check(
        &["4 de enero de 2021", "5 de diciembre de 2021"],
        "%d de %b de %Y",
    );
    check(&["4 gennaio 2021", "5 luglio 2021"], "%d %b %Y");
    check(
        &["Mo 04.01.2021", "Di 05.01.2021", "Mi 06.01.2021"],
        "%a %d.%m.%Y",
    );
    check(
        &["Montag, 4. Januar 2021", "Sonntag, 5. Dezember 2021"],
        "%a, %d. %b %Y",
    );
    check(&["lun. 04/01/2021", "mer. 13/01/2021"], "%a %d/%m/%Y");
    // As SAS writes them.
    check(
        &["04JAN2021:00:00:00", "05JAN2021:10:30:00"],
        "%d%b%Y:%H:%M:%S",
    );
}

#[test]
fn day_and_month_that_no_value_tells_apart_are_left_to_the_author() {
    let check = |values: &[&str], expected: &[&str]| {
        let expected = expected.iter().map(|format| (*format).to_owned());
        let expected = TimesFound::Ambiguous(expected.collect());
        assert_eq!(found("date", values), expected, "{values:?}");
    };
    check(&["01/02/2004", "03/04/2004"], &["%d/%m/%Y", "%m/%d/%Y"]);
    check(&["01-02-2004", "03-04-2004"], &["%d-%m-%Y", "%m-%d-%Y"]);
    check(&["01.01.2024", "01.10.2024"], &["%d.%m.%Y", "%m.%d.%Y"]);
    check(
        &["Mon 02/01/2024", "Tue 02/02/2024"],
        &["%a %d/%m/%Y", "%a %m/%d/%Y"],
    );
    check(
        &["01.02.04 10:30", "03.04.05 11:00"],
        &["%d.%m.%y %H:%M", "%m.%d.%y %H:%M", "%y.%m.%d %H:%M"],
    );
    check(&["24-01-01", "24-01-02"], &["%d-%m-%y", "%y-%m-%d"]);
    check(&["12-01", "12-02"], &["%m-%y", "%y-%m"]);
    // Also where the first and the last moment are the same under both.
    let swapped = found("date", &["01/02/2004", "02/01/2004"]);
    assert!(matches!(swapped, TimesFound::Ambiguous(..)), "{swapped:?}");
    // The same day under both decides nothing, and harms nothing.
    assert!(matches!(
        found("date", &["01/01/2004", "02/02/2004"]),
        TimesFound::Format(..)
    ));
}

/// 300 days from the first of 2024 on, as year, month and day of 28 days a month.
fn days() -> Vec<[u32; 3]> {
    let day = |n: u32| [24 + n / 336, 1 + n / 28 % 12, 1 + n % 28];
    (0..300).map(day).collect()
}

#[test]
fn the_place_of_a_short_year_is_proved_by_the_order_of_the_days_alone() {
    let check = |days: &[[u32; 3]], write: &dyn Fn([u32; 3]) -> String, expected: Option<&str>| {
        let cells: Vec<String> = days.iter().map(|day| write(*day)).collect();
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        match (found("when", &cells), expected) {
            (TimesFound::Format(format, range), Some(expected)) => {
                assert_eq!(format, expected);
                assert!(range.starts_with("2024-01-01"), "{range}");
            }
            (TimesFound::Ambiguous(_), None) => {}
            (other, expected) => panic!("{:?}: {other:?}, expected {expected:?}", cells[0]),
        }
    };
    let (rising, mut falling) = (days(), days());
    falling.reverse();
    let mut mixed = days();
    mixed.sort_by_key(|[_, month, day]| (month * 7 + day * 5) % 31);
    for mark in ["-", "/", "."] {
        let ymd = |[y, m, d]: [u32; 3]| format!("{y:02}{mark}{m:02}{mark}{d:02}");
        let dmy = |[y, m, d]: [u32; 3]| format!("{d:02}{mark}{m:02}{mark}{y:02}");
        for days in [&rising, &falling] {
            check(days, &ymd, Some(&format!("%y{mark}%m{mark}%d")));
            check(days, &dmy, Some(&format!("%d{mark}%m{mark}%y")));
        }
        check(&mixed, &ymd, None);
        check(&mixed, &dmy, None);
        // Days of one month: no fewer years than days, so that the order proves nothing.
        check(&rising[..12], &ymd, None);
        // Day and month are distinguished by a value above 12 alone.
        let early: Vec<[u32; 3]> = rising.iter().copied().filter(|[.., d]| *d <= 12).collect();
        check(&early, &dmy, None);
    }
    let digits = |[y, m, d]: [u32; 3]| format!("{y:02}{m:02}{d:02}");
    check(&rising, &digits, Some("%y%m%d"));
    check(&mixed, &digits, None);
}

#[test]
fn part_numbers_are_dates_where_the_header_or_their_order_says_so() {
    let parts: Vec<String> = (0..40)
        .map(|n| {
            format!(
                "{:02}-{:02}-{:02}",
                1 + n % 12,
                13 + n % 15,
                40 + n * 7 % 50
            )
        })
        .collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let one = TimesFound::Ambiguous(vec!["%m-%d-%y".to_owned()]);
    assert_eq!(found("part", &parts), one);
    for (name, values) in [("date", &parts[..]), ("part", &["01-13-90"; 30][..])] {
        let found = found(name, values);
        let is_date = matches!(&found, TimesFound::Format(format, _) if format == "%m-%d-%y");
        assert_eq!(is_date, name == "date", "{found:?}");
    }
}

#[test]
fn a_time_of_day_has_two_digits_in_each_piece() {
    let check = |values: &[&str], expected: &str| match found("x", values) {
        TimesFound::Format(format, _) => assert_eq!(format, expected, "{values:?}"),
        other => assert_eq!(expected, "", "{values:?}: {other:?}"),
    };
    check(&["9:30", "18:05"], "%H:%M");
    check(&["9:30:15", "18:05:59.25"], "%H:%M:%S");
    check(&["09.30.15", "18.05.59"], "%H.%M.%S");
    check(&["9:30 AM", "11:05 pm"], "%I:%M %p");
    check(&["10.0.7.95", "10.0.12.3"], "");
    check(&["10.10.07.95", "10.10.12.30"], "");
    check(&["3.16.6", "3.17.0"], "");
    check(&["1:4", "2:0"], "");
    check(&["1:4:2", "2:0:1"], "");
}

#[test]
fn stray_cells_among_dates_are_few() {
    let with = |strays: &[&str], n_dates: usize| {
        let mut candidates = TimeCandidates::new("due");
        strays.iter().for_each(|cell| candidates.add(cell));
        (0..n_dates).for_each(|n| candidates.add(&format!("2024-01-{:02}", 1 + n % 28)));
        candidates
    };
    let one = with(&["tba"], 99);
    assert!(matches!(one.found(), TimesFound::Format(..)));
    assert_eq!(one.strays(""), (1, "\"tba\" (1)".to_owned()));
    let check = |strays: &[&str], n_dates, expected: bool| {
        let found = with(strays, n_dates).found();
        assert_eq!(
            matches!(found, TimesFound::Format(..)),
            expected,
            "{strays:?}"
        );
    };
    check(&["tba"], 9, true);
    check(&["tba"], 8, false);
    check(&["tba", "open"], 97, false);
    check(&["open", "open", "open"], 27, true);
    check(&["open", "later", "never"], 27, false);
    check(&["week 3", "week 3", "week 3"], 27, false);
}

#[test]
fn dates_of_no_known_format_are_noticed_where_the_name_says_dates() {
    let check = |name: &str, cells: &[&str], expected: bool| {
        let mut candidates = TimeCandidates::new(name);
        cells.iter().for_each(|cell| candidates.add(cell));
        assert_eq!(candidates.are_unread(), expected, "{name} {cells:?}");
    };
    check("date", &["KW 3 2020", "KW 4 2020"], true);
    check("x", &["KW 3 2020", "KW 4 2020"], false);
    check("day", &["monday", "tuesday"], false);
    check("date", &["2020-01-01", "2020-01-02"], false);
    check("x", &["2020-01-01", "04.01.2020 x"], true);
    check("x", &["192.168.1.1", "10.0.0.1"], false);
    check("time", &["12.5", "13.5"], false);
}

#[test]
fn other_values_are_no_times() {
    for values in [
        &["1.5", "2.5"][..],
        &["a1b2c3", "d4e5f6"],
        &["12345", "23456"],
        &["192.168.1.1", "10.0.0.1"],
        &["2024-01-01", "later", "never"],
    ] {
        assert_eq!(found("date", values), TimesFound::None, "{values:?}");
    }
    assert_eq!(found("amount", &["20240131", "20240201"]), TimesFound::None);
    assert_eq!(
        found("elapsed_time", &["86400", "172792"]),
        TimesFound::None
    );
    assert_eq!(found("score", &["1/10", "7/10"]), TimesFound::None);
    assert_eq!(found("time", &["0", "1200", "70000"]), TimesFound::None);
    assert_eq!(found("time", &["0", "0", "0"]), TimesFound::None);
}

#[test]
fn digits_are_dates_where_the_header_or_many_values_say_so() {
    let days: Vec<String> = (0..60)
        .map(|n| format!("2023{:02}{:02}", 1 + n / 28, 1 + n % 28))
        .collect();
    let days: Vec<&str> = days.iter().map(String::as_str).collect();
    let check = |name: &str, values: &[&str], expected: &str| match found(name, values) {
        TimesFound::Format(format, _) => assert_eq!(format, expected, "{name}"),
        other => assert_eq!(expected, "", "{name}: {other:?}"),
    };
    check("x", &days, "%Y%m%d");
    check("x", &days[..19], "");
    let seconds = ["1672704000", "1672743600"];
    for name in ["ts", "created_at", "event time", "timestamp", "Date"] {
        check(name, &seconds, "%s");
    }
    check("amount", &seconds, "");
    check("rate", &seconds, "");
    // Of two readings the one whose days lie together.
    let short: Vec<&str> = days.iter().map(|day| &day[2..]).collect();
    check("date", &short, "%y%m%d");
    let chosen = |values: &[&str]| {
        let mut candidates = TimeCandidates::new("x").chosen();
        values.iter().for_each(|value| candidates.add(value));
        candidates.found()
    };
    assert!(
        matches!(chosen(&["86400", "172792"]), TimesFound::Format(format, _) if format == "%s")
    );
    assert!(matches!(chosen(&["1955", "1956"]), TimesFound::Format(format, _) if format == "%Y"));
}

#[test]
fn a_date_far_from_all_others_stands_for_none() {
    let check = |sentinel: &str, days: &dyn Fn(u32) -> String| {
        let mut candidates = TimeCandidates::new("due");
        // Also where it comes first.
        for day in 1..20 {
            candidates.add(sentinel);
            candidates.add(&days(day));
            candidates.add(&days(day + 1));
        }
        assert_eq!(candidates.sentinels(), [(sentinel.to_owned(), 19)]);
        let TimesFound::Format(format, _) = candidates.found() else {
            panic!("{sentinel}")
        };
        assert_eq!(candidates.strays(&format), (0, String::new()), "{sentinel}");
    };
    let iso = |day: u32| format!("2024-01-{day:02}");
    for sentinel in [
        "1900-01-01",
        "9999-12-31",
        "0001-01-01",
        "0000-00-00",
        "1970-01-01",
    ] {
        check(sentinel, &iso);
    }
    check("0000-00-00 00:00:00", &|day| {
        format!("2024-01-{day:02} 10:00:00")
    });
    check("01/01/1900", &|day| format!("{day}/12/2024"));
    let mut candidates = TimeCandidates::new("day");
    (1..20).for_each(|day| candidates.add(&format!("1900-01-{day:02}")));
    assert!(candidates.sentinels().is_empty());
    assert!(!candidates.is_constant());
}
