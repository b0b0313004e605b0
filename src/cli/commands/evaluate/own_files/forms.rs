//! The forms of a file that were read, and not yet scored: separators, packing, no header, names that
//! stand twice, keys that differ, typographic signs, and values far from the others.

use std::io::Write as _;

use super::*;
use crate::cli::rows::source::tests::zipped;

/// The base in clean form, and its accuracy.
fn clean() -> (String, f64) {
    let plain = lines("x,z,y", N, |_, x, z, y| format!("{x:.4},{z:.4},{y}"));
    let accuracy = accuracy(plain.as_bytes());
    assert!(accuracy > 0.9, "{accuracy}");
    (plain, accuracy)
}

#[test]
fn separators_and_packing_do_not_matter() {
    let (plain, clean) = clean();
    for (separator, name) in [("\t", "tabs"), ("|", "pipes")] {
        check(clean, plain.replace(',', separator).as_bytes(), name);
    }
    let bytes = plain.as_bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).expect("memory");
    check(clean, &gzip.finish().expect("memory"), "gzip");
    let mut bz2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bz2.write_all(bytes).expect("memory");
    check(clean, &bz2.finish().expect("memory"), "bz2");
    let zstd = zstd::encode_all(bytes, 1).expect("memory");
    check(clean, &zstd, "zstd");
    check(clean, &zipped(&[("rows.csv", bytes)]), "zip");
}

#[test]
fn a_file_without_a_header_has_the_accuracy_of_one_with_it() {
    let (plain, clean) = clean();
    let (_, rows) = plain.split_once('\n').expect("a header");
    let args = ReadArgs {
        no_header: true,
        ..ReadArgs::default()
    };
    let (draft, fields) = try_out_of(rows.as_bytes(), "column_3", &args);
    let names: Vec<&str> = draft.inputs.iter().map(|input| &*input.name).collect();
    assert_eq!(names, ["column_1", "column_2"]);
    let got = fields["progressive_accuracy"].as_f64().expect("a share");
    assert!((got - clean).abs() <= HALF_A_POINT, "{got}, clean {clean}");
}

#[test]
fn a_name_that_stands_twice_is_two_inputs() {
    let (plain, clean) = clean();
    let twice = plain.replacen("x,z,y", "x,x,y", 1);
    let (draft, _) = try_out(twice.as_bytes(), None);
    let names: Vec<&str> = draft.inputs.iter().map(|input| &*input.name).collect();
    assert_eq!(names, ["x", "x.2"]);
    check(clean, twice.as_bytes(), "a name twice");
}

#[test]
fn keys_that_differ_and_nan_are_gaps() {
    let with_gaps = lines("x,z,y", N, |row, x, z, y| match row % 25 {
        3 => format!(",{z:.4},{y}"),
        _ => format!("{x:.4},{z:.4},{y}"),
    });
    let clean = accuracy(with_gaps.as_bytes());
    let json = lines("", N, |row, x, z, y| match (row % 25 == 3, row % 2) {
        (true, 0) => format!("{{\"y\":\"{y}\",\"z\":{z:.4}}}"),
        (true, _) => format!("{{\"y\":\"{y}\",\"x\":NaN,\"z\":{z:.4}}}"),
        (false, _) => format!("{{\"x\":{x:.4},\"z\":{z:.4},\"y\":\"{y}\"}}"),
    });
    check(clean, json.trim_start().as_bytes(), "keys that differ");
}

#[test]
fn a_typographic_minus_and_a_unit_belong_to_the_number() {
    let (plain, clean) = clean();
    check(clean, plain.replace('-', "\u{2212}").as_bytes(), "minus");
    let with_unit = lines("x,z,y", N, |_, x, z, y| format!("{x:.4} km,{z:.4},{y}"));
    let (draft, _) = try_out(with_unit.as_bytes(), None);
    assert_eq!(kind(&draft, "x"), DraftKind::Number);
    assert_eq!(draft.rows.units["x"], "km");
    check(clean, with_unit.as_bytes(), "a unit");
}

#[test]
fn a_heavy_tail_and_a_value_far_out_cost_little() {
    let (_, clean) = clean();
    let tail = lines("x,z,y", N, |_, x, z, y| {
        format!("{:.4},{z:.4},{y}", (2.0 * x).exp())
    });
    let (draft, fields) = try_out(tail.as_bytes(), None);
    let x = draft
        .inputs
        .iter()
        .find(|input| input.name == "x")
        .expect("an input");
    assert_eq!(
        (x.n_gaps, x.sentinels.len()),
        (0, 0),
        "the tail is of values"
    );
    // The border between the classes is bent now.
    let got = fields["progressive_accuracy"].as_f64().expect("a share");
    assert!(got > clean - 0.08, "log-normal: {got}, clean {clean}");
    for far in [5, 25] {
        let with = lines("x,z,y", N, |row, x, z, y| match row {
            row if row == far => format!("1000000,{z:.4},{y}"),
            _ => format!("{x:.4},{z:.4},{y}"),
        });
        let got = accuracy(with.as_bytes());
        // The row itself may be lost, and some behind it.
        assert!(
            got > clean - 0.03,
            "far out in row {far}: {got}, clean {clean}"
        );
    }
}

#[test]
fn one_wild_value_does_not_blind_a_column_that_is_mostly_one_value() {
    let n = 1_200;
    // Half of what decides the class is such a column.
    let rows = |value: &dyn Fn(u64) -> f64, wild: Option<f64>| {
        let mut text = "f,x,y\n".to_owned();
        for row in 0..n {
            let (f, x) = (value(row), 2.0 * noise(2 * row));
            let y = if (f > 0.0) == (x > -1.0) {
                "up"
            } else {
                "down"
            };
            let f = wild.filter(|_| row == 5).unwrap_or(f);
            writeln!(text, "{f},{x:.4},{y}").expect("a string takes it");
        }
        accuracy(text.as_bytes())
    };
    let is_one = |row: u64| noise(2 * row + 1) < -0.4;
    let binary = |row: u64| f64::from(u8::from(is_one(row)));
    let amount = |row: u64| binary(row) * (300.0 + 200.0 * noise(3 * row + 10_000)).round();
    for (what, value, wild) in [
        ("binary", &binary as &dyn Fn(u64) -> f64, 1e3),
        ("an amount", &amount, 1e6),
    ] {
        let (clean, with) = (rows(value, None), rows(value, Some(wild)));
        println!("{what}: {with}, clean {clean}");
        assert!(with > clean - 0.01, "{what}: {with}, clean {clean}");
    }
}

#[test]
fn an_id_as_the_target_tells_nothing_of_the_order_of_the_rows() {
    let id = |row: u64| format!("{:08x}", (noise(row).to_bits() >> 20) as u32);
    let text = lines("x,z,y", N, |row, x, z, _| {
        format!("{x:.4},{z:.4},{}", id(row))
    });
    let (_, fields) = try_out(text.as_bytes(), Some(DraftTask::Classification));
    let got = fields["progressive_accuracy"].as_f64().expect("a share");
    assert!(got < 0.05, "{got}");
}
