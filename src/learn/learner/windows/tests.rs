//! Windows that close a few at a time: whatever comes between, it comes out as if all had closed at
//! once.

use std::collections::BTreeMap;

use super::super::super::join::PredictionSearch;
use super::super::fixture::PastFixture;
use super::*;
use crate::event::{
    Batch, Column, Command, Description, Entry, Event, Feedback, Order, Signal, Subject,
};
use crate::model::{Choice, REVISION, Spec};

const TOML: &str = "task = 'bandit'\nactions = ['a', 'b']\n\
    [[input]]\nname = 'x'\nkind = 'number'\n[learner]\nkind = 'analytic'\nfeatures = 8\n\
    [feedback]\nwindow_s = 10\ndefault_reward = 0.25\naggregate = 'sum'\n";

/// Closing so many windows at a time.
const BOUNDS: [usize; 4] = [1, 7, 64, 10_000];

struct Fixture {
    learner: Learner,
    past: PastFixture,
}

impl Fixture {
    fn new(toml: &str, windows_max: usize) -> Fixture {
        let spec = Spec::parse(toml).expect("a description");
        let mut learner = Learner::new(Arc::new(spec));
        learner.windows_max = windows_max;
        let mut fixture = Fixture {
            learner,
            past: PastFixture::default(),
        };
        fixture.describe(0, toml);
        fixture
    }

    /// Applies an event at so many seconds.
    fn apply(&mut self, at_s: i64, event: Event) -> Step {
        let entry = Entry {
            position: self.learner.position() + 1,
            time: Time(at_s * 1_000_000),
            event,
        };
        let step = self.past.apply(&mut self.learner, entry);
        if let Some(version) = step.version.clone() {
            self.apply(at_s, Event::Version(version));
        }
        step
    }

    fn describe(&mut self, at_s: i64, toml: &str) {
        let description = Description {
            toml: Spec::pin(toml, &[], REVISION),
            ..Description::default()
        };
        self.apply(at_s, Event::Description(description));
    }

    fn order(&mut self, at_s: i64, order: Order) -> Step {
        let (actor, note) = Default::default();
        self.apply(at_s, Event::Command(Command { order, actor, note }))
    }

    /// Rows answered within one request.
    fn predict(&mut self, at_s: i64, n_rows: usize) -> Vec<PredictionId> {
        let position = self.learner.position();
        let ids = (0..n_rows).map(|row| PredictionId(u128::from(position) << 32 | row as u128));
        let ids: Vec<_> = ids.collect();
        let numbers = (0..n_rows).map(|row| row as f64 / n_rows as f64);
        let batch = Batch {
            n_rows,
            columns: vec![Column::Numbers(numbers.collect())],
        };
        let model = self.learner.model();
        let mut outputs = model.predict(&batch, Choice::Best).expect("answers");
        if let Outputs::Actions { chosen, .. } = &mut outputs {
            let turns = chosen.iter_mut().enumerate();
            turns.for_each(|(row, action)| *action = row as u32 % 2);
        }
        let prediction = Prediction {
            ids: ids.clone(),
            batch,
            outputs,
            labels: BTreeMap::new(),
            version: self.learner.version(),
            position,
        };
        self.apply(at_s, Event::Prediction(prediction));
        ids
    }

    fn feed_back(&mut self, at_s: i64, id: PredictionId, signal: Signal) -> Option<Fate> {
        let feedback = Feedback {
            feedback_id: format!("{}", self.learner.position()),
            subject: Subject::Prediction(id),
            signal,
            source: String::new(),
            event_time: None,
            tags: BTreeMap::new(),
            actor: String::new(),
            weight: 1.0,
            comment: String::new(),
            may_correct: false,
        };
        self.apply(at_s, Event::Feedback(feedback)).fate
    }

    /// Ticks until nothing is due; how many it took.
    fn tick(&mut self, at_s: i64) -> usize {
        let now = Time(at_s * 1_000_000);
        let mut n_ticks = 0;
        while self.learner.next_tick().is_some_and(|due| due <= now) {
            self.apply(at_s, Event::Tick(now));
            n_ticks += 1;
        }
        n_ticks
    }

    /// The number of judged answers, and their rewards.
    fn served(&self) -> (f64, f64) {
        let served = self.learner.evaluation().served();
        (served.count, (served.sum * 1e9).round() / 1e9)
    }
}

