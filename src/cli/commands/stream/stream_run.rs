//! A run over the rows of a file, against a server.
//!
//! Invariant: an event is sent once, and a score counts a row once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use perennial::event::{Batch, Signal};
use perennial::proto::inference::ModelInferRequest;
use perennial::proto::perennial::v1::feedback_reply::Status;
use perennial::proto::perennial::v1::{FeedbackReply, FeedbackRequest, MemberStatus, ModelStatus};
use tonic::{Code, Response};

use super::identity::{RowIdentity, RunIdentity};
use crate::cli::client::{Client, ModelAnswer, PredictRequest, refusal};
use crate::cli::interrupt::Interrupt;
use crate::cli::output::answers::AnswersFile;
use crate::cli::output::print::counted;
use crate::cli::rows::Unusable;
use crate::cli::rows::labelled::{LabelledRow, LabelledRows};
use crate::cli::rows::options::ReadOptions;
use crate::cli::rows::signature::ModelSignature;
use crate::cli::run::latency::Latencies;
use crate::cli::run::monitored::MonitorFigures;
use crate::cli::run::prequential_run::{DueFeedback, PrequentialRun};
use crate::cli::run::report::{CpuClock, MemberScore, RunReport};
use crate::cli::run::scores::{RunningMean, ScoreNames, score};
use crate::cli::run::usable::{UnusableRows, without_target};

/// A run against a server.
pub(super) struct StreamRun {
    pub client: Client,
    pub interrupt: Interrupt,
    pub model: String,
    pub described: ModelSignature,
    pub identity: RunIdentity,
    pub run: PrequentialRun<RowIdentity>,
    /// True if the champion serves, which learns nothing.
    pub serves_champion: bool,
    /// True while by the newest reply an earlier run had sent the row.
    pub known_so_far: Arc<AtomicBool>,
    /// Events that an earlier run had sent, and those of them that were retracted since.
    pub n_known: u64,
    pub n_retracted: u64,
    /// Events that the server took, known ones included.
    pub n_taken: u64,
    pub predictions: Latencies,
    pub acknowledgements: Latencies,
    /// The last position that the server acknowledged; with `--open`, known only at the end.
    pub acknowledged: u64,
    /// The last row, to be predicted once more at the end.
    pub last: Option<Batch>,
    pub unusable: UnusableRows,
    pub out: Option<AnswersFile>,
    pub options: ReadOptions,
}

impl StreamRun {
    /// Streams one row after the other.
    pub(super) async fn closed(
        &mut self,
        rows: impl Iterator<Item = anyhow::Result<LabelledRow>>,
    ) -> anyhow::Result<()> {
        for row in rows {
            let Some(row) = self.unusable.sort(row)? else {
                continue;
            };
            self.wait_for_candidate(&row.batch).await?;
            let started = Instant::now();
            let request = self.request(&row.batch).message();
            let answer = self.client.predict(request).await;
            let answer = answer.with_context(|| format!("line {}", row.line));
            let Some(answer) = self.unusable.sort(answer)? else {
                self.run.pass_over(&row);
                continue;
            };
            self.judge(&row, answer, started.elapsed())?;
            while let Some(due) = self.run.due(row.index) {
                self.submit(due).await?;
            }
            self.last = Some(row.batch);
        }
        while let Some(due) = self.run.due(u64::MAX) {
            self.submit(due).await?;
        }
        Ok(())
    }

    pub(super) fn judge(
        &mut self,
        row: &LabelledRow,
        answer: ModelAnswer,
        took: Duration,
    ) -> anyhow::Result<()> {
        self.predictions.add(took);
        let target = answer.target(self.run.task())?;
        if !answer.probabilities.is_empty() {
            self.run.judge_probabilities(row, &answer.probabilities);
        }
        if let Some(out) = &mut self.out {
            let label = (!row.label.is_empty()).then_some(row.label.as_str());
            out.write(&answer.row(row.line, self.run.task().names(), label))?;
        }
        let asked = self.identity.asked(row, answer.prediction_id);
        self.run.judge(row, target, asked);
        Ok(())
    }

    pub(super) async fn submit(&mut self, due: DueFeedback<RowIdentity>) -> anyhow::Result<()> {
        let started = Instant::now();
        let line = due.key.line().to_owned();
        let event = self.feedback(due);
        let reply = self.client.learning.submit_feedback(event).await;
        let reply = match reply {
            Err(status) if is_sent_before(status.message()) => Ok(FeedbackReply {
                status: Status::Duplicate.into(),
                ..FeedbackReply::default()
            }),
            Err(status) if status.code() == Code::InvalidArgument => {
                Err(Unusable::refused(status.message()).into())
            }
            reply => reply.map(Response::into_inner).map_err(refusal),
        };
        let reply = reply.with_context(|| format!("feedback for line {line}"));
        let Some(reply) = self.unusable.sort(reply)? else {
            return Ok(());
        };
        self.acknowledgements.add(started.elapsed());
        let is_retracted = reply.status() == Status::Retracted;
        let is_known = is_retracted || reply.status() == Status::Duplicate;
        self.known_so_far.store(is_known, Ordering::Relaxed);
        self.n_taken += 1;
        self.n_known += u64::from(is_known);
        self.n_retracted += u64::from(is_retracted);
        self.acknowledged = self.acknowledged.max(reply.position);
        Ok(())
    }

