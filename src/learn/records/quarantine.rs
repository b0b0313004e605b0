//! Quarantine: feedback that contradicts another source, lies far outside of recent values, or is part
//! of a flood of one label or value from one source, until a person releases or discards it.
//!
//! Invariant: bounded. Recent values are those of all senders, so that a world that has moved is
//! no outlier for long; waiting events are positions in the journal, which holds them.

use std::collections::{BTreeMap, VecDeque};

use super::robust_range::RobustRange;
use super::saved::{SavedReader, Writer};
use crate::event::{Batch, Column, Feedback, Signal, Time};
use crate::model::QuarantineSettings;
use crate::model::weights::{Error, Tensors};

/// Events of which floods are found.
const RECENT: usize = 4096;
/// Number inputs that are looked at, the first ones.
const INPUTS_MAX: usize = 32;
/// A flood is none where this share of other sources' events is the same.
const SHARED: f64 = 0.5;

/// The reason why an event waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuarantineCause {
    /// The event contradicts the label of another source.
    Contradiction,
    /// A value or a number input of it lies far outside of recent ones.
    Outlier,
    /// Its source has sent the same label or value many times in a row, and others do not.
    Flood,
}

impl QuarantineCause {
    /// Every cause.
    pub const ALL: [QuarantineCause; 3] = [
        QuarantineCause::Contradiction,
        QuarantineCause::Outlier,
        QuarantineCause::Flood,
    ];

    /// The word for it, on the wire and on screens.
    pub fn word(self) -> &'static str {
        match self {
            QuarantineCause::Contradiction => "contradiction",
            QuarantineCause::Outlier => "outlier",
            QuarantineCause::Flood => "flood",
        }
    }
}

/// An event that waits for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantinedEvent {
    /// The position of the event in the journal.
    pub position: u64,
    /// The time at which it was accepted.
    pub time: Time,
    /// The reason why it waits.
    pub cause: QuarantineCause,
}

/// The events that wait, and those that came lately.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Quarantine {
    /// The waiting events, by position.
    waiting: BTreeMap<u64, (Time, QuarantineCause)>,
    /// The newest events, from the oldest: hashes of the source and of its signal.
    recent: VecDeque<[u64; 2]>,
    /// The range of values and rewards.
    targets: RobustRange,
    /// The ranges of the number inputs, in their order.
    inputs: Vec<RobustRange>,
}