/// Checks that a story has the same outcome under every bound, to the bit; gives the last fixture.
fn alike(toml: &str, story: impl Fn(&mut Fixture)) -> Fixture {
    let fixtures = BOUNDS.map(|windows_max| {
        let mut fixture = Fixture::new(toml, windows_max);
        story(&mut fixture);
        fixture
    });
    let what = |fixture: &Fixture| {
        let (ledger, digest) = (
            fixture.learner.ledger().clone(),
            fixture.learner.learned().digest(),
        );
        (
            fixture.served(),
            ledger,
            digest,
            fixture.learner.next_tick(),
        )
    };
    for (fixture, bound) in fixtures.iter().zip(BOUNDS) {
        assert_eq!(what(fixture), what(&fixtures[3]), "{bound} at a time");
    }
    let [.., last] = fixtures;
    last
}

#[test]
fn p8_windows_close_a_few_at_a_time_and_a_request_is_decoded_once() {
    for (bound, expected) in BOUNDS.into_iter().zip([45, 7, 1, 1]) {
        let mut fixture = Fixture::new(TOML, bound);
        fixture.predict(0, 40);
        fixture.predict(1, 5);
        assert_eq!(fixture.tick(30), expected, "{bound} at a time");
        assert_eq!(fixture.learner.learned().n_examples(), 45);
        assert_eq!(fixture.past.n_predictions_read, 2, "{bound} at a time");
    }
}

#[test]
fn p2_the_bound_on_windows_does_not_show_in_what_is_learned() {
    let fixture = alike(TOML, |fixture| {
        fixture.predict(0, 40);
        fixture.predict(1, 5);
        fixture.tick(30);
    });
    assert_eq!(fixture.served(), (45.0, 11.25));
}

#[test]
fn p5_silence_before_a_restore_is_undone_by_it_whether_it_was_learned_yet_or_not() {
    let fixture = alike(TOML, |fixture| {
        let first = fixture.predict(0, 3)[0];
        fixture.feed_back(1, first, Signal::Reward(1.0));
        fixture.order(2, Order::Checkpoint);
        let ids = fixture.predict(3, 40);
        fixture.order(30, Order::Restore { version: 2 });
        fixture.tick(30);
        let fate = fixture.feed_back(31, ids[39], Signal::Reward(1.0));
        assert_eq!(fate, Some(Fate::Late));
        fixture.tick(60);
    });
    assert_eq!(
        fixture.learner.learned().n_examples(),
        2,
        "the reward and the late one"
    );
    assert_eq!(fixture.served(), (43.0, 1.0 + 41.0 * 0.25 + 1.0));
}

#[test]
fn silence_earns_what_it_meant_when_its_window_ended() {
    let fixture = alike(TOML, |fixture| {
        fixture.predict(0, 40);
        fixture.describe(30, &TOML.replace("0.25", "0.75"));
        fixture.tick(30);
    });
    assert_eq!(fixture.served(), (40.0, 10.0));
}

#[test]
fn what_makes_room_has_closed_before() {
    let toml = format!("{TOML}waiting_max = 20\n");
    let fixture = alike(&toml, |fixture| {
        fixture.predict(0, 20);
        fixture.predict(30, 20);
        assert_eq!(fixture.tick(30), 0);
    });
    assert_eq!(fixture.learner.learned().n_examples(), 20);
}

#[test]
fn what_has_waited_too_long_takes_no_feedback_whether_it_was_closed_yet_or_not() {
    let toml = format!("{TOML}[journal]\nage_max = '10s'\n");
    let fixture = alike(&toml, |fixture| {
        let ids = fixture.predict(0, 40);
        let fate = fixture.feed_back(30, ids[39], Signal::Label("a".to_owned()));
        assert_eq!(fate, Some(Fate::Expired));
        fixture.tick(30);
        fixture.tick(31);
    });
    assert_eq!(fixture.learner.learned().n_examples(), 40);
}

#[test]
fn feedback_on_a_window_that_is_due_finds_it_closed() {
    let fixtures = BOUNDS.map(|windows_max| {
        let mut fixture = Fixture::new(TOML, windows_max);
        let ids = fixture.predict(0, 40);
        let fates = [
            fixture.feed_back(30, ids[39], Signal::Label("a".to_owned())),
            fixture.feed_back(30, ids[38], Signal::Reward(1.0)),
            fixture.feed_back(30, ids[37], Signal::PreferredOver(ids[36])),
        ];
        assert_eq!(
            fates,
            [Some(Fate::Applied), Some(Fate::Late), Some(Fate::Late)]
        );
        fixture.tick(30);
        let credited = ids
            .iter()
            .map(|id| match fixture.learner.joins().find(*id) {
                PredictionSearch::Waiting(waiting) => waiting.credited,
                other => panic!("{other:?}"),
            });
        assert_eq!(
            fixture.served(),
            (40.0, 37.0 * 0.25 + 2.0),
            "{windows_max} at a time"
        );
        credited.collect::<Vec<_>>()
    });
    fixtures
        .iter()
        .for_each(|credited| assert_eq!(*credited, fixtures[3]));
}

