//! Factors and inverses of positive definite matrices (Cholesky), block by block, so that almost
//! all of the arithmetic is matrix products.
//!
//! Invariant: no pivot is smaller than the caller's floor, which bounds the smallest eigenvalue:
//! rounding cannot make a result that is not finite.

use pulp::Arch;

use super::product::{ADD, REPLACE, SUBTRACT, Shape, View, multiply};
use super::symmetric::Symmetric;

impl Symmetric {
    /// Replaces the matrix by its inverse; no eigenvalue may be smaller than `floor`.
    pub fn invert(&mut self, floor: f64) {
        self.factor(floor);
        self.invert_factor();
        self.square_factor();
        self.mirror();
    }

    /// `A = L L^T`: block columns from the left, each after all products with those before it.
    /// Diagonal blocks are left as the inverses of those of `L`, which is all that is needed.
    fn factor(&mut self, floor: f64) {
        let (n, stride) = (self.n, self.stride);
        for (start, end) in self.blocks() {
            let width = end - start;
            let shape = Shape {
                n_rows: n - start,
                n_inner: start,
                n_columns: width,
            };
            let mut column = vec![0.0; (n - start) * width];
            for (into, i) in column.chunks_exact_mut(width).zip(start..n) {
                into.copy_from_slice(&self.values[i * stride + start..][..width]);
            }
            let rows = &self.values[start * stride..];
            let factors = [View::rows(rows, stride), View::columns(rows, stride)];
            multiply(&mut column, width, SUBTRACT, factors, shape);
            let (diagonal, below) = column.split_at_mut(width * width);
            factor_block(diagonal, width, floor);
            invert_block(diagonal, width);
            let shape = Shape {
                n_rows: n - end,
                n_inner: width,
                n_columns: width,
            };
            let factors = [View::rows(below, width), View::columns(diagonal, width)];
            let into = self
                .values
                .get_mut(end * stride + start..)
                .unwrap_or(&mut []);
            multiply(into, stride, REPLACE, factors, shape);
            self.put(start, start, diagonal, width);
        }
    }

    /// `M = L^-1`, block row by block row: `M_IJ = -M_II (sum over K of L_IK M_KJ)`.
    fn invert_factor(&mut self) {
        let stride = self.stride;
        for (start, end) in self.blocks().skip(1) {
            let width = end - start;
            let mut sums = vec![0.0; width * start];
            for (from, to) in self.blocks().take_while(|(from, _)| *from < start) {
                let left = View::rows(&self.values[start * stride + from..], stride);
                let right = View::rows(&self.values[from * stride + from..], stride);
                let shape = Shape {
                    n_rows: width,
                    n_inner: start - from,
                    n_columns: to - from,
                };
                multiply(&mut sums[from..], start, REPLACE, [left, right], shape);
            }
            let mut row = vec![0.0; width * start];
            let own = View::rows(&self.values[start * stride + start..], stride);
            let shape = Shape {
                n_rows: width,
                n_inner: width,
                n_columns: start,
            };
            multiply(
                &mut row,
                start,
                SUBTRACT,
                [own, View::rows(&sums, start)],
                shape,
            );
            self.put(start, 0, &row, start);
        }
    }

    /// `A^-1 = M^T M`, block row by block row: a block row needs only those from itself on.
    fn square_factor(&mut self) {
        let (n, stride) = (self.n, self.stride);
        for (start, end) in self.blocks() {
            let mut row = vec![0.0; (end - start) * end];
            let left = View::columns(&self.values[start * stride + start..], stride);
            let right = View::rows(&self.values[start * stride..], stride);
            let shape = Shape {
                n_rows: end - start,
                n_inner: n - start,
                n_columns: end,
            };
            multiply(&mut row, end, ADD, [left, right], shape);
            self.put(start, 0, &row, end);
        }
    }

    /// Writes rows of `width` values from row `i` and column `j` on.
    fn put(&mut self, i: usize, j: usize, rows: &[f64], width: usize) {
        for (row, i) in rows.chunks_exact(width).zip(i..) {
            self.values[i * self.stride + j..][..width].copy_from_slice(row);
        }
    }
}

/// Replaces the lower triangle of `a` `[n, n]` by its Cholesky factor; zeros stand above it.
pub(crate) fn factor_block(a: &mut [f64], n: usize, floor: f64) {
    let mut column = vec![0.0; n];
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for j in 0..n {
                let pivot = a[j * n + j].max(floor).sqrt();
                a[j * n + j] = pivot;
                a[j * n + j + 1..(j + 1) * n].fill(0.0);
                for i in j + 1..n {
                    column[i] = a[i * n + j] / pivot;
                    a[i * n + j] = column[i];
                    let (row, factor) = (&mut a[i * n + j + 1..=i * n + i], column[i]);
                    let before = row.iter_mut().zip(&column[j + 1..=i]);
                    before.for_each(|(a, l)| *a -= factor * l);
                }
            }
        },
    );
}

/// Replaces a lower triangular `l` `[n, n]` with a positive diagonal by its inverse.
pub(crate) fn invert_block(l: &mut [f64], n: usize) {
    let mut row = vec![0.0; n];
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for i in 0..n {
                let (done, rest) = l.split_at_mut(i * n);
                let own = &mut rest[..=i];
                let scale = 1.0 / own[i];
                row[..i].fill(0.0);
                for (k, factor) in own[..i].iter().enumerate() {
                    let before = row.iter_mut().zip(&done[k * n..=k * n + k]);
                    before.for_each(|(sum, m)| *sum += factor * m);
                }
                for (own, sum) in own[..i].iter_mut().zip(&row) {
                    *own = -scale * sum;
                }
                own[i] = scale;
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::super::symmetric::tests::numbers;
    use super::*;

    #[test]
    fn an_inverse_undoes_its_matrix() {
        for n in [1, 5, 64, 65, 130, 300, 700] {
            let mut matrix = Symmetric::identity(n, 0.5);
            matrix.add_outer(ADD, &numbers(2 * n * n));
            let mut inverse = matrix.clone();
            inverse.invert(0.5);
            let x = numbers(n);
            let back = inverse.times(&matrix.times(&x));
            let worst = x.iter().zip(&back).map(|(a, b)| (a - b).abs());
            let worst = worst.fold(0.0, f64::max);
            assert!(worst < 1e-9, "{n}: {worst}");
        }
    }

    #[test]
    fn a_matrix_without_rank_stays_finite() {
        let mut matrix = Symmetric::identity(100, 0.0);
        for _ in 0..1000 {
            matrix.add_outer(ADD, &[1e6; 100]);
        }
        let floor = 1e-12 * matrix.diagonal_max();
        matrix.add_diagonal(floor);
        matrix.invert(floor);
        assert!(matrix.times(&[1.0; 100]).iter().all(|y| y.is_finite()));
    }
}
