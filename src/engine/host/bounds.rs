//! BOUNDS: how near a model is to each of its bounds, and what to do about it.
//!
//! Invariant: a bound that is near or reached is said once in the log, and once more when it is
//! not any more; status, metrics and health say it for as long as it is so.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::engine::host::served_model::{ModelRuntime, ServedModel};

const DAY_US: f64 = 24.0 * 3600.0 * 1e6;

/// How near a bound is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Far away.
    #[default]
    Ample,
    /// It will be reached, if it goes on so.
    Near,
    /// Something gives way, or is refused.
    Reached,
}

impl Level {
    const ALL: [Level; 3] = [Level::Ample, Level::Near, Level::Reached];

    /// The word for it, on the wire and on screens.
    pub fn word(self) -> &'static str {
        match self {
            Level::Ample => "ample",
            Level::Near => "near",
            Level::Reached => "reached",
        }
    }
}

/// One bound of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bound {
    /// Its name.
    pub name: &'static str,
    /// How much of it is used, as a fraction.
    pub used: f64,
    /// How near that is.
    pub level: Level,
    /// What happens there, and what to do.
    pub advice: String,
}

/// The bounds, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes of the journal that predictions may fill.
    PredictionBytes,
    /// Bytes of the journal that feedback may fill.
    FeedbackBytes,
    /// Feedback ids that are known for a day.
    FeedbackIds,
    /// Entries that the learner is behind.
    Lag,
    /// Predictions that wait for feedback.
    WaitingPredictions,
    /// The writer's queue.
    WriteQueue,
    /// How far the clock of the machine is from that of the journal, in days.
    Clock,
    /// Descriptors that the learner reads with.
    Descriptors,
}

impl Kind {
    const ALL: [Kind; 8] = [
        Kind::PredictionBytes,
        Kind::FeedbackBytes,
        Kind::FeedbackIds,
        Kind::Lag,
        Kind::WaitingPredictions,
        Kind::WriteQueue,
        Kind::Clock,
        Kind::Descriptors,
    ];

    fn word(self) -> &'static str {
        match self {
            Kind::PredictionBytes => "prediction_bytes",
            Kind::FeedbackBytes => "feedback_bytes",
            Kind::FeedbackIds => "feedback_ids",
            Kind::Lag => "lag",
            Kind::WaitingPredictions => "waiting_predictions",
            Kind::WriteQueue => "write_queue",
            Kind::Clock => "clock",
            Kind::Descriptors => "descriptors",
        }
    }

    /// From which share on it is near. A journal that is shortened for room stays close to it; of
    /// ids one source alone takes half.
    fn near(self) -> f64 {
        match self {
            Kind::PredictionBytes | Kind::FeedbackBytes => 0.97,
            Kind::FeedbackIds => 0.4,
            Kind::WaitingPredictions => 0.9,
            Kind::Lag | Kind::WriteQueue | Kind::Clock | Kind::Descriptors => 0.5,
        }
    }
}

/// What is counted of each bound between two looks, and what was said last.
#[derive(Default)]
pub struct BoundCounts {
    refused: [AtomicU64; Kind::ALL.len()],
    looked: [AtomicU64; Kind::ALL.len()],
    said: [AtomicUsize; Kind::ALL.len()],
}

impl ServedModel {
    /// How near each bound is; none of a model that is unavailable.
    pub fn bounds(&self) -> Vec<Bound> {
        self.get()
            .map_or_else(|_| Vec::new(), |runtime| runtime.bounds())
    }
}

impl ModelRuntime {
    /// Notes that something gave way at a bound.
    pub fn note_bound(&self, kind: Kind) {
        self.bound_counts.refused[kind as usize].fetch_add(1, Relaxed);
    }

    fn bounds(&self) -> Vec<Bound> {
        let said = |kind: Kind| self.bound_counts.said[kind as usize].load(Relaxed);
        let bound = |kind: Kind| {
            let used = self.used(kind);
            Bound {
                name: kind.word(),
                used,
                // What was refused since the last look has been looked at there.
                level: level(kind, used).max(Level::ALL[said(kind)]),
                advice: self.advice(kind),
            }
        };
        Kind::ALL.map(bound).into()
    }

