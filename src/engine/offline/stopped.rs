//! The data of one model without a server: looked at, or given one order.
//!
//! Invariant: the directory is locked for as long as it is looked at, and for an order no
//! other process has it open.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::engine::compute::clock::{Clock, WallClock};
use crate::engine::compute::described::LoadedDescription;
use crate::engine::error::Error;
use crate::engine::flows::audit::{self, Audit};
use crate::engine::flows::command::NewVersion;
use crate::engine::flows::fate::{self, FeedbackFate};
use crate::engine::flows::recover::{self, Clocks, RecoverError, RecoveryRequest};
use crate::engine::flows::retract::check_untainted;
use crate::engine::history::error as history;
use crate::engine::history::facts::Facts;
use crate::engine::history::logged::LoggedDecisions;
use crate::engine::history::rebuild::Rebuild;
use crate::engine::host::follower::Follower;
use crate::engine::offline::replay::Replay;
use crate::engine::offline::side_by_side::SideBySide;
use crate::engine::offline::sides::{Side, SideSource};
use crate::engine::versions::error::Error as StateError;
use crate::engine::versions::saved::Versions;
use crate::event::{Command, Description, Event, PredictionId};
use crate::learn::{ChampionChange, Evaluation, Learner, TaintedVersions};
use crate::model::Spec;
use crate::store::{Directory, JournalReport, Manifest, segments, verify_each};

/// The data of one model, as long as this lives safe from any server.
#[derive(Debug)]
pub struct Offline {
    versions: Versions,
    data: PathBuf,
    /// The facts of the whole journal, gathered while it was checked.
    facts: Facts,
    first_position: u64,
    last_position: u64,
    _directory: Directory,
}

impl Offline {
    /// Locks a data directory for looking, and checks the journal of one of its models.
    ///
    /// # Errors
    /// [`Error::Store`]: a server has the directory open, it is none, or the journal is damaged.
    /// [`Error::Refused`]: no such model has a journal there.
    pub fn open(data: &Path, model: &str) -> Result<Offline, Error> {
        let (directory, report, facts) = inspect(data, model)?;
        let versions = Versions::new(&directory, model, report.journal_id);
        versions.entries_read.store(report.entries, Relaxed);
        Ok(Offline {
            versions,
            data: data.to_owned(),
            facts,
            first_position: report.last_position + 1 - report.entries,
            last_position: report.last_position,
            _directory: directory,
        })
    }

    /// The models that have data in a data directory, in order.
    ///
    /// # Errors
    /// As [`Offline::open`].
    pub fn models(data: &Path) -> Result<Vec<String>, Error> {
        Ok(Directory::inspect(data)?.models()?)
    }

    /// Answers a prediction again, whichever model of a data directory it was of; none where no
    /// journal holds it.
    ///
    /// # Errors
    /// As [`Offline::open`], where no journal that can be read holds it.
    pub fn audit_any(
        data: &Path,
        id: PredictionId,
        without: Option<&str>,
    ) -> Result<Option<Audit>, Error> {
        let models = Offline::models(data)?;
        let look = |model: String| Offline::open(data, &model)?.audit(id, without);
        audit::first(models.into_iter().map(look))
    }

    /// The first position that the journal still holds, and the last.
    pub fn positions(&self) -> (u64, u64) {
        (self.first_position, self.last_position)
    }

