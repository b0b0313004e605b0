//! A second label: which of two counts, and what becomes of the other.

use perennial::event::{
    Command, Disposal, Event, Feedback, Order, Outputs, PredictionId, Retraction, Selector, Signal,
    Time,
};
use perennial::learn::{Fate, Learner, Step};
use perennial::model::Choice;

use crate::support::cases::{Case, SEED, case, learners};
use crate::support::{LearnerHarness, label, rows};

/// Rows with a class, all answered before the first label comes.
struct Desk {
    room: LearnerHarness,
    ids: Vec<(PredictionId, &'static str)>,
    n_said: usize,
}

fn other(class: &str) -> &'static str {
    if class == "a" { "b" } else { "a" }
}

impl Desk {
    fn new(case: &Case, n_rows: usize) -> Desk {
        let mut room = LearnerHarness::new(&case.toml);
        let ids = rows(n_rows, 0.3).map(|(batch, class)| (room.predict(batch).ids[0], class));
        let ids = ids.collect();
        Desk {
            room,
            ids,
            n_said: 0,
        }
    }

    fn analytic(n_rows: usize) -> Desk {
        let learner = "[learner]\nkind = \"analytic\"\n";
        Desk::new(&case("classification", learner, SEED, 0), n_rows)
    }

    /// Says which class row `row` is of; the test may change what else the event holds.
    fn say(&mut self, row: usize, class: &str, change: impl Fn(&mut Feedback)) -> Step {
        self.n_said += 1;
        let mut feedback = label(self.ids[row].0, &format!("said-{}", self.n_said), class);
        change(&mut feedback);
        self.room.tell(Event::Feedback(feedback))
    }

    fn fate(&mut self, row: usize, class: &str) -> Fate {
        self.say(row, class, |_| {}).fate.expect("a fate")
    }

    fn order(&mut self, order: Order) -> u64 {
        let (actor, note) = Default::default();
        let step = self
            .room
            .tell(Event::Command(Command { order, actor, note }));
        assert_eq!(step.refused, None);
        step.version.expect("a version").version
    }

    fn retract(&mut self, feedback_id: &str) {
        let selector = Selector::FeedbackId(feedback_id.to_owned());
        let chosen = |entry: &&perennial::event::Entry| match &entry.event {
            Event::Feedback(feedback) => selector.chooses(feedback, entry.time),
            _ => false,
        };
        let first = self.room.journal.iter().find(chosen).expect("it is there");
        let first_position = first.position;
        self.order(Order::Retract(Retraction {
            selector,
            first_position,
            disposal: Disposal::Keep,
        }));
    }

    fn learner(&self) -> &Learner {
        &self.room.learner
    }

    fn digest(&self) -> [u8; 32] {
        self.learner().learned().digest()
    }

    /// How many events were applied, superseded, quarantined and undone.
    fn fates(&self) -> [u64; 4] {
        let ledger = self.learner().ledger();
        assert_eq!(ledger.total(), self.n_said as u64);
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
        let mut desk = Desk::new(&case, 200);
        let classes: Vec<_> = desk.ids.iter().map(|(_, class)| *class).collect();
        for (row, class) in classes.iter().enumerate() {
            desk.fate(row, other(class));
        }
        let before = desk.known();
        for (row, class) in classes.iter().enumerate() {
            let fate = desk.fate(row, class);
            assert!(matches!(fate, Fate::Applied | Fate::Pending), "{fate:?}");
        }
        let (after, remembered) = (desk.known(), desk.learner().learned().n_remembered());
        println!(
            "{before:.3} before, {after:.3} after, {remembered} remembered, {}",
            case.name
        );
        let ledger = desk.learner().ledger();
        assert_eq!(ledger.count(Fate::Superseded), 200, "{}", case.name);
        assert_eq!(ledger.total(), 400);
        assert!(after > 0.9, "{before} {after}: {}", case.name);
    }
}

