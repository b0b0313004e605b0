//! The selection of inputs among the columns of a file.
//!
//! Invariant: every column but the target is returned once, as an input, as an element of a vector
//! or as excluded.

use std::collections::{BTreeMap, HashMap};

use anyhow::{bail, ensure};

use super::choice::{ChosenKind, ColumnChoice};
use super::column::{
    ROW_ID, constant, exclusion_reason, input, is_row_number, kind, remarks, unit,
};
use super::column_stats::ColumnStats;
use super::description::{shown, shown_range};
use super::draft::{DraftInput, DraftKind, DraftTask, ExcludedColumn};
use super::times::TimesFound;
use crate::cli::rows::quoted;

/// The inputs and the excluded columns of a file.
#[derive(Default)]
pub(super) struct ColumnSelection {
    pub inputs: Vec<DraftInput>,
    pub excluded: Vec<ExcludedColumn>,
}

/// The facts of a file beside the statistics of its columns.
pub(super) struct SelectionContext<'a> {
    pub task: DraftTask,
    pub n_rows: u64,
    pub choices: &'a [ColumnChoice],
    /// Numbers that stand for no value, with the count of each, by the place of the column.
    pub sentinels: &'a BTreeMap<usize, Vec<(f64, u64)>>,
}

/// Selects the inputs; columns of no use for the task are excluded.
///
/// # Errors
/// A column whose dates no value decides, or that cannot be of the chosen kind.
pub(super) fn select(
    stats: &[ColumnStats],
    known: &SelectionContext,
) -> anyhow::Result<ColumnSelection> {
    let mut selection = ColumnSelection::default();
    let (task, n_rows) = (known.task, known.n_rows);
    let vectors = vectors(stats, task, n_rows);
    for (index, column) in stats.iter().enumerate() {
        let chosen = known
            .choices
            .iter()
            .find(|choice| choice.column == column.name);
        let exclude = |reason: String| ExcludedColumn {
            name: column.name.clone(),
            reason,
            examples: column.examples.clone(),
        };
        let sentinels = known.sentinels.get(&index).map_or(&[][..], Vec::as_slice);
        match chosen.map(|choice| &choice.kind) {
            None => {}
            Some(ChosenKind::Out) => {
                let reason = "left out by --as".to_owned();
                selection.excluded.push(exclude(reason));
                continue;
            }
            Some(kind) => {
                let mut input = chosen_input(column, kind)?;
                add_sentinels(&mut input, column, sentinels);
                selection.inputs.push(input);
                continue;
            }
        }
        if !vectors.contains_key(&index) {
            ensure_one_percent(column)?;
        }
        match vectors.get(&index) {
            Some(Some(vector)) => selection.inputs.push(vector.clone()),
            Some(None) => {}
            // Dates that are all distinct are no row id, but which dates they are has to be known.
            None if constant(column).is_none() => ensure_unambiguous(column)?,
            None => {}
        }
        match vectors.get(&index) {
            Some(_) => {}
            None => match exclusion_reason(column, task, n_rows) {
                Some(reason) => selection.excluded.push(exclude(reason)),
                None => {
                    let mut input = input(column);
                    add_sentinels(&mut input, column, sentinels);
                    selection.inputs.push(input);
                }
            },
        }
    }
    if selection.inputs.is_empty() && task == DraftTask::Regression {
        take_index(&mut selection, stats, n_rows);
    }
    Ok(selection)
}

/// Takes a column of row numbers as an input, where nothing else stands beside the value: the rows are
/// a series.
fn take_index(selection: &mut ColumnSelection, stats: &[ColumnStats], n_rows: u64) {
    let is_index = |excluded: &ExcludedColumn| {
        let mut columns = stats.iter();
        let column = columns.find(|column| column.name == excluded.name);
        column.filter(|column| is_row_number(column, n_rows) && excluded.reason.starts_with(ROW_ID))
    };
    // The row numbers that a program adds have no name.
    let indexes = selection.excluded.iter().enumerate();
    let indexes = indexes.filter_map(|(place, excluded)| Some((place, is_index(excluded)?)));
    let named = indexes.min_by_key(|(_, column)| column.name.starts_with("column_"));
    let Some((place, column)) = named else {
        return;
    };
    selection.excluded.remove(place);
    let range = shown_range(column.range);
    selection.inputs.push(DraftInput {
        kind: DraftKind::Number,
        reason: format!("{range}, numbers of rows, and nothing else beside the target: a series"),
        n_gaps: 0,
        ..input(column)
    });
}

/// Refuses a column of dates whose parts no value decides.
fn ensure_unambiguous(column: &ColumnStats) -> anyhow::Result<()> {
    if let TimesFound::Ambiguous(formats) = column.times.found() {
        let name = &column.name;
        let choices = formats.iter();
        let choices: Vec<String> = choices
            .map(|format| format!("--as \"{name}=date:{format}\""))
            .collect();
        let why = match &formats[..] {
            [_] => "neither the header nor their order says that they are dates",
            _ => "no value tells which",
        };
        bail!(
            "column {}: its values are dates by {}, and {why}; say {}, or --as \"{name}=category\" if \
             they are no dates",
            quoted(name),
            formats.join(" and by "),
            choices.join(" or ")
        );
    }
    Ok(())
}

