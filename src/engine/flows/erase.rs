//! ERASE: overwrite retracted feedback, in the journal and in the checkpoints.
//!
//! Invariant: before anything is overwritten a state stands on disk that needs nothing before the
//! order, and the ids of the erased events are known elsewhere. An erasure that a stop interrupts
//! goes on at the next start.

use std::sync::Arc;

use crate::engine::compute::stages::Stage;
use crate::engine::error::Error;
use crate::engine::history::erased::{self, Origins};
use crate::engine::history::error as history;
use crate::engine::history::selection::FeedbackSelection;
use crate::engine::host::follower::Follower;
use crate::engine::host::runtime::ModelRuntime;
use crate::engine::versions::saved::Versions;
use crate::event::{Erasure, Event, Time};
use crate::store::{self, Journal, erase};

impl ModelRuntime {
    /// Overwrites all that an order asks to be erased and no record has as erased; gives how many
    /// entries those were. The selection of the newest order may be known.
    pub(crate) fn finish_erasures(
        self: &Arc<ModelRuntime>,
        mut newest: Option<(u64, FeedbackSelection)>,
    ) -> Result<u64, Error> {
        let (orders, facts) = {
            let follower = self.lock_follower()?;
            let orders = follower.learner.erasures().to_vec();
            (orders, follower.lookup.facts.clone())
        };
        let mut n_erased = 0;
        for position in orders.iter().copied() {
            self.stages().pass(Stage::Erasing(position));
            let known = newest.take_if(|(order, _)| *order == position);
            let selection = match known {
                Some((_, selection)) => Some(selection),
                None => FeedbackSelection::of_order(self.versions(), position, facts.clone())?,
            };
            let entries = match selection {
                Some(selection) => self.erase(selection)?,
                None => 0,
            };
            self.record(Event::Erasure(Erasure { position, entries }));
            n_erased += entries;
        }
        if !orders.is_empty() {
            // Before the next one looks for orders that are not done.
            self.write_queue().flush();
            self.await_applied(self.progress().synced())?;
        }
        Ok(n_erased)
    }

    /// Overwrites retracted events, and erases them from the checkpoints.
    fn erase(&self, mut selection: FeedbackSelection) -> Result<u64, Error> {
        if selection.retracted.is_empty() {
            return Ok(0);
        }
        // The ids of the erased events stay known, and stand nowhere else then.
        if !self.write_queue().write_ids() {
            let reason = "its feedback ids cannot be written; erase again once the disk takes them";
            return Err(self.unavailable(reason));
        }
        self.save_behind(selection.order())?;
        let origins = {
            let follower = self.lock_follower()?;
            Origins::of(&follower.learner)
        };
        // From the order on it is journaled without its key that something came again.
        self.write_queue().flush();
        selection.read_on(self.progress().synced())?;
        Ok(overwrite(self.versions(), origins, selection)?)
    }

    /// Saves a state that needs nothing before the order, where none is on disk: an erased event can
    /// never be applied again.
    fn save_behind(&self, order: u64) -> Result<(), Error> {
        if is_saved_behind(self.versions(), order)? {
            return Ok(());
        }
        let follower = self.lock_follower()?;
        let chain = follower.lookup.reader.chain();
        Ok(self.versions().save_stop(&follower.learner, chain)?)
    }
}

/// True if a state stands on disk which needs nothing before the order.
fn is_saved_behind(versions: &Versions, order: u64) -> Result<bool, store::Error> {
    let listed = versions.checkpoints()?;
    let mut behind = listed.iter().filter(|one| one.position >= order);
    Ok(behind.any(|one| versions.is_whole(one.position)))
}

/// Overwrites retracted events and the resent ones with their keys, and erases them from the
/// checkpoints; gives how many entries were overwritten.
fn overwrite(
    versions: &Versions,
    origins: Origins,
    mut selection: FeedbackSelection,
) -> Result<u64, store::Error> {
    let origins = origins.with(std::mem::take(&mut selection.lineage));
    erased::remove(versions, origins, &selection.retracted)?;
    erase(&versions.disk, &versions.journal, &selection.erasable())
}

/// Finishes the erasures that a stop or a crash has interrupted, and journals
/// that it is done; gives the last position of the journal, up to which it is to be applied.
///
/// # Errors
/// When the disk refuses; the rest is erased at the next start.
pub(crate) fn resume_erasures(
    follower: &mut Follower,
    journal: &mut Journal,
    time: Time,
) -> Result<u64, history::Error> {
    for position in follower.learner.erasures().to_vec() {
        let versions = &follower.lookup.versions;
        let known = follower.lookup.facts.clone();
        let chosen = FeedbackSelection::of_order(versions, position, known)?;
        let entries = match chosen.filter(|chosen| !chosen.retracted.is_empty()) {
            Some(mut chosen) => {
                if !is_saved_behind(versions, chosen.order())? {
                    let chain = follower.lookup.reader.chain();
                    versions.save_stop(&follower.learner, chain)?;
                }
                chosen.read_on(follower.learner.position())?;
                overwrite(versions, Origins::of(&follower.learner), chosen)?
            }
            None => 0,
        };
        let model = &versions.model;
        tracing::warn!(
            model,
            position,
            entries,
            "finished an erasure that a stop had interrupted"
        );
        journal.append(time, &Event::Erasure(Erasure { position, entries }))?;
    }
    Ok(journal.sync()?)
}
