//! A second label: which of two counts, and the fate of the other.

use perennial::event::{
    Command, Disposal, Event, Feedback, Order, Outputs, PredictionId, Retraction, Selector, Signal,
    Time,
};
use perennial::learn::{Fate, Learner, Step};
use perennial::model::Choice;

use crate::support::cases::{Case, SEED, case, gradient, learners, remembered_max};
use crate::support::{LearnerHarness, label, rows};

/// Rows with a class, all answered before the first label comes.
struct AnsweredRows {
    harness: LearnerHarness,
    ids: Vec<(PredictionId, &'static str)>,
    n_submitted: usize,
}

fn other(class: &str) -> &'static str {
    if class == "a" { "b" } else { "a" }
}

impl AnsweredRows {
    fn new(case: &Case, n_rows: usize) -> AnsweredRows {
        let mut harness = LearnerHarness::new(&case.toml);
        let ids = rows(n_rows, 0.3).map(|(batch, class)| (harness.predict(batch).ids[0], class));
        let ids = ids.collect();
        AnsweredRows {
            harness,
            ids,
            n_submitted: 0,
        }
    }

    fn analytic(n_rows: usize) -> AnsweredRows {
        let learner = "[learner]\nkind = \"analytic\"\n";
        AnsweredRows::new(&case("classification", learner, SEED, 0), n_rows)
    }

    /// The label of row `row`; the test may change the rest of the event.
    fn submit(&mut self, row: usize, class: &str, change: impl Fn(&mut Feedback)) -> Step {
        self.n_submitted += 1;
        let mut feedback = label(
            self.ids[row].0,
            &format!("said-{}", self.n_submitted),
            class,
        );
        change(&mut feedback);
        self.harness.append(Event::Feedback(feedback))
    }

    fn fate(&mut self, row: usize, class: &str) -> Fate {
        self.submit(row, class, |_| {}).fate.expect("a fate")
    }

    fn order(&mut self, order: Order) -> u64 {
        let (actor, note) = Default::default();
        let step = self
            .harness
            .append(Event::Command(Command { order, actor, note }));
        assert_eq!(step.refused, None);
        step.version.expect("a version").version
    }

    fn retract(&mut self, feedback_id: &str) {
        let selector = Selector::FeedbackId(feedback_id.to_owned());
        let chosen = |entry: &&perennial::event::Entry| match &entry.event {
            Event::Feedback(feedback) => selector.chooses(feedback, entry.time),
            _ => false,
        };
        let first = self
            .harness
            .journal
            .iter()
            .find(chosen)
            .expect("it is there");
        let first_position = first.position;
        self.order(Order::Retract(Retraction {
            selector,
            first_position,
            disposal: Disposal::Keep,
        }));
    }

    fn learner(&self) -> &Learner {
        &self.harness.learner
    }

    fn digest(&self) -> blake3::Hash {
        self.learner().learned().digest()
    }

    /// How many events were applied, superseded, quarantined and undone.
    fn fates(&self) -> [u64; 4] {
        let ledger = self.learner().ledger();
        assert_eq!(ledger.total(), self.n_submitted as u64);
        [
            Fate::Applied,
            Fate::Superseded,
            Fate::Quarantined,
            Fate::Undone,
        ]
        .map(|fate| ledger.count(fate))
    }

    /// The share of the rows that are answered with the class that they are of.
    fn known(&self) -> f64 {
        let model = self.learner().model();
        let right = |(batch, class): (_, &str)| match model.predict(&batch, Choice::Best) {
            Ok(Outputs::Probabilities(p)) => f64::from(u8::from((p[0] > p[1]) == (class == "a"))),
            other => panic!("{other:?}"),
        };
        let all: Vec<f64> = rows(self.ids.len(), 0.3).map(right).collect();
        super::mean(&all)
    }
}

