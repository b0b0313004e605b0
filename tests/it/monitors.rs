//! Monitors: every score of served answers, their labels, slices and the exposure of actions.
//!
//! Invariant: figures are derived from the journal alone, wherever and however often it is applied, and
//! have the same name and value wherever they are printed.

use std::fs;

use crate::support::server::{Server, run, text};
use crate::support::{LearnerHarness, Workspace, label, rows};
use perennial::event::{
    Column, Command, Disposal, Event, Feedback, Order, Outputs, Retraction, Selector, Signal,
    WatchedStream,
};
use perennial::learn::{Figure, Learner};
use perennial::model::Spec;
use serde_json::Value;

/// A quick learner with slices by an input and a tag.
const SLICED: &str = "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
    [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"y\"\nkind = \"number\"\n\
    [[input]]\nname = \"c\"\nkind = \"category\"\n[learner]\nkind = \"gradient\"\n\
    learning_rate = 0.05\n[memory]\nstrategy = \"none\"\n\
    [monitor]\ninputs = [\"c\"]\ntags = [\"team\"]\nvalues_max = 2\nwindow = 80\n";

fn command(order: Order) -> Event {
    Event::Command(Command {
        order,
        actor: String::new(),
        note: String::new(),
    })
}

/// Answers rows of the fixture and labels all but each fifth, by turns of four teams; gives of each
/// labelled one its kind `c`, whether it was right, and the probability of its label.
fn teach(harness: &mut LearnerHarness, n_rows: usize) -> Vec<(String, bool, f64)> {
    let mut judged = Vec::new();
    for (index, (batch, truth)) in rows(n_rows, 0.4).enumerate() {
        let Column::Strings(kind) = batch.columns[2].clone() else {
            panic!("a category")
        };
        let prediction = harness.predict(batch);
        if index % 5 == 4 {
            continue;
        }
        let p = prediction.outputs.probabilities().expect("classes");
        let of_truth = p[usize::from(truth == "b")];
        // Of two that are alike the first is answered.
        let is_right = of_truth > 0.5 || (of_truth == 0.5 && truth == "a");
        judged.push((kind[0].clone(), is_right, f64::from(of_truth)));
        let mut feedback = label(prediction.ids[0], &format!("row-{index}"), truth);
        feedback.tags = [("team".to_owned(), format!("t{}", index % 4))].into();
        feedback.source = format!("source {}", index % 3);
        harness.append(Event::Feedback(feedback));
    }
    judged
}

fn figure(learner: &Learner, [name, of, slice]: [&str; 3]) -> Figure {
    let figures = learner.figures();
    let is_it = |one: &&Figure| one.name == name && one.of == of && one.slice == slice;
    let found = figures.iter().find(is_it);
    found
        .unwrap_or_else(|| panic!("no {name} {of} {slice} in {figures:#?}"))
        .clone()
}

fn all(learner: &Learner, name: &str) -> f64 {
    figure(learner, [name, "", ""]).all.expect("it is known")
}

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found} {expected}");
}

fn accuracy<'a>(judged: impl Iterator<Item = &'a (String, bool, f64)>) -> f64 {
    let rights: Vec<f64> = judged.map(|one| f64::from(u8::from(one.1))).collect();
    rights.iter().sum::<f64>() / rights.len() as f64
}

