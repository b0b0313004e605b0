//! Encoders: from texts and vectors to vectors, before anything is predicted or journaled.
//!
//! Invariant: a vector that is not finite is refused, to the request it is for.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::engine::compute::batcher::{BatchBounds, BatchRequest, Batcher};
use crate::engine::compute::encoder_folder::EncoderFolder;
use crate::engine::compute::failure::ComputeError;
use crate::engine::error::Error;
use crate::event::Column;
use crate::model::{Adapters, Device, NamedEncoder, TextEncoder, VectorEncoder};
use crate::store::checkpoint::read_onnx_file;

/// Rows of a request that are encoded before others have their turn.
const SLICE_ROWS: usize = 64;

/// No request waits for others to come: a forward pass is long enough for that.
const BOUNDS: BatchBounds = BatchBounds {
    batch_rows_max: SLICE_ROWS,
    waiting_rows_max: 1024,
    wait_max: Duration::ZERO,
};

/// An encoder with its thread.
#[derive(Clone, Debug)]
pub(crate) struct Embedder {
    pub encoder: Arc<PretrainedEncoder>,
    batcher: Batcher<EmbedRows>,
}

/// An encoder, by the kind of its input.
#[derive(Debug)]
pub(crate) enum PretrainedEncoder {
    Texts(Arc<TextEncoder>),
    Vectors(VectorEncoder),
}

/// A column, and how its encoder is adapted.
#[derive(Debug)]
struct EmbedRows {
    column: Column,
    n_rows: usize,
    adapters: Option<Arc<Adapters>>,
}

impl BatchRequest for EmbedRows {
    fn n_rows(&self) -> usize {
        self.n_rows
    }

    fn batches_with(&self, other: &EmbedRows) -> bool {
        self.adapters == other.adapters
    }
}

/// The encoders that were read, by their content and their device: models share them.
#[derive(Default)]
pub(crate) struct Embedders(HashMap<(blake3::Hash, Device), Embedder>);

/// An encoder that was read.
pub(crate) struct Read {
    pub embedder: Embedder,
    pub digest: blake3::Hash,
    /// The folder it was read from; none where that was a file.
    pub folder: Option<EncoderFolder>,
}

impl Embedders {
    /// Reads the encoder that an input names; the digest is over everything that was read. No link
    /// may lead out of `root`.
    pub(crate) fn read(
        &mut self,
        root: &Path,
        path: &Path,
        named: &NamedEncoder,
        device: Device,
    ) -> Result<Read, Error> {
        let Some(n_values) = named.n_values else {
            return self.read_folder(root, path, device);
        };
        let read = self.read_file(root, path, device)?;
        let refused = |what: String| Err(Error::description(what).of(path.display()));
        match &*read.embedder.encoder {
            PretrainedEncoder::Vectors(encoder) if encoder.n_values() == n_values => Ok(read),
            PretrainedEncoder::Vectors(encoder) => refused(format!(
                "it takes {} values a row, and the input has length = {n_values}",
                encoder.n_values()
            )),
            PretrainedEncoder::Texts(_) => refused("an encoder of texts".to_owned()),
        }
    }

    fn read_file(&mut self, root: &Path, path: &Path, device: Device) -> Result<Read, Error> {
        let file = read_onnx_file(root, path)?;
        let digest = blake3::hash(&file);
        let embedder = self.known_or((digest, device), || {
            let encoder = VectorEncoder::new(Bytes::from(file), &device);
            let encoder = encoder.map_err(|what| Error::description(what).of(path.display()))?;
            Ok(PretrainedEncoder::Vectors(encoder))
        })?;
        Ok(Read {
            embedder,
            digest,
            folder: None,
        })
    }

    fn read_folder(&mut self, root: &Path, path: &Path, device: Device) -> Result<Read, Error> {
        let (folder, weights) = EncoderFolder::read(root, path)?;
        let digest = folder.digest;
        let embedder = self.known_or((digest, device), || {
            let encoder = folder.encoder(path, weights, device)?;
            Ok(PretrainedEncoder::Texts(Arc::new(encoder)))
        })?;
        Ok(Read {
            embedder,
            digest,
            folder: Some(folder),
        })
    }

    /// The one of this digest, made where it is not known.
    fn known_or(
        &mut self,
        key: (blake3::Hash, Device),
        make: impl FnOnce() -> Result<PretrainedEncoder, Error>,
    ) -> Result<Embedder, Error> {
        if let Some(known) = self.0.get(&key) {
            return Ok(known.clone());
        }
        let embedder = Embedder::new(make()?);
        self.0.insert(key, embedder.clone());
        Ok(embedder)
    }
}

impl PretrainedEncoder {
    /// The length of a vector.
    pub(crate) fn width(&self) -> usize {
        match self {
            PretrainedEncoder::Texts(encoder) => encoder.width(),
            PretrainedEncoder::Vectors(encoder) => encoder.width(),
        }
    }

    /// True if this encoder reads such a column.
    pub(crate) fn takes(&self, column: &Column) -> bool {
        match self {
            PretrainedEncoder::Texts(_) => matches!(column, Column::Strings(_)),
            PretrainedEncoder::Vectors(_) => matches!(column, Column::Vectors(_)),
        }
    }

