//! Drift: alarms of a stream whose labels flip, in memory and through the program.
//!
//! Invariant: alarms are derived from the journal alone, wherever and however often it is applied.

use std::fs;

use crate::support::server::{Server, run, text};
use crate::support::{AUTO, LearnerHarness, Workspace, label, rows};
use perennial::event::{
    Alarm, Column, Command, Disposal, Event, Order, Retraction, Selector, Signal, WatchedStream,
};
use perennial::learn::{Error, Learner};
use perennial::model::Spec;
use serde_json::Value;

/// Rows before the labels flip, and after.
const N_ROWS: [usize; 2] = [900, 120];

/// A quick learner, as its folder describes it.
const LINEAR: &str = "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
    [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"y\"\nkind = \"number\"\n\
    [[input]]\nname = \"c\"\nkind = \"category\"\n[learner]\nkind = \"gradient\"\n\
    learning_rate = 0.05\n[memory]\nstrategy = \"none\"\n";

fn command(order: Order) -> Event {
    Event::Command(Command {
        order,
        actor: String::new(),
        note: String::new(),
    })
}

/// Teaches the rows of the fixture; those behind the first `n_true` with the wrong labels, by a
/// source of their own.
fn teach(harness: &mut LearnerHarness, n_rows: usize, n_true: usize) {
    for (index, (batch, truth)) in rows(n_rows, 0.4).enumerate() {
        let is_true = index < n_true;
        let id = harness.predict(batch).ids[0];
        let flipped = if truth == "a" { "b" } else { "a" };
        let mut feedback = label(id, &format!("row-{index}"), truth);
        if !is_true {
            feedback.signal = Signal::Label(flipped.to_owned());
            feedback.source = "flipped".to_owned();
        }
        harness.append(Event::Feedback(feedback));
    }
}

fn recorded(harness: &LearnerHarness) -> Vec<&Alarm> {
    let alarms = harness
        .journal
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Drift(alarm) => Some(alarm),
            _ => None,
        });
    alarms.collect()
}

/// A journal with a flip, and its state.
fn flipped() -> LearnerHarness {
    let mut harness = LearnerHarness::new(LINEAR);
    teach(&mut harness, N_ROWS.iter().sum(), N_ROWS[0]);
    harness
}

#[test]
fn a_flip_of_labels_is_recorded_once_as_a_rise_of_errors() {
    let harness = flipped();
    let alarms = recorded(&harness);
    let first = alarms.first().expect("an alarm");
    assert_eq!(first.watched, WatchedStream::Error, "{alarms:?}");
    // A prediction, its feedback and a few records each.
    let flip = 2 * N_ROWS[0] as u64;
    assert!(
        first.position > flip && first.position < flip + 60,
        "{first:?}"
    );
    let detectors = harness.learner.detectors().expect("they are there");
    let n_alarms: u64 = detectors.n_alarms().map(|(_, n)| n).sum();
    assert_eq!(n_alarms, alarms.len() as u64);
    assert_eq!(detectors.alarms().collect::<Vec<_>>(), alarms);
    assert!(harness.learner.unrecorded().is_empty());
}

#[test]
fn p2_alarms_are_derived_again_from_the_start_and_from_what_was_saved() {
    let harness = flipped();
    let mut again = LearnerHarness::before(&harness.journal);
    let mut saved = LearnerHarness::before(&harness.journal);
    for entry in &harness.journal {
        again.apply(entry.clone());
        saved.apply(entry.clone());
        if entry.position % 97 == 0 || matches!(entry.event, Event::Drift(_)) {
            saved.reload();
        }
    }
    assert!(again.learner == harness.learner);
    assert!(saved.learner == harness.learner);
}

#[test]
fn a_record_that_was_not_derived_is_refused() {
    let harness = flipped();
    let is_alarm = |event: &Event| matches!(event, Event::Drift(_));
    let at = harness
        .journal
        .iter()
        .position(|entry| is_alarm(&entry.event));
    let mut other = LearnerHarness::before(&harness.journal);
    for entry in &harness.journal[..at.expect("an alarm")] {
        other.apply(entry.clone());
    }
    let Event::Drift(alarm) = &harness.journal[at.expect("an alarm")].event else {
        panic!("an alarm")
    };
    let forged = Alarm {
        evidence: alarm.evidence * 2.0,
        ..alarm.clone()
    };
    let entry = other.next(Event::Drift(forged));
    let error = other.try_apply(entry).expect_err("it diverges");
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
    let sentence = error.to_string();
    assert!(
        sentence.contains("an alarm of error at entry"),
        "{sentence}"
    );
}

