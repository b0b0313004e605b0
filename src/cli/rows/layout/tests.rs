//! Tests of rows as features of a model.

use super::*;
use crate::cli::rows::FileRows;
use crate::cli::rows::tests::{error, temporary};

fn input(name: &str, kind: ModelInputKind) -> ModelInput {
    ModelInput {
        name: name.into(),
        kind,
        gaps: false,
    }
}

fn batch(text: &str, name: &str, kind: ModelInputKind) -> anyhow::Result<Column> {
    let file = temporary(text.as_bytes());
    let mut rows = FileRows::open(file.path(), &Default::default()).unwrap();
    let mut layout = Layout::of_rows(&mut rows, &[input(name, kind)])?;
    let row = rows.next().unwrap().unwrap();
    Ok(layout.batch(&row)?.columns.remove(0))
}

#[test]
fn a_cell_becomes_what_its_input_holds() {
    let check = |text: &str, name: &str, kind, expected: Column| {
        assert_eq!(batch(text, name, kind).unwrap(), expected, "{text}");
    };
    let strings = |text: &str| Column::Strings(vec![text.into()]);
    let floats = [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes());
    let floats = Column::Vectors(floats.collect::<Vec<u8>>().into());
    let two = || ModelInputKind::Vector(2);
    check(
        "a,b\n1,2\n",
        "b",
        ModelInputKind::Number,
        Column::Numbers(vec![2.0]),
    );
    check(
        "a\n -1e3 \n",
        "a",
        ModelInputKind::Number,
        Column::Numbers(vec![-1e3]),
    );
    check("a,b\n1,NA\n", "b", ModelInputKind::Text, strings("NA"));
    check("a,b\n1,\n", "b", ModelInputKind::Text, strings(""));
    check("{\"a\":null}", "a", ModelInputKind::Text, strings(""));
    check("{\"a\":true}", "a", ModelInputKind::Text, strings("true"));
    check("v[1],x,v[0]\n-2,9,1.5\n", "v", two(), floats.clone());
    check("{\"v\":[1.5,-2]}", "v", two(), floats.clone());
    check("{\"v[0]\":1.5,\"v[1]\":-2}", "v", two(), floats);
}

#[test]
fn a_gap_is_not_a_number() {
    let gaps = [
        "\"\"", "NA", "nan", "NaN", "NAN", " ", "?", "NULL", "None", "-", "\\N", "#N/A",
    ];
    let rows: String = gaps.iter().map(|gap| format!("{gap},1\n")).collect();
    let (cells, notes) = with_gaps(&format!("a,b\n{rows}"), ModelInputKind::Number);
    assert_eq!(cells, ["NaN"; 12]);
    assert!(notes.is_empty(), "{notes:?}");
}

/// The cells of a column of times or numbers that may be gaps, and the closing notes.
fn with_gaps(text: &str, kind: ModelInputKind) -> (Vec<String>, Vec<String>) {
    let file = temporary(text.as_bytes());
    let mut rows = FileRows::open(file.path(), &Default::default()).unwrap();
    let gaps = ModelInput {
        gaps: true,
        ..input("a", kind)
    };
    let mut layout = Layout::of_rows(&mut rows, &[gaps]).unwrap();
    let cells = rows.map(
        |row| match layout.batch(&row.unwrap()).unwrap().columns.remove(0) {
            Column::Strings(mut texts) => texts.remove(0),
            Column::Numbers(numbers) => numbers[0].to_string(),
            other => panic!("{other:?}"),
        },
    );
    let cells = cells.collect();
    (cells, [layout.notes(), layout.closing_notes()].concat())
}

#[test]
fn stray_cells_are_gaps_and_are_noted() {
    let format = TimeFormat::parse("%d/%m/%Y").unwrap();
    let (cells, notes) = with_gaps(
        "a,b\n31/01/2026,1\nlater,1\n,1\n32/01/2026,1\n",
        ModelInputKind::Time(format, 0),
    );
    assert_eq!(cells, ["31/01/2026", "", "", ""]);
    let sentence = "column \"a\": 2 cells are no dates and were taken as gaps, the first in line 3: \
                \"later\"";
    assert_eq!(notes, [sentence]);
    let (cells, notes) = with_gaps("a\n1\nx\n9007199254740993\n", ModelInputKind::Number);
    assert_eq!(cells, ["1", "NaN", "9007199254740992"]);
    let sentence = [
        "column \"a\": 1 cell is no number and was taken as a gap in line 3: \"x\"",
        "column \"a\": 1 cell has more digits than a number keeps in line 4: \"9007199254740993\"",
    ];
    assert_eq!(notes, sentence);
    let (cells, notes) = with_gaps("a,b\n1.5,1\n\"2,25\",1\n", ModelInputKind::Number);
    assert_eq!(cells, ["1.5", "2.25"]);
    let sentence = "column \"a\": 1 cell has another decimal mark than the file and was read by it in line \
                3: \"2,25\"";
    assert_eq!(notes, [sentence]);
    let (cells, notes) = with_gaps("b\n1\n", ModelInputKind::Number);
    assert_eq!(cells, ["NaN"]);
    assert_eq!(notes, ["no column \"a\": it is a gap in every row"]);
}

