//! The memory that replay and retraction take for the versions that a history makes and brings back.
//!
//! Invariant: their peak does not depend on how many there are, nor on how many were made.

mod counting;
#[path = "../it/support/mod.rs"]
mod support;

use counting::peak;
use perennial::engine::{Disposal, Offline, RetractionRequest};
use perennial::event::{Order, Selector};
use perennial::store::checkpoint;
use support::{Workspace, order, syncing_nothing, teach_rows};

/// About a megabyte of state, most of it in two layers and their moments.
const WIDE: &str = "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
    [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"y\"\nkind = \"number\"\n\
    [[input]]\nname = \"c\"\nkind = \"category\"\n\
    [network]\nkind = \"mlp\"\nhidden = [256, 256]\n\
    [learner]\nkind = \"gradient\"\noptimizer = \"adamw\"\n\
    [memory]\nstrategy = \"none\"\n";

/// Makes so many versions, each with something learned before it, and then brings each back;
/// gives the peaks of a retraction and of a replay, and the bytes of one state.
async fn peaks(n_versions: usize) -> [usize; 3] {
    let workspace = Workspace::new(&[("m", WIDE)]);
    // As a crash leaves it.
    let left = workspace.data().join("m/.scratch-1-0");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("3.weights"), "half a state").unwrap();
    let engine = workspace.open_on(syncing_nothing());
    let model = engine.model("m").unwrap();
    teach_rows(model, 2, 0.3, "first").await;
    let mut made = Vec::new();
    for index in 0..n_versions {
        teach_rows(model, 1, 0.3, &format!("row-{index}")).await;
        made.push(order(model, Order::Checkpoint).await.version);
    }
    for version in made {
        order(model, Order::Restore { version }).await;
    }
    let request = RetractionRequest {
        selector: Selector::FeedbackId("first-0".to_owned()),
        actor: String::new(),
        note: String::new(),
        disposal: Disposal::Keep,
    };
    let (retract, ()) = peak(|| {
        tokio::task::block_in_place(|| {
            let retracted = support::wait(model.retract(request)).expect("it is retracted");
            assert_eq!(retracted.plan.excluded, 1);
        });
    });
    engine.close();
    drop(engine);
    let folder = workspace.data().join("m/checkpoints");
    let newest = checkpoint::list(&folder)
        .unwrap()
        .pop()
        .expect("there are some");
    let newest = checkpoint::load(&folder, newest.position).unwrap();
    let tensors = newest.weights.0.values().chain(newest.learner.0.values());
    let state = tensors.map(|tensor| tensor.data.n_bytes()).sum();
    let offline = Offline::open(&workspace.data(), "m").unwrap();
    let (replay, ()) = peak(|| {
        let mut replay = offline.replay(None).unwrap();
        while replay.advance(1000).unwrap() {}
        assert!(replay.outcome().compared >= 2 * n_versions as u64);
    });
    let names = std::fs::read_dir(workspace.data().join("m")).unwrap();
    assert_eq!(
        names.count(),
        3,
        "nothing stays beside journal, checkpoints and ids"
    );
    [retract, replay, state]
}

/// One test, since memory is counted for the whole process.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn p8_p12_the_peak_of_a_replay_does_not_depend_on_the_versions_brought_back_or_made() {
    brought_back().await;
    made().await;
}

async fn brought_back() {
    // Allocations made once in a process are no part of it.
    peaks(0).await;
    let [retract, replay, state] = peaks(0).await;
    let [retract_many, replay_many, _] = peaks(30).await;
    println!("state {state}: retract {retract} {retract_many}, replay {replay} {replay_many}");
    assert!(state > 500_000, "{state}");
    // The restored state, and its reads.
    let most = 2 * state + state / 4;
    assert!(retract_many < retract + most, "{retract} {retract_many}");
    assert!(replay_many < replay + most, "{replay} {replay_many}");
}

/// A few kilobytes of state.
const NARROW: &str = "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
    [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"y\"\nkind = \"number\"\n\
    [[input]]\nname = \"c\"\nkind = \"category\"\n\
    [network]\nkind = \"linear\"\n\
    [learner]\nkind = \"gradient\"\noptimizer = \"sgd\"\n\
    [memory]\nstrategy = \"none\"\n[feedback]\nwaiting_max = 10\n";

/// The peak of a replay over so many examples, with a version after each that many of them, and the
/// bytes of the last state.
async fn narrow(n_examples: usize, every: usize) -> [usize; 2] {
    let versions = format!("[versions]\nevery_examples = {every}\nkeep = 2\n");
    let workspace = Workspace::new(&[("m", &format!("{NARROW}{versions}"))]);
    let engine = workspace.open_on(syncing_nothing());
    teach_rows(engine.model("m").unwrap(), n_examples, 0.3, "row").await;
    engine.close();
    drop(engine);
    let folder = workspace.data().join("m/checkpoints");
    let newest = checkpoint::positions(&folder).unwrap().pop().unwrap();
    let newest = checkpoint::load(&folder, newest).unwrap();
    let tensors = newest.weights.0.values().chain(newest.learner.0.values());
    let state = tensors.map(|tensor| tensor.data.n_bytes()).sum();
    let offline = Offline::open(&workspace.data(), "m").unwrap();
    let (replay, ()) = peak(|| {
        let mut replay = offline.replay(None).unwrap();
        while replay.advance(1000).unwrap() {}
    });
    [replay, state]
}

async fn made() {
    narrow(20, 1).await;
    // As many entries, for whose places a reader has a table.
    let [without, _] = narrow(4500, 1_000_000).await;
    let [with, state] = narrow(3000, 1).await;
    println!("state {state}, replay {without} without versions, {with} with 3000");
    // The tree of them all would take 96 bytes of each, 288 kilobytes; the first rows, which the champion
    // and a contender have as well, and the tests for drift take some forty, and the window of the
    // monitors as many again.
    assert!(state < 110_000, "{state}");
    assert!(with < without + 2 * state, "{without} {with}, of {state}");
}
