//! The survey of a file: the statistics of its columns and of its target, from one pass.
//!
//! Invariant: memory is bounded by columns and classes, never by rows.

use std::path::Path;

use anyhow::{Context, bail, ensure};

use super::choice::{Choice, ChosenKind};
use super::column_stats::ColumnStats;
use super::goal::Goal;
use super::logged_columns::{LoggedColumn, logged_columns};
use super::target::TargetStats;
use crate::cli::rows::lines::shown;
use crate::cli::rows::number::Decimals;
use crate::cli::rows::options::ReadOptions;
use crate::cli::rows::{Cell, Form, Rows, quoted};
use crate::cli::run::usable::UnusableRows;

/// The hint where a file may have no header.
const LOOKS_LIKE_DATA: &str = "the first row looks like data, and was read as the header: with \
    --no-header it is a row, and the columns are column_1, column_2 and so on";

/// What one pass over a file tells.
pub(super) struct Survey {
    pub stats: Vec<ColumnStats>,
    pub target: TargetStats,
    pub logged: Vec<LoggedColumn>,
    pub n_rows: u64,
    pub form: Form,
    pub no_header: bool,
    pub notes: Vec<String>,
}

impl Survey {
    /// Reads every row of a file.
    ///
    /// # Errors
    /// The file is malformed, has no such target, or no row that can be used.
    pub(super) fn of(
        path: &Path,
        (goal, choices): (Goal, &[Choice]),
        options: &ReadOptions,
    ) -> anyhow::Result<Survey> {
        let mut rows = Rows::open(path, options)?;
        let decimals = rows.form().decimals;
        let mut notes = rows.notes();
        if rows.looks_like_data() {
            notes.push(LOOKS_LIKE_DATA.to_owned());
        }
        let of_file = || shown(path);
        let (name, _) = goal.target();
        let target_index = rows.column(name).with_context(of_file)?;
        let mut logged = logged_columns(&mut rows, goal).with_context(of_file)?;
        let is_feature = |index: usize, logged: &[LoggedColumn]| {
            index != target_index && logged.iter().all(|logged| logged.column != index)
        };
        let nothing = Cell::Text(String::new());
        let mut stats: Vec<(usize, ColumnStats)> = Vec::new();
        let mut target = TargetStats::new(name, decimals);
        let mut unusable = UnusableRows::new(false);
        let (mut n_rows, mut n_known) = (0, 0);
        while let Some(row) = rows.next() {
            let Some(row) = unusable.sort(row)? else {
                continue;
            };
            // Keys of JSON may come later.
            let new = rows.columns().iter().enumerate().skip(n_known);
            let new = new.filter(|(index, _)| is_feature(*index, &logged));
            let begun = |name: &String| ColumnStats::new(name, n_rows, decimals).given(choices);
            stats.extend(new.map(|(index, name)| (index, begun(name))));
            n_known = rows.columns().len();
            for logged in &mut logged {
                logged.check(&row).with_context(of_file)?;
            }
            let label = row.target(target_index).with_context(of_file)?;
            let label = label.map(|text| target.add(row.line, text));
            for (index, column) in &mut stats {
                let cell = row.cells.get(*index).unwrap_or(&nothing);
                column.add(n_rows, cell, label.as_ref());
            }
            n_rows += 1;
        }
        notes.extend(rows.closing_notes().into_iter().chain(unusable.notes()));
        notes.extend(logged.iter().filter_map(LoggedColumn::remark));
        if n_rows == 0 && unusable.n_rows() > 0 {
            bail!("{}", unusable.notes().join("; "));
        }
        ensure!(n_rows > 0, "{}: no rows below the header", of_file());
        Ok(Survey {
            stats: stats.into_iter().map(|(_, column)| column).collect(),
            target,
            logged,
            n_rows,
            form: rows.form(),
            no_header: options.no_header,
            notes,
        })
    }

    /// The decimal mark that the numbers have, where they were read by the other one.
    pub(super) fn contradicted(&self) -> Option<Decimals> {
        let other = self.form.decimals.other();
        let count = |of: fn(&ColumnStats) -> u64| self.stats.iter().map(of).sum::<u64>();
        let (n_here, n_there) = (
            count(|column| column.n_only_here),
            count(|column| column.n_only_there),
        );
        (n_there > n_here && n_here == 0).then_some(other)
    }

    /// Refuses numbers that are one thing by a point and another by a comma, where no other number of
    /// the file tells which.
    pub(super) fn ensure_read(
        &self,
        choices: &[Choice],
        given: Option<Decimals>,
    ) -> anyhow::Result<()> {
        for choice in choices {
            let mut names = self.stats.iter().map(|column| &column.name);
            ensure!(
                names.any(|name| *name == choice.column),
                "--as: no column {} beside the target",
                quoted(&choice.column)
            );
        }
        let is_told = given.is_some() || self.stats.iter().any(|column| column.n_only_here > 0);
        if self.form.separator.is_none_or(|separator| separator == ',') || is_told {
            return Ok(());
        }
        for column in self.stats.iter().filter(|column| column.n_ambiguous > 0) {
            let chosen = choices.iter().find(|choice| choice.column == column.name);
            if chosen.is_some_and(|choice| choice.kind != ChosenKind::Number) {
                continue;
            }
            let name = quoted(&column.name);
            let example = column.examples.first().map_or("", String::as_str);
            bail!(
                "column {name}: {} may be thousands or a fraction, and no number of the file tells; \
                 say --decimals point or --decimals comma",
                quoted(example)
            );
        }
        Ok(())
    }
}
