//! EMBED: from texts to vectors, before anything is predicted or journaled.
//!
//! Invariant: each encoder has one thread, beside the requests' own; what waits at a time is
//! encoded together, at most [`ROWS_AT_ONCE`] texts; more than [`ROWS_WAITING`] never wait, and
//! what comes then is refused at once.

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
use crate::model::{Device, EncoderFiles, TextEncoder};
use crate::store::checkpoint::{read_foreign_file, read_text_file};

/// Texts that are encoded together at most.
const ROWS_AT_ONCE: usize = 64;
/// Texts that wait at most, beside those of a first request.
const ROWS_WAITING: usize = 1024;

/// An encoder with its thread.
#[derive(Clone, Debug)]
pub(super) struct Embedder {
    pub encoder: Arc<TextEncoder>,
    jobs: Sender<Job>,
    n_waiting: Arc<AtomicUsize>,
}

/// Texts, and who waits for their vectors.
struct Job {
    texts: Vec<String>,
    reply: oneshot::Sender<Embedded>,
}

/// Texts, and the vectors `[texts, width]` or why there are none.
type Embedded = (Vec<String>, Result<Vec<f32>, String>);

/// The encoders that were read, by what was read and for which device: models share them.
#[derive(Default)]
pub(super) struct Embedders(BTreeMap<([u8; 32], Device), Embedder>);

impl Embedders {
    /// Reads a folder; its digest is over everything that was read.
    pub fn read(&mut self, folder: &Path, device: Device) -> Result<(Embedder, [u8; 32]), String> {
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
        let (weights, file) = read_foreign_file(&folder.join("model.safetensors")).map_err(said)?;
        let mut hash = blake3::Hasher::new();
        for part in [
            &config,
            &tokenizer,
            sentence.as_deref().unwrap_or_default(),
            &weights,
        ] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        drop(weights);
        let digest = *hash.finalize().as_bytes();
        if let Some(known) = self.0.get(&(digest, device)) {
            return Ok((known.clone(), digest));
        }
        let files = EncoderFiles {
            config: &config,
            tokenizer: &tokenizer,
            sentence: sentence.as_deref(),
        };
        let encoder = TextEncoder::new(files, file, &device);
        let encoder = encoder.map_err(|what| format!("{}: {what}", folder.display()))?;
        let embedder = Embedder::new(encoder);
        self.0.insert((digest, device), embedder.clone());
        Ok((embedder, digest))
    }
}

impl Embedder {
    fn new(encoder: TextEncoder) -> Embedder {
        // Each job has a text at least.
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

    /// The vectors of these texts, once it is their turn.
    async fn embed(&self, texts: Vec<String>) -> Result<(Vec<String>, Vec<f32>), String> {
        let n_texts = texts.len();
        let before = self.n_waiting.fetch_add(n_texts, Relaxed);
        let (reply, done) = oneshot::channel();
        let has_room = before == 0 || before + n_texts <= ROWS_WAITING;
        if !has_room || self.jobs.try_send(Job { texts, reply }).is_err() {
            self.n_waiting.fetch_sub(n_texts, Relaxed);
            return Err(format!("{before} texts wait for their encoder"));
        }
        let gone = |_| "its encoder has stopped".to_owned();
        let (texts, vectors) = done.await.map_err(gone)?;
        Ok((texts, vectors?))
    }
}

/// Encodes what waits, until nobody is left who could send more.
fn run(encoder: &TextEncoder, due: &Receiver<Job>, n_waiting: &AtomicUsize) {
    while let Ok(first) = due.recv() {
        let mut n_rows = first.texts.len();
        let mut jobs = vec![first];
        while n_rows < ROWS_AT_ONCE
            && let Ok(job) = due.try_recv()
        {
            n_rows += job.texts.len();
            jobs.push(job);
        }
        n_waiting.fetch_sub(n_rows, Relaxed);
        // Nobody waits any more for an answer that was given up.
        jobs.retain(|job| !job.reply.is_closed());
        let texts: Vec<&str> = jobs
            .iter()
            .flat_map(|job| job.texts.iter().map(String::as_str))
            .collect();
        let vectors = encoder.embed(&texts);
        let mut start = 0;
        for Job { texts, reply } in jobs {
            let end = start + texts.len() * encoder.width();
            let own = match &vectors {
                Ok(vectors) => Ok(vectors[start..end].to_vec()),
                Err(what) => Err(what.clone()),
            };
            start = end;
            // Who asked may have given up meanwhile.
            let _ = reply.send((texts, own));
        }
    }
}

impl Hosted {
    /// Puts beside each text that has an encoder what the encoder gives; a batch without one
    /// passes at once.
    ///
    /// # Errors
    /// [`Error::Full`]: too many texts wait, or the device has no room for one.
    /// [`Error::Unavailable`].
    pub async fn embed(&self, mut batch: Batch) -> Result<Batch, Error> {
        let running = self.get()?;
        let columns = batch.columns.iter_mut().zip(&running.embedders);
        for (column, embedder) in columns {
            let (Some(embedder), Column::Strings(texts)) = (embedder, &mut *column) else {
                continue;
            };
            let embedded = embedder.embed(std::mem::take(texts)).await;
            let (texts, vectors) = embedded.map_err(|what| Error::Full {
                model: self.name().to_owned(),
                what,
            })?;
            *column = embedded_column(texts, &vectors);
        }
        Ok(batch)
    }
}

/// Texts with their vectors.
pub(super) fn embedded_column(texts: Vec<String>, vectors: &[f32]) -> Column {
    let bytes: Vec<u8> = vectors.iter().flat_map(|v| v.to_le_bytes()).collect();
    Column::Embedded {
        texts,
        vectors: Bytes::from(bytes),
    }
}
