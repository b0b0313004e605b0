//! Versions: made of the state as it is, brought back, and taken over from another history.
//!
//! Invariant: a restore replaces the learned state and brings back its tallies; an order that derives
//! another history moves its learning and its accounts here whole; the stream goes on.

use super::super::join::HeldExamples;
use super::super::lookup::Lookup;
use super::accounts::Accounts;
use super::state::take_description;
use super::stream::Stream;
use super::{CounterfactualLookup, Error, History, Learner, Step};
use crate::event::{Command, Erasure, Order, OrderRefusal, Reason, Version};
use crate::learn::algorithms::learned::Learned;
use crate::learn::gate::frozen::FrozenState;
use crate::learn::versions::tallies::Tallies;

impl Learner {
    pub(super) fn carry_out(
        &mut self,
        command: &Command,
        lookup: &mut dyn CounterfactualLookup,
    ) -> Result<Step, Error> {
        let recorded = self.history == History::Recorded;
        let judged = command.order.is_of_quarantine() || command.order.is_of_gate();
        if recorded && command.order.erased().is_some() {
            self.stream.erasures.push(self.stream.position);
        }
        match &command.order {
            Order::Checkpoint => Ok(Step {
                version: self.make(Reason::Checkpoint),
                ..Step::default()
            }),
            Order::Restore { version } if recorded => {
                let step = self.restore_untainted(*version, lookup)?;
                if step.refused.is_some() {
                    let position = self.stream.position;
                    self.stream.refusals.push(OrderRefusal { position });
                }
                Ok(step)
            }
            // The decision of the recorded history is obeyed, whatever this one would have decided.
            Order::Restore { .. } if lookup.refused(self.stream.position) => Ok(Step::default()),
            Order::Restore { version } => self.restore(*version, lookup),
            Order::EarlierRestore { version } => self.restore_untainted(*version, lookup),
            Order::Retract(_) if recorded => {
                self.become_other(&command.order, Reason::Retract, lookup)
            }
            Order::Retract(_) | Order::Erase(_) => Ok(Step::default()),
            Order::Adopt(_) => self.become_other(&command.order, Reason::Adopt, lookup),
            Order::Retrain { from, .. } => self.retrain(&command.order, *from, lookup),
            _ if judged && !recorded && lookup.refused(self.stream.position) => Ok(Step::default()),
            Order::Release(selector) | Order::Discard(selector) => {
                self.review(&command.order, selector, lookup)
            }
            Order::BeginRetraining { .. } | Order::EndRetraining => {
                self.note_retraining(&command.order);
                Ok(Step::default())
            }
            Order::SetAlias { alias, version } if recorded => Ok(self.name(alias, Some(*version))),
            Order::RemoveAlias { alias } if recorded => Ok(self.name(alias, None)),
            // Names are true of the world: another history has none of its own.
            Order::SetAlias { .. } | Order::RemoveAlias { .. } => Ok(Step::default()),
            Order::Promote { .. }
            | Order::Freeze
            | Order::Resume
            | Order::Acknowledge { .. }
            | Order::Close { .. } => {
                let by = (&command.actor[..], &command.note[..]);
                Ok(self.carry_out_of_gate(&command.order, by))
            }
        }
    }

    /// Gives a version a name, or lets the name go.
    fn name(&mut self, alias: &str, version: Option<u64>) -> Step {
        let stream = &mut self.stream;
        let newest = stream.newest_version;
        let refused = match version {
            None => stream.aliases.remove(alias),
            Some(version) if !(1..=newest).contains(&version) => Some(format!(
                "there is no version {version} to be named {alias:?}; the newest is {newest}"
            )),
            Some(version) => match stream.tainted.refusal(version) {
                Some(why) => Some(why),
                None => stream.aliases.set(alias, version),
            },
        };
        Step {
            refused,
            ..Step::default()
        }
    }

