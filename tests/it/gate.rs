//! Evidence decides: promotion, rewind, people and incidents, on a running engine and after it stopped.
//!
//! Invariant: a bad candidate is a description with a rate of learning that undoes itself; its outcome
//! is compared with learners that applied the same entries.

mod kept;
mod silence;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use perennial::engine::{
    Acknowledgement, Disposal, Engine, IncidentState, PredictOptions, RetractionRequest,
    ServedModel,
};
use perennial::event::{Command, Feedback, Order, Selector};

use crate::support::{Workspace, answers, copy, digest, label, order, rows, teach};

/// Rates at which the network learns, and at which each update undoes the last.
const GOOD: f64 = 0.05;
const BAD: f64 = 10.0;

fn described(policy: &str, learning_rate: f64) -> String {
    format!(
        "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
         [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"y\"\nkind = \"number\"\n\
         [[input]]\nname = \"c\"\nkind = \"category\"\n\
         [learner]\nkind = \"gradient\"\noptimizer = \"adamw\"\nlearning_rate = {learning_rate}\n\
         [memory]\nstrategy = \"none\"\n\
         [drift]\naction = \"off\"\n\
         [publish]\npolicy = \"{policy}\"\nevery_examples = 100\nscore_every = 1\n"
    )
}

/// Teaches rows `from..to` of a stream; every third one as the source `batch`.
async fn teach_stream(model: &ServedModel, from: usize, to: usize, without: Option<&str>) {
    for (index, (batch, truth)) in rows(to, 0.3).enumerate().skip(from) {
        let source = if index % 3 == 0 { "batch" } else { "people" };
        let snapshot = model.snapshot("").expect("it serves");
        let answer = model.predict(&snapshot, batch, PredictOptions::default());
        let id = answer.await.expect("an answer").ids[0];
        if without == Some(source) {
            continue;
        }
        let wrong = if truth == "a" { "b" } else { "a" };
        let feedback = Feedback {
            source: source.to_owned(),
            ..label(
                id,
                &format!("row-{index}"),
                if source == "batch" { wrong } else { truth },
            )
        };
        let receipt = model.accept(feedback).expect("there is room");
        match receipt.wait().await.expect("acknowledged") {
            Acknowledgement::Accepted { position } => {
                model.wait_for_position(position).await.expect("learned");
            }
            other => panic!("row {index} came before: {other:?}"),
        }
    }
}

/// Teaches the truth of rows `from..to`, until `enough`.
async fn teach_until(
    model: &ServedModel,
    (from, to): (usize, usize),
    enough: impl Fn() -> bool,
) -> usize {
    for (index, (batch, truth)) in rows(to, 0.3).enumerate().skip(from) {
        teach(model, batch, truth, &format!("row-{index}")).await;
        if enough() {
            return index + 1;
        }
    }
    to
}

fn incidents(model: &ServedModel) -> Vec<(&'static str, IncidentState)> {
    let gate = model.status(false).gate.expect("a gate");
    let incidents = gate.incidents.iter();
    incidents.map(|one| (one.kind.word(), one.state)).collect()
}

fn champion(model: &ServedModel) -> u64 {
    model.status(false).gate.expect("a gate").champion.0
}

/// The share of rows that are answered right.
fn right(model: &ServedModel) -> f64 {
    let answers = answers(model).into_iter().zip(rows(50, 0.0));
    let right = answers.filter(|(outputs, (batch, _))| {
        let probabilities = outputs.probabilities().expect("of classes");
        // The border of the taught rows, not of the rows that are asked.
        let numbers = batch.columns.iter().filter_map(|column| match column {
            perennial::event::Column::Numbers(values) => Some(values[0]),
            _ => None,
        });
        let numbers: Vec<f64> = numbers.collect();
        let truth = numbers[0] * 0.3_f64.cos() + numbers[1] * 0.3_f64.sin() > 0.0;
        (probabilities[0] > probabilities[1]) == truth
    });
    right.count() as f64 / 50.0
}

/// Predictions that go on until they are ended.
struct Load {
    ends: Arc<AtomicBool>,
    n_failed: tokio::task::JoinHandle<u64>,
}

impl Load {
    fn begin(model: &Arc<ServedModel>) -> Load {
        let ends = Arc::new(AtomicBool::new(false));
        let (model, until) = (model.clone(), ends.clone());
        let asked = async move {
            let mut n_failed = 0;
            while !until.load(Relaxed) {
                for (batch, _) in rows(20, 0.1) {
                    let options = PredictOptions {
                        journal: false,
                        explore: false,
                        ..PredictOptions::default()
                    };
                    let answered = match model.snapshot("") {
                        Ok(snapshot) => model.predict(&snapshot, batch, options).await.is_ok(),
                        Err(_) => false,
                    };
                    n_failed += u64::from(!answered);
                }
                tokio::task::yield_now().await;
            }
            n_failed
        };
        Load {
            n_failed: tokio::spawn(asked),
            ends,
        }
    }

    /// How many requests failed.
    async fn end(self) -> u64 {
        self.ends.store(true, Relaxed);
        self.n_failed.await.expect("it does not panic")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_p7_a_worse_candidate_is_rewound_under_load_with_no_failed_request() {
    let workspace = Workspace::new(&[("m", &described("live", GOOD))]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    let n_taught = teach_until(model, (0, 600), || false).await;
    let (version, good) = (champion(model), right(model));
    assert!(version > 1 && good > 0.8, "{version} {good}");
    engine.close();
    drop(engine);

    workspace.describe("m", &described("live", BAD));
    let engine = workspace.open();
    let model = engine.model("m").unwrap().clone();
    let load = Load::begin(&model);
    let is_rewound = || !incidents(&model).is_empty();
    let last = teach_until(&model, (n_taught, n_taught + 600), is_rewound).await;
    let found = Instant::now();
    assert!(last < n_taught + 600, "it is not found");
    // The row that decided was waited for: the champion's weights serve by now.
    assert!(right(&model) > 0.8, "{}", right(&model));
    assert!(found.elapsed().as_secs_f64() < 1.0);
    assert_eq!(load.end().await, 0, "a request failed");
    assert_eq!(incidents(&model), [("rewound", IncidentState::Open)]);
    // A contender of before may have been promoted on the way.
    let version = champion(&model);
    let versions = model.versions().unwrap();
    let made = versions.iter().find(|(one, _)| one.reason == "rewind");
    let (made, damage) = made.expect("a version of it");
    assert_eq!((made.parent, damage), (version, &None));
    let status = model.status(true);
    assert!(status.fates["undone"] > 0);
    assert_eq!(status.fates.values().sum::<u64>(), last as u64);

    // As a kill leaves it, and after a clean stop.
    let killed = Workspace::new(&[("m", &described("live", BAD))]);
    copy(&workspace.data(), &killed.data());
    engine.close();
    drop((model, engine));
    for workspace in [workspace, killed] {
        let engine = workspace.open();
        let model = engine.model("m").unwrap();
        assert_eq!(digest(model), status.digest.expect("it was asked for"));
        assert_eq!(incidents(model), [("rewound", IncidentState::Open)]);
        assert_eq!(champion(model), version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_under_gated_the_champion_serves_until_evidence_promotes() {
    let workspace = Workspace::new(&[("m", &described("gated", GOOD))]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    let before = answers(model);
    teach_until(model, (0, 90), || false).await;
    assert_eq!(answers(model), before, "nothing was promoted");
    assert_eq!(model.snapshot("").unwrap().version, 1);
    teach_until(model, (90, 700), || champion(model) > 1).await;
    let version = champion(model);
    assert!(version > 1);
    assert_eq!(model.snapshot("").unwrap().version, version);
    let promoted = answers(model);
    assert_ne!(promoted, before);
    // Every answer is given again, also those of the champion.
    let (batch, _) = rows(1, 0.0).next().unwrap();
    let snapshot = model.snapshot("").unwrap();
    let answer = model.predict(&snapshot, batch, PredictOptions::default());
    let id = answer.await.unwrap().ids[0];
    let audit = engine.audit(id, None).unwrap().expect("it is there");
    assert!(audit.bit_equal(), "{audit:?}");
    // A person's restore makes that version the champion.
    let restored = order(model, Order::Restore { version: 1 }).await;
    assert_eq!(champion(model), restored.version);
    assert_eq!(answers(model), before);
    engine.close();
    drop(engine);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    assert_eq!(
        (champion(model), answers(model)),
        (restored.version, before)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn under_manual_a_person_alone_promotes_freezes_and_resumes() {
    let workspace = Workspace::new(&[("m", &described("manual", GOOD))]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    let by = || ("ann".to_owned(), "looked at".to_owned());
    let none = model.promote(None, by()).await.unwrap_err().to_string();
    assert!(none.contains("no contender is tested"), "{none}");
    teach_until(model, (0, 500), || false).await;
    assert_eq!(champion(model), 1, "evidence alone promotes nothing");
    let wrong = model.promote(Some(1), by()).await.unwrap_err().to_string();
    assert!(wrong.contains("version 1 is not the contender"), "{wrong}");
    let promoted = model.promote(None, by()).await.unwrap();
    assert_eq!(champion(model), promoted.version);
    let noted = manifest(model, promoted.version);
    assert_eq!(
        (noted.actor.as_str(), noted.note.as_str()),
        ("ann", "looked at")
    );
    assert!(right(model) > 0.7, "{}", right(model));
    let frozen = Command {
        order: Order::Freeze,
        actor: String::new(),
        note: String::new(),
    };
    model.command(frozen).await.unwrap();
    let before = digest(model);
    teach_until(model, (500, 520), || false).await;
    assert_eq!(digest(model), before);
    assert_eq!(model.status(false).fates["held_out"], 20);
    order(model, Order::Resume).await;
    teach_until(model, (520, 530), || false).await;
    assert_ne!(digest(model), before);
    let close = Command {
        order: Order::Close { incident: 7 },
        actor: String::new(),
        note: String::new(),
    };
    let refused = model.command(close).await.unwrap_err().to_string();
    assert!(refused.contains("has no incident 7"), "{refused}");
    let lived = (digest(model), champion(model));
    engine.close();
    drop(engine);
    std::fs::remove_dir_all(workspace.data().join("m/checkpoints")).unwrap();
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    assert_eq!((digest(model), champion(model)), lived, "replayed");
}

/// Takes the source `batch` back.
async fn retract(model: &Arc<ServedModel>, disposal: Disposal) {
    let request = RetractionRequest {
        selector: Selector::Source("batch".to_owned()),
        actor: String::new(),
        note: String::new(),
        disposal,
    };
    model.retract(request).await.expect("it is taken back");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_after_a_retraction_the_champion_is_that_of_never_having_seen_it() {
    for policy in ["live", "gated"] {
        for disposal in [Disposal::Keep, Disposal::Erase] {
            let open = |workspace: &Workspace| -> Arc<Engine> { workspace.open() };
            let workspace = Workspace::new(&[("m", &described(policy, GOOD))]);
            let engine = open(&workspace);
            let model = engine.model("m").unwrap();
            teach_stream(model, 0, 500, None).await;
            retract(model, disposal).await;
            let twin_workspace = Workspace::new(&[("m", &described(policy, GOOD))]);
            let twin_engine = open(&twin_workspace);
            let twin = twin_engine.model("m").unwrap();
            teach_stream(twin, 0, 500, Some("batch")).await;
            let place = format!("{policy} {disposal:?}");
            assert_eq!(digest(model), digest(twin), "{place}");
            assert_eq!(answers(model), answers(twin), "{place}");
            assert_eq!(incidents(model), incidents(twin), "{place}");
            teach_stream(model, 500, 700, Some("batch")).await;
            teach_stream(twin, 500, 700, Some("batch")).await;
            assert_eq!(answers(model), answers(twin), "{place}");
            let lived = (digest(model), answers(model));
            engine.close();
            drop(engine);
            let engine = open(&workspace);
            let model = engine.model("m").unwrap();
            assert_eq!((digest(model), answers(model)), lived, "{place}");
        }
    }
}

/// The versions of champion and contender, and the newest of the candidate.
fn sides(model: &ServedModel) -> [u64; 3] {
    let gate = model.status(false).gate.expect("a gate");
    let candidate = model.versions().unwrap().into_iter();
    let candidate = candidate.filter(|(one, _)| one.reason == "retract");
    let candidate = candidate.map(|(one, _)| one.version).max();
    let contender = gate.contender.map_or(0, |(version, _)| version);
    [gate.champion.0, contender, candidate.unwrap_or(0)]
}

fn manifest(model: &ServedModel, version: u64) -> perennial::engine::Manifest {
    model.check_restore(version).expect("it can be restored")
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_p6_after_a_retraction_every_state_that_can_serve_is_a_version_of_its_own() {
    let workspace = Workspace::new(&[("m", &described("gated", GOOD))]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    teach_stream(model, 0, 690, None).await;
    retract(model, Disposal::Keep).await;
    let [champion_version, contender, candidate] = sides(model);
    assert!(candidate > 0 && champion_version > candidate && contender > champion_version);
    assert_eq!(model.snapshot("").unwrap().version, champion_version);
    let (served, learned) = (answers(model), digest(model));
    let of_champion = manifest(model, champion_version);
    assert_eq!(of_champion.reason, "champion");
    assert!(of_champion.frozen_at > 0 && of_champion.frozen_at < of_champion.position);
    assert_eq!(manifest(model, candidate).digest, learned.to_string());
    assert_eq!(manifest(model, contender).reason, "contender");
    let digests = [champion_version, contender, candidate].map(|one| manifest(model, one).digest);
    assert!(digests[0] != digests[1] && digests[1] != digests[2] && digests[0] != digests[2]);

    // As a restart finds it, and one that has lost every checkpoint.
    engine.close();
    drop(engine);
    let bare = Workspace::new(&[("m", &described("gated", GOOD))]);
    copy(&workspace.data(), &bare.data());
    for folder in ["m/checkpoints", "m/frozen"] {
        std::fs::remove_dir_all(bare.data().join(folder)).unwrap();
    }
    for workspace in [&workspace, &bare] {
        let engine = workspace.open();
        let model = engine.model("m").unwrap();
        assert_eq!(sides(model), [champion_version, contender, candidate]);
        assert_eq!((answers(model), digest(model)), (served.clone(), learned));
        let saved = [champion_version, contender, candidate].map(|one| manifest(model, one).digest);
        assert_eq!(saved, digests);
        engine.close();
    }
    goes_back_to_the_champion(&workspace, (&served, digests)).await;
}

/// A person promotes the contender, and takes the candidate back to the champion of before; then one more
/// label is retracted.
async fn goes_back_to_the_champion(
    workspace: &Workspace,
    (served, digests): (&[perennial::event::Outputs], [String; 3]),
) {
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    let [champion_version, contender, _] = sides(model);
    // A person promotes the version of the contender by its number.
    let by = || ("ann".to_owned(), String::new());
    let promoted = model.promote(Some(contender), by()).await.unwrap();
    assert_eq!((promoted.version, champion(model)), (contender, contender));
    // The candidate goes back to the champion of before, which serves as before.
    let restored = order(
        model,
        Order::Restore {
            version: champion_version,
        },
    )
    .await;
    assert_eq!(champion(model), restored.version);
    assert_eq!(digest(model).to_string(), digests[0]);
    assert_eq!(answers(model), *served);
    teach_stream(model, 690, 720, Some("batch")).await;
    // In a history without one more label the order brings back the champion of that history.
    let request = RetractionRequest {
        selector: Selector::FeedbackId("row-1".to_owned()),
        actor: String::new(),
        note: String::new(),
        disposal: Disposal::Keep,
    };
    model.retract(request).await.expect("it is taken back");
    let twice = (digest(model), answers(model), sides(model));
    assert_ne!(twice.0.to_string(), digests[0]);
    engine.close();
    drop(engine);
    for folder in ["m/checkpoints", "m/frozen"] {
        std::fs::remove_dir_all(workspace.data().join(folder)).unwrap();
    }
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    assert_eq!((digest(model), answers(model), sides(model)), twice);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_an_approval_of_weights_that_a_retraction_changes_is_void_and_says_so() {
    let workspace = Workspace::new(&[("m", &described("manual", GOOD))]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    let untrained = answers(model);
    teach_until(model, (0, 400), || false).await;
    let by = || ("ann".to_owned(), "looked at".to_owned());
    let approved = model.promote(None, by()).await.unwrap();
    let selector = Selector::FeedbackId("row-1".to_owned());
    let plan = model.plan_retraction(&selector).unwrap().champion;
    let plan = plan.expect("the champion serves");
    assert_eq!(plan.before.version, approved.version);
    assert!(plan.before.loss.is_some_and(|loss| loss > 0.0), "{plan:?}");
    assert_eq!((plan.after.version, plan.after.position), (1, 1));
    assert_eq!(
        (&plan.void, &plan.come),
        (&vec![approved.position], &vec![approved.position])
    );
    let request = RetractionRequest {
        selector,
        actor: String::new(),
        note: String::new(),
        disposal: Disposal::Keep,
    };
    let certificate = model.retract(request).await.unwrap();
    assert_eq!(certificate.plan.champion, Some(plan));
    assert_eq!(answers(model), untrained, "the last approved clean version");
    assert_eq!(incidents(model), [("void", IncidentState::Open)]);
    // The request is open again, for the weights of this history.
    teach_until(model, (400, 520), || {
        let gate = model.status(false).gate.expect("a gate");
        gate.promotion.is_some_and(|evidence| evidence.labels > 0)
    })
    .await;
    let promoted = model.promote(None, by()).await.unwrap();
    assert_eq!(champion(model), promoted.version);
    assert_ne!(answers(model), untrained);
    let close = Order::Close {
        incident: approved.position,
    };
    order(model, close).await;
    let lived = (digest(model), answers(model), incidents(model));
    engine.close();
    drop(engine);
    for folder in ["m/checkpoints", "m/frozen"] {
        drop(std::fs::remove_dir_all(workspace.data().join(folder)));
    }
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    assert_eq!((digest(model), answers(model), incidents(model)), lived);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_model_that_no_longer_serves_what_comes_serves_on_what_it_served() {
    for policy in ["gated", "manual"] {
        let workspace = Workspace::new(&[("m", &described("live", GOOD))]);
        let engine = workspace.open();
        let model = engine.model("m").unwrap();
        teach_until(model, (0, 90), || false).await;
        let served = answers(model);
        assert_eq!(champion(model), 1, "nothing was promoted");
        engine.close();
        drop(engine);
        workspace.describe("m", &described(policy, GOOD));
        let engine = workspace.open();
        let model = engine.model("m").unwrap();
        assert_eq!(answers(model), served, "{policy}");
        let version = champion(model);
        assert_eq!(model.snapshot("").unwrap().version, version);
        assert_eq!(manifest(model, version).digest, digest(model).to_string());
        teach_until(model, (90, 120), || false).await;
        assert_eq!(answers(model), served, "{policy}: the candidate learns on");
        engine.close();
        drop(engine);
        std::fs::remove_dir_all(workspace.data().join("m/checkpoints")).unwrap();
        let engine = workspace.open();
        let model = engine.model("m").unwrap();
        assert_eq!((answers(model), champion(model)), (served, version));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_change_nothing_are_refused_and_say_why() {
    let workspace = Workspace::new(&[("m", &described("gated", GOOD))]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    let refusal = async |order: Order| {
        let command = Command {
            order,
            actor: "ann".to_owned(),
            note: "under review".to_owned(),
        };
        model
            .command(command)
            .await
            .map(drop)
            .map_err(|why| why.to_string())
    };
    let check = |refused: Result<(), String>, expected: &str| {
        let refused = refused.expect_err(expected);
        assert!(refused.contains(expected), "{refused}");
    };
    check(refusal(Order::Resume).await, "model: it is not frozen");
    assert_eq!(refusal(Order::Freeze).await, Ok(()));
    check(refusal(Order::Freeze).await, "model: it is frozen already");
    let gate = model.status(false).gate.expect("a gate");
    let by = ("ann".to_owned(), "under review".to_owned());
    assert_eq!((gate.frozen, gate.frozen_by), (true, by));
    check(
        refusal(Order::Close { incident: 7 }).await,
        "incident: model \"m\" has no incident 7",
    );
    assert_eq!(refusal(Order::Resume).await, Ok(()));
    let gate = model.status(false).gate.expect("a gate");
    assert_eq!((gate.n_labels, gate.next_contender), (0, Some(100)));
    let by = || ("ann".to_owned(), String::new());
    let none = model.promote(None, by()).await.unwrap_err().to_string();
    assert!(none.contains("the next is taken at example 100"), "{none}");
    teach_until(model, (0, 200), || {
        let gate = model.status(false).gate.expect("a gate");
        gate.promotion.is_some_and(|evidence| evidence.labels == 0)
    })
    .await;
    let untested = model.promote(None, by()).await.unwrap_err().to_string();
    assert!(
        untested.contains("was scored on no label yet"),
        "{untested}"
    );
    let gate = model.status(false).gate.expect("a gate");
    let contender = gate.contender.expect("one is tested").0;
    let promoted = model.promote(Some(contender), by()).await.unwrap();
    assert_eq!(promoted.version, contender);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_counts_the_sources_of_the_state_that_answered() {
    for (policy, expected) in [("gated", None), ("live", Some(&40))] {
        let workspace = Workspace::new(&[("m", &described(policy, GOOD))]);
        let engine = workspace.open();
        let model = engine.model("m").unwrap();
        teach_until(model, (0, 40), || false).await;
        let (batch, _) = rows(1, 0.0).next().unwrap();
        let snapshot = model.snapshot("").unwrap();
        let answer = model.predict(&snapshot, batch, PredictOptions::default());
        let id = answer.await.unwrap().ids[0];
        let audit = engine.audit(id, None).unwrap().expect("it is there");
        assert!(audit.bit_equal(), "{policy}: {audit:?}");
        assert_eq!(audit.sources.get("test"), expected, "{policy}");
    }
}
