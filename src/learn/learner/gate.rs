//! The gate of a learner: champion and candidate are scored, and evidence decides which serves.
//!
//! Invariant: every side is scored before the candidate learns the example, and decisions stand at the
//! end of an entry. A rewind is a restore of the champion: the accounts of the stream go on.

use std::sync::Arc;

use super::feedback::Example;
use super::{Error, History, Learner, Step};
use crate::event::{
    Alarm, Judgement, Order, OrderRefusal, PredictionId, Reason, Verdict, Version, WatchedStream,
};
use crate::learn::algorithms::learned::answers::AskedRow;
use crate::learn::gate::champion::Gate;
use crate::learn::gate::frozen::FrozenState;
use crate::learn::gate::losses::{SideAnswers, Truth, gives_evidence};
use crate::learn::gate::{
    ChampionChange, ChampionScore, Evidence, Incident, IncidentKind, IncidentState, Veto,
};
use crate::learn::lookup::Lookup;
use crate::learn::monitors::Monitors;
use crate::learn::records::sources::Sources;
use crate::model::{DriftAction, Model, PublishPolicy, Target};

impl Learner {
    /// The champion's version and the position of its state; none under rules without a gate.
    pub fn champion(&self) -> Option<(u64, u64)> {
        let gate = self.accounts.gate.as_ref()?;
        Some((gate.champion().version, gate.champion().position))
    }

    /// The contender's version and the position of its state; none where no contender is tested.
    pub fn contender(&self) -> Option<(u64, u64)> {
        let contender = self.accounts.gate.as_ref()?.contender()?;
        Some((contender.version, contender.position))
    }

    /// The champion with its score; none under rules without a gate.
    pub(crate) fn champion_score(&self) -> Option<ChampionScore> {
        Some(self.accounts.gate.as_ref()?.champion_score())
    }

    /// The change for the champion and the incidents where the learner becomes another one.
    pub(crate) fn champion_change(&self, other: &Learner) -> Option<ChampionChange> {
        let (before, after) = (self.champion_score()?, other.champion_score()?);
        let position = |one: &Incident| one.position;
        let mut derived = other.accounts.gate.as_ref()?.incidents.clone();
        derived.carry(self.incidents());
        let mut gone: Vec<u64> = self.incidents().iter().map(position).collect();
        let mut come: Vec<u64> = derived.all().iter().map(position).collect();
        let common: Vec<u64> = come
            .iter()
            .filter(|at| gone.contains(at))
            .copied()
            .collect();
        gone.retain(|at| !common.contains(at));
        come.retain(|at| !common.contains(at));
        let is_void =
            |one: &&Incident| one.kind == IncidentKind::Void && come.contains(&one.position);
        let void = derived.all().iter().filter(is_void);
        Some(ChampionChange {
            before,
            after,
            void: void.map(|one| one.position).collect(),
            gone,
            come,
        })
    }

    /// The digest of the champion's state.
    pub fn champion_digest(&self) -> Option<blake3::Hash> {
        let champion = self.accounts.gate.as_ref()?.champion();
        Some(champion.learned.digest())
    }

    /// The digest of the contender's state.
    pub fn contender_digest(&self) -> Option<blake3::Hash> {
        let contender = self.accounts.gate.as_ref()?.contender()?;
        Some(contender.learned.digest())
    }

    /// The evidence that the contender is not worse than the champion by the margin.
    pub fn promotion_evidence(&self) -> Option<Evidence> {
        self.accounts.gate.as_ref()?.promotion(&self.spec.publish)
    }

    /// The evidence that the candidate is worse than the champion.
    pub fn decline_evidence(&self) -> Option<Evidence> {
        let gate = self.accounts.gate.as_ref()?;
        Some(gate.decline(&self.spec.publish))
    }

    /// Incidents, the oldest first.
    pub fn incidents(&self) -> &[Incident] {
        let gate = self.accounts.gate.as_ref();
        gate.map_or(&[], |gate| gate.incidents.all())
    }

    /// True while examples are scored and not learned.
    pub fn is_frozen(&self) -> bool {
        self.accounts.gate.as_ref().is_some_and(Gate::is_frozen)
    }

