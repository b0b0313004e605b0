//! All monitors of a model: the answers and truths that they take, and their figures.
//!
//! Invariant: an answer is judged once, as it was given when asked; a truth that supersedes another
//! changes how it was judged, as of the moment when it comes.

use super::estimate::AccuracyEstimate;
use super::figure::{ConfusionCount, Figure};
use super::labelling::{Labelling, LabellingTime};
use super::names::ClassNames;
use super::probabilities::ScoredProbabilities;
use super::scores::{DetailedScores, Scores};
use super::slices::{SliceName, Slices};
use super::spans::Spans;
use crate::event::Time;
use crate::learn::records::saved::{SavedReader, Writer, put_texts, take_texts};
use crate::model::weights::{Error, Tensors};
use crate::model::{MonitorSettings, Spec};

/// Classes or actions of which figures are shown, the commonest ones.
const CLASSES_SHOWN: usize = 32;

/// An answer that was given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::learn) struct ServedAnswer<'a> {
    /// The class or action; none of a value.
    pub name: Option<&'a str>,
    /// The probability of the class; none of other answers.
    pub confidence: Option<f64>,
}

/// An answer that was judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::learn) enum ScoredAnswer<'a> {
    /// A class, with the probability that it had and the scores of all probabilities.
    Class {
        truth: &'a str,
        answer: &'a str,
        confidence: f64,
        probabilities: ScoredProbabilities,
    },
    /// A value, by its absolute error.
    Value(f64),
    /// An action, by its reward.
    Reward(f64),
}

/// A judged answer with places in place of names.
enum PlacedAnswer {
    Class([u32; 2], ScoredProbabilities),
    Value(f64),
    Reward(f64),
}

impl PlacedAnswer {
    fn add_to(&self, scores: &mut Scores, weight: f64) {
        match self {
            PlacedAnswer::Class([truth, answer], probabilities) => {
                scores.add_class(*truth, *answer, weight);
                scores.add_probabilities(probabilities, weight);
            }
            PlacedAnswer::Value(error) => scores.add_error(*error, weight),
            PlacedAnswer::Reward(reward) => scores.add_reward(*reward, weight),
        }
    }

    fn add_to_details(&self, scores: &mut DetailedScores, weight: f64) {
        match self {
            PlacedAnswer::Class([truth, answer], probabilities) => {
                scores.add_class(*truth, *answer, weight);
                scores.add_probabilities(probabilities, weight);
            }
            _ => self.add_to(&mut scores.scores, weight),
        }
    }
}

/// The monitors of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::learn) struct Monitors {
    names: ClassNames,
    spans: Spans,
    estimate: AccuracyEstimate,
    labelling: Labelling,
    slices: Slices,
}

impl Monitors {
    /// The monitors of a description, which have seen nothing.
    pub(in crate::learn) fn new(spec: &Spec) -> Monitors {
        let mut monitors = Monitors::default();
        for name in spec.task.names() {
            monitors.names.place(name);
        }
        monitors
    }

    /// Takes an answer that was given.
    pub(in crate::learn) fn note_asked(&mut self, asked: ServedAnswer<'_>, time: Time) {
        let place = asked.name.map(|name| self.names.place(name));
        self.labelling.note_asked(place);
        self.labelling.note_time(LabellingTime::FirstAnswer, time);
        if let Some(confidence) = asked.confidence {
            self.estimate.note_asked(confidence.clamp(0.0, 1.0));
        }
    }

    /// Takes the first feedback about an answer, so many microseconds after it.
    pub(in crate::learn) fn note_labelled(&mut self, answered: Option<&str>, delay_us: i64) {
        let place = answered.map(|name| self.names.place(name));
        self.labelling.note_labelled(place, delay_us);
    }

    /// Takes a reward of a feedback event.
    pub(in crate::learn) fn note_reward(&mut self, reward: f64) {
        self.labelling.note_reward(reward);
    }

    /// Feedback came.
    pub(in crate::learn) fn note_feedback(&mut self, time: Time) {
        self.labelling.note_time(LabellingTime::LastFeedback, time);
    }

    /// An example was learned.
    pub(in crate::learn) fn note_example(&mut self, time: Time) {
        self.labelling.note_time(LabellingTime::LastExample, time);
    }

    fn placed(&mut self, answer: &ScoredAnswer<'_>) -> PlacedAnswer {
        match answer {
            ScoredAnswer::Class {
                truth,
                answer,
                probabilities,
                ..
            } => {
                let places = [truth, answer].map(|name| self.names.place(name));
                PlacedAnswer::Class(places, *probabilities)
            }
            ScoredAnswer::Value(error) => PlacedAnswer::Value(*error),
            ScoredAnswer::Reward(reward) => PlacedAnswer::Reward(*reward),
        }
    }

