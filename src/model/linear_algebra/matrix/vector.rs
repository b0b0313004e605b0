//! Inner products and sums of rows, with the vectors of the CPU at hand.
//!
//! Invariant: the order of every sum depends on the length alone, within one numeric profile.

use pulp::{Arch, Simd, WithSimd};

/// Sums that are kept apart, so that one addition need not wait for the last.
const SUMS: usize = 4;

/// The inner product of two rows of the same length.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    Arch::new().dispatch(Dot { a, b })
}

/// The inner product of two rows of the same length, in f32.
pub fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    Arch::new().dispatch(DotF32 { a, b })
}

/// `into += scale * from`.
pub(crate) fn add_scaled(into: &mut [f64], from: &[f64], scale: f64) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (into, from) in into.iter_mut().zip(from) {
                *into += scale * from;
            }
        },
    );
}

/// Takes from `spread` each of `rows` `[rows, n]` times its inner product with `x` `[n]`.
pub(crate) fn take_outer(spread: &mut [f64], rows: &[f64], x: &[f64]) {
    Arch::new().dispatch(TakeOuter { spread, rows, x });
}

struct TakeOuter<'a> {
    spread: &'a mut [f64],
    rows: &'a [f64],
    x: &'a [f64],
}

impl WithSimd for TakeOuter<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let n = self.x.len();
        let product = |row| Dot { a: row, b: self.x }.with_simd(simd);
        // Four products at a time, since none depends on `spread`; they are subtracted in the order of rows.
        let mut fours = self.rows.chunks_exact(4 * n);
        for rows in &mut fours {
            let (ab, cd) = rows.split_at(2 * n);
            let ((a, b), (c, d)) = (ab.split_at(n), cd.split_at(n));
            let [p, q, r, s] = [a, b, c, d].map(product);
            let columns = a.iter().zip(b).zip(c).zip(d);
            for (into, (((a, b), c), d)) in self.spread.iter_mut().zip(columns) {
                *into = *into - p * a - q * b - r * c - s * d;
            }
        }
        for row in fours.remainder().chunks_exact(n) {
            let product = product(row);
            for (into, from) in self.spread.iter_mut().zip(row) {
                *into -= product * from;
            }
        }
    }
}

struct Dot<'a> {
    a: &'a [f64],
    b: &'a [f64],
}

impl WithSimd for Dot<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let ((a, a_rest), (b, b_rest)) = (S::as_simd_f64s(self.a), S::as_simd_f64s(self.b));
        let mut sums = [simd.splat_f64s(0.0); SUMS];
        for (a, b) in a.chunks(SUMS).zip(b.chunks(SUMS)) {
            for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                *sum = simd.mul_add_e_f64s(*a, *b, *sum);
            }
        }
        let [p, q, r, s] = sums;
        let sum = simd.add_f64s(simd.add_f64s(p, q), simd.add_f64s(r, s));
        let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
        simd.reduce_sum_f64s(sum) + rest
    }
}

struct DotF32<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl WithSimd for DotF32<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let ((a, a_rest), (b, b_rest)) = (S::as_simd_f32s(self.a), S::as_simd_f32s(self.b));
        let mut sums = [simd.splat_f32s(0.0); SUMS];
        for (a, b) in a.chunks(SUMS).zip(b.chunks(SUMS)) {
            for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                *sum = simd.mul_add_e_f32s(*a, *b, *sum);
            }
        }
        let [p, q, r, s] = sums;
        let sum = simd.add_f32s(simd.add_f32s(p, q), simd.add_f32s(r, s));
        let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
        simd.reduce_sum_f32s(sum) + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_summed_whole() {
        for n in 1..200u32 {
            let a: Vec<f64> = (0..n).map(f64::from).collect();
            let expected: f64 = a.iter().map(|x| x * x).sum();
            assert_eq!(dot(&a, &a), expected);
            let ones: Vec<f32> = (0..n).map(|_| 1.0).collect();
            assert_eq!(dot_f32(&ones, &ones), n as f32);
            let mut sum = a.clone();
            add_scaled(&mut sum, &a, -1.0);
            assert!(sum.iter().all(|x| *x == 0.0));
            take_outer(&mut sum, &[&a[..], &a[..]].concat(), &a);
            let twice = a.iter().map(|x| -2.0 * expected * x);
            assert!(twice.eq(sum.iter().copied()));
        }
    }

    #[test]
    fn rows_taken_together_equal_rows_taken_one_by_one() {
        let x: Vec<f64> = (0..37).map(|i| f64::from(i).sin()).collect();
        for n_rows in 0..10u32 {
            let rows: Vec<f64> = (0..37 * n_rows).map(|i| f64::from(i).cos()).collect();
            let (mut together, mut one_by_one) = (x.clone(), x.clone());
            take_outer(&mut together, &rows, &x);
            for row in rows.chunks_exact(x.len()) {
                take_outer(&mut one_by_one, row, &x);
            }
            let bits = |values: &[f64]| values.iter().map(|one| one.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&together), bits(&one_by_one), "{n_rows}");
        }
    }
}
