//! A bounded memory of rows that is searched for those nearest to a new one.
//!
//! The distance is squared and Euclidean over dense inputs and hashed ones, so that a number, a
//! category and a text of length one each add about two between rows that have nothing in common.
//! Wide rows are searched by a seeded random projection first (Achlioptas 2003), and measured in
//! full where that finds them near.
//!
//! Invariant: a clone shares every block of rows until one side adds to the newest, and the
//! search visits rows in a fixed order, so equal memories give equal neighbours.

mod block;
mod vote;

use std::collections::VecDeque;
use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::model::encoders::features::{Encoded, Scale};
use crate::model::loss::Target;
use block::Block;
pub(crate) use block::Remembered;
pub(crate) use vote::{BaseRates, Neighbour, Voters};

/// Rows with more dense inputs than these are searched by their projection.
const DENSE_MAX: usize = 96;
/// How wide a projection is.
const PROJECTED: usize = 48;
/// Rows measured in full for each neighbour that is wanted; at least `MEASURED_MIN`.
const MEASURED: usize = 4;
const MEASURED_MIN: usize = 48;
/// Nearest rows among which one is looked for whose reward is corrected: it lies at nearly no
/// distance, since inputs are standardised only a little differently by then.
const CORRECTED: usize = 32;
/// Rows of a block: few where a copy of one is large, many where an index over them pays.
const ROWS_WIDE: usize = 32;
const ROWS: usize = 64;
const ROWS_TEXT: usize = 512;
/// A row with more hashed features than these has a text in it.
const HASHED_MAX: usize = 64;

/// The form of a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Dense inputs of a row.
    pub n_dense: usize,
    /// Newest rows that are searched, at least 1.
    pub n_rows: usize,
    /// Where the projection comes from.
    pub seed: u64,
}

/// The newest rows with what was true of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    window: Window,
    /// From the oldest to the newest; only the newest can have room.
    blocks: VecDeque<Arc<Block>>,
    /// `[n_dense, PROJECTED]` for wide rows.
    projection: Option<Arc<[f32]>>,
}

/// A predictor that answers by the nearest rows of a memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Nearest {
    /// The rows.
    pub memory: Neighbours,
    /// The base rates of the outputs.
    pub base_rates: BaseRates,
    /// The weighting of their votes.
    pub voters: Voters,
    /// How many of them.
    pub k: usize,
}

impl Nearest {
    /// The answer for a row, `[n_outputs]`: probabilities of classes, or values in the scale of
    /// the target.
    pub fn outputs(&self, row: &Encoded, scale: &Scale) -> Vec<f32> {
        let near = self.memory.nearest(row, &[usize::MAX], self.k);
        self.voters.outputs(&near[0], &self.base_rates, scale)
    }
}

impl Neighbours {
    /// An empty memory.
    pub fn new(window: Window) -> Neighbours {
        let wide = window.n_dense > DENSE_MAX;
        let mut rng = ChaCha8Rng::seed_from_u64(window.seed);
        let size = 1.0 / (PROJECTED as f32).sqrt();
        let mut draw = |_| if rng.random::<bool>() { size } else { -size };
        Neighbours {
            window,
            blocks: VecDeque::new(),
            projection: wide.then(|| (0..window.n_dense * PROJECTED).map(&mut draw).collect()),
        }
    }

    /// How many rows are searched.
    pub fn len(&self) -> usize {
        self.n_held().min(self.window.n_rows)
    }

