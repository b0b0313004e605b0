//! The keys of `[rows]`, by which the commands read files of rows for a model.
//!
//! Invariant: nothing of it reaches a request or the learned state.

use super::key::{AllowedValues, Key};

/// The keys, in the order of the table.
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "rows.separator",
        values: AllowedValues::Text("one character"),
        default: "detected from the file",
        unit: "",
        meaning: "For files of rows: the separator of a CSV. The keys of [rows] are for the commands \
                  that read files; requests do not pass through them.",
    },
    Key {
        name: "rows.decimals",
        values: AllowedValues::Words(&["point", "comma"]),
        default: "detected from the file",
        unit: "",
        meaning: "For files of rows: the mark before the fraction of a number.",
    },
    Key {
        name: "rows.encoding",
        values: AllowedValues::Text("the name of an encoding, as in windows-1252"),
        default: "detected from the file",
        unit: "",
        meaning: "For files of rows: the encoding.",
    },
    Key {
        name: "rows.header",
        values: AllowedValues::Bool,
        default: "true",
        unit: "",
        meaning: "For files of rows: false if the first row of a CSV is data; its columns are \
                  column_1, column_2 and so on.",
    },
    Key {
        name: "rows.percent",
        values: AllowedValues::Words(&["points", "fraction"]),
        default: "points, unchecked",
        unit: "",
        meaning: "For files of rows: whether 12% is 12 or 0.12.",
    },
    Key {
        name: "rows.gaps",
        values: AllowedValues::List("texts"),
        default: "[]",
        unit: "",
        meaning: "For files of rows: texts that are gaps in columns of numbers and times, beside the \
                  usual ones (nothing, ?, -, ., NA, N/A, #N/A, nan, NULL, None, \\N).",
    },
    Key {
        name: "rows.sentinels",
        values: AllowedValues::Table(
            "a table of columns, each with a list of values, as in { CO = [\"-200\"] }",
        ),
        default: "{}",
        unit: "",
        meaning: "For files of rows: values that stand for no value, by column.",
    },
    Key {
        name: "rows.constants",
        values: AllowedValues::Table(
            "a table of inputs, each with its value, as in { context = \"1\" }",
        ),
        default: "{}",
        unit: "",
        meaning: "For files of rows: the values of inputs that a file does not have.",
    },
    Key {
        name: "rows.units",
        values: AllowedValues::Table(
            "a table of columns, each with its unit, as in { distance = \"km\" }",
        ),
        default: "{}",
        unit: "",
        meaning: "For files of rows: the unit behind the numbers of a column, which is taken off.",
    },
    Key {
        name: "rows.labels",
        values: AllowedValues::Table(
            "a table of spellings, each with its label, as in { \"1.0\" = \"1\" }",
        ),
        default: "{}",
        unit: "",
        meaning: "For files of rows: other spellings of labels.",
    },
];