    pub(super) fn feedback(&self, due: DueFeedback<RowIdentity>) -> FeedbackRequest {
        let subject = self
            .identity
            .subject(due.row, due.key, &self.described.inputs);
        let mut event = FeedbackRequest {
            model: self.model.clone(),
            ..subject
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

    /// A request that waits for everything acknowledged so far; journaled, if its feedback names it.
    pub(super) fn request<'a>(&'a self, batch: &'a Batch) -> PredictRequest<'a> {
        PredictRequest {
            model: &self.model,
            inputs: &self.described.inputs,
            batch,
            version: "",
            min_position: if self.serves_champion {
                0
            } else {
                self.acknowledged
            },
            is_journaled: {
                let is_known = self.known_so_far.load(Ordering::Relaxed);
                self.identity.names_answer(is_known)
            },
        }
    }

    /// A request that is not journaled.
    pub(super) fn unjournaled(&self, batch: &Batch) -> ModelInferRequest {
        let request = PredictRequest {
            is_journaled: false,
            ..self.request(batch)
        };
        request.message()
    }

    /// Waits until everything acknowledged has been learned.
    pub(super) async fn catch_up(&mut self) -> anyhow::Result<()> {
        let Some(batch) = self.last.take() else {
            return Ok(());
        };
        if self.serves_champion {
            return self.wait_for_candidate(&batch).await;
        }
        let request = self.unjournaled(&batch);
        self.client.predict(request).await.map(drop)
    }

    /// Waits until the candidate has learned everything acknowledged, where the champion serves: only the
    /// candidate can be waited for.
    async fn wait_for_candidate(&mut self, batch: &Batch) -> anyhow::Result<()> {
        if !self.serves_champion || self.acknowledged == 0 {
            return Ok(());
        }
        let request = PredictRequest {
            version: "candidate",
            min_position: self.acknowledged,
            is_journaled: false,
            ..self.request(batch)
        };
        let request = request.message();
        self.client.predict(request).await.map(drop)
    }

    /// Refuses a file of which no row was used: none was answered, or none that has a target was taken.
    pub(super) fn ensure_used(&self, limit: usize, file: &Path) -> anyhow::Result<()> {
        if limit == 0 || self.interrupt.is_set() {
            return Ok(());
        }
        let n_answered = self.run.n_answered();
        let has_targets = n_answered > self.run.n_without_target();
        let n_used = if has_targets {
            self.n_taken
        } else {
            n_answered
        };
        let used = self.unusable.ensure_used(file, n_used);
        if n_answered > 0 && self.unusable.mention("more than a day ago") {
            return used
                .context("no row was learned: say --backfill NAME for rows older than a day");
        }
        used
    }

    /// The mean score on a file of rows that are not learned, if one was given and the run was not
    /// interrupted: part of a test is no estimate of the whole.
    pub(super) async fn tested(
        &mut self,
        path: Option<&Path>,
        target: &str,
    ) -> anyhow::Result<Option<Option<f64>>> {
        let Some(path) = path.filter(|_| !self.interrupt.is_set()) else {
            return Ok(None);
        };
        let mean = self.test(path, target).await?;
        Ok((!self.interrupt.is_set()).then_some(mean))
    }

    /// The mean score on rows that are not learned.
    async fn test(&mut self, path: &Path, target: &str) -> anyhow::Result<Option<f64>> {
        let mut mean = RunningMean::default();
        self.described.task = self.run.task().clone();
        let interrupt = self.interrupt.clone();
        let rows = LabelledRows::open(path, target, &self.described, &self.options)?;
        for row in rows.take_while(|_| !interrupt.is_set()) {
            let Some(row) = self.unusable.sort(row)? else {
                continue;
            };
            if let Some(truth) = row.truth {
                let request = self.unjournaled(&row.batch);
                let answer = self.client.predict(request).await;
                let answer = answer.with_context(|| format!("line {}", row.line));
                let Some(answer) = self.unusable.sort(answer)? else {
                    continue;
                };
                mean.add(score(truth, answer.target(&self.described.task)?));
            }
        }
        Ok(mean.get())
    }

    /// The report; `before` is the status at the start of the run.
    pub(super) async fn report(
        mut self,
        before: ModelStatus,
        seconds: f64,
        test: Option<Option<f64>>,
    ) -> anyhow::Result<RunReport> {
        let after = status(&mut self.client, &self.model).await?;
        self.out.take().map_or(Ok(()), AnswersFile::finish)?;
        let n_without_target = self.run.n_without_target();
        let mut warnings = self.unusable.notes();
        warnings.extend(without_target(n_without_target));
        warnings.extend(self.outcomes(&before, &after));
        Ok(RunReport {
            n_unusable: self.unusable.n_rows(),
            n_without_target,
            n_known: self.n_known,
            n_retracted: self.n_retracted,
            n_held_out: gained(&before, &after, "held_out"),
            n_undone: gained(&before, &after, "undone"),
            warnings,
            names: ScoreNames::of(&self.described.task),
            classes: self.run.task().names().to_vec(),
            each_class: false,
            scores: self.run.finish().0,
            seconds,
            cpu_seconds: CpuClock::of_process().seconds(),
            retention: after.retention,
            monitored: MonitorFigures::of_status(&after.figures),
            drift_alarms: alarms_since(&before, &after),
            members: scores_since(&before.members, &after.members),
            test,
            notes: vec![
                self.predictions.line("predict latency"),
                self.acknowledgements.line("acknowledge latency"),
            ],
        })
    }

    /// The fates of the rows that were fed back, where not all were learned.
    fn outcomes(&self, before: &ModelStatus, after: &ModelStatus) -> Vec<String> {
        let (n_known, n_retracted) = (self.n_known, self.n_retracted);
        let mut warnings = Vec::new();
        let (known, taken_back) = self.identity.remedies();
        if n_known > n_retracted {
            let rows = counted(n_known - n_retracted, "row");
            warnings.push(format!(
                "{rows} had been sent by an earlier run, and nothing is learned twice: their answers are \
                 of a model that had learned them; {known}"
            ));
        }
        if n_retracted > 0 {
            let rows = counted(n_retracted, "row");
            warnings.push(format!(
                "{rows} had been sent by an earlier run and retracted since: NOT learned again; {taken_back}"
            ));
        }
        let held_out = gained(before, after, "held_out");
        if held_out > 0 && after.gate.as_ref().is_some_and(|gate| gate.frozen) {
            let rows = counted(held_out, "row");
            warnings.push(format!(
                "{rows} held out: the model is frozen, and learns none of them"
            ));
        }
        let throttled = gained(before, after, "throttled");
        if throttled > 0 {
            let rows = counted(throttled, "row");
            warnings.push(format!(
                "{rows} throttled: the source has spent its budget (sources.budget in model.toml), and \
                 teaches no more until others do"
            ));
        }
        let rewinds = gained(before, after, "undone");
        if rewinds > 0 {
            let examples = counted(rewinds, "example");
            warnings.push(format!(
                "{examples} undone: the candidate was taken back; see `perennial incidents {}`",
                self.model
            ));
        }
        let champion = |status: &ModelStatus| status.gate.as_ref().map_or(0, |gate| gate.champion);
        if champion(before) != champion(after) {
            let (old, new) = (champion(before), champion(after));
            warnings.push(format!(
                "the champion was version {old}, and is version {new}"
            ));
        }
        warnings
    }
}

/// True for a refusal of an id that an earlier run has sent about its own answer to the same row: the
/// id holds a hash of the row, so that nothing else can be different.
pub(super) fn is_sent_before(message: &str) -> bool {
    message.contains("with another subject or signal")
}

/// The number of events by which a fate has grown.
fn gained(before: &ModelStatus, after: &ModelStatus, fate: &str) -> u64 {
    let count = |status: &ModelStatus| status.fates.get(fate).copied().unwrap_or(0);
    count(after).saturating_sub(count(before))
}

/// The alarms of drift since `before`, of the streams that raised any.
fn alarms_since(before: &ModelStatus, after: &ModelStatus) -> Vec<(String, u64)> {
    let since = after.drift_alarms.iter().map(|(watched, n)| {
        let earlier = before.drift_alarms.get(watched).copied();
        (watched.clone(), n.saturating_sub(earlier.unwrap_or(0)))
    });
    let mut alarms: Vec<(String, u64)> = since.filter(|(_, n)| *n > 0).collect();
    alarms.sort();
    alarms
}

/// The status of a model.
pub(super) async fn status(client: &mut Client, model: &str) -> anyhow::Result<ModelStatus> {
    let models = client.status(model).await?;
    Ok(models.into_iter().next().unwrap_or_default())
}

/// The mean score of each member over the examples since `before`.
fn scores_since(before: &[MemberStatus], after: &[MemberStatus]) -> Vec<MemberScore> {
    let mean = |member: &MemberStatus| {
        let earlier = before.iter().find(|earlier| earlier.name == member.name);
        let (n, sum) = earlier.map_or((0, 0.0), |earlier| (earlier.examples, earlier.sum));
        let n_gained = member.examples.checked_sub(n).filter(|&n| n > 0)?;
        Some(MemberScore {
            name: member.name.clone(),
            score: (member.sum - sum) / n_gained as f64,
            retention: member.retention,
        })
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
        let expected = [("a", 0.75), ("c", 0.5)].map(|(name, score)| MemberScore {
            name: name.to_owned(),
            score,
            retention: None,
        });
        assert_eq!(scores_since(&before, &after), expected);
    }
}
