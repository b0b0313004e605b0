//! Prequential evaluation: each row is answered, scored, and learned when its target is due.
//!
//! Invariant: each answer comes from everything learned before it.

use std::path::Path;
use std::sync::Arc;

use perennial::engine::LoadedDescription;
use perennial::event::{Batch, Column, Outputs};
use perennial::learn::{Detectors, Fate, Learner};
use perennial::model::{Choice, InputKind, PublishPolicy, Spec, Task};
use perennial::server;
use serde_json::Value;

use crate::cli::client::PredictRequest;
use crate::cli::interrupt::Interrupt;
use crate::cli::output::answers::{AnswersFile, PrintedAnswer};
use crate::cli::output::chart::{Chart, ChartLine, Stroke};
use crate::cli::output::print::{self, counted, shown};
use crate::cli::output::progress::RunProgress;
use crate::cli::rows::labelled::{Check, LabelledRow, LabelledRows};
use crate::cli::rows::options::ReadOptions;
use crate::cli::rows::signature::ModelSignature;
use crate::cli::rows::target::RowTarget;
use crate::cli::run::curve::Curve;
use crate::cli::run::local_model::{LocalModel, answer};
use crate::cli::run::monitored::MonitorFigures;
use crate::cli::run::prefetch::Prefetch;
use crate::cli::run::prequential_run::{PrequentialRun, RunArgs};
use crate::cli::run::report::{CpuClock, MemberScore, RunReport};
use crate::cli::run::scores::{RunningMean, ScoreNames, score};
use crate::cli::run::usable::{BrokenFile, UnusableRows, without_target};

/// A model and its rows, before the first.
pub(super) struct PrequentialEvaluation<'a> {
    model: LocalModel,
    signature: ModelSignature,
    rows: LabelledRows,
    file: &'a Path,
    run: PrequentialRun<u64>,
    target: &'a str,
    run_args: &'a RunArgs,
    out: Option<AnswersFile>,
    broken: BrokenFile,
}

impl<'a> PrequentialEvaluation<'a> {
    /// Opens a model and its rows.
    ///
    /// # Errors
    /// The model is not sound, or the rows lack its inputs or the target.
    pub(super) fn open(
        folder: &Path,
        file: &'a Path,
        target: &'a str,
        run_args: &'a RunArgs,
        progress: RunProgress,
    ) -> anyhow::Result<PrequentialEvaluation<'a>> {
        let model = LocalModel::new(folder)?;
        let signature = ModelSignature::of(model.spec());
        let out = run_args.out.as_deref();
        let out = out.map(|out| AnswersFile::create(out, file)).transpose()?;
        let rows = LabelledRows::open(file, target, &signature, &options(&model, run_args));
        Ok(PrequentialEvaluation {
            rows: rows?.checked(check(&model, &signature)),
            file,
            run: PrequentialRun::new(&signature.task, run_args, progress)?,
            model,
            signature,
            target,
            run_args,
            out,
            broken: BrokenFile::default(),
        })
    }

    /// Its task.
    pub(super) fn task(&self) -> &Task {
        &self.signature.task
    }

    /// Runs the loop to its end, or until ctrl-c: then the targets of all answers are still learned,
    /// and there is no test. The same where the file ends early, with the error of that.
    pub(super) fn run(
        mut self,
        clock: CpuClock,
        interrupt: &Interrupt,
    ) -> anyhow::Result<(RunReport, BrokenFile)> {
        let mut unusable = UnusableRows::new(self.run_args.strict);
        self.learn(&mut unusable, interrupt)?;
        let PrequentialEvaluation {
            mut model,
            mut signature,
            rows: file,
            run,
            target,
            run_args,
            broken,
            ..
        } = self;
        let seconds = run.seconds();
        signature.task = run.task().clone();
        let n_without_target = run.n_without_target();
        let mut warnings = file.closing_notes();
        let (scores, mut progress) = run.finish();
        let test = match &run_args.test {
            Some(path) if !interrupt.is_set() && !broken.is_broken() => {
                let options = options(&model, run_args);
                let file = LabelledRows::open(path, target, &signature, &options)?;
                let mut file = file.checked(check(&model, &signature));
                let rows = prefetch(file.by_ref(), model.described.clone().as_ref())?;
                let rows = rows.take_while(|_| !interrupt.is_set());
                Some(test(&mut model, rows, &mut progress, &mut unusable)?)
            }
            _ => None,
        };
        let notes = unusable.notes().into_iter();
        warnings.extend(notes.chain(without_target(n_without_target)));
        let [n_held_out, n_undone] = outcomes(&model, &mut warnings);
        let report = RunReport {
            names: ScoreNames::of(&signature.task),
            scores,
            seconds,
            cpu_seconds: clock.seconds(),
            retention: model.learner.learned().retention(),
            monitored: MonitorFigures::of_learner(model.learner.figures()),
            drift_alarms: drift_alarms(&model.learner),
            members: members(&model.learner),
            classes: signature.task.names().to_vec(),
            each_class: false,
            // Part of a test is no estimate of the whole.
            test: test.filter(|_| !interrupt.is_set()),
            n_unusable: unusable.n_rows(),
            n_known: 0,
            n_retracted: 0,
            n_held_out,
            n_undone,
            n_without_target,
            notes: Vec::new(),
            warnings,
        };
        Ok((report, broken))
    }
}

