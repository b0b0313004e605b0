//! EMBED: from texts and vectors to what their encoders give, before anything is predicted or
//! journaled.
//!
//! Invariant: what is not finite is refused, to whom it is due.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::engine::compute::batcher::{Batcher, Bounds, Question};
use crate::engine::compute::encoder_folder::EncoderFolder;
use crate::engine::error::Error;
use crate::engine::host::served_model::ServedModel;
use crate::event::{Batch, Column};
use crate::model::{Adapters, Device, NamedEncoder, TextEncoder, VectorEncoder};
use crate::store::checkpoint::read_onnx_file;

/// What waits is encoded together; a pass is long enough for others to come meanwhile.
const BOUNDS: Bounds = Bounds {
    rows_at_once: 64,
    rows_waiting: 1024,
    gather: Duration::ZERO,
};

/// An encoder with its thread.
#[derive(Clone, Debug)]
pub(crate) struct Embedder {
    pub encoder: Arc<Encoder>,
    batcher: Batcher<Rows>,
}

/// What encodes, by what it takes.
#[derive(Debug)]
pub(crate) enum Encoder {
    Texts(Arc<TextEncoder>),
    Vectors(VectorEncoder),
}

/// A column, and how its encoder is adapted.
#[derive(Debug)]
struct Rows {
    column: Column,
    n_rows: usize,
    adapters: Option<Arc<Adapters>>,
}

impl Question for Rows {
    fn n_rows(&self) -> usize {
        self.n_rows
    }

    fn is_like(&self, other: &Rows) -> bool {
        self.adapters == other.adapters
    }
}

/// The encoders that were read, by what was read and for which device: models share them.
#[derive(Default)]
pub(crate) struct Embedders(BTreeMap<([u8; 32], Device), Embedder>);

/// An encoder that was read.
pub(crate) struct Read {
    pub embedder: Embedder,
    pub digest: [u8; 32],
    /// What it was read from, where that was a folder.
    pub folder: Option<EncoderFolder>,
}

impl Embedders {
    /// Reads the encoder that an input names; the digest is over everything that was read. No link
    /// may lead out of `root`.
    pub fn read(
        &mut self,
        root: &Path,
        path: &Path,
        named: &NamedEncoder,
        device: Device,
    ) -> Result<Read, String> {
        let Some(n_values) = named.n_values else {
            return self.read_folder(root, path, device);
        };
        let read = self.read_file(root, path, device)?;
        match &*read.embedder.encoder {
            Encoder::Vectors(encoder) if encoder.n_values() == n_values => Ok(read),
            Encoder::Vectors(encoder) => Err(format!(
                "{}: it takes {} values a row, and the input has length = {n_values}",
                path.display(),
                encoder.n_values()
            )),
            Encoder::Texts(_) => Err(format!("{}: an encoder of texts", path.display())),
        }
    }

    fn read_file(&mut self, root: &Path, path: &Path, device: Device) -> Result<Read, String> {
        let file = read_onnx_file(root, path).map_err(|error| error.to_string())?;
        let digest = *blake3::hash(&file).as_bytes();
        let embedder = self.known_or((digest, device), || {
            let encoder = VectorEncoder::new(Bytes::from(file), &device);
            let encoder = encoder.map_err(|what| format!("{}: {what}", path.display()))?;
            Ok(Encoder::Vectors(encoder))
        })?;
        Ok(Read {
            embedder,
            digest,
            folder: None,
        })
    }

    fn read_folder(&mut self, root: &Path, path: &Path, device: Device) -> Result<Read, String> {
        let (folder, weights) = EncoderFolder::read(root, path)?;
        let digest = folder.digest;
        let embedder = self.known_or((digest, device), || {
            let encoder = folder.encoder(path, weights, device)?;
            Ok(Encoder::Texts(Arc::new(encoder)))
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
        key: ([u8; 32], Device),
        make: impl FnOnce() -> Result<Encoder, String>,
    ) -> Result<Embedder, String> {
        if let Some(known) = self.0.get(&key) {
            return Ok(known.clone());
        }
        let embedder = Embedder::new(make()?);
        self.0.insert(key, embedder.clone());
        Ok(embedder)
    }
}

impl Encoder {
    /// The length of a vector.
    pub fn width(&self) -> usize {
        match self {
            Encoder::Texts(encoder) => encoder.width(),
            Encoder::Vectors(encoder) => encoder.width(),
        }
    }

    /// Whether it encodes such a column; others pass it by.
    pub fn takes(&self, column: &Column) -> bool {
        match self {
            Encoder::Texts(_) => matches!(column, Column::Strings(_)),
            Encoder::Vectors(_) => matches!(column, Column::Vectors(_)),
        }
    }

    /// The vectors of all rows of columns that it takes, `[rows, width]`; texts as `adapters` have
    /// it.
    pub fn embed<'a>(
        &self,
        columns: impl Iterator<Item = &'a Column>,
        adapters: Option<&Adapters>,
    ) -> Result<Vec<f32>, String> {
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
        match self {
            Encoder::Texts(encoder) => encoder.embed(&texts, adapters),
            Encoder::Vectors(encoder) => encoder.embed(&values),
        }
    }
}

impl Embedder {
    fn new(encoder: Encoder) -> Embedder {
        let encoder = Arc::new(encoder);
        let encodes = encoder.clone();
        let batcher = Batcher::new("encoder", BOUNDS, move |questions: &[&Rows]| {
            let columns = questions.iter().map(|question| &question.column);
            let adapters = questions
                .first()
                .and_then(|first| first.adapters.as_deref());
            encodes.embed(columns, adapters)
        });
        Embedder { encoder, batcher }
    }
}

impl ServedModel {
    /// Whether an input of it has an encoder.
    pub fn encodes(&self) -> bool {
        let runtime = self.get().ok();
        runtime.is_some_and(|runtime| runtime.embedders.iter().any(Option::is_some))
    }

    /// Puts beside each text that has an encoder, and in place of each vector that has one, what
    /// the encoder gives; a batch without one passes at once.
    ///
    /// # Errors
    /// [`Error::Full`]: too many rows wait, or the device has no room for one.
    /// [`Error::Refused`]: the encoder gives no finite vector. [`Error::Unavailable`].
    pub async fn embed(&self, mut batch: Batch) -> Result<Batch, Error> {
        let runtime = self.get()?;
        if runtime.embedders.iter().all(Option::is_none) {
            return Ok(batch);
        }
        let model = &runtime.serving.served().model;
        let columns = batch.columns.iter_mut().zip(&runtime.embedders);
        for ((column, embedder), adapters) in columns.zip(&model.adapters) {
            let Some(embedder) = embedder.as_ref().filter(|one| one.encoder.takes(column)) else {
                continue;
            };
            let taken = std::mem::replace(column, Column::Numbers(Vec::new()));
            let question = Rows {
                column: taken,
                n_rows: batch.n_rows,
                adapters: adapters.clone(),
            };
            let embedded = embedder.batcher.ask(question).await;
            let (question, vectors) = embedded.map_err(|what| Error::Full {
                model: self.name().to_owned(),
                what,
            })?;
            *column = embedded_column(question.column, &vectors)?;
        }
        Ok(batch)
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
