//! RECOVER: the newest whole checkpoint, then the journal from its position, then serve.
//!
//! Invariant: a recovered state is the one on disk; a checkpoint that is damaged or of another
//! journal is never used, and a model that cannot be recovered does not stop the others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use crate::engine::compute::clock::{Clock, JournalClock, WallClock};
use crate::engine::compute::described::{LoadedDescription, read};
use crate::engine::compute::embed::{Embedder, Embedders};
use crate::engine::error::Error;
use crate::engine::flows::changed::{ModelPlace, misfit};
use crate::engine::flows::erase::resume_erasures;
use crate::engine::history::error as history;
use crate::engine::history::following::FollowerLookup;
use crate::engine::history::pass::{Pass, first_description, first_position};
use crate::engine::host::bounds::ids_bounds;
use crate::engine::host::follower::{Follower, UnsentEvents};
use crate::engine::host::retracted::RetractedFeedback;
use crate::engine::versions::error::Error as StateError;
use crate::engine::versions::saved::Versions;
use crate::event::{Description, Event, ModelName, Time};
use crate::learn::{Learner, is_forgotten};
use crate::model::{PublishPolicy, Spec, SpecError};
use crate::store::regular::is_there;
use crate::store::{
    Checkpoint, Config, DeliveryProgress, Directory, Disk, Ids, Journal, Reader, checkpoint,
    sweep_scratch,
};

const DESCRIPTION: &str = "model.toml";

/// A model that can be served.
pub(crate) struct RecoveredData {
    pub journal: Journal,
    pub follower: Follower,
    /// The feedback that was taken back, as far as its ids are remembered.
    pub retracted: RetractedFeedback,
    pub clock: JournalClock,
    pub ids: Ids,
}

/// The reason why a model cannot be recovered: it is unavailable until that is mended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoverError {
    /// Mend the file that it names.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// Use another checkpoint, or put back the missing entries.
    #[error(transparent)]
    State(#[from] StateError),
    /// The history cannot be had: do as the message asks.
    #[error(transparent)]
    History(#[from] history::Error),
    /// Mend the description.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The description, or a file that it names, cannot be used: do as the message asks.
    #[error(transparent)]
    Description(Error),
    /// Mend its cause: the model's name, its folder or its journal.
    #[error("{0}")]
    Unfit(String),
    /// Report the bug.
    #[error("its recovery has panicked: {0}")]
    Panicked(String),
}

/// The clock, and whether it is believed at a start.
#[derive(Clone, Copy)]
pub(crate) struct Clocks<'a> {
    pub clock: &'a Clock,
    pub wall_clock: WallClock,
}

/// A model that is recovered: its name, and how far its learning events have come to the webhook, if there is one.
#[derive(Clone, Copy)]
pub(crate) struct RecoveryRequest<'a> {
    pub name: &'a str,
    pub reached: Option<DeliveryProgress>,
}

impl RecoveryRequest<'_> {
    pub(crate) fn new(name: &str, reached: Option<DeliveryProgress>) -> RecoveryRequest<'_> {
        RecoveryRequest { name, reached }
    }
}

/// The models of a folder and those that only have data, in the order of their names.
pub(crate) fn names(directory: &Directory, models: &Path) -> Result<Vec<String>, Error> {
    let refuse = |error| Error::Models {
        path: models.to_owned(),
        error,
    };
    let mut names = Vec::new();
    for folder in std::fs::read_dir(models).map_err(refuse)? {
        let folder = folder.map_err(refuse)?;
        let path = folder.path();
        // A file of another kind, or a link that leads nowhere, is refused when it is opened.
        if is_there(&path.join(DESCRIPTION)) || !path.exists() {
            names.push(folder.file_name().to_string_lossy().into_owned());
        }
    }
    names.extend(directory.models()?);
    names.sort();
    names.dedup();
    Ok(names)
}

/// Recovers one model, or gives the reason why it cannot be served. A bug in one model's recovery does not
/// stop the others.
pub(crate) fn open(
    directory: &Directory,
    models: &Path,
    model: RecoveryRequest<'_>,
    clocks: Clocks,
    embedders: &mut Embedders,
) -> Result<(RecoveredData, Vec<Option<Embedder>>), RecoverError> {
    let open = || try_open(directory, models, model, clocks, embedders);
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
        let message = message.unwrap_or("without a message");
        Err(RecoverError::Panicked(message.to_owned()))
    })
}

