//! Retraining: the state of a learner that began anew takes the place of the learned one.
//!
//! Such a learner is derived beside this one from the entries of the journal from a position on, and
//! has learned nothing before. Facts about the world stay: waiting predictions, scores, numbers of
//! versions. Examples that it has not learned count as undone.
//!
//! Invariant: whether a learner is to begin anew follows from the state alone, so a server that was
//! killed goes on with it.

use super::{CounterfactualLookup, Error, History, Learner, Step};
use crate::event::{Order, OrderRefusal, PredictionId, Reason, Time, WatchedStream};
use crate::model::weights::{self, Tensors};

/// Answers of a steady window before their error counts.
const ANSWERS_MIN: f64 = 300.0;

/// The newest learner that began anew, or was to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Retraining {
    /// The position of the order, and its time.
    pub begun: u64,
    /// The time of the order.
    pub time: Time,
    /// Feedback events that had come.
    pub n_events: u64,
    /// Labelled rows that it learns from, the newest ones; all that are retained if 0.
    pub newest: u64,
    /// True until it took the place of the learned state, or was given up.
    pub is_open: bool,
}

/// The reason why a learner is to begin anew.
#[derive(Clone, Debug, PartialEq)]
pub enum RetrainCause {
    /// The described number of feedback events has come.
    Events(u64),
    /// The described number of seconds has passed.
    Time(u64),
    /// The error of the answers has drifted, by the alarm at this position.
    Drift(u64),
    /// The share of right answers is below the described one.
    Accuracy(f64),
}

impl std::fmt::Display for RetrainCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RetrainCause::Events(n_events) => write!(f, "{n_events} feedback events have come"),
            RetrainCause::Time(seconds) => write!(f, "{seconds} seconds have passed"),
            RetrainCause::Drift(position) => {
                write!(f, "the error has drifted: the alarm at position {position}")
            }
            RetrainCause::Accuracy(share) => write!(f, "the accuracy is {share:.3}"),
        }
    }
}

impl Learner {
    /// The newest learner that began anew, or was to; none before the first.
    pub fn retraining(&self) -> Option<Retraining> {
        self.stream.retraining
    }

    /// The reason why a learner is to begin anew by now, if it is.
    pub(crate) fn retraining_due(&self) -> Option<RetrainCause> {
        let settings = self.spec.retrain;
        let last = self.stream.retraining?;
        if last.is_open || self.is_frozen() {
            return None;
        }
        let n_events = self.stream.n_events - last.n_events;
        if settings.after_events.is_some_and(|after| n_events >= after) {
            return Some(RetrainCause::Events(n_events));
        }
        let due = self.next_retraining();
        if due.is_some_and(|due| due <= self.stream.time) {
            return settings.every_s.map(RetrainCause::Time);
        }
        if n_events < settings.cooldown_events {
            return None;
        }
        let detectors = self.accounts.detectors.as_ref()?;
        let is_newer = |position| position > last.begun;
        if settings.on_drift {
            let mut alarms = detectors.alarms().rev();
            let of_error =
                |watched| matches!(watched, WatchedStream::Error | WatchedStream::ErrorWindow);
            let newest = alarms.find(|alarm| of_error(alarm.watched));
            let position = newest.map(|alarm| alarm.position);
            // A prediction and its label are two entries: it is to learn from the entries behind the
            // change.
            let behind = settings.newest.saturating_mul(2);
            let is_seen = |position: &u64| self.stream.position - position >= behind;
            let position = position.filter(|position| is_newer(*position));
            if let Some(position) = position.filter(is_seen) {
                return Some(RetrainCause::Drift(position));
            }
        }
        let (n_answers, error) = detectors.error_window();
        let share = 1.0 - error;
        let is_low = settings.below_accuracy.is_some_and(|low| share < low);
        (is_low && n_answers >= ANSWERS_MIN).then_some(RetrainCause::Accuracy(share))
    }

    /// The position of the prediction of this id, if its first label or value has yet to come.
    pub(crate) fn waits_for_truth(&self, id: PredictionId) -> Option<(u64, usize)> {
        let waiting = self.waiting(id).ok()?;
        (!waiting.has_truth).then_some((waiting.position, waiting.row as usize))
    }

