//! BOUNDS: check how near a model is to each of its bounds, and advise.
//!
//! Invariant: the log has one line when a bound comes near or is reached, and one when it is far
//! again; status, metrics and health show it for as long as it is so.

use crate::engine::error::Error;
use crate::engine::host::bounds::{Bound, BoundKind, Level, ids_bounds, unwritten_ids};
use crate::engine::host::runtime::ModelRuntime;
use crate::engine::host::served_model::ServedModel;
use crate::model::JournalLimits;
use crate::store::ids;

const DAY_US: f64 = 24.0 * 3600.0 * 1e6;

impl ServedModel {
    /// The level of each bound; none of a model that is unavailable.
    pub fn bounds(&self) -> Vec<Bound> {
        self.get()
            .map_or_else(|_| Vec::new(), |runtime| runtime.bounds())
    }

    /// Checks the bounds here and now, for tests.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    #[doc(hidden)]
    pub fn check_bounds_now(&self) -> Result<(), Error> {
        self.get()?.check_bounds();
        Ok(())
    }
}

impl ModelRuntime {
    fn bounds(&self) -> Vec<Bound> {
        let bound = |kind: BoundKind| {
            let used = self.used(kind);
            Bound {
                name: kind.word(),
                used,
                // The refusals since the newest check count at the next one.
                level: kind.level(used).max(self.bound_counts().level(kind)),
                advice: self.advice(kind),
            }
        };
        BoundKind::ALL.map(bound).into()
    }

    /// Logs each bound whose level has changed since the last check.
    pub(crate) fn check_bounds(&self) {
        for kind in BoundKind::ALL {
            let used = self.used(kind);
            let (before, now) = self.bound_counts().check(kind, used);
            let (model, bound) = (self.name(), kind.word());
            if now > before {
                let (level, advice) = (now.word(), self.advice(kind));
                tracing::warn!(
                    model,
                    bound,
                    level,
                    used,
                    advice,
                    "a bound is near or reached"
                );
            } else if now == Level::Ample && before > now {
                tracing::info!(model, bound, used, "a bound has ample room again");
            }
        }
    }

    fn used(&self, kind: BoundKind) -> f64 {
        let served = self.serving().served();
        let (spec, limits) = (&served.model.spec, &served.model.spec.journal);
        let bytes = self.metrics().bytes() as f64;
        match kind {
            BoundKind::PredictionBytes => bytes / limits.prediction_bytes_max() as f64,
            BoundKind::FeedbackBytes => bytes / limits.feedback_bytes_max() as f64,
            BoundKind::OrderBytes => {
                let kept = limits.order_bytes_max() - limits.feedback_bytes_max();
                (bytes - limits.feedback_bytes_max() as f64).max(0.0) / kept as f64
            }
            BoundKind::FeedbackIds => {
                let bounds = ids_bounds(limits);
                let max = match spec.revision {
                    1 => limits.ids_max as u64,
                    _ => bounds.ids_max(),
                };
                let unwritten = self.metrics().n_unwritten_ids() as f64;
                let unwritten = unwritten / bounds.unwritten_max() as f64;
                unwritten.max(self.metrics().n_ids() as f64 / max as f64)
            }
            BoundKind::BackfillIds => {
                let n_max = limits.backfill_bytes_max / ids::RECORD_BYTES as u64;
                self.metrics().n_backfill_ids() as f64 / n_max as f64
            }
            BoundKind::Lag => self.progress().lag(served.position) as f64 / limits.lag_max as f64,
            BoundKind::WaitingPredictions => {
                served.evicted.n_waiting() as f64 / spec.waiting_max as f64
            }
            BoundKind::WriteQueue => self.write_queue().used(),
            BoundKind::Clock => {
                let (ahead_us, _) = self.clock().offset();
                (ahead_us as f64 / DAY_US).abs()
            }
            BoundKind::Descriptors => {
                let waits = self.health().is_starved()
                    || self.health().is_stalled()
                    || self.retry().is_waiting();
                f64::from(u8::from(waits))
            }
            BoundKind::SourceBudget => served.budget_used,
            BoundKind::Quarantine => {
                served.n_quarantined as f64 / spec.quarantine.waiting_max as f64
            }
        }
    }