#[test]
fn scores_are_those_of_the_served_answers_counted_by_hand() {
    let mut harness = LearnerHarness::new(SLICED);
    let judged = teach(&mut harness, 500);
    let learner = &harness.learner;
    assert_eq!(judged.len(), 400);
    near(
        all(learner, "progressive_accuracy"),
        accuracy(judged.iter()),
    );
    near(
        all(learner, "progressive_accuracy"),
        learner.evaluation().served().mean(),
    );
    let recent = figure(learner, ["progressive_accuracy", "", ""]).recent;
    near(
        recent.expect("there are answers"),
        learner.evaluation().recent(),
    );
    let log_loss = judged.iter().map(|one| -one.2.ln()).sum::<f64>() / 400.0;
    near(all(learner, "log_loss"), log_loss);
    let brier = judged
        .iter()
        .map(|one| 2.0 * (1.0 - one.2).powi(2))
        .sum::<f64>()
        / 400.0;
    assert!((all(learner, "brier_score") - brier).abs() < 1e-6);
    // The window is of the last 80 answers, in blocks of ten.
    let window = figure(learner, ["progressive_accuracy", "", ""]).window;
    near(
        window.expect("there are answers"),
        accuracy(judged[320..].iter()),
    );
    near(all(learner, "feedback_rate"), 0.8);
    // A record between an answer and its label takes a second as well.
    assert!(all(learner, "label_delay_seconds") < 1.1);
    near(
        figure(learner, ["labelled_within", "1m", ""])
            .all
            .expect("known"),
        0.8,
    );
    let n_confused: f64 = learner.confusion().iter().map(|pair| pair.n).sum();
    assert_eq!(n_confused, 400.0);
}

#[test]
fn slices_are_scored_apart_and_their_number_is_bounded() {
    let mut harness = LearnerHarness::new(SLICED);
    let judged = teach(&mut harness, 500);
    let learner = &harness.learner;
    let mut kinds: Vec<&str> = Vec::new();
    for one in &judged {
        if !kinds.contains(&one.0.as_str()) {
            kinds.push(&one.0);
        }
    }
    assert_eq!(kinds.len(), 3);
    for kind in &kinds[..2] {
        let slice = format!("c={kind}");
        let of_kind = || judged.iter().filter(|one| one.0 == *kind);
        let n = figure(learner, ["judged", "", &slice]).all;
        assert_eq!(n, Some(of_kind().count() as f64));
        let found = figure(learner, ["progressive_accuracy", "", &slice]).all;
        near(found.expect("it was judged"), accuracy(of_kind()));
        let difference = figure(learner, ["champion_difference", "", &slice]).all;
        assert!(difference.is_some_and(|one| one.abs() <= 1.0));
    }
    let others = figure(learner, ["judged", "", "c=(others)"]).all;
    let n_others = judged.iter().filter(|one| one.0 == kinds[2]).count();
    assert_eq!(others, Some(n_others as f64));
    // The third and the fourth team count together.
    let team = |name: &str| figure(learner, ["judged", "", &format!("tag:team={name}")]).all;
    assert_eq!(team("t0"), Some(100.0));
    assert_eq!(team("(others)"), Some(200.0));
}

#[test]
fn p2_figures_are_derived_again_from_the_start_and_from_what_was_saved() {
    let mut harness = LearnerHarness::new(SLICED);
    teach(&mut harness, 300);
    let mut again = LearnerHarness::before(&harness.journal);
    let mut saved = LearnerHarness::before(&harness.journal);
    for entry in &harness.journal {
        again.apply(entry.clone());
        saved.apply(entry.clone());
        if entry.position % 97 == 0 {
            saved.reload();
        }
    }
    assert!(again.learner == harness.learner);
    assert!(saved.learner == harness.learner);
}

#[test]
fn p6_a_retraction_derives_the_figures_of_never_having_seen_it() {
    let mut harness = LearnerHarness::new(SLICED);
    teach(&mut harness, 200);
    let is_taken =
        |event: &Event| matches!(event, Event::Feedback(one) if one.source == "source 1");
    let mut without = LearnerHarness::before(&harness.journal);
    for entry in &harness.journal {
        match &entry.event {
            event if is_taken(event) => {}
            Event::Version(_) | Event::Verdict(_) | Event::Drift(_) => {}
            event => drop(without.append_at(entry.time, event.clone())),
        }
    }
    let mut taken = harness
        .journal
        .iter()
        .filter(|entry| is_taken(&entry.event));
    let first_position = taken.next().expect("there is one").position;
    let before = all(&harness.learner, "feedback_rate");
    harness.append(command(Order::Retract(Retraction {
        selector: Selector::Source("source 1".to_owned()),
        first_position,
        disposal: Disposal::Keep,
    })));
    assert!(all(&harness.learner, "feedback_rate") < before);
    assert_eq!(harness.learner.figures(), without.learner.figures());
    assert_eq!(harness.learner.confusion(), without.learner.confusion());
    assert_eq!(
        harness.learner.last_feedback(),
        without.learner.last_feedback()
    );
}