#[test]
fn percentages_that_are_none_are_noted() {
    let check = |text: &str, percent: Option<&str>, is_noted: bool| {
        let file = temporary(text.as_bytes());
        let options = ReadOptions {
            percent: percent.map(str::to_owned),
            ..ReadOptions::default()
        };
        let mut rows = FileRows::open(file.path(), &options).unwrap();
        let mut layout = Layout::of_rows(&mut rows, &[input("a", ModelInputKind::Number)]).unwrap();
        rows.for_each(|row| _ = layout.batch(&row.unwrap()).unwrap());
        let notes = layout.closing_notes();
        let says = |note: &String| note.starts_with("no number has a percent sign");
        assert_eq!(notes.iter().any(says), is_noted, "{notes:?}");
    };
    check("a\n50.3%\n12%\n", Some("points"), false);
    check("a\n0.503\n0.12\n", Some("points"), true);
    check("a\n0.503\n0.12\n", Some("fraction"), true);
    check("a\n0.503\n0.12\n", None, false);
}

fn check_refused(text: &str, name: &str, kind: ModelInputKind, expected: &str) {
    assert_eq!(error(batch(text, name, kind)), expected, "{text}");
}

#[test]
fn a_refusal_names_line_column_and_value() {
    check_refused(
        "a\n1x\n",
        "a",
        ModelInputKind::Number,
        "line 2: column \"a\": \"1x\" is not a finite number",
    );
    check_refused(
        "a\ninf\n",
        "a",
        ModelInputKind::Number,
        "line 2: column \"a\": \"inf\" is not a finite number",
    );
    check_refused(
        "a,b\n?,2\n",
        "a",
        ModelInputKind::Number,
        "line 2: column \"a\": \"?\" is a gap, and the input takes none; missing = \"mean\" in \
         model.toml does",
    );
    check_refused(
        "a,b\n,2\n",
        "a",
        ModelInputKind::Time(TimeFormat::default(), 0),
        "line 2: column \"a\": a gap, and the input takes none; missing = \"mean\" in model.toml \
         does",
    );
    check_refused(
        "a\nnoon\n",
        "a",
        ModelInputKind::Time(TimeFormat::default(), 0),
        "line 2: column \"a\": \"noon\" is no time as 2026-01-31T12:00:00Z",
    );
    check_refused(
        "a,b\n1,2\n",
        "c",
        ModelInputKind::Text,
        "no column \"c\"; the file has \"a\", \"b\"",
    );
    check_refused(
        "{\"v\":[1]}",
        "v",
        ModelInputKind::Text,
        "line 1: column \"v\": a list, expected one value",
    );
}

#[test]
fn a_vector_has_its_length_and_no_gaps() {
    let two = || ModelInputKind::Vector(2);
    check_refused(
        "v[0],v[2]\n1,2\n",
        "v",
        two(),
        "no column \"v[1]\"; the file has \"v[0]\", \"v[2]\"",
    );
    check_refused(
        "v[0],v[1],v[2]\n1,2,3\n",
        "v",
        two(),
        "vector \"v\" has 2 elements, and the file has also a column \"v[2]\"",
    );
    check_refused(
        "v[0],v[1]\n1,NA\n",
        "v",
        two(),
        "line 2: column \"v[1]\": \"NA\" is not a finite number",
    );
    check_refused(
        "{\"v\":[1,2,3]}",
        "v",
        two(),
        "line 1: column \"v\": a list of 3, expected 2",
    );
    check_refused(
        "{\"v\":[1,1e300]}",
        "v",
        two(),
        "line 1: column \"v\": 1e300 is not a finite 32-bit float",
    );
    check_refused(
        "{\"v\":null}",
        "v",
        two(),
        "line 1: column \"v\": \"\", expected a list of numbers",
    );
}
