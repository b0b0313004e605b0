//! Rows with a target: each is answered, judged, and learned when its target is due.
//!
//! Invariant: each answer comes from everything learned before it.

use std::path::Path;

use anyhow::Context;
use perennial::model::{Choice, Task};

use super::Paths;
use crate::cli::interrupt::Interrupt;
use crate::cli::output::chart::{Chart, Series, Stroke};
use crate::cli::output::print::shown;
use crate::cli::output::progress::Line;
use crate::cli::rows::labelled::{Lesson, Lessons};
use crate::cli::rows::signature::ModelSignature;
use crate::cli::run::local_model::{Pupil, answer};
use crate::cli::run::prefetch::Ahead;
use crate::cli::run::prequential_run::{Course, RunArgs};
use crate::cli::run::report::{CpuClock, Report};
use crate::cli::run::scores::{Mean, Names, score};

/// A model before its first row.
pub struct Labelled<'a> {
    pupil: Pupil,
    described: ModelSignature,
    lessons: Lessons,
    course: Course<u64>,
    target: &'a str,
    pace: &'a RunArgs,
}

impl<'a> Labelled<'a> {
    /// Opens a model and its rows.
    ///
    /// # Errors
    /// The model is not sound, or the rows lack its inputs or the target.
    pub fn open(
        folder: &Path,
        rows: &Path,
        target: &'a str,
        pace: &'a RunArgs,
        line: Line,
    ) -> anyhow::Result<Labelled<'a>> {
        let pupil = Pupil::new(folder)?;
        let described = ModelSignature::of(pupil.spec());
        let lessons = Lessons::open(rows, target, &described);
        Ok(Labelled {
            lessons: lessons.with_context(|| folder.display().to_string())?,
            course: Course::new(&described.task, pace, line)?,
            pupil,
            described,
            target,
            pace,
        })
    }

    /// What it learns to do.
    pub fn task(&self) -> &Task {
        &self.described.task
    }

    /// Runs the loop to its end, or until it is interrupted: then what was answered is judged, and
    /// nothing is tested.
    pub fn run(self, clock: CpuClock, interrupt: &Interrupt) -> anyhow::Result<Report> {
        let Labelled {
            mut pupil,
            mut described,
            lessons,
            mut course,
            target,
            pace,
        } = self;
        let limit = pace.limit.map_or(usize::MAX, |limit| limit as usize);
        let folder = pupil.described.clone();
        let ahead =
            |lessons| Ahead::new(lessons, folder.as_ref(), |one: &mut Lesson| &mut one.batch);
        let lessons = ahead(lessons.take(limit))?;
        for lesson in lessons.take_while(|_| !interrupt.came()) {
            let mut lesson = lesson?;
            pupil.embed(&mut lesson.batch)?;
            let (answer, position) = pupil.answer(&lesson)?;
            course.judge(&lesson, answer, position);
            while let Some(due) = course.due(lesson.row) {
                pupil.learn(due.row, due.key, due.signal)?;
            }
        }
        while let Some(due) = course.due(u64::MAX) {
            pupil.learn(due.row, due.key, due.signal)?;
        }
        let seconds = course.seconds();
        described.task = course.task().clone();
        let (tally, mut line) = course.finish();
        let test = match &pace.test {
            Some(path) if !interrupt.came() => {
                let lessons = Lessons::open(path, target, &described)?;
                let lessons = ahead(lessons.take(usize::MAX))?;
                let lessons = lessons.take_while(|_| !interrupt.came());
                Some(test(&mut pupil, lessons, &mut line)?)
            }
            _ => None,
        };
        // Part of a test says nothing of the whole.
        let test = test.filter(|_| !interrupt.came());
        let members = pupil.learner.evaluation().members().iter();
        Ok(Report {
            names: Names::of(&described.task),
            tally,
            seconds,
            cpu_seconds: clock.seconds(),
            members: members
                .filter(|member| member.examples > 0)
                .map(|member| (member.name.clone(), member.sum / member.examples as f64))
                .collect(),
            classes: described.task.names().to_vec(),
            each_class: false,
            test,
            notes: Vec::new(),
        })
    }
}

/// The mean score on rows that are not learned.
fn test(
    pupil: &mut Pupil,
    lessons: impl Iterator<Item = anyhow::Result<Lesson>>,
    line: &mut Line,
) -> anyhow::Result<Option<f64>> {
    let mut mean = Mean::default();
    for lesson in lessons {
        let mut lesson = lesson?;
        if let Some(truth) = lesson.truth {
            pupil.embed(&mut lesson.batch)?;
            mean.add(score(
                truth,
                answer(&pupil.predict(&lesson.batch, Choice::Best)?),
            ));
        }
        line.show(|| format!("testing: {} rows, {}", lesson.row + 1, shown(mean.get())));
    }
    Ok(mean.get())
}

/// A row for each model, below what its columns are.
pub fn table(names: &[String], reports: &[Report]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (name, report) in names.iter().zip(reports) {
        let (tally, titles) = (&report.tally, &report.names);
        let mut cells = vec![
            ("model", name.clone()),
            ("examples", tally.examples().to_string()),
            (titles.score, shown(tally.score())),
            (titles.last_tenth, shown(tally.last_tenth())),
        ];
        if let Some(no_change) = titles.no_change {
            cells.push((no_change, shown(tally.no_change())));
        }
        if let Some(test) = report.test {
            cells.push((titles.test, shown(test)));
        }
        let rate = report.rate().map_or(0.0, f64::round);
        cells.push(("examples/s", rate.to_string()));
        if rows.is_empty() {
            let titles = cells.iter().map(|(title, _)| title.replace('_', " "));
            rows.push(titles.collect());
        }
        rows.push(cells.into_iter().map(|(_, cell)| cell).collect());
    }
    rows
}

/// The score of each model over time, beside the no-change line.
pub fn chart(names: &[String], reports: &[Report], Paths { rows, .. }: &Paths) -> Option<Chart> {
    let first = reports.first()?;
    let models = names.iter().zip(reports);
    let models = models.map(|(name, report)| Series {
        name: name.clone(),
        points: report.tally.curve().points(),
        stroke: Stroke::Model,
    });
    let mut series: Vec<Series> = models.collect();
    if first.names.no_change.is_some() {
        let (curve, n_before) = first.tally.no_change_curve();
        let points = curve.points().into_iter();
        series.push(Series {
            name: "no change".to_owned(),
            points: points
                .map(|(n, score)| (n + n_before as f64, score))
                .collect(),
            stroke: Stroke::Reference,
        });
    }
    let rows = rows.as_deref().and_then(Path::file_name);
    let score = first.names.score.replace('_', " ");
    let window = first.tally.curve().window();
    Some(Chart {
        title: rows.map_or_else(String::new, |rows| rows.to_string_lossy().into_owned()),
        score: format!("{score} over the last {window} examples"),
        series,
    })
}