    /// True if there are no neighbours.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    fn n_held(&self) -> usize {
        self.blocks.iter().map(|block| block.len()).sum()
    }

    /// The most rows that are held: a block goes when its last row has left the window.
    pub fn n_held_max(&self) -> usize {
        self.window.n_rows + ROWS_TEXT
    }

    /// Every row held, from the oldest, some of which may have left the window.
    pub fn rows(&self) -> impl Iterator<Item = (Encoded, Remembered)> + Clone {
        self.blocks.iter().flat_map(|block| block.rows())
    }

    /// Remembers a row; the oldest leaves the window when it is full.
    pub fn push(&mut self, row: &Encoded, example: Remembered) {
        let searched = self.project(row);
        let full = self.blocks.back().is_none_or(|block| block.is_full());
        if full {
            let n_rows = match &self.projection {
                Some(_) => ROWS_WIDE,
                None if row.sparse.len() > HASHED_MAX => ROWS_TEXT,
                None => ROWS,
            };
            let n_searched = searched.as_ref().map_or(self.window.n_dense, Vec::len);
            self.blocks
                .push_back(Arc::new(Block::new(n_searched, n_rows)));
        }
        let newest = self.blocks.back_mut().expect("one was just made sure of");
        Arc::make_mut(newest).push(row, searched, example);
        let mut n_held = self.n_held();
        while let Some(oldest) = self.blocks.front()
            && n_held - oldest.len() >= self.window.n_rows
        {
            n_held -= oldest.len();
            self.blocks.pop_front();
        }
    }

    /// Puts a reward right where it is remembered: of the nearest rows, the first whose action had
    /// earned what this one had. One that has left the window stands nowhere any more.
    pub fn correct(&mut self, row: &Encoded, correction: Target) {
        let Target::Correction { action, reward, .. } = correction else {
            return;
        };
        let near = self.nearest(row, &[usize::MAX], CORRECTED);
        if let Some(found) = near
            .iter()
            .flatten()
            .find(|one| correction.corrects(one.target) && row.is_again(one.squared))
        {
            let (block, place) = self.place(found.age as usize);
            let block = Arc::make_mut(&mut self.blocks[block]);
            *block.target_mut(place) = Target::Reward { action, reward };
        }
    }

    /// Puts the target of one row right; one that has left the memory stands nowhere any more.
    pub fn amend(&mut self, number: u64, target: Target) {
        for block in self.blocks.iter_mut().rev() {
            if let Some(place) = block.place_of(number) {
                *Arc::make_mut(block).target_mut(place) = target;
                return;
            }
        }
    }

    /// Where the row of this age stands: its block, and its place there.
    fn place(&self, age: usize) -> (usize, usize) {
        let mut left = age;
        for (index, block) in self.blocks.iter().enumerate().rev() {
            if left < block.len() {
                return (index, block.len() - 1 - left);
            }
            left -= block.len();
        }
        panic!("an age is of a row that is held")
    }

    /// The projection of a wide row.
    fn project(&self, row: &Encoded) -> Option<Vec<f32>> {
        let projection = self.projection.as_ref()?;
        let mut projected = vec![0.0; PROJECTED];
        block::add_products(&mut projected, &row.dense, projection);
        Some(projected)
    }

    /// For each of `windows` (numbers of newest rows), the `k` nearest by rising distance; of
    /// equal ones the newest first.
    pub fn nearest(&self, row: &Encoded, windows: &[usize], k: usize) -> Vec<Vec<Neighbour>> {
        let most = windows.iter().copied().max().unwrap_or(0);
        let projected = self.project(row);
        let dense = projected.as_ref().unwrap_or(&row.dense);
        let distances = self.distances(dense, row, most.min(self.window.n_rows));
        let n_candidates = match projected {
            Some(_) => (MEASURED * k).max(MEASURED_MIN),
            None => k,
        };
        let near = windows.iter().map(|window| {
            let seen = &distances[..(*window).min(distances.len())];
            let mut near = self.neighbours(smallest(seen, n_candidates));
            if self.projection.is_some() {
                for (neighbour, block, place) in &mut near {
                    neighbour.squared = block.measure(*place, row);
                }
                near.sort_by(|a, b| {
                    let distance = a.0.squared.total_cmp(&b.0.squared);
                    distance.then(a.0.age.cmp(&b.0.age))
                });
            }
            near.truncate(k);
            near.into_iter().map(|(neighbour, ..)| neighbour).collect()
        });
        near.collect()
    }

    /// Squared distances of the `n_rows` newest, the newest first.
    fn distances(&self, dense: &[f32], row: &Encoded, n_rows: usize) -> Vec<f32> {
        let mut distances = Vec::with_capacity(n_rows + ROWS_TEXT);
        for block in self.blocks.iter().rev() {
            if distances.len() >= n_rows {
                break;
            }
            let start = distances.len();
            block.distances(dense, &row.sparse, &mut distances);
            distances[start..].reverse();
        }
        distances.truncate(n_rows);
        distances
    }

    /// The rows of these ages, with where they stand.
    fn neighbours(&self, near: Vec<(f32, u32)>) -> Vec<(Neighbour, &Block, usize)> {
        let found = near.into_iter().map(|(squared, age)| {
            let (block, place) = self.place(age as usize);
            let block = &self.blocks[block];
            let target = block.target(place);
            let neighbour = Neighbour {
                squared,
                age,
                target,
            };
            (neighbour, &**block, place)
        });
        found.collect()
    }
}

/// The `k` smallest values with their indexes, rising; the first of equals first.
fn smallest(values: &[f32], k: usize) -> Vec<(f32, u32)> {
    let mut best: Vec<(f32, u32)> = Vec::with_capacity(k + 1);
    for (index, value) in values.iter().enumerate() {
        if best.len() == k && best.last().is_some_and(|last| *value >= last.0) {
            continue;
        }
        let place = best.partition_point(|one| one.0 <= *value);
        best.insert(place, (*value, index as u32));
        best.truncate(k);
    }
    best
}

#[cfg(test)]
mod tests;
