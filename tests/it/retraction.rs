//! Retraction, audit and counterfactuals, on a running engine and on its data.
//!
//! Invariant: every comparison is of digests or of bits, against a learner that never saw what
//! was taken back.

mod disk;
mod erased;
mod kept;
mod late;
mod passes;
mod profiles;
mod resent;
mod together;
mod traces;

use crate::support::{AUTO, Workspace, answers, digest, gradient, label, order, rows, teach_rows};
use perennial::engine::{
    Acknowledgement, Audit, Disposal, Engine, Error, Offline, PredictOptions, RetractionRequest,
    ServedModel,
};
use perennial::event::{
    Command, Event, Feedback, Order, PredictionId, Retraction, Selector, Signal, Time,
};
use perennial::store::{Config, Directory, Journal, verify};

const SOURCES: [&str; 2] = ["people", "batch"];

/// Name, version and commit of this checkout; no commit where there is none, as in a package.
fn build() -> String {
    let git = |args: &[&str]| {
        let output = std::process::Command::new("git")
            .args(args)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output();
        let output = output.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    };
    let program = format!("perennial {}", env!("CARGO_PKG_VERSION"));
    // A folder of another checkout has a prefix.
    match git(&["rev-parse", "--show-prefix"]).as_deref() {
        Some("") => format!("{program}+{}", &git(&["rev-parse", "HEAD"]).unwrap()[..12]),
        _ => program,
    }
}

fn source(name: &str) -> Selector {
    Selector::Source(name.to_owned())
}

fn request(selector: Selector, disposal: Disposal) -> RetractionRequest {
    RetractionRequest {
        selector,
        actor: String::new(),
        note: "a test asks".to_owned(),
        disposal,
    }
}

/// Predicts rows and labels each, in turn from either source, or from `only` one;
/// labels of "batch" are wrong.
async fn serve_rows(
    model: &ServedModel,
    from: usize,
    n_rows: usize,
    only: Option<&str>,
) -> Vec<PredictionId> {
    let mut ids = Vec::new();
    for (index, (batch, truth)) in rows(from + n_rows, 0.3).enumerate().skip(from) {
        let snapshot = model.snapshot("").expect("it serves");
        let id = model
            .predict(&snapshot, batch, PredictOptions::default())
            .await
            .unwrap()
            .ids[0];
        ids.push(id);
        let source = SOURCES[index % 2];
        if only.is_some_and(|only| only != source) {
            continue;
        }
        let wrong = if truth == "a" { "b" } else { "a" };
        let class = if source == "batch" { wrong } else { truth };
        let feedback = Feedback {
            source: source.to_owned(),
            ..label(id, &format!("row-{index}"), class)
        };
        let receipt = model.accept(feedback).expect("there is room");
        match receipt.wait().await.expect("acknowledged") {
            Acknowledgement::Accepted { position } => {
                model.wait_for_position(position).await.expect("learned");
            }
            other => panic!("row {index} came before: {other:?}"),
        }
    }
    ids
}

