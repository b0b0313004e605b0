//! Which columns a drafted model takes, and as what.
//!
//! Invariant: every column but the target comes out once, as an input, as an element of a vector
//! or left out.

use std::collections::{BTreeMap, HashMap};

use super::column::{constant, flaw, input};
use super::column_stats::Look;
use super::{Input, Kind, LeftOut, Task};

/// The columns of a file, sorted.
pub struct Selection {
    pub inputs: Vec<Input>,
    pub left_out: Vec<LeftOut>,
}

/// Sorts the columns; what is no use for the task is left out.
pub fn select(looks: &[Look], task: Task, n_rows: u64) -> Selection {
    let mut selection = Selection {
        inputs: Vec::new(),
        left_out: Vec::new(),
    };
    let vectors = vectors(looks, task, n_rows);
    for (index, look) in looks.iter().enumerate() {
        match vectors.get(&index) {
            Some(Some(vector)) => selection.inputs.push(vector.clone()),
            Some(None) => {}
            None => match flaw(look, task, n_rows) {
                Some(reason) => selection.left_out.push(LeftOut {
                    name: look.name.clone(),
                    reason,
                }),
                None => selection.inputs.push(input(look)),
            },
        }
    }
    selection
}

/// The vectors among the columns: at each column that belongs to one, the vector if this is its
/// first element in the file.
fn vectors(looks: &[Look], task: Task, n_rows: u64) -> HashMap<usize, Option<Input>> {
    let mut elements: BTreeMap<&str, BTreeMap<usize, usize>> = BTreeMap::new();
    for (column, look) in looks.iter().enumerate() {
        if let Some((name, index)) = element(&look.name) {
            elements.entry(name).or_default().insert(index, column);
        }
    }
    let mut vectors = HashMap::new();
    for (name, columns) in elements {
        let length = columns.len();
        let is_complete = length >= 2 && columns.keys().copied().eq(0..length);
        let is_taken = looks.iter().any(|look| look.name == name);
        let are_useful = |column: &usize| {
            let look = &looks[*column];
            is_element(look) && (constant(look).is_some() || flaw(look, task, n_rows).is_none())
        };
        let is_constant = columns.values().all(|&at| constant(&looks[at]).is_some());
        let is_vector = is_complete && !is_taken && columns.values().all(are_useful);
        if is_vector && !is_constant {
            let first = columns.values().min().copied();
            vectors.extend(columns.values().map(|&column| (column, None)));
            vectors.extend(first.map(|first| (first, Some(vector(name, length)))));
        }
    }
    vectors
}

fn vector(name: &str, length: usize) -> Input {
    Input {
        name: name.to_owned(),
        kind: Kind::Vector(length),
        reason: format!("from the columns [0] to [{}]", length - 1),
        n_gaps: 0,
    }
}

/// Whether every row has a finite 32-bit float.
fn is_element(look: &Look) -> bool {
    let is_float = |value: f64| (value as f32).is_finite();
    look.n_gaps + look.n_texts + look.n_lists == 0
        && (look.range).is_some_and(|(min, max)| is_float(min) && is_float(max))
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
        let check = |text: &str, expected: &[(&str, Kind)]| {
            let draft = drafted(text, None).unwrap();
            let inputs = draft.inputs.iter();
            let inputs: Vec<_> = inputs.map(|i| (i.name.as_str(), i.kind)).collect();
            assert_eq!(inputs, expected, "{text}");
        };
        let (number, category) = (Kind::Number, Kind::Category);
        let two = Kind::Vector(2);
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
