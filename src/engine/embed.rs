//! EMBED: from texts and vectors to what their encoders give, before anything is predicted or
//! journaled.
//!
//! Invariant: each encoder has one thread, beside the requests' own; what waits at a time is
//! encoded together, at most [`ROWS_AT_ONCE`] rows; more than [`ROWS_WAITING`] never wait, and
//! what comes then is refused at once. What is not finite is refused, to whom it is due.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, bounded};
use tokio::sync::oneshot;

use super::error::Error;
use super::hosted::Hosted;
use crate::event::{Batch, Column};
use crate::model::{
    Device, EncoderFiles, EncoderWeights, NamedEncoder, TextEncoder, VectorEncoder,
};
use crate::store::checkpoint::{read_foreign_file, read_onnx_file, read_text_file};

/// Rows that are encoded together at most.
const ROWS_AT_ONCE: usize = 64;
/// Rows that wait at most, beside those of a first request.
const ROWS_WAITING: usize = 1024;

/// An encoder with its thread.
#[derive(Clone, Debug)]
pub(super) struct Embedder {
    pub encoder: Arc<Encoder>,
    jobs: Sender<Job>,
    n_waiting: Arc<AtomicUsize>,
}

/// What encodes, by what it takes.
#[derive(Debug)]
pub(super) enum Encoder {
    Texts(Box<TextEncoder>),
    Vectors(VectorEncoder),
}

/// A column, and who waits for what is made of it.
struct Job {
    column: Column,
    n_rows: usize,
    reply: oneshot::Sender<Embedded>,
}

/// A column, and the vectors `[rows, width]` or why there are none.
type Embedded = (Column, Result<Vec<f32>, String>);

/// The encoders that were read, by what was read and for which device: models share them.
#[derive(Default)]
pub(super) struct Embedders(BTreeMap<([u8; 32], Device), Embedder>);

impl Embedders {
    /// Reads an encoder; its digest is over everything that was read.
    pub fn read(
        &mut self,
        folder: &Path,
        named: &NamedEncoder,
        device: Device,
    ) -> Result<(Embedder, [u8; 32]), String> {
        let path = folder.join(&named.path);
        let Some(n_values) = named.n_values else {
            return self.read_folder(&path, device);
        };
        let (embedder, digest) = self.read_file(&path, device)?;
        match &*embedder.encoder {
            Encoder::Vectors(encoder) if encoder.n_values() == n_values => Ok((embedder, digest)),
            Encoder::Vectors(encoder) => {
                let takes = encoder.n_values();
                let path = path.display();
                Err(format!(
                    "{path}: it takes {takes} values a row, and the input has length = {n_values}"
                ))
            }
            Encoder::Texts(_) => Err(format!("{}: an encoder of texts", path.display())),
        }
    }

    fn read_file(&mut self, path: &Path, device: Device) -> Result<(Embedder, [u8; 32]), String> {
        let file = read_onnx_file(path).map_err(|error| error.to_string())?;
        let digest = *blake3::hash(&file).as_bytes();
        self.known_or((digest, device), || {
            let encoder = VectorEncoder::new(Bytes::from(file), &device);
            let encoder = encoder.map_err(|what| format!("{}: {what}", path.display()))?;
            Ok(Encoder::Vectors(encoder))
        })
    }

    fn read_folder(
        &mut self,
        folder: &Path,
        device: Device,
    ) -> Result<(Embedder, [u8; 32]), String> {
        let said = |error: crate::store::Error| error.to_string();
        let text = |name: &str| read_text_file(&folder.join(name));
        if !folder.is_dir() {
            return Err(format!("{}: no such folder", folder.display()));
        }
        let config = text("config.json").map_err(said)?;
        let tokenizer = text("tokenizer.json").map_err(said)?;
        let sentence = match folder.join("sentence_bert_config.json") {
            path if path.exists() => Some(read_text_file(&path).map_err(said)?),
            _ => None,
        };
        let (file, weights) = weights(folder)?;
        let mut hash = blake3::Hasher::new();
        for part in [
            &config,
            &tokenizer,
            sentence.as_deref().unwrap_or_default(),
            &file,
        ] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        drop(file);
        let digest = *hash.finalize().as_bytes();
        self.known_or((digest, device), || {
            let files = EncoderFiles {
                config: &config,
                tokenizer: &tokenizer,
                sentence: sentence.as_deref(),
            };
            let encoder = TextEncoder::new(files, weights, &device);
            let encoder = encoder.map_err(|what| format!("{}: {what}", folder.display()))?;
            Ok(Encoder::Texts(Box::new(encoder)))
        })
    }

    /// The one of this digest, made where it is not known.
    fn known_or(
        &mut self,
        key: ([u8; 32], Device),
        make: impl FnOnce() -> Result<Encoder, String>,
    ) -> Result<(Embedder, [u8; 32]), String> {
        if let Some(known) = self.0.get(&key) {
            return Ok((known.clone(), key.0));
        }
        let embedder = Embedder::new(make()?);
        self.0.insert(key, embedder.clone());
        Ok((embedder, key.0))
    }
}

