//! Names of versions: set, moved and removed by orders, asked for on the wire, and kept through the
//! fates of their versions.
//!
//! Invariant: an alias never names a version that holds retracted feedback, and the version that it names
//! stays on disk.

use std::sync::Arc;

use perennial::engine::{
    Certificate, Disposal, Engine, Error, MovedAlias, NewVersion, PredictOptions,
    RetractionRequest, ServedModel,
};
use perennial::event::{Command, Feedback, Order, Outputs, Selector};
use serde_json::Value;

use crate::support::server::{Client, Server, run, text};
use crate::support::{
    AUTO, Workspace, label, order, overwrite, question, rows, syncing_nothing, teach_rows, wait,
};

fn set(alias: &str, version: u64) -> Order {
    Order::SetAlias {
        alias: alias.to_owned(),
        version,
    }
}

async fn given(model: &ServedModel, order: Order) -> Result<NewVersion, Error> {
    let (actor, note) = Default::default();
    model.command(Command { order, actor, note }).await
}

fn aliases(model: &ServedModel) -> Vec<(String, u64)> {
    model.status(false).aliases.into_iter().collect()
}

/// The answer to one row of whatever answers under this name.
fn answer(model: &ServedModel, name: &str) -> Result<Outputs, Error> {
    let (batch, _) = rows(1, 0.0).next().expect("a row");
    wait(async {
        let snapshot = model.snapshot_of(name).await?;
        let options = PredictOptions {
            journal: false,
            explore: false,
            ..PredictOptions::default()
        };
        Ok(model.predict(&snapshot, batch, options).await?.outputs)
    })
}

fn open(workspace: &Workspace) -> (Arc<Engine>, Arc<ServedModel>) {
    let engine = workspace.open_on(syncing_nothing());
    let model = engine.model("m").expect("a model").clone();
    (engine, model)
}

#[test]
fn p8_requests_for_a_version_that_does_not_serve_read_it_once() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let (engine, model) = open(&workspace);
    wait(teach_rows(&model, 30, 0.0, "first"));
    wait(order(&model, Order::Checkpoint));
    wait(teach_rows(&model, 30, 1.5, "second"));
    wait(given(&model, set("prod", 2))).expect("it is set");
    let asked = |name: &'static str| {
        let threads = (0..32).map(|_| {
            let model = model.clone();
            std::thread::spawn(move || wait(model.snapshot_of(name)).map(|one| one.version))
        });
        let threads: Vec<_> = threads.collect();
        for thread in threads {
            let version = thread.join().expect("no panic").expect("it answers");
            assert_eq!(version, 2, "{name}");
        }
        model.snapshots_read().expect("it is served")
    };
    assert_eq!(asked("prod"), 1);
    drop((engine, model));
}

#[test]
fn an_alias_answers_as_its_version_did_and_goes_on_after_a_restart() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let (engine, model) = open(&workspace);
    wait(teach_rows(&model, 30, 0.0, "first"));
    let then = answer(&model, "").expect("it serves");
    wait(order(&model, Order::Checkpoint));
    wait(teach_rows(&model, 30, 1.5, "second"));
    wait(order(&model, Order::Checkpoint));
    let now = answer(&model, "").expect("it serves");
    assert_ne!(then, now);
    wait(given(&model, set("prod", 2))).expect("it is set");
    wait(given(&model, set("next", 3))).expect("it is set");
    assert_eq!(answer(&model, "prod").expect("it answers"), then);
    assert_eq!(answer(&model, "next").expect("it answers"), now);
    engine.close();
    drop((engine, model));

    let (engine, model) = open(&workspace);
    assert_eq!(answer(&model, "prod").expect("it answers"), then);
    wait(given(&model, set("prod", 3))).expect("it is moved");
    assert_eq!(answer(&model, "prod").expect("it answers"), now);
    let remove = |alias: &str| Order::RemoveAlias {
        alias: alias.to_owned(),
    };
    wait(given(&model, remove("next"))).expect("it is removed");
    assert_eq!(aliases(&model), [("prod".to_owned(), 3)]);
    let error = answer(&model, "next").expect_err("it is gone").to_string();
    assert!(error.contains("does not serve version \"next\""), "{error}");
    let error = wait(given(&model, remove("next"))).expect_err("it is gone");
    assert_eq!(error.to_string(), "alias: \"next\" names no version");
    engine.close();
    drop((engine, model));
    // The journal alone gives the same.
    std::fs::remove_dir_all(workspace.data().join("m/checkpoints")).expect("they are there");
    let (engine, model) = open(&workspace);
    assert_eq!(aliases(&model), [("prod".to_owned(), 3)]);
    engine.close();
}