    fn advice(&self, kind: BoundKind) -> String {
        let served = self.serving().served();
        let (spec, limits) = (&served.model.spec, &served.model.spec.journal);
        match kind {
            BoundKind::PredictionBytes => format!(
                "the journal has {} bytes for predictions; beyond them they are answered without \
                 an id; {}",
                limits.prediction_bytes_max(),
                self.how_to_get_room()
            ),
            BoundKind::FeedbackBytes => format!(
                "the journal has {} bytes for feedback; beyond them it is refused; {}",
                limits.feedback_bytes_max(),
                self.how_to_get_room()
            ),
            BoundKind::OrderBytes => format!(
                "the journal keeps {} of its {} bytes for orders; beyond them orders are refused; {}",
                limits.order_bytes_max() - limits.feedback_bytes_max(),
                limits.bytes_max,
                self.how_to_get_room()
            ),
            BoundKind::FeedbackIds => self.ids_advice(limits),
            BoundKind::BackfillIds => self.backfill_advice(limits),
            BoundKind::Lag => format!(
                "the learner may be {} entries behind; at three quarters predictions are answered \
                 without an id, then feedback is refused; it catches up by itself where less \
                 comes than it learns; else give it a core, or raise journal.lag_max in model.toml",
                limits.lag_max
            ),
            BoundKind::WaitingPredictions => format!(
                "{} predictions may wait for feedback; beyond them the oldest make room, and \
                 feedback for those is refused; for more raise feedback.waiting_max in model.toml, \
                 or lower journal.age_max ({} s)",
                spec.waiting_max, limits.age_max_s
            ),
            BoundKind::WriteQueue => {
                "what is on its way to the journals of all models has a bound; \
                 the disk does not keep up, look at perennial_sync_seconds"
                    .to_owned()
            }
            BoundKind::Clock => self.clock_advice(),
            BoundKind::Descriptors => self.descriptors_advice(),
            BoundKind::SourceBudget => {
                "a source has spent its budget: what else it sends is scored and not \
                 learned until others have taught more, or sources.within has passed; raise \
                 sources.budget in model.toml, or vouch for the source under sources.vouched"
                    .to_owned()
            }
            BoundKind::Quarantine => format!(
                "{} events may wait for a person; beyond them the oldest is discarded; review them with \
                 perennial quarantine {}, or raise quarantine.waiting_max in model.toml",
                spec.quarantine.waiting_max,
                self.name()
            ),
        }
    }

    fn ids_advice(&self, limits: &JournalLimits) -> String {
        match self.health().unwritten_ids() {
            Some(why) => format!(
                "{}; beyond {} of them feedback is refused",
                unwritten_ids(self.metrics().n_unwritten_ids() as usize, &why),
                ids_bounds(limits).unwritten_max()
            ),
            None => format!(
                "{} feedback ids are known for a day; a source that holds as many as are free is \
                 refused; for more raise journal.ids_bytes_max ({} bytes) in model.toml",
                self.metrics().n_ids(),
                limits.ids_bytes_max
            ),
        }
    }

    fn backfill_advice(&self, limits: &JournalLimits) -> String {
        format!(
            "{} ids of backfills are known for as long as their entries are retained; beyond \
             journal.backfill_bytes_max ({} bytes) new ones are refused; raise it in model.toml",
            self.metrics().n_backfill_ids(),
            limits.backfill_bytes_max
        )
    }

    fn descriptors_advice(&self) -> String {
        match self.health().stalled() {
            Some(why) => format!("{why}; it is tried again: see to descriptors and room on the disk"),
            None => "learning waits while the system has no descriptor, memory or room on the disk to \
                     read the journal or keep a state with, and goes on by itself once there is: close \
                     connections, raise the limit (ulimit -n), or make room"
                .to_owned(),
        }
    }

    fn clock_advice(&self) -> String {
        let (ahead_us, doubted) = self.clock().offset();
        let days = ahead_us.abs() as f64 / DAY_US;
        let side = if ahead_us < 0 { "behind" } else { "ahead of" };
        let then = if doubted {
            "it is believed after an hour, or at once when the server is started with \
                 --believe-clock"
        } else {
            "journal time approaches it slowly"
        };
        format!(
            "the clock of this machine is {days:.1} days {side} the journal's; set it \
             right, or leave it: {then}"
        )
    }
}
