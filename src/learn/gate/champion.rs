//! The champion of a model, the contender for its place, and the evidence about both.
//!
//! The champion is the last state that evidence or a person confirmed; the contender is a frozen copy of
//! the candidate. Every scored label is evidence whether the contender is worse than the champion by the
//! margin, and whether the candidate is worse at all.
//!
//! Invariant: champion and contender learn nothing, and the candidate descends from both. The k-th
//! contender against a champion is promoted at a wealth of `k (k + 1) / alpha`, so that all tests against
//! it together promote wrongly with a probability of at most `alpha`; so it is with rewinds, of which the
//! first may spend half of that.

mod raised;
mod saved;

use std::sync::Arc;

use super::anchor_slices::AnchorSlices;
use super::blame::{Blame, RecentErrors};
use super::constancy::Constancy;
use super::differences::Differences;
use super::evidence::{ChampionScore, Evidence, Veto};
use super::frozen::FrozenState;
use super::incident::{Incidents, clipped};
use super::losses::{LossScale, SideAnswers, SideLosses, Truth};
use crate::event::Judgement;
use crate::learn::memory::anchors::hash;
use crate::model::{Publish, PublishPolicy, Spec};

/// Labels between two contenders at most, however many there were.
const SPACING_MAX: u64 = 10_000;
/// The multiple of the described number from which on contenders stand an eighth of all labels apart.
const SPACING_PART: u64 = 8;
/// Scored labels of a test after which a contender that is worse by the margin on average is rejected.
const LABELS_MIN: u64 = 300;
/// Scored labels after which a contender that is not promoted makes room for a newer one.
const LABELS_MAX: u64 = 5_000;
/// Rewards vary so much more than other losses that so many times the labels are waited for.
const REWARDS_PART: u64 = 4;
/// The contenders that could have been taken since one without any evidence for it, which makes room.
const SPACINGS_MAX: u64 = 2;
/// The first examples, all of which are scored where the champion serves: they teach the most.
const FIRST_EXAMPLES: u64 = 2_000;
/// The wealth against the candidate at which every example is scored, and the wealth for a contender whose
/// promotion changes the served state.
const SUSPICIOUS: f64 = 3.0;
/// The examples that are all scored once served answers err more, or the candidate looks broken; for as many
/// no contender is taken once the candidate proved worse than a champion that serves.
const WATCHED_EXAMPLES: u64 = 2_000;
/// Examples between two looks at the weights of the candidate.
const LOOK_EVERY: u64 = 1_024;
/// Weights of the candidate that are so many times as large as the champion's have exploded.
const EXPLODED: f64 = 1e4;

/// Champion, contender and evidence.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gate {
    champion: Arc<FrozenState>,
    contender: Option<Arc<FrozenState>>,
    /// Contenders against this champion, the present one included.
    n_contenders: u64,
    /// Times that the candidate proved worse than this champion.
    n_declines: u64,
    /// The evidence in favour of the contender, and against the candidate.
    promotion: Differences,
    decline: Differences,
    scale: LossScale,
    /// Learners that began anew since this champion, to take the candidate's place.
    n_retrainings: u64,
    /// The number of examples that had come when the weights were last looked at.
    looked_at: u64,
    /// Examples that have come, those after rewinds and restores included.
    n_labels: u64,
    /// The number of examples when the newest contender was taken.
    taken_at: u64,
    /// The example up to which no contender is taken, since the candidate proved worse.
    rests_until: u64,
    /// The number of examples at the newest rewind.
    rewound_at: Option<u64>,
    /// True while nothing is learned.
    is_frozen: bool,
    /// The person who asked for that and the reason; both empty where the gate did it.
    frozen_by: [String; 2],
    /// The losses of the champion since its state was taken, by the source of the labels; and those of the
    /// contender.
    blame: Blame,
    contender_blame: Blame,
    /// The errors of served answers.
    errors: RecentErrors,
    constancy: Constancy,
    /// The example up to which every one is scored.
    watched_until: u64,
    /// The times at which feedback last came, and an example was last learned, before the newest silences
    /// that an incident was raised for; 0 before the first.
    silences: [i64; 2],
    /// True from an alarm about errors to the end of its entry, where that is to freeze the model.
    has_drifted: bool,
    /// The newest contender against this champion that had forgotten something.
    veto: Option<Veto>,
    pub(crate) anchor_slices: AnchorSlices,
    pub(crate) incidents: Incidents,
}

