//! A model goes on under another description: with other inputs, other names, another memory of
//! its answers.
//!
//! Invariant: an earlier answer is never read as if the new description had answered it.

use std::sync::Arc;

use crate::support::{AUTO, Workspace, answers, digest, label, order, rows, wait};
use perennial::engine::{
    Acknowledgement, Disposal, Engine, Error, Offline, PredictOptions, Readiness,
    RetractionRequest, ServedModel, describe,
};
use perennial::event::{
    Batch, Command, Description, Feedback, Order, Outputs, PredictionId, Selector, Signal,
};
use perennial::model::Spec;

/// A description with these of the fixture's inputs, in this order.
fn with_inputs(head: &str, names: &[&str]) -> String {
    let input = |name: &&str| {
        let kind = if *name == "c" { "category" } else { "number" };
        format!("[[input]]\nname = \"{name}\"\nkind = \"{kind}\"\n")
    };
    head.to_owned() + &names.iter().map(input).collect::<String>()
}

fn classes(head: &str, names: &[&str]) -> String {
    with_inputs(&format!("task = \"classification\"\n{head}\n"), names)
}

/// The fixture's row `n` as this description takes it.
fn row(spec: &Spec, n: usize) -> Batch {
    let (mut batch, _) = rows(n + 1, 0.3).nth(n).expect("rows go on");
    let place = |name: &str| ["x", "y", "c"].iter().position(|known| *known == name);
    let column = |name: &str| batch.columns[place(name).expect("of the fixture")].clone();
    batch.columns = spec
        .inputs
        .iter()
        .map(|input| column(&input.name))
        .collect();
    batch
}

fn ask(model: &ServedModel, n: usize) -> PredictionId {
    answer(model, n).0
}

fn answer(model: &ServedModel, n: usize) -> (PredictionId, Outputs) {
    let snapshot = model.snapshot("").expect("it serves");
    let batch = row(&snapshot.model.spec, n);
    let answer = wait(model.predict(&snapshot, batch, PredictOptions::default())).unwrap();
    (answer.ids[0], answer.outputs)
}

async fn submit(model: &ServedModel, feedback: Feedback) {
    let receipt = model.accept(feedback).expect("there is room");
    match receipt.wait().await.expect("acknowledged") {
        Acknowledgement::Accepted { position } => {
            model.wait_for_position(position).await.expect("learned");
        }
        other => panic!("it came before: {other:?}"),
    }
}

/// Gives the truth of row `n`, as `source`.
async fn submit_row(model: &ServedModel, id: PredictionId, n: usize, source: &str) {
    let truth = rows(n + 1, 0.3).nth(n).expect("rows go on").1;
    let feedback = Feedback {
        source: source.to_owned(),
        ..label(id, &format!("{source}-{n}"), truth)
    };
    submit(model, feedback).await;
}

/// Rows and their truths, of two sources in turn or of one.
async fn serve_rows(model: &ServedModel, range: std::ops::Range<usize>, only: Option<&str>) {
    for n in range {
        let (id, source) = (ask(model, n), ["people", "batch"][n % 2]);
        if only.is_none_or(|only| only == source) {
            submit_row(model, id, n, source).await;
        }
    }
}

fn description(toml: &str) -> Description {
    let workspace = Workspace::new(&[("m", toml)]);
    let described = describe(&workspace.models().join("m/model.toml"));
    described.expect("a description").description
}

/// Stops the server, adopts another description, and starts it under that.
fn adopt(workspace: &Workspace, engine: Arc<Engine>, toml: &str) -> Arc<Engine> {
    engine.close();
    drop(engine);
    let command = Command {
        order: Order::Adopt(description(toml)),
        actor: String::new(),
        note: String::new(),
    };
    Offline::order(&workspace.data(), "m", command).expect("it is adopted");
    workspace.describe("m", toml);
    workspace.open()
}