    fn restore_untainted(&mut self, version: u64, lookup: &mut dyn Lookup) -> Result<Step, Error> {
        match self.stream.tainted.refusal(version) {
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
        let mut then = match self.stream.revised_tallies.get(version) {
            Some(tallies) => tallies.clone(),
            None => {
                let position = Stream::saved_position(&mut world).map_err(refuse)?;
                Tallies::load(&mut world, position).map_err(refuse)?
            }
        };
        if self.spec.revision >= 2 {
            let n_examples = learned.n_examples();
            then.held = Some(match then.held {
                Some(held) => held,
                None => HeldExamples::load(&mut world, described.revision, n_examples)
                    .map_err(refuse)?,
            });
        } else {
            then.held = None;
        }
        self.bring_back(learned, then);
        self.stream.version = version;
        let made = self.make(Reason::Restore);
        self.crown();
        Ok(Step {
            changed: true,
            version: made,
            ..Step::default()
        })
    }

    /// Puts an earlier learned state in place of the present one, with the tallies of then.
    pub(super) fn bring_back(&mut self, learned: Learned, then: Tallies) {
        if then.held.is_some() {
            self.credit_silence();
        }
        self.accounts.restore(then);
        let before = std::mem::replace(&mut self.learned, learned);
        self.learned.reconfigure(&self.spec);
        if self.takes_new_labels() {
            let (before, now) = (before.names(), self.learned.names());
            let place = |last: usize| now.iter().position(|name| *name == before[last]);
            self.accounts.evaluation.rename(place);
        }
        self.note_renamed(before.names());
    }

    /// Takes over the state of another history. The stream goes on: position, time, the numbers of
    /// versions, and which feedback ids have come.
    fn become_other(
        &mut self,
        order: &Order,
        reason: Reason,
        lookup: &mut dyn CounterfactualLookup,
    ) -> Result<Step, Error> {
        let refusals = self.stream.refusals.iter();
        let refused: Vec<u64> = refusals.map(|refusal| refusal.position).collect();
        let unknown_from = self.gap.take().map(|gap| gap.first);
        if unknown_from.is_some() {
            self.stream.unknown_until = self.stream.position;
        }
        let found = lookup.counterfactual(order, self.stream.position, &refused, unknown_from);
        let mut other = found.map_err(|what| self.missing(what))?;
        if let Order::Adopt(_) = order {
            self.carry_evictions(&mut other.learner);
        }
        let mut champion = self.champion_change(&other.learner);
        if let Some(gate) = &mut other.learner.accounts.gate {
            gate.incidents.carry(self.incidents());
        }
        let earlier = std::mem::replace(&mut self.spec, other.learner.spec);
        self.forget_ids();
        self.description = other.learner.description;
        self.has_moved |= other.learner.has_moved;
        self.encoders = other.learner.encoders;
        let before = std::mem::replace(&mut self.learned, other.learner.learned);
        self.accounts = other.learner.accounts;
        self.note_revised(&earlier);
        self.note_renamed(before.names());
        self.request = Default::default();
        // That history ended before this moment.
        self.close_windows(self.windows_max, lookup)?;
        let stream = &mut self.stream;
        let (known, successor) = (&stream.unrecorded, stream.newest_version + 1);
        let (tainted, revised_tallies) = (&mut stream.tainted, &mut stream.revised_tallies);
        other
            .comparison
            .bring(known, successor, tainted, revised_tallies);
        let moved_aliases = stream.aliases.follow(tainted);
        let version = self.make(reason);
        // Under another description version 1 is another state.
        let kept = (reason == Reason::Retract).then_some(1);
        let frozen = self.make_frozen(version.as_ref(), kept);
        if let (Some(champion), Some(made)) = (&mut champion, self.champion_score()) {
            champion.after.version = made.version;
        }
        Ok(Step {
            changed: true,
            version,
            frozen,
            excluded: other.excluded,
            champion,
            moved_aliases,
            ..Step::default()
        })
    }

    /// Makes versions of the champion and the contender of the history that was taken over, but for one
    /// that is `kept` and for one that is the candidate, which is a version already; another history makes
    /// none.
    fn make_frozen(&mut self, candidate: Option<&Version>, kept: Option<u64>) -> Vec<Version> {
        let Some(gate) = &self.accounts.gate else {
            return Vec::new();
        };
        let champion = (Reason::Champion, Some(gate.champion().clone()));
        let contender = (Reason::Contender, gate.contender().cloned());
        let mut made = Vec::new();
        let numbers = [champion, contender].map(|(reason, state)| {
            let (Some(state), Some(candidate)) = (state, candidate) else {
                return 0;
            };
            if Some(state.version) == kept {
                return state.version;
            }
            if state.learned.digest() == candidate.digest {
                return candidate.version;
            }
            let version = self.version_of(&state, (reason, candidate.parent));
            let number = version.version;
            made.push(version);
            number
        });
        let gate = self.accounts.gate.as_mut().expect("it is there");
        gate.number(numbers, kept);
        made
    }

    /// Makes a version of a frozen state, from which the candidate need not descend.
    fn version_of(&mut self, state: &FrozenState, (reason, parent): (Reason, u64)) -> Version {
        let part = self.part_of(state);
        let stream = &mut self.stream;
        stream.newest_version += 1;
        let version = Version {
            version: stream.newest_version,
            parent,
            position: stream.position,
            reason,
            digest: part.learned.digest(),
            tallies: Some(part.counted()),
        };
        stream.newest.add(&version);
        stream.unrecorded.push(version.clone());
        version
    }

    /// The part of the champion's or the contender's version that a restore brings back, and the position
    /// up to which it has learned; none where neither is this version.
    pub fn frozen_part(&self, version: u64) -> Option<(Learner, u64)> {
        let gate = self.accounts.gate.as_ref()?;
        let states = [Some(gate.champion()), gate.contender()];
        let mut states = states.into_iter().flatten();
        let state = states.find(|state| state.version == version)?;
        Some((self.part_of(state), state.position))
    }

    /// The frozen side of this reason, at any version.
    pub fn side(&self, reason: Reason) -> Option<Learner> {
        let gate = self.accounts.gate.as_ref()?;
        let state = match reason {
            Reason::Champion => Some(gate.champion()),
            Reason::Contender => gate.contender(),
            _ => None,
        };
        state.map(|state| self.part_of(state))
    }

    pub(super) fn part_of(&self, state: &FrozenState) -> Learner {
        let part = self.restorable_part(Some(state.tallies.clone()));
        Learner {
            learned: state.learned.clone(),
            stream: Stream {
                version: state.version,
                ..part.stream
            },
            ..part
        }
    }

    /// The part of this version that a restore brings back, with its tallies by now. The rest is of
    /// a moment that knew feedback which is erased: it is left out, and no history can go on from
    /// it.
    pub(crate) fn restorable_part(&self, now: Option<Tallies>) -> Learner {
        let stream = &self.stream;
        let own = self.tallies();
        let Tallies {
            ledger,
            sources,
            held,
        } = now.unwrap_or_else(|| own.clone());
        let held = held.or(own.held).unwrap_or_default();
        Learner {
            stream: Stream {
                position: stream.position,
                time: stream.time,
                version: stream.version,
                newest_version: stream.newest_version,
                n_events: ledger.total(),
                ..Stream::default()
            },
            accounts: Accounts {
                pending: held.alone(&self.accounts.pending),
                ledger,
                sources,
                ..Accounts::default()
            },
            ..self.clone()
        }
    }

    /// Evicts from the history of an adopted description the predictions that were evicted here;
    /// where its inputs or names are others, also every prediction answered before.
    fn carry_evictions(&self, adopted: &mut Learner) {
        let names = self.learned.names();
        let fits =
            self.spec.has_inputs_of(&adopted.spec) && adopted.learned.names().starts_with(names);
        let stays = |id| fits && self.waiting(id).is_ok();
        adopted
            .accounts
            .pending
            .retain(&self.accounts.pending, stays);
    }

    /// Makes a version of the state as it is; another history makes none.
    pub(super) fn make(&mut self, reason: Reason) -> Option<Version> {
        if self.history != History::Recorded {
            return None;
        }
        let tallies = self.counted();
        let stream = &mut self.stream;
        stream.newest_version += 1;
        let version = Version {
            version: stream.newest_version,
            parent: stream.version,
            position: stream.position,
            reason,
            digest: self.learned.digest(),
            tallies: Some(tallies),
        };
        stream.version = version.version;
        stream.newest.add(&version);
        stream.unrecorded.push(version.clone());
        Some(version)
    }

    /// True if it was derived, or is, under another numeric profile than the journal was written under.
    pub(crate) fn has_other_bits(&self, lookup: &dyn Lookup) -> bool {
        self.has_moved || !lookup.has_profile(&self.description, &self.spec)
    }

    /// Compares a record with the derived one. Tallies are counted from where a program began to,
    /// which a record does not have: they are not compared. Nor are digests of other bits.
    pub(super) fn check(&mut self, recorded: &Version, lookup: &dyn Lookup) -> Result<Step, Error> {
        if self.history != History::Recorded {
            return Ok(Step::default());
        }
        let derived = self.stream.unrecorded.first();
        let same = |derived: &Version| {
            let (tallies, mut digest) = (recorded.tallies, derived.digest);
            if digest != recorded.digest && self.has_other_bits(lookup) {
                digest = recorded.digest;
            }
            *recorded
                == Version {
                    tallies,
                    digest,
                    ..derived.clone()
                }
        };
        if !derived.is_some_and(same) {
            let position = self.stream.position;
            let name = |version: &Version| {
                format!("version {} with digest {}", version.version, version.digest)
            };
            return Err(Error::Diverged {
                position,
                recorded: name(recorded),
                derived: derived.map_or("no version".to_owned(), name),
            });
        }
        self.stream.unrecorded.remove(0);
        Ok(Step::default())
    }

    /// Compares the record of a refusal with the derived one.
    pub(super) fn check_refusal(&mut self, recorded: OrderRefusal) -> Result<Step, Error> {
        if self.history != History::Recorded {
            return Ok(Step::default());
        }
        let derived = self.stream.refusals.first().copied();
        if derived != Some(recorded) {
            let name =
                |refusal: OrderRefusal| format!("that order {} was refused", refusal.position);
            return Err(Error::Diverged {
                position: self.stream.position,
                recorded: name(recorded),
                derived: derived.map_or("no refusal".to_owned(), name),
            });
        }
        self.stream.refusals.remove(0);
        Ok(Step::default())
    }

    /// Notes that the payloads which an order erases are overwritten. Further notes change nothing: nothing
    /// was left to be overwritten.
    pub(super) fn end_erasure(&mut self, recorded: Erasure) {
        let erasures = &mut self.stream.erasures;
        erasures.retain(|order| *order != recorded.position);
    }
}

#[cfg(test)]
mod tests;