#[test]
fn two_hundred_corrections_of_wrong_labels_make_them_right() {
    for (learner, remembered) in learners() {
        let case = case("classification", &learner, SEED, remembered);
        let mut answered = AnsweredRows::new(&case, 200);
        let classes: Vec<_> = answered.ids.iter().map(|(_, class)| *class).collect();
        for (row, class) in classes.iter().enumerate() {
            answered.fate(row, other(class));
        }
        let before = answered.known();
        for (row, class) in classes.iter().enumerate() {
            let fate = answered.fate(row, class);
            assert!(matches!(fate, Fate::Applied | Fate::Pending), "{fate:?}");
        }
        let (after, remembered) = (
            answered.known(),
            answered.learner().learned().n_remembered(),
        );
        println!(
            "{before:.3} before, {after:.3} after, {remembered} remembered, {}",
            case.name
        );
        let ledger = answered.learner().ledger();
        assert_eq!(ledger.count(Fate::Superseded), 200, "{}", case.name);
        assert_eq!(ledger.total(), 400);
        assert!(after > 0.88, "{before} {after}: {}", case.name);
    }
}

#[test]
fn a_corrected_label_is_exact_where_its_kind_can_subtract() {
    let (mut answered, mut once) = (AnsweredRows::analytic(60), AnsweredRows::analytic(60));
    for row in 0..60 {
        let class = answered.ids[row].1;
        let first = if row % 3 == 0 { other(class) } else { class };
        answered.fate(row, first);
        once.fate(row, class);
    }
    for row in (0..60).step_by(3) {
        assert_eq!(answered.fate(row, answered.ids[row].1), Fate::Applied);
    }
    assert_eq!(answered.learner().learned().n_examples(), 60);
    let answers = [&answered, &once].map(|answered| {
        let model = answered.learner().model();
        let answer = |(batch, _)| match model.predict(&batch, Choice::Best) {
            Ok(Outputs::Probabilities(p)) => f64::from(p[0]),
            other => panic!("{other:?}"),
        };
        rows(60, 0.3).map(answer).collect::<Vec<_>>()
    });
    // The regression is exact; how sharply its estimates become probabilities was learned from the
    // estimates of then, and is one number for all rows.
    let logit = |p: &f64| (p / (1.0 - p)).ln();
    let pairs = answers[0].iter().zip(&answers[1]);
    let pairs: Vec<_> = pairs
        .map(|(one, other)| (logit(one), logit(other)))
        .collect();
    let squares = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>();
    let factor = squares(|pair| pair.0 * pair.1) / squares(|pair| pair.1 * pair.1);
    let apart = pairs
        .iter()
        .map(|(one, other)| (one / factor - other).abs());
    let apart = apart.fold(0.0, f64::max);
    println!("{apart:.4} apart, {factor:.2} as sharp");
    assert!(apart < 0.03, "{apart}");
}

/// The probability of class "a" of rows, as a learner answers them.
fn probabilities(learner: &Learner) -> Vec<f64> {
    let model = learner.model();
    let answer = |(batch, _)| match model.predict(&batch, Choice::Best) {
        Ok(Outputs::Probabilities(p)) => f64::from(p[0]),
        other => panic!("{other:?}"),
    };
    rows(200, 0.3).map(answer).collect()
}

/// The largest mean distance between the probabilities of a learner of this kind whose wrong labels were
/// corrected, and of one that had the right ones at once.
fn distance_max(learner: &str) -> f64 {
    match learner {
        _ if learner.contains("neighbours") => 0.0,
        _ if learner.contains("analytic") => 0.1,
        _ => 0.06,
    }
}