    /// The vectors of all rows of columns that it takes, `[rows, width]`; texts as `adapters` have
    /// it.
    pub(crate) fn embed<'a>(
        &self,
        columns: impl Iterator<Item = &'a Column>,
        adapters: Option<&Adapters>,
    ) -> Result<Vec<f32>, ComputeError> {
        let (mut texts, mut values) = (Vec::new(), Vec::new());
        for column in columns {
            match column {
                Column::Strings(strings) => texts.extend(strings.iter().map(String::as_str)),
                Column::Vectors(bytes) => {
                    let (floats, _) = bytes.as_chunks::<4>();
                    values.extend(floats.iter().map(|float| f32::from_le_bytes(*float)));
                }
                Column::Numbers(_) | Column::Embedded { .. } => {}
            }
        }
        let embedded = match self {
            PretrainedEncoder::Texts(encoder) => encoder.embed(&texts, adapters),
            PretrainedEncoder::Vectors(encoder) => encoder.embed(&values),
        };
        embedded.map_err(ComputeError::of_encoder)
    }
}

impl Embedder {
    fn new(encoder: PretrainedEncoder) -> Embedder {
        let encoder = Arc::new(encoder);
        let encodes = encoder.clone();
        let batcher = Batcher::new("encoder", BOUNDS, move |requests: &[&EmbedRows]| {
            let columns = requests.iter().map(|request| &request.column);
            let adapters = requests.first().and_then(|first| first.adapters.as_deref());
            encodes.embed(columns, adapters)
        });
        Embedder { encoder, batcher }
    }

    /// The column, and the vectors `[n_rows, width]` of its rows, computed together with those of
    /// other requests.
    ///
    /// # Errors
    /// Those of [`Batcher::compute`]; a row cannot be encoded.
    pub(crate) async fn embed(
        &self,
        column: Column,
        n_rows: usize,
        adapters: Option<Arc<Adapters>>,
    ) -> Result<(Column, Vec<f32>), ComputeError> {
        let request = |column, n_rows| EmbedRows {
            column,
            n_rows,
            adapters: adapters.clone(),
        };
        if n_rows <= SLICE_ROWS {
            let (request, vectors) = self.batcher.compute(request(column, n_rows)).await?;
            return Ok((request.column, vectors));
        }
        // Between its slices others have theirs.
        let slices = RowSlices::of(column, n_rows);
        let (mut taken, mut vectors) = (slices.none_taken(), Vec::new());
        let mut is_first = true;
        for (column, n_rows) in slices {
            let request = request(column, n_rows);
            let computed = if std::mem::take(&mut is_first) {
                self.batcher.compute(request).await
            } else {
                self.batcher.compute_more(request).await
            };
            let (request, more) = computed?;
            if let (Column::Strings(all), Column::Strings(texts)) = (&mut taken, request.column) {
                all.extend(texts);
            }
            vectors.extend(more);
        }
        Ok((taken, vectors))
    }
}

/// A column of texts or vectors in slices.
struct RowSlices {
    texts: std::vec::IntoIter<String>,
    vectors: Option<Bytes>,
    n_rows_left: usize,
}

impl RowSlices {
    fn of(column: Column, n_rows: usize) -> RowSlices {
        let (texts, vectors) = match column {
            Column::Strings(texts) => (texts, None),
            Column::Vectors(bytes) => (Vec::new(), Some(bytes)),
            Column::Numbers(_) | Column::Embedded { .. } => (Vec::new(), None),
        };
        RowSlices {
            texts: texts.into_iter(),
            vectors,
            n_rows_left: n_rows,
        }
    }

    /// The column before a slice of it is computed: all of its vectors, none of its texts.
    fn none_taken(&self) -> Column {
        match &self.vectors {
            Some(bytes) => Column::Vectors(bytes.clone()),
            None => Column::Strings(Vec::with_capacity(self.n_rows_left)),
        }
    }
}

impl Iterator for RowSlices {
    type Item = (Column, usize);

    fn next(&mut self) -> Option<(Column, usize)> {
        let n_rows = self.n_rows_left.min(SLICE_ROWS);
        if n_rows == 0 {
            return None;
        }
        let column = match &mut self.vectors {
            Some(bytes) => {
                let row_bytes = bytes.len() / self.n_rows_left;
                Column::Vectors(bytes.split_to(n_rows * row_bytes))
            }
            None => Column::Strings(self.texts.by_ref().take(n_rows).collect()),
        };
        self.n_rows_left -= n_rows;
        Some((column, n_rows))
    }
}

/// Texts with their vectors, or the vectors that others became.
pub(crate) fn embedded_column(column: Column, vectors: &[f32]) -> Result<Column, Error> {
    if !vectors.iter().all(|value| value.is_finite()) {
        return Err(Error::Refused {
            field: "inputs",
            what: "the encoder gives a vector that is not finite".to_owned(),
        });
    }
    let bytes: Vec<u8> = vectors.iter().flat_map(|v| v.to_le_bytes()).collect();
    let vectors = Bytes::from(bytes);
    Ok(match column {
        Column::Strings(texts) => Column::Embedded { texts, vectors },
        _ => Column::Vectors(vectors),
    })
}
