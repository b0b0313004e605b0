//! RETAIN: remove the oldest segments of a journal, once they are too old or room is short.
//!
//! Invariant: the segments that stay hold all that the state within the retraction horizon and
//! every later one can ask for: the entries after it, and each prediction that still waits in it.
//! The clock of retention goes on while nothing is journaled: a journal that is full empties itself.

use crate::engine::error::Error;
use crate::engine::history::error as history;
use crate::engine::host::follower::Follower;
use crate::engine::host::runtime::ModelRuntime;
use crate::engine::host::served_model::ServedModel;
use crate::engine::host::work::Work;
use crate::event::Time;
use crate::model::JournalLimits;
use crate::store::checkpoint::RETAIN;
use crate::store::{Manifest, SegmentFile, segments};

/// Time between two reviews, in microseconds of the monotonic clock.
const LOOK_EVERY_US: i64 = 10 * SECOND_US;
/// Time between two reviews while room is short.
const LOOK_EVERY_SHORT_US: i64 = SECOND_US;
/// Journal time between two states that are saved for it, at least, while there is room.
const SPACING_US: i64 = 60 * SECOND_US;
const SECOND_US: i64 = 1_000_000;

/// The room that is left in a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum JournalRoom {
    Ample,
    /// More than half is taken.
    Short,
    /// Segments have to go.
    Gone,
}

/// The outcome of a review of a journal.
struct Look {
    room: JournalRoom,
    /// The first position of the oldest segment to be kept, where older ones can go.
    keep_from: Option<u64>,
    /// True if more segments can go once an entry gives the learner a later time.
    waits_for_time: bool,
}

impl ModelRuntime {
    /// Removes the segments that are due, if it is time for a review; a failure is logged, and tried
    /// again with the next review.
    pub(crate) fn retain_if_due(&self, follower: &mut Follower) {
        if self
            .progress()
            .is_retention_due(self.clock().monotonic_us())
        {
            self.retain(follower);
        }
    }

    /// Removes the segments that are due.
    pub(crate) fn retain(&self, follower: &mut Follower) {
        let mut every = LOOK_EVERY_US;
        if !self.health().journal_has_failed() && !self.retractions().is_under_way() {
            let synced = self.progress().synced();
            match follower.review(self.clock().now(), synced) {
                Ok(look) => {
                    if look.room > JournalRoom::Ample {
                        every = LOOK_EVERY_SHORT_US;
                    }
                    if let Some(first) = look.keep_from {
                        follower.lookup.facts.forget_before(first);
                    }
                    // The writer never waits for a learner, so these waits end.
                    let trim = look.keep_from.map(Work::Trim);
                    let tick = look.waits_for_time.then_some(Work::Tick);
                    for work in trim.into_iter().chain(tick) {
                        let _ = self.write_queue().insist(work);
                    }
                }
                Err(error) => {
                    tracing::warn!(model = self.name(), %error, "the journal was not shortened");
                }
            }
        }
        let next = self.clock().monotonic_us() + every;
        self.progress().set_next_retention(next);
    }
}

impl ServedModel {
    /// Learns the entries on disk and removes the segments that are due, here and now, for tests.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    #[doc(hidden)]
    pub fn retain_now(&self) -> Result<(), Error> {
        let runtime = self.get()?;
        runtime.write_queue().flush();
        runtime.catch_up();
        let mut follower = runtime.lock_follower()?;
        runtime.retain(&mut follower);
        drop(follower);
        runtime.write_queue().flush();
        Ok(())
    }
}

impl Follower {
    fn review(&mut self, now: Time, synced: u64) -> Result<Look, history::Error> {
        let found = segments(&self.lookup.versions.journal)?;
        let limits = self.learner.spec().journal.clone();
        let bytes: u64 = found.iter().map(|segment| segment.bytes).sum();
        let room = match limits.prediction_bytes_max() - limits.segment_bytes() {
            room if bytes > room => JournalRoom::Gone,
            room if bytes > room / 2 => JournalRoom::Short,
            _ => JournalRoom::Ample,
        };
        let horizon = self.save_for_horizon(&limits, now, &found, room)?;
        let wanted = self.wanted(&found, &limits, now)?;
        let needed = match horizon.filter(|_| wanted > 0) {
            Some(base) => self.needed(base)?,
            None => 0,
        };
        let ends = found.iter().skip(1).take(wanted);
        let ends = ends.map(|next| next.first_position);
        let idle = self.learner.position() == synced;
        Ok(Look {
            room,
            keep_from: ends.take_while(|next| *next <= needed).last(),
            waits_for_time: idle && self.waits_for_time(&found, &limits, now, room, wanted),
        })
    }

    /// True if an entry would help, where none comes: it ends the waiting of predictions that are
    /// too old, and begins a new segment, so that the last one can go.
    fn waits_for_time(
        &self,
        found: &[SegmentFile],
        limits: &JournalLimits,
        now: Time,
        room: JournalRoom,
        wanted: usize,
    ) -> bool {
        let expired = self.learner.next_expiry().is_some_and(|due| due <= now);
        let full = |last: &SegmentFile| {
            last.first_position <= self.learner.position() && last.bytes > limits.segment_bytes()
        };
        let age_max_us = limits.age_max_s as i64 * SECOND_US;
        let old = self.learner.time().0 <= now.0.saturating_sub(age_max_us);
        // Its entries are taken to be as young as the first entry of the next one.
        let rolls = (old || room > JournalRoom::Ample) && found.last().is_some_and(full);
        (expired && wanted > 0) || rolls
    }