/// Adopts `toml` between two stretches, with rows that wait for their truth in between, and then
/// says the truth of those; gives back how many of these came too late.
async fn cross(workspace: &Workspace, toml: &str, only: Option<&str>) -> (Arc<Engine>, u64) {
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    serve_rows(model, 0..30, only).await;
    let waiting: Vec<_> = (30..36).map(|n| ask(model, n)).collect();
    let engine = adopt(workspace, engine, toml);
    let model = engine.model("m").unwrap();
    for (n, id) in (30..).zip(waiting) {
        submit_row(model, id, n, "people").await;
    }
    let late = model.status(false).fates["expired"];
    serve_rows(model, 40..60, only).await;
    (engine, late)
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_p6_answers_that_a_description_could_not_have_given_take_no_feedback_under_it() {
    let two = "classes = [\"a\", \"b\"]";
    let check = async |toml: String, expired: u64| {
        let workspace = Workspace::new(&[("m", AUTO)]);
        let (engine, late) = cross(&workspace, &toml, None).await;
        assert_eq!(late, expired, "{toml}");
        let model = engine.model("m").unwrap();
        let status = model.status(true);
        assert_eq!(status.state, Readiness::Ready, "{toml}");
        assert_eq!(status.fates.values().sum::<u64>(), 30 + 6 + 20, "{toml}");
        let request = RetractionRequest {
            selector: Selector::Source("batch".to_owned()),
            actor: String::new(),
            note: String::new(),
            disposal: Disposal::Keep,
        };
        let done = model.retract(request).await.expect("it is retracted");
        assert_eq!(done.plan.excluded, 25, "{toml}");
        let other = Workspace::new(&[("m", AUTO)]);
        let (twin, _) = cross(&other, &toml, Some("people")).await;
        assert_eq!(digest(model), digest(twin.model("m").unwrap()), "{toml}");
        let last = digest(model);
        engine.close();
        drop(engine);
        let offline = Offline::open(&workspace.data(), "m").unwrap();
        let mut replay = offline.replay(None).unwrap();
        while replay.advance(16).unwrap() {}
        assert!(replay.outcome().compared >= 3, "{toml}");
        drop(offline);
        assert_eq!(digest(workspace.open().model("m").unwrap()), last, "{toml}");
    };
    check(classes(two, &["x", "c"]), 6).await;
    check(classes(two, &["y", "x", "c"]), 6).await;
    check(classes("classes = [\"b\", \"a\"]", &["x", "y", "c"]), 6).await;
    let more = "classes = [\"a\", \"b\", \"z\"]";
    check(classes(more, &["x", "y", "c"]), 0).await;
    check(format!("{AUTO}[learner]\nkind = \"analytic\"\n"), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_what_had_gone_stays_gone_under_a_description_that_keeps_more() {
    let workspace = Workspace::new(&[("m", &format!("{AUTO}[feedback]\nwaiting_max = 2\n"))]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    let ids: Vec<_> = (0..5).map(|n| ask(model, n)).collect();
    let engine = adopt(&workspace, engine, AUTO);
    let model = engine.model("m").unwrap();
    for (n, id) in ids.into_iter().enumerate() {
        if n >= 3 {
            submit_row(model, id, n, "people").await;
            continue;
        }
        let receipt = model.accept(label(id, &format!("people-{n}"), "a"));
        let refused = receipt.unwrap().wait().await.unwrap_err();
        assert!(matches!(refused, Error::Gone { .. }), "{refused}");
    }
    assert_eq!(model.status(false).fates["applied"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_version_of_other_inputs_is_not_restored() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    serve_rows(model, 0..10, None).await;
    let version = order(model, Order::Checkpoint).await.version;
    let turned = classes("classes = [\"a\", \"b\"]", &["y", "x", "c"]);
    let engine = adopt(&workspace, engine, &turned);
    let model = engine.model("m").unwrap();
    let before = (digest(model), answers(model));
    let command = Command {
        order: Order::Restore { version },
        actor: String::new(),
        note: String::new(),
    };
    let refused = model.command(command).await.unwrap_err().to_string();
    assert!(refused.contains("is of another description"), "{refused}");
    assert_eq!((digest(model), answers(model)), before);
}

/// Lives on both sides of an adoption; the server, and the answers to row 30 before it and row
/// 60 after it.
async fn asked_on_both_sides(
    workspace: &Workspace,
    toml: &str,
    only: Option<&str>,
) -> (Arc<Engine>, [(PredictionId, Outputs); 2]) {
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    serve_rows(model, 0..30, only).await;
    let before = answer(model, 30);
    let engine = adopt(workspace, engine, toml);
    let model = engine.model("m").unwrap();
    serve_rows(model, 40..60, only).await;
    let after = answer(model, 60);
    (engine, [before, after])
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_an_answer_is_explained_across_an_adoption() {
    let turned = classes("classes = [\"b\", \"a\"]", &["c", "y", "x"]);
    let learner = "[learner]\nkind = \"analytic\"\n";
    for toml in [turned, format!("{AUTO}{learner}")] {
        let workspace = Workspace::new(&[("m", AUTO)]);
        let (engine, asked) = asked_on_both_sides(&workspace, &toml, None).await;
        let twin = Workspace::new(&[("m", AUTO)]);
        let (_twin_engine, without) = asked_on_both_sides(&twin, &toml, Some("people")).await;
        let adopted = Spec::parse(&toml).unwrap();
        let first = Spec::parse(AUTO).unwrap();
        let audits = asked.each_ref().map(|(id, _)| {
            let found = engine.audit(*id, Some("batch")).unwrap();
            found.expect("it is there")
        });
        let specs = [first, adopted];
        for (index, found) in audits.iter().enumerate() {
            let (spec, n_each) = (&specs[index], [15, 25][index]);
            assert!(found.bit_equal(), "{toml}: {found:?}");
            assert_eq!(found.answer, asked[index].1);
            let inputs: Vec<&str> = found.inputs.iter().map(|(name, _)| &name[..]).collect();
            let expected: Vec<&str> = spec.inputs.iter().map(|input| &input.name[..]).collect();
            assert_eq!(inputs, expected);
            assert_eq!(found.names, spec.task.names());
            let sources = ["people", "batch"].map(|source| (source.to_owned(), n_each));
            assert_eq!(found.sources, sources.into());
            let other = found.without.clone().unwrap().unwrap();
            let (decisions, excluded) = (other.answer, other.excluded);
            assert_eq!(
                (decisions, excluded),
                (without[index].1.clone(), n_each),
                "{toml}"
            );
        }
        engine.close();
        drop(engine);
        let offline = Offline::open(&workspace.data(), "m").unwrap();
        for ((id, _), found) in asked.iter().zip(audits) {
            assert_eq!(offline.audit(*id, Some("batch")).unwrap(), Some(found));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_what_if_finds_each_answer_s_inputs_as_they_stood_then() {
    // Lived under one description after the other, or under one alone: the rows and their truths
    // are the same.
    let two = "classes = [\"a\", \"b\"]";
    let (turned, fewer) = (classes(two, &["c", "y", "x"]), classes(two, &["x", "c"]));
    for (first, second, asked) in [
        (AUTO, &turned, AUTO),
        (&turned, &AUTO.to_owned(), &fewer),
        (AUTO, &fewer, &fewer),
    ] {
        let workspace = Workspace::new(&[("m", first)]);
        let (engine, _) = cross(&workspace, second, None).await;
        engine.close();
        drop(engine);
        let twin = Workspace::new(&[("m", asked)]);
        let engine = twin.open();
        let model = engine.model("m").unwrap();
        serve_rows(model, 0..30, None).await;
        let waiting: Vec<_> = (30..36).map(|n| ask(model, n)).collect();
        for (n, id) in (30..).zip(waiting) {
            submit_row(model, id, n, "people").await;
        }
        serve_rows(model, 40..60, None).await;
        let alone = digest(model).to_string();
        let offline = Offline::open(&workspace.data(), "m").unwrap();
        let mut replay = offline.replay_with(description(asked)).unwrap();
        while replay.advance(16).unwrap() {}
        assert_eq!(replay.outcome().digest, alone, "{first}{second}{asked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logged_decisions_are_as_they_were_taken() {
    let bandit = |actions: &str, names: &[&str]| {
        with_inputs(
            &format!("task = \"bandit\"\nactions = [{actions}]\n"),
            names,
        )
    };
    let workspace = Workspace::new(&[("m", &bandit("\"a\", \"b\"", &["x", "y", "c"]))]);
    let engine = workspace.open();
    let taken = async |engine: &Engine, range: std::ops::Range<usize>, source: &str| {
        let model = engine.model("m").unwrap();
        let actions = model.spec().unwrap().task.names().to_vec();
        let mut taken = Vec::new();
        for n in range {
            let (id, outputs) = answer(model, n);
            let Outputs::Actions { chosen, .. } = outputs else {
                panic!("a bandit answers with actions")
            };
            taken.push(actions[chosen[0] as usize].clone());
            let feedback = Feedback {
                signal: Signal::Reward(1.0),
                source: source.to_owned(),
                ..label(id, &format!("row-{n}"), "")
            };
            submit(model, feedback).await;
        }
        taken
    };
    let mut expected = taken(&engine, 0..8, "people").await;
    taken(&engine, 8..12, "bad").await;
    let request = RetractionRequest {
        selector: Selector::Source("bad".to_owned()),
        actor: String::new(),
        note: String::new(),
        disposal: Disposal::Keep,
    };
    let model = engine.model("m").unwrap();
    model.retract(request).await.expect("it is retracted");
    let engine = adopt(
        &workspace,
        engine,
        &bandit("\"b\", \"a\"", &["y", "x", "c"]),
    );
    expected.extend(taken(&engine, 12..20, "people").await);
    let engine = adopt(&workspace, engine, &bandit("\"b\", \"a\"", &["x"]));
    expected.extend(taken(&engine, 20..24, "people").await);
    engine.close();
    drop(engine);
    let offline = Offline::open(&workspace.data(), "m").unwrap();
    let asked = Spec::parse(&bandit("\"a\", \"b\"", &["x"])).unwrap();
    let decisions: Vec<_> = offline
        .decisions(&asked)
        .unwrap()
        .map(|decided| decided.expect("it is there"))
        .collect();
    let actions: Vec<_> = decisions
        .iter()
        .map(|decided| decided.action.clone())
        .collect();
    assert_eq!(actions, expected);
    for (decided, n) in decisions.iter().zip((0..8).chain(12..24)) {
        assert_eq!(decided.batch, row(&asked, n), "row {n}");
    }
}