    /// The time at which the next retraining is due.
    pub(super) fn next_retraining(&self) -> Option<Time> {
        let every = self.spec.retrain.every_s?;
        let last = self.stream.retraining?;
        if last.is_open || self.is_frozen() {
            return None;
        }
        let micros = i64::try_from(every).ok()?.checked_mul(1_000_000)?;
        Some(Time(last.time.0.checked_add(micros)?))
    }

    /// Counts from here on towards the first one, where the description has just begun to ask for it.
    pub(super) fn await_retraining(&mut self) {
        if self.spec.retrain.is_asked_for() && self.stream.retraining.is_none() {
            self.stream.retraining = Some(Retraining {
                begun: self.stream.position,
                time: self.stream.time,
                n_events: self.stream.n_events,
                ..Retraining::default()
            });
        }
    }

    /// Takes note that a learner is about to begin anew, or is given up.
    pub(super) fn note_retraining(&mut self, order: &Order) {
        match order {
            Order::BeginRetraining { newest } => {
                self.stream.retraining = Some(Retraining {
                    begun: self.stream.position,
                    time: self.stream.time,
                    n_events: self.stream.n_events,
                    newest: *newest,
                    is_open: true,
                });
                if let Some(gate) = &mut self.accounts.gate {
                    gate.note_retraining();
                }
            }
            Order::Retrain { .. } | Order::EndRetraining => {
                let retraining = self.stream.retraining.iter_mut();
                retraining.for_each(|retraining| retraining.is_open = false);
            }
            _ => {}
        }
    }

    /// The reason why a learner that began at a position cannot take the place of this one, if it cannot.
    fn refuses_retraining(&self, from: u64) -> Option<String> {
        let moved = [Reason::Restore, Reason::Adopt];
        let newest = |reason| self.stream.newest.of(reason).unwrap_or(0);
        let last = moved.map(newest).into_iter().max().unwrap_or(0);
        if from == 0 || from > self.stream.position {
            return Some(format!("there is no entry {from} before it to begin at"));
        }
        (last >= from).then(|| {
            format!(
                "the order at position {last} has brought other learning back since position {from}"
            )
        })
    }

    /// Puts the state of a learner that began at `from` in place of the learned one.
    pub(super) fn retrain(
        &mut self,
        order: &Order,
        from: u64,
        lookup: &mut dyn CounterfactualLookup,
    ) -> Result<Step, Error> {
        self.note_retraining(order);
        if self.begun_anew {
            return Ok(Step::default());
        }
        let position = self.stream.position;
        if self.history == History::Recorded {
            if let Some(why) = self.refuses_retraining(from) {
                self.stream.refusals.push(OrderRefusal { position });
                return Ok(Step {
                    refused: Some(why),
                    ..Step::default()
                });
            }
        } else if lookup.refused(position) {
            return Ok(Step::default());
        }
        let refusals = self.stream.refusals.iter();
        let refused: Vec<u64> = refusals.map(|refusal| refusal.position).collect();
        let found = lookup.counterfactual(order, position, &refused, None);
        let other = found.map_err(|what| self.missing(what))?.learner;
        let then = other.tallies();
        self.has_moved |= other.has_moved;
        self.bring_back(other.learned, then);
        let version = self.make(Reason::Retrain);
        if let Some(gate) = &mut self.accounts.gate {
            gate.begin_again();
        }
        Ok(Step {
            changed: self.serves_what_comes(),
            version,
            ..Step::default()
        })
    }
}

/// U64 `retraining` `[5]`; most states have none.
pub(super) fn save(retraining: Option<Retraining>, tensors: &mut Tensors) {
    let Some(retraining) = retraining else { return };
    let Retraining {
        begun,
        time,
        n_events,
        newest,
        is_open,
    } = retraining;
    let numbers = vec![begun, time.0 as u64, n_events, newest, u64::from(is_open)];
    tensors.put_u64("retraining", &[5], numbers);
}

pub(super) fn load(tensors: &mut Tensors) -> Result<Option<Retraining>, weights::Error> {
    if !tensors.0.contains_key("retraining") {
        return Ok(None);
    }
    let numbers = tensors.take_u64("retraining", &[Some(5)])?;
    Ok(Some(Retraining {
        begun: numbers[0],
        time: Time(numbers[1] as i64),
        n_events: numbers[2],
        newest: numbers[3],
        is_open: numbers[4] == 1,
    }))
}
