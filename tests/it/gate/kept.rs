//! Versions that retention keeps: those that an incident offers a person to go back to.
//!
//! Invariant: as that of the tests around it.

use perennial::event::Order;

use super::{BAD, GOOD, champion, described, incidents, teach_until};
use crate::support::{Workspace, order};

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_an_open_incident_names_is_kept_until_it_is_closed() {
    let toml = |rate| format!("{}[versions]\nkeep = 1\n", described("live", rate));
    let workspace = Workspace::new(&[("m", &toml(GOOD))]);
    let engine = workspace.open();
    teach_until(engine.model("m").unwrap(), (0, 600), || false).await;
    engine.close();
    drop(engine);
    workspace.describe("m", &toml(BAD));
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    let last = teach_until(model, (600, 1200), || !incidents(model).is_empty()).await;
    assert!(last < 1200, "it is not found");
    let named = model.status(false).gate.expect("a gate").incidents[0].clone();
    assert!(named.version > 1, "{named:?}");
    engine.close();
    drop(engine);

    workspace.describe("m", &toml(GOOD));
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    let is_kept = || {
        let versions = model.versions().unwrap();
        let mut versions = versions.iter().map(|(one, _)| one.version);
        versions.any(|version| version == named.version)
    };
    let newest = || {
        let versions = model.versions().unwrap().into_iter();
        let made = versions.filter(|(one, _)| one.reason == "contender");
        made.map(|(one, _)| one.version).max()
    };
    let mut index = last;
    for _ in 0..3 {
        let is_tested = || {
            let gate = model.status(false).gate.expect("a gate");
            gate.promotion.is_some_and(|evidence| evidence.labels > 0)
        };
        index = teach_until(model, (index, index + 1500), is_tested).await;
        let by = ("ann".to_owned(), String::new());
        model.promote(None, by).await.expect("it is promoted");
        assert_ne!(champion(model), named.version);
        assert!(is_kept(), "version {} is gone", named.version);
    }
    let incident = named.position;
    order(model, Order::Close { incident }).await;
    let before = newest();
    teach_until(model, (index, index + 1500), || newest() > before).await;
    assert!(!is_kept(), "nothing names version {}", named.version);
}
