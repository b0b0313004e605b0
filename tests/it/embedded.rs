//! The engine within a program that brings its own runtime: one with a single thread, as
//! `#[tokio::main(flavor = "current_thread")]` makes it.
//!
//! Invariant: a call that works on many threads works on one.

use crate::support::{AUTO, Workspace, digest, order, teach_rows};
use perennial::engine::{Disposal, RetractionRequest};
use perennial::event::{Order, Selector};
use perennial::model::OrderedLimits;

#[tokio::test(flavor = "current_thread")]
async fn every_order_is_carried_out_on_a_runtime_of_one_thread() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    teach_rows(model, 20, 0.3, "early").await;
    let made = order(model, Order::Checkpoint).await;
    let learned = digest(model);
    teach_rows(model, 20, 0.9, "late").await;
    let version = made.version;
    order(model, Order::Restore { version }).await;
    assert_eq!(digest(model), learned);
    let changes = OrderedLimits {
        retract_within: Some("1h".to_owned()),
        ..OrderedLimits::default()
    };
    let limits = model.change_limits(&changes).await.unwrap();
    assert_eq!(limits.retract_within_s, 3600);
    let request = RetractionRequest {
        selector: Selector::Source("test".to_owned()),
        actor: String::new(),
        note: String::new(),
        disposal: Disposal::Keep,
    };
    let certificate = model.retract(request).await.unwrap();
    assert_eq!(certificate.plan.excluded, 40);
    engine.close();
}