    /// Saves a state now and then, so that there is always one that is about as old as the
    /// horizon; gives the position of the newest that is as old.
    fn save_for_horizon(
        &mut self,
        limits: &JournalLimits,
        now: Time,
        found: &[SegmentFile],
        room: JournalRoom,
    ) -> Result<Option<u64>, history::Error> {
        let within = limits.retract_within_s as i64 * SECOND_US;
        let mut states = self.saved()?;
        // Others may be removed before the horizon has passed them.
        let newest = states.iter().rev().find(|one| one.reason == RETAIN);
        let due = match newest {
            None => found.len() > 1 || room > JournalRoom::Ample,
            Some(newest) => {
                let age = self.learner.time().0.saturating_sub(newest.time_us);
                let position = newest.position;
                age >= SPACING_US.max(within / 4) || self.is_far_from(position, found, room)?
            }
        };
        if due {
            let chain = self.lookup.reader.chain();
            let versions = &self.lookup.versions;
            match versions.save_unnamed(&self.learner, RETAIN, chain) {
                Ok(()) => {
                    let position = self.learner.position();
                    let needs = needs(position, self.learner.oldest_needed());
                    self.retention.needs.insert(position, needs);
                    states = self.saved()?;
                }
                // A full disk gets room by the segments that earlier states do not need.
                Err(error) => {
                    let model = &versions.model;
                    tracing::warn!(model, %error, "a state for retraction was not saved");
                }
            }
        }
        let horizon = now.0.saturating_sub(within);
        let old = |one: &&Manifest| one.time_us <= horizon && one.erased_by == 0;
        let base = states.iter().rev().find(old).map(|one| one.position);
        if let Some(base) = base {
            let versions = &self.lookup.versions;
            versions.remove_before(RETAIN, base)?;
            self.retention.needs = self.retention.needs.split_off(&base);
        }
        Ok(base)
    }

    /// True if the state here would let so much more go than the one at `position` that it is worth
    /// saving while room is short.
    fn is_far_from(
        &mut self,
        position: u64,
        found: &[SegmentFile],
        room: JournalRoom,
    ) -> Result<bool, history::Error> {
        if room == JournalRoom::Ample {
            return Ok(false);
        }
        let before = self.needed(position)?;
        let here = needs(self.learner.position(), self.learner.oldest_needed());
        let ends = found.iter().zip(found.iter().skip(1));
        let between = ends.filter(|(_, next)| (before + 1..=here).contains(&next.first_position));
        let more: u64 = between.map(|(segment, _)| segment.bytes).sum();
        let all: u64 = found.iter().map(|segment| segment.bytes).sum();
        Ok(match room {
            JournalRoom::Gone => more > 0,
            _ => more >= all / 8,
        })
    }

    /// The manifests of all checkpoints that are whole.
    fn saved(&self) -> Result<Vec<Manifest>, history::Error> {
        let listed = self.lookup.versions.checkpoints()?;
        let manifests = listed.into_iter().filter_map(|one| one.manifest.ok());
        Ok(manifests.collect())
    }

    /// The number of the oldest segments that are too old, or more than there is room for.
    fn wanted(
        &mut self,
        found: &[SegmentFile],
        limits: &JournalLimits,
        now: Time,
    ) -> Result<usize, history::Error> {
        let age_max_us = limits.age_max_s as i64 * SECOND_US;
        let oldest_allowed = now.0.saturating_sub(age_max_us);
        let room = limits.prediction_bytes_max() - limits.segment_bytes();
        let mut bytes: u64 = found.iter().map(|segment| segment.bytes).sum();
        let mut wanted = 0;
        for (segment, next) in found.iter().zip(found.iter().skip(1)) {
            // Nothing in a segment is younger than the first entry of the next.
            if bytes <= room && self.time_of(next.first_position)?.0 > oldest_allowed {
                break;
            }
            bytes -= segment.bytes;
            wanted += 1;
        }
        Ok(wanted)
    }

    /// The time at which the first entry of a segment was accepted; of one that is not applied yet, no
    /// earlier than this.
    pub(crate) fn time_of(&mut self, first_position: u64) -> Result<Time, history::Error> {
        if first_position > self.learner.position() {
            return Ok(self.learner.time());
        }
        if let Some(time) = self.retention.times.get(&first_position) {
            return Ok(*time);
        }
        let time = self.lookup.reader.read(first_position)?.time;
        self.retention.times.insert(first_position, time);
        Ok(time)
    }

    /// The first position that the state at `base` and those after it can ask for.
    fn needed(&mut self, base: u64) -> Result<u64, history::Error> {
        if let Some(needs) = self.retention.needs.get(&base) {
            return Ok(*needs);
        }
        let state = self.lookup.versions.state_at(base)?;
        let needs = needs(base, state.oldest_needed());
        self.retention.needs.insert(base, needs);
        Ok(needs)
    }
}

/// The first position that a state at `position` needs, where the oldest that waits stands there.
fn needs(position: u64, oldest_waiting: Option<u64>) -> u64 {
    oldest_waiting.map_or(position + 1, |oldest| oldest.min(position + 1))
}