/// Rewinds that are listed.
const REWINDS_MAX: usize = 10;

/// The numbers of examples held out and undone; warnings give the reason, and the version that answered.
fn outcomes(model: &LocalModel, warnings: &mut Vec<String>) -> [u64; 2] {
    warnings.extend(champion(model));
    warnings.extend(rewinds(&model.rewinds));
    let counts = [Fate::HeldOut, Fate::Undone].map(|fate| model.learner.ledger().count(fate));
    let why = [
        "held out: a second rewind soon after the first froze the model",
        "undone: the candidate proved worse than the champion, and was taken back",
    ];
    for (n, why) in counts.into_iter().zip(why).filter(|(n, _)| *n > 0) {
        warnings.push(format!("{} {why}", counted(n, "example")));
    }
    counts
}

/// The times at which the champion came back in place of the candidate, if it did.
fn rewinds(after: &[u64]) -> Option<String> {
    let shown: Vec<String> = after.iter().take(REWINDS_MAX).map(u64::to_string).collect();
    let more = match after.len().saturating_sub(REWINDS_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let n = counted(after.len() as u64, "rewind");
    let shown = shown.join(", ");
    (!after.is_empty()).then(|| format!("{n} to the champion, after {shown}{more} examples"))
}

/// The answers of the champion, where it serves: how long nothing was learned by it, and when it changed.
fn champion(model: &LocalModel) -> Option<String> {
    let policy = model.spec().publish.policy;
    let n_examples = model.learner.n_scored();
    if policy == PublishPolicy::Live || n_examples == 0 {
        return None;
    }
    let policy = policy.word();
    let answered = format!("publish.policy = {policy:?}: the champion gave the answers");
    let untrained = "the untrained version 1";
    Some(match model.promotions {
        None if policy == PublishPolicy::Manual.word() => {
            format!("{answered}: {untrained} all of them, since a person alone promotes")
        }
        None => format!(
            "{answered}: {untrained} all of them, since no contender proved itself in {n_examples} examples"
        ),
        Some([first, _, 1]) => {
            format!("{answered}: {untrained} until the promotion after {first} examples")
        }
        Some([first, newest, n]) => format!(
            "{answered}: {untrained} until the first of {n} promotions, after {first} examples; the newest \
             came after {newest} of {n_examples}"
        ),
    })
}

/// Whether the model takes a row, as a server that serves it does.
pub(super) fn check(model: &LocalModel, signature: &ModelSignature) -> Check {
    let (spec, inputs) = (model.spec().clone(), signature.inputs.clone());
    Box::new(move |batch: &Batch| {
        if !may_be_refused(&spec, batch) {
            return Ok(());
        }
        let request = PredictRequest {
            model: "",
            inputs: &inputs,
            batch,
            version: "",
            min_position: 0,
            is_journaled: true,
        };
        let checked = server::check_row(&spec, request.message());
        checked.map(|_| ()).map_err(|refused| refused.to_string())
    })
}

/// False for a row of numbers and short texts, as most are: no model refuses it.
fn may_be_refused(spec: &Spec, batch: &Batch) -> bool {
    const SHORT_BYTES: usize = 1024;
    let mut columns = spec.inputs.iter().zip(&batch.columns);
    columns.any(|(input, column)| match column {
        Column::Numbers(values) => !values.iter().all(|value| value.is_finite()),
        Column::Strings(texts) => {
            let is_time = matches!(input.kind, InputKind::Time(_));
            is_time || texts.iter().any(|text| text.len() > SHORT_BYTES)
        }
        Column::Vectors(_) | Column::Embedded { .. } => false,
    })
}

/// The answer to a row, for the file of answers.
fn answered<'a>(row: &'a LabelledRow, outputs: &'a Outputs, task: &'a Task) -> PrintedAnswer<'a> {
    let names = task.names();
    let (mut probabilities, mut propensity) = (None, None);
    let answer = match (outputs, answer(outputs)) {
        (
            Outputs::Probabilities(shares)
            | Outputs::Decisions {
                probabilities: shares,
                ..
            },
            RowTarget::Name(place),
        ) => {
            probabilities = Some((names, &shares[..]));
            names.get(place as usize).cloned().into()
        }
        (Outputs::Actions { propensities, .. }, RowTarget::Name(place)) => {
            propensity = propensities.first().copied();
            names.get(place as usize).cloned().into()
        }
        (_, RowTarget::Value(value)) => value.into(),
        (Outputs::Values(_), RowTarget::Name(_)) => Value::Null,
    };
    PrintedAnswer {
        line: row.line,
        answer,
        probabilities,
        propensity,
        label: (!row.label.is_empty()).then_some(row.label.as_str()),
        prediction_id: None,
    }
}

