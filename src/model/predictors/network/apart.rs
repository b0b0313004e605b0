//! A few rows through a layer together, each with the outputs that it has alone.
//!
//! Invariant: the outputs of a row are the same to the bit, however many rows there are. gemm 0.19 adds up a
//! small product in the lanes of a vector, whatever its rows and columns, and so does the kernel in `fma`.

#[cfg(target_arch = "x86_64")]
use super::fma;
use super::layers::Layer;
use super::product::{SMALL_PRODUCT, multiply};

/// True if rows can be computed so on this processor.
#[cfg(target_arch = "x86_64")]
pub(super) fn is_supported() -> bool {
    is_x86_feature_detected!("fma")
}

/// gemm has no kernel for small products everywhere.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn is_supported() -> bool {
    false
}

/// True if the product of one row is a small one.
pub(super) fn takes(layer: &Layer) -> bool {
    layer.n_out <= SMALL_PRODUCT
}

/// `x` `[rows, in]` times the weights of a layer that is taken: `[rows, out]`, without the bias.
///
/// # Panics
/// When there are more rows than a small product may have.
pub(super) fn forward(layer: &Layer, x: &[f32], n_rows: usize) -> Vec<f32> {
    assert!(n_rows <= SMALL_PRODUCT);
    let mut z = vec![0.0; n_rows * layer.n_out];
    if layer.n_in == 0 || n_rows == 0 {
        return z;
    }
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("fma") && !is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has the instructions that the kernel is compiled for.
        unsafe { fma::forward(layer, x, &mut z) };
        return z;
    }
    let n_columns = SMALL_PRODUCT / n_rows;
    for start in (0..layer.n_out).step_by(n_columns) {
        let columns = start..(start + n_columns).min(layer.n_out);
        multiply(layer, columns, x, &mut z);
    }
    z
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p4_rows_together_have_the_outputs_that_each_has_alone() {
        if !is_supported() {
            return;
        }
        let shapes = [
            (784, 256),
            (256, 256),
            (256, 10),
            (1, 1),
            (3, 5),
            (9, 17),
            (64, 250),
            (1030, 33),
            (2100, 7),
        ];
        for (n_in, n_out) in shapes {
            let value = |at: usize| ((at * 7919) % 2003) as f32 / 1001.0 - 1.0;
            let layer = Layer {
                n_in,
                n_out,
                weight: (0..n_in * n_out).map(|at| value(at * 3 + 1)).collect(),
                bias: vec![0.0; n_out],
            };
            for n_rows in (1..=9).chain([16, 33]) {
                let x: Vec<f32> = (0..n_in * n_rows).map(value).collect();
                let mut alone = vec![0.0; n_rows * n_out];
                for (x, z) in x.chunks_exact(n_in).zip(alone.chunks_exact_mut(n_out)) {
                    multiply(&layer, 0..n_out, x, z);
                }
                let together = forward(&layer, &x, n_rows);
                let bits = |all: &[f32]| all.iter().map(|z| z.to_bits()).collect::<Vec<u32>>();
                assert!(bits(&alone) == bits(&together), "{n_in} {n_out} {n_rows}");
            }
        }
    }
}