impl Gate {
    /// A gate whose champion is this state.
    pub(crate) fn new(champion: Arc<FrozenState>) -> Gate {
        Gate {
            champion,
            contender: None,
            n_contenders: 0,
            n_declines: 0,
            n_retrainings: 0,
            looked_at: 0,
            promotion: Differences::default(),
            decline: Differences::default(),
            scale: LossScale::default(),
            n_labels: 0,
            taken_at: 0,
            rests_until: 0,
            rewound_at: None,
            is_frozen: false,
            frozen_by: Default::default(),
            blame: Blame::default(),
            contender_blame: Blame::default(),
            errors: RecentErrors::default(),
            constancy: Constancy::default(),
            watched_until: 0,
            has_drifted: false,
            silences: [0; 2],
            veto: None,
            anchor_slices: AnchorSlices::default(),
            incidents: Incidents::default(),
        }
    }

    pub(crate) fn champion(&self) -> &Arc<FrozenState> {
        &self.champion
    }

    pub(crate) fn contender(&self) -> Option<&Arc<FrozenState>> {
        self.contender.as_ref()
    }

    /// True while examples are scored and not learned.
    pub(crate) fn is_frozen(&self) -> bool {
        self.is_frozen
    }

    /// The person who asked for the freeze and the reason; both empty where the gate did it.
    pub(crate) fn frozen_by(&self) -> (&str, &str) {
        (&self.frozen_by[0], &self.frozen_by[1])
    }

    /// Learns nothing more, as a person asks for a reason.
    pub(crate) fn freeze(&mut self, (actor, note): (&str, &str)) {
        self.is_frozen = true;
        self.frozen_by = [clipped(actor), clipped(note)];
    }

    /// The error of served answers has drifted, which is to freeze the model.
    pub(crate) fn note_drift(&mut self) {
        self.has_drifted = true;
    }

    /// Learns nothing more where that was noted; true if it did until now.
    pub(crate) fn freeze_on_drift(&mut self) -> bool {
        let freezes = std::mem::take(&mut self.has_drifted) && !self.is_frozen;
        self.is_frozen |= freezes;
        freezes
    }

    /// Learns again.
    pub(crate) fn resume(&mut self) {
        self.is_frozen = false;
        self.frozen_by = Default::default();
        self.rewound_at = None;
    }

    /// The evidence that the contender is not worse than the champion by the margin.
    pub(crate) fn promotion(&self, publish: &Publish) -> Option<Evidence> {
        self.contender.as_ref()?;
        let k = self.n_contenders as f64;
        Some(Evidence {
            labels: self.promotion.n(),
            wealth: self.promotion.wealth(),
            needed: k * (k + 1.0) / publish.alpha,
            difference: self.promotion.mean(),
        })
    }

    /// The evidence that the candidate is worse than the champion.
    pub(crate) fn decline(&self, publish: &Publish) -> Evidence {
        let k = (self.n_declines + 1) as f64;
        Evidence {
            labels: self.decline.n(),
            wealth: self.decline.wealth(),
            needed: k * (k + 1.0) / publish.alpha,
            difference: self.decline.mean(),
        }
    }

    /// Takes note that a learner begins anew, whose answers are held against those that were served.
    pub(crate) fn note_retraining(&mut self) {
        self.n_retrainings += 1;
    }

    /// Learners that began anew since this champion.
    pub(crate) fn n_retrainings(&self) -> u64 {
        self.n_retrainings
    }