    /// Takes the judgement of an answer, whose row is in these slices; gives those that it counts in.
    pub(in crate::learn) fn judge(
        &mut self,
        answer: &ScoredAnswer<'_>,
        slices: &[SliceName],
        settings: &MonitorSettings,
    ) -> Vec<SliceName> {
        let placed = self.placed(answer);
        self.spans.add(settings.window, |scores, weight| {
            placed.add_to_details(scores, weight);
        });
        if let ScoredAnswer::Class {
            truth,
            answer,
            confidence,
            ..
        } = answer
        {
            self.estimate
                .note_judged(confidence.clamp(0.0, 1.0), truth == answer);
        }
        let mut admitted = Vec::with_capacity(slices.len());
        for name in slices {
            let (name, slice) = self.slices.slice(name, settings.values_max);
            slice.add(|scores, weight| placed.add_to(scores, weight));
            admitted.push(name);
        }
        admitted
    }

    /// An answer was judged by one truth, and is by another now; each with the slices of its row.
    pub(in crate::learn) fn amend(
        &mut self,
        judged: [(&ScoredAnswer<'_>, &[SliceName]); 2],
        settings: &MonitorSettings,
    ) {
        for ((answer, slices), sign) in judged.into_iter().zip([-1.0, 1.0]) {
            let placed = self.placed(answer);
            self.spans
                .amend(|scores, weight| placed.add_to_details(scores, sign * weight));
            for name in slices {
                let (_, slice) = self.slices.slice(name, settings.values_max);
                slice.amend(|scores, weight| placed.add_to(scores, sign * weight));
            }
        }
        if let [
            ScoredAnswer::Class {
                truth: before,
                answer,
                confidence,
                ..
            },
            ScoredAnswer::Class { truth: now, .. },
        ] = judged.map(|(answer, _)| answer)
        {
            let is_right = [before == answer, now == answer];
            self.estimate.amend(confidence.clamp(0.0, 1.0), is_right);
        }
    }

    /// A reward that was judged turned out to be another, of a row in the slices of these inputs.
    pub(in crate::learn) fn amend_reward(
        &mut self,
        rewards: [f64; 2],
        slices: &[SliceName],
        settings: &MonitorSettings,
    ) {
        self.spans
            .amend(|scores, weight| scores.scores.amend_reward(rewards, weight));
        for name in slices {
            let (_, slice) = self.slices.slice(name, settings.values_max);
            slice.amend(|scores, weight| scores.amend_reward(rewards, weight));
        }
    }

    /// Takes the losses of candidate and champion on a row of these slices.
    pub(in crate::learn) fn note_sides(
        &mut self,
        slices: &[SliceName],
        losses: [f64; 2],
        settings: &MonitorSettings,
    ) {
        for name in slices {
            self.slices.note_sides(name, losses, settings.values_max);
        }
    }

    /// Begins the comparison of the slices with the champion anew.
    pub(in crate::learn) fn begin_sides(&mut self) {
        self.slices.begin_sides();
    }

    /// Begins all slices anew: others are declared.
    pub(in crate::learn) fn begin_slices(&mut self) {
        self.slices = Slices::default();
    }

    /// The time at which the last feedback came, or before any the first answer was asked.
    pub(in crate::learn) fn last_feedback(&self) -> Option<Time> {
        let since = self.labelling.time(LabellingTime::FirstAnswer);
        self.labelling.time(LabellingTime::LastFeedback).or(since)
    }

    /// The time at which the last example was learned, or before any the first answer was asked.
    pub(in crate::learn) fn last_example(&self) -> Option<Time> {
        let since = self.labelling.time(LabellingTime::FirstAnswer);
        self.labelling.time(LabellingTime::LastExample).or(since)
    }

    /// Every figure that is known.
    pub(in crate::learn) fn figures(&self, spec: &Spec) -> Vec<Figure> {
        let window = self.spans.window();
        let mut figures = self.figures_of_all(&window);
        figures.extend(self.figures_of_classes(&window));
        for (delay, share) in self.labelling.within() {
            figures.push(Figure {
                name: "labelled_within",
                of: delay.to_owned(),
                all: Some(share),
                ..Figure::default()
            });
        }
        figures.extend(self.figures_of_slices(spec));
        figures
    }

    fn figures_of_all(&self, window: &DetailedScores) -> Vec<Figure> {
        let (windows, recents) = (window.figures(), self.spans.recent.figures());
        let all = self
            .spans
            .all
            .figures()
            .into_iter()
            .map(|(name, score)| Figure {
                name,
                all: Some(score),
                window: find(&windows, name),
                recent: find(&recents, name),
                ..Figure::default()
            });
        let (labelling, estimate) = (&self.labelling, &self.estimate);
        let others = [
            ("feedback_rate", labelling.rate()),
            ("label_delay_seconds", labelling.delay_s()),
            ("satisfaction", [labelling.satisfaction(), None]),
            ("asked_confidence", [None, estimate.confidence()]),
            ("estimated_accuracy", [None, estimate.accuracy()]),
        ];
        let others = others.into_iter().map(|(name, [all, recent])| Figure {
            name,
            all,
            recent,
            ..Figure::default()
        });
        let is_known = |one: &Figure| one.all.is_some() || one.recent.is_some();
        all.chain(others.filter(is_known)).collect()
    }

    fn figures_of_classes(&self, window: &DetailedScores) -> Vec<Figure> {
        let spans = [&self.spans.all, window, &self.spans.recent];
        let names = self.names.names();
        let count = |place: usize| {
            let class = self.spans.all.scores.classes().get(place);
            class.map_or(0.0, |class| class.count + class.answered)
        };
        let mut places: Vec<usize> = (0..names.len()).collect();
        places.sort_by(|one, other| count(*other).total_cmp(&count(*one)));
        places.truncate(CLASSES_SHOWN);
        let mut figures = Vec::new();
        for place in &places {
            let counts = spans.map(|span| span.scores.classes().get(*place).copied());
            let counts = counts.map(Option::unwrap_or_default);
            let mut put = |name, [all, window, recent]: [Option<f64>; 3]| {
                if all.is_some() {
                    figures.push(Figure {
                        name,
                        of: names[*place].to_owned(),
                        all,
                        window,
                        recent,
                        ..Figure::default()
                    });
                }
            };
            put("precision", counts.map(|one| one.precision()));
            put("recall", counts.map(|one| one.recall()));
            put("f1", counts.map(|one| one.f1()));
            let [all, window, _] = counts.map(|one| one.false_positives());
            let is_seen = counts[0].count + counts[0].answered > 0.0;
            put(
                "false_positives",
                [is_seen.then_some(all), Some(window), None],
            );
        }
        for place in places {
            let (labelled, exposure) = self.labelling.of_class(place);
            let shares = [("labelled_share", [labelled, None]), ("exposure", exposure)];
            for (name, [all, recent]) in shares {
                if all.is_some() {
                    figures.push(Figure {
                        name,
                        of: names[place].to_owned(),
                        all,
                        recent,
                        ..Figure::default()
                    });
                }
            }
        }
        figures
    }

    fn figures_of_slices(&self, spec: &Spec) -> Vec<Figure> {
        let mut figures = Vec::new();
        for (name, slice) in &self.slices.0 {
            let shown = name.shown(spec);
            let recents = slice.recent.figures();
            let mut put = |name, all, recent| {
                figures.push(Figure {
                    name,
                    slice: shown.clone(),
                    all,
                    recent,
                    ..Figure::default()
                });
            };
            put("judged", Some(slice.all.n_answers()), None);
            for (name, score) in slice.all.figures() {
                put(name, Some(score), find(&recents, name));
            }
            if let Some(difference) = slice.difference() {
                put("champion_difference", Some(difference), None);
            }
        }
        figures
    }

    /// The counts of pairs of label and answer, the commonest first.
    pub(in crate::learn) fn confusion(&self) -> Vec<ConfusionCount> {
        let names = self.names.names();
        let name = |place: u32| names.get(place as usize).copied().map(str::to_owned);
        let pairs = self.spans.all.pairs().filter_map(|([truth, answer], n)| {
            Some(ConfusionCount {
                truth: name(truth)?,
                answer: name(answer)?,
                n,
            })
        });
        let mut pairs: Vec<ConfusionCount> = pairs.collect();
        pairs.sort_by(|one, other| other.n.total_cmp(&one.n));
        pairs.truncate(CLASSES_SHOWN * CLASSES_SHOWN);
        pairs
    }

    pub(in crate::learn) fn save(&self, tensors: &mut Tensors) {
        let mut out = Writer::default();
        self.spans.save(&mut out);
        self.estimate.save(&mut out);
        self.labelling.save(&mut out);
        self.slices.save(&mut out, tensors);
        out.save("monitors", tensors);
        let mut names = Tensors::default();
        put_texts(&mut names, self.names.names().into_iter());
        tensors.nest("monitors.names", names);
    }

    /// The saved monitors of a description; none where they were not saved.
    pub(in crate::learn) fn load(
        spec: &Spec,
        tensors: &mut Tensors,
    ) -> Result<Option<Monitors>, Error> {
        let Some(mut saved) = SavedReader::load("monitors", tensors)? else {
            return Ok(None);
        };
        let monitors = Monitors {
            spans: Spans::load(&mut saved)?,
            estimate: AccuracyEstimate::load(&mut saved)?,
            labelling: Labelling::load(&mut saved)?,
            slices: Slices::load(&mut saved, tensors, spec.monitor.n_keys())?,
            names: ClassNames::of(take_texts(&mut tensors.unnest("monitors.names"))?),
        };
        saved.end()?;
        Ok(Some(monitors))
    }
}

fn find(figures: &[(&'static str, f64)], name: &str) -> Option<f64> {
    let found = figures.iter().find(|(found, _)| *found == name);
    found.map(|(_, figure)| *figure)
}
