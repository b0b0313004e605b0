//! The two products that an update is made of, for a few rows at a time.
//!
//! Invariant: the order of every sum is fixed by the shapes, by which factors are zero, and by the
//! CPU's vector width, which the numeric profile names.

#![allow(
    clippy::needless_range_loop,
    reason = "loops over arrays of vectors; a closure would not be compiled for the vectors"
)]

use pulp::{Arch, Simd, WithSimd};

use crate::model::WEIGHT_MAX;

/// Rows whose outputs are computed in one sweep over the weights: they stay in the second cache.
const ROWS_AT_ONCE: usize = 40;
/// Source rows that are summed in one sweep: a tile of them stays in the first cache.
const SOURCES_AT_ONCE: usize = 32;
/// Vectors of a tile at most.
const TILE: usize = 8;

/// `Z [rows, out] = X [rows, in] W^T + b`.
pub(super) struct Affine<'a> {
    /// `X`.
    pub x: &'a [f32],
    /// `W`, `[out, in]`.
    pub weight: &'a [f32],
    /// `b`, `[out]`.
    pub bias: &'a [f32],
    /// `Z`.
    pub z: &'a mut [f32],
}

impl Affine<'_> {
    /// Computes `Z`.
    pub(super) fn compute(self) {
        if self.weight.is_empty() {
            let rows = self.z.chunks_exact_mut(self.bias.len());
            return rows.for_each(|z| z.copy_from_slice(self.bias));
        }
        Arch::new().dispatch(self);
    }

    /// Outputs `at..at + O` of every row.
    #[inline(always)]
    fn outputs<S: Simd, const O: usize>(&mut self, simd: S, at: usize) {
        let n_in = self.weight.len() / self.bias.len();
        let n_rows = self.x.len() / n_in;
        let mut row = 0;
        while row < n_rows {
            row += match n_rows - row {
                5.. => self.block::<S, O, 5>(simd, at, row),
                2.. => self.block::<S, O, 2>(simd, at, row),
                _ => self.block::<S, O, 1>(simd, at, row),
            };
        }
    }

    /// Outputs `at..at + O` of rows `row..row + R`; returns `R`.
    #[inline(always)]
    fn block<S: Simd, const O: usize, const R: usize>(
        &mut self,
        simd: S,
        at: usize,
        row: usize,
    ) -> usize {
        let n_out = self.bias.len();
        let n_in = self.weight.len() / n_out;
        let weight: [&[f32]; O] =
            std::array::from_fn(|o| &self.weight[(at + o) * n_in..(at + o + 1) * n_in]);
        let x: [&[f32]; R] =
            std::array::from_fn(|r| &self.x[(row + r) * n_in..(row + r + 1) * n_in]);
        let n_vectors = n_in / S::F32_LANES;
        let mut heads: [&[S::f32s]; O] = [&[]; O];
        for (head, weight) in heads.iter_mut().zip(weight) {
            *head = &S::as_simd_f32s(weight).0[..n_vectors];
        }
        let mut inputs: [&[S::f32s]; R] = [&[]; R];
        for (input, x) in inputs.iter_mut().zip(x) {
            *input = &S::as_simd_f32s(x).0[..n_vectors];
        }
        let whole = n_vectors * S::F32_LANES;
        // A zero that the compiler cannot see: it would clear the sums by a call, in memory.
        let any = simd.splat_f32s(self.bias[at]);
        let mut sums = [[simd.sub_f32s(any, any); O]; R];
        if whole < n_in {
            for r in 0..R {
                let x = simd.partial_load_f32s(&x[r][whole..]);
                for o in 0..O {
                    let w = simd.partial_load_f32s(&weight[o][whole..]);
                    sums[r][o] = simd.mul_f32s(w, x);
                }
            }
        }
        for k in 0..n_vectors {
            let mut w = [sums[0][0]; O];
            for o in 0..O {
                w[o] = heads[o][k];
            }
            for r in 0..R {
                let x = inputs[r][k];
                for o in 0..O {
                    sums[r][o] = simd.mul_add_e_f32s(w[o], x, sums[r][o]);
                }
            }
        }
        for r in 0..R {
            let start = (row + r) * n_out + at;
            for o in 0..O {
                self.z[start + o] = simd.reduce_sum_f32s(sums[r][o]) + self.bias[at + o];
            }
        }
        R
    }
}