#[test]
fn a_shorter_window_is_not_held_up_by_an_older_longer_one() {
    let fixture = alike(TOML, |fixture| {
        let older = fixture.predict(0, 1)[0];
        fixture.describe(1, &TOML.replace("window_s = 10", "window_s = 2"));
        let newer = fixture.predict(2, 2);
        let in_time = fixture.feed_back(4, newer[0], Signal::Reward(1.0));
        assert_eq!(in_time, Some(Fate::Applied));
        // It has ended, whatever still waits before it, and its silence is learned first.
        let late = fixture.feed_back(5, newer[1], Signal::Reward(1.0));
        assert_eq!(late, Some(Fate::Late));
        assert_eq!(fixture.served(), (2.0, 2.0));
        assert_eq!(fixture.learner.learned().n_examples(), 2);
        let in_time = fixture.feed_back(9, older, Signal::Reward(0.5));
        assert_eq!(in_time, Some(Fate::Applied));
        assert_eq!(fixture.served(), (3.0, 2.5));
    });
    assert_eq!(fixture.learner.next_tick(), None);
}

#[test]
fn p2_open_windows_are_those_of_the_state_that_was_saved() {
    let mut fixture = Fixture::new(TOML, 1);
    fixture.predict(0, 4);
    fixture.describe(1, &TOML.replace("window_s = 10", "window_s = 2"));
    let ids = fixture.predict(2, 3);
    fixture.feed_back(3, ids[1], Signal::Reward(1.0));
    fixture.apply(7, Event::Tick(Time(7_000_000)));
    let (weights, state) = (fixture.learner.learned().weights(), fixture.learner.state());
    let mut loaded = Learner::load(weights, state).expect("what was saved");
    loaded.windows_max = 1;
    assert!(loaded == fixture.learner);
}

#[test]
fn a_prediction_waits_as_long_as_it_may_whatever_the_window_became() {
    let class = "task = 'classification'\nclasses = ['a', 'b']\n\
        [[input]]\nname = 'x'\nkind = 'number'\n[learner]\nkind = 'analytic'\nfeatures = 8\n";
    let toml = |window_s: u64| {
        format!("{class}[feedback]\nwindow_s = {window_s}\n[journal]\nage_max = '100s'\n")
    };
    for others in [[10, 500, 20], [500, 10, 500], [10, 10, 700]] {
        let mut fixture = Fixture::new(&toml(others[0]), 64);
        let a = || Signal::Label("a".to_owned());
        let first = fixture.predict(0, 2);
        fixture.describe(1, &toml(others[1]));
        let second = fixture.predict(40, 2);
        fixture.describe(41, &toml(others[2]));
        let third = fixture.predict(60, 1);
        let (weights, state) = (fixture.learner.learned().weights(), fixture.learner.state());
        assert!(Learner::load(weights, state).expect("what was saved") == fixture.learner);
        let mut check = |at_s: i64, id: PredictionId, expected: Fate| {
            assert_eq!(
                fixture.feed_back(at_s, id, a()),
                Some(expected),
                "{others:?} at {at_s}"
            );
        };
        check(100, first[0], Fate::Applied);
        check(101, first[1], Fate::Expired);
        check(140, second[0], Fate::Applied);
        check(141, second[1], Fate::Expired);
        check(160, third[0], Fate::Applied);
        assert_eq!(fixture.learner.joins().len(), 1);
    }
    // A reward counts until its own window has ended.
    let bandit = |window_s: u64| {
        let toml = TOML.replace("window_s = 10", &format!("window_s = {window_s}"));
        format!("{toml}[journal]\nage_max = '20s'\n")
    };
    let mut fixture = Fixture::new(&bandit(100), 64);
    let ids = fixture.predict(0, 2);
    fixture.describe(1, &bandit(10));
    let fate = fixture.feed_back(99, ids[0], Signal::Reward(1.0));
    assert_eq!(fate, Some(Fate::Applied));
    let fate = fixture.feed_back(101, ids[1], Signal::Reward(1.0));
    assert_eq!(fate, Some(Fate::Expired));
}