/// Rows whose texts are encoded ahead.
fn prefetch<I: Iterator<Item = anyhow::Result<LabelledRow>>>(
    rows: I,
    described: Option<&Arc<LoadedDescription>>,
) -> anyhow::Result<Prefetch<I, LabelledRow>> {
    Prefetch::new(rows, described, |one: &mut LabelledRow| &mut one.batch)
}

/// The options by which the rows for a model are read.
fn options(model: &LocalModel, run_args: &RunArgs) -> ReadOptions {
    ReadOptions::of(&run_args.read, &model.spec().rows)
}

impl PrequentialEvaluation<'_> {
    /// Answers each row, scores the answer, and learns the targets that are due.
    fn learn(&mut self, unusable: &mut UnusableRows, interrupt: &Interrupt) -> anyhow::Result<()> {
        let (model, run, args) = (&mut self.model, &mut self.run, self.run_args);
        let limit = args.limit.map_or(usize::MAX, |limit| limit as usize);
        let mut out = self.out.take();
        self.rows.notes().iter().for_each(print::note);
        let described = model.described.clone();
        let rows = prefetch(self.rows.by_ref().take(limit), described.as_ref())?;
        let rows = rows.take_while(|_| !interrupt.is_set());
        for row in rows.map_while(|row| self.broken.whole(row)) {
            let Some(mut row) = unusable.sort(row)? else {
                continue;
            };
            model.embed(&mut row.batch)?;
            let (outputs, position) = model.answer(&row)?;
            if let Some(p) = outputs.probabilities() {
                run.judge_probabilities(&row, p);
            }
            run.judge(&row, answer(&outputs), position);
            if let Some(out) = &mut out {
                out.write(&answered(&row, &outputs, run.task()))?;
            }
            while let Some(due) = run.due(row.index) {
                model.learn(due.row, due.key, due.signal)?;
            }
            run.note_retention(model.learner.learned().retention());
        }
        while let Some(due) = run.due(u64::MAX) {
            model.learn(due.row, due.key, due.signal)?;
        }
        out.map_or(Ok(()), AnswersFile::finish)?;
        let n_answered = run.n_answered();
        if n_answered == 0 {
            self.broken.check()?;
        }
        if limit == 0 || interrupt.is_set() {
            return Ok(());
        }
        unusable.ensure_used(self.file, n_answered)
    }
}

