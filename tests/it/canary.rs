//! Canaries: a share of requests that the candidate answers while the champion serves.
//!
//! Invariant: the id of a request says which side answers it, so that an audit finds the state again.

use std::sync::Arc;

use perennial::engine::{Acknowledgement, Engine, PredictOptions, ServedModel};
use perennial::event::{Feedback, Order, Outputs, PredictionId, Signal};

use crate::support::{Workspace, answers, label, order, rows, syncing_nothing, teach_rows, wait};

const CLASSES: &str = "task = \"classification\"\nclasses = [\"a\", \"b\"]\nclasses_max = 3\n\
    [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"y\"\nkind = \"number\"\n\
    [[input]]\nname = \"c\"\nkind = \"category\"\n";
const VALUES: &str = "task = \"regression\"\n\
    [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"y\"\nkind = \"number\"\n\
    [[input]]\nname = \"c\"\nkind = \"category\"\n";
const BANDIT: &str = "task = \"bandit\"\nactions = [\"a\", \"b\"]\n\
    [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"y\"\nkind = \"number\"\n\
    [[input]]\nname = \"c\"\nkind = \"category\"\n[policy]\nkind = \"epsilon\"\nepsilon = 0.2\n";

fn open(workspace: &Workspace) -> (Arc<Engine>, Arc<ServedModel>) {
    let engine = workspace.open_on(syncing_nothing());
    let model = engine.model("m").expect("a model").clone();
    (engine, model)
}

/// The id and the version of journaled answers under a name, and their outputs.
async fn asked(
    model: &ServedModel,
    name: &str,
    n_rows: usize,
) -> Vec<(PredictionId, u64, Outputs)> {
    let mut all = Vec::new();
    for (batch, _) in rows(n_rows, 0.1) {
        let snapshot = model.snapshot_of(name).await.expect("it answers");
        let answer = model.predict(&snapshot, batch, PredictOptions::default());
        let answer = answer.await.expect("an answer");
        all.push((answer.ids[0], answer.version, answer.outputs));
    }
    all
}

/// Every answer is given again bit for bit, by the version that it was given by.
fn audited(engine: &Engine, all: &[(PredictionId, u64, Outputs)]) {
    for (id, version, outputs) in all {
        let found = engine.audit(*id, None).expect("the journal is sound");
        let found = found.expect("it is journaled");
        assert!(found.bit_equal(), "{found:?}");
        assert_eq!((found.version, &found.answer), (*version, outputs));
    }
}

#[test]
fn p4_a_share_of_requests_is_answered_by_the_candidate_and_audited_as_such() {
    let toml = format!("{CLASSES}[publish]\npolicy = \"manual\"\ncanary = 0.25\n");
    let workspace = Workspace::new(&[("m", &toml)]);
    let (engine, model) = open(&workspace);
    wait(teach_rows(&model, 40, 0.0, "first"));
    wait(order(&model, Order::Checkpoint));
    let all = wait(asked(&model, "", 400));
    let by = |version: u64| all.iter().filter(|one| one.1 == version).count();
    assert_eq!(by(1) + by(2), 400);
    assert!((60..140).contains(&by(2)), "{} of 400", by(2));
    // The candidate has learned, the champion has not.
    let sure = |outputs: &Outputs| outputs.probabilities().expect("of classes")[0] != 0.5;
    for (_, version, outputs) in &all {
        assert_eq!(sure(outputs), *version == 2, "{outputs:?}");
    }
    // Who asks for a side by its name gets that side, and an answer that is not journaled is no canary.
    let champion = wait(asked(&model, "champion", 100));
    assert!(champion.iter().all(|one| one.1 == 1));
    assert!(answers(&model).iter().all(|outputs| !sure(outputs)));
    // Feedback about a canary is learned as any.
    let (id, ..) = all.iter().find(|one| one.1 == 2).expect("there are some");
    let receipt = model
        .accept(label(*id, "of a canary", "c"))
        .expect("there is room");
    let accepted = wait(receipt.wait()).expect("acknowledged");
    assert!(matches!(accepted, Acknowledgement::Accepted { .. }));
    wait(teach_rows(&model, 10, 0.0, "second"));
    audited(&engine, &all);
    audited(&engine, &champion);
    engine.close();
    drop((engine, model));
    std::fs::remove_dir_all(workspace.data().join("m/checkpoints")).expect("they are there");
    let (engine, model) = open(&workspace);
    audited(&engine, &all);
    // A class that the candidate has come to know has a place in its answers alone.
    let wide = wait(asked(&model, "", 100));
    for (_, version, outputs) in &wide {
        let n_classes = outputs.probabilities().expect("of classes").len();
        assert_eq!(n_classes, if *version == 1 { 2 } else { 3 });
    }
    audited(&engine, &wide);
    engine.close();
}

#[test]
fn p4_canaries_of_values_and_of_actions_are_given_again() {
    for task in [VALUES, BANDIT] {
        let toml = format!("{task}[publish]\npolicy = \"gated\"\ncanary = 0.5\n");
        let workspace = Workspace::new(&[("m", &toml)]);
        let (engine, model) = open(&workspace);
        let mut all = Vec::new();
        for turn in 0..6 {
            all.extend(wait(asked(&model, "", 10)));
            wait(async {
                for (place, (id, ..)) in all[turn * 10..].iter().enumerate() {
                    let signal = match task {
                        VALUES => Signal::Value((place + turn) as f64),
                        _ => Signal::Reward((place % 2) as f64),
                    };
                    let feedback = Feedback {
                        signal,
                        ..label(*id, &format!("{turn}-{place}"), "")
                    };
                    let receipt = model.accept(feedback).expect("there is room");
                    receipt.wait().await.expect("acknowledged");
                }
                order(&model, Order::Checkpoint).await;
            });
        }
        let n_canaries = all.iter().filter(|one| one.1 > 1).count();
        assert!((10..50).contains(&n_canaries), "{n_canaries}");
        audited(&engine, &all);
        engine.close();
    }
}
