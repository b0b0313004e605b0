//! The folder of a text encoder: its files, known by one digest.
//!
//! Invariant: the kept copy of a folder is read as the folder was, with the same digest.

use std::path::Path;

use bytes::Bytes;

use crate::engine::error::Error;
use crate::model::{Device, EncoderFiles, EncoderWeights, TextEncoder};
use crate::store::Disk;
use crate::store::checkpoint::{keep_file, read_foreign_file, read_onnx_file, read_text_file};
use crate::store::regular::is_there;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const SENTENCE: &str = "sentence_bert_config.json";
const SAFETENSORS: &str = "model.safetensors";
const ONNX: &str = "model.onnx";

/// The files of a folder as they came.
#[derive(Clone, Debug)]
pub(crate) struct EncoderFolder {
    config: Vec<u8>,
    tokenizer: Vec<u8>,
    sentence: Option<Vec<u8>>,
    weights: (&'static str, Bytes),
    /// The digest over all of them.
    pub digest: blake3::Hash,
}

impl EncoderFolder {
    /// Reads the files of a folder, and the network among them. No link may lead out of `root`.
    ///
    /// # Errors
    /// [`Error::Store`] and [`Error::Description`]: a file cannot be read.
    pub(crate) fn read(
        root: &Path,
        folder: &Path,
    ) -> Result<(EncoderFolder, EncoderWeights), Error> {
        if !folder.is_dir() {
            let what = if folder.exists() {
                "a file; the encoder of a text is a folder"
            } else {
                "no such folder"
            };
            return Err(Error::description(what).of(folder.display()));
        }
        let read = |name: &str| read_text_file(root, &folder.join(name));
        let config = read(CONFIG)?;
        let tokenizer = read(TOKENIZER)?;
        let sentence = if is_there(&folder.join(SENTENCE)) {
            Some(read(SENTENCE)?)
        } else {
            None
        };
        let (name, file, weights) = weights(root, folder)?;
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
        let folder = EncoderFolder {
            config,
            tokenizer,
            sentence,
            weights: (name, file),
            digest: hash.finalize(),
        };
        Ok((folder, weights))
    }

    /// The encoder that it is, read from this path.
    ///
    /// # Errors
    /// [`Error::Description`]: a file is not sound.
    pub(crate) fn encoder(
        &self,
        path: &Path,
        weights: EncoderWeights,
        device: Device,
    ) -> Result<TextEncoder, Error> {
        let files = EncoderFiles {
            config: &self.config,
            tokenizer: &self.tokenizer,
            sentence: self.sentence.as_deref(),
        };
        let encoder = TextEncoder::new(files, weights, &device);
        encoder.map_err(|what| Error::description(what).of(path.display()))
    }

    /// Keeps a copy at this path, durably.
    ///
    /// # Errors
    /// [`Error::Store`]: the disk refused.
    pub(crate) fn keep(&self, disk: &Disk, path: &Path) -> Result<(), Error> {
        let (name, weights) = &self.weights;
        let keep = |name: &str, bytes: &[u8]| keep_file(disk, &path.join(name), bytes);
        keep(CONFIG, &self.config)?;
        keep(TOKENIZER, &self.tokenizer)?;
        if let Some(sentence) = &self.sentence {
            keep(SENTENCE, sentence)?;
        }
        Ok(keep(name, weights)?)
    }
}

/// The faults of the encoders that are kept in this folder, each in one sentence.
pub fn check_kept_encoders(encoders: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(encoders) else {
        return Vec::new();
    };
    let mut folders: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders
        .iter()
        .filter_map(|one| check_one(encoders, one))
        .collect()
}

fn check_one(encoders: &Path, folder: &Path) -> Option<String> {
    // Its network is kept last: without one, a crash came first, and the next start keeps it again.
    if ![SAFETENSORS, ONNX]
        .iter()
        .any(|name| is_there(&folder.join(name)))
    {
        return None;
    }
    let digest = match EncoderFolder::read(encoders, folder) {
        Ok((read, _)) => read.digest.to_hex(),
        Err(error) => return Some(error.to_string()),
    };
    let named = folder
        .file_name()
        .is_some_and(|name| name == digest.as_str());
    let what = "not the encoder that was kept; restore it from a copy";
    (!named).then(|| format!("{}: {what}", folder.display()))
}

/// The network of a folder: the name of its file, its bytes, and their content.
fn weights(root: &Path, folder: &Path) -> Result<(&'static str, Bytes, EncoderWeights), Error> {
    let (safetensors, onnx) = (folder.join(SAFETENSORS), folder.join(ONNX));
    if is_there(&onnx) && !is_there(&safetensors) {
        let file = Bytes::from(read_onnx_file(root, &onnx)?);
        return Ok((ONNX, file.clone(), EncoderWeights::Onnx(file)));
    }
    let (file, weights) = read_foreign_file(root, &safetensors)?;
    let weights = EncoderWeights::Safetensors(weights);
    Ok((SAFETENSORS, Bytes::from(file), weights))
}
