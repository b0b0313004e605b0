//! The product of a few rows and the weights of a layer, for processors with vectors of 256 bits.
//!
//! Invariant: each sum is that of gemm 0.19 for a small product, to the bit: it is added up in eight lanes, and
//! these in one order. Unlike gemm's kernel it has enough sums under way that none waits for the one before.

use std::arch::x86_64::*;
use std::array::from_fn;
use std::ops::Range;

use super::layers::Layer;

const LANES: usize = 8;
/// gemm adds up so many products, and then the sums of these.
const DEPTH_MAX: usize = 1024;
/// Columns whose weights are read once for all rows.
const PANEL: usize = 12;

/// Rows of a matrix, all of one length.
#[derive(Clone, Copy)]
struct Rows<'a> {
    values: &'a [f32],
    width: usize,
}

impl<'a> Rows<'a> {
    fn n(self) -> usize {
        self.values.len() / self.width
    }

    fn some(self, from: usize, n: usize) -> Rows<'a> {
        let values = &self.values[from * self.width..(from + n) * self.width];
        Rows { values, ..self }
    }

    fn row(self, index: usize) -> &'a [f32] {
        &self.values[index * self.width..(index + 1) * self.width]
    }

    /// The first so many.
    fn rows<const N: usize>(self) -> [&'a [f32]; N] {
        from_fn(|index| self.row(index))
    }
}

// A closure of a function with features of its own is not compiled into one without: these have none.

fn parts<const N: usize>(rows: [&[f32]; N], part: Range<usize>) -> [&[f32]; N] {
    rows.map(|row| &row[part.clone()])
}

fn are_of<const N: usize>(rows: [&[[f32; LANES]]; N], n: usize) -> bool {
    rows.iter().all(|row| row.len() == n)
}

#[target_feature(enable = "fma")]
pub(super) fn forward(layer: &Layer, x: &[f32], z: &mut [f32]) {
    let width = layer.n_in;
    let (x, weights) = (
        Rows { values: x, width },
        Rows {
            values: &layer.weight,
            width,
        },
    );
    let n_rows = x.n();
    // A few rows have a tile of their own: all columns are one panel.
    let panel = if n_rows < 4 { layer.n_out } else { PANEL };
    for start in (0..layer.n_out).step_by(panel.max(1)) {
        let n = panel.min(layer.n_out - start);
        let columns = weights.some(start, n);
        for first in (0..n_rows).step_by(4) {
            let z = &mut z[first * layer.n_out + start..];
            match n_rows - first {
                1 => tiles::<1, 8>(x.some(first, 1), columns, z, layer.n_out),
                2 => tiles::<2, 6>(x.some(first, 2), columns, z, layer.n_out),
                3 => tiles::<3, 4>(x.some(first, 3), columns, z, layer.n_out),
                _ => tiles::<4, 3>(x.some(first, 4), columns, z, layer.n_out),
            }
        }
    }
}

/// `R` rows times all columns, `C` at a time; a row of `z` is so long.
#[target_feature(enable = "fma")]
fn tiles<const R: usize, const C: usize>(
    x: Rows<'_>,
    columns: Rows<'_>,
    z: &mut [f32],
    z_width: usize,
) {
    let n = columns.n();
    let mut start = 0;
    while start + C <= n {
        let sums = products::<R, C>(x, columns.some(start, C));
        for (row, sums) in sums.iter().enumerate() {
            z[row * z_width + start..][..C].copy_from_slice(sums);
        }
        start += C;
    }
    for column in start..n {
        let sums = products::<R, 1>(x, columns.some(column, 1));
        for (row, [sum]) in sums.iter().enumerate() {
            z[row * z_width + column] = *sum;
        }
    }
}

/// The products of `R` rows and `C` columns.
#[target_feature(enable = "fma")]
fn products<const R: usize, const C: usize>(x: Rows<'_>, columns: Rows<'_>) -> [[f32; C]; R] {
    let (x, columns) = (x.rows::<R>(), columns.rows::<C>());
    let width = x.first().map_or(0, |row| row.len());
    let mut sums = [[0.0; C]; R];
    for start in (0..width).step_by(DEPTH_MAX) {
        let end = width.min(start + DEPTH_MAX);
        let part = lanes(parts(x, start..end), parts(columns, start..end));
        for (sums, part) in sums.iter_mut().zip(part) {
            for (sum, lanes) in sums.iter_mut().zip(part) {
                let of_part = total(lanes);
                *sum = if start == 0 { of_part } else { of_part + *sum };
            }
        }
    }
    sums
}

/// The products of `R` rows and `C` columns, added up in lanes. One side is held in registers while the
/// other one passes: the smaller one, since there are sixteen.
#[target_feature(enable = "fma")]
fn lanes<const R: usize, const C: usize>(x: [&[f32]; R], columns: [&[f32]; C]) -> [[__m256; C]; R] {
    let (x, x_rest) = split(x);
    let (columns, columns_rest) = split(columns);
    let n = x.first().map_or(0, |row| row.len());
    // Spares the loop its checks.
    assert!(are_of(x, n) && are_of(columns, n));
    let mut sums = [[_mm256_setzero_ps(); C]; R];
    for index in 0..n {
        if R > C {
            let mut held = [_mm256_setzero_ps(); C];
            for (held, column) in held.iter_mut().zip(columns) {
                *held = load(&column[index]);
            }
            for (sums, row) in sums.iter_mut().zip(x) {
                let row = load(&row[index]);
                for (sum, column) in sums.iter_mut().zip(held) {
                    *sum = _mm256_fmadd_ps(row, column, *sum);
                }
            }
        } else {
            let mut held = [_mm256_setzero_ps(); R];
            for (held, row) in held.iter_mut().zip(x) {
                *held = load(&row[index]);
            }
            for (place, column) in columns.iter().enumerate() {
                let column = load(&column[index]);
                for (sums, row) in sums.iter_mut().zip(held) {
                    sums[place] = _mm256_fmadd_ps(row, column, sums[place]);
                }
            }
        }
    }
    if x_rest.first().is_some_and(|rest| !rest.is_empty()) {
        for (sums, row) in sums.iter_mut().zip(x_rest) {
            for (sum, column) in sums.iter_mut().zip(columns_rest) {
                *sum = _mm256_fmadd_ps(load(&filled(row)), load(&filled(column)), *sum);
            }
        }
    }
    sums
}

/// Whole vectors, and the rest of each row.
fn split<const N: usize>(rows: [&[f32]; N]) -> ([&[[f32; LANES]]; N], [&[f32]; N]) {
    let split = rows.map(<[f32]>::as_chunks::<LANES>);
    (split.map(|(whole, _)| whole), split.map(|(_, rest)| rest))
}

/// A part of a vector, and zeros.
fn filled(rest: &[f32]) -> [f32; LANES] {
    let mut all = [0.0; LANES];
    all[..rest.len()].copy_from_slice(rest);
    all
}

#[inline]
#[target_feature(enable = "fma")]
fn load(values: &[f32; LANES]) -> __m256 {
    // SAFETY: so many values are there, and they need not be aligned.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

/// The sum of the lanes, in the order in which gemm adds them up.
#[inline]
#[target_feature(enable = "fma")]
fn total(lanes: __m256) -> f32 {
    let halves = _mm_add_ps(
        _mm256_castps256_ps128(lanes),
        _mm256_extractf128_ps::<1>(lanes),
    );
    let quarters = _mm_add_ps(halves, _mm_movehl_ps(halves, halves));
    let other = _mm_shuffle_ps::<0b0001>(quarters, quarters);
    _mm_cvtss_f32(_mm_add_ss(quarters, other))
}