    /// Every version, each with why it cannot be restored, if it cannot.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn versions(&self) -> Result<Vec<(Manifest, Option<String>)>, Error> {
        let mut all = self.versions.all()?;
        let tainted = self.tainted()?;
        for (manifest, damage) in &mut all {
            if damage.is_none() {
                *damage = tainted.refusal(manifest.version);
            }
        }
        Ok(all)
    }

    /// The versions that hold feedback which was taken back, as the newest state that is whole knows them.
    fn tainted(&self) -> Result<TaintedVersions, Error> {
        let newest = self.newest()?;
        Ok(newest.map_or_else(TaintedVersions::default, |state| state.tainted().clone()))
    }

    /// The versions that people have named, by their aliases, as the newest state that is whole knows them.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn aliases(&self) -> Result<BTreeMap<String, u64>, Error> {
        let newest = self.newest()?;
        Ok(newest.map_or_else(BTreeMap::new, |state| (**state.aliases()).clone()))
    }

    /// The newest state that is whole.
    fn newest(&self) -> Result<Option<Learner>, Error> {
        let positions = self.versions.positions()?;
        let mut states = positions.into_iter().rev();
        Ok(states.find_map(|position| self.versions.base_at(position).ok()))
    }

    /// The learner as it was at a version.
    ///
    /// # Errors
    /// [`Error::NoVersion`]: there is none of this number. [`Error::Store`] and
    /// [`Error::Damaged`]: its checkpoint is not as it was saved.
    pub fn version(&self, version: u64) -> Result<Learner, Error> {
        let manifest = self.versions.get(version, 0)?;
        let state = self.versions.state_of_version(&manifest);
        state.map_err(|error| match error {
            StateError::Store(error) => Error::Store(error),
            error => Error::Damaged {
                model: self.versions.model.clone(),
                what: format!("version {version}: {error}"),
            },
        })
    }

    /// The number of a version that is named by its number, by an alias, or as the champion.
    ///
    /// # Errors
    /// [`Error::Refused`]: it is none of these.
    pub fn version_named(&self, name: &str) -> Result<u64, Error> {
        if let Ok(version) = name.parse() {
            return Ok(version);
        }
        let newest = self.newest()?;
        let found = newest.as_ref().and_then(|state| match name {
            "champion" => state.champion().map(|(version, _)| version),
            alias => state.aliases().get(alias).copied(),
        });
        found.ok_or_else(|| Error::Refused {
            field: "version",
            what: format!("{name:?} is neither a version's number, nor champion, nor an alias"),
        })
    }

    /// A version beside another state, to be compared on the same rows.
    ///
    /// # Errors
    /// [`Error::NoVersion`] and [`Error::NoLongerKept`]: there is none of this number.
    /// [`Error::Refused`]: a version holds feedback that was retracted, or the two do not answer the same
    /// questions. [`Error::Damaged`]: a checkpoint is not as it was saved.
    pub fn side_by_side(&self, version: u64, other: &Side) -> Result<SideBySide<'_>, Error> {
        let source = SideSource {
            versions: &self.versions,
            facts: &self.facts,
            last: self.last_position,
            tainted: self.tainted()?,
        };
        SideBySide::new(source, version, other)
    }

    /// Every decision that a reward came for, in the order of their first rewards, as a model of
    /// the description `asked` would take it.
    ///
    /// The reward of a decision is the one that the learner credited to it: by the description in force,
    /// of the signals and rewards that came in time, of silence once its window had closed, and of
    /// a late reward that replaced the reward of silence. Labels do not count, nor retracted
    /// feedback, nor decisions that were made elsewhere and came with their feedback.
    ///
    /// # Errors
    /// [`Error::Store`]: the journal cannot be read.
    pub fn decisions(&self, asked: &Spec) -> Result<LoggedDecisions<'_>, Error> {
        LoggedDecisions::new(&self.versions, self.last_position, &self.facts, asked)
    }

    /// Answers a prediction again, if it was one of this model.
    ///
    /// # Errors
    /// [`Error::Store`]: the journal cannot be read.
    pub fn audit(&self, id: PredictionId, without: Option<&str>) -> Result<Option<Audit>, Error> {
        audit::audit(&self.versions, self.last_position, id, without)
    }

    /// The newest feedback event with this id, and its fate; none where the journal holds none.
    ///
    /// # Errors
    /// [`Error::Store`]: the journal cannot be read.
    pub fn fate(&self, feedback_id: &str) -> Result<Option<FeedbackFate>, Error> {
        fate::fate(&self.versions, self.last_position, feedback_id)
    }

    /// The journal to be applied again, from a version or from as early as it can be.
    ///
    /// # Errors
    /// [`Error::NoVersion`], and [`Error::Refused`] where it cannot be gone on from.
    pub fn replay(&self, from: Option<u64>) -> Result<Replay, Error> {
        Replay::recorded(&self.versions, self.last_position, &self.facts, from)
    }

    /// The journal to be applied from its first entry, as under another description.
    ///
    /// # Errors
    /// [`Error::Refused`]: the description is not sound, or the journal lost its first entries.
    pub fn replay_with(&self, description: Description) -> Result<Replay, Error> {
        Replay::with(&self.versions, self.last_position, &self.facts, description)
    }

    /// Keeps copies of the encoders whose adapters a description learns, if it has any: before it
    /// is tried or adopted.
    ///
    /// # Errors
    /// [`Error::Store`]: the disk refused.
    pub fn keep_encoders(&self, described: &LoadedDescription) -> Result<(), Error> {
        let field = "description";
        let kept = self.versions.keep_encoders(described);
        kept.map_err(|error| history::Error::from(error).of_request(&self.versions.model, field))
    }

    /// The score of the answers as they were served, from the newest state that is whole.
    ///
    /// # Errors
    /// [`Error::Refused`]: no state can be gone on from. [`Error::Store`] and
    /// [`Error::Unreadable`]: the disk refused.
    pub fn served(&self) -> Result<Evaluation, Error> {
        let (versions, last) = (&self.versions, self.last_position);
        let rebuild = Rebuild::again(versions, last, &self.facts);
        let rebuilt = rebuild.and_then(|rebuild| rebuild.finish(last));
        let rebuilt = rebuilt.map_err(|error| error.of_request(&versions.model, "journal"))?;
        Ok(rebuilt.learner.evaluation().clone())
    }

    /// Entries that were read of the journal, those of the check at the opening included.
    #[doc(hidden)]
    pub fn entries_read(&self) -> Arc<AtomicU64> {
        self.versions.entries_read.clone()
    }

    /// Adopts the description that a replay has applied the whole journal under: the rebuilt state
    /// becomes a version. Gives the effect on the champion as well.
    ///
    /// # Errors
    /// As [`Offline::order`].
    pub fn adopt(
        self,
        replay: Replay,
        actor: String,
        note: String,
    ) -> Result<(NewVersion, Option<ChampionChange>), Error> {
        let rebuild = replay.into_rebuild();
        let Some(order) = rebuild.order().cloned() else {
            return Err(Error::Refused {
                field: "description",
                what: "the replay is of the recorded history, which is in force".to_owned(),
            });
        };
        let (data, model) = (self.data.clone(), self.versions.model.clone());
        let command = Command { order, actor, note };
        drop(self);
        carry_out(&data, &model, command, Some(rebuild))
    }

    /// Carries out one order, as a server would.
    ///
    /// # Errors
    /// [`Error::Store`]: another process has the directory open. [`Error::Refused`]: the order
    /// cannot be carried out. [`Error::Unavailable`]: the model cannot be recovered.
    pub fn order(data: &Path, model: &str, command: Command) -> Result<NewVersion, Error> {
        carry_out(data, model, command, None).map(|(made, _)| made)
    }
}

