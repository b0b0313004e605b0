//! The survey of a file: the statistics of its columns and of its target, from one pass.
//!
//! Invariant: memory is bounded by columns and classes, never by rows.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, bail, ensure};

use super::choice::{ChosenKind, ColumnChoice};
use super::column::kind;
use super::column_stats::ColumnStats;
use super::draft::DraftKind;
use super::goal::Goal;
use super::logged_columns::{LoggedColumn, logged_columns};
use super::marks::Marks;
use super::target::TargetStats;
use super::units::{UnitCount, Units};
use crate::cli::rows::lines::shown;
use crate::cli::rows::number::Decimals;
use crate::cli::rows::options::ReadOptions;
use crate::cli::rows::source::is_stdin;
use crate::cli::rows::{Cell, FileForm, FileRows, quoted};
use crate::cli::run::usable::UnusableRows;

/// The hint where a file may have no header.
const LOOKS_LIKE_DATA: &str = "the first row looks like data, and was read as the header: with \
    --no-header it is a row, and the columns are column_1, column_2 and so on";

/// The result of one pass over a file.
pub(super) struct Survey {
    pub stats: Vec<ColumnStats>,
    pub target: TargetStats,
    pub logged: Vec<LoggedColumn>,
    pub n_rows: u64,
    pub form: FileForm,
    pub no_header: bool,
    pub notes: Vec<String>,
    /// Sentences about rows that cannot be used, which are notes as well.
    pub unusable: Vec<String>,
}

/// The settings by which a survey reads a file.
#[derive(Clone, Copy)]
struct SurveySettings<'a> {
    options: &'a ReadOptions,
    /// Columns whose numbers with the other decimal mark are read by it.
    by_either: &'a BTreeSet<String>,
    /// Units that are taken off numbers, by the column.
    units: &'a Units,
}

impl SurveySettings<'_> {
    /// The statistics of a column before the first row.
    fn column(&self, name: &str, decimals: Decimals) -> ColumnStats {
        let column = ColumnStats::new(name, decimals);
        column.reading(self.by_either.contains(name), self.units.get(name))
    }

    /// The statistics of the target before the first row.
    fn target(&self, name: &str, decimals: Decimals) -> TargetStats {
        let mut target = TargetStats::new(name, decimals, self.by_either.contains(name));
        target.unit = UnitCount::of(self.units.get(name));
        target
    }
}

impl Survey {
    /// Reads every row of a file by the decimal marks that its numbers have.
    ///
    /// # Errors
    /// As [`Survey::of`].
    pub(super) fn by_its_marks(
        path: &Path,
        what: (Goal, &[ColumnChoice]),
        options: &ReadOptions,
    ) -> anyhow::Result<Survey> {
        let (by_either, units) = (BTreeSet::new(), Units::new());
        let by_file = SurveySettings {
            options,
            by_either: &by_either,
            units: &units,
        };
        let mut survey = Survey::of(path, what, by_file)?;
        let mut options = options.clone();
        if let (None, Some(decimals)) = (options.decimals, survey.contradicted()) {
            let mark = decimals.word();
            ensure!(
                !is_stdin(path),
                "standard input: numbers have a decimal {mark}: say --decimals {mark}"
            );
            options.decimals = Some(decimals);
            let reading = SurveySettings {
                options: &options,
                by_either: &by_either,
                units: &units,
            };
            survey = Survey::of(path, what, reading)?;
        }
        let (by_either, units) = (survey.by_either(), survey.units(what.1));
        if by_either.is_empty() && units.is_empty() || is_stdin(path) {
            return Ok(survey);
        }
        let reading = SurveySettings {
            options: &options,
            by_either: &by_either,
            units: &units,
        };
        Survey::of(path, what, reading)
    }