/// The network of a folder, as its file came and read.
fn weights(folder: &Path) -> Result<(Bytes, EncoderWeights), String> {
    let said = |error: crate::store::Error| error.to_string();
    let (safetensors, onnx) = (folder.join("model.safetensors"), folder.join("model.onnx"));
    if onnx.exists() && !safetensors.exists() {
        let file = Bytes::from(read_onnx_file(&onnx).map_err(said)?);
        return Ok((file.clone(), EncoderWeights::Onnx(file)));
    }
    let (file, weights) = read_foreign_file(&safetensors).map_err(said)?;
    Ok((Bytes::from(file), EncoderWeights::Safetensors(weights)))
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

    /// The vectors of all rows of columns that it takes, `[rows, width]`.
    pub fn embed<'a>(&self, columns: impl Iterator<Item = &'a Column>) -> Result<Vec<f32>, String> {
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
            Encoder::Texts(encoder) => encoder.embed(&texts),
            Encoder::Vectors(encoder) => encoder.embed(&values),
        }
    }
}

impl Embedder {
    fn new(encoder: Encoder) -> Embedder {
        // Each job has a row at least.
        let (jobs, due) = bounded(ROWS_WAITING + 1);
        let embedder = Embedder {
            encoder: Arc::new(encoder),
            jobs,
            n_waiting: Arc::default(),
        };
        let (encoder, n_waiting) = (embedder.encoder.clone(), embedder.n_waiting.clone());
        // It ends once nobody can send it anything.
        super::spawn("encoder", move || run(&encoder, &due, &n_waiting));
        embedder
    }

    /// The vectors of these rows, once it is their turn.
    async fn embed(&self, column: Column, n_rows: usize) -> Result<(Column, Vec<f32>), String> {
        let before = self.n_waiting.fetch_add(n_rows, Relaxed);
        let (reply, done) = oneshot::channel();
        let has_room = before == 0 || before + n_rows <= ROWS_WAITING;
        let job = Job {
            column,
            n_rows,
            reply,
        };
        if !has_room || self.jobs.try_send(job).is_err() {
            self.n_waiting.fetch_sub(n_rows, Relaxed);
            return Err(format!("{before} rows wait for their encoder"));
        }
        let gone = |_| "its encoder has stopped".to_owned();
        let (column, vectors) = done.await.map_err(gone)?;
        Ok((column, vectors?))
    }
}

/// Encodes what waits, until nobody is left who could send more.
fn run(encoder: &Encoder, due: &Receiver<Job>, n_waiting: &AtomicUsize) {
    while let Ok(first) = due.recv() {
        let mut n_rows = first.n_rows;
        let mut jobs = vec![first];
        while n_rows < ROWS_AT_ONCE
            && let Ok(job) = due.try_recv()
        {
            n_rows += job.n_rows;
            jobs.push(job);
        }
        n_waiting.fetch_sub(n_rows, Relaxed);
        // Nobody waits any more for an answer that was given up.
        jobs.retain(|job| !job.reply.is_closed());
        let vectors = encoder.embed(jobs.iter().map(|job| &job.column));
        let (mut start, n_jobs) = (0, jobs.len());
        for job in jobs {
            let end = start + job.n_rows * encoder.width();
            let own = match &vectors {
                Ok(vectors) => Ok(vectors[start..end].to_vec()),
                // Not every one of them may be at fault.
                Err(_) if n_jobs > 1 => encoder.embed(std::iter::once(&job.column)),
                Err(what) => Err(what.clone()),
            };
            start = end;
            // Who asked may have given up meanwhile.
            let _ = job.reply.send((job.column, own));
        }
    }
}

impl Hosted {
    /// Puts beside each text that has an encoder, and in place of each vector that has one, what
    /// the encoder gives; a batch without one passes at once.
    ///
    /// # Errors
    /// [`Error::Full`]: too many rows wait, or the device has no room for one.
    /// [`Error::Refused`]: the encoder gives no finite vector. [`Error::Unavailable`].
    pub async fn embed(&self, mut batch: Batch) -> Result<Batch, Error> {
        let running = self.get()?;
        let columns = batch.columns.iter_mut().zip(&running.embedders);
        for (column, embedder) in columns {
            let Some(embedder) = embedder.as_ref().filter(|one| one.encoder.takes(column)) else {
                continue;
            };
            let taken = std::mem::replace(column, Column::Numbers(Vec::new()));
            let embedded = embedder.embed(taken, batch.n_rows).await;
            let (taken, vectors) = embedded.map_err(|what| Error::Full {
                model: self.name().to_owned(),
                what,
            })?;
            *column = embedded_column(taken, &vectors)?;
        }
        Ok(batch)
    }
}

/// Texts with their vectors, or the vectors that others became.
pub(super) fn embedded_column(column: Column, vectors: &[f32]) -> Result<Column, Error> {
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
