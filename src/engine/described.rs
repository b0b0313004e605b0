//! A model as its folder describes it: model.toml, and the files that it names.
//!
//! Invariant: each file is read once, and pinned in the text of the description by the digest of
//! what was read. What learns, recovers or replays takes the pinned text and the kept bytes; it
//! never looks at the folder.
//!
//! Weights to start with are kept in the data directory before the first entry is journaled, and
//! are a part of the state before that entry. They are of a model that starts: a later change of
//! the file is refused, as is a change of the network's shape.

use std::path::Path;
use std::sync::Arc;

use super::embed::{Embedder, Embedders, embedded_column};
use super::error::Error;
use crate::event::{Batch, Column, Description};
use crate::learn::Learner;
use crate::model::weights::Foreign;
use crate::model::{Fitting, LearnerKind, Named, Pinned, Spec, fit, profile, widths};
use crate::store::checkpoint::read_foreign_file;

/// What this program calls itself.
pub(super) const BUILD: &str = concat!("perennial ", env!("CARGO_PKG_VERSION"));

/// A description that was read, with what it names.
#[derive(Clone, Debug)]
pub struct Described {
    /// As it is journaled: the text has its files pinned.
    pub description: Description,
    /// The same, checked.
    pub spec: Arc<Spec>,
    /// The weights that its network arrives with: the file as it came, and what it holds.
    pub(super) start: Option<(Vec<u8>, Foreign)>,
    /// By the place of the input whose rows they encode.
    pub(super) embedders: Vec<Option<Embedder>>,
}

/// A model.toml with the files that it names, as this program can serve it.
///
/// # Errors
/// [`Error::Refused`]: one of them cannot be read, is not sound, or does not fit the others.
pub fn describe(path: &Path) -> Result<Described, Error> {
    let field = "description";
    read(path, &mut Embedders::default()).map_err(|what| Error::Refused { field, what })
}

impl Described {
    /// The state before the first entry.
    pub fn learner(&self) -> Learner {
        let spec = self.spec.clone();
        match &self.start {
            Some((_, file)) => {
                Learner::starting(spec, file).expect("it was tried when it was read")
            }
            None => Learner::new(spec),
        }
    }

    /// Whether one of its inputs has an encoder.
    pub fn embeds(&self) -> bool {
        self.embedders.iter().any(Option::is_some)
    }

    /// Puts what the encoders give where it is learned, here and now, as
    /// [`Hosted::embed`](super::Hosted::embed) does.
    ///
    /// # Errors
    /// [`Error::Refused`]: a row cannot be encoded.
    pub fn embed(&self, batch: &mut Batch) -> Result<(), Error> {
        for (column, embedder) in batch.columns.iter_mut().zip(&self.embedders) {
            let Some(embedder) = embedder.as_ref().filter(|one| one.encoder.takes(column)) else {
                continue;
            };
            let field = "inputs";
            let vectors = embedder.encoder.embed(std::iter::once(&*column));
            let vectors = vectors.map_err(|what| Error::Refused { field, what })?;
            let taken = std::mem::replace(column, Column::Numbers(Vec::new()));
            *column = embedded_column(taken, &vectors)?;
        }
        Ok(())
    }
}

/// How the tensors of a safetensors file fit the network that a model.toml describes.
///
/// # Errors
/// [`Error::Refused`]: the description is not sound, or has no network of its own; or the file
/// cannot be read.
pub fn fitting(path: &Path, file: &Path) -> Result<Vec<Fitting>, Error> {
    let field = "description";
    fit_file(path, file).map_err(|what| Error::Refused { field, what })
}

fn fit_file(path: &Path, file: &Path) -> Result<Vec<Fitting>, String> {
    let of_file = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let (_, file) = read_foreign_file(file).map_err(|error| error.to_string())?;
    let toml = text(path)?;
    let named = Spec::named(&toml).map_err(|error| of_file(&error))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let (_, mut pins) = encoders(folder, &named, &mut Embedders::default())?;
    // What the description names may not be there yet.
    pins.extend(named.weights.map(|path| Pinned {
        path,
        digest: [0; 32],
        length: None,
    }));
    let spec = Spec::parse(&Spec::pin(&toml, &pins)).map_err(|error| of_file(&error))?;
    match &spec.learner {
        LearnerKind::Gradient(settings) => Ok(fit(&widths(&spec, settings), &file)),
        _ => Err(of_file(
            &"only learner.kind = \"gradient\" has a network that can arrive trained",
        )),
    }
}

fn text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// The encoders that a description names, by the place of their input, and what pins them.
fn encoders(
    folder: &Path,
    named: &Named,
    embedders: &mut Embedders,
) -> Result<(Vec<Option<Embedder>>, Vec<Pinned>), String> {
    let (mut read, mut pins) = (Vec::new(), Vec::new());
    for encoder in &named.encoders {
        let Some(encoder) = encoder else {
            read.push(None);
            continue;
        };
        let (embedder, digest) = embedders
            .read(folder, encoder, named.device)
            .map_err(|what| format!("encoder: {what}"))?;
        pins.push(Pinned {
            path: encoder.path.clone(),
            digest,
            length: Some(embedder.encoder.width()),
        });
        read.push(Some(embedder));
    }
    Ok((read, pins))
}

pub(super) fn read(path: &Path, embedders: &mut Embedders) -> Result<Described, String> {
    let of_file = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let toml = text(path)?;
    let named = Spec::named(&toml).map_err(|error| of_file(&error))?;
    let device = named.device;
    device
        .check()
        .map_err(|what| of_file(&format!("backend.device: {what}")))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let (embedders, mut pins) = encoders(folder, &named, embedders)?;
    let mut start = None;
    if let Some(path) = named.weights {
        let read = read_foreign_file(&folder.join(&path));
        let (bytes, file) = read.map_err(|error| format!("network.weights: {error}"))?;
        let digest = *blake3::hash(&bytes).as_bytes();
        let length = None;
        pins.push(Pinned {
            path,
            digest,
            length,
        });
        start = Some((bytes, file));
    }
    let toml = Spec::pin(&toml, &pins);
    let spec = Arc::new(Spec::parse(&toml).map_err(|error| of_file(&error))?);
    if let (Some(pinned), Some((_, file))) = (spec.weights(), &start) {
        let file_path = folder.join(&pinned.path);
        Learner::starting(spec.clone(), file)
            .map_err(|error| format!("network.weights: {}: {error}", file_path.display()))?;
    }
    Ok(Described {
        description: Description {
            toml,
            build: BUILD.to_owned(),
            profile: profile(device),
        },
        spec,
        start,
        embedders,
    })
}