impl WithSimd for Affine<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let n_out = self.bias.len();
        let n_in = self.weight.len() / n_out;
        let blocks = self.x.chunks(ROWS_AT_ONCE * n_in);
        for (x, z) in blocks.zip(self.z.chunks_mut(ROWS_AT_ONCE * n_out)) {
            let (weight, bias) = (self.weight, self.bias);
            let mut block = Affine { x, weight, bias, z };
            let mut at = 0;
            while at < n_out {
                if n_out - at >= 4 {
                    block.outputs::<S, 4>(simd, at);
                    at += 4;
                } else {
                    block.outputs::<S, 1>(simd, at);
                    at += 1;
                }
            }
        }
    }
}

/// The factors of a [`Combine`]: `values[target * target_stride + source * source_stride]`.
#[derive(Clone, Copy)]
pub(super) struct Factors<'a> {
    /// All of them.
    pub values: &'a [f32],
    /// The stride from one target row to the next.
    pub target_stride: usize,
    /// The stride from one source row to the next.
    pub source_stride: usize,
    /// The factor of each.
    pub scale: f32,
}

/// Adds to each target row the source rows by its factors; a factor of zero costs nothing, and
/// behind a ReLU half of them are.
pub(super) struct Combine<'a> {
    /// `[targets, width]`.
    pub targets: &'a mut [f32],
    /// `[sources, width]`.
    pub sources: &'a [f32],
    /// The width of both.
    pub width: usize,
    /// `[targets, sources]`, in either order.
    pub factors: Factors<'a>,
    /// Kept between calls for its room alone.
    pub terms: &'a mut Terms,
}

/// The factors that are not zero, by target.
#[derive(Default)]
pub(super) struct Terms {
    /// The number of sources of each target.
    counts: Vec<u32>,
    /// The start of each source, and its factor: room for every source, target by target.
    terms: Vec<(u32, f32)>,
    n_sources: usize,
}

impl Combine<'_> {
    /// Adds.
    pub(super) fn compute(self) {
        if !self.targets.is_empty() && !self.sources.is_empty() {
            Arch::new().dispatch(self);
        }
    }
}

impl Terms {
    /// Takes the factors of sources `from..to`, each of so many values.
    fn gather(&mut self, factors: Factors, n_targets: usize, from: usize, to: usize, width: usize) {
        let n_sources = to - from;
        self.n_sources = n_sources;
        self.terms.resize(n_targets * n_sources, (0, 0.0));
        self.counts.clear();
        self.counts.resize(n_targets, 0);
        let mut put = |target: usize, source: usize, factor: f32| {
            let count = &mut self.counts[target];
            // Written always and counted only when it matters: no branch to guess.
            let place = target * n_sources + *count as usize;
            self.terms[place] = ((source * width) as u32, factor * factors.scale);
            *count += u32::from(factor != 0.0);
        };
        // Along the values, whichever way they lie.
        if factors.target_stride == 1 {
            for source in 0..n_sources {
                let start = (from + source) * factors.source_stride;
                let values = &factors.values[start..start + n_targets];
                for (target, factor) in values.iter().enumerate() {
                    put(target, source, *factor);
                }
            }
        } else {
            for target in 0..n_targets {
                let start = target * factors.target_stride + from * factors.source_stride;
                let values = factors.values[start..].iter();
                let values = values.step_by(factors.source_stride).take(n_sources);
                for (source, factor) in values.enumerate() {
                    put(target, source, *factor);
                }
            }
        }
    }

    /// The terms by target.
    fn each(&self) -> impl Iterator<Item = &[(u32, f32)]> {
        let lists = self.terms.chunks_exact(self.n_sources).zip(&self.counts);
        lists.map(|(list, count)| &list[..*count as usize])
    }
}

