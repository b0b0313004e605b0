//! Retraining: a learner that begins anew takes the place of the learned state, on a running engine, after it
//! was killed, and after a retraction.
//!
//! Invariant: its state is compared with a model that was taught those rows alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use perennial::engine::{
    Clock, ClockReading, Disposal, Engine, Error, Offline, RetractionRequest, RetrainReport,
    RetrainingRequest, ServedModel,
};
use perennial::event::{Command, Event, Order, Selector};
use perennial::store::{Config, Directory, Journal, Reader, verify};

use crate::support::{Workspace, copy, digest, order, rows, teach};

const INPUTS: &str = "[[input]]\nname = \"x\"\nkind = \"number\"\n\
                      [[input]]\nname = \"y\"\nkind = \"number\"\n\
                      [[input]]\nname = \"c\"\nkind = \"category\"\n";

/// Two classes; analytic keeps all that it learned, so wrong labels stay in it.
fn described(policy: &str, retrain: &str) -> String {
    format!(
        "task = \"classification\"\nclasses = [\"a\", \"b\"]\n{INPUTS}\
         [learner]\nkind = \"analytic\"\nfeatures = 24\n\
         [publish]\npolicy = \"{policy}\"\nevery_examples = 100000\n{retrain}"
    )
}

/// Teaches rows `from..to`, each as itself or, before `flip`, as the other class.
async fn teach_rows(model: &ServedModel, (from, to): (usize, usize), flip: usize) {
    for (index, (batch, truth)) in rows(to, 0.1).enumerate().skip(from) {
        let wrong = if truth == "a" { "b" } else { "a" };
        let given_label = if index < flip { wrong } else { truth };
        teach(model, batch, given_label, &format!("row-{index}")).await;
    }
}

async fn retrain(model: &ServedModel, newest: u64, force: bool) -> Result<RetrainReport, Error> {
    let request = RetrainingRequest {
        newest,
        force,
        ..RetrainingRequest::default()
    };
    model.retrain(request).await
}

/// A model that was taught rows `from..to` alone.
async fn taught_alone(toml: &str, (from, to): (usize, usize)) -> (Workspace, Arc<Engine>) {
    let workspace = Workspace::new(&[("m", toml)]);
    let engine = workspace.open();
    teach_rows(engine.model("m").unwrap(), (from, to), 0).await;
    (workspace, engine)
}

fn replayed(workspace: &Workspace) -> String {
    let offline = Offline::open(&workspace.data(), "m").unwrap();
    let mut replay = offline.replay(None).unwrap();
    while replay.advance(1000).unwrap() {}
    replay.outcome().digest
}

#[tokio::test]
async fn a_learner_that_begins_anew_has_learned_the_newest_rows_alone() {
    for toml in [
        described("live", ""),
        described("gated", ""),
        format!("task = \"classification\"\nclasses = [\"a\", \"b\"]\n{INPUTS}"),
    ] {
        let workspace = Workspace::new(&[("m", &toml)]);
        let engine = workspace.open();
        let model = engine.model("m").unwrap();
        teach_rows(model, (0, 120), 80).await;
        let before = digest(model);
        let done = retrain(model, 40, true).await.unwrap();
        assert_eq!((done.examples, done.evidence), (40, None));
        assert_ne!(digest(model), before);
        let (_alone, other) = taught_alone(&toml, (80, 120)).await;
        assert_eq!(digest(model), digest(other.model("m").unwrap()), "{toml}");

        // What it has not learned counts as undone, and it learns on.
        let fates = model.status(false).fates;
        assert_eq!((fates["applied"], fates["undone"]), (40, 80));
        teach_rows(model, (120, 150), 0).await;
        teach_rows(other.model("m").unwrap(), (120, 150), 0).await;
        assert_eq!(digest(model), digest(other.model("m").unwrap()), "{toml}");

        let last = digest(model);
        let killed = Workspace::new(&[("m", &toml)]);
        copy(&workspace.data(), &killed.data());
        engine.close();
        drop(engine);
        assert_eq!(replayed(&workspace), last.to_string());
        let recovered = killed.open();
        assert_eq!(digest(recovered.model("m").unwrap()), last);
    }
}