#[test]
fn corrected_labels_are_as_near_to_right_ones_at_once_as_the_documents_state() {
    let networks = ["sgd", "adamw"].map(|optimizer| gradient("mlp", optimizer, "er"));
    let networks = networks.map(|learner| (learner, remembered_max("er")));
    for (learner, remembered) in learners().into_iter().chain(networks) {
        let case = case("classification", &learner, SEED, remembered);
        let mut corrected = AnsweredRows::new(&case, 300);
        let mut once = AnsweredRows::new(&case, 300);
        for row in 0..300 {
            let class = corrected.ids[row].1;
            let is_wrong = |row: usize| row.is_multiple_of(10);
            corrected.fate(row, if is_wrong(row) { other(class) } else { class });
            once.fate(row, class);
            if let Some(earlier) = row.checked_sub(9).filter(|earlier| is_wrong(*earlier)) {
                corrected.fate(earlier, corrected.ids[earlier].1);
            }
        }
        let [one, other] = [&corrected, &once].map(|rows| probabilities(rows.learner()));
        let apart: Vec<f64> = one.iter().zip(&other).map(|(a, b)| (a - b).abs()).collect();
        let apart = super::mean(&apart);
        println!("{apart:.4} apart, {}", case.name);
        assert!(apart <= distance_max(&learner), "{apart}: {}", case.name);
    }
}

#[test]
fn the_served_answer_is_judged_once_and_by_the_last_word() {
    let mut answered = AnsweredRows::analytic(2);
    // Before anything is learned the first class is answered.
    answered.fate(0, "b");
    let served = |answered: &AnsweredRows| {
        let served = answered.learner().evaluation().served();
        (served.count, served.sum)
    };
    assert_eq!(served(&answered), (1.0, 0.0));
    assert_eq!(answered.fate(0, "a"), Fate::Applied);
    assert_eq!(served(&answered), (1.0, 1.0));
    assert_eq!(answered.fates(), [1, 1, 0, 0]);
    assert_eq!(answered.learner().learned().n_examples(), 1);
    assert_eq!(answered.fate(0, "a"), Fate::Duplicate, "it says the same");
    assert_eq!(answered.fate(0, "b"), Fate::Applied);
    assert_eq!(served(&answered), (1.0, 0.0));
    assert_eq!(answered.fates(), [1, 2, 0, 0]);
    let sources: Vec<_> = answered.learner().sources().learned().collect();
    assert_eq!(sources, [("test", 1)]);
}

#[test]
fn the_newer_label_counts_whichever_comes_first() {
    let at = |time: i64| move |feedback: &mut Feedback| feedback.event_time = Some(Time(time));
    let mut in_order = AnsweredRows::analytic(1);
    assert_eq!(in_order.submit(0, "b", at(10)).fate, Some(Fate::Applied));
    assert_eq!(in_order.submit(0, "a", at(20)).fate, Some(Fate::Applied));
    let mut reversed = AnsweredRows::analytic(1);
    assert_eq!(reversed.submit(0, "a", at(20)).fate, Some(Fate::Applied));
    assert_eq!(reversed.submit(0, "b", at(10)).fate, Some(Fate::Superseded));
    let mut once = AnsweredRows::analytic(1);
    once.fate(0, "a");
    assert_eq!(reversed.digest(), once.digest());
    for answered in [&in_order, &reversed] {
        assert_eq!(answered.fates(), [1, 1, 0, 0]);
        let served = answered.learner().evaluation().served();
        assert_eq!((served.count, served.sum), (1.0, 1.0));
    }
    // Where one says nothing of when it happened, the one that came later is the newer.
    assert_eq!(reversed.submit(0, "b", |_| {}).fate, Some(Fate::Applied));
    // A label of an earlier time than that correction is filled in later, and corrects nothing.
    assert_eq!(reversed.submit(0, "a", at(30)).fate, Some(Fate::Superseded));
    // One of a later time does.
    let now = reversed.learner().time().0;
    assert_eq!(reversed.submit(0, "a", at(now)).fate, Some(Fate::Applied));
}

