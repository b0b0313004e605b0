//! The versions of one model on disk: which there are, saving one, loading one.
//!
//! Invariant: a version's number is never reused, and only checkpoints that no order asked for are ever
//! removed: those of the cadence, of the gate, of learners that began anew, and of a stop.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};

use uuid::Uuid;

use crate::engine::compute::described::LoadedDescription;
use crate::engine::compute::encoder_folder::EncoderFolder;
use crate::engine::compute::retry::ShortageRetry;
use crate::engine::error::Error;
use crate::engine::versions::error::Error as StateError;
use crate::event::{Command, Entry, Event, Reason, Version};
use crate::learn::{IncidentState, Learner};
use crate::model::weights::Tensors;
use crate::model::{Device, PinnedFile, Spec, TextEncoder};
use crate::store::checkpoint::{ListedCheckpoint, STOP, UNNAMED};
use crate::store::{self, Checkpoint, Directory, Disk, Manifest, checkpoint};

/// The actor of orders that a description asks for.
pub(crate) const BY_DESCRIPTION: &str = "retrain";

/// Where checkpoints are, and whose.
#[derive(Clone, Debug)]
pub(crate) struct Versions {
    pub disk: Disk,
    pub folder: PathBuf,
    /// Where those of frozen states are, by their versions.
    pub frozen: PathBuf,
    /// The journal that the positions are of.
    pub journal: PathBuf,
    /// The weights that the model started with, where it arrived trained.
    pub start: PathBuf,
    /// The encoders whose adapters learn, by digest: where they are kept, and those that were read.
    pub encoders: PathBuf,
    /// The folder that states are set aside in.
    pub scratch: PathBuf,
    pub read: Arc<Mutex<HashMap<blake3::Hash, Arc<TextEncoder>>>>,
    pub model: String,
    pub journal_id: [u8; 16],
    /// Versions that commands on their way need, and how many do.
    pub pinned: Arc<Mutex<BTreeMap<u64, usize>>>,
    /// Taken alone while a checkpoint is replaced: meanwhile it is not there.
    pub whole: Arc<RwLock<()>>,
    /// The device that computes in place of one that is gone: that of the description by now.
    pub stand_in: Option<Device>,
    /// Entries that passes over the journal have read: a measure for tests.
    pub entries_read: Arc<AtomicU64>,
    /// The retrying of lookups where descriptors are short.
    pub retry: ShortageRetry,
}

impl Versions {
    /// The versions of a model in a data directory.
    pub(crate) fn new(directory: &Directory, model: &str, journal_id: [u8; 16]) -> Versions {
        Versions {
            disk: directory.disk().clone(),
            folder: directory.checkpoints(model),
            frozen: directory.frozen(model),
            journal: directory.journal(model),
            start: directory.start(model),
            encoders: directory.encoders(model),
            scratch: directory.model(model),
            read: Arc::default(),
            model: model.to_owned(),
            journal_id,
            pinned: Arc::default(),
            whole: Arc::default(),
            stand_in: None,
            entries_read: Arc::default(),
            retry: ShortageRetry::default(),
        }
    }

    /// Keeps a version until it is unpinned as often.
    pub(crate) fn pin(&self, version: u64) {
        let mut pinned = self.pinned.lock().expect("nothing panics under it");
        *pinned.entry(version).or_insert(0) += 1;
    }

    /// Lets the cadence remove a version again, unless another command needs it.
    pub(crate) fn unpin(&self, version: u64) {
        let mut pinned = self.pinned.lock().expect("nothing panics under it");
        if let Some(n_commands) = pinned.get_mut(&version) {
            *n_commands -= 1;
            if *n_commands == 0 {
                pinned.remove(&version);
            }
        }
    }

    /// Every checkpoint with its manifest or its damage, in the order of positions, but for frozen states. One
    /// of another journal could pose as a version of this one: it is wrong here.
    pub(crate) fn checkpoints(&self) -> Result<Vec<checkpoint::ListedCheckpoint>, store::Error> {
        let listed = self
            .positions()?
            .into_iter()
            .map(|position| ListedCheckpoint {
                position,
                manifest: self.manifest_at(position),
            });
        Ok(listed.collect())
    }

    /// The positions of all checkpoints, rising, also of those that are not sound.
    pub(crate) fn positions(&self) -> Result<Vec<u64>, store::Error> {
        let _whole = self.whole.read().expect("nothing panics under it");
        checkpoint::positions(&self.folder)
    }