    /// Logs each bound whose level has changed since the last look.
    pub fn watch_bounds(&self) {
        for kind in Kind::ALL {
            let counts = &self.bound_counts;
            let refused = counts.refused[kind as usize].load(Relaxed);
            let gave_way = refused > counts.looked[kind as usize].swap(refused, Relaxed);
            let used = self.used(kind);
            let now = match gave_way {
                true => Level::Reached,
                false => level(kind, used),
            };
            let before = Level::ALL[counts.said[kind as usize].swap(now as usize, Relaxed)];
            let (model, bound) = (&self.name, kind.word());
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
                tracing::info!(model, bound, used, "a bound is far again");
            }
        }
    }

    fn used(&self, kind: Kind) -> f64 {
        let served = self.serving.served();
        let (spec, limits) = (&served.model.spec, &served.model.spec.journal);
        let bytes = self.journal_bytes.load(Relaxed) as f64;
        match kind {
            Kind::PredictionBytes => bytes / limits.prediction_bytes_max() as f64,
            Kind::FeedbackBytes => bytes / limits.feedback_bytes_max() as f64,
            Kind::FeedbackIds => {
                let bounds = crate::engine::host::writer::ids_bounds(limits);
                let max = match spec.revision {
                    1 => limits.ids_max as u64,
                    _ => bounds.ids_max(),
                };
                self.ids_held.load(Relaxed) as f64 / max as f64
            }
            Kind::Lag => self.lag(served.position) as f64 / limits.lag_max as f64,
            Kind::WaitingPredictions => served.gone.n_waiting() as f64 / spec.waiting_max as f64,
            Kind::WriteQueue => self.write_queue.used(),
            Kind::Clock => {
                let (ahead_us, _) = self.clock.offset();
                (ahead_us as f64 / DAY_US).abs()
            }
            Kind::Descriptors => {
                let waits = self.starved.load(Relaxed) || self.retry.is_waiting();
                f64::from(u8::from(waits))
            }
        }
    }

    fn advice(&self, kind: Kind) -> String {
        let served = self.serving.served();
        let (spec, limits) = (&served.model.spec, &served.model.spec.journal);
        match kind {
            Kind::PredictionBytes => format!(
                "the journal has {} bytes for predictions; beyond them they are answered without \
                 an id; {}",
                limits.prediction_bytes_max(),
                self.how_to_get_room()
            ),
            Kind::FeedbackBytes => format!(
                "the journal has {} bytes for feedback; beyond them it is refused; {}",
                limits.feedback_bytes_max(),
                self.how_to_get_room()
            ),
            Kind::FeedbackIds => format!(
                "{} feedback ids are known for a day; a source that holds as many as are free is \
                 refused; for more raise journal.ids_bytes_max ({} bytes) in model.toml",
                self.ids_held.load(Relaxed),
                limits.ids_bytes_max
            ),
            Kind::Lag => format!(
                "the learner may be {} entries behind; at three quarters predictions are answered \
                 without an id, then feedback is refused; it catches up by itself where less \
                 comes than it learns; else give it a core, or raise journal.lag_max in model.toml",
                limits.lag_max
            ),
            Kind::WaitingPredictions => format!(
                "{} predictions may wait for feedback; beyond them the oldest make room, and \
                 feedback for those is refused; for more raise feedback.waiting_max in model.toml, \
                 or lower journal.age_max ({} s)",
                spec.waiting_max, limits.age_max_s
            ),
            Kind::WriteQueue => "what is on its way to the journals of all models has a bound; \
                 the disk does not keep up, look at perennial_sync_seconds"
                .to_owned(),
            Kind::Clock => {
                let (ahead_us, doubted) = self.clock.offset();
                let days = ahead_us as f64 / DAY_US;
                let then = match doubted {
                    true => {
                        "it is believed after an hour, or at once when the server is started with \
                         --believe-clock"
                    }
                    false => "journal time approaches it slowly",
                };
                format!(
                    "the clock of this machine is {days:.1} days ahead of the journal's; set it \
                     right, or leave it: {then}"
                )
            }
            Kind::Descriptors => "learning waits while the system has no descriptor to read the \
                 journal with, and goes on by itself once there is one: close connections, or \
                 raise the limit (ulimit -n)"
                .to_owned(),
        }
    }
}

fn level(kind: Kind, used: f64) -> Level {
    match used {
        used if used >= 1.0 => Level::Reached,
        used if used >= kind.near() => Level::Near,
        _ => Level::Ample,
    }
}
