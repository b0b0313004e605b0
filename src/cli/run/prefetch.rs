//! Prefetch: rows are read ahead, and their texts are encoded on every core.
//!
//! Invariant: rows keep their order, and each text is encoded alone, as by a server that is sent one
//! row at a time: equal rows have equal bits in both.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::Context;
use perennial::engine::LoadedDescription;
use perennial::event::Batch;
use rayon::ThreadPool;
use rayon::prelude::*;

/// Rows that are encoded together.
const PREFETCH_ROWS: usize = 64;

/// The batch of a row.
pub(crate) type BatchOf<T> = fn(&mut T) -> &mut Batch;

/// Rows whose texts are encoded.
pub(crate) struct Prefetch<I, T> {
    rows: I,
    batch: BatchOf<T>,
    /// The encoders and their threads; none where no text has an encoder.
    encoding: Option<(Arc<LoadedDescription>, ThreadPool)>,
    ready: VecDeque<anyhow::Result<T>>,
}

impl<I, T> Prefetch<I, T> {
    /// Prefetches rows for a model of this description.
    pub(crate) fn new(
        rows: I,
        described: Option<&Arc<LoadedDescription>>,
        batch: BatchOf<T>,
    ) -> anyhow::Result<Prefetch<I, T>> {
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
        Ok(Prefetch {
            rows,
            batch,
            encoding: encoding.context("start the threads")?,
            ready: VecDeque::new(),
        })
    }
}

impl<I: Iterator<Item = anyhow::Result<T>>, T: Send> Iterator for Prefetch<I, T> {
    type Item = anyhow::Result<T>;

    fn next(&mut self) -> Option<anyhow::Result<T>> {
        let Some((described, pool)) = &self.encoding else {
            return self.rows.next();
        };
        if self.ready.is_empty() {
            let rows: Vec<anyhow::Result<T>> = self.rows.by_ref().take(PREFETCH_ROWS).collect();
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
