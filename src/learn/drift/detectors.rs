//! All tests of a model, and the alarms that they raised.
//!
//! Invariant: their values are of the journal alone, so they are the same wherever it is applied.

use std::collections::{BTreeMap, VecDeque};

use super::adwin::Adwin;
use super::alarms::{load_alarms, save_alarms};
use super::bins::REFERENCE;
use super::change_test::{ChangeTest, StreamAlarm, StreamKind};
use super::input_tests::{InputTests, hash};
use crate::event::{Alarm, Batch, Change, Outputs, Signal, WatchedStream};
use crate::learn::records::saved::{SavedReader, Writer, put_texts, take_texts};
use crate::model::weights::{Error, Tensors};
use crate::model::{Spec, Task, argmax};

/// Alarms that are remembered, the newest ones.
const ALARMS_MAX: usize = 16;
/// Answers from this row on are watched: before, a model learns the most.
const WARM_UP: u64 = 1000;

/// Larger errors are taken for this one: their sums must stay finite.
const HUGE: f64 = 1e100;

/// The shares of the tests in the false alarms that are allowed; those of all inputs share the rest.
const ERROR: f64 = 0.15;
const ERROR_WINDOW: f64 = 0.05;
const CALIBRATION: f64 = 0.05;
const CONFIDENCE: f64 = 0.1;
const PREDICTION: f64 = 0.1;
const LABEL: f64 = 0.15;
const INPUTS: f64 = 0.4;
/// The share of the slices, where any are declared: the others then share the rest. The rows of a
/// key are in one slice of it each, so all slices of a key together take as many values as there are
/// rows, and share one part.
const SLICES: f64 = 0.2;

/// The seeds of the draws that break ties; those of inputs follow.
const INPUT_SEEDS: u64 = 100;
/// Parts of an input at most.
const PARTS_MAX: u64 = 8;

/// The tests of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Detectors {
    /// False alarms an event that all of them together may raise.
    rate: f64,
    n_rows: u64,
    error: ChangeTest,
    error_window: Adwin,
    error_scale: ErrorNormalisation,
    calibration: ChangeTest,
    confidence: ChangeTest,
    prediction: ChangeTest,
    label: ChangeTest,
    inputs: Vec<InputTests>,
    /// Inputs and tags that are declared to have slices.
    n_slice_keys: usize,
    /// The tests of slices, by name.
    slices: BTreeMap<String, ChangeTest>,
    n_alarms: [u64; WatchedStream::ALL.len()],
    alarms: VecDeque<Alarm>,
}

/// Middle and spread of the first errors, by which later ones are brought between 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct ErrorNormalisation {
    n_errors: f64,
    mean: f64,
    spread: f64,
}

/// A served answer that was judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum JudgedAnswer {
    /// Whether its label was right, and its probability.
    Label {
        /// True if it was.
        is_right: bool,
        /// The probability of the label that was answered.
        confidence: f64,
    },
    /// The absolute error of a value.
    Value(f64),
    /// The reward of an action.
    Reward(f64),
}

impl JudgedAnswer {
    /// The error that is watched for its rise.
    pub(in crate::learn) fn error(self) -> f64 {
        match self {
            JudgedAnswer::Label { is_right, .. } => f64::from(u8::from(!is_right)),
            JudgedAnswer::Value(error) => error.min(HUGE),
            JudgedAnswer::Reward(reward) => (-reward).clamp(-HUGE, HUGE),
        }
    }
}