#[test]
fn a_corrected_label_is_exact_where_its_kind_can_subtract() {
    let (mut desk, mut once) = (Desk::analytic(60), Desk::analytic(60));
    for row in 0..60 {
        let class = desk.ids[row].1;
        let first = if row % 3 == 0 { other(class) } else { class };
        desk.fate(row, first);
        once.fate(row, class);
    }
    for row in (0..60).step_by(3) {
        assert_eq!(desk.fate(row, desk.ids[row].1), Fate::Applied);
    }
    assert_eq!(desk.learner().learned().n_examples(), 60);
    let answers = [&desk, &once].map(|desk| {
        let model = desk.learner().model();
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

#[test]
fn the_served_answer_is_judged_once_and_by_the_last_word() {
    let mut desk = Desk::analytic(2);
    // Before anything is learned the first class is answered.
    desk.fate(0, "b");
    let served = |desk: &Desk| {
        let served = desk.learner().evaluation().served();
        (served.count, served.sum)
    };
    assert_eq!(served(&desk), (1.0, 0.0));
    assert_eq!(desk.fate(0, "a"), Fate::Applied);
    assert_eq!(served(&desk), (1.0, 1.0));
    assert_eq!(desk.fates(), [1, 1, 0, 0]);
    assert_eq!(desk.learner().learned().n_examples(), 1);
    assert_eq!(desk.fate(0, "a"), Fate::Duplicate, "it says the same");
    assert_eq!(desk.fate(0, "b"), Fate::Applied);
    assert_eq!(served(&desk), (1.0, 0.0));
    assert_eq!(desk.fates(), [1, 2, 0, 0]);
    let sources: Vec<_> = desk.learner().sources().learned().collect();
    assert_eq!(sources, [("test", 1)]);
}

#[test]
fn the_newer_label_counts_whichever_comes_first() {
    let at = |time: i64| move |feedback: &mut Feedback| feedback.event_time = Some(Time(time));
    let mut in_order = Desk::analytic(1);
    assert_eq!(in_order.say(0, "b", at(10)).fate, Some(Fate::Applied));
    assert_eq!(in_order.say(0, "a", at(20)).fate, Some(Fate::Applied));
    let mut reversed = Desk::analytic(1);
    assert_eq!(reversed.say(0, "a", at(20)).fate, Some(Fate::Applied));
    assert_eq!(reversed.say(0, "b", at(10)).fate, Some(Fate::Superseded));
    let mut once = Desk::analytic(1);
    once.fate(0, "a");
    assert_eq!(reversed.digest(), once.digest());
    for desk in [&in_order, &reversed] {
        assert_eq!(desk.fates(), [1, 1, 0, 0]);
        let served = desk.learner().evaluation().served();
        assert_eq!((served.count, served.sum), (1.0, 1.0));
    }
    // Where one says nothing of when it happened, the one that came later is the newer.
    assert_eq!(reversed.say(0, "b", |_| {}).fate, Some(Fate::Applied));
    // What happened before that correction came is filled in later, and corrects nothing.
    assert_eq!(reversed.say(0, "a", at(30)).fate, Some(Fate::Superseded));
    // What happened since does.
    let now = reversed.learner().time().0;
    assert_eq!(reversed.say(0, "a", at(now)).fate, Some(Fate::Applied));
}

#[test]
fn only_a_reviewer_corrects_what_another_source_said() {
    let by = |source: &'static str, actor: &'static str| {
        move |feedback: &mut Feedback| {
            feedback.source = source.to_owned();
            feedback.actor = actor.to_owned();
        }
    };
    let mut desk = Desk::analytic(1);
    desk.say(0, "b", by("ours", "machine"));
    let step = desk.say(0, "a", by("theirs", "machine"));
    assert_eq!(step.fate, Some(Fate::Quarantined));
    assert_eq!(step.contradicts.as_deref(), Some("said-1"));
    assert_eq!(desk.fates(), [1, 0, 1, 0]);
    // A restore does not change what was said.
    desk.order(Order::Restore { version: 1 });
    assert_eq!(desk.fates(), [0, 0, 1, 1]);
    assert_eq!(
        desk.say(0, "a", by("ours", "machine")).fate,
        Some(Fate::Applied)
    );
    assert_eq!(desk.say(0, "b", by("theirs", "")).fate, Some(Fate::Applied));
    assert_eq!(desk.fates(), [1, 1, 1, 1]);
    let sources: Vec<_> = desk.learner().sources().learned().collect();
    assert_eq!(sources, [("theirs", 1)]);
}

#[test]
fn a_restore_between_two_labels_leaves_the_second_to_be_learned_whole() {
    let mut desk = Desk::analytic(2);
    let empty = desk.digest();
    desk.fate(0, "b");
    let first = desk.order(Order::Checkpoint);
    let learned = desk.digest();
    desk.order(Order::Restore { version: 1 });
    assert_eq!(desk.digest(), empty);
    let mut once = Desk::analytic(2);
    once.fate(0, "a");
    assert_eq!(desk.fate(0, "a"), Fate::Applied);
    assert_eq!(desk.digest(), once.digest());
    assert_eq!(desk.fates(), [1, 0, 0, 1]);
    // Brought back, the first is what the state holds; the second is undone, and can be said again.
    desk.order(Order::Restore { version: first });
    assert_eq!(desk.digest(), learned);
    assert_eq!(desk.fates(), [1, 0, 0, 1]);
    assert_eq!(desk.fate(0, "a"), Fate::Applied);
    assert_eq!(desk.fates(), [1, 1, 0, 1]);
    assert_eq!(desk.learner().learned().n_examples(), 1);
    let served = desk.learner().evaluation().served();
    assert_eq!((served.count, served.sum), (1.0, 1.0));
}

#[test]
fn p6_the_older_label_comes_back_where_the_newer_one_is_taken_back() {
    for (learner, remembered) in learners() {
        let case = case("classification", &learner, SEED, remembered);
        let (mut desk, mut never) = (Desk::new(&case, 20), Desk::new(&case, 20));
        for row in 0..10 {
            let class = desk.ids[row].1;
            desk.fate(row, class);
            never.fate(row, class);
        }
        let corrected = desk.n_said + 1;
        desk.fate(3, other(desk.ids[3].1));
        desk.fate(4, other(desk.ids[4].1));
        never.fate(4, other(desk.ids[4].1));
        for row in 10..20 {
            let class = desk.ids[row].1;
            desk.fate(row, class);
            never.fate(row, class);
        }
        desk.retract(&format!("said-{corrected}"));
        assert_eq!(desk.digest(), never.digest(), "{}", case.name);
        let served = [&desk, &never].map(|desk| desk.learner().evaluation().served());
        assert_eq!(served[0], served[1]);
        // Without the older one, the newer one is all that was said.
        let before = desk.learner().ledger().count(Fate::Superseded);
        desk.retract("said-5");
        let after = desk.learner().ledger().count(Fate::Superseded);
        assert_eq!((before, after), (1, 0), "{}", case.name);
    }
}

#[test]
fn p2_labels_that_were_corrected_survive_a_restart() {
    let mut desk = Desk::analytic(3);
    desk.fate(0, "b");
    desk.fate(0, "a");
    desk.fate(1, "a");
    let mut lived = Desk {
        room: desk.room.clone(),
        ids: desk.ids.clone(),
        n_said: desk.n_said,
    };
    desk.room.reload();
    assert!(desk.room.learner == lived.room.learner);
    for desk in [&mut desk, &mut lived] {
        assert_eq!(desk.fate(0, "b"), Fate::Applied);
        assert_eq!(desk.fate(1, "b"), Fate::Applied);
    }
    assert!(desk.room.learner == lived.room.learner);
}

#[test]
fn a_bandit_and_a_regression_take_corrected_truths_as_well() {
    let learner = "[learner]\nkind = \"analytic\"\n";
    let mut bandit = Desk::new(&case("bandit", learner, SEED, 0), 1);
    assert_eq!(bandit.fate(0, "a"), Fate::Applied);
    assert_eq!(bandit.fate(0, "b"), Fate::Applied);
    assert_eq!(bandit.fates(), [1, 1, 0, 0]);
    let served = bandit.learner().evaluation().served();
    assert_eq!(served.count, 1.0);
    let mut numbers = Desk::new(&case("regression", learner, SEED, 0), 1);
    let value = |value: f64| move |feedback: &mut Feedback| feedback.signal = Signal::Value(value);
    assert_eq!(numbers.say(0, "", value(5.0)).fate, Some(Fate::Applied));
    assert_eq!(numbers.say(0, "", value(2.0)).fate, Some(Fate::Applied));
    assert_eq!(numbers.fates(), [1, 1, 0, 0]);
    let served = numbers.learner().evaluation().served();
    assert_eq!((served.count, served.sum), (1.0, 2.0));
}