fn workspace(toml: &str) -> (Workspace, std::sync::Arc<Engine>) {
    let workspace = Workspace::new(&[("m", toml)]);
    let engine = workspace.open();
    (workspace, engine)
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_retracted_source_was_never_there() {
    for toml in [AUTO.to_owned(), gradient("adamw", "8", "der++")] {
        let (workspace, engine) = workspace(&toml);
        let model = engine.model("m").unwrap();
        serve_rows(model, 0, 20, Some("people")).await;
        let before = order(model, Order::Checkpoint).await;
        serve_rows(model, 20, 60, None).await;
        let after = order(model, Order::Checkpoint).await;
        serve_rows(model, 80, 10, None).await;

        let plan = model.plan_retraction(&source("batch")).unwrap();
        assert_eq!((plan.excluded, plan.base), (35, before.position));
        assert_eq!(plan.tainted, [after.version]);
        let done = model
            .retract(request(source("batch"), Disposal::Keep))
            .await
            .unwrap();
        assert_eq!(done.plan.excluded, 35);
        assert_eq!(
            (done.version, done.plan.tainted),
            (after.version + 1, plan.tainted)
        );
        assert_eq!(done.plan.entries, done.position - 1 - before.position);
        let status = model.status(false);
        assert_eq!(status.fates["retracted"], 35);
        assert_eq!(status.fates.values().sum::<u64>(), 20 / 2 + 70);

        let (_, other) = self::workspace(&toml);
        let twin = other.model("m").unwrap();
        serve_rows(twin, 0, 90, Some("people")).await;
        assert_eq!(digest(model), digest(twin), "{toml}");
        assert_eq!(answers(model), answers(twin), "{toml}");

        // Versions with it are not restored, others are, and it stays excluded after a restart.
        let refused = model.check_restore(after.version).unwrap_err().to_string();
        assert!(
            refused.contains("holds feedback that was retracted; version 4"),
            "{refused}"
        );
        let again = model
            .retract(request(source("batch"), Disposal::Keep))
            .await;
        let refused = again.unwrap_err().to_string();
        assert!(
            refused.contains("that was not retracted already"),
            "{refused}"
        );
        serve_rows(model, 90, 10, Some("people")).await;
        serve_rows(twin, 90, 10, Some("people")).await;
        assert_eq!(digest(model), digest(twin), "{toml}");
        engine.close();
        drop(engine);
        let engine = workspace.open();
        let model = engine.model("m").unwrap();
        assert_eq!(digest(model), digest(twin), "{toml}");
        assert!(model.check_restore(after.version).is_err());
        order(
            model,
            Order::Restore {
                version: before.version,
            },
        )
        .await;
        assert_eq!(
            model.status(false).fates.values().sum::<u64>(),
            20 / 2 + 70 + 5
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_crash_behind_the_order_derives_the_same() {
    let toml = gradient("sgd", "8", "er");
    let (workspace, engine) = workspace(&toml);
    serve_rows(engine.model("m").unwrap(), 0, 60, None).await;
    engine.close();
    drop(engine);
    // As a crash leaves it: the order is on disk, and nothing that came of it.
    let directory = Directory::open(&workspace.data()).unwrap();
    let journal = directory.journal("m");
    let (mut journal, _) = Journal::create_or_open(&journal, 0, Config::default()).unwrap();
    let retraction = Retraction {
        selector: source("batch"),
        first_position: 1,
        disposal: Disposal::Keep,
    };
    let command = Command {
        order: Order::Retract(retraction),
        actor: String::new(),
        note: String::new(),
    };
    journal
        .append(Time(i64::MAX / 2), &Event::Command(command))
        .unwrap();
    journal.sync().unwrap();
    drop((journal, directory));
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    let (_, other) = self::workspace(&toml);
    let twin = other.model("m").unwrap();
    serve_rows(twin, 0, 60, Some("people")).await;
    assert_eq!(digest(model), digest(twin));
    let versions = model.versions().unwrap();
    assert_eq!(versions.last().unwrap().0.reason, "retract");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_what_cannot_be_retracted_is_refused_in_a_sentence() {
    let (_workspace, engine) = workspace(AUTO);
    let model = engine.model("m").unwrap();
    serve_rows(model, 0, 4, None).await;
    let check = |selector: Selector, sentence: &str| {
        let error = model.plan_retraction(&selector).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains(sentence), "{error}");
    };
    check(
        source("nobody"),
        "no feedback of source \"nobody\" is there",
    );
    check(
        Selector::FeedbackId("row-9".to_owned()),
        "no feedback of the id \"row-9\"",
    );
    let (since, until) = (Time(0), Time(1));
    check(
        Selector::Accepted { since, until },
        "no feedback of the time from 1970-01-01T00:00:00Z to 1970-01-01T00:00:00.000001Z",
    );
    let one = Selector::FeedbackId("row-1".to_owned());
    assert_eq!(model.plan_retraction(&one).unwrap().excluded, 1);
    let all = Selector::Accepted {
        since,
        until: Time(i64::MAX),
    };
    assert_eq!(model.plan_retraction(&all).unwrap().excluded, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_what_is_erased_is_gone_and_the_journal_still_verifies() {
    let (workspace, engine) = workspace(&gradient("sgd", "8", "none"));
    let model = engine.model("m").unwrap();
    serve_rows(model, 0, 20, None).await;
    let tainted = order(model, Order::Checkpoint).await;
    let ids = serve_rows(model, 20, 20, None).await;
    let kept = model
        .retract(request(source("batch"), Disposal::Keep))
        .await
        .unwrap();
    assert_eq!(kept.erased, 0);
    // Asking again, for the content as well.
    let erased = model
        .retract(request(source("batch"), Disposal::Erase))
        .await
        .unwrap();
    assert_eq!(erased.erased, 20);
    // The certificate is of the retraction that took it back.
    assert_eq!(
        (erased.version, erased.position, &erased.digest),
        (kept.version, kept.position, &kept.digest)
    );
    let bounds = |plan: &perennial::engine::RetractionPlan| {
        (plan.excluded, plan.first_position, plan.last_position)
    };
    assert_eq!(bounds(&erased.plan), bounds(&kept.plan));
    assert_eq!(erased.plan.tainted, [tainted.version]);
    let numbers: Vec<u64> = model
        .versions()
        .unwrap()
        .iter()
        .map(|(m, _)| m.version)
        .collect();
    assert!(!numbers.contains(&tainted.version), "{numbers:?}");
    let before = digest(model);
    let later = serve_rows(model, 40, 5, Some("people")).await;
    let last = digest(model);
    engine.close();
    drop(engine);
    assert_eq!(
        verify(&workspace.data().join("m/journal")).unwrap().erased,
        20
    );
    let offline = Offline::open(&workspace.data(), "m").unwrap();
    let mut replay = offline.replay(None).unwrap();
    while replay.advance(7).unwrap() {}
    assert_eq!(replay.outcome().digest, last.to_string());
    // An answer from before is not computed again; one from after is.
    let audit = offline.audit(ids[15], None).unwrap().unwrap();
    assert!(
        audit
            .again
            .as_ref()
            .unwrap_err()
            .to_string()
            .contains("erased"),
        "{audit:?}"
    );
    // The inputs and the version are still known.
    let inputs: Vec<&str> = audit.inputs.iter().map(|(name, _)| &name[..]).collect();
    assert_eq!(inputs, ["x", "y", "c"]);
    assert_eq!(audit.names, ["a", "b"]);
    assert_eq!(audit.description.build, build());
    // Nor is it known what it would have been without the other source.
    let audit = offline.audit(ids[15], Some("people")).unwrap().unwrap();
    let why = audit.without.expect("it was asked for").unwrap_err();
    let why = why.to_string();
    assert!(why.contains("no order up to position"), "{why}");
    let audit = offline.audit(later[3], Some("people")).unwrap().unwrap();
    assert!(audit.bit_equal());
    let excluded = audit.without.expect("it was asked for").unwrap().excluded;
    assert_eq!(excluded, 20 + 2);
    drop(offline);
    let engine = workspace.open();
    assert_ne!(digest(engine.model("m").unwrap()), before);
    assert_eq!(digest(engine.model("m").unwrap()), last);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_every_answer_is_given_again_bit_for_bit() {
    for toml in [AUTO.to_owned(), gradient("adamw", "8", "er")] {
        let (workspace, engine) = workspace(&toml);
        let model = engine.model("m").unwrap();
        let mut ids = serve_rows(model, 0, 30, None).await;
        let made = order(model, Order::Checkpoint).await;
        ids.extend(serve_rows(model, 30, 30, None).await);
        order(
            model,
            Order::Restore {
                version: made.version,
            },
        )
        .await;
        ids.extend(serve_rows(model, 60, 10, None).await);
        model
            .retract(request(source("batch"), Disposal::Keep))
            .await
            .unwrap();
        ids.extend(serve_rows(model, 70, 10, None).await);
        let audit = |id: &PredictionId| -> Audit {
            engine
                .audit(*id, Some("batch"))
                .unwrap()
                .expect("it is there")
        };
        for (index, id) in ids.iter().enumerate().step_by(7) {
            let found = audit(id);
            assert!(found.bit_equal(), "{index}: {found:?}");
            assert_eq!(found.inputs.len(), 3);
            assert_eq!(found.feedback.len(), 1);
            let retracted = index % 2 == 1 && index < 70;
            assert_eq!(found.feedback[0].retracted, retracted);
            let Signal::Label(_) = &found.feedback[0].signal else {
                panic!("a label")
            };
            let without = found.without.clone().unwrap().unwrap().answer;
            assert_eq!(
                without == found.answer,
                index == 0 || index == 70,
                "{index}"
            );
        }
        // Thirty rows, then the restore to them, then ten more: half of them from each source.
        let found = audit(&ids[69]);
        assert_eq!(found.sources["people"], 20);
        assert_eq!(found.sources["batch"], 19);
        // Retracted, the other source's events shape nothing any more.
        let found = audit(&ids[70]);
        assert_eq!(found.sources.get("batch"), None);
        assert!(engine.audit(PredictionId(7), None).unwrap().is_none());
        engine.close();
        drop(engine);
        let offline = Offline::open(&workspace.data(), "m").unwrap();
        let mut replay = offline.replay(None).unwrap();
        while replay.advance(1000).unwrap() {}
        let outcome = replay.outcome();
        // Versions 1 to 4, and the save of the clean stop.
        assert_eq!(outcome.compared, 5);
        assert!(offline.replay(Some(9)).is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_sources_are_counted_by_the_examples_that_a_version_learned() {
    let toml = gradient("sgd", "8", "er");
    let by_four = "[learner]\nexamples_per_update = 4\n";
    let (workspace, engine) = workspace(&toml.replace("[learner]\n", by_four));
    let model = engine.model("m").unwrap();
    let ids = serve_rows(model, 0, 10, None).await;
    // It came of no prediction, and another had its label: nothing is learned of either.
    for (source, id) in [("stray", PredictionId(7)), ("again", ids[0])] {
        let feedback = Feedback {
            source: source.to_owned(),
            ..label(id, source, "a")
        };
        let receipt = model.accept(feedback).unwrap();
        receipt.wait().await.unwrap();
    }
    let made = order(model, Order::Checkpoint).await.version;
    let sources = |id| engine.audit(id, None).unwrap().unwrap().sources;
    let count = |people, batch| [("people".to_owned(), people), ("batch".to_owned(), batch)].into();
    let after = serve_rows(model, 10, 4, None).await;
    // Two updates, and two examples that wait for the third.
    assert_eq!(sources(after[0]), count(4, 4));
    assert_eq!(sources(after[3]), count(6, 6));
    assert_eq!(model.status(false).fates["pending"], 2);
    order(model, Order::Restore { version: made }).await;
    let restored = serve_rows(model, 20, 1, Some("people")).await;
    assert_eq!(sources(restored[0]), count(4, 4));
    let batch = request(source("batch"), Disposal::Keep);
    model.retract(batch).await.unwrap();
    let without = serve_rows(model, 30, 1, Some("people")).await;
    assert_eq!(sources(without[0]), [("people".to_owned(), 4)].into());
    // By the files on disk alone, it is the same.
    engine.close();
    drop(engine);
    let offline = Offline::open(&workspace.data(), "m").unwrap();
    let found = offline.audit(after[3], None).unwrap().unwrap();
    assert_eq!((found.sources, found.sources_from), (count(6, 6), 1));
}

/// Changes a letter of a feedback id in the only segment of a model's journal.
fn damage(workspace: &Workspace, model: &str) {
    let journal = workspace.data().join(model).join("journal");
    let segments = std::fs::read_dir(journal).expect("a folder");
    let paths = segments.map(|file| file.expect("a file").path());
    for path in paths {
        let mut bytes = std::fs::read(&path).expect("bytes");
        let found = bytes.windows(5).position(|letters| letters == b"row-1");
        bytes[found.expect("the id of row 1")] ^= 1;
        crate::support::overwrite(&path, &bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_keeps_no_other_from_being_audited() {
    let workspace = Workspace::new(&[("a", AUTO), ("b", AUTO)]);
    let engine = workspace.open();
    let ids = serve_rows(engine.model("b").unwrap(), 0, 4, None).await;
    serve_rows(engine.model("a").unwrap(), 0, 4, None).await;
    let unknown = PredictionId(7);
    assert!(engine.audit(unknown, None).unwrap().is_none());
    damage(&workspace, "a");
    let found = engine.audit(ids[2], None).unwrap().expect("b holds it");
    assert!(found.bit_equal());
    // Whether the damaged one holds the other is not known.
    let error = engine.audit(unknown, None).unwrap_err().to_string();
    assert!(error.contains("/a/journal"), "{error}");
    engine.close();
    drop(engine);
    let data = workspace.data();
    let found = Offline::audit_any(&data, ids[2], None).unwrap();
    assert!(found.expect("b holds it").bit_equal());
    let error = Offline::audit_any(&data, unknown, None).unwrap_err();
    assert!(error.to_string().contains("/a/journal"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_description_is_asked_what_if_and_adopted() {
    let (workspace, engine) = workspace(&gradient("sgd", "8", "none"));
    let model = engine.model("m").unwrap();
    teach_rows(model, 80, 0.3, "row").await;
    let version = order(model, Order::Checkpoint).await.version;
    engine.close();
    drop(engine);
    let other = Workspace::new(&[("m", AUTO)]);
    let described = perennial::engine::describe(&other.models().join("m/model.toml"));
    let description = described.unwrap().description;
    let offline = Offline::open(&workspace.data(), "m").unwrap();
    let mut replay = offline.replay_with(description.clone()).unwrap();
    while replay.advance(64).unwrap() {}
    let outcome = replay.outcome();
    assert_eq!(outcome.evaluation.served().count, 80.0);
    let divergence = outcome.divergence.expect("they are different learners");
    assert_ne!(divergence.served, divergence.other);
    drop(offline);

    // It equals the other model that lives through the same from the start.
    let engine = other.open();
    teach_rows(engine.model("m").unwrap(), 80, 0.3, "row").await;
    let twin = digest(engine.model("m").unwrap());
    assert_eq!(outcome.digest, twin.to_string());
    let score = engine.model("m").unwrap().status(false).score;
    assert_eq!(Some(outcome.evaluation.served().mean()), score);
    drop(engine);

    let command = Command {
        order: Order::Adopt(description),
        actor: String::new(),
        note: String::new(),
    };
    let made = Offline::order(&workspace.data(), "m", command).unwrap();
    assert_eq!(made.version, version + 1);
    // Under the old description it is refused, under the new one it goes on.
    let engine = workspace.open();
    assert!(engine.model("m").unwrap().snapshot("").is_err());
    drop(engine);
    workspace.describe("m", AUTO);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    assert_eq!(digest(model), twin);
    teach_rows(model, 3, 0.3, "later").await;
    let old = Order::Restore { version };
    let command = Command {
        order: old,
        actor: String::new(),
        note: String::new(),
    };
    let refused = model.command(command).await.unwrap_err().to_string();
    assert!(refused.contains("is of another description"), "{refused}");
    teach_rows(model, 3, 0.3, "latest").await;
}
