//! The data of one model without a server: looked at, or given one order.
//!
//! Invariant: the directory is locked for as long as it is looked at, and for an order nobody
//! else has it open.

use std::path::Path;

use crate::engine::compute::clock::{Clock, WallClock};
use crate::engine::compute::described::Described;
use crate::engine::error::Error;
use crate::engine::flows::audit::{self, Audit};
use crate::engine::flows::command::Made;
use crate::engine::flows::recover::{self, Clocks};
use crate::engine::flows::retract::check_untainted;
use crate::engine::history::logged::LoggedDecisions;
use crate::engine::host::follower::Follower;
use crate::engine::offline::replay::Replay;
use crate::engine::versions::saved::Versions;
use crate::event::{Command, Description, Event, PredictionId};
use crate::learn::Learner;
use crate::model::Spec;
use crate::store::{Directory, Manifest, Report, verify};

/// The data of one model, as long as this lives safe from any server.
#[derive(Debug)]
pub struct Offline {
    versions: Versions,
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
        let (directory, report) = inspect(data, model)?;
        Ok(Offline {
            versions: Versions::new(&directory, model, report.journal_id),
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

    /// Every version, each with what is wrong with its checkpoint, if anything is.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn versions(&self) -> Result<Vec<(Manifest, Option<String>)>, Error> {
        Ok(self.versions.all()?)
    }

    /// The learner as it was at a version.
    ///
    /// # Errors
    /// [`Error::NoVersion`]: there is none of this number. [`Error::Store`] and
    /// [`Error::Damaged`]: its checkpoint is not what was saved.
    pub fn version(&self, version: u64) -> Result<Learner, Error> {
        let position = self.versions.get(version, 0)?.position;
        let state = self.versions.state_at(position);
        state.map_err(|what| Error::Damaged {
            model: self.versions.model.clone(),
            what: format!("version {version}: {what}"),
        })
    }

    /// Every decision that a reward came for, in the order of their first rewards, as a model of
    /// the description `asked` would take it.
    ///
    /// The reward of a decision is what the learner credited to it: by the description in force,
    /// of the signals and rewards that came in time, of silence once its window had closed, and of
    /// a late reward that replaced the reward of silence. Labels do not count, nor retracted
    /// feedback, nor decisions that were made elsewhere and came with their feedback.
    ///
    /// # Errors
    /// [`Error::Store`]: the journal cannot be read.
    pub fn decisions(&self, asked: &Spec) -> Result<LoggedDecisions<'_>, Error> {
        LoggedDecisions::new(&self.versions, self.last_position, asked)
    }

    /// Answers a prediction again, if it was one of this model.
    ///
    /// # Errors
    /// [`Error::Store`]: the journal cannot be read.
    pub fn audit(&self, id: PredictionId, without: Option<&str>) -> Result<Option<Audit>, Error> {
        audit::audit(&self.versions, self.last_position, id, without)
    }

    /// The journal to be applied again, from a version or from as early as it can be.
    ///
    /// # Errors
    /// [`Error::NoVersion`], and [`Error::Refused`] where it cannot be gone on from.
    pub fn replay(&self, from: Option<u64>) -> Result<Replay, Error> {
        Replay::recorded(&self.versions, self.last_position, from)
    }

    /// The journal to be applied from its first entry, as under another description.
    ///
    /// # Errors
    /// [`Error::Refused`]: the description is not sound, or the journal lost its first entries.
    pub fn replay_with(&self, description: Description) -> Result<Replay, Error> {
        Replay::with(&self.versions, self.last_position, description)
    }

    /// Keeps copies of the encoders whose adapters a description learns, if it has any: before it
    /// is tried or adopted.
    ///
    /// # Errors
    /// [`Error::Refused`]: the disk refused.
    pub fn keep_encoders(&self, described: &Described) -> Result<(), Error> {
        let field = "description";
        let kept = self.versions.keep_encoders(described);
        kept.map_err(|what| Error::Refused { field, what })
    }

    /// Carries out one order, as a server would.
    ///
    /// # Errors
    /// [`Error::Store`]: another process has the directory open. [`Error::Refused`]: the order
    /// cannot be carried out. [`Error::Unavailable`]: the model cannot be recovered.
    pub fn order(data: &Path, model: &str, command: Command) -> Result<Made, Error> {
        let unavailable = |reason| Error::Unavailable {
            model: model.to_owned(),
            reason,
        };
        drop(Offline::open(data, model)?);
        let directory = Directory::open(data)?;
        let clocks = Clocks {
            clock: &Clock::SYSTEM,
            wall_clock: WallClock::Checked,
        };
        let opened = recover::reopen(&directory, model, None, clocks).map_err(unavailable)?;
        let (mut journal, mut follower) = (opened.journal, opened.follower);
        let now = opened.clock.now();
        recover::record(&mut follower, &mut journal, now).map_err(unavailable)?;
        if let Some(version) = command.order.restored() {
            check_restore(&follower, version)?;
        }
        let position = journal.append(now, &Event::Command(command))?;
        let last = journal.sync()?;
        let step = follower.step(last).map_err(unavailable)?;
        let Some((entry, step)) = step else {
            return Err(unavailable(format!("the journal has no entry {last}")));
        };
        if let Some(what) = step.refused {
            recover::record(&mut follower, &mut journal, now).map_err(unavailable)?;
            let field = "version";
            return Err(Error::Refused { field, what });
        }
        let Some(version) = step.version else {
            return Err(unavailable("the order made no version".to_owned()));
        };
        follower.save(&version, &entry)?;
        recover::record(&mut follower, &mut journal, now).map_err(unavailable)?;
        let chain = follower.lookup.reader.chain();
        let versions = &follower.lookup.versions;
        versions.save_stop(&follower.learner, chain)?;
        journal.close()?;
        Ok(Made {
            version: version.version,
            position,
        })
    }
}

/// Locks a data directory for looking, and checks the journal of one of its models.
pub(crate) fn inspect(data: &Path, model: &str) -> Result<(Directory, Report), Error> {
    let directory = Directory::inspect(data)?;
    let models = directory.models()?;
    if !models.iter().any(|known| known == model) {
        let known = match models.is_empty() {
            true => "none".to_owned(),
            false => models.join(", "),
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
    let report = verify(&directory.journal(model))?;
    Ok((directory, report))
}

/// Refuses what could not be carried out once it is journaled.
fn check_restore(follower: &Follower, version: u64) -> Result<(), Error> {
    let versions = &follower.lookup.versions;
    check_untainted(follower.learner.tainted(), &versions.model, version)?;
    versions.get(version, follower.learner.version())?;
    versions.load(version)?;
    Ok(())
}
