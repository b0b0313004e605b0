//! `perennial evaluate`: the whole loop in process, without a server.
//!
//! Invariant: the learner is given the entries that a server would journal, in the same order,
//! and each answer comes from everything learned before it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use perennial::event::{
    Batch, Description, Entry, Event, Feedback, Outputs, Prediction, PredictionId, Signal, Subject,
    Time,
};
use perennial::learn::{Learner, Need, Supply};
use perennial::model::{Choice, Model, Spec, argmax};

use super::course::Course;
use super::lesson::{self, Described, Lesson, Lessons};
use super::report::Report;
use super::tally::{Mean, Names, Target, score};

/// What is evaluated, and on what.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial evaluate models/fraud payments.csv --target is_fraud")]
pub struct Args {
    /// A folder that holds a model.toml
    model_folder: PathBuf,
    #[command(flatten)]
    lessons: lesson::Args,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the loop and prints what it came to.
pub fn run(args: Args) -> anyhow::Result<()> {
    let mut pupil = Pupil::new(&args.model_folder)?;
    let described = Described::of(&pupil.spec);
    let lessons = Lessons::open(&args.lessons.rows, &args.lessons.target, &described)?;
    let mut course = Course::new(&described.task, &args.lessons)?;
    let limit = args
        .lessons
        .limit
        .map_or(usize::MAX, |limit| limit as usize);
    for lesson in lessons.take(limit) {
        let lesson = lesson?;
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
    let test = args.lessons.test.as_deref();
    let test = test.map(|path| pupil.test(path, &args.lessons.target, &described));
    let members = pupil.learner.evaluation().members().iter();
    let report = Report {
        names: Names::of(&described.task),
        tally: course.finish(),
        seconds,
        members: members
            .filter(|member| member.examples > 0)
            .map(|member| (member.name.clone(), member.sum / member.examples as f64))
            .collect(),
        test: test.transpose()?,
        notes: Vec::new(),
    };
    report.print(args.json)
}

/// A learner, and what it must be handed again.
struct Pupil {
    spec: Arc<Spec>,
    learner: Learner,
    /// What answers; nothing once more was learned.
    model: Option<Model>,
    position: u64,
    /// Predictions whose target is still to come, by position.
    waiting: BTreeMap<u64, Prediction>,
}

impl Pupil {
    fn new(folder: &Path) -> anyhow::Result<Pupil> {
        let path = folder.join("model.toml");
        let of_file = || path.display().to_string();
        let toml = fs::read_to_string(&path).with_context(of_file)?;
        let spec = Arc::new(Spec::parse(&toml).with_context(of_file)?);
        let mut pupil = Pupil {
            learner: Learner::new(spec.clone()),
            spec,
            model: None,
            position: 0,
            waiting: BTreeMap::new(),
        };
        pupil.apply(Event::Description(Description {
            toml,
            build: String::new(),
            profile: String::new(),
        }))?;
        Ok(pupil)
    }

    fn predict(&mut self, batch: &Batch, choice: Choice<'_>) -> Outputs {
        let model = self.model.get_or_insert_with(|| self.learner.model());
        model.predict(batch, choice)
    }

    /// Answers a row; its prediction stands at the position returned.
    fn answer(&mut self, lesson: &Lesson) -> anyhow::Result<(Target, u64)> {
        let outputs = self.predict(&lesson.batch, Choice::Drawn(&[id(lesson.row)]));
        let answer = answer(&outputs);
        let prediction = Prediction {
            ids: vec![id(lesson.row)],
            batch: lesson.batch.clone(),
            outputs,
            version: 0,
            position: self.position,
        };
        if lesson.truth.is_some() {
            self.waiting.insert(self.position + 1, prediction.clone());
        }
        self.apply(Event::Prediction(prediction))?;
        Ok((answer, self.position))
    }

    fn learn(&mut self, row: u64, prediction: u64, signal: Signal) -> anyhow::Result<()> {
        self.apply(Event::Feedback(Feedback {
            feedback_id: row.to_string(),
            subject: Subject::Prediction(id(row)),
            signal,
            source: String::new(),
            event_time: None,
            tags: BTreeMap::new(),
            actor: String::new(),
        }))?;
        self.waiting.remove(&prediction);
        Ok(())
    }

    fn apply(&mut self, event: Event) -> anyhow::Result<()> {
        let supply = match self.learner.needs(&event) {
            Need::Nothing => Supply::Nothing,
            Need::Prediction(position) => {
                let prediction = self.waiting.get(&position);
                Supply::Prediction(prediction.context("the learner asks for a row it has learned")?)
            }
            Need::Predictions(_) => bail!("the learner asks for more than was predicted"),
            Need::Version(version) => bail!("the learner asks for version {version}, of none made"),
        };
        self.position += 1;
        let entry = Entry {
            position: self.position,
            time: Time(0),
            event,
        };
        if self.learner.apply(&entry, supply)?.changed {
            self.model = None;
        }
        Ok(())
    }

    /// The mean score on rows that are not learned.
    fn test(
        &mut self,
        path: &Path,
        target: &str,
        described: &Described,
    ) -> anyhow::Result<Option<f64>> {
        let mut mean = Mean::default();
        for lesson in Lessons::open(path, target, described)? {
            let lesson = lesson?;
            if let Some(truth) = lesson.truth {
                mean.add(score(
                    truth,
                    answer(&self.predict(&lesson.batch, Choice::Best)),
                ));
            }
        }
        Ok(mean.get())
    }
}

/// The prediction of a row: unique here, and never 0.
fn id(row: u64) -> PredictionId {
    PredictionId(u128::from(row) + 1)
}

/// What the outputs for one row answer.
fn answer(outputs: &Outputs) -> Target {
    match outputs {
        Outputs::Probabilities(shares) => Target::Name(argmax(shares) as u32),
        Outputs::Values(values) => Target::Value(f64::from(values[0])),
        Outputs::Actions { chosen, .. } => Target::Name(chosen[0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_likeliest_class_the_value_or_the_action() {
        let check = |outputs, expected| assert_eq!(answer(&outputs), expected);
        check(Outputs::Probabilities(vec![0.25, 0.75]), Target::Name(1));
        check(Outputs::Values(vec![1.5]), Target::Value(1.5));
        let actions = Outputs::Actions {
            chosen: vec![1],
            propensities: vec![0.5],
            scores: vec![2.0, 1.0],
        };
        check(actions, Target::Name(1));
    }
}
