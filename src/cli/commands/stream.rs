//! `perennial stream`: the whole loop against a running server.
//!
//! Invariant: unless `--open` is given, each answer comes from everything acknowledged before
//! it, so that the run equals `evaluate`.

mod open;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use perennial::event::{Batch, Signal};
use perennial::proto::inference::ModelInferRequest;
use perennial::proto::perennial::v1::{FeedbackRequest, MemberStatus};
use uuid::Uuid;

use crate::cli::client::{self, Answer, Client, Question, refusal};
use crate::cli::interrupt::Interrupt;
use crate::cli::output::progress::Line;
use crate::cli::rows::labelled::{Lesson, Lessons};
use crate::cli::rows::signature::ModelSignature;
use crate::cli::run::latency::Latencies;
use crate::cli::run::prequential_run::{Course, Due, RunArgs};
use crate::cli::run::report::{CpuClock, Report};
use crate::cli::run::scores::{Mean, Names, score};

/// Which model learns from what.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial stream fraud payments.csv --target is_fraud")]
pub struct Args {
    /// The model's name
    model: String,
    /// CSV or JSON lines, plain or gzipped
    rows: PathBuf,
    /// The column to predict
    #[arg(long, value_name = "COLUMN")]
    target: String,
    #[command(flatten)]
    lessons: RunArgs,
    /// Do not wait for what was sent to be learned before the next row
    #[arg(long)]
    open: bool,
    #[command(flatten)]
    client: client::Args,
}

/// Runs the loop and prints what it came to.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut client = Client::connect(&args.client).await?;
    let described = client.describe(&args.model).await?;
    let lessons = Lessons::open(&args.rows, &args.target, &described)?;
    let members = members(&mut client, &args.model).await?;
    let interrupt = Interrupt::listen()?;
    let mut run = Run {
        client,
        interrupt: interrupt.clone(),
        course: Course::new(&described.task, &args.lessons, Line::alone())?,
        model: args.model,
        described,
        id: Uuid::now_v7(),
        predictions: Latencies::new(),
        acknowledgements: Latencies::new(),
        acknowledged: 0,
        last: None,
    };
    let limit = args
        .lessons
        .limit
        .map_or(usize::MAX, |limit| limit as usize);
    let lessons = lessons.take(limit).take_while(|_| !interrupt.came());
    match args.open {
        true => run.open(lessons).await?,
        false => run.closed(lessons).await?,
    }
    run.catch_up().await?;
    let seconds = run.course.seconds();
    let test = match &args.lessons.test {
        Some(path) if !interrupt.came() => Some(run.test(path, &args.target).await?),
        _ => None,
    };
    // Part of a test says nothing of the whole.
    let test = test.filter(|_| !interrupt.came());
    let report = run.report(members, seconds, test).await?;
    report.print(args.client.json)?;
    interrupt.end()
}

/// A run against a server.
struct Run {
    client: Client,
    interrupt: Interrupt,
    model: String,
    described: ModelSignature,
    /// Begins the id of each feedback event, so that no run repeats another's.
    id: Uuid,
    course: Course<String>,
    predictions: Latencies,
    acknowledgements: Latencies,
    /// The last position that the server acknowledged; with `--open`, known only at the end.
    acknowledged: u64,
    /// The last row, to ask about once more.
    last: Option<Batch>,
}

impl Run {
    /// One row after the other.
    async fn closed(
        &mut self,
        lessons: impl Iterator<Item = anyhow::Result<Lesson>>,
    ) -> anyhow::Result<()> {
        for lesson in lessons {
            let lesson = lesson?;
            let started = Instant::now();
            let request = self.question(&lesson.batch).request();
            let answer = self.client.predict(request).await?;
            self.judge(&lesson, answer, started.elapsed())?;
            while let Some(due) = self.course.due(lesson.row) {
                self.submit(due).await?;
            }
            self.last = Some(lesson.batch);
        }
        while let Some(due) = self.course.due(u64::MAX) {
            self.submit(due).await?;
        }
        Ok(())
    }

    fn judge(&mut self, lesson: &Lesson, answer: Answer, took: Duration) -> anyhow::Result<()> {
        self.predictions.add(took);
        let target = answer.target(self.course.task())?;
        self.course.judge(lesson, target, answer.prediction_id);
        Ok(())
    }