impl Detectors {
    /// The detectors of a description, which have seen nothing; so many false alarms are allowed in 100,000
    /// events.
    pub fn new(spec: &Spec, false_alarms: f64) -> Detectors {
        let seeds = (INPUT_SEEDS..).step_by(PARTS_MAX as usize);
        let inputs = spec.inputs.iter().zip(seeds);
        let numbers = |seed| ChangeTest::new(StreamKind::Numbers, seed);
        let named = match spec.task {
            Task::Regression => StreamKind::Numbers,
            Task::Classification { .. } | Task::Bandit { .. } => StreamKind::Kinds,
        };
        Detectors {
            rate: false_alarms / 1e5,
            n_rows: 0,
            error: ChangeTest::new(StreamKind::Rises, 1),
            error_window: Adwin::default(),
            error_scale: ErrorNormalisation::default(),
            calibration: numbers(2),
            confidence: numbers(3),
            prediction: ChangeTest::new(named, 4),
            label: ChangeTest::new(named, 5),
            inputs: inputs
                .map(|(input, seed)| InputTests::new(&input.kind, seed))
                .collect(),
            n_slice_keys: spec.monitor.n_keys(),
            slices: BTreeMap::new(),
            n_alarms: [0; WatchedStream::ALL.len()],
            alarms: VecDeque::new(),
        }
    }

    /// The newest alarms, the oldest of them first.
    pub fn alarms(&self) -> impl DoubleEndedIterator<Item = &Alarm> {
        self.alarms.iter()
    }

    /// The number of alarms of each stream.
    pub fn n_alarms(&self) -> impl Iterator<Item = (WatchedStream, u64)> {
        WatchedStream::ALL.into_iter().zip(self.n_alarms)
    }

    /// The length of the window over which the mean error is steady, and that mean, between 0 and 1.
    pub fn error_window(&self) -> (f64, f64) {
        self.error_window.window()
    }

    /// Takes a row that was asked, or that comes with its feedback.
    pub fn observe_row(
        &mut self,
        spec: &Spec,
        (batch, row): (&Batch, usize),
        position: u64,
    ) -> Vec<Alarm> {
        let n_tests: usize = self.inputs.iter().map(InputTests::len).sum();
        let threshold = self.threshold(INPUTS / n_tests as f64);
        let mut alarms = Vec::new();
        let named = spec.inputs.iter().zip(&mut self.inputs);
        for (place, (input, tests)) in named.enumerate() {
            tests.observe(batch, [place, row], threshold, |watched, found| {
                alarms.push(alarm(watched, found, position, &input.name));
            });
        }
        self.note(alarms)
    }

    /// Takes the answer to a row.
    pub fn observe_answer(
        &mut self,
        outputs: &Outputs,
        (n_rows, row): (usize, usize),
        position: u64,
    ) -> Vec<Alarm> {
        self.n_rows += 1;
        if self.n_rows <= WARM_UP {
            return Vec::new();
        }
        let (confident, answered) = (self.threshold(CONFIDENCE), self.threshold(PREDICTION));
        let of_row = |all: &[f32]| {
            let width = all.len() / n_rows;
            let row = &all[row * width..(row + 1) * width];
            (argmax(row), f64::from(row[argmax(row)]))
        };
        let (kind, confidence) = match outputs {
            Outputs::Probabilities(all) => {
                let (place, confidence) = of_row(all);
                (place as u64, confidence)
            }
            Outputs::Decisions {
                probabilities,
                chosen,
            } => (u64::from(chosen[row]), of_row(probabilities).1),
            Outputs::Actions { chosen, scores, .. } => (u64::from(chosen[row]), of_row(scores).1),
            Outputs::Values(values) => {
                let found = self.prediction.observe_number(values[row], answered);
                return self.note_found(WatchedStream::Prediction, found, position);
            }
        };
        let prediction = self.prediction.observe(kind, answered);
        let mut alarms = self.note_found(WatchedStream::Prediction, prediction, position);
        let confidence = self.confidence.observe_number(confidence, confident);
        alarms.extend(self.note_found(WatchedStream::Confidence, confidence, position));
        alarms
    }

