//! Convolution and pooling: windows over the one or two dimensions behind the channels.
//!
//! Shapes: `x` is `[batch, channels, height, width]`; one dimension of places is computed as a
//! height of one.

use candle_core::Tensor;

use super::super::call::Call;
use super::super::value::{Fault, Value, fault, select};

/// Extents, strides and the like at most: sizes computed from them do not overflow.
const EXTENT_MAX: i64 = 1 << 24;
/// Places of a pool's window along one dimension at most, and of a kernel that is taken place by
/// place: each takes a pass over the values.
const KERNEL_MAX: i64 = 1 << 12;

/// The windows along one dimension.
#[derive(Clone, Copy, Debug)]
struct SlidingWindows {
    extent: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    before: usize,
    behind: usize,
    /// The number of windows.
    count: usize,
}

impl SlidingWindows {
    /// The place that the window at `index` covers at `offset`, if it is not padding.
    fn place(&self, index: usize, offset: usize) -> Option<usize> {
        let place = index * self.stride + offset * self.dilation;
        let place = place.checked_sub(self.before)?;
        (place < self.extent).then_some(place)
    }

    /// The places that each window covers at `offset`, padding counted.
    fn covered(&self, offset: usize) -> Vec<usize> {
        let starts = (0..self.count).map(|index| index * self.stride);
        starts.map(|start| start + offset * self.dilation).collect()
    }

    /// The places of a window at `index` that are not behind all padding.
    fn n_padded(&self, index: usize) -> usize {
        let places = (0..self.kernel).map(|offset| index * self.stride + offset * self.dilation);
        places.filter(|place| *place < self.padded()).count()
    }

