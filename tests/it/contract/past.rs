//! The past of a regression's target: known at the entry of a prediction, kept within bounds, and
//! exact under late values, corrections, restores and retractions.

use perennial::event::{
    Batch, Column, Command, Disposal, Event, Feedback, Order, Outputs, PredictionId, Retraction,
    Selector, Signal,
};
use perennial::model::weights::Data;

use crate::support::histories::twin;
use crate::support::{LearnerHarness, label};

const ONE: &str = "task = \"regression\"\n[[input]]\nname = \"x\"\nkind = \"number\"\n\
    [versions]\nevery_examples = 1000\n";
const STORES: &str = "task = \"regression\"\n[[input]]\nname = \"x\"\nkind = \"number\"\n\
    [[input]]\nname = \"store\"\nkind = \"category\"\n[series]\nkey = \"store\"\n\
    [versions]\nevery_examples = 1000\n";

/// A row, of a store where there is one.
fn row(x: f64, store: Option<usize>) -> Batch {
    let mut columns = vec![Column::Numbers(vec![x])];
    columns.extend(store.map(|store| Column::Strings(vec![format!("store-{store}")])));
    Batch { n_rows: 1, columns }
}

/// Uniform noise in [-1, 1], the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        let factor = 6_364_136_223_846_793_005;
        self.0 = self.0.wrapping_mul(factor).wrapping_add(1);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// Rows whose values come late.
struct LateRows {
    harness: LearnerHarness,
    /// The ids and values of the rows that wait.
    waiting: std::collections::VecDeque<(PredictionId, f64)>,
    n_submitted: usize,
}

impl LateRows {
    fn new(toml: &str) -> LateRows {
        LateRows {
            harness: LearnerHarness::new(toml),
            waiting: Default::default(),
            n_submitted: 0,
        }
    }

    /// Asks a row, and gives its answer.
    fn ask(&mut self, batch: Batch, value: f64) -> f64 {
        let prediction = self.harness.predict(batch);
        self.waiting.push_back((prediction.ids[0], value));
        match prediction.outputs {
            Outputs::Values(values) => values[0],
            other => panic!("{other:?}"),
        }
    }

    /// The values of all rows but the newest `delay` come, by the source that `source` names.
    fn submit(&mut self, delay: usize, source: impl Fn(usize) -> Option<&'static str>) {
        while self.waiting.len() > delay {
            let (id, value) = self.waiting.pop_front().expect("one waits");
            self.n_submitted += 1;
            if let Some(source) = source(self.n_submitted) {
                self.harness.append(Event::Feedback(Feedback {
                    source: source.to_owned(),
                    signal: Signal::Value(value),
                    ..label(id, &format!("said-{}", self.n_submitted), "")
                }));
            }
        }
    }

    fn order(&mut self, order: Order) {
        let (actor, note) = Default::default();
        let command = Command { order, actor, note };
        let step = self.harness.append(Event::Command(command));
        assert_eq!(step.refused, None);
    }

    fn digest(&self) -> blake3::Hash {
        self.harness.learner.learned().digest()
    }

    /// The mean absolute error of a member by now.
    fn error(&self, name: &str) -> f64 {
        let mut members = self.harness.learner.evaluation().members().iter();
        let member = members.find(|member| member.name == name).expect(name);
        member.sum / member.examples as f64
    }

    /// The values that are kept of all series.
    fn kept(&self) -> Vec<f64> {
        let weights = self.harness.learner.learned().weights();
        match &weights.0["past.values"].data {
            Data::F64(values) => values.clone(),
            other => panic!("{other:?}"),
        }
    }
}

fn retraction(source: &str, journal: &[perennial::event::Entry]) -> Order {
    let selector = Selector::Source(source.to_owned());
    let mut entries = journal.iter();
    let first = entries.find(|entry| match &entry.event {
        Event::Feedback(feedback) => selector.chooses(feedback, entry.time),
        _ => false,
    });
    Order::Retract(Retraction {
        first_position: first.expect("it is there").position,
        selector,
        disposal: Disposal::Keep,
    })
}

#[test]
fn p6_late_values_that_are_taken_back_were_never_there() {
    for (toml, delay) in [(ONE, 500), (STORES, 500), (ONE, 2000)] {
        let stores = toml == STORES;
        let mut rows = LateRows::new(toml);
        let mut noise = Noise(3);
        for index in 0..delay + 150 {
            let value = (index % 12) as f64 + noise.next();
            rows.ask(row(noise.next(), stores.then_some(index % 3)), value);
            rows.submit(delay, |n| Some(if n % 10 == 3 { "bad" } else { "good" }));
        }
        let before = rows.digest();
        rows.order(retraction("bad", &rows.harness.journal));
        assert_ne!(rows.digest(), before);
        // Rows that wait have the past of this history, too.
        rows.submit(delay - 100, |_| Some("good"));
        let without_labels = twin(&rows.harness.journal);
        let without_labels = without_labels.learner.learned().digest();
        assert_eq!(rows.digest(), without_labels, "{delay}: {toml}");
    }
}

/// A walk can be foretold no better from 20 steps ago than by where it was: a member that learned
/// or was judged by later values would seem to be four times as good.
#[test]
fn a_row_is_learned_with_the_past_that_it_was_asked_with() {
    let mut rows = LateRows::new(ONE);
    let (mut noise, mut walk) = (Noise(5), 0.0);
    let mut late = 0.0;
    let mut history = Vec::new();
    for index in 0..1500 {
        walk += noise.next();
        history.push(walk);
        rows.ask(row(noise.next(), None), walk);
        rows.submit(20, |_| Some("good"));
        if index > 500 {
            late += (history[index - 21] - walk).abs() / 999.0;
        }
    }
    for member in ["last-value", "lags-change", "lags-inputs-change"] {
        let error = rows.error(member);
        assert!(error > 0.8 * late, "{member}: {error} of {late}");
    }
}

