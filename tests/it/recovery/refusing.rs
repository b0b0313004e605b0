//! The disk refuses: each change in turn, once and from then on.
//!
//! Invariant: after the journal's failure nothing is acknowledged, every prediction is answered as
//! the learned state says, and a restart finds everything that was acknowledged.

use super::scenario::{run, shown};
use crate::support::disk::Fault;

/// Every `step`-th change in turn fails like this.
pub(crate) async fn refuse_each(step: usize, error: i32, for_ever: bool) {
    let sound = run(None).await;
    shown(&sound);
    let (mut n_faults, mut n_failed) = (0, 0);
    for at in (1..).step_by(step) {
        let fault = Fault {
            at,
            error,
            for_ever,
        };
        let scenario = run(Some(fault)).await;
        let after = &scenario.after_failure;
        assert!(after.is_empty(), "{fault:?}: acknowledged: {after:?}");
        let data = scenario.clocked.workspace.data();
        let found = scenario.check(usize::MAX, &data).await;
        assert_eq!(found, Ok(()), "{fault:?}");
        (n_faults, n_failed) = (n_faults + 1, n_failed + usize::from(scenario.ever_failed));
        if scenario.recording.len() < at {
            break;
        }
        assert!(at < 10_000, "a life has some hundred changes");
    }
    println!("{n_faults} faults, {n_failed} of them stopped feedback");
    assert!(n_failed * 10 > n_faults, "{n_failed} of {n_faults}");
}
