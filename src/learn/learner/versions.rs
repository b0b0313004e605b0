//! Versions: made of the state as it is, brought back, and taken over from another history.
//!
//! Invariant: what is true of the world goes on through all of them; only what was learned, and
//! what is counted of it, changes.

use super::super::join::HeldThen;
use super::super::lookup::Lookup;
use super::state::take_description;
use super::{Error, History, Learner, Step, World};
use crate::event::{Command, Erasure, Order, Reason, Refusal, Version};
use crate::learn::algorithms::learned::Learned;
use crate::learn::versions::tallies::Tallies;
use crate::model::weights::{self, Tensors};

impl Learner {
    pub(super) fn obey(
        &mut self,
        command: &Command,
        lookup: &mut dyn Lookup,
    ) -> Result<Step, Error> {
        let recorded = self.history == History::Recorded;
        if recorded && command.order.erased().is_some() {
            self.world.erasures.push(self.world.position);
        }
        match &command.order {
            Order::Checkpoint => Ok(Step {
                version: self.make(Reason::Checkpoint),
                ..Step::default()
            }),
            Order::Restore { version } if recorded => {
                let step = self.restore_untainted(*version, lookup)?;
                if step.refused.is_some() {
                    let position = self.world.position;
                    self.world.refusals.push(Refusal { position });
                }
                Ok(step)
            }
            // What the recorded history decided is obeyed, whatever this one would have decided.
            Order::Restore { .. } if lookup.refused(self.world.position) => Ok(Step::default()),
            Order::Restore { version } => self.restore(*version, lookup),
            Order::EarlierRestore { version } => self.restore_untainted(*version, lookup),
            Order::Retract(_) if recorded => {
                self.become_other(&command.order, Reason::Retract, lookup)
            }
            Order::Retract(_) | Order::Erase(_) => Ok(Step::default()),
            Order::Adopt(_) => self.become_other(&command.order, Reason::Adopt, lookup),
        }
    }

    fn restore_untainted(&mut self, version: u64, lookup: &mut dyn Lookup) -> Result<Step, Error> {
        match self.world.tainted.refusal(version) {
            Some(why) => Ok(Step {
                refused: Some(why),
                ..Step::default()
            }),
            None => self.restore(version, lookup),
        }
    }

    fn restore(&mut self, version: u64, lookup: &mut dyn Lookup) -> Result<Step, Error> {
        let found = lookup.version(version);
        let (mut weights, mut state) = found.map_err(|what| self.missing(what))?;
        let refuse = |error| Error::Version { version, error };
        let (_, described) = take_description(&mut state).map_err(refuse)?;
        if let Err(error) = described.check_change(&self.spec) {
            return Ok(Step {
                refused: Some(format!(
                    "version {version} is of another description: {error}"
                )),
                ..Step::default()
            });
        }
        let mut learned = state.unnest("learned");
        let learned = Learned::load(&self.spec, &mut weights, &mut learned).map_err(refuse)?;
        let mut world = state.unnest("world");
        let then = match self.world.retold.get(version) {
            Some(tallies) => tallies.clone(),
            None => {
                let position = position_of(&mut world).map_err(refuse)?;
                Tallies::load(&mut world, position).map_err(refuse)?
            }
        };
        if self.spec.revision >= 2 {
            let n_examples = learned.n_examples();
            let held = match then.held {
                Some(held) => held,
                None => {
                    HeldThen::load(&mut world, described.revision, n_examples).map_err(refuse)?
                }
            };
            self.credit_silence();
            self.world.joins.hold(held);
        }
        self.world.sources = then.sources;
        let before = std::mem::replace(&mut self.learned, learned);
        self.learned.reconfigure(&self.spec);
        if self.takes_new_labels() {
            let (before, now) = (before.names(), self.learned.names());
            let place = |last: usize| now.iter().position(|name| *name == before[last]);
            self.world.evaluation.rename(place);
        }
        self.note_renamed(before.names());
        self.world.ledger.undo_since(&then.ledger);
        self.world.version = version;
        Ok(Step {
            changed: true,
            version: self.make(Reason::Restore),
            ..Step::default()
        })
    }