fn try_open(
    directory: &Directory,
    models: &Path,
    model: RecoveryRequest<'_>,
    clocks: Clocks,
    embedders: &mut Embedders,
) -> Result<(RecoveredData, Vec<Option<Embedder>>), RecoverError> {
    let name = model.name;
    check_name(name)?;
    let path = models.join(name).join(DESCRIPTION);
    let described = read(models, &path, embedders)
        .map_err(|error| undescribed(error, &path, &directory.model(name)))?;
    let mut opened = reopen(directory, model, Some(&described), clocks)?;
    let RecoveredData {
        journal,
        follower,
        clock,
        ids,
        ..
    } = &mut opened;
    let description = match follower.learner.position() {
        0 => described.description,
        _ => {
            let mut next = described.description_at(follower.learner.spec().revision);
            next.toml = Spec::carry_limits(&follower.learner.description().toml, &next.toml);
            next
        }
    };
    let place = ModelPlace {
        name,
        description: &path,
        data: directory.path(),
    };
    adopt(follower, journal, description, (clock.now(), place))?;
    // The ids of the erased events stay known, and stand nowhere else then.
    let bounds = ids_bounds(&follower.learner.spec().journal);
    let written = if follower.learner.erasures().is_empty() {
        Ok(())
    } else {
        ids.flush(journal.synced(), clock.now(), &bounds)
    };
    let resumed = written
        .map_err(RecoverError::from)
        .and_then(|()| Ok(resume_erasures(follower, journal, clock.now())?))
        .and_then(|last| apply(follower, last));
    if let Err(error) = resumed {
        tracing::error!(
            model = name,
            %error,
            "an erasure is not finished; it is at the next start"
        );
    }
    opened.retracted = RetractedFeedback::read(&follower.learner, &follower.lookup, ids)?;
    Ok((opened, described.embedders))
}

/// The reason why a description cannot be read: it may be gone, while the data of its model is there.
fn undescribed(error: Error, path: &Path, data: &Path) -> RecoverError {
    if is_there(path) || !is_there(data) {
        return RecoverError::Description(error);
    }
    let data = data.display();
    RecoverError::Unfit(format!(
        "it has data and no description: {error}; put the file back, or move {data} away"
    ))
}

/// Recovers one model as its journal describes it, or as it is `described` if it has none yet.
pub(crate) fn reopen(
    directory: &Directory,
    model: RecoveryRequest<'_>,
    described: Option<&LoadedDescription>,
    clocks: Clocks,
) -> Result<RecoveredData, RecoverError> {
    let name = model.name;
    directory.check(name)?;
    let (disk, folder) = (directory.disk(), directory.checkpoints(name));
    checkpoint::sweep(disk, &folder)?;
    checkpoint::sweep(disk, &directory.frozen(name))?;
    sweep_scratch(disk, &directory.model(name))?;
    let newest = newest_whole(&folder, name)?;
    let from = newest.as_ref().map_or(0, |one| one.manifest.position);
    let path = directory.journal(name);
    let config = journal_config(disk, described);
    let (journal, recovered) = Journal::create_or_open(&path, from, config)?;
    let torn = recovered.torn_tail.as_ref();
    announce_torn_tail(name, torn.map(|torn| (torn.position, torn.bytes)));
    let mut versions = Versions::new(directory, name, recovered.journal_id);
    versions.stand_in = described.map(|described| described.spec.device);
    if let Some(described) = described {
        versions.keep_encoders(described)?;
    }
    let learner = match newest {
        Some(one) if one.manifest.chain != recovered.from_chain.to_string() => {
            return Err(StateError::OfAnotherJournal(one.manifest.position).into());
        }
        Some(checkpoint) => versions.state_of(checkpoint)?,
        None if recovered.last_position == 0 => {
            let none = || RecoverError::Unfit(format!("model {name:?} has no journal"));
            let described = described.ok_or_else(none)?;
            if let Some((bytes, _)) = &described.start {
                checkpoint::keep_file(disk, &versions.start, bytes)?;
            }
            described.learner()
        }
        None => versions.beginning(beginning_spec(&versions)?)?,
    };
    let reader = Reader::open(&path, from + 1, 0)?;
    let mut follower = Follower::new(learner, FollowerLookup::new(reader, versions));
    follower.unsent = model.reached.map(UnsentEvents::new);
    apply(&mut follower, recovered.last_position)?;
    let to = recovered.last_position;
    tracing::info!(model = name, from, to, "recovered");
    let clock = journal_clock(clocks, name, (to > 0).then_some(recovered.last_time));
    let ids = known_ids(directory, &follower, recovered.journal_id, clock.now())?;
    Ok(RecoveredData {
        journal,
        follower,
        clock,
        ids,
        retracted: RetractedFeedback::default(),
    })
}

