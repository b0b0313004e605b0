//! Matrix products in f64, for matrices that are parts of slices.
//!
//! Invariant: a product reads and writes only inside the slices it was given, and the order of
//! its sums depends on nothing but its shapes.

use gemm::Parallelism;

/// A matrix inside a slice: element (row, column) stands at `row * row_step + column * column_step`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    values: &'a [f64],
    row_step: usize,
    column_step: usize,
}

impl<'a> View<'a> {
    /// Rows that stand `stride` values apart.
    pub fn rows(values: &'a [f64], stride: usize) -> View<'a> {
        View {
            values,
            row_step: stride,
            column_step: 1,
        }
    }

    /// The transpose of rows that stand `stride` values apart.
    pub fn columns(values: &'a [f64], stride: usize) -> View<'a> {
        View {
            values,
            row_step: 1,
            column_step: stride,
        }
    }

    fn holds(&self, n_rows: usize, n_columns: usize) -> bool {
        (n_rows - 1) * self.row_step + (n_columns - 1) * self.column_step < self.values.len()
    }
}

/// The shape of the factors of a product.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Rows of the left factor and of the product.
    pub n_rows: usize,
    /// Columns of the left factor, rows of the right one.
    pub n_inner: usize,
    /// Columns of the right factor and of the product.
    pub n_columns: usize,
}

/// The blend of a product into a matrix: `into = keep * into + factor * left * right`.
#[derive(Clone, Copy, Debug)]
pub struct Blend {
    /// Weight of the value that was there.
    pub keep: f64,
    /// Weight of the product.
    pub factor: f64,
}

/// Replaces the value that was there.
pub(super) const REPLACE: Blend = Blend {
    keep: 0.0,
    factor: 1.0,
};

/// Adds to the value that was there.
pub(crate) const ADD: Blend = Blend {
    keep: 1.0,
    factor: 1.0,
};

/// Subtracts from the value that was there.
pub(crate) const SUBTRACT: Blend = Blend {
    keep: 1.0,
    factor: -1.0,
};

/// Blends `left * right` into rows of `into` that stand `stride` values apart.
///
/// # Panics
/// When a factor or the product does not lie inside its slice.
pub fn multiply(
    into: &mut [f64],
    stride: usize,
    blend: Blend,
    [left, right]: [View<'_>; 2],
    shape: Shape,
) {
    let (m, k, n) = (shape.n_rows, shape.n_inner, shape.n_columns);
    if m == 0 || k == 0 || n == 0 {
        return;
    }
    assert!(left.holds(m, k) && right.holds(k, n));
    assert!(n <= stride && (m - 1) * stride + n <= into.len());
    // SAFETY: the assertions bound every element that the three matrices name by the length of
    // its slice, and a mutable slice overlaps no other.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            into.as_mut_ptr(),
            1,
            stride as isize,
            blend.keep != 0.0,
            left.values.as_ptr(),
            left.column_step as isize,
            left.row_step as isize,
            right.values.as_ptr(),
            right.column_step as isize,
            right.row_step as isize,
            blend.keep,
            blend.factor,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_the_formula() {
        let left = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let right = [1.0, 0.0, 2.0, -1.0, 1.0, 1.0];
        let shape = Shape {
            n_rows: 2,
            n_inner: 3,
            n_columns: 2,
        };
        let check = |blend, views, expected: [f64; 4]| {
            let mut into = [1.0, 1.0, 9.0, 1.0, 1.0, 9.0];
            multiply(&mut into, 3, blend, views, shape);
            let [a, b, _, c, d, _] = into;
            assert_eq!([a, b, c, d], expected);
            assert_eq!([into[2], into[5]], [9.0, 9.0]);
        };
        let plain = [View::rows(&left, 3), View::rows(&right, 2)];
        check(REPLACE, plain, [8.0, 1.0, 20.0, 1.0]);
        check(ADD, plain, [9.0, 2.0, 21.0, 2.0]);
        check(SUBTRACT, plain, [-7.0, 0.0, -19.0, 0.0]);
        let turned = [View::columns(&left, 2), View::rows(&right, 2)];
        check(REPLACE, turned, [12.0, 2.0, 16.0, 2.0]);
    }
}