    /// True if the weights of the candidate are to be looked at, as they are with each contender and every so
    /// many examples; it counts as done.
    pub(crate) fn looks_at_weights(&mut self, takes: bool) -> bool {
        let looks = takes || self.n_labels >= self.looked_at + LOOK_EVERY;
        if looks {
            self.looked_at = self.n_labels;
        }
        looks
    }

    /// Counts an example that comes; true if it is to be scored, which earlier labels and a hash decide.
    pub(crate) fn count(&mut self, spec: &Spec) -> bool {
        self.n_labels += 1;
        let every = spec.publish.score_every;
        self.scores_all(&spec.publish) || hash(spec.seed, self.n_labels).is_multiple_of(every)
    }

    /// True while every example is scored: while the evidence points against the candidate, after an incident,
    /// and, where the champion serves, at first, while a contender is new and while the evidence points to
    /// its promotion.
    fn scores_all(&self, publish: &Publish) -> bool {
        if self.n_labels <= self.watched_until || self.is_suspicious() {
            return true;
        }
        if publish.policy == PublishPolicy::Live {
            return false;
        }
        let promotion = self.promotion(publish);
        let is_new = self.n_labels <= FIRST_EXAMPLES;
        is_new
            || promotion.is_some_and(|evidence| {
                let is_promising =
                    evidence.wealth > SUSPICIOUS && evidence.wealth < evidence.needed;
                evidence.labels < LABELS_MIN || is_promising
            })
    }

    /// Takes the label of a row, of a source, as evidence; gives the losses of candidate and champion.
    pub(crate) fn observe(
        &mut self,
        spec: &Spec,
        truth: Truth,
        answers: &SideAnswers,
        source: &str,
    ) -> Option<[f64; 2]> {
        let SideAnswers {
            candidate,
            champion,
            contender,
        } = answers;
        let sides = [candidate.as_ref(), champion.as_ref(), contender.as_ref()];
        let losses = self.scale.losses(spec, truth, sides);
        self.scale.observe(truth, champion.as_ref());
        let SideLosses {
            bounded,
            shown,
            blamed,
            margin_part,
            ..
        } = losses?;
        self.decline
            .observe(bounded[0] - bounded[1], shown[0] - shown[1]);
        self.blame.add(source, [shown[1], blamed[1]]);
        if self.contender.is_some() {
            let margin = margin_part * spec.publish.margin;
            let in_favour = (bounded[1] - bounded[2] + margin) / (1.0 + margin);
            self.promotion.observe(in_favour, shown[2] - shown[1]);
            self.contender_blame.add(source, [shown[2], blamed[2]]);
        }
        self.constancy.observe(answers);
        Some([shown[0], shown[1]])
    }

    /// True if the evidence against the candidate is so strong that every example is scored.
    pub(crate) fn is_suspicious(&self) -> bool {
        self.decline.wealth() > SUSPICIOUS
    }

    /// The champion, and its mean loss since its state was taken.
    pub(crate) fn champion_score(&self) -> ChampionScore {
        let (labels, loss) = self.blame.sum();
        ChampionScore {
            version: self.champion.version,
            position: self.champion.position,
            labels,
            loss: (labels > 0).then(|| loss / labels as f64),
        }
    }

    /// The decision that the evidence asks for, if it asks for one.
    pub(crate) fn judgement(&self, publish: &Publish) -> Option<Judgement> {
        let decline = self.decline(publish);
        if decline.wealth >= decline.needed {
            return match publish.policy {
                PublishPolicy::Live => Some(Judgement::Rewound),
                PublishPolicy::Gated | PublishPolicy::Manual => Some(Judgement::Declined),
            };
        }
        // While nothing is learned a person alone promotes.
        let promotion = self.promotion(publish).filter(|_| !self.is_frozen)?;
        if promotion.wealth >= promotion.needed {
            return match publish.policy {
                PublishPolicy::Live | PublishPolicy::Gated => Some(Judgement::Promoted),
                // It waits for a person, until a newer one takes its place.
                PublishPolicy::Manual => {
                    (promotion.labels >= LABELS_MAX).then_some(Judgement::Rejected)
                }
            };
        }
        let is_old = self.n_labels >= self.taken_at + SPACINGS_MAX * self.spacing(publish);
        let is_worse = !self.promotion.are_in_favour() || (is_old && promotion.wealth < 1.0);
        let part = if self.scale.has_rewards() {
            REWARDS_PART
        } else {
            1
        };
        let gives_up = promotion.labels >= part * LABELS_MIN && is_worse;
        (gives_up || promotion.labels >= part * LABELS_MAX).then_some(Judgement::Rejected)
    }

