//! A symmetric matrix in f64 that grows and shrinks by outer products.
//!
//! Invariant: the entries below the diagonal blocks are the matrix, and diagonal blocks are
//! symmetric to the bit; above them nothing is read.

use pulp::{Arch, Simd, WithSimd};

use super::product::{ADD, Blend, Shape, View, multiply};
use crate::model::weights::{Error, Tensors};

/// Rows are padded to a multiple of this: whole vectors on every CPU.
pub(super) const LANES: usize = 8;

/// `[n, n]`, symmetric.
#[derive(Clone, Debug, PartialEq)]
pub struct Symmetric {
    pub(super) n: usize,
    /// Rows and columns with their padding, which is zero.
    pub(super) stride: usize,
    pub(super) values: Vec<f64>,
}

impl Symmetric {
    /// `diagonal` times the identity.
    pub fn identity(n: usize, diagonal: f64) -> Symmetric {
        let stride = n.next_multiple_of(LANES);
        let mut values = vec![0.0; stride * stride];
        (0..n).for_each(|i| values[i * stride + i] = diagonal);
        Symmetric { n, stride, values }
    }

    /// Rows and columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Adds `value` to every element of the diagonal.
    pub(crate) fn add_diagonal(&mut self, value: f64) {
        for i in 0..self.n {
            self.values[i * self.stride + i] += value;
        }
    }

    /// Makes a row and its column zero.
    pub fn clear(&mut self, row: usize) {
        for i in 0..self.n {
            self.values[row * self.stride + i] = 0.0;
            self.values[i * self.stride + row] = 0.0;
        }
    }

    /// The largest element of the diagonal.
    pub(crate) fn diagonal_max(&self) -> f64 {
        let diagonal = (0..self.n).map(|i| self.values[i * self.stride + i]);
        diagonal.fold(0.0, f64::max)
    }

    /// Rows in a diagonal block: small enough to waste little above the diagonal, large enough
    /// for the products.
    pub(super) fn block(&self) -> usize {
        match self.n {
            0..=512 => 64,
            _ => 256,
        }
    }

    /// The begin and the end of each block of rows.
    pub(super) fn blocks(&self) -> impl DoubleEndedIterator<Item = (usize, usize)> + use<> {
        let (n, block) = (self.n, self.block());
        (0..n)
            .step_by(block)
            .map(move |start| (start, (start + block).min(n)))
    }

    /// The product with a vector `[n]`: half of the matrix is read, each element used twice.
    pub fn times(&self, x: &[f64]) -> Vec<f64> {
        let mut padded = vec![0.0; self.stride];
        padded[..self.n].copy_from_slice(x);
        let mut y = vec![0.0; self.stride];
        let (x, y_all) = (&padded[..], &mut y[..]);
        Arch::new().dispatch(SymmetricProduct {
            matrix: self,
            x,
            y: y_all,
        });
        y.truncate(self.n);
        y
    }

    /// The product with every row of `x` `[rows, n]`, as `[rows, n]`.
    pub(crate) fn times_rows(&self, x: &[f64]) -> Vec<f64> {
        let (n, n_rows) = (self.n, x.len() / self.n);
        if n_rows < LANES {
            return x.chunks_exact(n).flat_map(|x| self.times(x)).collect();
        }
        let mut y = vec![0.0; x.len()];
        for (start, end) in self.blocks() {
            let rows = &self.values[start * self.stride..];
            let columns = [View::rows(x, n), View::columns(rows, self.stride)];
            let shape = Shape {
                n_rows,
                n_inner: end,
                n_columns: end - start,
            };
            multiply(&mut y[start..], n, ADD, columns, shape);
            let mirrored = [View::rows(&x[start..], n), View::rows(rows, self.stride)];
            let shape = Shape {
                n_rows,
                n_inner: end - start,
                n_columns: start,
            };
            multiply(&mut y, n, ADD, mirrored, shape);
        }
        y
    }

    /// Blends in the sum of the outer products of `rows` `[rows, n]` with themselves.
    pub(crate) fn add_outer(&mut self, blend: Blend, rows: &[f64]) {
        let (n, n_inner) = (self.n, rows.len() / self.n);
        for (start, end) in self.blocks() {
            let factors = [View::columns(&rows[start..], n), View::rows(rows, n)];
            let shape = Shape {
                n_rows: end - start,
                n_inner,
                n_columns: end,
            };
            let into = &mut self.values[start * self.stride..];
            multiply(into, self.stride, blend, factors, shape);
        }
        self.mirror();
    }

    /// Makes diagonal blocks symmetric to the bit.
    pub(super) fn mirror(&mut self) {
        for (start, end) in self.blocks() {
            for i in start..end {
                for j in start..i {
                    self.values[j * self.stride + i] = self.values[i * self.stride + j];
                }
            }
        }
    }

    /// The lower triangle row by row, F64 `[n * (n + 1) / 2]`.
    pub fn save(&self, name: &str, tensors: &mut Tensors) {
        let row = |i: usize| &self.values[i * self.stride..i * self.stride + i + 1];
        let lower: Vec<f64> = (0..self.n).flat_map(row).copied().collect();
        tensors.put_f64(name, &[lower.len()], lower);
    }