    /// The person who asked that nothing is learned and the reason, while that is so; both empty where the
    /// gate did it.
    pub fn frozen_by(&self) -> Option<(&str, &str)> {
        let gate = self.accounts.gate.as_ref().filter(|gate| gate.is_frozen());
        gate.map(Gate::frozen_by)
    }

    /// The example at which the next contender is due; none while one is tested or nothing is learned.
    pub fn next_contender(&self) -> Option<u64> {
        let gate = self.accounts.gate.as_ref()?;
        gate.next_contender(&self.spec.publish)
    }

    /// Examples that the gate has had.
    pub fn n_scored(&self) -> u64 {
        self.accounts.gate.as_ref().map_or(0, Gate::n_labels)
    }

    /// The number of the newest attempt to put a learner that began anew in place of the learned state,
    /// since the champion was chosen.
    pub(crate) fn retraining_attempt(&self) -> u64 {
        let gate = self.accounts.gate.as_ref();
        gate.map_or(1, Gate::n_retrainings).max(1)
    }

    /// The newest contender against the champion that was not promoted, since it had forgotten something.
    pub(crate) fn veto_of_newest(&self) -> Option<&Veto> {
        self.accounts.gate.as_ref()?.veto()
    }

    /// The reason why rewards are no evidence here, if they are none.
    pub(crate) fn lacks_evidence(&self) -> Option<&'static str> {
        let lacks = self.accounts.gate.is_some() && !gives_evidence(&self.spec);
        lacks.then_some("no evidence: the policy has no propensity floor")
    }

    /// The version of the state that serves.
    pub fn served_version(&self) -> u64 {
        match self.serving_champion() {
            Some(champion) => champion.version,
            None => self.stream.version,
        }
    }

    /// The function that serves: the champion's under a policy that serves it, else the candidate's.
    pub fn served(&self) -> Model {
        match self.serving_champion() {
            Some(champion) => champion.learned.model_beside(&self.learned, &self.spec),
            None => self.model(),
        }
    }

    /// The function that answers canaries: the candidate's; none where the champion answers all, and where
    /// the candidate serves.
    pub fn canary(&self) -> Option<Model> {
        let is_asked = self.serving_champion().is_some() && self.spec.publish.canary > 0.0;
        is_asked.then(|| self.model())
    }

    /// True if the journaled request whose first row has this id is a canary.
    pub(crate) fn answers_as_canary(&self, first: PredictionId) -> bool {
        self.serving_champion().is_some() && self.spec.is_canary(first)
    }

    /// The function that answers the journaled request whose first row has this id.
    pub(crate) fn served_to(&self, first: PredictionId) -> Model {
        if self.answers_as_canary(first) {
            self.model()
        } else {
            self.served()
        }
    }

    /// The position of the state that serves. One that sees the past of the target answers with that of the
    /// candidate.
    pub(crate) fn served_position(&self) -> u64 {
        match self.serving_champion() {
            Some(champion) if !self.spec.sees_past() => champion.position,
            _ => self.stream.position,
        }
    }

    /// The examples, by source, that the state had learned which answers the journaled request whose first
    /// row has this id.
    pub(crate) fn sources_of(&self, first: PredictionId) -> &Sources {
        match self.serving_champion() {
            Some(champion) if !self.answers_as_canary(first) => &champion.tallies.sources,
            _ => &self.accounts.sources,
        }
    }

    /// The retention of the state which answers the journaled request whose first row has this id; none
    /// where it has no retention set.
    pub(crate) fn retention_of(&self, first: PredictionId) -> Option<f64> {
        match self.serving_champion() {
            Some(champion) if !self.answers_as_canary(first) => champion.learned.retention(),
            _ => self.learned.retention(),
        }
    }

    /// The version and the position of the side that does not serve; none under rules without a gate.
    pub fn unserved(&self) -> Option<(u64, u64)> {
        match self.serving_champion() {
            Some(_) => Some((self.stream.version, self.stream.position)),
            None => self.champion(),
        }
    }

    /// The function of the side that does not serve.
    pub fn unserved_model(&self) -> Option<Model> {
        let gate = self.accounts.gate.as_ref()?;
        Some(match self.serving_champion() {
            Some(_) => self.model(),
            None => gate
                .champion()
                .learned
                .model_beside(&self.learned, &self.spec),
        })
    }

    /// The function of another state beside this one, whose past of the target it sees.
    pub(crate) fn model_beside(&self, other: &Learner) -> Model {
        other.learned.model_beside(&self.learned, &other.spec)
    }

    fn serving_champion(&self) -> Option<&Arc<FrozenState>> {
        match self.spec.publish.policy {
            PublishPolicy::Live => None,
            PublishPolicy::Gated | PublishPolicy::Manual => {
                Some(self.accounts.gate.as_ref()?.champion())
            }
        }
    }

    /// True if the candidate answers, whose state changes with each example.
    pub fn serves_candidate(&self) -> bool {
        self.serving_champion().is_none()
    }

    /// True if the served state changes with every example.
    pub(super) fn serves_what_comes(&self) -> bool {
        self.serving_champion().is_none() || self.spec.sees_past()
    }

    /// The learned state as it is, with its tallies.
    fn frozen_state(&self) -> Arc<FrozenState> {
        Arc::new(FrozenState {
            learned: self.learned.clone(),
            tallies: self.tallies(),
            version: match self.history {
                History::Recorded => self.stream.version,
                // The state before anything was learned is the same in every history.
                History::Other(_) => u64::from(self.stream.position == 1),
            },
            position: self.stream.position,
        })
    }

    /// Makes the state as it is the champion: a person has chosen it, or nothing is known before it.
    pub(super) fn crown(&mut self) {
        if !self.spec.has_gate() {
            self.accounts.gate = None;
            return;
        }
        let champion = self.frozen_state();
        self.accounts
            .monitors
            .iter_mut()
            .for_each(Monitors::begin_sides);
        match &mut self.accounts.gate {
            Some(gate) => gate.crown(champion),
            None => self.accounts.gate = Some(Gate::new(champion)),
        }
    }

    /// Makes the candidate the champion as it is, and a version, where the policy no longer lets it serve:
    /// the served state goes on serving. Where there is evidence against it, the champion serves.
    pub(super) fn keep_serving(&mut self, earlier: PublishPolicy) -> Option<Version> {
        let is_held = self.spec.publish.policy != PublishPolicy::Live;
        let gate = self.accounts.gate.as_ref()?;
        if earlier != PublishPolicy::Live || !is_held || gate.is_suspicious() {
            return None;
        }
        let version = self.make(Reason::Champion);
        self.crown();
        version
    }

    /// Scores every side on an example, before it is learned.
    pub(super) fn score_sides(&mut self, example: Example<'_>, target: Target) {
        let Some(gate) = &mut self.accounts.gate else {
            return;
        };
        if let Target::Correction { .. } = target {
            return;
        }
        if !gate.count(&self.spec) {
            return;
        }
        let past = self
            .learned
            .past_of(example.batch, example.row, example.asked);
        let asked = AskedRow {
            batch: example.batch,
            row: example.row,
            past: past.as_ref(),
            encoders: &self.encoders.0,
        };
        let (spec, champion, contender) = (&self.spec, gate.champion(), gate.contender());
        let answers = SideAnswers {
            candidate: self.learned.answer(spec, asked),
            champion: champion.learned.answer(spec, asked),
            contender: contender.and_then(|state| state.learned.answer(spec, asked)),
        };
        let truth = Truth {
            target,
            propensity: example.propensity,
        };
        let source = example.source.unwrap_or_default();
        if let Some(losses) = gate.observe(spec, truth, &answers, source) {
            self.monitor_sides(example, losses);
        }
    }

    /// Decides by the evidence, and takes the next contender when it is due.
    pub(super) fn decide(&mut self, step: &mut Step) {
        let Some(gate) = &mut self.accounts.gate else {
            return;
        };
        if gate.freeze_on_drift() {
            self.note(Judgement::Frozen, step);
        }
        let Some(gate) = &self.accounts.gate else {
            return;
        };
        let publish = self.spec.publish;
        let judgement = gate.judgement(&publish);
        let (judgement, veto) = match judgement {
            Some(Judgement::Promoted) => match self.veto() {
                None => (judgement, None),
                vetoed => (Some(Judgement::Rejected), vetoed),
            },
            _ => (judgement, None),
        };
        if judgement.is_some_and(|one| one != Judgement::Rejected) {
            self.accounts
                .monitors
                .iter_mut()
                .for_each(Monitors::begin_sides);
        }
        match judgement {
            Some(Judgement::Rewound) => self.rewind(step),
            Some(judgement) => {
                self.note(judgement, step);
                let position = self.stream.position;
                let gate = self.accounts.gate.as_mut().expect("it has judged");
                match judgement {
                    Judgement::Promoted => {
                        gate.promote();
                        step.changed |= publish.policy != PublishPolicy::Live;
                    }
                    Judgement::Rejected => gate.reject(veto),
                    _ => drop(gate.note_decline(position, &publish)),
                }
            }
            None => {}
        }
        let gate = self.accounts.gate.as_ref();
        let takes = gate.is_some_and(|gate| gate.wants_contender(&publish));
        self.note_health(takes);
        if takes {
            // An order may have made a version of the same state.
            if step.version.is_none() {
                step.version = self.make(Reason::Contender);
            }
            let contender = self.frozen_state();
            let gate = self.accounts.gate.as_mut().expect("it wants one");
            gate.challenge(contender);
        }
    }

    /// Looks whether the candidate is broken: at its weights where the next contender is taken, and every so many
    /// examples.
    fn note_health(&mut self, takes: bool) {
        let Some(gate) = &mut self.accounts.gate else {
            return;
        };
        let looks = gate.looks_at_weights(takes);
        let gate = &*gate;
        let norms = || {
            let of_candidate = self.learned.network_norm()?;
            Some([of_candidate, gate.champion().learned.network_norm()?])
        };
        let norms = if looks { norms() } else { None };
        let (position, publish) = (self.stream.position, self.spec.publish);
        if let Some(gate) = &mut self.accounts.gate {
            gate.note_health(position, norms, &publish);
        }
    }

    /// The errors of served answers, or of a slice of them, rise by this evidence.
    pub(super) fn note_alarms(&mut self, alarms: &[(Alarm, f64)]) {
        let (publish, drift) = (self.spec.publish, self.spec.drift);
        let freezes = drift.is_some_and(|drift| drift.action == DriftAction::Freeze);
        if let Some(gate) = &mut self.accounts.gate {
            for (alarm, needed) in alarms {
                gate.note_alarm(alarm, *needed, &publish);
                let is_of_errors = matches!(
                    alarm.watched,
                    WatchedStream::Error | WatchedStream::ErrorWindow
                );
                if freezes && is_of_errors {
                    gate.note_drift();
                }
            }
        }
    }

    /// Brings the champion back in place of the candidate.
    fn rewind(&mut self, step: &mut Step) {
        self.note(Judgement::Rewound, step);
        let (position, publish) = (self.stream.position, self.spec.publish);
        let gate = self.accounts.gate.as_mut().expect("it has judged");
        let freezes = gate.note_decline(position, &publish);
        let champion = gate.champion().clone();
        self.bring_back(champion.learned.clone(), champion.tallies.clone());
        if self.history == History::Recorded {
            self.stream.version = champion.version;
        }
        step.changed = true;
        step.version = self.make(Reason::Rewind).or(step.version.take());
        if freezes {
            self.note(Judgement::Frozen, step);
        }
    }

    /// Takes note of a decision with the evidence for it.
    fn note(&mut self, judgement: Judgement, step: &mut Step) {
        let Some(gate) = &self.accounts.gate else {
            return;
        };
        let publish = &self.spec.publish;
        let contender = gate
            .contender()
            .filter(|_| matches!(judgement, Judgement::Promoted | Judgement::Rejected));
        let evidence = match contender {
            Some(_) => gate.promotion(publish).unwrap_or_default(),
            None => gate.decline(publish),
        };
        let verdict = Verdict {
            position: self.stream.position,
            judgement,
            version: contender.unwrap_or(gate.champion()).version,
            labels: evidence.labels,
            evidence: evidence.wealth,
            difference: evidence.difference,
        };
        if self.history == History::Recorded {
            self.stream.verdicts.push(verdict);
            step.verdicts.push(verdict);
        }
    }

    /// Carries out an order about evidence or incidents.
    pub(super) fn carry_out_of_gate(&mut self, order: &Order, by: (&str, &str)) -> Step {
        let mut step = Step::default();
        step.refused = self.obey(order, by, &mut step);
        if step.refused.is_some() && self.history == History::Recorded {
            let position = self.stream.position;
            self.stream.refusals.push(OrderRefusal { position });
        }
        step
    }

    /// Obeys an order about evidence or incidents; the sentence is the reason where it is not carried out.
    fn obey(&mut self, order: &Order, by: (&str, &str), step: &mut Step) -> Option<String> {
        let is_recorded = self.history == History::Recorded;
        let Some(gate) = &mut self.accounts.gate else {
            let why = "the model has no gate: that begins with rules.revision = 3";
            return Some(why.to_owned());
        };
        match order {
            Order::Promote { version, digest } => {
                let Some(contender) = gate.contender() else {
                    self.void_approval(*digest);
                    return Some("no contender is tested".to_owned());
                };
                // An approval is of these weights, whatever history they are of.
                let is_it = contender.learned.digest() == *digest;
                let is_numbered = contender.version == *version;
                if !is_it || (is_recorded && !is_numbered) {
                    let now = contender.version;
                    self.void_approval(*digest);
                    return Some(format!(
                        "version {version} is not the contender; version {now} is"
                    ));
                }
                self.note(Judgement::Promoted, step);
                let gate = self.accounts.gate.as_mut().expect("it was there");
                gate.promote();
                self.accounts
                    .monitors
                    .iter_mut()
                    .for_each(Monitors::begin_sides);
                step.changed = self.spec.publish.policy != PublishPolicy::Live;
                None
            }
            Order::Freeze => {
                gate.freeze(by);
                None
            }
            Order::Resume => {
                gate.resume();
                None
            }
            Order::Acknowledge { incident } => {
                let state = IncidentState::Acknowledged;
                gate.incidents.move_on(*incident, state, by)
            }
            Order::Close { incident } => {
                gate.incidents.move_on(*incident, IncidentState::Closed, by)
            }
            _ => None,
        }
    }

    /// Voids an approval in another history than its own, where its weights may be others. Weights that are
    /// the champion already need none.
    fn void_approval(&mut self, digest: blake3::Hash) {
        let (position, publish) = (self.stream.position, self.spec.publish);
        if let (History::Other(_), Some(gate)) = (&self.history, &mut self.accounts.gate)
            && gate.champion().learned.digest() != digest
        {
            gate.note_void(position, &publish);
        }
    }

    /// Compares the record of a decision with the derived one. The evidence of other bits is not
    /// compared, and nothing was derived where the learned state is not known.
    pub(super) fn check_verdict(
        &mut self,
        recorded: &Verdict,
        lookup: &dyn Lookup,
    ) -> Result<Step, Error> {
        if self.history != History::Recorded || recorded.position <= self.stream.unknown_until {
            self.stream
                .verdicts
                .retain(|derived| derived.position != recorded.position);
            return Ok(Step::default());
        }
        let derived = self.stream.verdicts.first().copied();
        let same = |derived: &Verdict| {
            let others = Verdict {
                evidence: recorded.evidence,
                difference: recorded.difference,
                ..*derived
            };
            derived == recorded || (others == *recorded && self.has_other_bits(lookup))
        };
        if !derived.as_ref().is_some_and(same) {
            let name = |verdict: Verdict| {
                let (word, version) = (verdict.judgement.word(), verdict.version);
                format!("the verdict {word} on version {version}")
            };
            return Err(Error::Diverged {
                position: self.stream.position,
                recorded: name(*recorded),
                derived: derived.map_or("no verdict".to_owned(), name),
            });
        }
        self.stream.verdicts.remove(0);
        Ok(Step::default())
    }
}

#[cfg(test)]
mod tests;
