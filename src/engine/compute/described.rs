//! A model as its folder describes it: model.toml, and the files that it names.
//!
//! Invariant: each file is read once, and pinned in the text of the description by the digest of
//! its bytes. Learning, recovery and replay take the pinned text and the kept bytes, and never look
//! at the folder.
//!
//! Weights to start with are kept in the data directory before the first entry is journaled, and
//! are a part of the state before that entry. They are of a model that starts: a later change of
//! the file is refused, as is a change of the network's shape.

use std::fmt::Display;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::engine::compute::embed::{
    Embedder, Embedders, PretrainedEncoder, Read, embedded_column,
};
use crate::engine::compute::encoder_folder::EncoderFolder;
use crate::engine::error::Error;
use crate::event::{Batch, Column, Description};
use crate::learn::{Learner, state_bytes};
use crate::model::weights::Foreign;
use crate::model::{
    Adapters, LearnerKind, LowRank, Model, NamedFiles, PinnedFile, REVISION, Spec, TensorMatch,
    TextEncoder, profile, weight_check, widths,
};
use crate::store::checkpoint::read_foreign_file;
use crate::store::regular;

/// Name and version of this program, and the commit that it was built from, where that is known.
pub(crate) const BUILD: &str = concat!(
    "perennial ",
    env!("CARGO_PKG_VERSION"),
    env!("PERENNIAL_COMMIT")
);

/// Room for 100,000 names of classes: a text takes up to 80 times its bytes while it is read, and stands in
/// an entry of the journal and in each checkpoint.
const TOML_BYTES_MAX: u64 = 8 << 20;
/// Bytes of a state that has learned nothing: memory holds it several times.
const STATE_BYTES_MAX: u64 = 256 << 20;

/// A description that was read, with the files that it names.
#[derive(Clone, Debug)]
pub struct LoadedDescription {
    /// The description as it is journaled: the text has its files pinned.
    pub description: Description,
    /// The text with its files pinned, and with a revision only where its author states one.
    unstated: String,
    /// The description, checked.
    pub spec: Arc<Spec>,
    /// The weights that its network arrives with: its bytes, and their content.
    pub(crate) start: Option<(Vec<u8>, Foreign)>,
    /// The embedders, by the place of the input whose rows they encode.
    pub(crate) embedders: Vec<Option<Embedder>>,
    /// The folders of encoders with adapters that learn, kept so that learning needs no other
    /// folder.
    pub(crate) kept: Vec<EncoderFolder>,
}

/// A model.toml with the files that it names, as this program can serve it.
///
/// # Errors
/// [`Error::Refused`]: one of them cannot be read, is not sound, or does not fit the others.
pub fn describe(path: &Path) -> Result<LoadedDescription, Error> {
    let read = models_of(path).and_then(|models| read(&models, path, &mut Embedders::default()));
    read.map_err(refused)
}

fn refused(error: Error) -> Error {
    Error::Refused {
        field: "description",
        what: error.to_string(),
    }
}

/// The folder of models that a model.toml lies in: its own folder may be any that a person names.
fn models_of(path: &Path) -> Result<PathBuf, Error> {
    let folder = match path.parent() {
        Some(folder) if folder != "" => folder,
        _ => Path::new("."),
    };
    let real = folder.canonicalize();
    let real = real.map_err(|error| unreadable(path, &error))?;
    Ok(real.parent().map_or_else(|| real.clone(), Path::to_owned))
}

/// The folder that no link may lead out of, on the way to a file of a model.toml: that of all
/// models; for a path that leaves it by name, the folder named there.
fn root_of<'a>(models: &'a Path, path: &'a Path, named: &str) -> &'a Path {
    let mut parts = Path::new(named).components();
    if parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        models
    } else if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(models)
    }
}

impl LoadedDescription {
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

    /// The description of a model that learns by this revision of the rules already: it goes on by
    /// it unless model.toml states another one.
    pub(crate) fn description_at(&self, revision: u32) -> Description {
        let toml = Spec::pin(&self.unstated, &[], revision);
        let stated = Spec::journaled(&toml).map_or(revision, |spec| spec.revision);
        Description {
            toml,
            profile: profile(self.spec.device, stated),
            ..self.description.clone()
        }
    }

    /// True if one of its inputs has an encoder.
    pub fn embeds(&self) -> bool {
        self.embedders.iter().any(Option::is_some)
    }