#[test]
fn a_restore_leaves_what_was_answered() {
    let mut harness = LearnerHarness::new(SLICED);
    teach(&mut harness, 100);
    let sides = |one: &Figure| one.name != "champion_difference";
    let figures = |harness: &LearnerHarness| {
        let figures = harness.learner.figures().into_iter();
        figures.filter(sides).collect::<Vec<_>>()
    };
    let before = figures(&harness);
    harness.append(command(Order::Restore { version: 1 }));
    assert_eq!(figures(&harness), before);
}

#[test]
fn a_corrected_label_judges_its_answer_once_by_the_last_word() {
    let mut harness = LearnerHarness::new(SLICED);
    let mut rows = rows(2, 0.4);
    let (first, second) = (rows.next().expect("a row").0, rows.next().expect("a row").0);
    let prediction = harness.predict(first);
    let p = prediction.outputs.probabilities().expect("classes");
    let (answered, other) = if p[0] >= p[1] { ("a", "b") } else { ("b", "a") };
    let send = |harness: &mut LearnerHarness, id: &str, name: &str, team: &str| {
        let mut feedback: Feedback = label(prediction.ids[0], id, name);
        feedback.tags = [("team".to_owned(), team.to_owned())].into();
        harness.append(Event::Feedback(feedback));
    };
    send(&mut harness, "1", other, "t1");
    assert_eq!(all(&harness.learner, "progressive_accuracy"), 0.0);
    send(&mut harness, "2", answered, "t2");
    assert_eq!(all(&harness.learner, "progressive_accuracy"), 1.0);
    assert_eq!(all(&harness.learner, "feedback_rate"), 1.0);
    let judged = |harness: &LearnerHarness, team: &str| {
        let slice = format!("tag:team={team}");
        figure(&harness.learner, ["judged", "", &slice]).all
    };
    assert_eq!(
        (judged(&harness, "t1"), judged(&harness, "t2")),
        (Some(0.0), Some(1.0))
    );
    let window = figure(&harness.learner, ["recall", answered, ""]);
    assert_eq!((window.all, window.window), (Some(1.0), Some(1.0)));
    // Confirmed by another team, it counts in its slice.
    send(&mut harness, "3", answered, "t1");
    assert_eq!(
        (judged(&harness, "t1"), judged(&harness, "t2")),
        (Some(1.0), Some(0.0))
    );
    harness.predict(second);
    assert_eq!(all(&harness.learner, "feedback_rate"), 0.5);
}

#[test]
fn earlier_revisions_have_no_monitors() {
    let plain = SLICED.split("[monitor]").next().expect("a description");
    let mut harness = LearnerHarness::new(&format!("{plain}[rules]\nrevision = 2\n"));
    teach(&mut harness, 20);
    assert!(harness.learner.figures().is_empty());
    assert_eq!(harness.learner.last_feedback(), None);
}

/// A stream whose labels flip in one slice of a twentieth of the rows, from this row on.
const FLIP: usize = 6000;