    /// Reads the state that [`Symmetric::save`] wrote.
    ///
    /// # Errors
    /// When it is not of this size, or not finite with a positive diagonal.
    pub fn load(n: usize, name: &str, tensors: &mut Tensors) -> Result<Symmetric, Error> {
        let lower = tensors.take_f64(name, &[Some(n * (n + 1) / 2)])?;
        let mut matrix = Symmetric::identity(n, 0.0);
        let mut rest = &lower[..];
        for i in 0..n {
            let (row, after) = rest.split_at(i + 1);
            let start = i * matrix.stride;
            matrix.values[start..=start + i].copy_from_slice(row);
            rest = after;
        }
        let diagonal = |i: usize| matrix.values[i * matrix.stride + i];
        if !lower.iter().all(|value| value.is_finite()) || (0..n).any(|i| diagonal(i) < 0.0) {
            let what = "not finite, or negative on the diagonal";
            return Err(Error::value(name, what));
        }
        matrix.mirror();
        Ok(matrix)
    }
}

/// `y += A x` over padded vectors.
struct SymmetricProduct<'a> {
    matrix: &'a Symmetric,
    x: &'a [f64],
    y: &'a mut [f64],
}

/// Rows that are taken together, so that `x` and `y` are loaded once for all of them.
const TOGETHER: usize = 4;

impl WithSimd for SymmetricProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let stride = self.matrix.stride;
        for start in (0..stride).step_by(LANES) {
            let (before, from) = self.y.split_at_mut(start);
            let (before, _) = S::as_mut_simd_f64s(before);
            let (x_before, _) = S::as_simd_f64s(&self.x[..start]);
            let x_here = &self.x[start..start + LANES];
            let rows = &self.matrix.values[start * stride..(start + LANES) * stride];
            for (group, y_here) in from[..LANES].chunks_exact_mut(TOGETHER).enumerate() {
                let row = |i: usize| &rows[(group * TOGETHER + i) * stride..][..start + LANES];
                let left = |i: usize| S::as_simd_f64s(&row(i)[..start]).0;
                let (a, b, c, d) = (left(0), left(1), left(2), left(3));
                let x_own: [S::f64s; TOGETHER] =
                    std::array::from_fn(|i| simd.splat_f64s(x_here[group * TOGETHER + i]));
                let mut sums = [simd.splat_f64s(0.0); TOGETHER];
                let columns = before.iter_mut().zip(x_before);
                for ((y, x), (((a, b), c), d)) in columns.zip(a.iter().zip(b).zip(c).zip(d)) {
                    let mut moved = *y;
                    for (i, a) in [a, b, c, d].into_iter().enumerate() {
                        sums[i] = simd.mul_add_e_f64s(*a, *x, sums[i]);
                        moved = simd.mul_add_e_f64s(*a, x_own[i], moved);
                    }
                    *y = moved;
                }
                for (i, (y, sum)) in y_here.iter_mut().zip(sums).enumerate() {
                    let own = row(i)[start..].iter().zip(x_here).map(|(a, x)| a * x);
                    *y += simd.reduce_sum_f64s(sum) + own.sum::<f64>();
                }
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::product::SUBTRACT;
    use super::*;

    /// Seeded numbers between -1 and 1.
    pub(crate) fn numbers(n: usize) -> Vec<f64> {
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let mut draw = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        };
        (0..n).map(|_| draw()).collect()
    }

    #[test]
    fn products_and_sums_are_those_of_the_formula() {
        for n in [1, 7, 8, 61, 130, 600] {
            let rows = numbers(3 * n);
            let mut matrix = Symmetric::identity(n, 2.0);
            matrix.add_outer(ADD, &rows);
            matrix.add_outer(SUBTRACT, &rows[..n]);
            let x = numbers(9 * n);
            let expected = |x: &[f64]| -> Vec<f64> {
                let mut y: Vec<f64> = x.iter().map(|x| 2.0 * x).collect();
                for row in rows[n..].chunks_exact(n) {
                    let dot: f64 = row.iter().zip(x).map(|(a, b)| a * b).sum();
                    y.iter_mut().zip(row).for_each(|(y, a)| *y += dot * a);
                }
                y
            };
            let together = matrix.times_rows(&x);
            for (x, together) in x.chunks_exact(n).zip(together.chunks_exact(n)) {
                for ((one, all), exact) in matrix.times(x).iter().zip(together).zip(expected(x)) {
                    assert!((one - exact).abs() < 1e-11, "{n}: {one} {exact}");
                    assert!((all - exact).abs() < 1e-11, "{n}: {all} {exact}");
                }
            }
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let mut matrix = Symmetric::identity(70, 1.5);
        matrix.add_outer(ADD, &numbers(140));
        let mut tensors = Tensors::default();
        matrix.save("a", &mut tensors);
        let again = tensors.clone();
        assert_eq!(Symmetric::load(70, "a", &mut tensors).unwrap(), matrix);
        assert!(Symmetric::load(69, "a", &mut again.clone()).is_err());
        for (index, damage) in [(0, -1.0), (5, f64::NAN), (7, f64::INFINITY)] {
            let mut lower = again.clone().take_f64("a", &[None]).unwrap();
            lower[index] = damage;
            let mut damaged = Tensors::default();
            damaged.put_f64("a", &[lower.len()], lower);
            assert!(Symmetric::load(70, "a", &mut damaged).is_err(), "{damage}");
        }
    }
}