#[test]
fn only_a_reviewer_corrects_another_source() {
    let by = |source: &'static str, actor: &'static str| {
        move |feedback: &mut Feedback| {
            feedback.source = source.to_owned();
            feedback.actor = actor.to_owned();
        }
    };
    let mut answered = AnsweredRows::analytic(1);
    answered.submit(0, "b", by("ours", "machine"));
    let step = answered.submit(0, "a", by("theirs", "machine"));
    assert_eq!(step.fate, Some(Fate::Quarantined));
    assert_eq!(step.contradicts.as_deref(), Some("said-1"));
    assert_eq!(answered.fates(), [1, 0, 1, 0]);
    // A restore does not change the given labels.
    answered.order(Order::Restore { version: 1 });
    assert_eq!(answered.fates(), [0, 0, 1, 1]);
    assert_eq!(
        answered.submit(0, "a", by("ours", "machine")).fate,
        Some(Fate::Applied)
    );
    assert_eq!(
        answered.submit(0, "b", by("theirs", "")).fate,
        Some(Fate::Applied)
    );
    assert_eq!(answered.fates(), [1, 1, 1, 1]);
    let sources: Vec<_> = answered.learner().sources().learned().collect();
    assert_eq!(sources, [("theirs", 1)]);
}

#[test]
fn a_restore_between_two_labels_leaves_the_second_to_be_learned_whole() {
    let mut answered = AnsweredRows::analytic(2);
    let empty = answered.digest();
    answered.fate(0, "b");
    let first = answered.order(Order::Checkpoint);
    let learned = answered.digest();
    answered.order(Order::Restore { version: 1 });
    assert_eq!(answered.digest(), empty);
    let mut once = AnsweredRows::analytic(2);
    once.fate(0, "a");
    assert_eq!(answered.fate(0, "a"), Fate::Applied);
    assert_eq!(answered.digest(), once.digest());
    assert_eq!(answered.fates(), [1, 0, 0, 1]);
    // Brought back, the state holds the first; the second is undone, and can be sent again.
    answered.order(Order::Restore { version: first });
    assert_eq!(answered.digest(), learned);
    assert_eq!(answered.fates(), [1, 0, 0, 1]);
    assert_eq!(answered.fate(0, "a"), Fate::Applied);
    assert_eq!(answered.fates(), [1, 1, 0, 1]);
    assert_eq!(answered.learner().learned().n_examples(), 1);
    let served = answered.learner().evaluation().served();
    assert_eq!((served.count, served.sum), (1.0, 1.0));
}

#[test]
fn p6_the_older_label_comes_back_where_the_newer_one_is_taken_back() {
    for (learner, remembered) in learners() {
        let case = case("classification", &learner, SEED, remembered);
        let (mut answered, mut never) =
            (AnsweredRows::new(&case, 20), AnsweredRows::new(&case, 20));
        for row in 0..10 {
            let class = answered.ids[row].1;
            answered.fate(row, class);
            never.fate(row, class);
        }
        let corrected = answered.n_submitted + 1;
        answered.fate(3, other(answered.ids[3].1));
        answered.fate(4, other(answered.ids[4].1));
        never.fate(4, other(answered.ids[4].1));
        for row in 10..20 {
            let class = answered.ids[row].1;
            answered.fate(row, class);
            never.fate(row, class);
        }
        answered.retract(&format!("said-{corrected}"));
        assert_eq!(answered.digest(), never.digest(), "{}", case.name);
        let served = [&answered, &never].map(|answered| answered.learner().evaluation().served());
        assert_eq!(served[0], served[1]);
        // Without the older one, the newer one is the only label.
        let before = answered.learner().ledger().count(Fate::Superseded);
        answered.retract("said-5");
        let after = answered.learner().ledger().count(Fate::Superseded);
        assert_eq!((before, after), (1, 0), "{}", case.name);
    }
}

