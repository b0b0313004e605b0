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

use super::encoder_folder::EncoderFolder;
use super::error::Error;
use super::hosted::Hosted;
use crate::event::{Batch, Column};
use crate::model::{Adapters, Device, NamedEncoder, TextEncoder, VectorEncoder};
use crate::store::checkpoint::read_onnx_file;

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
    Texts(Arc<TextEncoder>),
    Vectors(VectorEncoder),
}

/// A column, how its encoder is adapted, and who waits for what is made of it.
struct Job {
    column: Column,
    n_rows: usize,
    adapters: Option<Arc<Adapters>>,
    reply: oneshot::Sender<Embedded>,
}

/// A column, and the vectors `[rows, width]` or why there are none.
type Embedded = (Column, Result<Vec<f32>, String>);

/// The encoders that were read, by what was read and for which device: models share them.
#[derive(Default)]
pub(super) struct Embedders(BTreeMap<([u8; 32], Device), Embedder>);

/// An encoder that was read.
pub(super) struct Read {
    pub embedder: Embedder,
    pub digest: [u8; 32],
    /// What it was read from, where that was a folder.
    pub folder: Option<EncoderFolder>,
}

impl Embedders {
    /// Reads the encoder that an input names; the digest is over everything that was read.
    pub fn read(
        &mut self,
        path: &Path,
        named: &NamedEncoder,
        device: Device,
    ) -> Result<Read, String> {
        let Some(n_values) = named.n_values else {
            return self.read_folder(path, device);
        };
        let read = self.read_file(path, device)?;
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

    fn read_file(&mut self, path: &Path, device: Device) -> Result<Read, String> {
        let file = read_onnx_file(path).map_err(|error| error.to_string())?;
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

    fn read_folder(&mut self, path: &Path, device: Device) -> Result<Read, String> {
        let (folder, weights) = EncoderFolder::read(path)?;
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
    async fn embed(
        &self,
        column: Column,
        n_rows: usize,
        adapters: Option<Arc<Adapters>>,
    ) -> Result<(Column, Vec<f32>), String> {
        let before = self.n_waiting.fetch_add(n_rows, Relaxed);
        let (reply, done) = oneshot::channel();
        let has_room = before == 0 || before + n_rows <= ROWS_WAITING;
        let job = Job {
            column,
            n_rows,
            adapters,
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
        let mut jobs = jobs.into_iter().peekable();
        while let Some(first) = jobs.next() {
            let mut together = vec![first];
            while let Some(next) = jobs.next_if(|next| next.adapters == together[0].adapters) {
                together.push(next);
            }
            encode(encoder, together);
        }
    }
}

/// Encodes together what is encoded alike, and tells everyone what is theirs.
fn encode(encoder: &Encoder, jobs: Vec<Job>) {
    let adapters = jobs[0].adapters.clone();
    let adapters = adapters.as_deref();
    let vectors = encoder.embed(jobs.iter().map(|job| &job.column), adapters);
    let (mut start, n_jobs) = (0, jobs.len());
    for job in jobs {
        let end = start + job.n_rows * encoder.width();
        let own = match &vectors {
            Ok(vectors) => Ok(vectors[start..end].to_vec()),
            // Not every one of them may be at fault.
            Err(_) if n_jobs > 1 => encoder.embed(std::iter::once(&job.column), adapters),
            Err(what) => Err(what.clone()),
        };
        start = end;
        // Who asked may have given up meanwhile.
        let _ = job.reply.send((job.column, own));
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
        if running.embedders.iter().all(Option::is_none) {
            return Ok(batch);
        }
        let model = &running.registry.served().model;
        let columns = batch.columns.iter_mut().zip(&running.embedders);
        for ((column, embedder), adapters) in columns.zip(&model.adapters) {
            let Some(embedder) = embedder.as_ref().filter(|one| one.encoder.takes(column)) else {
                continue;
            };
            let taken = std::mem::replace(column, Column::Numbers(Vec::new()));
            let embedded = embedder.embed(taken, batch.n_rows, adapters.clone()).await;
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