    /// The id of the journal, as manifests hold it: in lower-case hexadecimal digits.
    fn journal_id_text(&self) -> String {
        Uuid::from_bytes(self.journal_id).simple().to_string()
    }

    /// The manifest of the checkpoint at a position.
    pub(crate) fn manifest_at(&self, position: u64) -> Result<Manifest, store::Error> {
        self.manifest_in(&self.folder, position)
    }

    /// Every frozen state with its manifest or its damage, by its version.
    pub(crate) fn frozen(&self) -> Result<Vec<checkpoint::ListedCheckpoint>, store::Error> {
        let versions = {
            let _whole = self.whole.read().expect("nothing panics under it");
            checkpoint::positions(&self.frozen)?
        };
        let listed = versions.into_iter().map(|version| ListedCheckpoint {
            position: version,
            manifest: self.manifest_in(&self.frozen, version),
        });
        Ok(listed.collect())
    }

    fn manifest_in(&self, folder: &Path, position: u64) -> Result<Manifest, store::Error> {
        let manifest = {
            let _whole = self.whole.read().expect("nothing panics under it");
            checkpoint::manifest(folder, position)?
        };
        if manifest.journal_id == self.journal_id_text() {
            Ok(manifest)
        } else {
            Err(store::Error::Foreign {
                path: self.folder.clone(),
                what: format!(
                    "the checkpoint at position {position} is of another journal; \
                 move it out of this folder"
                ),
            })
        }
    }

    /// Every version with its manifest or its damage.
    pub(crate) fn list(&self) -> Result<Vec<checkpoint::ListedCheckpoint>, store::Error> {
        let mut listed = self.checkpoints()?;
        listed.extend(self.frozen()?);
        listed.retain(|one| one.manifest.as_ref().map_or(true, is_named));
        Ok(listed)
    }

    /// Every version, each with the damage of its checkpoint, if there is any, in the order
    /// of their numbers.
    pub(crate) fn all(&self) -> Result<Vec<(Manifest, Option<String>)>, store::Error> {
        let mut all = Vec::new();
        for one in self.list()? {
            all.push(match one.manifest {
                Ok(manifest) => (manifest, None),
                Err(error) => {
                    let position = one.position;
                    let manifest = Manifest {
                        position,
                        ..Manifest::default()
                    };
                    (manifest, Some(error.to_string()))
                }
            });
        }
        all.sort_by_key(|(manifest, _)| manifest.version);
        Ok(all)
    }