    async fn submit(&mut self, due: Due<String>) -> anyhow::Result<()> {
        let started = Instant::now();
        let row = due.row;
        let event = self.feedback(due);
        let reply = self.client.learning.submit_feedback(event).await;
        let reply = reply.map_err(refusal);
        let reply = reply.with_context(|| format!("feedback for row {}", row + 1))?;
        self.acknowledgements.add(started.elapsed());
        self.acknowledged = self.acknowledged.max(reply.into_inner().position);
        Ok(())
    }

    fn feedback(&self, due: Due<String>) -> FeedbackRequest {
        let mut event = FeedbackRequest {
            model: self.model.clone(),
            feedback_id: format!("{}-{}", self.id, due.row),
            prediction_id: Some(due.key),
            ..Default::default()
        };
        match due.signal {
            Signal::Label(label) => event.label = Some(label),
            Signal::Value(value) => event.value = Some(value),
            Signal::Reward(reward) => event.reward = Some(reward),
            Signal::Named { .. } | Signal::PreferredOver(_) => {
                unreachable!("a target is a label, a value or a reward")
            }
        }
        event
    }

    /// A row as a journaled request that waits for what was acknowledged so far.
    fn question<'a>(&'a self, batch: &'a Batch) -> Question<'a> {
        Question {
            model: &self.model,
            inputs: &self.described.inputs,
            batch,
            min_position: self.acknowledged,
            is_journaled: true,
        }
    }

    /// The same, but nothing is to be learned from it.
    fn unjournaled(&self, batch: &Batch) -> ModelInferRequest {
        let question = Question {
            is_journaled: false,
            ..self.question(batch)
        };
        question.request()
    }

    /// Waits until everything acknowledged has been learned.
    async fn catch_up(&mut self) -> anyhow::Result<()> {
        if let Some(batch) = &self.last {
            let request = self.unjournaled(batch);
            self.client.predict(request).await?;
        }
        Ok(())
    }

    /// The mean score on rows that are not learned.
    async fn test(&mut self, path: &Path, target: &str) -> anyhow::Result<Option<f64>> {
        let mut mean = Mean::default();
        self.described.task = self.course.task().clone();
        let interrupt = self.interrupt.clone();
        let lessons = Lessons::open(path, target, &self.described)?;
        for lesson in lessons.take_while(|_| !interrupt.came()) {
            let lesson = lesson?;
            if let Some(truth) = lesson.truth {
                let request = self.unjournaled(&lesson.batch);
                let answer = self.client.predict(request).await?;
                mean.add(score(truth, answer.target(&self.described.task)?));
            }
        }
        Ok(mean.get())
    }

    /// What the run came to; `before` are the members as they were when it began.
    async fn report(
        mut self,
        before: Vec<MemberStatus>,
        seconds: f64,
        test: Option<Option<f64>>,
    ) -> anyhow::Result<Report> {
        let after = members(&mut self.client, &self.model).await?;
        Ok(Report {
            names: Names::of(&self.described.task),
            classes: self.course.task().names().to_vec(),
            each_class: false,
            tally: self.course.finish().0,
            seconds,
            cpu_seconds: CpuClock::of_process().seconds(),
            members: gained(&before, &after),
            test,
            notes: vec![
                self.predictions.line("predict latency"),
                self.acknowledgements.line("acknowledge latency"),
            ],
        })
    }
}

async fn members(client: &mut Client, model: &str) -> anyhow::Result<Vec<MemberStatus>> {
    let models = client.status(model).await?;
    Ok(models.into_iter().flat_map(|model| model.members).collect())
}

/// The mean score of each member over the examples it was scored on since.
fn gained(before: &[MemberStatus], after: &[MemberStatus]) -> Vec<(String, f64)> {
    let mean = |member: &MemberStatus| {
        let earlier = before.iter().find(|earlier| earlier.name == member.name);
        let (n, sum) = earlier.map_or((0, 0.0), |earlier| (earlier.examples, earlier.sum));
        let n_gained = member.examples.checked_sub(n).filter(|&n| n > 0)?;
        Some((member.name.clone(), (member.sum - sum) / n_gained as f64))
    };
    after.iter().filter_map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_scored_by_what_they_gained() {
        let member = |name: &str, examples, sum| MemberStatus {
            name: name.into(),
            examples,
            sum,
            ..Default::default()
        };
        let before = [member("a", 10, 5.0), member("b", 10, 5.0)];
        let after = [
            member("a", 14, 8.0),
            member("b", 10, 5.0),
            member("c", 2, 1.0),
        ];
        let expected = [("a".to_owned(), 0.75), ("c".to_owned(), 0.5)];
        assert_eq!(gained(&before, &after), expected);
    }
}