#[test]
fn a_slice_of_a_twentieth_whose_labels_flip_raises_an_alarm_of_its_own() {
    let plain = SLICED.split("[monitor]").next().expect("a description");
    let toml = format!("{plain}[monitor]\ntags = [\"shop\"]\n");
    let mut harness = LearnerHarness::new(&toml);
    for (index, (batch, truth)) in rows(FLIP + 1500, 0.4).enumerate() {
        let id = harness.predict(batch).ids[0];
        let shop = index % 20;
        let flipped = if truth == "a" { "b" } else { "a" };
        let is_flipped = shop == 7 && index >= FLIP;
        let truth = if is_flipped { flipped } else { truth };
        let mut feedback = label(id, &format!("row-{index}"), truth);
        feedback.tags = [("shop".to_owned(), shop.to_string())].into();
        harness.append(Event::Feedback(feedback));
    }
    let mut n_labels = 0;
    let mut alarms = Vec::new();
    for entry in &harness.journal {
        match &entry.event {
            Event::Feedback(_) => n_labels += 1,
            Event::Drift(alarm) => alarms.push((n_labels, alarm.clone())),
            _ => {}
        }
    }
    let of_slices: Vec<_> = alarms
        .iter()
        .filter(|one| one.1.watched == WatchedStream::Slice)
        .collect();
    let (at, first) = of_slices.first().expect("an alarm of a slice");
    assert_eq!(first.input, "tag:shop=7");
    assert!(
        of_slices.iter().all(|one| one.1.input == "tag:shop=7"),
        "{of_slices:?}"
    );
    let delay = at - FLIP;
    assert!(
        *at > FLIP && delay <= 400,
        "{delay} rows, {} of the slice",
        delay / 20
    );
    let slice = figure(&harness.learner, ["progressive_accuracy", "", "tag:shop=7"]);
    assert!(slice.recent < slice.all, "{slice:?}");
}

/// Rewards of an action in one round of a bandit: `a` always earns 0.6, `b` nothing before the round 300
/// and 1 from then on.
fn reward(action: u32, round: usize) -> f64 {
    match action {
        0 => 0.6,
        _ => f64::from(u8::from(round >= 300)),
    }
}

/// The share of action `b` in the rounds before 300, and in the last 300 of 1,200.
fn exposures(policy: &str) -> ([f64; 2], f64) {
    let toml = format!(
        "task = \"bandit\"\nactions = [\"a\", \"b\"]\n[[input]]\nname = \"x\"\nkind = \"number\"\n\
         [[input]]\nname = \"y\"\nkind = \"number\"\n[[input]]\nname = \"c\"\nkind = \"category\"\n\
         [learner]\nkind = \"analytic\"\nfeatures = 4\nforgetting = 0.99\n[policy]\n{policy}\n"
    );
    let mut harness = LearnerHarness::new(&toml);
    let (mut chosen, mut least) = (Vec::new(), 1.0f64);
    for (round, (batch, _)) in rows(1200, 0.4).enumerate() {
        let prediction = harness.predict(batch);
        let Outputs::Actions {
            chosen: action,
            propensities,
            ..
        } = &prediction.outputs
        else {
            panic!("an action")
        };
        least = least.min(f64::from(propensities[0]));
        chosen.push(f64::from(action[0]));
        harness.submit(prediction.ids[0], Signal::Reward(reward(action[0], round)));
    }
    let exposure = figure(&harness.learner, ["exposure", "b", ""])
        .all
        .expect("known");
    near(exposure, chosen.iter().sum::<f64>() / 1200.0);
    let share = |rounds: &[f64]| rounds.iter().sum::<f64>() / rounds.len() as f64;
    ([share(&chosen[..300]), share(&chosen[900..])], least)
}

#[test]
fn a_bandit_that_learns_from_its_own_choices_keeps_trying_every_action() {
    let ([first, last], _) = exposures("kind = \"greedy\"");
    assert!(
        first < 0.05 && last == 0.0,
        "without a floor {first} and {last}"
    );
    let ([first, last], least) = exposures("kind = \"greedy\"\nfloor = 0.1");
    // Of 300 rounds at 0.1 each, four deviations are 0.07.
    assert!((0.03..0.2).contains(&first), "{first}");
    assert!(least >= 0.1 - 1e-6, "{least}");
    assert!(last > 0.8, "the better action was not found: {last}");
    let error = Spec::parse(
        "task = 'bandit'\nactions = ['a', 'b', 'c']\n[[input]]\nname = 'x'\nkind = 'number'\n\
         [policy]\nkind = 'greedy'\nfloor = 0.4\n",
    );
    assert_eq!(
        error.expect_err("it is refused").to_string(),
        "policy.floor = 0.4: expected at most 1 over the number of actions, 0.3333333333333333"
    );
}