    /// Takes the label, value or best action of a row.
    pub fn observe_label(&mut self, signal: &Signal, position: u64) -> Vec<Alarm> {
        let threshold = self.threshold(LABEL);
        let found = match signal {
            Signal::Label(label) => self.label.observe(hash(label.as_bytes()), threshold),
            Signal::Value(value) => self.label.observe_number(*value, threshold),
            _ => None,
        };
        self.note_found(WatchedStream::Label, found, position)
    }

    /// Takes the judgement of a served answer.
    pub fn observe_judged(&mut self, judged: JudgedAnswer, position: u64) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        match judged {
            JudgedAnswer::Label {
                is_right,
                confidence,
            } => {
                let right = f64::from(u8::from(is_right));
                if self.n_rows > WARM_UP {
                    let threshold = self.threshold(CALIBRATION);
                    let found = self
                        .calibration
                        .observe_number(right - confidence, threshold);
                    alarms = self.note_found(WatchedStream::Calibration, found, position);
                }
            }
            JudgedAnswer::Value(_) | JudgedAnswer::Reward(_) => {}
        }
        let error = judged.error();
        let found = self.error.observe_number(error, self.threshold(ERROR));
        alarms.extend(self.note_found(WatchedStream::Error, found, position));
        let share = match judged {
            JudgedAnswer::Label { .. } => Some(error),
            _ => self.error_scale.share(error),
        };
        let false_cuts = 1.0 / self.threshold(ERROR_WINDOW);
        let rise = share.and_then(|share| self.error_window.observe(share, false_cuts));
        let found = rise.map(|_| StreamAlarm {
            change: Change::Higher,
            evidence: 1.0 / false_cuts,
        });
        alarms.extend(self.note_found(WatchedStream::ErrorWindow, found, position));
        alarms
    }

    /// Takes the judgement of a served answer to a row of this slice.
    pub(crate) fn observe_slice(
        &mut self,
        name: &str,
        judged: JudgedAnswer,
        position: u64,
    ) -> Vec<Alarm> {
        let threshold = self.needed(WatchedStream::Slice);
        if !self.slices.contains_key(name) {
            let test = ChangeTest::new(StreamKind::Rises, hash(name.as_bytes()));
            self.slices.insert(name.to_owned(), test);
        }
        let test = self.slices.get_mut(name).expect("it is there by now");
        match test.observe_number(judged.error(), threshold) {
            Some(found) => self.note(vec![alarm(WatchedStream::Slice, found, position, name)]),
            None => Vec::new(),
        }
    }

    /// Other weights answer from here on: the tests of answers begin anew, those of the world go on.
    pub fn restore(&mut self) {
        let answers = [&mut self.error, &mut self.calibration, &mut self.confidence];
        answers
            .into_iter()
            .chain([&mut self.prediction])
            .chain(self.slices.values_mut())
            .for_each(ChangeTest::begin_again);
        self.error_window = Adwin::default();
        self.error_scale = ErrorNormalisation::default();
    }

    /// The evidence from which on a test of errors alarms.
    pub(in crate::learn) fn needed(&self, watched: WatchedStream) -> f64 {
        match watched {
            WatchedStream::Slice => self.n_slice_keys as f64 / (SLICES * self.rate),
            WatchedStream::ErrorWindow => self.threshold(ERROR_WINDOW),
            _ => self.threshold(ERROR),
        }
    }

    /// The evidence from which on a test of this share alarms.
    fn threshold(&self, share: f64) -> f64 {
        let left = match self.n_slice_keys {
            0 => 1.0,
            _ => 1.0 - SLICES,
        };
        1.0 / (share * left * self.rate)
    }

    fn note_found(
        &mut self,
        watched: WatchedStream,
        found: Option<StreamAlarm>,
        position: u64,
    ) -> Vec<Alarm> {
        match found {
            Some(found) => self.note(vec![alarm(watched, found, position, "")]),
            None => Vec::new(),
        }
    }

    fn note(&mut self, alarms: Vec<Alarm>) -> Vec<Alarm> {
        for alarm in &alarms {
            self.n_alarms[alarm.watched as usize] += 1;
            self.alarms.push_back(alarm.clone());
            if self.alarms.len() > ALARMS_MAX {
                self.alarms.pop_front();
            }
        }
        alarms
    }

    fn tests(&self) -> [&ChangeTest; 5] {
        let Detectors {
            error,
            calibration,
            confidence,
            prediction,
            label,
            ..
        } = self;
        [error, calibration, confidence, prediction, label]
    }

    /// Saves them as `drift.*`.
    pub fn save(&self, tensors: &mut Tensors) {
        let mut out = Writer::default();
        out.counts([self.n_rows]);
        out.numbers(&[self.rate]);
        self.tests()
            .into_iter()
            .for_each(|test| test.save(&mut out));
        self.error_window.save(&mut out);
        let ErrorNormalisation {
            n_errors,
            mean,
            spread,
        } = self.error_scale;
        out.numbers(&[n_errors, mean, spread]);
        self.inputs.iter().for_each(|input| input.save(&mut out));
        out.counts(self.n_alarms);
        self.slices.values().for_each(|test| test.save(&mut out));
        out.save("drift", tensors);
        if !self.slices.is_empty() {
            let mut names = Tensors::default();
            put_texts(&mut names, self.slices.keys().map(String::as_str));
            tensors.nest("drift.slices", names);
        }
        let alarms: Vec<Alarm> = self.alarms.iter().cloned().collect();
        save_alarms(&alarms, "drift.alarms", tensors);
    }

    /// The saved detectors; none where they were not saved.
    pub fn load(spec: &Spec, tensors: &mut Tensors) -> Result<Option<Detectors>, Error> {
        let Some(mut saved) = SavedReader::load("drift", tensors)? else {
            return Ok(None);
        };
        let mut new = Detectors::new(spec, 1.0);
        [new.n_rows] = saved.counts()?;
        new.rate = saved.many_numbers(1)?[0];
        let Detectors {
            error,
            calibration,
            confidence,
            prediction,
            label,
            ..
        } = &mut new;
        for test in [error, calibration, confidence, prediction, label] {
            test.load(&mut saved)?;
        }
        new.error_window = Adwin::load(&mut saved)?;
        let scale = saved.many_numbers(3)?;
        new.error_scale = ErrorNormalisation {
            n_errors: scale[0],
            mean: scale[1],
            spread: scale[2],
        };
        for input in &mut new.inputs {
            input.load(&mut saved)?;
        }
        new.n_alarms = saved.counts()?;
        let mut names = tensors.unnest("drift.slices");
        if !names.0.is_empty() {
            for name in take_texts(&mut names)? {
                let mut test = ChangeTest::new(StreamKind::Rises, hash(name.as_bytes()));
                test.load(&mut saved)?;
                new.slices.insert(name, test);
            }
        }
        saved.end()?;
        new.alarms = load_alarms("drift.alarms", tensors)?.into();
        Ok(Some(new))
    }
}

impl ErrorNormalisation {
    /// An error between 0 and 1; none while the first ones are looked at.
    fn share(&mut self, error: f64) -> Option<f64> {
        let off = error - self.mean;
        if self.n_errors < REFERENCE as f64 {
            self.n_errors += 1.0;
            self.mean += off / self.n_errors;
            self.spread += (off.abs() - self.spread) / self.n_errors;
            return None;
        }
        let relative = off / self.spread.max(f64::MIN_POSITIVE);
        // Infinite ones have a share of one.
        let share = 0.5 + 0.5 * relative.clamp(-1e9, 1e9) / (1.0 + relative.abs().min(1e9));
        Some(share)
    }
}

fn alarm(watched: WatchedStream, found: StreamAlarm, position: u64, input: &str) -> Alarm {
    Alarm {
        position,
        watched,
        input: input.to_owned(),
        change: found.change,
        evidence: found.evidence,
    }
}
