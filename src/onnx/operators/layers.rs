//! Products of matrices, and norms.

use candle_core::Tensor;

use super::super::call::Call;
use super::super::value::{Fault, Value, broadcast, fault};

/// `alpha A B + beta C`.
pub(super) fn gemm(call: &Call) -> Result<Value, Fault> {
    let matrix = |index: usize, transposed: &str| -> Result<Tensor, Fault> {
        let tensor = call.floats(index)?;
        match (tensor.rank(), call.int(transposed, 0)?) {
            (2, 0) => Ok(tensor.clone()),
            (2, _) => Ok(tensor.t()?),
            _ => fault(format!(
                "input {index} is {:?}, expected a matrix",
                tensor.dims()
            )),
        }
    };
    let (a, b) = (matrix(0, "transA")?, matrix(1, "transB")?);
    let ((rows, inner), (other, columns)) = (a.dims2()?, b.dims2()?);
    if inner != other {
        return fault(format!("{rows}x{inner} times {other}x{columns}"));
    }
    call.room(&[rows, columns], inner)?;
    let mut product = a.matmul(&b)?;
    let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
    if alpha != 1.0 {
        product = (product * alpha)?;
    }
    if call.optional(2).is_some() {
        let c = call.floats(2)?;
        if broadcast(&[rows, columns], c.dims())? != [rows, columns] {
            return fault(format!("{rows}x{columns} plus {:?}", c.dims()));
        }
        product = match beta {
            1.0 => product.broadcast_add(c)?,
            other => product.broadcast_add(&(c * other)?)?,
        };
    }
    Ok(Value::Floats(product))
}

/// The matrix product of the last two dimensions; those before them broadcast.
pub(super) fn mat_mul(call: &Call) -> Result<Value, Fault> {
    let (a, b) = (call.floats(0)?, call.floats(1)?);
    if a.rank() == 0 || b.rank() == 0 {
        return fault("a product with a single number");
    }
    // A vector is one row before, or one column behind.
    let wide = if a.rank() == 1 {
        a.unsqueeze(0)?
    } else {
        a.clone()
    };
    let tall = if b.rank() == 1 {
        b.unsqueeze(1)?
    } else {
        b.clone()
    };
    let (before, behind) = (wide.dims().to_vec(), tall.dims().to_vec());
    let (m, n) = (before.len(), behind.len());
    let inner = before[m - 1];
    if inner != behind[n - 2] {
        return fault(format!("{:?} times {:?}", a.dims(), b.dims()));
    }
    let mut shape = broadcast(&before[..m - 2], &behind[..n - 2])?;
    shape.extend([before[m - 2], behind[n - 1]]);
    call.room(&shape, inner)?;
    let product = match n {
        // One matrix for all rows.
        2 => wide
            .reshape(((), inner))?
            .matmul(&tall)?
            .reshape(shape.as_slice())?,
        _ => wide.broadcast_matmul(&tall)?,
    };
    let mut kept = shape.clone();
    if b.rank() == 1 {
        kept.pop();
    }
    if a.rank() == 1 {
        kept.remove(shape.len() - 2);
    }
    Ok(Value::Floats(product.reshape(kept)?))
}

/// Batch normalisation with the means and variances of the file (Ioffe and Szegedy 2015).
pub(super) fn batch_norm(call: &Call) -> Result<Value, Fault> {
    if call.int("training_mode", 0)? != 0 {
        return fault("training_mode = 1: export it for inference (model.eval())");
    }
    let x = call.floats(0)?;
    let epsilon = call.float("epsilon", 1e-5)?;
    let n_channels = *x.dims().get(1).unwrap_or(&0);
    let mut shape = vec![1; x.rank()];
    let channels = |index: usize| -> Result<&Tensor, Fault> {
        let tensor = call.floats(index)?;
        if tensor.dims() == [n_channels] {
            Ok(tensor)
        } else {
            fault(format!(
                "input {index} is {:?}, expected [{n_channels}]",
                tensor.dims()
            ))
        }
    };
    let (scale, bias, mean, variance) = (channels(1)?, channels(2)?, channels(3)?, channels(4)?);
    let scale = (scale / (variance + epsilon)?.sqrt()?)?;
    let bias = (bias - (mean * &scale)?)?;
    shape[1] = n_channels;
    let scaled = x.broadcast_mul(&scale.reshape(shape.as_slice())?)?;
    Ok(Value::Floats(scaled.broadcast_add(&bias.reshape(shape)?)?))
}

/// Layer normalisation over all dimensions from the axis on (Ba, Kiros and Hinton 2016).
pub(super) fn layer_norm(call: &Call) -> Result<Value, Fault> {
    let x = call.floats(0)?;
    let axis = call.axis("axis", -1, x.rank())?;
    let epsilon = call.float("epsilon", 1e-5)? as f32;
    let inner: usize = x.dims()[axis..].iter().product();
    let row = |tensor: &Tensor| {
        if tensor.elem_count() == inner {
            Ok(tensor.flatten_all()?)
        } else {
            fault(format!("{:?} for {:?}", tensor.dims(), &x.dims()[axis..]))
        }
    };
    let scale = row(call.floats(1)?)?;
    let bias = match call.optional(2) {
        Some(_) => row(call.floats(2)?)?,
        None => scale.zeros_like()?,
    };
    let rows = x.reshape(((), inner))?;
    let normed = candle_nn::ops::layer_norm(&rows, &scale, &bias, epsilon)?;
    Ok(Value::Floats(normed.reshape(x.dims())?))
}