#[tokio::test]
async fn p6_a_retraction_finds_the_learner_that_began_anew_without_the_feedback() {
    let toml = described("live", "");
    let workspace = Workspace::new(&[("m", &toml)]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    teach_rows(model, (0, 100), 60).await;
    retrain(model, 40, true).await.unwrap();
    let before = digest(model);
    let take_back = |id: &str| RetractionRequest {
        selector: Selector::FeedbackId(id.to_owned()),
        actor: String::new(),
        note: String::new(),
        disposal: Disposal::Keep,
    };
    // It never learned this one.
    model.retract(take_back("row-10")).await.unwrap();
    assert_eq!(digest(model), before);
    model.retract(take_back("row-99")).await.unwrap();
    let (_alone, other) = taught_alone(&toml, (60, 99)).await;
    assert_eq!(digest(model), digest(other.model("m").unwrap()));
    let last = digest(model);
    engine.close();
    drop(engine);
    assert_eq!(replayed(&workspace), last.to_string());
}

#[tokio::test]
async fn under_live_only_evidence_takes_a_learner_that_began_anew() {
    let toml = described("live", "");
    let workspace = Workspace::new(&[("m", &toml)]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    // Eight hundred wrong labels, which stay in the learned state, and then the truth.
    teach_rows(model, (0, 800), 800).await;
    let before = digest(model);
    let error = retrain(model, 100, false).await.unwrap_err().to_string();
    assert!(error.contains("is not shown to answer as well"), "{error}");
    assert_eq!(digest(model), before);
    let status = model.status(false).retraining.expect("one was begun");
    assert!(!status.is_open);

    // So few that the gate has not brought back the champion yet.
    teach_rows(model, (800, 1000), 800).await;
    let done = retrain(model, 200, false).await.unwrap();
    let evidence = done.evidence.expect("it was tried");
    assert!(evidence.wealth >= evidence.needed, "{evidence:?}");
    assert!(evidence.difference < -0.05, "{evidence:?}");
    assert_eq!(done.examples, 200);
    let versions = model.versions().unwrap();
    assert_eq!(versions.last().unwrap().0.reason, "retrain");
}

#[tokio::test]
async fn what_a_restore_moved_is_not_gone_behind() {
    let toml = described("live", "");
    let workspace = Workspace::new(&[("m", &toml)]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    teach_rows(model, (0, 30), 0).await;
    let made = order(model, Order::Checkpoint).await;
    teach_rows(model, (30, 60), 0).await;
    let version = made.version;
    order(model, Order::Restore { version }).await;
    teach_rows(model, (60, 80), 0).await;
    // Forty rows are asked for; twenty stand behind the restore. Nor is one that began anew in the way
    // of the next.
    let (_alone, other) = taught_alone(&toml, (60, 80)).await;
    for _ in 0..2 {
        let done = retrain(model, 40, true).await.unwrap();
        assert_eq!(done.examples, 20);
        assert_eq!(digest(model), digest(other.model("m").unwrap()));
    }
    order(model, Order::Restore { version }).await;
    let before = digest(model);
    let refused = retrain(model, 40, true).await.unwrap_err().to_string();
    assert!(
        refused.contains("no labelled row stands behind"),
        "{refused}"
    );
    assert_eq!(digest(model), before);
}

#[tokio::test]
async fn one_that_was_being_derived_when_the_server_was_killed_is_gone_on_with() {
    let toml = described("gated", "");
    let workspace = Workspace::new(&[("m", &toml)]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    teach_rows(model, (0, 60), 0).await;
    engine.close();
    drop(engine);
    // The order to begin is the last entry that was written.
    let command = Command {
        order: Order::BeginRetraining { newest: 25 },
        actor: String::new(),
        note: String::new(),
    };
    let directory = Directory::open(&workspace.data()).unwrap();
    let folder = directory.journal("m");
    let (mut journal, _) = Journal::create_or_open(&folder, 0, Config::default()).unwrap();
    let last = verify(&folder).unwrap().last_position;
    let newest = Reader::open(&folder, last, last).unwrap().next(last);
    let now = newest.unwrap().expect("an entry").time;
    journal.append(now, &Event::Command(command)).unwrap();
    journal.close().unwrap();
    drop(directory);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    // The rows that are taught meanwhile let time pass.
    let is_done = || {
        let versions = model.versions().unwrap();
        versions.iter().any(|(one, _)| one.reason == "retrain")
    };
    let mut index = 60;
    while !is_done() {
        assert!(index < 20_000, "it is not gone on with");
        teach_rows(model, (index, index + 1), 0).await;
        index += 1;
    }
    assert!(!model.status(false).retraining.unwrap().is_open);
}

/// The notes of the orders to begin anew that stand in a journal.
fn causes(workspace: &Workspace) -> Vec<String> {
    let journal = workspace.data().join("m/journal");
    let last = verify(&journal).unwrap().last_position;
    let mut reader = Reader::open(&journal, 1, last).unwrap();
    let mut causes = Vec::new();
    while let Some(entry) = reader.next(last).unwrap() {
        if let Event::Command(Command {
            order: Order::BeginRetraining { newest: 100 },
            note,
            actor,
        }) = entry.event
        {
            assert_eq!(actor, "retrain");
            causes.push(note);
        }
    }
    causes
}

#[tokio::test]
async fn a_description_asks_for_it_by_count_by_drift_and_by_accuracy() {
    let by = [
        ("after_events = 150", "150 feedback events have come"),
        (
            "on_drift = true\ncooldown_events = 1",
            "the error has drifted: the alarm at position ",
        ),
        (
            "below_accuracy = 0.7\ncooldown_events = 1",
            "the accuracy is 0.",
        ),
    ];
    for (asked, why) in by {
        let toml = described("live", &format!("[retrain]\nnewest = 100\n{asked}\n"));
        let workspace = Workspace::new(&[("m", &toml)]);
        let engine = workspace.open();
        let model = engine.model("m").unwrap();
        let begun = || {
            model
                .status(false)
                .retraining
                .expect("it is asked for")
                .begun
        };
        let first = begun();
        let mut index = 0;
        while begun() == first {
            assert!(index < 5000, "{asked}: nothing begins anew");
            // After 1,500 rows the labels change places.
            let flip = if index < 1500 { 0 } else { usize::MAX };
            teach_rows(model, (index, index + 1), flip).await;
            index += 1;
        }
        engine.close();
        drop(engine);
        let causes = causes(&workspace);
        assert!(causes[0].starts_with(why), "{asked}: {causes:?}");
    }
}

#[tokio::test]
async fn a_description_asks_for_it_by_time_and_what_was_missed_comes_once() {
    let toml = described("live", "[retrain]\nnewest = 100\nevery = \"1h\"\n");
    let workspace = Workspace::new(&[("m", &toml)]);
    let now = Arc::new(AtomicI64::new(1_000_000));
    let open = || {
        let now = now.clone();
        let config = perennial::engine::Config {
            clock: Clock::simulated(move || ClockReading::agreed(now.load(Relaxed))),
            ..workspace.config()
        };
        Engine::open(config).unwrap()
    };
    let engine = open();
    let model = engine.model("m").unwrap();
    teach_rows(model, (0, 30), 0).await;
    let first = model.status(false).retraining.unwrap();
    engine.close();
    drop(engine);
    // Three hours pass while no server runs.
    now.fetch_add(3 * 3600 * 1_000_000, Relaxed);
    let engine = open();
    let model = engine.model("m").unwrap();
    let mut index = 30;
    let newest = || model.status(false).retraining.unwrap();
    while newest().begun == first.begun || newest().is_open {
        assert!(index < 5000, "nothing begins anew");
        teach_rows(model, (index, index + 1), 0).await;
        index += 1;
    }
    teach_rows(model, (index, index + 20), 0).await;
    engine.close();
    drop(engine);
    assert_eq!(causes(&workspace), ["3600 seconds have passed"]);
}

#[tokio::test]
async fn p8_of_learners_that_the_description_asks_for_the_newest_versions_are_kept() {
    let retrain_often = "[retrain]\nnewest = 20\nafter_events = 20\n[versions]\nkeep = 2\n";
    let toml = described("gated", retrain_often);
    let workspace = Workspace::new(&[("m", &toml)]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    teach_rows(model, (0, 10), 0).await;
    // A person's own stays.
    let own = retrain(model, 20, true).await.unwrap().version;
    let versions = || {
        let versions = model.versions().unwrap().into_iter();
        let versions = versions.filter(|(one, _)| one.reason == "retrain");
        let versions: Vec<u64> = versions.map(|(one, _)| one.version).collect();
        versions
    };
    let (mut index, mut n_seen, mut newest) = (10, 0, own);
    while n_seen < 5 {
        assert!(index < 20_000, "nothing begins anew");
        teach_rows(model, (index, index + 1), 0).await;
        index += 1;
        let last = versions().into_iter().max().expect("the person's own");
        n_seen += u64::from(last > newest);
        newest = newest.max(last);
    }
    // The older ones are removed behind the newest.
    engine.close();
    let kept = versions();
    assert_eq!((kept[0], kept.len()), (own, 3), "{kept:?}");
}