#[test]
fn the_estimate_while_labels_are_late_is_near_what_they_say_later() {
    let mut harness = LearnerHarness::new(SLICED);
    teach(&mut harness, 1500);
    let mut late = Vec::new();
    for (index, (batch, truth)) in rows(2500, 0.4).enumerate().skip(1500) {
        let prediction = harness.predict(batch);
        late.push((prediction.ids[0], index, truth));
    }
    let estimate = figure(&harness.learner, ["estimated_accuracy", "", ""]).recent;
    let mut n_right = 0.0;
    let before = harness.learner.evaluation().served();
    for (id, index, truth) in late {
        harness.append(Event::Feedback(label(id, &format!("late-{index}"), truth)));
    }
    let after = harness.learner.evaluation().served();
    n_right += after.sum - before.sum;
    let found = n_right / (after.count - before.count);
    let estimate = estimate.expect("there are labels");
    assert!((estimate - found).abs() < 0.03, "{estimate} of {found}");
}

/// The rows of the fixture as a file.
fn file(workspace: &Workspace) -> std::path::PathBuf {
    let mut lines = "x,y,c,target\n".to_owned();
    for (batch, truth) in rows(300, 0.4) {
        let [Column::Numbers(x), Column::Numbers(y), Column::Strings(c)] = &batch.columns[..]
        else {
            panic!("a number, a number and a category")
        };
        lines += &format!("{},{},{},{truth}\n", x[0], y[0], c[0]);
    }
    let path = workspace.data().with_file_name("rows.csv");
    fs::write(&path, lines).expect("a file");
    path
}

#[test]
fn figures_have_one_name_and_value_wherever_they_are_printed() {
    let workspace = Workspace::new(&[("m", SLICED)]);
    let file = file(&workspace);
    let folder = workspace.models().join("m");
    let args = ["evaluate", text(&folder), text(&file), "--target", "target"];
    let evaluated = run(&[&args[..], &["--json"]].concat(), 0).0;
    let evaluated: Value = serde_json::from_str(&evaluated).expect("an object");
    let server = Server::of(&workspace);
    let streamed = server.json(&["stream", "m", text(&file), "--target", "target"]);
    let monitors = &server.json(&["status", "m"])["monitors"];
    let page = server.metrics();
    for name in [
        "progressive_accuracy",
        "commonest_class_accuracy",
        "balanced_accuracy",
        "kappa",
        "log_loss",
        "brier_score",
        "calibration_error",
        "mean_confidence",
        "auc",
        "feedback_rate",
    ] {
        let known = monitors[name]["all"]
            .as_f64()
            .unwrap_or_else(|| panic!("{name}: {monitors}"));
        near(evaluated[name].as_f64().expect(name), known);
        near(streamed[name].as_f64().expect(name), known);
        let line =
            format!("perennial_monitor{{model=\"m\",monitor=\"{name}\",span=\"all\"}} {known}\n");
        assert!(page.contains(&line), "{line}{page}");
    }
    let estimate = &monitors["estimated_accuracy"]["recent"];
    assert_eq!(&evaluated["estimated_accuracy"], estimate);
    assert_eq!(evaluated["slices"], streamed["slices"]);
    let blue = &monitors["slices"]["c=blue"]["log_loss"]["all"];
    assert_eq!(&evaluated["slices"]["c=blue"]["log_loss"], blue);
    let line = "perennial_monitor{model=\"m\",monitor=\"judged\",slice=\"c=blue\",span=\"all\"}";
    assert!(page.contains(line), "{page}");
    assert!(
        page.contains("monitor=\"feedback_silence_seconds\",span=\"all\"}"),
        "{page}"
    );
    assert!(
        monitors["recall"]["a"]["window"].as_f64() > Some(0.5),
        "{monitors}"
    );
    let shown = server.ask(&["status", "m"]);
    assert!(
        shown.contains("labels       feedback rate 1.0000"),
        "{shown}"
    );
    assert!(shown.contains("slice        c="), "{shown}");
    server.stop();
}
