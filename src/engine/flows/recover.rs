//! RECOVER: the newest whole checkpoint, then the journal from its position, then serve.
//!
//! Invariant: what is recovered is what was on disk; a checkpoint that is damaged or of another
//! journal is never used, and a model that cannot be recovered does not stop the others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use crate::engine::compute::clock::{Clock, JournalClock, WallClock};
use crate::engine::compute::described::{Described, read};
use crate::engine::compute::embed::{Embedder, Embedders};
use crate::engine::error::Error;
use crate::engine::flows::retract::resume_erasures;
use crate::engine::history::derivation::first_description;
use crate::engine::history::shelf::Shelf;
use crate::engine::host::bounds::ids_bounds;
use crate::engine::host::follower::Follower;
use crate::engine::host::retracted::Retracted;
use crate::engine::versions::saved::{Versions, hex, of_another_journal};
use crate::event::{Description, Event, Time};
use crate::learn::is_forgotten;
use crate::model::Spec;
use crate::store::regular::is_there;
use crate::store::{
    Checkpoint, Config, Directory, Disk, Ids, Journal, Reader, checkpoint, segments, sweep_scratch,
};

const DESCRIPTION: &str = "model.toml";

/// A model that can be served.
pub struct Opened {
    pub journal: Journal,
    pub follower: Follower,
    /// What was taken back of the feedback whose ids are remembered.
    pub retracted: Retracted,
    pub clock: JournalClock,
    pub ids: Ids,
}

/// What tells the time, and whether it is believed at a start.
#[derive(Clone, Copy)]
pub struct Clocks<'a> {
    pub clock: &'a Clock,
    pub wall_clock: WallClock,
}

/// The models of a folder, in the order of their names. Those that only have data are not served, and
/// named in the log.
pub fn names(directory: &Directory, models: &Path) -> Result<Vec<String>, Error> {
    let refuse = |error| Error::Models {
        path: models.to_owned(),
        error,
    };
    let mut names = Vec::new();
    for folder in std::fs::read_dir(models).map_err(refuse)? {
        let folder = folder.map_err(refuse)?;
        let path = folder.path();
        // Whatever has that name, or is a link that leads nowhere, is told of when it is opened.
        if is_there(&path.join(DESCRIPTION)) || !path.exists() {
            names.push(folder.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    for model in directory.models()? {
        if !names.contains(&model) {
            let expected = models.join(&model).join(DESCRIPTION);
            let expected = expected.display();
            tracing::warn!(model, %expected, "the model has data and no description; it is not served");
        }
    }
    Ok(names)
}

/// Recovers one model, or says why it cannot be served. A bug in one model's recovery does not
/// stop the others.
pub fn open(
    directory: &Directory,
    models: &Path,
    name: &str,
    clocks: Clocks,
    embedders: &mut Embedders,
) -> Result<(Opened, Vec<Option<Embedder>>), String> {
    let open = || try_open(directory, models, name, clocks, embedders);
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!(
            "its recovery has panicked: {}",
            said.unwrap_or("without a word")
        ))
    })
}

