//! A bounded memory of rows that is searched for those nearest to a new one.
//!
//! The distance is squared and Euclidean over dense inputs and hashed ones, so that a number, a
//! category and a text of length one each add about two between rows that have nothing in common.
//! Wide rows are searched by a seeded random projection first (Achlioptas 2003), and measured in
//! full where that finds them near.
//!
//! Rows are stored raw and compared in the scales of now. They are searched in a reference scale, from
//! which their features are converted; it moves up where the scales of now have left it behind.
//!
//! Invariant: a clone shares every block of rows until one side adds to the newest, and the
//! search visits rows in a fixed order, so equal memories give equal neighbours.

mod block;
mod unit_values;
mod vote;

use std::collections::VecDeque;
use std::sync::Arc;

use pulp::Arch;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::model::encoders::features::{Encoded, RawRow, Reach, Scale, Scales, StoredRow};
use crate::model::loss::Target;
use crate::model::weights::{Error, Tensors};
pub(crate) use block::RememberedRow;
use block::{Query, RowBlock};
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
/// Distances that are looked at together.
const LANES: usize = 16;
/// How far the reference scale may be behind. Features that are converted lose nothing within the
/// first; projections stand in the reference scale.
const REACH: Reach = Reach {
    mean: 4.0,
    proportion: 4.0,
};
const REACH_WIDE: Reach = Reach {
    mean: 0.25,
    proportion: 1.25,
};
/// Of wide rows, one column in so many has to be behind.
const ONE_OF: usize = 16;

/// The form of a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourWindow {
    /// Dense inputs of a row.
    pub n_dense: usize,
    /// Newest rows that are searched, at least 1.
    pub n_rows: usize,
    /// Where the projection comes from.
    pub seed: u64,
}

