//! Tests of times as files and requests write them.

use super::*;

fn read(format: &str, text: &str) -> Option<i64> {
    let format = match format {
        "" => TimeFormat::default(),
        format => TimeFormat::parse(format).unwrap(),
    };
    format.read(text, 0)
}

#[test]
fn a_time_is_read_by_its_format() {
    let check = |format: &str, text: &str, expected: &str| {
        let got = read(format, text).map(rfc_3339_of);
        assert_eq!(got.as_deref(), Some(expected), "{format} {text}");
    };
    let noon = "2024-02-29T12:30:00Z";
    check("", "2024-02-29T12:30:00Z", noon);
    check("", "2024-02-29 12:30", noon);
    check("", "2024-02-29T14:30:00+02:00", noon);
    check(
        "",
        "2024-02-29 12:30:00.25 UTC",
        "2024-02-29T12:30:00.250000Z",
    );
    check("", "2024-02-29", "2024-02-29T00:00:00Z");
    check("", "2008-01", "2008-01-01T00:00:00Z");
    check("%d/%m/%Y %H:%M", "29/2/2024 12:30", noon);
    check("%m/%d/%y %I:%M %p", "2/29/24 12:30 PM", noon);
    check("%d %b %Y %H.%M.%S", "29 February 2024 12.30.00", noon);
    check("%b %d, %Y %H:%M", "feb 29, 2024 12:30", noon);
    check("%a %b %d %H:%M:%S %Y", "Thu Feb 29 12:30:00 2024", noon);
    check("%Y%m%d", "20240229", "2024-02-29T00:00:00Z");
    check("%YQ%q", "2024Q3", "2024-07-01T00:00:00Z");
    check("%Y-%j", "2024-060", "2024-02-29T00:00:00Z");
    check("%G-W%V", "2024-W09", "2024-02-26T00:00:00Z");
    check("%G-W%V-%u", "2024-W09-4", "2024-02-29T00:00:00Z");
    check("%G-W%V", "2021-W01", "2021-01-04T00:00:00Z");
    check("%G-W%V", "2020-W53", "2020-12-28T00:00:00Z");
    check("%b %d %Y", "Sept. 4 2024", "2024-09-04T00:00:00Z");
    check("%d/%m/%Y %H:%M", "29/2/2024", "2024-02-29T00:00:00Z");
    check("%d/%m/%Y %H:%M:%S", "29/2/2024 12:30", noon);
    check("%m/%d/%y %I:%M %p", "2/29/24", "2024-02-29T00:00:00Z");
    check("%s", "881250949", "1997-12-04T15:55:49Z");
    check("%Q", "881250949000", "1997-12-04T15:55:49Z");
    check("%H:%M:%S", "18:00:01", "1970-01-01T18:00:01Z");
    check("", "2023-12-31T24:00:00Z", "2024-01-01T00:00:00Z");
    check("", "1899-12-30", "1899-12-30T00:00:00Z");
}

#[test]
fn what_is_no_time_is_refused() {
    let check = |format: &str, text: &str| assert_eq!(read(format, text), None, "{text}");
    for text in [
        "",
        "2024",
        "2024-13-01",
        "2024-02-30",
        "2023-02-29",
        "24-01-01",
        "2024-01-01T25:00",
        "2024-01-01x",
        "x2024-01-01",
        "12",
        "2024-01-01T12:30:00+2",
        "2024-01-01T12",
    ] {
        check("", text);
    }
    check("%d/%m/%Y", "12/13/2024");
    check("%d/%m/%Y", "12/3/24");
    check("%d/%m/%Y %H:%M", "29/2/2024 12");
    check("%H:%M", "");
    check("%G-W%V", "2024-W54");
    for format in ["", "%", "%x", "abc"] {
        assert_eq!(TimeFormat::parse(format), None, "{format}");
    }
}

#[test]
fn a_zone_moves_what_is_derived() {
    let at = |text: &str, zone: i64| CalendarTime::of(read("", text).unwrap(), zone);
    let noon = at("2024-02-29T12:30:00Z", 0);
    assert_eq!((noon.hour, noon.weekday, noon.month), (12.5, 3, 1));
    let late = at("2024-02-29T23:30:00Z", 3600);
    assert_eq!((late.hour, late.weekday, late.month), (0.5, 4, 2));
    let before = at("1969-12-31T23:00:00Z", 0);
    assert_eq!((before.hour, before.weekday, before.month), (23.0, 2, 11));
    assert_eq!(zone("+02:00"), Some(7200));
    for text in ["UTC", "+02:00", "-03:30"] {
        assert_eq!(zone_text(zone(text).expect(text)), text);
    }
    assert_eq!(zone("-0330"), Some(-12_600));
    assert_eq!((zone("UTC"), zone("CET")), (Some(0), None));
    let local = TimeFormat::default().read("2024-02-29 12:30", 7200);
    assert_eq!(local, read("", "2024-02-29T10:30:00Z"));
}