    /// The width that a window covers.
    fn reach(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    fn padded(&self) -> usize {
        self.extent + self.before + self.behind
    }

    /// Pads by a rule in place of numbers.
    fn pad(&mut self, rule: &str) -> Result<(), Fault> {
        let n_windows = self.extent.div_ceil(self.stride).max(1);
        let covered = (n_windows - 1) * self.stride + self.reach();
        let total = covered.saturating_sub(self.extent);
        (self.before, self.behind) = match rule {
            "NOTSET" => return Ok(()),
            "VALID" => (0, 0),
            "SAME_UPPER" => (total / 2, total - total / 2),
            "SAME_LOWER" => (total - total / 2, total / 2),
            other => return fault(format!("auto_pad = {other:?}")),
        };
        Ok(())
    }

    /// Counts them; a last one that is not whole counts where the size is rounded up, unless it
    /// starts behind the values.
    fn count(&mut self, rounds_up: bool) -> Result<(), Fault> {
        let Some(rest) = self.padded().checked_sub(self.reach()) else {
            let (reach, padded) = (self.reach(), self.padded());
            return fault(format!("a window of {reach} over {padded}"));
        };
        let steps = if rounds_up {
            rest.div_ceil(self.stride)
        } else {
            rest / self.stride
        };
        let starts_behind = steps * self.stride >= self.extent + self.before;
        self.count = if rounds_up && starts_behind {
            rest / self.stride + 1
        } else {
            steps + 1
        };
        Ok(())
    }
}

/// An attribute of so many numbers, each the least where it is left out.
pub(super) fn list(
    call: &Call,
    name: &str,
    length: usize,
    least: i64,
) -> Result<Vec<usize>, Fault> {
    let list = call
        .list(name)?
        .map_or(vec![least; length], <[i64]>::to_vec);
    if list.len() == length && list.iter().all(|n| (least..EXTENT_MAX).contains(n)) {
        Ok(list.iter().map(|n| *n as usize).collect())
    } else {
        fault(format!("{name} = {list:?}"))
    }
}

/// The windows along each dimension of places.
fn windows(call: &Call, kernel: &[usize]) -> Result<Vec<SlidingWindows>, Fault> {
    let dims = call.floats(0)?.dims();
    let n_dims = dims.len().saturating_sub(2);
    if !(1..=2).contains(&n_dims) || kernel.len() != n_dims || kernel.contains(&0) {
        return fault(format!(
            "windows {kernel:?} over {dims:?}: expected 1 or 2 dimensions behind the channels"
        ));
    }
    let (strides, dilations) = (
        list(call, "strides", n_dims, 1)?,
        list(call, "dilations", n_dims, 1)?,
    );
    let pads = list(call, "pads", 2 * n_dims, 0)?;
    let along = (0..n_dims).map(|axis| {
        let mut windows = SlidingWindows {
            extent: dims[axis + 2],
            kernel: kernel[axis],
            stride: strides[axis],
            dilation: dilations[axis],
            before: pads[axis],
            behind: pads[axis + n_dims],
            count: 0,
        };
        windows.pad(call.text("auto_pad", "NOTSET")?)?;
        windows.count(call.int("ceil_mode", 0)? != 0)?;
        Ok(windows)
    });
    along.collect()
}

/// `x` and its windows with a height of one where there is but one dimension.
fn in_two(
    x: &Tensor,
    mut windows: Vec<SlidingWindows>,
) -> Result<(Tensor, [SlidingWindows; 2]), Fault> {
    let last = windows.pop().expect("there are one or two");
    match windows.pop() {
        Some(first) => Ok((x.clone(), [first, last])),
        None => {
            let flat = SlidingWindows {
                extent: 1,
                kernel: 1,
                before: 0,
                behind: 0,
                count: 1,
                ..last
            };
            Ok((x.unsqueeze(2)?, [flat, last]))
        }
    }
}

/// Takes the dimension away that [`in_two`] added.
fn out_of_two(y: Tensor, call: &Call) -> Result<Tensor, Fault> {
    match call.floats(0)?.rank() {
        3 => Ok(y.squeeze(2)?),
        _ => Ok(y),
    }
}

fn kernel_shape(call: &Call) -> Result<Vec<usize>, Fault> {
    let written = call.list("kernel_shape")?.unwrap_or(&[]);
    let sound = written.iter().all(|n| (1..=KERNEL_MAX).contains(n));
    if sound {
        Ok(written.iter().map(|n| *n as usize).collect())
    } else {
        fault(format!(
            "kernel_shape = {written:?}: expected 1 to {KERNEL_MAX}"
        ))
    }
}

pub(super) fn conv(call: &Call) -> Result<Value, Fault> {
    let (x, kernel) = (call.floats(0)?, call.floats(1)?);
    let n_groups = call.int("group", 1)?;
    let (n_batch, n_in) = match x.dims() {
        [n_batch, n_in, ..] => (*n_batch, *n_in),
        dims => return fault(format!("an input {dims:?}")),
    };
    let n_groups = usize::try_from(n_groups).unwrap_or(0);
    let (n_out, of_group, reach) = match kernel.dims() {
        [n_out, of_group, reach @ ..] => (*n_out, *of_group, reach),
        dims => return fault(format!("weights {dims:?}")),
    };
    let fits = n_groups > 0 && of_group.checked_mul(n_groups) == Some(n_in);
    if !fits || !n_out.is_multiple_of(n_groups) {
        return fault(format!(
            "{n_in} channels in {n_groups} groups, and weights {:?}",
            kernel.dims()
        ));
    }
    let written = kernel_shape(call)?;
    if !written.is_empty() && written != reach {
        return fault(format!(
            "kernel_shape = {written:?}, and weights {:?}",
            kernel.dims()
        ));
    }
    let (x, [high, wide]) = in_two(x, windows(call, reach)?)?;
    if high.dilation != wide.dilation {
        let dilations = [high.dilation, wide.dilation];
        return fault(format!("dilations = {dilations:?}: expected equal ones"));
    }
    let products = of_group * high.kernel * wide.kernel;
    call.room(&[n_batch, n_out, high.count, wide.count], products)?;
    let kernel = match kernel.rank() {
        3 => kernel.unsqueeze(2)?,
        _ => kernel.clone(),
    };
    let apart = n_groups > 1 && [n_in, n_out] == [n_groups; 2];
    let y = if apart && products <= KERNEL_MAX as usize {
        by_channel(call, &x, &kernel, [high, wide])?
    } else {
        convolve(call, &x, &kernel, [high, wide], n_groups)?
    };
    biased(call, out_of_two(y, call)?)
}

/// Plus a bias for each channel, if there is one.
pub(super) fn biased(call: &Call, y: Tensor) -> Result<Value, Fault> {
    if call.optional(2).is_none() {
        return Ok(Value::Floats(y));
    }
    let (bias, n_out) = (call.floats(2)?, y.dims()[1]);
    let mut shape = vec![1; y.rank()];
    shape[1] = n_out;
    if bias.dims() == [n_out] {
        Ok(Value::Floats(y.broadcast_add(&bias.reshape(shape)?)?))
    } else {
        fault(format!("a bias {:?} for {n_out} channels", bias.dims()))
    }
}

/// The device has one padding and one stride for both dimensions: others are made before it and
/// behind it.
fn convolve(
    call: &Call,
    x: &Tensor,
    kernel: &Tensor,
    [high, wide]: [SlidingWindows; 2],
    n_groups: usize,
) -> Result<Tensor, Fault> {
    let pads = [high.before, high.behind, wide.before, wide.behind];
    let (n_batch, n_in, ..) = x.dims4()?;
    let padded = [high, wide].map(|one| one.extent + one.before + one.behind);
    // The rows that a convolution unfolds into.
    let unfolded = n_in * high.kernel * wide.kernel;
    let stride = if high.stride == wide.stride {
        high.stride
    } else {
        1
    };
    let steps = [high, wide].map(|one| (one.padded() - one.reach()) / stride + 1);
    call.room(&[n_batch, n_in, padded[0], padded[1]], 1)?;
    call.room(&[n_batch, unfolded, steps[0], steps[1]], 1)?;
    let (x, padding) = if pads.iter().all(|pad| *pad == pads[0]) {
        (x.clone(), pads[0])
    } else {
        let x = x.pad_with_zeros(2, high.before, high.behind)?;
        (x.pad_with_zeros(3, wide.before, wide.behind)?, 0)
    };
    let (kernel, dilation) = (kernel.contiguous()?, high.dilation);
    let y = x
        .contiguous()?
        .conv2d(&kernel, padding, stride, dilation, n_groups)?;
    if high.stride == wide.stride {
        return Ok(y);
    }
    let every = |one: SlidingWindows| -> Vec<usize> {
        (0..one.count).map(|index| index * one.stride).collect()
    };
    select(&select(&y, 2, &every(high))?, 3, &every(wide))
}

/// Each channel by itself, all of them at once: the values under a place of the kernel times its
/// weight, summed place by place. The device would take one channel after the other.
fn by_channel(
    call: &Call,
    x: &Tensor,
    kernel: &Tensor,
    [high, wide]: [SlidingWindows; 2],
) -> Result<Tensor, Fault> {
    let (n_batch, n_channels, ..) = x.dims4()?;
    call.room(&[n_batch, n_channels, high.padded(), wide.padded()], 1)?;
    let x = x.pad_with_zeros(2, high.before, high.behind)?;
    let x = x.pad_with_zeros(3, wide.before, wide.behind)?;
    let mut sum: Option<Tensor> = None;
    for across in 0..wide.kernel {
        let columns = select(&x, 3, &wide.covered(across))?;
        for down in 0..high.kernel {
            let covered = select(&columns, 2, &high.covered(down))?;
            let weights = kernel.narrow(2, down, 1)?.narrow(3, across, 1)?;
            let weights = weights.reshape((1, n_channels, 1, 1))?;
            let weighted = covered.broadcast_mul(&weights)?;
            sum = Some(match sum {
                Some(sum) => (sum + weighted)?,
                None => weighted,
            });
        }
    }
    Ok(sum.expect("a kernel is one at least"))
}

/// The windows of a pool over `x`: each holds a value at least.
fn pool(call: &Call) -> Result<(Tensor, [SlidingWindows; 2]), Fault> {
    let all = windows(call, &kernel_shape(call)?)?;
    for one in &all {
        if one.before >= one.reach() || one.behind >= one.reach() {
            let pads = [one.before, one.behind];
            return fault(format!("pads {pads:?} around windows of {}", one.reach()));
        }
    }
    let (x, [high, wide]) = in_two(call.floats(0)?, all)?;
    let (n_batch, n_channels, height, _) = x.dims4()?;
    let rows = [n_batch, n_channels, height, wide.count];
    call.room(&rows, wide.kernel)?;
    call.room(&[n_batch, n_channels, high.count, wide.count], high.kernel)?;
    Ok((x, [high, wide]))
}

/// The largest along one dimension, then along the other.
pub(super) fn max_pool(call: &Call) -> Result<Value, Fault> {
    let (mut x, along) = pool(call)?;
    for (axis, windows) in [3, 2].into_iter().zip(along.into_iter().rev()) {
        // Padding is never the largest: another value of the window stands for it.
        let of_window = |index| (0..windows.kernel).find_map(|offset| windows.place(index, offset));
        let others: Option<Vec<usize>> = (0..windows.count).map(of_window).collect();
        let others = others.ok_or_else(|| Fault::Node("a window of nothing but padding".into()))?;
        let mut largest: Option<Tensor> = None;
        for offset in 0..windows.kernel {
            let places = others.iter().enumerate();
            let places =
                places.map(|(index, other)| windows.place(index, offset).unwrap_or(*other));
            let places: Vec<usize> = places.collect();
            let values = select(&x, axis, &places)?;
            largest = Some(match largest {
                Some(largest) => largest.maximum(&values)?,
                None => values,
            });
        }
        x = largest.expect("a kernel is one at least");
    }
    Ok(Value::Floats(out_of_two(x, call)?))
}

/// The means of windows are products with matrices of weights, along each dimension.
pub(super) fn average_pool(call: &Call) -> Result<Value, Fault> {
    let (x, [high, wide]) = pool(call)?;
    let counts_padding = call.int("count_include_pad", 0)? != 0;
    let averages = |windows: SlidingWindows| -> Result<Tensor, Fault> {
        let mut weights = vec![0f32; windows.extent * windows.count];
        for index in 0..windows.count {
            let places = (0..windows.kernel).filter_map(|offset| windows.place(index, offset));
            let places: Vec<usize> = places.collect();
            let n_counted = if counts_padding {
                windows.n_padded(index)
            } else {
                places.len()
            };
            for place in places {
                weights[place * windows.count + index] = 1.0 / n_counted as f32;
            }
        }
        let shape = (windows.extent, windows.count);
        Ok(Tensor::from_vec(weights, shape, call.device)?)
    };
    let (n_batch, n_channels, height, width) = x.dims4()?;
    call.room(&[n_batch, n_channels, height, wide.count], width)?;
    call.room(&[n_batch, n_channels, high.count, wide.count], height)?;
    let rows = x.reshape(((), width))?.matmul(&averages(wide)?)?;
    let columns = rows
        .reshape((n_batch * n_channels, height, wide.count))?
        .transpose(1, 2)?;
    let means = columns
        .contiguous()?
        .reshape(((), height))?
        .matmul(&averages(high)?)?;
    let means = means.reshape((n_batch, n_channels, wide.count, high.count))?;
    let means = means.transpose(2, 3)?.contiguous()?;
    Ok(Value::Floats(out_of_two(means, call)?))
}