impl Quarantine {
    /// The events that wait, the oldest first.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = QuarantinedEvent> {
        let waiting = self.waiting.iter();
        waiting.map(|(position, (time, cause))| QuarantinedEvent {
            position: *position,
            time: *time,
            cause: *cause,
        })
    }

    /// How many events wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Where the oldest that waits stands.
    pub(crate) fn oldest_position(&self) -> Option<u64> {
        self.waiting.keys().next().copied()
    }

    /// Has an event wait; gives the cause of the oldest where that has to make room.
    pub(crate) fn wait(&mut self, event: QuarantinedEvent, max: usize) -> Option<QuarantineCause> {
        let QuarantinedEvent {
            position,
            time,
            cause,
        } = event;
        self.waiting.insert(position, (time, cause));
        if self.waiting.len() <= max {
            return None;
        }
        self.waiting.pop_first().map(|(_, (_, cause))| cause)
    }

    /// Takes out the event at a position.
    pub(crate) fn take(&mut self, position: u64) -> Option<QuarantineCause> {
        self.waiting.remove(&position).map(|(_, cause)| cause)
    }

    /// Takes out the oldest, if it came before a moment.
    pub(crate) fn take_older(&mut self, than: Time) -> Option<QuarantineCause> {
        let oldest = self.waiting.first_entry()?;
        (oldest.get().0 < than).then(|| oldest.remove().1)
    }

    /// Looks at an event and the row that it is about, and takes note of both; gives why it is to wait.
    pub(crate) fn look(
        &mut self,
        settings: &QuarantineSettings,
        feedback: &Feedback,
        row: Option<(&Batch, usize)>,
    ) -> Option<QuarantineCause> {
        let is_flood = self.is_flood(settings, feedback);
        let is_outlier = self.is_outlier(settings, feedback, row);
        match (is_outlier, is_flood) {
            (true, _) => Some(QuarantineCause::Outlier),
            (_, true) => Some(QuarantineCause::Flood),
            _ => None,
        }
    }

    fn is_flood(&mut self, settings: &QuarantineSettings, feedback: &Feedback) -> bool {
        let (Some(flood), Some(signal)) = (settings.flood, signal_hash(&feedback.signal)) else {
            return false;
        };
        let own = [hash(feedback.source.as_bytes()), signal];
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(own);
        let [mut n_same, mut n_others, mut n_alike] = [0u64; 3];
        let mut is_run = true;
        for [source, signal] in self.recent.iter().rev() {
            if *source == own[0] {
                is_run &= *signal == own[1];
                n_same += u64::from(is_run);
            } else {
                n_others += 1;
                n_alike += u64::from(*signal == own[1]);
            }
        }
        // A single source has no other to be compared with.
        n_same >= flood && n_others > 0 && (n_alike as f64) < SHARED * n_others as f64
    }

    fn is_outlier(
        &mut self,
        settings: &QuarantineSettings,
        feedback: &Feedback,
        row: Option<(&Batch, usize)>,
    ) -> bool {
        let Some(deviations) = settings.outliers else {
            return false;
        };
        let mut is_far = match feedback.signal {
            Signal::Value(value) | Signal::Reward(value) => self.targets.look(value, deviations),
            _ => false,
        };
        let Some((batch, row)) = row else {
            return is_far;
        };
        let numbers = batch.columns.iter().filter_map(|column| match column {
            Column::Numbers(values) => Some(values[row]),
            _ => None,
        });
        for (place, value) in numbers.take(INPUTS_MAX).enumerate() {
            if self.inputs.len() == place {
                self.inputs.push(RobustRange::default());
            }
            is_far |= self.inputs[place].look(value, deviations);
        }
        is_far
    }

    /// U64 `quarantine.counts` and F64 `quarantine.numbers`; nothing where nothing waits and nothing came.
    pub(crate) fn save(&self, tensors: &mut Tensors) {
        if *self == Quarantine::default() {
            return;
        }
        let mut writer = Writer::default();
        writer.counts([
            self.waiting.len() as u64,
            self.recent.len() as u64,
            self.inputs.len() as u64,
        ]);
        for one in self.waiting() {
            writer.counts([one.position, one.time.0 as u64, one.cause as u64]);
        }
        writer.counts(self.recent.iter().flatten().copied());
        let ranges = [&self.targets].into_iter().chain(&self.inputs);
        ranges.for_each(|range| range.save(&mut writer));
        writer.save("quarantine", tensors);
    }

    /// Reads the state that [`Quarantine::save`] wrote.
    pub(crate) fn load(tensors: &mut Tensors) -> Result<Quarantine, Error> {
        let Some(mut reader) = SavedReader::load("quarantine", tensors)? else {
            return Ok(Quarantine::default());
        };
        let [n_waiting, n_recent, n_inputs] = reader.counts()?;
        if n_recent > RECENT as u64 || n_inputs > INPUTS_MAX as u64 {
            return Err(SavedReader::wrong());
        }
        let mut quarantine = Quarantine::default();
        for _ in 0..n_waiting {
            let [position, time, cause] = reader.counts()?;
            let cause = QuarantineCause::ALL
                .get(cause as usize)
                .ok_or_else(SavedReader::wrong)?;
            let waiting = &mut quarantine.waiting;
            waiting.insert(position, (Time(time as i64), *cause));
        }
        for _ in 0..n_recent {
            quarantine.recent.push_back(reader.counts()?);
        }
        quarantine.targets = RobustRange::load(&mut reader)?;
        for _ in 0..n_inputs {
            quarantine.inputs.push(RobustRange::load(&mut reader)?);
        }
        reader.end()?;
        Ok(quarantine)
    }
}

