//! The transposed convolution: each value spreads over a window of the output.

use candle_core::Tensor;

use super::super::call::Call;
use super::super::value::{Fault, Value, fault};
use super::windows::{biased, list};

/// The spread of values along one dimension.
#[derive(Clone, Copy, Debug)]
struct Spread {
    stride: usize,
    dilation: usize,
    /// Places of zeros behind the last window.
    more: usize,
    /// Places that are taken away before the first one that stays.
    before: usize,
    /// The places of all windows.
    full: usize,
    /// The places that stay.
    count: usize,
}

pub(super) fn conv_transpose(call: &Call) -> Result<Value, Fault> {
    let (x, kernel) = (call.floats(0)?, call.floats(1)?);
    let n_groups = usize::try_from(call.int("group", 1)?).unwrap_or(0);
    let (dims, weights) = (x.dims(), kernel.dims());
    let fits = matches!(dims.len(), 3 | 4) && weights.len() == dims.len() && weights[0] == dims[1];
    if !fits || n_groups == 0 || !dims[1].is_multiple_of(n_groups) {
        return fault(format!(
            "an input {dims:?} in {n_groups} groups, and weights {weights:?}"
        ));
    }
    let reach = &weights[2..];
    let written: Vec<usize> = list(call, "kernel_shape", reach.len(), 1)?;
    if call.list("kernel_shape")?.is_some() && written != reach {
        return fault(format!(
            "kernel_shape = {written:?}, and weights {weights:?}"
        ));
    }
    let spreads = spreads(call, &dims[2..], reach)?;
    // One dimension of places is computed as a height of one.
    let (x, kernel, [high, wide]) = match spreads[..] {
        [high, wide] => (x.clone(), kernel.clone(), [high, wide]),
        [wide] => {
            let flat = Spread {
                before: 0,
                full: 1,
                count: 1,
                more: 0,
                ..wide
            };
            (x.unsqueeze(2)?, kernel.unsqueeze(2)?, [flat, wide])
        }
        _ => unreachable!("there are one or two"),
    };
    if (high.stride, high.dilation) != (wide.stride, wide.dilation) {
        return fault("strides or dilations of two kinds: expected equal ones");
    }
    let y = spread(call, &x, &kernel, [high, wide], n_groups)?;
    let y = if dims.len() == 3 { y.squeeze(2)? } else { y };
    biased(call, y)
}

fn spreads(call: &Call, extents: &[usize], reach: &[usize]) -> Result<Vec<Spread>, Fault> {
    let n_dims = extents.len();
    if call.text("auto_pad", "NOTSET")? != "NOTSET" {
        return fault("auto_pad other than NOTSET");
    }
    let (strides, dilations) = (
        list(call, "strides", n_dims, 1)?,
        list(call, "dilations", n_dims, 1)?,
    );
    let pads = list(call, "pads", 2 * n_dims, 0)?;
    let more = list(call, "output_padding", n_dims, 0)?;
    let along = (0..n_dims).map(|axis| {
        let windows = (extents[axis] - 1) * strides[axis];
        let full = windows + (reach[axis] - 1) * dilations[axis] + 1;
        let taken = pads[axis] + pads[axis + n_dims];
        let count = (full + more[axis]).checked_sub(taken);
        match count.filter(|count| *count > 0) {
            Some(count) => Ok(Spread {
                stride: strides[axis],
                dilation: dilations[axis],
                more: more[axis],
                before: pads[axis],
                full,
                count,
            }),
            None => fault(format!("pads {pads:?} leave none of {full} values")),
        }
    });
    along.collect()
}

/// The device has one padding for both dimensions: the rest of the wider one is cut out.
fn spread(
    call: &Call,
    x: &Tensor,
    kernel: &Tensor,
    [high, wide]: [Spread; 2],
    n_groups: usize,
) -> Result<Tensor, Fault> {
    let more = high.more.max(wide.more);
    let (n_batch, n_in, height, width) = x.dims4()?;
    let (_, of_group, kernel_height, kernel_width) = kernel.dims4()?;
    let products = of_group * kernel_height * kernel_width;
    call.room(&[n_batch, n_in, height, width], products)?;
    let n_out = of_group.saturating_mul(n_groups);
    call.room(&[n_batch, n_out, high.full + more, wide.full + more], 1)?;
    let (blocks, kernels) = (x.chunk(n_groups, 1)?, kernel.chunk(n_groups, 0)?);
    let spread = blocks.iter().zip(&kernels).map(|(x, kernel)| {
        let (x, kernel) = (x.contiguous()?, kernel.contiguous()?);
        x.conv_transpose2d(&kernel, 0, more, wide.stride, wide.dilation)
    });
    let spread = spread.collect::<Result<Vec<Tensor>, _>>()?;
    let y = Tensor::cat(&spread, 1)?;
    let y = y.narrow(2, high.before, high.count)?;
    Ok(y.narrow(3, wide.before, wide.count)?.contiguous()?)
}