fn try_open(
    directory: &Directory,
    models: &Path,
    name: &str,
    clocks: Clocks,
    embedders: &mut Embedders,
) -> Result<(Opened, Vec<Option<Embedder>>), String> {
    check_name(name)?;
    let path = models.join(name).join(DESCRIPTION);
    let described = read(models, &path, embedders).map_err(|error| error.to_string())?;
    let mut opened = reopen(directory, name, Some(&described), clocks)?;
    let Opened {
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
    adopt(follower, journal, description, clock.now())?;
    // The ids of what is erased stay known, and stand nowhere else then.
    let bounds = ids_bounds(&follower.learner.spec().journal);
    let written = match follower.learner.erasures().is_empty() {
        true => Ok(()),
        false => ids.flush(journal.synced(), clock.now(), &bounds),
    };
    let resumed = written
        .map_err(|error| error.to_string())
        .and_then(|()| resume_erasures(follower, journal, clock.now()));
    if let Err(error) = resumed {
        tracing::error!(
            model = name,
            error,
            "an erasure is not finished; it is at the next start"
        );
    }
    let journal = &follower.shelf.versions.journal;
    let retracted = Retracted::read(&follower.learner, journal, ids);
    opened.retracted = retracted.map_err(|error| error.to_string())?;
    Ok((opened, described.embedders))
}

/// Recovers one model as its journal describes it, or as it is `described` if it has none yet.
pub fn reopen(
    directory: &Directory,
    name: &str,
    described: Option<&Described>,
    clocks: Clocks,
) -> Result<Opened, String> {
    let said = |error: crate::store::Error| error.to_string();
    directory.check(name).map_err(said)?;
    let (disk, folder) = (directory.disk(), directory.checkpoints(name));
    checkpoint::sweep(disk, &folder).map_err(said)?;
    sweep_scratch(disk, &directory.model(name)).map_err(said)?;
    let newest = newest_whole(&folder, name)?;
    let from = newest.as_ref().map_or(0, |one| one.manifest.position);
    let path = directory.journal(name);
    let config = journal_config(disk, described);
    let (journal, recovered) = Journal::create_or_open(&path, from, config).map_err(said)?;
    if let Some(torn) = &recovered.torn_tail {
        let (position, bytes) = (torn.position, torn.bytes);
        tracing::warn!(
            model = name,
            position,
            bytes,
            "cut a torn end of the journal"
        );
    }
    let mut versions = Versions::new(directory, name, recovered.journal_id);
    versions.stand_in = described.map(|described| described.spec.device);
    if let Some(described) = described {
        versions.keep_encoders(described)?;
    }
    let learner = match newest {
        Some(one) if one.manifest.chain != hex(&recovered.from_chain) => {
            return Err(of_another_journal(one.manifest.position));
        }
        Some(checkpoint) => versions.state_of(checkpoint)?,
        None if recovered.last_position == 0 => {
            let described = described.ok_or_else(|| format!("model {name:?} has no journal"))?;
            if let Some((bytes, _)) = &described.start {
                checkpoint::keep_file(disk, &versions.start, bytes).map_err(said)?;
            }
            described.learner()
        }
        None => versions.beginning(parse(&first_description(&path)?)?)?,
    };
    let reader = Reader::open(&path, from + 1, 0).map_err(said)?;
    let mut follower = Follower::new(learner, Shelf::new(reader, versions));
    follower.recover_to(recovered.last_position)?;
    let to = recovered.last_position;
    tracing::info!(model = name, from, to, "recovered");
    let clock = journal_clock(clocks, name, (to > 0).then_some(recovered.last_time));
    let ids = known_ids(directory, &follower, recovered.journal_id, clock.now())?;
    Ok(Opened {
        journal,
        follower,
        clock,
        ids,
        retracted: Retracted::default(),
    })
}

/// How a journal is written whose model is `described`, if it is.
fn journal_config(disk: &Disk, described: Option<&Described>) -> Config {
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
) -> Result<Ids, String> {
    let said = |error: crate::store::Error| error.to_string();
    let Versions { model, journal, .. } = &follower.shelf.versions;
    let (learner, last) = (&follower.learner, follower.learner.position());
    let mut ids =
        Ids::open(directory.disk(), &directory.ids(model), journal_id, last).map_err(said)?;
    let first = segments(journal).map_err(said)?;
    let first = first.first().map_or(1, |first| first.first_position);
    if ids.covers() > 0 && ids.covers() + 1 < first {
        return Err(format!(
            "its feedback ids are known up to position {}, but its journal starts at {first}; \
             restore the folder {} from a copy, or remove it: then those that the journal still \
             holds are known",
            ids.covers(),
            directory.ids(model).display()
        ));
    }
    if ids.covers() == 0 && learner.spec().revision == 1 {
        for (key, position, time) in learner.feedback_ids().each() {
            ids.insert_key(key, "", position, time);
        }
    } else {
        let mut reader = Reader::open(journal, first.max(ids.covers() + 1), 0).map_err(said)?;
        while let Some(entry) = reader.next(last).map_err(said)? {
            if let Event::Feedback(feedback) = entry.event
                && !is_forgotten(entry.time, now)
            {
                ids.insert(
                    &feedback.feedback_id,
                    &feedback.source,
                    entry.position,
                    entry.time,
                );
            }
        }
    }
    let limits = &learner.spec().journal;
    if let Err(error) = ids.flush(last, now, &ids_bounds(limits)) {
        tracing::warn!(model, %error, "feedback ids were not written; tried again");
    }
    Ok(ids)
}

/// `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`: what can be a folder and a metric label everywhere.
fn check_name(name: &str) -> Result<(), String> {
    let inner = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let sound = name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(inner);
    match sound {
        true => Ok(()),
        false => Err(format!(
            "its name {name:?} does not match [A-Za-z0-9][A-Za-z0-9._-]{{0,63}}"
        )),
    }
}

fn parse(toml: &str) -> Result<Arc<Spec>, String> {
    Spec::journaled(toml)
        .map(Arc::new)
        .map_err(|error| error.to_string())
}

/// The newest checkpoint whose files are what was written.
fn newest_whole(folder: &Path, name: &str) -> Result<Option<Checkpoint>, String> {
    let positions = checkpoint::positions(folder).map_err(|error| error.to_string())?;
    for position in positions.into_iter().rev() {
        match checkpoint::load(folder, position) {
            // Nothing is gone on from what an erasure has left of a version.
            Ok(checkpoint) if checkpoint.manifest.erased_by > 0 => {}
            Ok(checkpoint) => return Ok(Some(checkpoint)),
            Err(error) => tracing::warn!(model = name, %error, "passing over a damaged checkpoint"),
        }
    }
    Ok(None)
}

/// Journals the description if it has changed, and the records that are still missing.
fn adopt(
    follower: &mut Follower,
    journal: &mut Journal,
    description: Description,
    time: Time,
) -> Result<(), String> {
    let said = |error: crate::store::Error| error.to_string();
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
    if *follower.learner.description() != description {
        let next = parse(&description.toml)?;
        let spec = follower.learner.spec();
        spec.check_change(&next)
            .map_err(|error| error.to_string())?;
        append(journal, time, Event::Description(description))?;
    }
    let last = journal.sync().map_err(said)?;
    follower.recover_to(last)?;
    if moved {
        // The bits of what follows belong to another profile: it starts from a state on disk.
        let chain = follower.shelf.reader.chain();
        let saved = follower.shelf.versions.save_stop(&follower.learner, chain);
        saved.map_err(said)?;
    }
    record(follower, journal, time)
}

/// Journals the records that are still missing.
pub fn record(follower: &mut Follower, journal: &mut Journal, time: Time) -> Result<(), String> {
    for record in follower.learner.unrecorded() {
        append(journal, time, record)?;
    }
    let last = journal.sync().map_err(|error| error.to_string())?;
    follower.recover_to(last)
}

pub fn append(journal: &mut Journal, time: Time, event: Event) -> Result<u64, String> {
    let appended: Result<u64, _> = journal.append(time, &event);
    appended.map_err(|error| error.to_string())
}