/// The alarms of drift, of the streams that raised any.
fn drift_alarms(learner: &Learner) -> Vec<(String, u64)> {
    let alarms = learner
        .detectors()
        .into_iter()
        .flat_map(Detectors::n_alarms);
    let raised = alarms.filter(|(_, n)| *n > 0);
    raised
        .map(|(watched, n)| (watched.word().to_owned(), n))
        .collect()
}

/// The scores of the members of a portfolio.
fn members(learner: &Learner) -> Vec<MemberScore> {
    let retained = learner.learned().member_retention();
    let members = learner.evaluation().members().iter().enumerate();
    let scored = members.filter(|(_, member)| member.examples > 0);
    let scored = scored.map(|(place, member)| MemberScore {
        name: member.name.clone(),
        score: member.sum / member.examples as f64,
        retention: retained.get(place).copied(),
    });
    scored.collect()
}

/// The mean score on rows that are not learned.
fn test(
    model: &mut LocalModel,
    rows: impl Iterator<Item = anyhow::Result<LabelledRow>>,
    progress: &mut RunProgress,
    unusable: &mut UnusableRows,
) -> anyhow::Result<Option<f64>> {
    let mut mean = RunningMean::default();
    for row in rows {
        let Some(mut row) = unusable.sort(row)? else {
            continue;
        };
        if let Some(truth) = row.truth {
            model.embed(&mut row.batch)?;
            mean.add(score(
                truth,
                answer(&model.predict(&row.batch, Choice::Best)?),
            ));
        }
        progress.show(|| format!("testing: {} rows, {}", row.index + 1, shown(mean.get())));
    }
    Ok(mean.get())
}

/// A table with a header and a row for each model.
pub(super) fn table(names: &[String], reports: &[RunReport]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (name, report) in names.iter().zip(reports) {
        let (scores, titles) = (&report.scores, &report.names);
        let mut cells = vec![
            ("model", name.clone()),
            ("examples", scores.examples().to_string()),
            (titles.score, shown(scores.score())),
            (titles.last_tenth, shown(scores.last_tenth())),
        ];
        if let Some(no_change) = titles.no_change {
            cells.push((no_change, shown(scores.no_change())));
        }
        if let Some(retention) = report.retention {
            cells.push(("retention", shown(Some(retention))));
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

/// A curve that begins after some examples.
fn later(name: String, (curve, n_before): (&Curve, u64), stroke: Stroke) -> ChartLine {
    let points = curve.points().into_iter();
    let points = points.map(|(n, score)| (n + n_before as f64, score));
    ChartLine {
        name,
        points: points.collect(),
        stroke,
    }
}

/// The score of each model over time on a file of rows, beside the no-change line.
pub(super) fn chart(names: &[String], reports: &[RunReport], rows: Option<&Path>) -> Option<Chart> {
    let first = reports.first()?;
    let models = names.iter().zip(reports);
    let models = models.map(|(name, report)| ChartLine {
        name: name.clone(),
        points: report.scores.curve().points(),
        stroke: Stroke::Model,
    });
    let mut series: Vec<ChartLine> = models.collect();
    for (name, report) in names.iter().zip(reports) {
        if report.retention.is_some() {
            let name = format!("{name}, retention");
            series.push(later(name, report.scores.retention_curve(), Stroke::Model));
        }
    }
    if first.names.no_change.is_some() {
        let (name, curve) = ("no change".to_owned(), first.scores.no_change_curve());
        series.push(later(name, curve, Stroke::Reference));
    }
    let rows = rows.and_then(Path::file_name);
    let score = first.names.score.replace('_', " ");
    let window = first.scores.curve().window();
    Some(Chart {
        title: rows.map_or_else(String::new, |rows| rows.to_string_lossy().into_owned()),
        score: format!("{score} over the last {window} examples"),
        series,
    })
}