#[test]
fn p6_the_second_label_is_all_that_was_learned_where_the_first_is_taken_back_or_undone_between() {
    for (learner, remembered) in learners() {
        let case = case("classification", &learner, SEED, remembered);
        let rows_of = || AnsweredRows::new(&case, 20);
        let (mut retracted, mut restored, mut once) = (rows_of(), rows_of(), rows_of());
        for row in 0..10 {
            let class = once.ids[row].1;
            for answered in [&mut retracted, &mut restored, &mut once] {
                answered.fate(row, class);
            }
        }
        let before = restored.order(Order::Checkpoint);
        let wrong = other(once.ids[10].1);
        retracted.fate(10, wrong);
        restored.fate(10, wrong);
        retracted.retract("said-11");
        restored.order(Order::Restore { version: before });
        for row in 10..20 {
            let class = once.ids[row].1;
            for answered in [&mut retracted, &mut restored, &mut once] {
                let fate = answered.fate(row, class);
                assert!(
                    matches!(fate, Fate::Applied | Fate::Pending),
                    "{fate:?}: {}",
                    case.name
                );
            }
        }
        assert_eq!(retracted.digest(), once.digest(), "{}", case.name);
        assert_eq!(restored.digest(), once.digest(), "{}", case.name);
        let served = [&retracted, &restored, &once];
        let served = served.map(|answered| answered.learner().evaluation().served());
        assert_eq!(served[0], served[2], "{}", case.name);
    }
}

#[test]
fn a_correction_has_its_fate_at_once_where_several_examples_make_an_update() {
    let learner = "[learner]\nkind = \"gradient\"\nexamples_per_update = 4\n";
    let mut answered = AnsweredRows::new(&case("classification", learner, SEED, 0), 8);
    for row in 0..3 {
        assert_eq!(answered.fate(row, answered.ids[row].1), Fate::Pending);
    }
    // The first label waits for its update, and so does the one that takes its place.
    assert_eq!(answered.fate(0, other(answered.ids[0].1)), Fate::Pending);
    assert_eq!(answered.fates(), [0, 1, 0, 0]);
    assert_eq!(answered.fate(3, answered.ids[3].1), Fate::Applied);
    assert_eq!(answered.fates(), [4, 1, 0, 0]);
    // Here the first one is learned: a correction of the second one is learned at once.
    assert_eq!(answered.fate(1, other(answered.ids[1].1)), Fate::Applied);
    assert_eq!(answered.fates(), [4, 2, 0, 0]);
}

#[test]
fn p2_labels_that_were_corrected_survive_a_restart() {
    let mut answered = AnsweredRows::analytic(3);
    answered.fate(0, "b");
    answered.fate(0, "a");
    answered.fate(1, "a");
    let mut replayed = AnsweredRows {
        harness: answered.harness.clone(),
        ids: answered.ids.clone(),
        n_submitted: answered.n_submitted,
    };
    answered.harness.reload();
    assert!(answered.harness.learner == replayed.harness.learner);
    for answered in [&mut answered, &mut replayed] {
        assert_eq!(answered.fate(0, "b"), Fate::Applied);
        assert_eq!(answered.fate(1, "b"), Fate::Applied);
    }
    assert!(answered.harness.learner == replayed.harness.learner);
}

#[test]
fn a_bandit_and_a_regression_take_corrected_truths_as_well() {
    let learner = "[learner]\nkind = \"analytic\"\n";
    let mut bandit = AnsweredRows::new(&case("bandit", learner, SEED, 0), 1);
    assert_eq!(bandit.fate(0, "a"), Fate::Applied);
    assert_eq!(bandit.fate(0, "b"), Fate::Applied);
    assert_eq!(bandit.fates(), [1, 1, 0, 0]);
    let served = bandit.learner().evaluation().served();
    assert_eq!(served.count, 1.0);
    let mut numbers = AnsweredRows::new(&case("regression", learner, SEED, 0), 2);
    let value = |value: f64| move |feedback: &mut Feedback| feedback.signal = Signal::Value(value);
    // The first value judges nothing.
    assert_eq!(numbers.submit(1, "", value(4.0)).fate, Some(Fate::Applied));
    assert_eq!(numbers.learner().evaluation().served().count, 0.0);
    assert_eq!(numbers.submit(0, "", value(5.0)).fate, Some(Fate::Applied));
    assert_eq!(numbers.submit(0, "", value(2.0)).fate, Some(Fate::Applied));
    assert_eq!(numbers.fates(), [2, 1, 0, 0]);
    let served = numbers.learner().evaluation().served();
    assert_eq!((served.count, served.sum), (1.0, 2.0));
}
