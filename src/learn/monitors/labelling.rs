//! Which answers get feedback, and how late: the rate, the share by answered class and by delay, the
//! share of rewards that are positive, and when the last of each kind came.
//!
//! Invariant: an answer is counted as asked once and as labelled once at most. Times are those of the
//! journal; a caller with a clock computes how long ago they are.

use super::classes::share;
use super::spans::Fading;
use crate::event::Time;
use crate::learn::records::saved::{SavedReader, Writer};
use crate::model::weights::Error;

/// The longest delay of each group of labels, and its name; the last group has none.
const DELAYS: [(i64, &str); 8] = [
    (1, "1s"),
    (60, "1m"),
    (600, "10m"),
    (3_600, "1h"),
    (21_600, "6h"),
    (86_400, "1d"),
    (604_800, "7d"),
    (2_592_000, "30d"),
];

/// Counts of one class or action.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct OfClass {
    asked: f64,
    asked_recently: f64,
    labelled: f64,
}

/// Answers and their feedback.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Labelling {
    /// The counts by the place of the class that was answered, or of the action.
    classes: Vec<OfClass>,
    fading: Fading,
    /// The number of answers, as a whole number and fading.
    asked: [f64; 2],
    labelled: [f64; 2],
    /// Seconds from the answer to its first feedback: their sum, and fading with a weight of its own.
    delay_s: f64,
    recent_delay_s: f64,
    /// The counts of labels by [`DELAYS`], and of those beyond.
    by_delay: [f64; DELAYS.len() + 1],
    /// Rewards that came, and those above 0.
    rewards: [f64; 2],
    /// The time at which the first answer was asked, the last feedback came, and the last example was learned.
    times: [Option<Time>; 3],
}

/// Times of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LabellingTime {
    FirstAnswer = 0,
    LastFeedback = 1,
    LastExample = 2,
}

impl Labelling {
    /// Takes an answer, which names a class or an action, or is a value.
    pub(super) fn note_asked(&mut self, place: Option<u32>) {
        if let Some(by) = self.fading.step() {
            let recent = self.classes.iter_mut().map(|one| &mut one.asked_recently);
            let totals = [
                &mut self.asked[1],
                &mut self.labelled[1],
                &mut self.recent_delay_s,
            ];
            recent.chain(totals).for_each(|sum| *sum *= by);
        }
        self.asked[0] += 1.0;
        self.asked[1] += self.fading.weight();
        if let Some(place) = place {
            let weight = self.fading.weight();
            let class = self.class(place);
            class.asked += 1.0;
            class.asked_recently += weight;
        }
    }

    fn class(&mut self, place: u32) -> &mut OfClass {
        let place = place as usize;
        if self.classes.len() <= place {
            self.classes.resize(place + 1, OfClass::default());
        }
        &mut self.classes[place]
    }

    /// Takes the first feedback about an answer, so many microseconds after it.
    pub(super) fn note_labelled(&mut self, place: Option<u32>, delay_us: i64) {
        let delay_s = delay_us.max(0) as f64 / 1e6;
        self.labelled[0] += 1.0;
        self.labelled[1] += self.fading.weight();
        self.delay_s += delay_s;
        self.recent_delay_s += self.fading.weight() * delay_s;
        let group = DELAYS
            .iter()
            .position(|(most, _)| delay_us <= most * 1_000_000);
        self.by_delay[group.unwrap_or(DELAYS.len())] += 1.0;
        if let Some(place) = place {
            self.class(place).labelled += 1.0;
        }
    }

    /// Takes a reward of a feedback event.
    pub(super) fn note_reward(&mut self, reward: f64) {
        self.rewards[0] += 1.0;
        self.rewards[1] += f64::from(u8::from(reward > 0.0));
    }

    /// Takes the time of an entry; the first answer stays the first.
    pub(super) fn note_time(&mut self, moment: LabellingTime, time: Time) {
        let known = &mut self.times[moment as usize];
        if known.is_none() || moment != LabellingTime::FirstAnswer {
            *known = Some(time);
        }
    }

    pub(super) fn time(&self, moment: LabellingTime) -> Option<Time> {
        self.times[moment as usize]
    }

    /// The share of answers with feedback, over all and recently.
    pub(super) fn rate(&self) -> [Option<f64>; 2] {
        [0, 1].map(|span| share(self.labelled[span], self.asked[span]))
    }

    /// The mean delay of the first feedback in seconds, over all and recently.
    pub(super) fn delay_s(&self) -> [Option<f64>; 2] {
        let sums = [self.delay_s, self.recent_delay_s];
        [0, 1].map(|span| (self.labelled[span] > 0.0).then(|| sums[span] / self.labelled[span]))
    }

    /// The share of rewards above 0.
    pub(super) fn satisfaction(&self) -> Option<f64> {
        share(self.rewards[1], self.rewards[0])
    }

    /// The share of answers whose first feedback came within each delay.
    pub(super) fn within(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let mut n = 0.0;
        let groups = DELAYS.iter().zip(self.by_delay);
        groups.filter_map(move |((_, name), more)| {
            n += more;
            Some((*name, share(n, self.asked[0])?))
        })
    }