/// Logs where a torn end was cut from the journal.
fn announce_torn_tail(model: &str, torn: Option<(u64, u64)>) {
    if let Some((position, bytes)) = torn {
        tracing::warn!(model, position, bytes, "cut a torn end of the journal");
    }
}

/// The description that a journal starts with.
fn beginning_spec(versions: &Versions) -> Result<Arc<Spec>, RecoverError> {
    match first_description(versions)? {
        Some(toml) => parse(&toml),
        None => {
            let what = "its journal does not start with a description";
            Err(RecoverError::Unfit(what.to_owned()))
        }
    }
}

/// The configuration of a journal whose model is `described`, if it is.
fn journal_config(disk: &Disk, described: Option<&LoadedDescription>) -> Config {
    let config = Config {
        disk: disk.clone(),
        ..Config::default()
    };
    match described {
        None => config,
        Some(described) => Config {
            segment_bytes: described.spec.journal.segment_bytes() as u32,
            ..config
        },
    }
}

/// The clock of a journal whose last entry is of this time.
fn journal_clock(clocks: Clocks, name: &str, last: Option<Time>) -> JournalClock {
    let clock = JournalClock::start(clocks.clock, last, clocks.wall_clock);
    if let (ahead_us, true) = clock.offset() {
        let days = ahead_us / 86_400_000_000;
        tracing::warn!(
            model = name,
            days,
            "the clock of this machine is ahead of the journal's last entry; it is believed after \
             an hour, or at once with serve --believe-clock"
        );
    }
    clock
}

/// The feedback ids of the last day: those on disk, and those of the entries since; of a model
/// whose learner keeps them, and that has none on disk yet, the learner's.
fn known_ids(
    directory: &Directory,
    follower: &Follower,
    journal_id: [u8; 16],
    now: Time,
) -> Result<Ids, RecoverError> {
    let versions = &follower.lookup.versions;
    let model = &versions.model;
    let (learner, last) = (&follower.learner, follower.learner.position());
    let mut ids = Ids::open(directory.disk(), &directory.ids(model), journal_id, last)?;
    let first = first_position(versions)?;
    if ids.covers() > 0 && ids.covers() + 1 < first {
        return Err(RecoverError::Unfit(format!(
            "its feedback ids are known up to position {}, but its journal starts at {first}; \
             restore the folder {} from a copy, or remove it: then those that the journal still \
             holds are known",
            ids.covers(),
            directory.ids(model).display()
        )));
    }
    let mut since = first.max(ids.covers() + 1);
    if ids.covers() == 0 && learner.spec().revision == 1 {
        for (key, position, time) in learner.feedback_ids().each() {
            ids.insert_key(key, "", position, time);
        }
        since = u64::MAX;
    }
    // Those of backfills stand in no other place where they were never written.
    let from = if ids.backfill.is_unknown() {
        first
    } else {
        since
    };
    let mut pass = Pass::from(versions, from.min(last + 1), 0)?;
    while let Some(entry) = pass.next(last)? {
        let Event::Feedback(feedback) = entry.event else {
            continue;
        };
        if entry.position >= since && !is_forgotten(entry.time, now) {
            ids.insert(&feedback, entry.position, entry.time);
        } else {
            ids.backfill.insert(&feedback, entry.position, entry.time);
        }
    }
    ids.backfill.forget_before(first);
    let limits = &learner.spec().journal;
    if let Err(error) = ids.flush(last, now, &ids_bounds(limits)) {
        tracing::warn!(model, %error, "feedback ids were not written; tried again");
    }
    Ok(ids)
}

