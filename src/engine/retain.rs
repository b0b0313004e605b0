//! RETAIN: let the oldest segments of a journal go, once they are too old or room is short.
//!
//! Invariant: what is left holds all that the state within the retraction horizon and every later
//! one can ask for: the entries after it, and each prediction that still waits in it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::hosted::Running;
use super::learning::Learning;
use super::writer::Work;
use crate::event::Time;
use crate::model::JournalLimits;
use crate::store::checkpoint::RETAIN;
use crate::store::{self, Manifest, Segment, segments};

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Journal time between two states that are saved for it, at least.
const SPACING_US: i64 = 60 * 1_000_000;
const SECOND_US: i64 = 1_000_000;

/// What is known of the segments of one journal.
#[derive(Default)]
pub struct Retention {
    looked: Option<Instant>,
    /// When the first entry of each segment was accepted.
    times: BTreeMap<u64, Time>,
    /// A state's position, and the first position that it needs.
    needed: Option<(u64, u64)>,
}

impl Retention {
    /// Whether it is time to look again.
    pub fn due(&self) -> bool {
        self.looked
            .is_none_or(|looked| looked.elapsed() >= LOOK_EVERY)
    }
}

impl Running {
    /// Lets go what is due; a failure is told, and tried again with the next look.
    pub fn retain(&self, learning: &mut Learning) {
        learning.retention.looked = Some(Instant::now());
        if self.journal_failed.load(Relaxed) || self.retracting.load(Relaxed) {
            return;
        }
        match learning.retained_from() {
            Ok(None) => {}
            // The writer never waits for a learner, so this wait ends.
            Ok(Some(first)) => drop(self.outbox.insist(self.index, Work::Trim(first))),
            Err(reason) => {
                tracing::warn!(model = self.name, reason, "the journal was not shortened");
            }
        }
    }
}

impl Learning {
    /// The first position of the oldest segment to be kept, where older ones can go.
    fn retained_from(&mut self) -> Result<Option<u64>, String> {
        let said = |error: store::Error| error.to_string();
        let found = segments(&self.shelf.versions.journal).map_err(said)?;
        if found.len() < 2 {
            return Ok(None);
        }
        let limits = self.learner.spec().journal.clone();
        let horizon = self.save_for_horizon(&limits)?;
        let wanted = self.wanted(&found, &limits)?;
        let Some(base) = horizon.filter(|_| wanted > 0) else {
            return Ok(None);
        };
        let needed = self.needed(base)?;
        let ends = found[1..=wanted].iter().map(|next| next.first_position);
        Ok(ends.take_while(|next| *next <= needed).last())
    }

    /// Saves a state now and then, so that there is always one that is about as old as the
    /// horizon; gives the position of the newest that is as old.
    fn save_for_horizon(&mut self, limits: &JournalLimits) -> Result<Option<u64>, String> {
        let said = |error: store::Error| error.to_string();
        let now = self.learner.time().0;
        let within = limits.retract_within_s as i64 * SECOND_US;
        let versions = &self.shelf.versions;
        let saved = || -> Result<Vec<Manifest>, String> {
            let listed = versions.checkpoints().map_err(said)?;
            Ok(listed
                .into_iter()
                .filter_map(|one| one.manifest.ok())
                .collect())
        };
        let mut states = saved()?;
        // Others may be removed before the horizon has passed them.
        let newest = states.iter().rev().find(|one| one.reason == RETAIN);
        let newest = newest.map_or(i64::MIN, |one| one.time_us);
        if now.saturating_sub(newest) >= SPACING_US.max(within / 4) {
            let chain = self.shelf.reader.chain();
            let saved_now = versions.save_unnamed(&self.learner, RETAIN, chain);
            saved_now.map_err(said)?;
            states = saved()?;
        }
        let old = |one: &&Manifest| one.time_us <= now - within && one.erased_by == 0;
        let base = states.iter().rev().find(old).map(|one| one.position);
        if let Some(base) = base {
            versions.remove_before(RETAIN, base).map_err(said)?;
        }
        Ok(base)
    }

    /// How many of the oldest segments are too old, or more than there is room for.
    fn wanted(&mut self, found: &[Segment], limits: &JournalLimits) -> Result<usize, String> {
        let oldest_allowed = self.learner.time().0 - limits.age_max_s as i64 * SECOND_US;
        let room = limits.bytes_max - limits.reserve - limits.segment_bytes();
        let mut bytes: u64 = found.iter().map(|segment| segment.bytes).sum();
        let mut wanted = 0;
        for (segment, next) in found.iter().zip(&found[1..]) {
            // Nothing in a segment is younger than the first entry of the next.
            if bytes <= room && self.time_of(next.first_position)?.0 > oldest_allowed {
                break;
            }
            bytes -= segment.bytes;
            wanted += 1;
        }
        Ok(wanted)
    }

    /// When the first entry of a segment was accepted; of an empty one it is now.
    pub fn time_of(&mut self, first_position: u64) -> Result<Time, String> {
        if first_position > self.learner.position() {
            return Ok(self.learner.time());
        }
        if let Some(time) = self.retention.times.get(&first_position) {
            return Ok(*time);
        }
        let entry = self.shelf.reader.read(first_position);
        let time = entry.map_err(|error| error.to_string())?.time;
        self.retention.times.insert(first_position, time);
        Ok(time)
    }

    /// The first position that the state at `base` and those after it can ask for.
    fn needed(&mut self, base: u64) -> Result<u64, String> {
        if let Some((_, needed)) = self.retention.needed.filter(|(of, _)| *of == base) {
            return Ok(needed);
        }
        let state = self.shelf.versions.state_at(base)?;
        let waiting = state.joins().oldest_position();
        let needed = waiting.map_or(base + 1, |oldest| oldest.min(base + 1));
        self.retention.needed = Some((base, needed));
        Ok(needed)
    }
}