/// Refuses percentages beside fractions, of which either may be meant as the other.
fn ensure_one_percent(column: &ColumnStats) -> anyhow::Result<()> {
    let name = &column.name;
    if let (Some([percent, fraction]), DraftKind::Number) = (column.percents.mixed(), kind(column))
    {
        bail!(
            "column {}: {} and {} stand beside each other, and no value tells whether the second is a \
             percentage or a fraction; mend the file, or say --as \"{name}=number\" to read them as \
             they stand, or --as \"{name}=out\"",
            quoted(name),
            quoted(percent),
            quoted(fraction)
        );
    }
    Ok(())
}

/// The input for a column whose kind was given.
fn chosen_input(column: &ColumnStats, kind: &ChosenKind) -> anyhow::Result<DraftInput> {
    let mut input = input(column);
    let n_values = column.n_numbers + column.n_texts;
    ensure!(
        column.n_lists == 0,
        "--as: column {} holds lists",
        quoted(&column.name)
    );
    input.kind = match kind {
        ChosenKind::Number => DraftKind::Number,
        ChosenKind::Category | ChosenKind::Out => DraftKind::Category,
        ChosenKind::Text => DraftKind::Text,
        ChosenKind::Time(Some(format)) => DraftKind::Time(format.clone()),
        ChosenKind::Time(None) => match column.times.found() {
            TimesFound::Format(format, _) => DraftKind::Time(format),
            TimesFound::Ambiguous(..) => return ensure_unambiguous(column).map(|()| input),
            TimesFound::None => bail!(
                "--as: no known format reads the dates of column {}; name one, as date:%d/%m/%Y",
                quoted(&column.name)
            ),
        },
    };
    ensure!(
        input.kind != DraftKind::Number || column.n_numbers > 0,
        "--as: column {} holds no number",
        quoted(&column.name)
    );
    let n_strays = match &input.kind {
        DraftKind::Time(format) => column.times.strays(format).0,
        _ => column.n_texts,
    };
    if let ChosenKind::Time(Some(format)) = kind {
        let n_read = n_values - n_strays;
        ensure!(
            n_read * 100 >= n_values * 99,
            "--as: the format {format} reads {n_read} of the {n_values} values of column {}",
            quoted(&column.name)
        );
    }
    input.n_gaps = match input.kind {
        DraftKind::Number | DraftKind::Time(_) => column.n_gaps + n_strays,
        _ => column.n_gaps,
    };
    input.unit = unit(column, &input.kind);
    input.remarks = remarks(column, &input.kind);
    input.reason = format!("given; {n_values} values");
    Ok(input)
}

/// Takes the numbers and dates that stand for none out of an input.
fn add_sentinels(input: &mut DraftInput, column: &ColumnStats, sentinels: &[(f64, u64)]) {
    let mut take = |shown: String, n: u64| {
        input.n_gaps += n;
        let remark = format!("{shown} stands apart and comes {n} times: taken as a gap");
        input.remarks.push(remark);
        input.sentinels.push(shown);
    };
    match input.kind {
        DraftKind::Number => {
            for (value, n) in sentinels {
                take(shown(*value), *n);
            }
            if !sentinels.is_empty() {
                input.reason = shown_range(column.extremes.range_without(sentinels));
            }
        }
        DraftKind::Time(_) => {
            let found = column.times.sentinels();
            found.into_iter().for_each(|(text, n)| take(text, n));
        }
        _ => {}
    }
}

/// The vectors among the columns: at each column that belongs to one, the vector if this is its
/// first element in the file.
fn vectors(
    stats: &[ColumnStats],
    task: DraftTask,
    n_rows: u64,
) -> HashMap<usize, Option<DraftInput>> {
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
        examples: Vec::new(),
        remarks: Vec::new(),
        sentinels: Vec::new(),
        unit: None,
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
            let inputs: Vec<_> = inputs.map(|i| (i.name.as_str(), i.kind.clone())).collect();
            assert_eq!(inputs, expected, "{text}");
        };
        let number = || DraftKind::Number;
        let category = || DraftKind::Category;
        let two = || DraftKind::Vector(2);
        check("v[0],v[1],y\n1,2,a\n3,4,b\n", &[("v", two())]);
        check(
            "k,v[1],v[0],y\n5,1,2,a\n4,3,4,b\n",
            &[("k", number()), ("v", two())],
        );
        check("v[0],v[1],y\n1,7,a\n3,7,b\n", &[("v", two())]);
        check("v[0],y\n1,a\n3,b\n", &[("v[0]", number())]);
        check(
            "v[1],v[2],y\n1,2,a\n3,4,b\n",
            &[("v[1]", number()), ("v[2]", number())],
        );
        check(
            "v[0],v[1],y\n1,,a\n3,4,b\n1,2,a\n",
            &[("v[0]", number()), ("v[1]", number())],
        );
        check(
            "v[0],v[1],y\n1,p,a\n3,q,b\n",
            &[("v[0]", number()), ("v[1]", category())],
        );
        check(
            "v[0],v[01],y\n1,2,a\n3,4,b\n",
            &[("v[0]", number()), ("v[01]", number())],
        );
        check(
            "v[0],v[1],y\n1,1e39,a\n3,4,b\n",
            &[("v[0]", number()), ("v[1]", number())],
        );
        check(
            "v,v[0],v[1],y\n9,1,2,a\n8,3,4,b\n",
            &[("v", number()), ("v[0]", number()), ("v[1]", number())],
        );
        check(
            "{\"v\":[1,2],\"y\":\"a\"}\n{\"v\":[3,4],\"y\":\"b\"}",
            &[("v", two())],
        );
        check(
            "{\"x\":1,\"v\":[1],\"y\":true}\n{\"x\":3,\"v\":[3,4],\"y\":false}",
            &[("x", number())],
        );
    }
}