#[test]
fn p9_an_alias_that_collides_or_names_nothing_is_refused_in_a_sentence() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let (engine, model) = open(&workspace);
    wait(teach_rows(&model, 5, 0.0, "row"));
    wait(order(&model, Order::Checkpoint));
    let check = |alias: &str, version: u64, expected: &str| {
        let error = wait(given(&model, set(alias, version))).expect_err("it is refused");
        let error = error.to_string();
        assert!(error.contains(expected), "{alias}: {error}");
    };
    let sides = "champion and candidate are the two sides of every model; take another name";
    check("champion", 2, sides);
    check("candidate", 2, sides);
    for malformed in ["7", "", "a b", "-x"] {
        check(malformed, 2, "expected 1 to 64 letters, digits");
    }
    check("prod", 9, "model \"m\" has no version 9; it has 1, 2");
    for n in 0..32 {
        wait(given(&model, set(&format!("name-{n}"), 1))).expect("there is room");
    }
    check(
        "one-more",
        1,
        "alias: \"one-more\": 32 aliases are set; remove one, or move it",
    );
    wait(given(&model, set("name-3", 2))).expect("it is there already");
    let weights = workspace.data().join("m/checkpoints");
    let mut folders: Vec<_> = std::fs::read_dir(weights).expect("a folder").collect();
    folders.sort_by_key(|one| one.as_ref().expect("an entry").file_name());
    let newest = folders
        .last()
        .expect("one")
        .as_ref()
        .expect("an entry")
        .path();
    let path = newest.join("weights.safetensors");
    let mut bytes = std::fs::read(&path).expect("it is there");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    overwrite(&path, &bytes);
    check("prod", 2, "version 2 cannot be restored: ");
    // The name that it has already answers with the reason.
    let error = answer(&model, "name-3")
        .expect_err("it is damaged")
        .to_string();
    assert!(
        error.contains("\"name-3\" names version 2, which cannot be read"),
        "{error}"
    );
    engine.close();
}

/// Teaches rows of a source, each a version of its own.
async fn submit(model: &ServedModel, n_rows: usize, source: &str) {
    for (index, (batch, truth)) in rows(n_rows, 0.3).enumerate() {
        let snapshot = model.snapshot("").expect("it serves");
        let answered = model.predict(&snapshot, batch, PredictOptions::default());
        let id = answered.await.expect("an answer").ids[0];
        let feedback = Feedback {
            source: source.to_owned(),
            ..label(id, &format!("{source}-{index}"), truth)
        };
        let receipt = model.accept(feedback).expect("there is room");
        receipt.wait().await.expect("acknowledged");
    }
    let last = model.status(false).journal_position;
    model.wait_for_position(last).await.expect("learned");
}

fn retract(model: &ServedModel, source: &str, disposal: Disposal) -> Certificate {
    let selector = Selector::Source(source.to_owned());
    let (actor, note) = Default::default();
    let done = wait(model.retract(RetractionRequest {
        selector,
        actor,
        note,
        disposal,
    }));
    done.expect("it is retracted")
}

fn moved(alias: &str, before: u64, after: u64) -> MovedAlias {
    MovedAlias {
        alias: alias.to_owned(),
        before,
        after,
    }
}

#[test]
fn p6_an_alias_of_what_was_retracted_moves_to_the_first_version_without_it() {
    for policy in ["live", "gated", "manual"] {
        for disposal in [Disposal::Keep, Disposal::Erase] {
            let toml = format!("{AUTO}[publish]\npolicy = \"{policy}\"\n");
            let workspace = Workspace::new(&[("m", &toml)]);
            let (engine, model) = open(&workspace);
            wait(submit(&model, 10, "people"));
            wait(order(&model, Order::Checkpoint));
            wait(submit(&model, 10, "batch"));
            wait(order(&model, Order::Checkpoint));
            wait(given(&model, set("clean", 2))).expect("it is set");
            wait(given(&model, set("prod", 3))).expect("it is set");
            let clean = answer(&model, "clean").expect("it answers");
            assert_ne!(answer(&model, "prod").expect("it answers"), clean);

            let plan = model.plan_retraction(&Selector::Source("batch".to_owned()));
            assert_eq!(plan.expect("a plan").aliases, [moved("prod", 3, 0)]);
            let certificate = retract(&model, "batch", disposal);
            let made = certificate.version;
            assert_eq!(certificate.plan.aliases, [moved("prod", 3, made)]);
            let expected = [("clean".to_owned(), 2), ("prod".to_owned(), made)];
            assert_eq!(aliases(&model), expected, "{policy} {disposal:?}");
            let prod = answer(&model, "prod").expect("it answers");
            let error = wait(given(&model, set("late", 3))).expect_err("it is tainted");
            let error = error.to_string();
            assert!(
                error.contains("version 3") && error.contains(&made.to_string()),
                "{error}"
            );
            engine.close();
            drop((engine, model));
            let (engine, model) = open(&workspace);
            assert_eq!(aliases(&model), expected, "{policy} {disposal:?}");
            assert_eq!(answer(&model, "prod").expect("it answers"), prod);
            assert_eq!(answer(&model, "clean").expect("it answers"), clean);
            engine.close();
        }
    }
}