    /// Reads every row of a file.
    ///
    /// # Errors
    /// The file is malformed, has no such target, or no row that can be used.
    fn of(
        path: &Path,
        (goal, choices): (Goal, &[ColumnChoice]),
        reading: SurveySettings,
    ) -> anyhow::Result<Survey> {
        let mut rows = FileRows::open(path, reading.options)?;
        let decimals = rows.form().decimals;
        let mut notes = rows.notes();
        notes.extend(rows.looks_like_data().then(|| LOOKS_LIKE_DATA.to_owned()));
        let of_file = || shown(path);
        let (name, _) = goal.target();
        let target_index = rows.column(name).with_context(of_file)?;
        let mut logged = logged_columns(&mut rows, goal).with_context(of_file)?;
        let is_feature = |index: usize, logged: &[LoggedColumn]| {
            index != target_index && logged.iter().all(|logged| logged.column != index)
        };
        let nothing = Cell::Text(String::new());
        let mut stats: Vec<(usize, ColumnStats)> = Vec::new();
        let mut target = reading.target(name, decimals);
        let mut unusable = UnusableRows::default();
        let (mut n_rows, mut n_known) = (0, 0);
        while let Some(row) = rows.next() {
            let Some(row) = unusable.sort(row)? else {
                continue;
            };
            // Keys of JSON may come later.
            let new = rows.columns().iter().enumerate().skip(n_known);
            let new = new.filter(|(index, _)| is_feature(*index, &logged));
            let begun = |name: &String| {
                let column = reading.column(name, decimals).given(choices);
                column.absent_from(n_rows, &target)
            };
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
        ensure_rows(path, n_rows, &unusable, &logged)?;
        Ok(Survey {
            stats: stats.into_iter().map(|(_, column)| column).collect(),
            target,
            logged,
            n_rows,
            form: rows.form(),
            no_header: reading.options.no_header,
            notes,
            unusable: unusable.notes(),
        })
    }

    /// The marks of each column and of the target.
    fn marks(&self) -> impl Iterator<Item = &Marks> {
        let columns = self.stats.iter().map(|column| &column.marks);
        columns.chain([&self.target.marks])
    }

    /// True if numbers of a column or of the target have a percent sign.
    pub(super) fn has_percent(&self) -> bool {
        let columns = self.stats.iter();
        let mut numbers = columns.filter(|column| kind(column) == DraftKind::Number);
        let of_target = self.target.is_of_numbers() && self.target.n_percent > 0;
        numbers.any(|column| column.n_percent > 0) || of_target
    }

    /// The decimal mark that the numbers have, where they were read by the other one.
    fn contradicted(&self) -> Option<Decimals> {
        let other = self.form.decimals.other();
        let n_here: u64 = self.marks().map(|marks| marks.n_only_here).sum();
        let n_there: u64 = self.marks().map(|marks| marks.n_only_there).sum();
        (n_there > n_here && n_here == 0).then_some(other)
    }

    /// The columns, and the target, whose numbers with the other decimal mark can be read by it.
    fn by_either(&self) -> BTreeSet<String> {
        let columns = self.stats.iter();
        let columns = columns.map(|column| (&*column.name, &column.marks, column.n_numbers));
        let target = &self.target;
        let target = (target.header(), &target.marks, target.n_numbers());
        let can_be = columns
            .chain([target])
            .filter(|(_, marks, n_numbers)| marks.can_be_read_by_either(*n_numbers));
        can_be.map(|(name, ..)| name.to_owned()).collect()
    }

    /// The units of the columns and of the target whose numbers all have the same, unless they are to be
    /// something else than numbers.
    fn units(&self, choices: &[ColumnChoice]) -> Units {
        let columns = self.stats.iter();
        let columns = columns.map(|column| {
            let found = column.unit.found(column.n_texts, column.n_numbers);
            (&*column.name, found)
        });
        let target = &self.target;
        let of_target = target.unit_found();
        let is_number = |name: &str| {
            let mut choices = choices.iter();
            let chosen = choices.find(|choice| choice.column == name);
            chosen.is_none_or(|choice| choice.kind == ChosenKind::Number)
        };
        let found = columns.chain([(target.header(), of_target)]);
        let found = found.filter(|(name, _)| is_number(name));
        let found = found.filter_map(|(name, unit)| Some((name.to_owned(), unit?.clone())));
        found.collect()
    }

    /// Refuses numbers that are one thing by a point and another by a comma, where no other number of
    /// the file decides it.
    pub(super) fn ensure_read(
        &self,
        choices: &[ColumnChoice],
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
        if given.is_some() {
            return Ok(());
        }
        let is_decided = self.marks().any(|marks| marks.n_only_here > 0);
        let is_of_commas = self.form.separator.is_none_or(|separator| separator == ',');
        let is_chosen_otherwise = |name: &str| {
            let mut choices = choices.iter();
            let chosen = choices.find(|choice| choice.column == name);
            chosen.is_some_and(|choice| choice.kind != ChosenKind::Number)
        };
        let columns = self.stats.iter();
        let columns = columns.filter(|column| {
            kind(column) == DraftKind::Number && !is_chosen_otherwise(&column.name)
        });
        let columns = columns.map(|column| (column.name.as_str(), &column.marks));
        let target = self.target.is_of_numbers().then_some(&self.target);
        let target = target.map(|target| (target.header(), &target.marks));
        let is_open = |marks: &Marks| !is_decided || marks.is_contradicted();
        for (name, marks) in columns.chain(target).filter(|(_, marks)| is_open(marks)) {
            let is_of_commas = is_of_commas && !marks.is_contradicted();
            if let Some(open) = marks.open(is_of_commas, self.form.decimals) {
                let why = if is_decided {
                    "other numbers of the column have another decimal mark than the file"
                } else {
                    "no number of the file tells"
                };
                bail!(
                    "column {}: {} may be thousands or a fraction, and {why}; say --decimals point or \
                     --decimals comma",
                    quoted(name),
                    quoted(open)
                );
            }
        }
        Ok(())
    }
}

/// Refuses a file without a row that can be used.
fn ensure_rows(
    path: &Path,
    n_rows: u64,
    unusable: &UnusableRows,
    logged: &[LoggedColumn],
) -> anyhow::Result<()> {
    let is_unusable = n_rows == 0 && unusable.n_rows() > 0;
    ensure!(!is_unusable, "{}", unusable.notes().join("; "));
    ensure!(n_rows > 0, "{}: no rows below the header", shown(path));
    let mut logged = logged.iter();
    let ensured = logged.try_for_each(|logged| logged.ensure_any(n_rows));
    ensured.with_context(|| shown(path))
}
