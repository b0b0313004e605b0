//! Every order meets every other, at each stage of its way, with clients that stay or leave and
//! with kills in between.
//!
//! Invariant: the engine is held at its own stages, so that each meeting happens as it is named;
//! its outcome is compared with a learner that never saw the retracted feedback.

mod held;
mod left;
mod meeting;

use held::{Held, Point};
use meeting::{Asks, Meeting, People};

/// Lets one order, held at each of its stages, meet each other one.
async fn meets_every_other(first: Asks) {
    let mut n_held = 0;
    let mut carried_out = Vec::new();
    for second in Asks::ALL {
        for point in Point::ALL {
            for client in [People::Stay, People::Leave] {
                let meeting = Meeting {
                    first,
                    second,
                    point,
                    client,
                };
                let Some(is_carried_out) = meeting.check().await else {
                    continue;
                };
                n_held += 1;
                if is_carried_out {
                    carried_out.push(second);
                }
            }
        }
    }
    // Each is journaled, synced and applied; some have more stages.
    assert!(n_held >= 3 * 2 * Asks::ALL.len() as u64, "{n_held}");
    // Behind a version nothing else has changed: every order is carried out but one that finds nothing frozen.
    let refused = Asks::ALL.iter().filter(|asks| !carried_out.contains(asks));
    let refused: Vec<_> = refused.filter(|asks| **asks != Asks::Resume).collect();
    assert!(
        first != Asks::Checkpoint || refused.is_empty(),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_p6_p10_a_checkpoint_meets_every_order() {
    meets_every_other(Asks::Checkpoint).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_p6_p10_a_restore_meets_every_order() {
    meets_every_other(Asks::Restore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_p6_p10_a_retraction_meets_every_order() {
    meets_every_other(Asks::Retract).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_p6_p10_a_retraction_that_erases_meets_every_order() {
    meets_every_other(Asks::RetractAndErase).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_p6_p10_an_erasure_of_what_was_retracted_meets_every_order() {
    meets_every_other(Asks::Erase).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_p6_p10_a_promotion_meets_every_order() {
    meets_every_other(Asks::Promote).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_p6_p10_a_learner_that_begins_anew_meets_every_order() {
    meets_every_other(Asks::Retrain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_p6_p10_a_release_meets_every_order() {
    meets_every_other(Asks::Release).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_p6_p10_a_name_meets_every_order() {
    meets_every_other(Asks::Name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_p6_p10_an_adoption_meets_every_order() {
    meets_every_other(Asks::Adopt).await;
}