/// Carries out an order, which a history was rebuilt for if it was.
fn carry_out(
    data: &Path,
    model: &str,
    command: Command,
    rebuilt: Option<Rebuild>,
) -> Result<(NewVersion, Option<ChampionChange>), Error> {
    let unavailable = |reason| Error::Unavailable {
        model: model.to_owned(),
        reason,
    };
    let stuck = |error: RecoverError| unavailable(error.to_string());
    // A replay that is adopted had its journal checked.
    if rebuilt.is_none() {
        drop(Offline::open(data, model)?);
    }
    let directory = Directory::open(data)?;
    let recovered = RecoveryRequest::new(model, None);
    let clocks = Clocks {
        clock: &Clock::SYSTEM,
        wall_clock: WallClock::Checked,
    };
    let opened = recover::reopen(&directory, recovered, None, clocks).map_err(stuck)?;
    let (mut journal, mut follower) = (opened.journal, opened.follower);
    if let Some(rebuilt) = &rebuilt {
        follower.lookup.versions.entries_read = rebuilt.entries_read();
    }
    *follower.lookup.prepared.lock().expect("nobody else has it") = rebuilt;
    let now = opened.clock.now();
    recover::record(&mut follower, &mut journal, now).map_err(stuck)?;
    if let Some(version) = command.order.restored() {
        check_restore(&follower, version)?;
    }
    let position = journal.append(now, &Event::Command(command))?;
    let last = journal.sync()?;
    let step = follower.step(last);
    let step = step.map_err(|error| error.of_request(model, "order"))?;
    let Some((entry, step)) = step else {
        return Err(unavailable(format!("the journal has no entry {last}")));
    };
    if let Some(what) = step.refused {
        recover::record(&mut follower, &mut journal, now).map_err(stuck)?;
        let field = "version";
        return Err(Error::Refused { field, what });
    }
    let Some(version) = step.version else {
        return Err(unavailable("the order made no version".to_owned()));
    };
    follower.save_all(step.frozen.iter().chain([&version]), &entry)?;
    recover::record(&mut follower, &mut journal, now).map_err(stuck)?;
    let chain = follower.lookup.reader.chain();
    let versions = &follower.lookup.versions;
    versions.save_stop(&follower.learner, chain)?;
    journal.close()?;
    let made = NewVersion {
        version: version.version,
        position,
    };
    Ok((made, step.champion))
}

/// Locks a data directory for looking, and checks the journal of one of its models.
fn inspect(data: &Path, model: &str) -> Result<(Directory, JournalReport, Facts), Error> {
    let directory = Directory::inspect(data)?;
    let models = directory.models()?;
    if !models.iter().any(|known| known == model) {
        let known = if models.is_empty() {
            "none".to_owned()
        } else {
            models.join(", ")
        };
        return Err(Error::Refused {
            field: "journal",
            what: format!(
                "{} has none of a model {model:?}, but of: {known}",
                data.display()
            ),
        });
    }
    directory.check(model)?;
    let journal = directory.journal(model);
    let first = segments(&journal)?;
    let first = first.first().map_or(1, |first| first.first_position);
    let mut facts = Facts::from(first);
    let report = verify_each(&journal, |entry| facts.note(&entry))?;
    Ok((directory, report, facts))
}

/// Refuses a restore that could not be carried out once it is journaled.
fn check_restore(follower: &Follower, version: u64) -> Result<(), Error> {
    let versions = &follower.lookup.versions;
    check_untainted(follower.learner.tainted(), &versions.model, version)?;
    versions.get(version, follower.learner.version())?;
    versions.load(version)?;
    Ok(())
}
