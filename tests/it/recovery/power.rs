//! The power is cut after every single change of the disk.
//!
//! Invariant: events acknowledged before the cut are there after it, once, and the learned state
//! is that of the journal alone.

use super::scenario::{Scenario, run, shown};

/// Every `step`-th cut, on an honest disk or on one whose syncs do nothing: how many there were,
/// and the fault after each.
async fn cuts(scenario: &Scenario, step: usize, honest: bool) -> (usize, Vec<String>) {
    let image = scenario.clocked.workspace.data().with_file_name("image");
    let mut wrong = Vec::new();
    let (n_changes, mut n_cuts) = (scenario.recording.len(), 0);
    for n in (0..=n_changes).rev().step_by(step) {
        scenario.recording.image(n, honest, n as u64, &image);
        if let Err(what) = scenario.check(n, &image.join("data")).await {
            wrong.push(format!("cut after {n} of {n_changes} changes: {what}"));
        }
        std::fs::remove_dir_all(&image).unwrap();
        n_cuts += 1;
    }
    (n_cuts, wrong)
}

/// Cuts a life after every `step`-th change.
pub(crate) async fn cut_each(step: usize) {
    let scenario = run(None).await;
    shown(&scenario);
    let (n_cuts, wrong) = cuts(&scenario, step, true).await;
    println!(
        "{n_cuts} power cuts, of {} changes",
        scenario.recording.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Cuts after every `step`-th change on a disk whose syncs do nothing: the losses.
pub(crate) async fn cut_each_unsynced(step: usize) -> usize {
    let scenario = run(None).await;
    let (n_cuts, wrong) = cuts(&scenario, step, false).await;
    println!("{} of {n_cuts} power cuts are found", wrong.len());
    let lost = wrong.iter().filter(|what| what.contains("is lost"));
    lost.count()
}