    /// Puts the outputs of the encoders where they are learned, here and now, as
    /// [`ServedModel::embed`](crate::engine::ServedModel::embed) does; texts whose encoder learns are left for
    /// [`LoadedDescription::embed_adapted`].
    ///
    /// # Errors
    /// [`Error::Refused`]: a row cannot be encoded.
    pub fn embed(&self, batch: &mut Batch) -> Result<(), Error> {
        let frozen = |place: usize| !self.spec.inputs[place].kind.is_adapted();
        for place in (0..batch.columns.len()).filter(|place| frozen(*place)) {
            self.embed_column(&mut batch.columns[place], place, None)?;
        }
        Ok(())
    }

    /// Puts the outputs of the encoders that learn, as `model` has adapted them.
    ///
    /// # Errors
    /// As [`LoadedDescription::embed`].
    pub fn embed_adapted(&self, batch: &mut Batch, model: &Model) -> Result<(), Error> {
        for (place, ..) in self.spec.adapted_encoders() {
            let adapters = model.adapters[place].as_deref();
            self.embed_column(&mut batch.columns[place], place, adapters)?;
        }
        Ok(())
    }

    fn embed_column(
        &self,
        column: &mut Column,
        place: usize,
        adapters: Option<&Adapters>,
    ) -> Result<(), Error> {
        let embedder = self.embedders[place].as_ref();
        let Some(embedder) = embedder.filter(|one| one.encoder.takes(column)) else {
            return Ok(());
        };
        let columns = std::iter::once(&*column);
        let vectors = embedder.encoder.embed(columns, adapters);
        let vectors = vectors.map_err(|error| Error::Refused {
            field: "inputs",
            what: error.to_string(),
        })?;
        let taken = std::mem::replace(column, Column::Numbers(Vec::new()));
        *column = embedded_column(taken, &vectors)?;
        Ok(())
    }

    /// The encoder that its description pins so.
    pub fn encoder(&self, pinned: &PinnedFile) -> Option<Arc<TextEncoder>> {
        let mut encoders = self.spec.adapted_encoders();
        let (place, ..) = encoders.find(|(_, encoder, _)| encoder.digest == pinned.digest)?;
        match &*self.embedders[place].as_ref()?.encoder {
            PretrainedEncoder::Texts(encoder) => Some(encoder.clone()),
            PretrainedEncoder::Vectors(_) => None,
        }
    }
}

/// The match of the tensors of a safetensors file with the network that a model.toml describes.
///
/// # Errors
/// [`Error::Refused`]: the description is not sound, or has no network of its own; or the file
/// cannot be read.
pub fn tensor_matches(path: &Path, file: &Path) -> Result<Vec<TensorMatch>, Error> {
    fit_file(path, file).map_err(refused)
}

fn fit_file(path: &Path, file: &Path) -> Result<Vec<TensorMatch>, Error> {
    let of_file = |what: &dyn Display| Error::description(what).of(path.display());
    let models = models_of(path)?;
    let (_, file) = read_foreign_file(Path::new("/"), file)?;
    let toml = text(&models, path)?;
    let named = Spec::named(&toml).map_err(|error| of_file(&error))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let (_, mut pins) = encoders(&models, folder, &named, &mut Embedders::default())?;
    // The file that the description names may not be there yet.
    pins.extend(named.weights.map(|path| PinnedFile {
        path,
        digest: [0; 32].into(),
        length: None,
    }));
    let spec = Spec::parse(&Spec::pin(&toml, &pins, REVISION)).map_err(|error| of_file(&error))?;
    match &spec.learner {
        LearnerKind::Gradient(settings) => Ok(weight_check(&widths(&spec, settings), &file)),
        _ => Err(of_file(
            &"only learner.kind = \"gradient\" has a network that can arrive trained",
        )),
    }
}

fn unreadable(path: &Path, why: &dyn Display) -> Error {
    Error::description(format!("cannot read {}: {why}", path.display()))
}

fn text(models: &Path, path: &Path) -> Result<String, Error> {
    let bytes =
        regular::read(models, path, TOML_BYTES_MAX).map_err(|error| unreadable(path, &error))?;
    String::from_utf8(bytes).map_err(|error| unreadable(path, &error))
}

