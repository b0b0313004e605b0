//! The selection of inputs among the columns of a file.
//!
//! Invariant: every column but the target is returned once, as an input, as an element of a vector
//! or as excluded.

use std::collections::{BTreeMap, HashMap};

use super::column::{constant, exclusion_reason, input};
use super::column_stats::ColumnStats;
use super::draft::{DraftInput, DraftKind, ExcludedColumn, Task};

/// The inputs and the excluded columns of a file.
pub(super) struct Selection {
    pub inputs: Vec<DraftInput>,
    pub excluded: Vec<ExcludedColumn>,
}

/// Selects the inputs; columns of no use for the task are excluded.
pub(super) fn select(stats: &[ColumnStats], task: Task, n_rows: u64) -> Selection {
    let mut selection = Selection {
        inputs: Vec::new(),
        excluded: Vec::new(),
    };
    let vectors = vectors(stats, task, n_rows);
    for (index, column) in stats.iter().enumerate() {
        match vectors.get(&index) {
            Some(Some(vector)) => selection.inputs.push(vector.clone()),
            Some(None) => {}
            None => match exclusion_reason(column, task, n_rows) {
                Some(reason) => selection.excluded.push(ExcludedColumn {
                    name: column.name.clone(),
                    reason,
                }),
                None => selection.inputs.push(input(column)),
            },
        }
    }
    selection
}

/// The vectors among the columns: at each column that belongs to one, the vector if this is its
/// first element in the file.
fn vectors(stats: &[ColumnStats], task: Task, n_rows: u64) -> HashMap<usize, Option<DraftInput>> {
    let mut elements: BTreeMap<&str, BTreeMap<usize, usize>> = BTreeMap::new();
    for (at, column) in stats.iter().enumerate() {
        if let Some((name, index)) = element(&column.name) {
            elements.entry(name).or_default().insert(index, at);
        }
    }
    let mut vectors = HashMap::new();
    for (name, columns) in elements {
        let length = columns.len();
        let is_complete = length >= 2 && columns.keys().copied().eq(0..length);
        let is_taken = stats.iter().any(|column| column.name == name);
        let are_useful = |column: &usize| {
            let column = &stats[*column];
            is_element(column)
                && (constant(column).is_some() || exclusion_reason(column, task, n_rows).is_none())
        };
        let is_constant = columns.values().all(|&at| constant(&stats[at]).is_some());
        let is_vector = is_complete && !is_taken && columns.values().all(are_useful);
        if is_vector && !is_constant {
            let first = columns.values().min().copied();
            vectors.extend(columns.values().map(|&column| (column, None)));
            vectors.extend(first.map(|first| (first, Some(vector(name, length)))));
        }
    }
    vectors
}

fn vector(name: &str, length: usize) -> DraftInput {
    DraftInput {
        name: name.to_owned(),
        kind: DraftKind::Vector(length),
        reason: format!("from the columns [0] to [{}]", length - 1),
        n_gaps: 0,
    }
}

/// True if every row of the column has a finite 32-bit float.
fn is_element(column: &ColumnStats) -> bool {
    let is_float = |value: f64| (value as f32).is_finite();
    column.n_gaps + column.n_texts + column.n_lists == 0
        && (column.range).is_some_and(|(min, max)| is_float(min) && is_float(max))
}

/// The vector's name and the index of a column named like `v[12]`.
fn element(column: &str) -> Option<(&str, usize)> {
    let (name, index) = column.strip_suffix(']')?.rsplit_once('[')?;
    let index: usize = index
        .parse()
        .ok()
        .filter(|n: &usize| n.to_string() == index)?;
    (!name.is_empty()).then_some((name, index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::init::tests::drafted;

    #[test]
    fn numbered_columns_are_one_vector() {
        let check = |text: &str, expected: &[(&str, DraftKind)]| {
            let draft = drafted(text, None).unwrap();
            let inputs = draft.inputs.iter();
            let inputs: Vec<_> = inputs.map(|i| (i.name.as_str(), i.kind)).collect();
            assert_eq!(inputs, expected, "{text}");
        };
        let (number, category) = (DraftKind::Number, DraftKind::Category);
        let two = DraftKind::Vector(2);
        check("v[0],v[1],y\n1,2,a\n3,4,b\n", &[("v", two)]);
        check(
            "k,v[1],v[0],y\n5,1,2,a\n4,3,4,b\n",
            &[("k", number), ("v", two)],
        );
        check("v[0],v[1],y\n1,7,a\n3,7,b\n", &[("v", two)]);
        check("v[0],y\n1,a\n3,b\n", &[("v[0]", number)]);
        check(
            "v[1],v[2],y\n1,2,a\n3,4,b\n",
            &[("v[1]", number), ("v[2]", number)],
        );
        check(
            "v[0],v[1],y\n1,,a\n3,4,b\n1,2,a\n",
            &[("v[0]", number), ("v[1]", number)],
        );
        check(
            "v[0],v[1],y\n1,p,a\n3,q,b\n",
            &[("v[0]", number), ("v[1]", category)],
        );
        check(
            "v[0],v[01],y\n1,2,a\n3,4,b\n",
            &[("v[0]", number), ("v[01]", number)],
        );
        check(
            "v[0],v[1],y\n1,1e39,a\n3,4,b\n",
            &[("v[0]", number), ("v[1]", number)],
        );
        check(
            "v,v[0],v[1],y\n9,1,2,a\n8,3,4,b\n",
            &[("v", number), ("v[0]", number), ("v[1]", number)],
        );
        check(
            "{\"v\":[1,2],\"y\":\"a\"}\n{\"v\":[3,4],\"y\":\"b\"}",
            &[("v", two)],
        );
        check(
            "{\"x\":1,\"v\":[1],\"y\":true}\n{\"x\":3,\"v\":[3,4],\"y\":false}",
            &[("x", number)],
        );
    }
}