fn check_name(name: &str) -> Result<(), RecoverError> {
    let checked = name.parse::<ModelName>();
    let refusal =
        |error| RecoverError::Unfit(format!("its name {name:?} is not one of a model: {error}"));
    checked.map(drop).map_err(refusal)
}

fn parse(toml: &str) -> Result<Arc<Spec>, RecoverError> {
    Ok(Arc::new(Spec::journaled(toml)?))
}

/// The newest checkpoint whose files are whole.
fn newest_whole(folder: &Path, name: &str) -> Result<Option<Checkpoint>, RecoverError> {
    let positions = checkpoint::positions(folder)?;
    for position in positions.into_iter().rev() {
        match checkpoint::load(folder, position) {
            // A version that an erasure has reduced can only be restored.
            Ok(checkpoint) if checkpoint.manifest.erased_by > 0 => {}
            Ok(checkpoint) => return Ok(Some(checkpoint)),
            Err(error) => tracing::warn!(model = name, %error, "passing over a damaged checkpoint"),
        }
    }
    Ok(None)
}

/// Applies the journal up to `last`, and saves the versions that a crash kept from being saved.
pub(crate) fn apply(follower: &mut Follower, last: u64) -> Result<(), RecoverError> {
    follower.lookup.recovers_to = Some(last);
    while let Some((entry, step)) = follower.step(last)? {
        follower.save_all(step.frozen.iter().chain(&step.version), &entry)?;
    }
    follower.lookup.recovers_to = None;
    Ok(())
}

/// Journals the description if it has changed, and the records that are still missing.
fn adopt(
    follower: &mut Follower,
    journal: &mut Journal,
    description: Description,
    (time, place): (Time, ModelPlace),
) -> Result<(), RecoverError> {
    let before = &follower.learner.description().profile;
    let moved = !before.is_empty() && *before != description.profile;
    if moved {
        let now = &description.profile;
        tracing::warn!(
            before,
            now,
            "the numeric profile has changed: bits differ from here on"
        );
    }
    let policy = follower.learner.spec().publish.policy;
    if *follower.learner.description() != description {
        let next = parse(&description.toml)?;
        let spec = follower.learner.spec();
        if let Some(why) = misfit(spec, &next, place) {
            return Err(RecoverError::Unfit(why));
        }
        journal.append(time, &Event::Description(description))?;
    }
    let last = journal.sync()?;
    apply(follower, last)?;
    announce_policy(&follower.learner, policy);
    announce_missing_evidence(&follower.learner);
    if moved {
        // The following entries are applied under another profile, from a state on disk.
        let chain = follower.lookup.reader.chain();
        let versions = &follower.lookup.versions;
        versions.save_stop(&follower.learner, chain)?;
    }
    record(follower, journal, time)
}

/// Logs that evidence alone will never promote, where that is so.
fn announce_missing_evidence(learner: &Learner) {
    let policy = learner.spec().publish.policy;
    if policy == PublishPolicy::Live {
        return;
    }
    if let Some(why) = learner.lacks_evidence() {
        let policy = policy.word();
        tracing::warn!(
            policy,
            "{why}, so rewards promote nothing: state policy.kind = \"epsilon\", promote by hand, or state \
             publish.policy = \"live\""
        );
    }
}

/// Logs which state serves where the policy no longer lets the candidate.
fn announce_policy(learner: &Learner, before: PublishPolicy) {
    let policy = learner.spec().publish.policy;
    let Some((version, position)) = learner.champion() else {
        return;
    };
    if before != PublishPolicy::Live || policy == PublishPolicy::Live || learner.position() < 2 {
        return;
    }
    let policy = policy.word();
    if learner.champion_digest() == Some(learner.learned().digest()) {
        tracing::info!(
            policy,
            version,
            position,
            "the policy has changed: what served is the champion, and serves on"
        );
    } else {
        tracing::warn!(
            policy,
            version,
            position,
            "the policy has changed: there is evidence against what served, and the champion serves"
        );
    }
}

/// Journals the records that are still missing.
pub(crate) fn record(
    follower: &mut Follower,
    journal: &mut Journal,
    time: Time,
) -> Result<(), RecoverError> {
    for record in follower.learner.unrecorded() {
        journal.append(time, &record)?;
    }
    let last = journal.sync()?;
    apply(follower, last)
}