#[test]
fn p5_an_alias_stays_where_a_restore_brings_another_version_back() {
    for policy in ["live", "gated", "manual"] {
        let toml = format!("{AUTO}[publish]\npolicy = \"{policy}\"\n");
        let workspace = Workspace::new(&[("m", &toml)]);
        let (engine, model) = open(&workspace);
        wait(submit(&model, 10, "people"));
        wait(order(&model, Order::Checkpoint));
        wait(submit(&model, 10, "batch"));
        wait(order(&model, Order::Checkpoint));
        wait(given(&model, set("prod", 3))).expect("it is set");
        let prod = answer(&model, "prod").expect("it answers");
        let restored = wait(order(&model, Order::Restore { version: 2 })).version;
        assert_eq!(aliases(&model), [("prod".to_owned(), 3)], "{policy}");
        assert_eq!(
            answer(&model, "prod").expect("it answers"),
            prod,
            "{policy}"
        );
        // The version that was restored can be named as well, and a retraction of it moves both.
        wait(given(&model, set("back", restored))).expect("it is set");
        let made = retract(&model, "people", Disposal::Keep).version;
        let expected = [("back".to_owned(), made), ("prod".to_owned(), made)];
        assert_eq!(aliases(&model), expected, "{policy}");
        engine.close();
    }
}

#[test]
fn a_version_that_an_alias_names_stays_on_disk() {
    let toml = format!("{AUTO}[versions]\nevery_examples = 5\nkeep = 2\n");
    let workspace = Workspace::new(&[("m", &toml)]);
    let (engine, model) = open(&workspace);
    wait(submit(&model, 10, "people"));
    wait(given(&model, set("prod", 2))).expect("it is set");
    wait(submit(&model, 60, "batch"));
    let kept = |model: &ServedModel| {
        let all = model.versions().expect("they are listed").into_iter();
        all.map(|(one, _)| one.version).collect::<Vec<u64>>()
    };
    let (versions, newest) = (kept(&model), model.status(false).version);
    assert!(
        versions.contains(&2) && !versions.contains(&3),
        "{versions:?}"
    );
    assert!(newest > 10 && versions.len() < 6, "{versions:?}");
    answer(&model, "prod").expect("it answers");
    wait(given(&model, set("prod", newest))).expect("it is moved");
    wait(submit(&model, 20, "clicks"));
    assert!(!kept(&model).contains(&2), "{:?}", kept(&model));
    engine.close();
}

#[tokio::test]
async fn an_alias_is_given_and_asked_for_over_the_wire() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let server = Server::of(&workspace);
    server.json(&["checkpoint", "m"]);
    let done = server.json(&["alias", "m", "prod", "1", "--note", "looked at"]);
    assert!(done["position"].as_u64().expect("a position") > 1, "{done}");
    let (batch, _) = rows(1, 0.0).next().expect("a row");
    let mut client = Client::connect(&server.address).await;
    let mut request = question("m", &batch);
    request.model_version = "prod".to_owned();
    let answered = client.predict(request.clone()).await;
    assert_eq!(answered.model_version, "1");
    // It is no answer that takes feedback.
    assert_eq!(client.status("m", false).await.waiting, 0);
    request.model_version = "nobody".to_owned();
    let refused = client
        .inference
        .model_infer(request)
        .await
        .expect_err("nobody");
    assert_eq!(refused.code(), tonic::Code::NotFound, "{refused}");

    assert_eq!(server.json(&["alias", "m"])["aliases"]["prod"], 1);
    assert!(server.ask(&["status", "m"]).contains("aliases      prod 1"));
    assert_eq!(server.json(&["status", "m"])["aliases"]["prod"], 1);
    assert_eq!(server.json(&["show", "m", "1"])["aliases"][0], "prod");
    assert!(server.ask(&["versions", "m"]).contains("[prod]"));
    server.refuses(
        &["alias", "m", "candidate", "1"],
        "the two sides of every model",
    );
    server.refuses(&["alias", "m", "12", "1"], "expected 1 to 64 letters");
    server.refuses(&["alias", "m", "prod", "0"], "versions are numbered from 1");
    server.refuses(&["alias", "m", "prod"], "or --remove");
    server.refuses(
        &["alias", "m", "prod", "7"],
        "has no version 7; it has 1, 2",
    );
    server.json(&["alias", "m", "other", "2"]);
    server.json(&["alias", "m", "other", "--remove"]);
    server.stop();
    let data = workspace.data();
    let (shown, _) = run(&["show", "m", "1", "--data", text(&data), "--json"], 0);
    let shown: Value = serde_json::from_str(&shown).expect("an object");
    assert_eq!(shown["aliases"], serde_json::json!(["prod"]));
}