    /// True if the next contender is due.
    pub(crate) fn wants_contender(&self, publish: &Publish) -> bool {
        let next = self.next_contender(publish);
        next.is_some_and(|next| self.n_labels >= next)
    }

    /// Examples that have come.
    pub(crate) fn n_labels(&self) -> u64 {
        self.n_labels
    }

    /// The example at which the next contender is due, as many as have come by now; none while one is
    /// tested, and while nothing is learned.
    pub(crate) fn next_contender(&self, publish: &Publish) -> Option<u64> {
        let waits = self.contender.is_none() && !self.is_frozen;
        let next = self.taken_at + self.spacing(publish);
        waits.then(|| next.max(self.rests_until))
    }

    fn spacing(&self, publish: &Publish) -> u64 {
        let every = publish.every_examples;
        (self.n_labels / SPACING_PART).clamp(every, SPACING_MAX.max(every))
    }

    /// Tests this state from now on.
    pub(crate) fn challenge(&mut self, contender: Arc<FrozenState>) {
        self.contender = Some(contender);
        self.n_contenders += 1;
        self.taken_at = self.n_labels;
        self.promotion = Differences::default();
        self.contender_blame.clear();
    }

    /// The newest contender against this champion that had forgotten something.
    pub(crate) fn veto(&self) -> Option<&Veto> {
        self.veto.as_ref()
    }

    /// Gives up the contender, which has forgotten something if this is true.
    pub(crate) fn reject(&mut self, veto: Option<Veto>) {
        self.veto = veto.or(self.veto.take());
        self.contender = None;
        self.contender_blame.clear();
    }

    /// Makes the contender the champion.
    pub(crate) fn promote(&mut self) {
        if let Some(contender) = self.contender.take() {
            let taken_at = self.taken_at;
            let blame = std::mem::take(&mut self.contender_blame);
            self.crown(contender);
            // It reaches as far back as the state of the new champion.
            self.blame = blame;
            // The next one is due where it would have been without the promotion.
            self.taken_at = taken_at;
        }
    }

    /// Makes this state the champion, against which all evidence begins anew.
    pub(crate) fn crown(&mut self, champion: Arc<FrozenState>) {
        self.champion = champion;
        (self.n_contenders, self.n_declines) = (0, 0);
        self.n_retrainings = 0;
        self.rests_until = 0;
        self.blame.clear();
        self.veto = None;
        self.begin_again();
    }

    /// Begins all evidence against the same champion anew.
    pub(crate) fn begin_again(&mut self) {
        self.contender = None;
        self.promotion = Differences::default();
        self.decline = Differences::default();
        self.contender_blame.clear();
        self.constancy = Constancy::default();
        self.taken_at = self.n_labels;
    }

    /// Gives champion and contender the numbers of versions: those of the recorded history are not theirs,
    /// wherever the derivation of their own started. A version that is `kept` is the same in both.
    pub(crate) fn number(&mut self, [champion, contender]: [u64; 2], kept: Option<u64>) {
        Arc::make_mut(&mut self.champion).version = champion;
        if let Some(state) = &mut self.contender {
            Arc::make_mut(state).version = contender;
        }
        let position = self.champion.position;
        self.incidents.number(position, champion, kept);
    }

    /// Takes the settings of a changed description of the same shape.
    pub(crate) fn reconfigure(&mut self, spec: &Spec) {
        for state in [Some(&mut self.champion), self.contender.as_mut()]
            .into_iter()
            .flatten()
        {
            Arc::make_mut(state).learned.reconfigure(spec);
        }
    }
}
