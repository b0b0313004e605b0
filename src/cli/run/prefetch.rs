//! Rows read ahead, so that their texts are encoded on every core before it is their turn.
//!
//! Invariant: rows come in their order, and each text is encoded alone, as a server does that is
//! asked one row at a time: equal rows have equal bits in both.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::Context;
use perennial::engine::Described;
use perennial::event::Batch;
use rayon::ThreadPool;
use rayon::prelude::*;

/// Rows that are encoded at a time.
const ROWS_AHEAD: usize = 64;

/// A row that holds a batch.
pub type BatchOf<T> = fn(&mut T) -> &mut Batch;

/// Rows whose texts are encoded.
pub struct Ahead<I, T> {
    rows: I,
    batch: BatchOf<T>,
    /// What encodes, and where; none where no text has an encoder.
    encoding: Option<(Arc<Described>, ThreadPool)>,
    ready: VecDeque<anyhow::Result<T>>,
}

impl<I, T> Ahead<I, T> {
    /// The same rows, for a model of this description.
    pub fn new(
        rows: I,
        described: Option<&Arc<Described>>,
        batch: BatchOf<T>,
    ) -> anyhow::Result<Ahead<I, T>> {
        let described = described.filter(|described| described.embeds());
        // The process keeps rayon's own pool at one thread.
        let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
        let pool = || {
            rayon::ThreadPoolBuilder::new()
                .num_threads(n_threads)
                .build()
        };
        let encoding = described.map(|described| Ok((described.clone(), pool()?)));
        let encoding: Result<_, rayon::ThreadPoolBuildError> = encoding.transpose();
        Ok(Ahead {
            rows,
            batch,
            encoding: encoding.context("start the threads")?,
            ready: VecDeque::new(),
        })
    }
}

impl<I: Iterator<Item = anyhow::Result<T>>, T: Send> Iterator for Ahead<I, T> {
    type Item = anyhow::Result<T>;

    fn next(&mut self) -> Option<anyhow::Result<T>> {
        let Some((described, pool)) = &self.encoding else {
            return self.rows.next();
        };
        if self.ready.is_empty() {
            let rows: Vec<anyhow::Result<T>> = self.rows.by_ref().take(ROWS_AHEAD).collect();
            let batch = self.batch;
            let encode = |row: anyhow::Result<T>| {
                let mut row = row?;
                described.embed(batch(&mut row))?;
                Ok(row)
            };
            let encoded: Vec<_> = pool.install(|| rows.into_par_iter().map(encode).collect());
            self.ready.extend(encoded);
        }
        self.ready.pop_front()
    }
}