impl WithSimd for Combine<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = self.width;
        let (n_targets, n_sources) = (self.targets.len() / width, self.sources.len() / width);
        let n_vectors = width / S::F32_LANES;
        let n_tiles = n_vectors.div_ceil(TILE).max(1);
        let tile = n_vectors.div_ceil(n_tiles);
        for from in (0..n_sources).step_by(SOURCES_AT_ONCE) {
            let to = n_sources.min(from + SOURCES_AT_ONCE);
            self.terms.gather(self.factors, n_targets, from, to, width);
            let mut sweep = Sweep {
                targets: &mut *self.targets,
                sources: &self.sources[from * width..to * width],
                width,
                terms: &*self.terms,
            };
            let mut at = 0;
            while at < n_vectors {
                let next = tile.min(n_vectors - at);
                match next {
                    8 => sweep.tile::<S, 8>(simd, at),
                    7 => sweep.tile::<S, 7>(simd, at),
                    6 => sweep.tile::<S, 6>(simd, at),
                    5 => sweep.tile::<S, 5>(simd, at),
                    4 => sweep.tile::<S, 4>(simd, at),
                    3 => sweep.tile::<S, 3>(simd, at),
                    2 => sweep.tile::<S, 2>(simd, at),
                    _ => sweep.tile::<S, 1>(simd, at),
                }
                at += next;
            }
            if !width.is_multiple_of(S::F32_LANES) {
                sweep.tail(simd);
            }
        }
    }
}

/// Some sources, and the factors by which they are added.
struct Sweep<'a> {
    targets: &'a mut [f32],
    sources: &'a [f32],
    width: usize,
    terms: &'a Terms,
}

impl Sweep<'_> {
    /// Vectors `at..at + T` of every target.
    #[inline(always)]
    fn tile<S: Simd, const T: usize>(&mut self, simd: S, at: usize) {
        let (from, to) = (at * S::F32_LANES, (at + T) * S::F32_LANES);
        let (low, high) = (simd.splat_f32s(-WEIGHT_MAX), simd.splat_f32s(WEIGHT_MAX));
        let targets = self.targets.chunks_exact_mut(self.width);
        for (target, terms) in targets.zip(self.terms.each()) {
            let target = S::as_mut_simd_f32s(&mut target[from..to]).0;
            let target: &mut [S::f32s; T] = target.try_into().expect("as many vectors");
            let mut sums = *target;
            for (start, factor) in terms {
                let start = *start as usize;
                let source = S::as_simd_f32s(&self.sources[start + from..start + to]).0;
                let source: &[S::f32s; T] = source.try_into().expect("as many vectors");
                let factor = simd.splat_f32s(*factor);
                for t in 0..T {
                    sums[t] = simd.mul_add_e_f32s(factor, source[t], sums[t]);
                }
            }
            for t in 0..T {
                target[t] = simd.min_f32s(high, simd.max_f32s(low, sums[t]));
            }
        }
    }

    /// The rest of every target behind its last whole vector.
    #[inline(always)]
    fn tail<S: Simd>(&mut self, simd: S) {
        let from = self.width / S::F32_LANES * S::F32_LANES;
        let (low, high) = (simd.splat_f32s(-WEIGHT_MAX), simd.splat_f32s(WEIGHT_MAX));
        let targets = self.targets.chunks_exact_mut(self.width);
        for (target, terms) in targets.zip(self.terms.each()) {
            let mut sum = simd.partial_load_f32s(&target[from..]);
            for (start, factor) in terms {
                let start = *start as usize;
                let source = &self.sources[start + from..start + self.width];
                let (factor, source) = (simd.splat_f32s(*factor), simd.partial_load_f32s(source));
                sum = simd.mul_add_e_f32s(factor, source, sum);
            }
            sum = simd.min_f32s(high, simd.max_f32s(low, sum));
            simd.partial_store_f32s(&mut target[from..], sum);
        }
    }
}
