//! A pretrained network over vectors: from vectors to vectors, frozen.
//!
//! It takes the network of an ONNX file: one input `[batch, ...]`, which a row's values fill in their
//! order, and its first output `[batch, ...]`, of which each row is taken as one vector.
//!
//! Invariant: as of [`crate::model::TextEncoder`], no learner holds it. Its vectors are journaled in
//! place of the inputs, so their bits may depend on which rows share a batch.

use bytes::Bytes;
use candle_core::Tensor;

use crate::device::Device;
use crate::onnx::{Error, Graph, GraphInput, Value, element};

/// Rows of one forward pass at most.
const ROWS_AT_ONCE: usize = 256;
/// Values of a vector at most, on either side.
const WIDTH_MAX: usize = 65_536;

/// A vector encoder: from vectors to vectors.
pub(crate) struct VectorEncoder {
    graph: Graph,
    /// The dimensions of a row.
    dims: Vec<usize>,
    width: usize,
}

/// A pass of the network.
type GraphPass = fn(&Graph, Vec<Value>) -> Result<Tensor, crate::onnx::Error>;

impl VectorEncoder {
    /// Checks and takes the network of an ONNX file. It is computed for one row and for two, so
    /// that an input which cannot be computed is refused here.
    ///
    /// # Errors
    /// [`Error::Unsound`] and [`Error::Unsupported`] of the file; [`Error::NoRoom`] and
    /// [`Error::Device`] of the device.
    pub(crate) fn new(file: Bytes, device: &Device) -> Result<VectorEncoder, Error> {
        let graph = Graph::new(file, device, &[])?;
        let dims = {
            let mut inputs = graph.inputs();
            match (inputs.next(), inputs.next()) {
                (Some(input), None) => dims(input)?,
                (None, _) => return Err(Error::Unsupported("it has no input".to_owned())),
                (Some(_), Some(_)) => {
                    return Err(Error::Unsupported(format!(
                        "it has {} inputs, expected one",
                        2 + inputs.count()
                    )));
                }
            }
        };
        let mut encoder = VectorEncoder {
            graph,
            dims,
            width: 0,
        };
        encoder.width = encoder.probe(1)?;
        if encoder.probe(2)? == encoder.width {
            Ok(encoder)
        } else {
            let what = "its output for two rows is not two rows".to_owned();
            Err(Error::Unsupported(what))
        }
    }

    /// The number of values of a row.
    pub(crate) fn n_values(&self) -> usize {
        self.dims.iter().product()
    }

    /// The number of its outputs for a row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// A vector `[rows, width]` for each of `[rows, n_values]`. A batch that the device has no room
    /// for is split, down to one row.
    ///
    /// # Errors
    /// [`Error::Values`]: a row cannot be computed. [`Error::NoRoom`] and [`Error::Device`] of the
    /// device.
    pub(crate) fn embed(&self, rows: &[f32]) -> Result<Vec<f32>, Error> {
        let mut vectors = Vec::with_capacity(rows.len() / self.n_values() * self.width);
        for rows in rows.chunks(ROWS_AT_ONCE * self.n_values()) {
            self.append(rows, &mut vectors)?;
        }
        Ok(vectors)
    }

    fn append(&self, rows: &[f32], vectors: &mut Vec<f32>) -> Result<(), Error> {
        let n_rows = rows.len() / self.n_values();
        let computed = self.compute(rows, Graph::run).and_then(|output| {
            let values = output.flatten_all().and_then(|flat| flat.to_vec1::<f32>());
            Ok(values?)
        });
        match computed {
            Ok(computed) if computed.len() == n_rows * self.width => {
                vectors.extend(computed);
                Ok(())
            }
            Ok(computed) => {
                let what = format!("{} values for {n_rows} rows", computed.len());
                Err(Error::Unsupported(what))
            }
            Err(_) if n_rows > 1 => {
                let (first, second) = rows.split_at(n_rows / 2 * self.n_values());
                self.append(first, vectors)?;
                self.append(second, vectors)
            }
            Err(error) => Err(error.of("the device cannot encode a row")),
        }
    }

    fn compute(&self, rows: &[f32], pass: GraphPass) -> Result<Tensor, Error> {
        let shape = [&[rows.len() / self.n_values()], &self.dims[..]].concat();
        let rows = Tensor::from_vec(rows.to_vec(), shape, self.graph.device())?;
        pass(&self.graph, vec![Value::Floats(rows)])
    }

    /// The width of a row's output, tried on zeros.
    fn probe(&self, n_rows: usize) -> Result<usize, Error> {
        let zeros = vec![0.0; n_rows * self.n_values()];
        let pass = if n_rows == 1 {
            Graph::try_row
        } else {
            Graph::run
        };
        let output = self.compute(&zeros, pass).map_err(Error::of_trial)?;
        let dims = output.dims();
        let width: usize = dims.iter().skip(1).product();
        if dims.first() == Some(&n_rows) && (1..=WIDTH_MAX).contains(&width) {
            Ok(width)
        } else {
            Err(Error::Unsupported(format!(
                "its output for {n_rows} rows is {dims:?}, expected [{n_rows}, ...] with 1 to \
                 {WIDTH_MAX} values a row"
            )))
        }
    }
}

/// The dimensions behind the batch, which must be free.
fn dims(input: &GraphInput) -> Result<Vec<usize>, Error> {
    if !matches!(input.element, element::FLOAT | element::DOUBLE) {
        let what = format!("its input {} is not of floats", input.shown());
        return Err(Error::Unsupported(what));
    }
    let Some((None, dims)) = input.dims.split_first().map(|(batch, dims)| (*batch, dims)) else {
        return Err(Error::Unsupported(format!(
            "its input {} has no free first dimension: export it with a dynamic batch",
            input.shown()
        )));
    };
    let fixed: Option<Vec<usize>> = dims.iter().copied().collect();
    let n_values = fixed.as_ref().and_then(|dims| {
        let mut dims = dims.iter();
        dims.try_fold(1usize, |product, extent| product.checked_mul(*extent))
    });
    match (fixed, n_values) {
        (Some(dims), Some(1..=WIDTH_MAX)) => Ok(dims),
        _ => Err(Error::Unsupported(format!(
            "its input {} needs fixed dimensions behind the batch, 1 to {WIDTH_MAX} values a row",
            input.shown()
        ))),
    }
}

impl std::fmt::Debug for VectorEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VectorEncoder of width {}", self.width)
    }
}
