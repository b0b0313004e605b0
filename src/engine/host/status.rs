//! The status of a model: its numbers at one moment.
//!
//! Invariant: a status that is kept holds the newest figures of the learner.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::engine::compute::histogram::HistogramCounts;
use crate::engine::host::bounds::Bound;
use crate::engine::host::phases::Phase;
use crate::event::Alarm;
use crate::learn::{ConfusionCount, Evidence, Figure, Incident, IncidentState, Retraining, Veto};

/// The readiness of a model to answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// The model answers and learns.
    #[default]
    Ready,
    /// The model does not answer or does not learn; the reason.
    Unavailable(String),
}

/// One look at a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Its name.
    pub model: String,
    /// The readiness of the model to answer.
    pub state: Readiness,
    /// The word for its task; empty while it is unavailable.
    pub task: &'static str,
    /// The version that answers.
    pub version: u64,
    /// The position that answers.
    pub position: u64,
    /// The last position on disk.
    pub journal_position: u64,
    /// Entries on disk that are not learned yet.
    pub lag: u64,
    /// The size of the journal.
    pub journal_bytes: u64,
    /// The growth of the journal in a day, on average over its entries.
    pub journal_bytes_a_day: f64,
    /// Days until predictions are no longer journaled, at that rate; none where it never comes.
    pub journal_days_left: Option<f64>,
    /// Examples learned.
    pub examples: u64,
    /// Served answers that were judged.
    pub judged: u64,
    /// The name of the score.
    pub metric: &'static str,
    /// The score over everything judged; none before.
    pub score: Option<f64>,
    /// The score over about the last thousand; none before.
    pub recent_score: Option<f64>,
    /// The score of repeating the newest label or value; none before there was one to repeat.
    pub no_change_score: Option<f64>,
    /// The share of the retention set that is answered right; none of other tasks than
    /// classification, and before any of it was asked.
    pub retention: Option<f64>,
    /// The evidence about its weights; none under rules without a gate.
    pub gate: Option<GateStatus>,
    /// The versions that people have named, by their aliases.
    pub aliases: BTreeMap<String, u64>,
    /// The newest learner that began anew; none before the first, and where none is asked for.
    pub retraining: Option<Retraining>,
    /// Alarms of drift, by the stream that raised them; empty where nothing is watched.
    pub drift_alarms: BTreeMap<&'static str, u64>,
    /// The newest alarms, the oldest of them first.
    pub newest_alarms: Vec<Alarm>,
    /// The figures of its monitors; none under rules without them.
    pub figures: Vec<Figure>,
    /// The counts of pairs of label and answer, the commonest first.
    pub confusion: Vec<ConfusionCount>,
    /// The number of the newest answers with a steady error; none before there are any.
    pub steady_answers: Option<f64>,
    /// The members of a portfolio.
    pub members: Vec<MemberStatus>,
    /// Feedback events by fate.
    pub fates: BTreeMap<&'static str, u64>,
    /// The spending of sources from their budgets, those that have spent the most first; none where
    /// there are no budgets.
    pub budgets: Vec<SourceBudget>,
    /// Quarantined events that contradict the label of another source.
    pub contradictions: u64,
    /// Events that wait in quarantine for a person.
    pub quarantined: u64,
    /// Predictions without feedback so far.
    pub waiting: u64,
    /// Predictions that were served without an entry.
    pub unjournaled: u64,
    /// Entries of each group that one sync covered.
    pub group_entries: HistogramCounts,
    /// The durations of syncs, in microseconds.
    pub sync_us: HistogramCounts,
    /// The durations of the phases of predictions and feedback, in microseconds, in the order of [`Phase::ALL`].
    pub phases: [HistogramCounts; Phase::ALL.len()],
    /// The level of each bound.
    pub bounds: Vec<Bound>,
    /// Examples in memory.
    pub remembered: u64,
    /// BLAKE3 of the learned state, if asked for.
    pub digest: Option<blake3::Hash>,
    /// The numeric profile.
    pub profile: String,
}

/// The evidence about the weights of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct GateStatus {
    /// The policy by which weights serve: live, gated or manual.
    pub policy: &'static str,
    /// The version of the champion, and the position of its state.
    pub champion: (u64, u64),
    /// The version and the position of the contender, where one is tested.
    pub contender: Option<(u64, u64)>,
    /// The evidence that the contender is not worse than the champion by the margin.
    pub promotion: Option<Evidence>,
    /// The evidence that the candidate is worse than the champion.
    pub decline: Evidence,
    /// True while examples are scored and not learned.
    pub frozen: bool,
    /// The person who asked for that and the reason; both empty where the gate did it.
    pub frozen_by: (String, String),
    /// The example at which the next contender is due; none while one is tested or nothing is learned.
    pub next_contender: Option<u64>,
    /// Examples that the gate has had, by which that counts.
    pub n_labels: u64,
    /// The newest contender against the champion that was worse where the champion is right.
    pub forgot: Option<Veto>,
    /// The reason why there is no evidence, where there can be none.
    pub no_evidence: Option<&'static str>,
    /// The oldest first.
    pub incidents: Vec<Incident>,
}

impl GateStatus {
    /// Incidents that no person has closed.
    pub(crate) fn n_open_incidents(&self) -> usize {
        let open = |one: &&Incident| one.state != IncidentState::Closed;
        self.incidents.iter().filter(open).count()
    }
}

/// The spending of one source from its budget.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceBudget {
    /// Its name; empty for all sources together that no credential names.
    pub source: String,
    /// The weights of the examples that it has taught and that still count.
    pub spent: f64,
    /// The most that it may teach.
    pub budget: f64,
}

/// One member of a portfolio.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberStatus {
    /// Its name.
    pub name: String,
    /// Its share in the answer.
    pub share: f64,
    /// Examples that it was scored on.
    pub examples: u64,
    /// The sum of its scores.
    pub sum: f64,
    /// Its own retention.
    pub retention: Option<f64>,
}

/// The newest status of a model, and how many requests are about to read another.
#[derive(Debug, Default)]
pub(crate) struct LastStatus {
    status: Mutex<Status>,
    n_readers: AtomicUsize,
}

/// A request that is about to read the status.
pub(crate) struct StatusReader<'a>(&'a LastStatus);

impl LastStatus {
    /// The newest one.
    pub(crate) fn get(&self) -> Status {
        self.status.lock().expect("nothing panics under it").clone()
    }

    pub(crate) fn set(&self, status: Status) {
        *self.status.lock().expect("nothing panics under it") = status;
    }

    /// A request is about to read another as long as the reader lives.
    pub(crate) fn read(&self) -> StatusReader<'_> {
        self.n_readers.fetch_add(1, Relaxed);
        StatusReader(self)
    }

    /// True while any request is about to read another.
    pub(crate) fn is_read(&self) -> bool {
        self.n_readers.load(Relaxed) > 0
    }
}

impl Drop for StatusReader<'_> {
    fn drop(&mut self) {
        self.0.n_readers.fetch_sub(1, Relaxed);
    }
}