    /// The manifest of a version, if it is there.
    pub(crate) fn find(&self, version: u64) -> Result<Option<Manifest>, store::Error> {
        match self.manifest_in(&self.frozen, version) {
            Ok(manifest) => return Ok(Some(manifest)),
            Err(error) if error.is_passing() => return Err(error),
            Err(_) => {}
        }
        let positions = self.positions()?;
        if let Some(found) = self.search(&positions, version) {
            return Ok(found);
        }
        // One that is damaged stands in the way.
        for position in positions {
            match self.manifest_at(position) {
                Ok(one) if one.version == version && is_named(&one) => return Ok(Some(one)),
                // A shortage decides nothing.
                Err(error) if error.is_passing() => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(None)
    }

    /// The manifest of a version by binary search, since versions rise with their positions: few manifests
    /// are read. None where one of them is not sound.
    fn search(&self, positions: &[u64], version: u64) -> Option<Option<Manifest>> {
        let (mut low, mut high, mut found) = (0, positions.len(), None);
        while low < high {
            let middle = low + (high - low) / 2;
            let manifest = self.manifest_at(positions[middle]).ok()?;
            if manifest.version < version {
                low = middle + 1;
            } else {
                high = middle;
                // A checkpoint that names no version stands behind the version it was saved at.
                found = Some(manifest);
            }
        }
        Some(found.filter(|one| one.version == version && is_named(one)))
    }

    /// The manifest of a version, where it is kept; as far as it is known, versions were made up to
    /// `newest`.
    ///
    /// # Errors
    /// [`Error::NoVersion`] and [`Error::NoLongerKept`].
    pub(crate) fn get(&self, version: u64, newest: u64) -> Result<Manifest, Error> {
        if let Some(manifest) = self.find(version)? {
            return Ok(manifest);
        }
        let whole = self.list()?.into_iter().filter_map(|one| one.manifest.ok());
        let mut known: Vec<u64> = whole.map(|one| one.version).collect();
        known.sort_unstable();
        Err(Error::no_version(&self.model, version, &known, newest))
    }

    /// Weights and learner state of a version, checked.
    pub(crate) fn load(&self, version: u64) -> Result<(Tensors, Tensors), store::Error> {
        let manifest = self.find(version)?.ok_or_else(|| store::Error::Foreign {
            path: self.folder.clone(),
            what: format!("version {version} is no longer kept"),
        })?;
        let checkpoint = self.read_version(&manifest)?;
        Ok((checkpoint.weights, checkpoint.learner))
    }

    /// The checkpoint at a position, checked.
    pub(crate) fn read(&self, position: u64) -> Result<Checkpoint, store::Error> {
        let _whole = self.whole.read().expect("nothing panics under it");
        checkpoint::load(&self.folder, position)
    }

    /// The checkpoint of a manifest, checked.
    pub(crate) fn read_version(&self, manifest: &Manifest) -> Result<Checkpoint, store::Error> {
        if manifest.frozen_at == 0 {
            return self.read(manifest.position);
        }
        let _whole = self.whole.read().expect("nothing panics under it");
        checkpoint::load(&self.frozen, manifest.version)
    }

    /// Writes this state and manifest in place of the checkpoint that stands there.
    pub(crate) fn replace(
        &self,
        learner: &Learner,
        manifest: Manifest,
    ) -> Result<(), store::Error> {
        let (weights, state) = (learner.learned().weights(), learner.state());
        let _alone = self.whole.write().expect("nothing panics under it");
        let folder = self.folder_of(&manifest);
        checkpoint::replace(&self.disk, folder, manifest, &weights, &state).map(drop)
    }

    /// The folder that a manifest belongs in.
    fn folder_of(&self, manifest: &Manifest) -> &Path {
        match manifest.frozen_at {
            0 => &self.folder,
            _ => &self.frozen,
        }
    }

    /// The state before the first entry, of a history that starts with this description.
    pub(crate) fn beginning(&self, spec: Arc<Spec>) -> Result<Learner, StateError> {
        let Some(pinned) = spec.weights() else {
            return Ok(Learner::new(spec));
        };
        let load = || checkpoint::load_start(&self.start, &pinned.digest);
        let file = self.retry.run(load)?;
        Learner::starting(spec, &file).map_err(|error| StateError::Start {
            path: self.start.clone(),
            error,
        })
    }

    /// Keeps the encoders whose adapters learn, so that learning needs no other folder.
    pub(crate) fn keep_encoders(&self, described: &LoadedDescription) -> Result<(), StateError> {
        for folder in &described.kept {
            let kept = folder.keep(&self.disk, &self.encoders.join(folder.digest.to_string()));
            kept.map_err(StateError::of_encoder)?;
        }
        if described.spec.device == Device::Cpu {
            let mut read = self.read.lock().expect("nothing panics under it");
            for (_, pinned, _) in described.spec.adapted_encoders() {
                read.extend(described.encoder(pinned).map(|one| (pinned.digest, one)));
            }
        }
        Ok(())
    }

    /// An encoder that was kept, on the processor: learning is the same wherever it serves.
    pub(crate) fn encoder(&self, pinned: &PinnedFile) -> Result<Arc<TextEncoder>, StateError> {
        let mut read = self.read.lock().expect("nothing panics under it");
        if let Some(encoder) = read.get(&pinned.digest) {
            return Ok(encoder.clone());
        }
        let path = self.encoders.join(pinned.digest.to_string());
        let found = EncoderFolder::read(&self.encoders, &path);
        let (folder, weights) = found.map_err(StateError::of_encoder)?;
        if folder.digest != pinned.digest {
            return Err(StateError::OtherEncoder(path));
        }
        let encoder = folder.encoder(&path, weights, Device::Cpu);
        let encoder = Arc::new(encoder.map_err(StateError::of_encoder)?);
        read.insert(pinned.digest, encoder.clone());
        Ok(encoder)
    }

    /// The learner as it was at a position that has a checkpoint.
    pub(crate) fn state_at(&self, position: u64) -> Result<Learner, StateError> {
        self.state_of(self.read(position)?)
    }

    /// The state at a position, to go on from.
    pub(crate) fn base_at(&self, position: u64) -> Result<Learner, StateError> {
        let checkpoint = self.retry.run(|| self.read(position))?;
        match checkpoint.manifest.erased_by {
            0 => self.state_of(checkpoint),
            order => Err(StateError::Erased { position, order }),
        }
    }

    /// The learner as it was at a version.
    pub(crate) fn state_of_version(&self, manifest: &Manifest) -> Result<Learner, StateError> {
        self.state_of(self.read_version(manifest)?)
    }

    /// The learner that a checkpoint holds, if that is of this journal.
    pub(crate) fn state_of(&self, checkpoint: Checkpoint) -> Result<Learner, StateError> {
        let manifest = checkpoint.manifest;
        let position = manifest.position;
        if manifest.journal_id != self.journal_id_text() {
            return Err(StateError::OfAnotherJournal(position));
        }
        let learner = Learner::load(checkpoint.weights, checkpoint.learner);
        let learner = learner.map_err(|error| StateError::Unfit { position, error })?;
        if learner.learned().digest().to_string() != manifest.digest {
            return Err(StateError::Digest(position));
        }
        Ok(learner)
    }

    /// Saves the state as the version that `entry` made, or the frozen state of the champion or the contender
    /// that is this version; one that stands there already stays.
    pub(crate) fn save(
        &self,
        learner: &Learner,
        version: &Version,
        entry: &Entry,
        chain: blake3::Hash,
    ) -> Result<(), store::Error> {
        let is_frozen = learner.version() != version.version;
        let frozen = is_frozen.then(|| learner.frozen_part(version.version));
        let frozen = frozen.flatten();
        let (learner, frozen_at) = match &frozen {
            Some((part, position)) => (part, *position),
            None => (learner, 0),
        };
        let (note, actor) = match &entry.event {
            // A contender that falls due at an order of a person is not of that order.
            Event::Command(command)
                if !command.order.is_of_gate() && !command.order.is_of_quarantine() =>
            {
                (command.note.clone(), command.actor.clone())
            }
            _ => Default::default(),
        };
        let manifest = Manifest {
            parent: version.parent,
            reason: version.reason.word().to_owned(),
            time_us: entry.time.0,
            note,
            actor,
            frozen_at,
            ..self.manifest(learner, version.digest, chain)
        };
        self.write(learner, manifest)
    }

    /// Removes the oldest versions that the cadence made, and the oldest of the gate and of learners that began
    /// anew by the description, beyond those to be kept; champion and contender stay, and the version that an
    /// alias or an incident that is not closed names.
    pub(crate) fn prune_cadence(&self, learner: &Learner) -> Result<(), store::Error> {
        let sides = [learner.champion(), learner.contender()];
        let sides = sides.into_iter().flatten().map(|(version, _)| version);
        let open = learner.incidents().iter();
        let open = open.filter(|incident| incident.state != IncidentState::Closed);
        let named = open.map(|incident| incident.version);
        let aliased = learner.aliases().values().copied();
        let sides: Vec<u64> = sides.chain(named).chain(aliased).collect();
        let keep = learner.spec().cadence.keep;
        let manifests = self.manifests()?;
        let made = [
            Reason::Cadence,
            Reason::Contender,
            Reason::Champion,
            Reason::Rewind,
            Reason::Retrain,
        ];
        made.into_iter()
            .try_for_each(|reason| self.prune(&manifests, (reason.word(), keep), &sides))
    }

    /// Saves the state from which the next start goes on; it replaces the one before.
    pub(crate) fn save_stop(
        &self,
        learner: &Learner,
        chain: blake3::Hash,
    ) -> Result<(), store::Error> {
        self.save_unnamed(learner, STOP, chain)?;
        self.prune(&self.manifests()?, (STOP, 1), &[])
    }

    /// Saves the state without making it a version, unless one stands there already.
    pub(crate) fn save_unnamed(
        &self,
        learner: &Learner,
        reason: &str,
        chain: blake3::Hash,
    ) -> Result<(), store::Error> {
        if checkpoint::manifest(&self.folder, learner.position()).is_ok() {
            return Ok(());
        }
        let manifest = Manifest {
            parent: learner.version(),
            reason: reason.to_owned(),
            time_us: learner.time().0,
            ..self.manifest(learner, learner.learned().digest(), chain)
        };
        self.write(learner, manifest)
    }

    /// Removes the checkpoints of this reason that stand before a position.
    pub(crate) fn remove_before(&self, reason: &str, position: u64) -> Result<(), store::Error> {
        for one in self.checkpoints()? {
            let old = one.position < position;
            if old && one.manifest.is_ok_and(|one| one.reason == reason) {
                checkpoint::remove(&self.disk, &self.folder, one.position)?;
            }
        }
        Ok(())
    }

    fn write(&self, learner: &Learner, manifest: Manifest) -> Result<(), store::Error> {
        let weights = learner.learned().weights();
        let again = manifest.clone();
        let folder = self.folder_of(&again);
        match checkpoint::save(&self.disk, folder, manifest, &weights, &learner.state()) {
            Ok(_) => Ok(()),
            Err(store::Error::Exists { .. }) if self.read_version(&again).is_ok() => Ok(()),
            Err(store::Error::Exists { .. }) => {
                // The state was derived again, so the damaged files can be replaced.
                self.remove(&again)?;
                checkpoint::save(&self.disk, folder, again, &weights, &learner.state()).map(drop)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the note of a promotion to the version that is promoted.
    pub(crate) fn note(&self, version: u64, command: &Command) -> Result<(), store::Error> {
        let Some(manifest) = self.find(version)? else {
            return Ok(());
        };
        let Checkpoint {
            manifest,
            weights,
            learner,
        } = self.read_version(&manifest)?;
        let manifest = Manifest {
            note: command.note.clone(),
            actor: command.actor.clone(),
            ..manifest
        };
        let folder = self.folder_of(&manifest);
        let _alone = self.whole.write().expect("nothing panics under it");
        checkpoint::replace(&self.disk, folder, manifest, &weights, &learner).map(drop)
    }

    /// Removes the checkpoint of a manifest.
    pub(crate) fn remove(&self, manifest: &Manifest) -> Result<(), store::Error> {
        let number = match manifest.frozen_at {
            0 => manifest.position,
            _ => manifest.version,
        };
        checkpoint::remove(&self.disk, self.folder_of(manifest), number)
    }

    pub(crate) fn is_whole(&self, position: u64) -> bool {
        self.read(position).is_ok()
    }

    fn manifest(&self, learner: &Learner, digest: blake3::Hash, chain: blake3::Hash) -> Manifest {
        let description = learner.description();
        let evaluation = learner.evaluation();
        let served = evaluation.served();
        let mut metrics = BTreeMap::from([
            ("examples".to_owned(), learner.learned().n_examples() as f64),
            ("judged".to_owned(), served.count),
        ]);
        // A model that was never judged has no score, not that of 0.
        if served.count > 0.0 {
            metrics.insert("score".to_owned(), served.mean());
            metrics.insert("recent_score".to_owned(), evaluation.recent());
        }
        let retention = learner.learned().retention();
        metrics.extend(retention.map(|retention| ("retention".to_owned(), retention)));
        Manifest {
            model: self.model.clone(),
            journal_id: self.journal_id_text(),
            version: learner.version(),
            position: learner.position(),
            description: blake3::hash(description.toml.as_bytes()).to_string(),
            build: description.build.clone(),
            profile: description.profile.clone(),
            digest: digest.to_string(),
            chain: chain.to_string(),
            metrics,
            ..Manifest::default()
        }
    }

    /// The manifests of all checkpoints that are whole.
    fn manifests(&self) -> Result<Vec<Manifest>, store::Error> {
        let listed = self.checkpoints()?.into_iter().chain(self.frozen()?);
        Ok(listed.filter_map(|one| one.manifest.ok()).collect())
    }

    /// Removes the oldest checkpoints of this reason beyond `keep`, but for the versions `named`.
    fn prune(
        &self,
        manifests: &[Manifest],
        (reason, keep): (&str, usize),
        named: &[u64],
    ) -> Result<(), store::Error> {
        let pinned = self.pinned.lock().expect("nothing panics under it");
        // A person who had a learner begin anew may want to come back to it.
        let asked_for = |manifest: &Manifest| {
            manifest.reason == Reason::Retrain.word() && manifest.actor != BY_DESCRIPTION
        };
        let removable = |manifest: &&Manifest| {
            manifest.reason == reason
                && !asked_for(manifest)
                && !pinned.contains_key(&manifest.version)
                && !named.contains(&manifest.version)
        };
        let mut old: Vec<&Manifest> = manifests.iter().filter(removable).collect();
        old.sort_by_key(|manifest| manifest.position);
        old.truncate(old.len().saturating_sub(keep));
        old.into_iter()
            .try_for_each(|manifest| self.remove(manifest))
    }
}

/// True if a checkpoint is a version.
fn is_named(manifest: &Manifest) -> bool {
    !UNNAMED.contains(&manifest.reason.as_str())
}