/// The newest rows with their truths.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    window: NeighbourWindow,
    /// From the oldest to the newest; only the newest can have room.
    blocks: VecDeque<Arc<RowBlock>>,
    /// `[n_dense, PROJECTED]` for wide rows.
    projection: Option<Arc<[f32]>>,
    /// The scales in which rows are compared, where they are raw, and those in which they are searched.
    scales: Arc<Scales>,
    reference: Arc<Scales>,
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
    pub fn new(window: NeighbourWindow) -> Neighbours {
        let wide = window.n_dense > DENSE_MAX;
        let mut rng = ChaCha8Rng::seed_from_u64(window.seed);
        let size = 1.0 / (PROJECTED as f32).sqrt();
        let mut draw = |_| if rng.random::<bool>() { size } else { -size };
        Neighbours {
            window,
            blocks: VecDeque::new(),
            projection: wide.then(|| (0..window.n_dense * PROJECTED).map(&mut draw).collect()),
            scales: Arc::default(),
            reference: Arc::default(),
        }
    }

    /// Compares raw rows in these scales from now on.
    pub(crate) fn stand_in(&mut self, scales: &Arc<Scales>) {
        self.scales = scales.clone();
        let (reach, one_of) = match self.projection {
            Some(_) => (REACH_WIDE, ONE_OF),
            None => (REACH, usize::MAX),
        };
        let has_raw = self.blocks.iter().any(|block| block.is_raw());
        if !has_raw || self.reference.are_beyond(reach, scales, one_of) {
            self.search_in(Arc::new(scales.fixed()));
        }
    }

    /// Searches raw rows in this scale from now on.
    fn search_in(&mut self, reference: Arc<Scales>) {
        self.reference = reference;
        let mut blocks = std::mem::take(&mut self.blocks);
        for block in blocks.iter_mut().filter(|block| block.is_raw()) {
            Arc::make_mut(block).search_again(|row| self.searched(row));
        }
        self.blocks = blocks;
    }

    /// The features by which a raw row is searched.
    fn searched(&self, row: &RawRow) -> Vec<f32> {
        match self.projection {
            Some(_) => self.projected(&self.reference.encode(row).dense),
            None => {
                let mut searched = Vec::with_capacity(self.window.n_dense);
                self.reference.append_distances(row, &mut searched);
                searched
            }
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
    pub(crate) fn n_held_max(&self) -> usize {
        self.window.n_rows + ROWS_TEXT
    }

    /// Every row held, from the oldest, some of which may have left the window.
    pub fn rows(&self) -> impl Iterator<Item = (StoredRow, RememberedRow)> + Clone {
        self.blocks.iter().flat_map(|block| block.rows())
    }

    /// Remembers a row as it is encoded; the oldest leaves the window when it is full.
    pub fn push(&mut self, row: &Encoded, example: RememberedRow) {
        let searched = self
            .projection
            .is_some()
            .then(|| self.projected(&row.dense));
        let block = self.block_for(row.sparse.len(), RowBlock::new);
        block.push(row, searched, example);
        self.let_go();
    }

    /// Remembers a raw row.
    pub(crate) fn push_raw(&mut self, row: &RawRow, example: RememberedRow) {
        let searched = self.searched(row);
        let block = self.block_for(row.sparse.len(), RowBlock::of_raw);
        block.push_raw(row, &searched, example);
        self.let_go();
    }

    /// The newest block where it has room for one more row of its kind, or an `empty` one.
    fn block_for(&mut self, n_hashed: usize, empty: fn(usize, usize) -> RowBlock) -> &mut RowBlock {
        let n_rows = match &self.projection {
            Some(_) => ROWS_WIDE,
            None if n_hashed > HASHED_MAX => ROWS_TEXT,
            None => ROWS,
        };
        let n_searched = match &self.projection {
            Some(_) => PROJECTED,
            None => self.window.n_dense,
        };
        let fits =
            |block: &Arc<RowBlock>| !block.is_full() && block.is_raw() == empty(0, 0).is_raw();
        if !self.blocks.back().is_some_and(fits) {
            self.blocks.push_back(Arc::new(empty(n_searched, n_rows)));
        }
        Arc::make_mut(self.blocks.back_mut().expect("one was just made sure of"))
    }

    /// Removes the oldest blocks whose rows have all left the window.
    fn let_go(&mut self) {
        let mut n_held = self.n_held();
        while let Some(oldest) = self.blocks.front()
            && n_held - oldest.len() >= self.window.n_rows
        {
            n_held -= oldest.len();
            self.blocks.pop_front();
        }
    }

    /// F64 `reference` `[columns, 3]`, where rows are raw.
    pub(crate) fn save_reference(&self, tensors: &mut Tensors) {
        if self.blocks.iter().any(|block| block.is_raw()) {
            self.reference.save("reference", tensors);
        }
    }

    /// Reads the state that [`Neighbours::save_reference`] wrote, where it stands in the scales of now.
    pub(crate) fn load_reference(&mut self, tensors: &mut Tensors) -> Result<(), Error> {
        if tensors.0.contains_key("reference") {
            self.reference = Arc::new(self.scales.load("reference", tensors)?);
        }
        Ok(())
    }

    /// Puts a reward right where it is remembered: of the nearest rows, the first whose action had
    /// earned the reward that this one had. One that has left the window stands nowhere any more.
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

    /// The projection of the dense inputs of a wide row.
    fn projected(&self, dense: &[f32]) -> Vec<f32> {
        let mut projected = vec![0.0; PROJECTED];
        let projection = self.projection.as_ref().expect("of wide rows");
        block::add_products(&mut projected, dense, projection);
        projected
    }

    /// For each of `windows` (numbers of newest rows), the `k` nearest by rising distance; of
    /// equal ones the newest first.
    pub fn nearest(&self, row: &Encoded, windows: &[usize], k: usize) -> Vec<Vec<Neighbour>> {
        let has = |is_raw: bool| self.blocks.iter().any(|block| block.is_raw() == is_raw);
        let conversions = if has(true) {
            self.reference.conversions(&self.scales)
        } else {
            Vec::new()
        };
        let is_wide = self.projection.is_some();
        let projected = (is_wide && has(false)).then(|| self.projected(&row.dense));
        let raw_projected = (is_wide && has(true)).then(|| {
            let back = row.dense.iter().zip(&conversions).map(|(z, one)| {
                // A column without variance there is zero in every row.
                if one.factor > 0.0 {
                    ((z - one.shift) / one.factor).clamp(-one.clip, one.clip)
                } else {
                    0.0
                }
            });
            self.projected(&back.collect::<Vec<f32>>())
        });
        let query = Query {
            row,
            dense: projected.as_ref().unwrap_or(&row.dense),
            raw_dense: raw_projected.as_ref().unwrap_or(&row.dense),
            conversions: if is_wide { &[] } else { &conversions },
            scales: &self.scales,
        };
        let most = windows.iter().copied().max().unwrap_or(0);
        let distances = self.distances(&query, most.min(self.window.n_rows));
        let n_candidates = if is_wide {
            (MEASURED * k).max(MEASURED_MIN)
        } else {
            k
        };
        let mut smallest = Smallest::default();
        let near = windows.iter().map(|window| {
            smallest.look(&distances, (*window).min(distances.len()), n_candidates);
            let mut near = self.neighbours(&smallest.found);
            if is_wide {
                for (neighbour, block, place) in &mut near {
                    neighbour.squared = block.measure(*place, &query);
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
    fn distances(&self, query: &Query<'_>, n_rows: usize) -> Vec<f32> {
        let mut distances = Vec::with_capacity(n_rows + ROWS_TEXT);
        for block in self.blocks.iter().rev() {
            if distances.len() >= n_rows {
                break;
            }
            let start = distances.len();
            block.distances(query, &mut distances);
            distances[start..].reverse();
        }
        distances.truncate(n_rows);
        distances
    }

    /// The rows of these ages, with where they stand.
    fn neighbours(&self, near: &[(f32, u32)]) -> Vec<(Neighbour, &RowBlock, usize)> {
        let found = near.iter().map(|&(squared, age)| {
            let (block, place) = self.place(age as usize);
            let block = &self.blocks[block];
            let (target, weight) = (block.target(place), block.weight(place));
            let neighbour = Neighbour {
                squared,
                age,
                target,
                weight,
            };
            (neighbour, &**block, place)
        });
        found.collect()
    }
}

/// The values with their indexes among the `k` smallest, rising; the first of equals first.
#[derive(Default)]
struct Smallest {
    found: Vec<(f32, u32)>,
    /// Values that were looked at.
    n_seen: usize,
}

impl Smallest {
    /// Goes on to the value with this index, if it is not there yet.
    fn look(&mut self, values: &[f32], end: usize, k: usize) {
        if end < self.n_seen {
            *self = Smallest::default();
        }
        let start = self.n_seen;
        self.n_seen = end;
        let Smallest { found, .. } = self;
        let last = found.get(k - 1);
        let mut limit = last.map_or(f32::INFINITY, |last| last.0);
        let mut is_full = last.is_some();
        let mut insert = |place: usize, value: f32, limit: f32| {
            if found.len() < k {
                found.push((value, 0));
            } else if value >= limit {
                return (limit, true);
            }
            let mut rank = found.len() - 1;
            while rank > 0 && found[rank - 1].0 > value {
                found[rank] = found[rank - 1];
                rank -= 1;
            }
            found[rank] = (value, place as u32);
            let last = found.get(k - 1);
            (last.map_or(f32::INFINITY, |last| last.0), last.is_some())
        };
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (turn, lanes) in values[start..end].chunks(LANES).enumerate() {
                    // Most of them hold nothing near: one look without a branch for each value.
                    let is_far = |value: &f32| *value >= limit;
                    if is_full && lanes.iter().fold(true, |far, value| far & is_far(value)) {
                        continue;
                    }
                    for (place, value) in lanes.iter().enumerate() {
                        let place = start + turn * LANES + place;
                        (limit, is_full) = insert(place, *value, limit);
                    }
                }
            },
        );
    }
}

#[cfg(test)]
mod tests;