#[test]
fn a_shift_of_the_level_is_followed_within_a_few_rows() {
    for (toml, store) in [(ONE, None), (STORES, Some(1))] {
        let mut rows = LateRows::new(toml);
        let mut noise = Noise(7);
        for index in 0..900 {
            let level = [10.0, 50.0, -1000.0][index / 300];
            let value = level + 0.1 * noise.next();
            let error = (rows.ask(row(noise.next(), store), value) - value).abs();
            rows.submit(0, |_| Some("good"));
            // Many thousand deviations are no more than the first.
            let is_after_shift = (6..20).contains(&(index % 300));
            assert!(!is_after_shift || error < 1.0, "{index}: {error}");
        }
    }
}

#[test]
fn a_season_is_found_and_foretold_with_late_values_too() {
    for (delay, part) in [(0, 0.3), (5, 0.2)] {
        let mut rows = LateRows::new(ONE);
        let mut noise = Noise(11);
        let (mut errors, mut no_change) = (0.0, 0.0);
        let mut history: Vec<f64> = Vec::new();
        for index in 0..1200usize {
            // Uneven within a season, and the same in the next.
            let value = ((index % 17) * (index % 17) % 11) as f64 + 0.1 * noise.next();
            let answer = rows.ask(row(noise.next(), None), value);
            rows.submit(delay, |_| Some("good"));
            if index > 600 {
                errors += (answer - value).abs();
                no_change += (history[index - 1 - delay] - value).abs();
            }
            history.push(value);
        }
        assert!(
            errors < part * no_change,
            "{delay}: {errors} of {no_change}"
        );
    }
}

#[test]
fn a_value_that_supersedes_another_takes_its_place() {
    let mut rows = LateRows::new(ONE);
    let mut first = None;
    for index in 0..30 {
        rows.ask(row(0.5, None), f64::from(index));
        first.get_or_insert(rows.waiting[0].0);
        rows.submit(0, |_| Some("good"));
    }
    assert!(rows.kept().contains(&0.0));
    rows.harness
        .submit(first.expect("it was asked"), Signal::Value(77.5));
    let kept = rows.kept();
    assert!(kept[0] == 77.5 && !kept.contains(&0.0), "{kept:?}");
    assert_eq!(kept.len(), 30);
}

#[test]
fn a_restore_brings_back_the_past_of_its_version() {
    let mut rows = LateRows::new(ONE);
    for index in 0..50 {
        rows.ask(row(0.5, None), f64::from(index));
        rows.submit(3, |_| Some("good"));
    }
    rows.order(Order::Checkpoint);
    let version = rows.harness.learner.version();
    let before = rows.digest();
    for _ in 0..20 {
        rows.ask(row(0.5, None), 1e6);
        rows.submit(3, |_| Some("good"));
    }
    assert!(rows.kept().contains(&1e6));
    rows.order(Order::Restore { version });
    assert_eq!(rows.digest(), before);
    // A row that was asked in the undone part brings none of it back by its past.
    rows.submit(0, |_| Some("good"));
    let answer = rows.ask(row(0.5, None), 0.0);
    assert!(answer.is_finite());
    rows.harness.reload();
    assert_eq!(rows.kept().iter().filter(|value| **value == 1e6).count(), 3);
}

#[test]
fn p8_series_are_bounded_whatever_the_keys() {
    let toml = STORES.replace("key = \"store\"", "key = \"store\"\nkeys_max = 50");
    let mut rows = LateRows::new(&toml);
    for index in 0..2000 {
        rows.ask(row(0.5, Some(index)), index as f64);
        rows.submit(0, |_| Some("good"));
    }
    // Those that learned last are kept.
    let mut kept = rows.kept();
    kept.sort_by(f64::total_cmp);
    let newest: Vec<f64> = (1950..2000).map(f64::from).collect();
    assert_eq!(kept, newest);
    // And of one series, so many values.
    for index in 0..1000 {
        rows.ask(row(0.5, Some(7)), index as f64);
        rows.submit(0, |_| Some("good"));
    }
    assert_eq!(rows.kept().len(), 49 + 400);
}

#[test]
fn p9_wild_values_and_keys_do_no_harm() {
    let toml = STORES.replace("key = \"store\"", "key = \"x\"");
    let mut rows = LateRows::new(&toml);
    let wild = [0.0, f64::MAX, f64::MIN, 1e-300, 1e30, -0.0, 5.0, 5.0];
    for index in 0..400 {
        let value = wild[index * index % wild.len()];
        let answer = rows.ask(row(wild[index % 3], Some(index % 2)), value);
        assert!(answer.is_finite(), "{index}");
        rows.submit(index % 7, |_| Some("good"));
    }
    rows.harness.reload();
}

/// Series of very different size share their learning.
#[test]
fn each_series_has_the_past_of_its_own() {
    let mut rows = LateRows::new(STORES);
    let mut noise = Noise(13);
    let mut errors = [0.0; 4];
    for day in 0..150usize {
        for (store, error) in errors.iter_mut().enumerate() {
            let size = 10f64.powi(store as i32);
            let value = size
                * (5.0 + [0.0, 0.3, 0.1, 0.5, 1.0, 3.0, 2.0][day % 7])
                * (1.0 + 0.02 * noise.next());
            let answer = rows.ask(row(noise.next(), Some(store)), value);
            rows.submit(0, |_| Some("good"));
            if day >= 75 {
                *error += (answer - value).abs() / size / 75.0;
            }
        }
    }
    assert!(errors.iter().all(|error| *error < 0.4), "{errors:?}");
}