/// The encoders that a description names, by the place of their input, and their pins.
fn encoders(
    models: &Path,
    folder: &Path,
    named: &NamedFiles,
    embedders: &mut Embedders,
) -> Result<(Vec<Option<Read>>, Vec<PinnedFile>), Error> {
    let (mut encoders, mut pins) = (Vec::new(), Vec::new());
    for encoder in &named.encoders {
        let Some(encoder) = encoder else {
            encoders.push(None);
            continue;
        };
        let path = folder.join(&encoder.path);
        let root = root_of(models, &path, &encoder.path);
        let read = embedders
            .read(root, &path, encoder, named.device)
            .map_err(|error| error.of("encoder"))?;
        pins.push(PinnedFile {
            path: encoder.path.clone(),
            digest: read.digest,
            length: Some(read.embedder.encoder.width()),
        });
        encoders.push(Some(read));
    }
    Ok((encoders, pins))
}

/// Checks that the encoders can be adapted as their inputs ask.
fn check_adapters(spec: &Spec, encoders: &[Option<Read>]) -> Result<(), Error> {
    for (place, _, LowRank { rank, layers, .. }) in spec.adapted_encoders() {
        let encoder = encoders[place].as_ref().map(|read| &*read.embedder.encoder);
        let Some(PretrainedEncoder::Texts(encoder)) = encoder else {
            continue;
        };
        let (width, n_layers) = (encoder.width(), encoder.n_layers());
        if layers > n_layers || rank > width {
            return Err(Error::description(format!(
                "input {:?}: adapters of rank {rank} on {layers} layers: its encoder is {width} \
                 wide, and {n_layers} layers of it can be adapted",
                spec.inputs[place].name
            )));
        }
    }
    Ok(())
}

/// Refuses a description of a state that is too large, before it is made.
fn check_size(spec: &Spec) -> Result<(), Error> {
    let n_bytes = state_bytes(spec);
    if n_bytes <= STATE_BYTES_MAX {
        return Ok(());
    }
    let (mib, mib_max) = (n_bytes >> 20, STATE_BYTES_MAX >> 20);
    let n_outputs = spec.task.n_outputs();
    Err(Error::description(format!(
        "what is learned takes {mib} MiB with {n_outputs} outputs, expected at most {mib_max}: state a \
         smaller classes_max, fewer actions, smaller network.hidden, or learner.kind = \"neighbours\""
    )))
}

/// Reads a model.toml of a folder of models, and the files that it names.
pub(crate) fn read(
    models: &Path,
    path: &Path,
    embedders: &mut Embedders,
) -> Result<LoadedDescription, Error> {
    let of_file = |what: &dyn Display| Error::description(what).of(path.display());
    let toml = text(models, path)?;
    let named = Spec::named(&toml).map_err(|error| of_file(&error))?;
    let device = named.device;
    device
        .check()
        .map_err(|what| of_file(&format!("backend.device: {what}")))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let (encoders, mut pins) = encoders(models, folder, &named, embedders)?;
    let mut start = None;
    if let Some(path) = named.weights {
        let place = folder.join(&path);
        let read = read_foreign_file(root_of(models, &place, &path), &place);
        let (bytes, file) = read.map_err(|error| Error::from(error).of("network.weights"))?;
        let digest = blake3::hash(&bytes);
        let length = None;
        pins.push(PinnedFile {
            path,
            digest,
            length,
        });
        start = Some((bytes, file));
    }
    let journaled = Spec::pin(&toml, &pins, 1);
    let toml = Spec::pin(&toml, &pins, REVISION);
    let spec = Arc::new(Spec::parse(&toml).map_err(|error| of_file(&error))?);
    check_adapters(&spec, &encoders).map_err(|error| of_file(&error))?;
    check_size(&spec).map_err(|error| of_file(&error))?;
    if let (Some(pinned), Some((_, file))) = (spec.weights(), &start) {
        let file_path = folder.join(&pinned.path);
        Learner::starting(spec.clone(), file)
            .map_err(|error| Error::description(error).of(file_path.display()))
            .map_err(|error| error.of("network.weights"))?;
    }
    let (mut embedders, mut kept) = (Vec::new(), Vec::new());
    for (input, read) in spec.inputs.iter().zip(encoders) {
        let (embedder, folder) = read.map(|read| (read.embedder, read.folder)).unzip();
        embedders.push(embedder);
        kept.extend(folder.flatten().filter(|_| input.kind.is_adapted()));
    }
    Ok(LoadedDescription {
        description: Description {
            toml,
            build: BUILD.to_owned(),
            profile: profile(device, spec.revision),
        },
        unstated: journaled,
        spec,
        start,
        embedders,
        kept,
    })
}
