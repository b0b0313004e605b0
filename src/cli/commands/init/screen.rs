//! The guesses of `init` on the screen: a row a column.
//!
//! Invariant: nothing is in the file that is not shown here, but for columns beyond [`SHOWN_MAX`].

use super::draft::{Draft, DraftKind, DraftTask};

/// Columns that are shown.
const SHOWN_MAX: usize = 60;
/// Characters of a cell.
const CELL_CHARS: usize = 44;

impl Draft {
    /// The lines for the screen.
    pub(crate) fn shown(&self) -> Vec<String> {
        let titles = ["column", "kind", "gaps", "examples", "why"];
        let mut rows = vec![titles.map(str::to_owned)];
        rows.push([
            self.target.clone(),
            "target".to_owned(),
            String::new(),
            self.labels
                .iter()
                .take(3)
                .cloned()
                .collect::<Vec<_>>()
                .join(", "),
            format!("{}: {}", task(self.task), self.task_reason),
        ]);
        for input in &self.inputs {
            rows.push([
                input.name.clone(),
                kind(&input.kind),
                match input.n_gaps {
                    0 => String::new(),
                    n => n.to_string(),
                },
                input.examples.join(", "),
                input.reason.clone(),
            ]);
        }
        for excluded in &self.excluded {
            rows.push([
                excluded.name.clone(),
                "left out".to_owned(),
                String::new(),
                excluded.examples.join(", "),
                excluded.reason.clone(),
            ]);
        }
        let n_more = rows.len().saturating_sub(SHOWN_MAX);
        rows.truncate(SHOWN_MAX);
        let mut lines = aligned(&rows);
        if n_more > 0 {
            lines.push(format!("and {n_more} more columns, in the file"));
        }
        for input in &self.inputs {
            let remarks = input.remarks.iter().take(5);
            lines.extend(remarks.map(|remark| format!("{}: {remark}", cut(&input.name))));
        }
        lines.extend(self.notes.iter().cloned());
        lines
    }
}

fn task(task: DraftTask) -> &'static str {
    match task {
        DraftTask::Classification => "classification",
        DraftTask::Regression => "regression",
        DraftTask::Bandit => "bandit",
    }
}

fn kind(kind: &DraftKind) -> String {
    match kind {
        DraftKind::Number => "number".to_owned(),
        DraftKind::Time(format) if format.is_empty() => "time".to_owned(),
        DraftKind::Time(format) => format!("time {format}"),
        DraftKind::Category => "category".to_owned(),
        DraftKind::Text => "text".to_owned(),
        DraftKind::Vector(length) => format!("vector of {length}"),
    }
}

/// A cell on one line, and not too long.
fn cut(text: &str) -> String {
    let text = text.replace(|c: char| c.is_control(), " ");
    match text.char_indices().nth(CELL_CHARS) {
        None => text,
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

/// The rows with their cells below each other; the last is not cut.
fn aligned(rows: &[[String; 5]]) -> Vec<String> {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let (last, first) = row.split_last().expect("a row has cells");
            let one_line = last.replace(|c: char| c.is_control(), " ");
            first
                .iter()
                .map(|cell| cut(cell))
                .chain([one_line])
                .collect()
        })
        .collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..4).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let padded = row.iter().zip(&widths).map(|(cell, width)| {
            let n_blanks = width - cell.chars().count();
            format!("{cell}{}", " ".repeat(n_blanks))
        });
        let mut padded: Vec<String> = padded.collect();
        padded.push(row[4].clone());
        padded.join("  ").trim_end().to_owned()
    };
    cells.iter().map(line).collect()
}
