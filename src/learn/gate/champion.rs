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

use std::sync::Arc;

use super::anchor_slices::AnchorSlices;
use super::blame::{Blame, RecentErrors};
use super::constancy::Constancy;
use super::e_process::EProcess;
use super::evidence::{ChampionScore, Evidence, Veto};
use super::frozen::FrozenState;
use super::incident::{Incident, IncidentKind, IncidentState, Incidents, clipped};
use super::losses::{LossScale, SideAnswers, Truth};
use crate::event::{Alarm, Judgement, WatchedStream};
use crate::learn::monitors::OF_SOURCE;
use crate::learn::records::saved::{put_texts, take_texts};
use crate::model::weights::{Error, Tensors};
use crate::model::{Publish, PublishPolicy, Spec};

/// Labels between two contenders at most, however many there were.
const SPACING_MAX: u64 = 10_000;
/// From so many times the described number on, contenders stand an eighth of all labels apart.
const SPACING_PART: u64 = 8;
/// Scored labels of a test after which a contender that is worse by the margin on average is rejected.
const LABELS_MIN: u64 = 300;
/// Scored labels after which a contender that is not promoted makes room for a newer one.
const LABELS_MAX: u64 = 5_000;
/// So many contenders could have been taken since one without any evidence for it, which makes room.
const SPACINGS_MAX: u64 = 2;
/// Where the champion serves, the first examples are all scored: they teach the most.
const FIRST_EXAMPLES: u64 = 2_000;
/// At this wealth against the candidate every example is scored, and at this wealth for a contender whose
/// promotion changes the served state.
const SUSPICIOUS: f64 = 3.0;
/// So many examples are all scored once served answers err more, or the candidate looks broken.
const WATCHED_EXAMPLES: u64 = 2_000;
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
    /// In favour of the contender, and against the candidate.
    promotion: EProcess,
    decline: EProcess,
    scale: LossScale,
    /// Examples that have come, those after rewinds and restores included.
    n_labels: u64,
    /// How many had come when the newest contender was taken.
    taken_at: u64,
    /// The same of the newest rewind.
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
    /// Up to this example every one is scored.
    watched_until: u64,
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
            promotion: EProcess::default(),
            decline: EProcess::default(),
            scale: LossScale::default(),
            n_labels: 0,
            taken_at: 0,
            rewound_at: None,
            is_frozen: false,
            frozen_by: Default::default(),
            blame: Blame::default(),
            contender_blame: Blame::default(),
            errors: RecentErrors::default(),
            constancy: Constancy::default(),
            watched_until: 0,
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
        let margin = publish.margin;
        Some(Evidence {
            labels: self.promotion.n(),
            wealth: self.promotion.wealth(),
            needed: k * (k + 1.0) / publish.alpha,
            difference: margin - self.promotion.mean() * (1.0 + margin),
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
        let [of_candidate, of_champion, of_contender] = losses?;
        self.decline.observe(of_candidate - of_champion);
        if self.contender.is_some() {
            let margin = spec.publish.margin;
            let in_favour = of_champion - of_contender + margin;
            self.promotion.observe(in_favour / (1.0 + margin));
        }
        self.blame.add(source, of_champion);
        if self.contender.is_some() {
            self.contender_blame.add(source, of_contender);
        }
        self.constancy.observe(answers);
        Some([of_candidate, of_champion])
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
        let is_worse = promotion.difference >= publish.margin || (is_old && promotion.wealth < 1.0);
        let gives_up = promotion.labels >= LABELS_MIN && is_worse;
        (gives_up || promotion.labels >= LABELS_MAX).then_some(Judgement::Rejected)
    }

    /// True if the next contender is due.
    pub(crate) fn wants_contender(&self, publish: &Publish) -> bool {
        let is_due = self.n_labels >= self.taken_at + self.spacing(publish);
        self.contender.is_none() && is_due && !self.is_frozen
    }

    /// Examples that have come.
    pub(crate) fn n_labels(&self) -> u64 {
        self.n_labels
    }

    /// The example at which the next contender is due, as many as have come by now; none while one is
    /// tested, and while nothing is learned.
    pub(crate) fn next_contender(&self, publish: &Publish) -> Option<u64> {
        let waits = self.contender.is_none() && !self.is_frozen;
        waits.then(|| self.taken_at + self.spacing(publish))
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
        self.promotion = EProcess::default();
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
        self.blame.clear();
        self.veto = None;
        self.begin_again();
    }

    /// Begins all evidence against the same champion anew.
    pub(crate) fn begin_again(&mut self) {
        self.contender = None;
        self.promotion = EProcess::default();
        self.decline = EProcess::default();
        self.contender_blame.clear();
        self.constancy = Constancy::default();
        self.taken_at = self.n_labels;
    }

    /// The candidate proved worse, at a position: raises an incident, and begins the evidence anew. True
    /// if it is a second rewind too close to the first, which freezes the model.
    pub(crate) fn note_decline(&mut self, position: u64, publish: &Publish) -> bool {
        let is_live = publish.policy == PublishPolicy::Live;
        let before = self.rewound_at.replace(self.n_labels);
        let is_close = before.is_some_and(|at| self.n_labels - at <= publish.freeze_within);
        let kind = match (is_live, is_close) {
            (false, _) => IncidentKind::Worse,
            (true, false) => IncidentKind::Rewound,
            (true, true) => IncidentKind::Frozen,
        };
        if is_live || !self.incidents.has_open(kind, "") {
            let incident = self.incident(position, kind, publish);
            self.incidents.raise(incident);
        }
        let freezes = kind == IncidentKind::Frozen;
        self.is_frozen |= freezes;
        self.n_declines += 1;
        if is_live {
            // The candidate is the champion again, and has learned nothing of these labels.
            self.blame.clear();
        }
        self.begin_again();
        freezes
    }

    fn incident(&self, position: u64, kind: IncidentKind, publish: &Publish) -> Incident {
        Incident {
            position,
            kind,
            about: String::new(),
            version: self.champion.version,
            since: self.champion.position,
            evidence: self.decline(publish),
            suspects: self.blame.suspects(),
            state: IncidentState::Open,
            actor: String::new(),
            note: String::new(),
        }
    }

    /// The approval that stands at a position was of weights that this history does not have: raises an
    /// incident.
    pub(crate) fn note_void(&mut self, position: u64, publish: &Publish) {
        let incident = Incident {
            suspects: Vec::new(),
            ..self.incident(position, IncidentKind::Void, publish)
        };
        self.incidents.raise(incident);
    }

    /// A served answer had this error by a label of a source.
    pub(crate) fn note_error(&mut self, source: &str, error: f64) {
        self.errors.add(source, error);
    }

    /// The errors of served answers, or of a slice of them, rise: raises an incident unless one is open, and
    /// scores the examples that follow.
    pub(crate) fn note_alarm(&mut self, alarm: &Alarm, needed: f64, publish: &Publish) {
        let kind = match alarm.watched {
            WatchedStream::Error | WatchedStream::ErrorWindow => IncidentKind::Errors,
            WatchedStream::Slice => IncidentKind::Slice,
            _ => return,
        };
        self.watched_until = self.watched_until.max(self.n_labels + WATCHED_EXAMPLES);
        if self.incidents.has_open(kind, &alarm.input) {
            return;
        }
        let (labels, difference) = self.errors.rise();
        let incident = Incident {
            about: alarm.input.clone(),
            evidence: Evidence {
                labels,
                wealth: alarm.evidence,
                needed,
                difference,
            },
            suspects: self.errors.suspects(alarm.input.strip_prefix(OF_SOURCE)),
            ..self.incident(alarm.position, kind, publish)
        };
        self.incidents.raise(incident);
    }

    /// Raises an incident where the candidate answers every row alike, or its weights, which have this norm
    /// beside the champion's, have exploded; none of both decides alone, so the test begins anew.
    pub(crate) fn note_health(
        &mut self,
        position: u64,
        norms: Option<[f64; 2]>,
        publish: &Publish,
    ) {
        let has_exploded = norms.is_some_and(|[of_candidate, of_champion]| {
            of_champion > 0.0 && of_candidate > EXPLODED * of_champion
        });
        let signs = [
            (IncidentKind::Constant, self.constancy.is_shown()),
            (IncidentKind::Exploding, has_exploded),
        ];
        for (kind, is_shown) in signs {
            if is_shown && !self.incidents.has_open(kind, "") {
                let incident = self.incident(position, kind, publish);
                self.incidents.raise(incident);
                self.watched_until = self.watched_until.max(self.n_labels + WATCHED_EXAMPLES);
                // A new test, so that earlier evidence is no help to the candidate.
                self.n_declines += 1;
                self.decline = EProcess::default();
            }
        }
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

    pub(crate) fn save(&self, tensors: &mut Tensors) {
        let mut all = Tensors::default();
        self.champion.save("champion", &mut all);
        if let Some(contender) = &self.contender {
            contender.save("contender", &mut all);
        }
        self.promotion.save("promotion", &mut all);
        self.decline.save("decline", &mut all);
        self.scale.save(&mut all);
        let numbers = vec![
            self.n_contenders,
            self.n_declines,
            self.n_labels,
            self.taken_at,
            self.rewound_at.map_or(0, |at| at + 1),
            u64::from(self.is_frozen),
            self.watched_until,
        ];
        all.put_u64("numbers", &[numbers.len()], numbers);
        let mut frozen_by = Tensors::default();
        put_texts(&mut frozen_by, self.frozen_by.iter().map(String::as_str));
        all.nest("frozen_by", frozen_by);
        self.blame.save("blame", &mut all);
        self.contender_blame.save("contender_blame", &mut all);
        self.errors.save("errors", &mut all);
        self.constancy.save(&mut all);
        if let Some(veto) = &self.veto {
            save_veto(veto, &mut all);
        }
        self.anchor_slices.save(&mut all);
        self.incidents.save(&mut all);
        tensors.nest("gate", all);
    }

    /// As it was saved; none where nothing was.
    pub(crate) fn load(spec: &Spec, tensors: &mut Tensors) -> Result<Option<Gate>, Error> {
        let mut all = tensors.unnest("gate");
        let Some(champion) = FrozenState::load("champion", spec, &mut all)? else {
            return Ok(None);
        };
        let numbers = all.take_u64("numbers", &[None])?;
        let (numbers, later) = numbers
            .split_at_checked(6)
            .ok_or_else(|| Error::value("numbers", "fewer than a gate has"))?;
        let frozen_by = take_texts(&mut all.unnest("frozen_by"))?;
        let two = |_| Error::value("frozen_by", "not a person and a reason");
        Ok(Some(Gate {
            champion,
            contender: FrozenState::load("contender", spec, &mut all)?,
            n_contenders: numbers[0],
            promotion: EProcess::load("promotion", &mut all)?,
            decline: EProcess::load("decline", &mut all)?,
            scale: LossScale::load(&mut all)?,
            n_declines: numbers[1],
            n_labels: numbers[2],
            taken_at: numbers[3],
            rewound_at: numbers[4].checked_sub(1),
            is_frozen: numbers[5] == 1,
            frozen_by: frozen_by.try_into().map_err(two)?,
            blame: Blame::load("blame", &mut all)?,
            contender_blame: Blame::load("contender_blame", &mut all)?,
            errors: RecentErrors::load("errors", &mut all)?,
            constancy: Constancy::load(&mut all)?,
            watched_until: later.first().copied().unwrap_or(0),
            veto: load_veto(&mut all)?,
            anchor_slices: AnchorSlices::load(&mut all)?,
            incidents: Incidents::load(&mut all)?,
        }))
    }
}

fn save_veto(veto: &Veto, tensors: &mut Tensors) {
    let numbers = vec![veto.version, veto.anchors, veto.right[0], veto.right[1]];
    let mut saved = Tensors::default();
    saved.put_u64("numbers", &[4], numbers);
    put_texts(&mut saved, [&veto.class[..], &veto.slice].into_iter());
    tensors.nest("veto", saved);
}

fn load_veto(tensors: &mut Tensors) -> Result<Option<Veto>, Error> {
    let mut saved = tensors.unnest("veto");
    if saved.0.is_empty() {
        return Ok(None);
    }
    let numbers = saved.take_u64("numbers", &[Some(4)])?;
    let two = |_| Error::value("veto", "not a class and a slice");
    let [class, slice] = take_texts(&mut saved)?.try_into().map_err(two)?;
    Ok(Some(Veto {
        version: numbers[0],
        class,
        slice,
        anchors: numbers[1],
        right: [numbers[2], numbers[3]],
    }))
}

/// A hash of a number, by SplitMix64 (Steele, Lea and Flood 2014).
fn hash(seed: u64, number: u64) -> u64 {
    let mut mixed = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
