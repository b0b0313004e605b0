//! Shared passes: rows of requests that come together pass a network together.
//!
//! Invariant: rows share a pass only where the same model answers them, and each has the outputs that it has
//! alone, to the bit. No thread waits, and no row for others that have yet to come: a request lets the tasks
//! that are ready go first, once, and whichever is polled again first computes all rows that wait by then. The
//! row of a request that is dropped before is in no pass.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use tokio::sync::oneshot;

use crate::engine::compute::failure::ComputeError;
use crate::model::{Encoded, Model};

/// Rows of a pass at most: further ones would not be cheaper, and each waits for all.
const ROWS_MAX: usize = 16;

/// The rows of one served model that wait for their pass.
#[derive(Debug, Default)]
pub(crate) struct SharedPasses(Mutex<PassQueue>);

/// The queue of rows for the next passes.
#[derive(Debug, Default)]
struct PassQueue {
    /// The number of the next row.
    number: u64,
    /// The waiting rows, in the order of their numbers.
    rows: Vec<WaitingRow>,
}

#[derive(Debug)]
struct WaitingRow {
    number: u64,
    model: Arc<Model>,
    row: Encoded,
    computed: oneshot::Sender<ComputedRow>,
}

/// A row and its outputs.
type ComputedRow = (Encoded, Vec<f32>);

/// A row that waits; it leaves with this.
struct Place<'a> {
    passes: &'a SharedPasses,
    number: u64,
}

impl SharedPasses {
    /// A row and its outputs by a model that [`Model::shares_passes`].
    ///
    /// # Errors
    /// [`ComputeError::Bug`]: its pass has panicked.
    pub(crate) async fn forward(
        &self,
        model: &Arc<Model>,
        row: Encoded,
    ) -> Result<ComputedRow, ComputeError> {
        let (place, computed) = self.enter(model, row);
        others_go_first().await;
        compute(self.take_with(place.number));
        let computed = computed.await;
        computed.map_err(|_| ComputeError::Bug("the pass of a row has panicked".to_owned()))
    }

    fn enter(
        &self,
        model: &Arc<Model>,
        row: Encoded,
    ) -> (Place<'_>, oneshot::Receiver<ComputedRow>) {
        let (computed, answer) = oneshot::channel();
        let mut waiting = self.lock();
        let number = waiting.number;
        waiting.number += 1;
        waiting.rows.push(WaitingRow {
            number,
            model: model.clone(),
            row,
            computed,
        });
        let place = Place {
            passes: self,
            number,
        };
        (place, answer)
    }

    /// The rows of a pass with the one of this number; none where that one has had its pass.
    fn take_with(&self, number: u64) -> Vec<WaitingRow> {
        let rows = &mut self.lock().rows;
        let Ok(index) = rows.binary_search_by_key(&number, |row| row.number) else {
            return Vec::new();
        };
        let mut pass = vec![rows.remove(index)];
        let model = pass[0].model.clone();
        let mut n_others = 0;
        pass.extend(rows.extract_if(.., |row| {
            let joins = n_others + 1 < ROWS_MAX && Arc::ptr_eq(&row.model, &model);
            n_others += usize::from(joins);
            joins
        }));
        pass
    }

    fn lock(&self) -> MutexGuard<'_, PassQueue> {
        self.0.lock().expect("nothing panics under it")
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let rows = &mut self.passes.lock().rows;
        if let Ok(index) = rows.binary_search_by_key(&self.number, |row| row.number) {
            rows.remove(index);
        }
    }
}

/// Lets the tasks that are ready go first, once.
async fn others_go_first() {
    let mut have_gone = false;
    poll_fn(|context| {
        if std::mem::replace(&mut have_gone, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Computes the rows of a pass, and answers those that wait for them.
fn compute(pass: Vec<WaitingRow>) {
    let Some(model) = pass.first().map(|first| first.model.clone()) else {
        return;
    };
    let (rows, waiting): (Vec<_>, Vec<_>) =
        pass.into_iter().map(|one| (one.row, one.computed)).unzip();
    let outputs = model.forward_apart(&rows);
    let outputs = outputs.expect("only models whose rows share passes come here");
    let of_rows = outputs.chunks_exact(outputs.len() / rows.len());
    for ((row, outputs), waiting) in rows.into_iter().zip(of_rows).zip(waiting) {
        // A request that was dropped needs no outputs.
        let _ = waiting.send((row, outputs.to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use super::*;
    use crate::learn::Learner;
    use crate::model::Spec;

    const DESCRIPTION: &str = "task = 'classification'\nclasses = ['a', 'b', 'c']\n[[input]]\nname = 'x'\n\
        kind = 'vector'\nlength = 20\n[network]\nkind = 'mlp'\nhidden = [9]\n[learner]\nkind = 'gradient'\n";

    /// A model whose rows share passes; none where the processor computes them in other ways.
    fn model() -> Option<Arc<Model>> {
        let spec = Spec::parse(DESCRIPTION).expect("it is sound");
        let model = Arc::new(Learner::new(Arc::new(spec)).served());
        model.shares_passes().then_some(model)
    }

    fn row(of: usize) -> Encoded {
        Encoded {
            dense: (0..20)
                .map(|at| ((at * 7 + of * 13) % 11) as f32 - 5.0)
                .collect(),
            sparse: Vec::new(),
            past: None,
        }
    }

    #[tokio::test]
    async fn p4_rows_that_share_a_pass_have_the_outputs_that_each_has_alone() {
        let Some(model) = model() else { return };
        let passes = SharedPasses::default();
        let all = join_all((0..2 * ROWS_MAX + 3).map(|of| passes.forward(&model, row(of)))).await;
        for (of, computed) in all.into_iter().enumerate() {
            let alone = model
                .forward(&[row(of)])
                .expect("the processor computes it");
            let (row_of, outputs) = computed.expect("it is computed");
            assert_eq!((row_of, outputs), (row(of), alone));
        }
        assert!(passes.lock().rows.is_empty());
    }

    #[tokio::test]
    async fn p8_the_row_of_a_request_that_has_gone_is_in_no_pass() {
        let Some(model) = model() else { return };
        let passes = SharedPasses::default();
        let mut all: Vec<_> = (0..3)
            .map(|of| Box::pin(passes.forward(&model, row(of))))
            .collect();
        for one in &mut all {
            assert!(one.now_or_never().is_none());
        }
        drop(all.remove(1));
        let numbers: Vec<u64> = passes.lock().rows.iter().map(|row| row.number).collect();
        assert_eq!(numbers, [0, 2]);
        let first = all.remove(0).await.expect("it is computed");
        assert_eq!(first.0, row(0));
        assert!(passes.lock().rows.is_empty(), "the others passed with it");
        let last = all.remove(0).now_or_never().expect("it has had its pass");
        assert_eq!(last.expect("it is computed").0, row(2));
    }

    #[tokio::test]
    async fn rows_of_another_model_have_a_pass_of_their_own() {
        let (Some(one), Some(other)) = (model(), model()) else {
            return;
        };
        let passes = SharedPasses::default();
        let mut first = Box::pin(passes.forward(&one, row(0)));
        let mut second = Box::pin(passes.forward(&other, row(1)));
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        first.await.expect("it is computed");
        assert_eq!(passes.lock().rows.len(), 1);
        second.await.expect("it is computed");
    }
}