    /// Takes over what another history has led to. What is true of the world goes on: position,
    /// time, the numbers of versions, and which feedback ids have come.
    fn become_other(
        &mut self,
        order: &Order,
        reason: Reason,
        lookup: &mut dyn Lookup,
    ) -> Result<Step, Error> {
        let refusals = self.world.refusals.iter();
        let refused: Vec<u64> = refusals.map(|refusal| refusal.position).collect();
        let unknown_from = self.gap.take().map(|gap| gap.first);
        let found = lookup.counterfactual(order, self.world.position, &refused, unknown_from);
        let mut other = found.map_err(|what| self.missing(what))?;
        if let Order::Adopt(_) = order {
            self.let_go(&mut other.learner);
        }
        let earlier = std::mem::replace(&mut self.spec, other.learner.spec);
        self.forget_ids();
        self.description = other.learner.description;
        self.encoders = other.learner.encoders;
        let before = std::mem::replace(&mut self.learned, other.learner.learned);
        self.world.joins = other.learner.world.joins;
        self.note_revised(&earlier);
        self.note_renamed(before.names());
        self.request = Default::default();
        self.world.ledger = other.learner.world.ledger;
        self.world.sources = other.learner.world.sources;
        self.world.evaluation = other.learner.world.evaluation;
        // That history ended before this moment.
        self.close_windows(self.windows_max, lookup)?;
        let world = &mut self.world;
        let (known, successor) = (&world.unrecorded, world.newest_version + 1);
        let (tainted, retold) = (&mut world.tainted, &mut world.retold);
        other.comparison.bring(known, successor, tainted, retold);
        Ok(Step {
            changed: true,
            version: self.make(reason),
            excluded: other.excluded,
            ..Step::default()
        })
    }

    /// What a restore of this version brings back, with what is counted of it by now. The rest is of
    /// a moment that knew feedback which is erased: it is left out, and nothing can be gone on from.
    pub fn only_learned(&self, now: Option<Tallies>) -> Learner {
        let world = &self.world;
        let own = self.tallies();
        let Tallies {
            ledger,
            sources,
            held,
        } = now.unwrap_or_else(|| own.clone());
        let held = held.or(own.held).unwrap_or_default();
        Learner {
            world: World {
                position: world.position,
                time: world.time,
                version: world.version,
                newest_version: world.newest_version,
                n_events: ledger.total(),
                joins: held.alone(&world.joins),
                ledger,
                sources,
                ..World::default()
            },
            ..self.clone()
        }
    }

    /// What has gone here stays gone in the history of an adopted description; and where its
    /// inputs or names are others, no answer given before is one of its own.
    fn let_go(&self, adopted: &mut Learner) {
        let names = self.learned.names();
        let fits =
            self.spec.has_inputs_of(&adopted.spec) && adopted.learned.names().starts_with(names);
        let stays = |id| fits && self.waiting(id).is_ok();
        adopted.world.joins.retain(&self.world.joins, stays);
    }

    /// Makes a version of the state as it is; another history makes none.
    pub(super) fn make(&mut self, reason: Reason) -> Option<Version> {
        if self.history != History::Recorded {
            return None;
        }
        let tallies = self.counted();
        let world = &mut self.world;
        world.newest_version += 1;
        let version = Version {
            version: world.newest_version,
            parent: world.version,
            position: world.position,
            reason,
            digest: self.learned.digest(),
            tallies: Some(tallies),
        };
        world.version = version.version;
        world.newest.add(&version);
        world.unrecorded.push(version.clone());
        Some(version)
    }

    /// Compares a record with what was derived. Tallies are counted from where a program began to,
    /// which a record does not say: they are not compared.
    pub(super) fn check(&mut self, recorded: &Version) -> Result<Step, Error> {
        if self.history != History::Recorded {
            return Ok(Step::default());
        }
        let derived = self.world.unrecorded.first();
        let same = |derived: &Version| {
            let tallies = recorded.tallies;
            *recorded
                == Version {
                    tallies,
                    ..derived.clone()
                }
        };
        if !derived.is_some_and(same) {
            let position = self.world.position;
            let name = |version: &Version| {
                let digest = blake3::Hash::from_bytes(version.digest);
                format!("version {} with digest {digest}", version.version)
            };
            return Err(Error::Diverged {
                position,
                recorded: name(recorded),
                derived: derived.map_or("no version".to_owned(), name),
            });
        }
        self.world.unrecorded.remove(0);
        Ok(Step::default())
    }

    /// Compares the record of a refusal with what was derived.
    pub(super) fn check_refusal(&mut self, recorded: Refusal) -> Result<Step, Error> {
        if self.history != History::Recorded {
            return Ok(Step::default());
        }
        let derived = self.world.refusals.first().copied();
        if derived != Some(recorded) {
            let name = |refusal: Refusal| format!("that order {} was refused", refusal.position);
            return Err(Error::Diverged {
                position: self.world.position,
                recorded: name(recorded),
                derived: derived.map_or("no refusal".to_owned(), name),
            });
        }
        self.world.refusals.remove(0);
        Ok(Step::default())
    }

    /// Takes note that what an order asked to be erased is overwritten. It may be said again: the
    /// second time nothing was left.
    pub(super) fn end_erasure(&mut self, recorded: Erasure) {
        let erasures = &mut self.world.erasures;
        erasures.retain(|order| *order != recorded.position);
    }
}

/// The position of a saved state.
fn position_of(world: &mut Tensors) -> Result<u64, weights::Error> {
    Ok(world.take_u64("numbers", &[Some(5)])?[0])
}