    /// The share of the answers of a class or action that have feedback, and its share in all answers, over
    /// everything and recently.
    pub(super) fn of_class(&self, place: usize) -> (Option<f64>, [Option<f64>; 2]) {
        let one = self.classes.get(place).copied().unwrap_or_default();
        let exposure = [
            share(one.asked, self.asked[0]),
            share(one.asked_recently, self.asked[1]),
        ];
        (share(one.labelled, one.asked), exposure)
    }

    pub(super) fn save(&self, out: &mut Writer) {
        self.fading.save(out);
        let times = self.times;
        out.counts([self.classes.len() as u64]);
        out.counts(times.map(|time| u64::from(time.is_some())));
        out.counts(times.map(|time| time.map_or(0, |time| time.0 as u64)));
        for one in &self.classes {
            out.numbers(&[one.asked, one.asked_recently, one.labelled]);
        }
        for numbers in [
            self.asked,
            self.labelled,
            [self.delay_s, self.recent_delay_s],
            self.rewards,
        ] {
            out.numbers(&numbers);
        }
        out.numbers(&self.by_delay);
    }

    pub(super) fn load(saved: &mut SavedReader) -> Result<Labelling, Error> {
        let fading = Fading::load(saved)?;
        let [n] = saved.counts()?;
        let n = usize::try_from(n)
            .ok()
            .filter(|n| *n <= super::names::CLASSES_MAX + 1);
        let (known, times): ([u64; 3], [u64; 3]) = (saved.counts()?, saved.counts()?);
        let classes = saved.many_numbers(3 * n.ok_or_else(SavedReader::wrong)?)?;
        let of_class = |one: &[f64]| OfClass {
            asked: one[0],
            asked_recently: one[1],
            labelled: one[2],
        };
        let mut two = || -> Result<[f64; 2], Error> {
            let two = saved.many_numbers(2)?;
            Ok([two[0], two[1]])
        };
        let (asked, labelled, delays, rewards) = (two()?, two()?, two()?, two()?);
        let by_delay = saved.many_numbers(DELAYS.len() + 1)?;
        Ok(Labelling {
            classes: classes.chunks_exact(3).map(of_class).collect(),
            fading,
            asked,
            labelled,
            delay_s: delays[0],
            recent_delay_s: delays[1],
            by_delay: by_delay.try_into().expect("as many as were asked for"),
            rewards,
            times: [0, 1, 2].map(|at| (known[at] == 1).then_some(Time(times[at] as i64))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Labelling {
        let mut labelling = Labelling::default();
        for row in 0..10 {
            labelling.note_asked(Some(row % 2));
        }
        // Of class 0 three, after a second, an hour and a year; of class 1 one, after a minute.
        for (place, delay_s) in [(0, 1), (0, 3600), (0, 31_536_000), (1, 60)] {
            labelling.note_labelled(Some(place), delay_s * 1_000_000);
        }
        labelling
    }

    #[test]
    fn the_share_with_labels_stands_by_class_and_by_delay() {
        let labelling = some();
        assert_eq!(labelling.rate()[0], Some(0.4));
        assert_eq!(
            labelling.delay_s()[0],
            Some((1.0 + 3600.0 + 31_536_000.0 + 60.0) / 4.0)
        );
        let within: Vec<_> = labelling.within().collect();
        assert_eq!(within[0], ("1s", 0.1));
        assert_eq!(within[1], ("1m", 0.2));
        assert_eq!(within[3], ("1h", 0.3));
        assert_eq!(within[7], ("30d", 0.3));
        let (labelled, exposure) = labelling.of_class(0);
        assert_eq!((labelled, exposure[0]), (Some(0.6), Some(0.5)));
        assert_eq!(labelling.of_class(1).0, Some(0.2));
        assert_eq!(labelling.of_class(2), (None, [Some(0.0), Some(0.0)]));
    }

    #[test]
    fn satisfaction_is_the_share_of_positive_rewards() {
        let mut labelling = Labelling::default();
        assert_eq!(labelling.satisfaction(), None);
        [1.0, 0.0, -1.0, 0.5]
            .iter()
            .for_each(|one| labelling.note_reward(*one));
        assert_eq!(labelling.satisfaction(), Some(0.5));
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let mut labelling = some();
        labelling.note_time(LabellingTime::FirstAnswer, Time(-7));
        labelling.note_time(LabellingTime::FirstAnswer, Time(9));
        let mut out = Writer::default();
        labelling.save(&mut out);
        let mut saved = SavedReader::of(out);
        let loaded = Labelling::load(&mut saved).expect("it was saved");
        assert_eq!(loaded.time(LabellingTime::FirstAnswer), Some(Time(-7)));
        assert_eq!(loaded.time(LabellingTime::LastExample), None);
        assert_eq!(loaded, labelling);
        assert_eq!(saved.end(), Ok(()));
    }
}