/// A hash of a signal; none of one that has no value by itself.
fn signal_hash(signal: &Signal) -> Option<u64> {
    match signal {
        Signal::Label(label) => Some(hash(label.as_bytes())),
        Signal::Value(value) | Signal::Reward(value) => Some(value.to_bits()),
        Signal::Named { name, value } => Some(hash(name.as_bytes()) ^ value.to_bits()),
        Signal::PreferredOver(_) => None,
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let hash = blake3::hash(bytes);
    u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("it has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{PredictionId, Subject};

    fn event(source: &str, signal: Signal) -> Feedback {
        Feedback {
            feedback_id: String::new(),
            subject: Subject::Prediction(PredictionId(1)),
            signal,
            source: source.to_owned(),
            event_time: None,
            tags: BTreeMap::new(),
            actor: String::new(),
            weight: 1.0,
            comment: String::new(),
            may_correct: false,
        }
    }

    fn label(source: &str, label: &str) -> Feedback {
        event(source, Signal::Label(label.to_owned()))
    }

    const SETTINGS: QuarantineSettings = QuarantineSettings {
        outliers: Some(8.0),
        flood: Some(5),
        waiting_max: 3,
    };

    #[test]
    fn a_flood_is_what_one_source_says_alone_again_and_again() {
        let mut quarantine = Quarantine::default();
        let mut look =
            |source: &str, class: &str| quarantine.look(&SETTINGS, &label(source, class), None);
        // A single source has no other to be compared with.
        (0..9).for_each(|_| assert_eq!(look("a", "yes"), None));
        (0..9).for_each(|n| assert_eq!(look("b", ["no", "yes", "no"][n % 3]), None));
        assert_eq!(look("a", "yes"), Some(QuarantineCause::Flood));
        assert_eq!(look("a", "no"), None);
        (0..4).for_each(|_| assert_eq!(look("a", "yes"), None));
        assert_eq!(look("a", "yes"), Some(QuarantineCause::Flood));
        // A label that most others give as well is no flood.
        (0..20).for_each(|_| assert_ne!(look("b", "yes"), Some(QuarantineCause::Outlier)));
        assert_eq!(look("a", "yes"), None);
    }

    #[test]
    fn a_value_and_a_number_far_outside_of_what_came_lately_are_outliers() {
        let mut quarantine = Quarantine::default();
        let row = |x: f64| Batch {
            n_rows: 1,
            columns: vec![
                Column::Strings(vec!["c".to_owned()]),
                Column::Numbers(vec![x]),
            ],
        };
        let mut look = |y: f64, x: f64| {
            let event = event("a", Signal::Value(y));
            quarantine.look(&SETTINGS, &event, Some((&row(x), 0)))
        };
        for n in 0..100 {
            let n = f64::from(n);
            assert_eq!(look((n * 0.7).sin(), (n * 0.3).cos() * 1e6), None);
        }
        assert_eq!(look(9.0, 0.0), Some(QuarantineCause::Outlier));
        assert_eq!(look(0.5, 1e8), Some(QuarantineCause::Outlier));
        assert_eq!(look(0.5, 1e6), None);
        assert_eq!(look(-0.5, f64::NAN), None);
        // A world that has moved is none for long.
        let outliers = (0..400)
            .filter(|n| look(9.0 + f64::from(n % 7), 0.0).is_some())
            .count();
        assert!((20..200).contains(&outliers), "{outliers}");
    }

    #[test]
    fn p8_what_waits_is_bounded_and_the_oldest_goes() {
        let mut quarantine = Quarantine::default();
        let one = |position| QuarantinedEvent {
            position,
            time: Time(position as i64),
            cause: QuarantineCause::Flood,
        };
        let gone: Vec<_> = (1..=5).map(|n| quarantine.wait(one(n), 3)).collect();
        assert_eq!(
            gone,
            [
                None,
                None,
                None,
                Some(QuarantineCause::Flood),
                Some(QuarantineCause::Flood)
            ]
        );
        assert_eq!(quarantine.oldest_position(), Some(3));
        assert_eq!(quarantine.take(4), Some(QuarantineCause::Flood));
        assert_eq!(quarantine.take(4), None);
        assert_eq!(quarantine.take_older(Time(3)), None);
        assert_eq!(quarantine.take_older(Time(4)), Some(QuarantineCause::Flood));
        let left: Vec<u64> = quarantine.waiting().map(|one| one.position).collect();
        assert_eq!(left, [5]);
    }

    #[test]
    fn it_is_loaded_as_it_was_and_a_forged_one_is_refused() {
        let mut quarantine = Quarantine::default();
        let save = |quarantine: &Quarantine| {
            let mut tensors = Tensors::default();
            quarantine.save(&mut tensors);
            tensors
        };
        assert!(save(&quarantine).0.is_empty());
        for n in 0..300 {
            let event = event("a", Signal::Value(f64::from(n)));
            quarantine.look(&SETTINGS, &event, None);
        }
        let one = QuarantinedEvent {
            position: 7,
            time: Time(-3),
            cause: QuarantineCause::Outlier,
        };
        quarantine.wait(one, 3);
        assert_eq!(
            Quarantine::load(&mut save(&quarantine)),
            Ok(quarantine.clone())
        );
        let mut forged = save(&quarantine);
        forged.put_u64("quarantine.counts", &[3], vec![0, u64::MAX, 0]);
        assert!(Quarantine::load(&mut forged).is_err());
        let mut forged = save(&quarantine);
        forged.put_u64("quarantine.counts", &[6], vec![1, 0, 0, 7, 0, 9]);
        assert!(Quarantine::load(&mut forged).is_err());
    }
}
