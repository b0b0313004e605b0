//! The product of rows and the weights of a layer, by gemm.

use std::ops::Range;

use gemm::Parallelism;

use super::layers::Layer;

/// Products of at most so many elements are summed apart, by gemm 0.19.
pub(super) const SMALL_PRODUCT: usize = 256;

/// `x` `[rows, in]` times the weights of some columns, into these columns of `z` `[rows, out]`.
///
/// # Panics
/// When the rows are not of the layer's width.
pub(super) fn multiply(layer: &Layer, columns: Range<usize>, x: &[f32], z: &mut [f32]) {
    let (n_in, n_out) = (layer.n_in, layer.n_out);
    if x.is_empty() || columns.is_empty() {
        return;
    }
    let n_rows = x.len() / n_in;
    assert!(x.len() == n_rows * n_in && z.len() == n_rows * n_out);
    assert!(layer.weight.len() == n_out * n_in && columns.end <= n_out);
    let weight = &layer.weight[columns.start * n_in..columns.end * n_in];
    let z = &mut z[columns.start..];
    // SAFETY: the assertions bound every element that the three matrices name by the length of its
    // slice, and a mutable slice overlaps no other.
    unsafe {
        gemm::gemm(
            n_rows,
            columns.len(),
            n_in,
            z.as_mut_ptr(),
            1,
            n_out as isize,
            false,
            x.as_ptr(),
            1,
            n_in as isize,
            weight.as_ptr(),
            n_in as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