#[test]
fn p6_without_the_flipped_labels_there_never_was_an_alarm() {
    let mut harness = flipped();
    assert!(!recorded(&harness).is_empty());
    let is_flipped =
        |event: &Event| matches!(event, Event::Feedback(feedback) if feedback.source == "flipped");
    let mut positions = harness
        .journal
        .iter()
        .filter(|entry| is_flipped(&entry.event));
    let first_position = positions.next().expect("it flips").position;
    harness.append(command(Order::Retract(Retraction {
        selector: Selector::Source("flipped".to_owned()),
        first_position,
        disposal: Disposal::Keep,
    })));
    let detectors = harness.learner.detectors().expect("they are there");
    assert_eq!(detectors.alarms().count(), 0);
    let mut without = LearnerHarness::new(LINEAR);
    teach(&mut without, N_ROWS[0], N_ROWS[0]);
    for (batch, _) in rows(N_ROWS.iter().sum(), 0.4).skip(N_ROWS[0]) {
        without.predict(batch);
    }
    // The answers of then were those of the flipped learner, which watches of answers see.
    let window = |learner: &Learner| learner.detectors().expect("there").error_window();
    assert_eq!(window(&harness.learner), window(&without.learner));
}

#[test]
fn a_restore_judges_other_weights_anew_and_goes_on_with_the_world() {
    let mut harness = flipped();
    let (n_answers, _) = harness.learner.detectors().expect("there").error_window();
    assert!(n_answers > 0.0);
    let alarms = recorded(&harness).len();
    harness.append(command(Order::Restore { version: 1 }));
    let detectors = harness.learner.detectors().expect("they are there");
    assert_eq!(detectors.error_window().0, 0.0);
    assert_eq!(detectors.alarms().count(), alarms);
}

#[test]
fn earlier_revisions_and_off_watch_nothing() {
    for more in ["[rules]\nrevision = 2\n", "[drift]\naction = \"off\"\n"] {
        let mut harness = LearnerHarness::new(&format!("{LINEAR}{more}"));
        teach(&mut harness, 30, 20);
        assert!(harness.learner.detectors().is_none(), "{more}");
    }
    let check = |more: &str, expected: &str| {
        let error = Spec::parse(&format!("{LINEAR}{more}")).expect_err(more);
        assert_eq!(error.to_string(), expected);
    };
    check(
        "[drift]\nfalse_alarms = 0\n",
        "drift.false_alarms = 0: expected a number of alarms in 100,000 events larger than 0, at \
         most 1000",
    );
    check(
        "[drift]\naction = \"panic\"\n",
        "drift.action = \"panic\": expected \"report\", \"freeze\", \"retrain\" or \"off\"",
    );
    check(
        "[drift]\naction = \"report\"\n[rules]\nrevision = 2\n",
        "drift.action = \"report\": only a model under rules.revision = 3 has it",
    );
}

/// The rows of the fixture as a file, the last ones with flipped labels.
fn file(workspace: &Workspace) -> std::path::PathBuf {
    let mut lines = "x,y,c,target\n".to_owned();
    for (index, (batch, truth)) in rows(N_ROWS.iter().sum(), 0.4).enumerate() {
        let [Column::Numbers(x), Column::Numbers(y), Column::Strings(c)] = &batch.columns[..]
        else {
            panic!("a number, a number and a category")
        };
        let flipped = if truth == "a" { "b" } else { "a" };
        let target = if index < N_ROWS[0] { truth } else { flipped };
        lines += &format!("{},{},{},{target}\n", x[0], y[0], c[0]);
    }
    let path = workspace.data().with_file_name("rows.csv");
    fs::write(&path, lines).expect("a file");
    path
}

#[test]
fn alarms_are_shown_wherever_scores_are_and_survive_a_kill() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let file = file(&workspace);
    let folder = workspace.models().join("m");
    let args = ["evaluate", text(&folder), text(&file), "--target", "target"];
    let evaluated = run(&[&args[..], &["--json"]].concat(), 0).0;
    let evaluated: Value = serde_json::from_str(&evaluated).expect("an object");
    let alarms = &evaluated["drift_alarms"];
    assert!(alarms["error"].as_u64() >= Some(1), "{evaluated}");
    let server = Server::of(&workspace);
    let streamed = server.json(&["stream", "m", text(&file), "--target", "target"]);
    assert_eq!(&streamed["drift_alarms"], alarms);
    let status = server.json(&["status", "m"]);
    assert_eq!(&status["drift_alarms"], alarms);
    let newest = &status["newest_alarms"][0];
    assert_eq!(newest["watched"], "error");
    assert_eq!(newest["change"], "higher");
    let page = server.metrics();
    let n_alarms = &alarms["error"];
    let line = format!("perennial_drift_alarms{{model=\"m\",watched=\"error\"}} {n_alarms}\n");
    assert!(page.contains(&line), "{page}");
    let shown = server.ask(&["status", "m"]);
    assert!(shown.contains("; newest: error"), "{shown}");
    drop(server);
    let server = Server::of(&workspace);
    assert_eq!(
        server.json(&["status", "m"])["newest_alarms"],
        status["newest_alarms"]
    );
    server.stop();
}
