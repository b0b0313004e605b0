//! Learning events: the events of a model that people watch for, one value for the log, for those who
//! watch, and for the webhook.
//!
//! Invariant: an event is of a step that the learner made with an entry of the live journal, never of one
//! that recovery or a replay made again; (model, position, kind, generation) names it, and no other one.

use serde_json::{Value, json};

use crate::event::{Alarm, Entry, Event, Feedback, Judgement, Order, Reason, Time, Verdict};
use crate::learn::{ChampionChange, Incident, Learner, QuarantineCause, Step};

/// Alarms of one entry that an event holds; the rest are counted in its message.
const ALARMS_MAX: usize = 16;
/// Positions of incidents that an event holds of those that came, and of those that went.
const POSITIONS_MAX: usize = 64;

/// The subject of a learning event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LearningEventKind {
    /// The contender became the champion.
    Promoted,
    /// The contender was given up.
    Rejected,
    /// The candidate proved worse, and the champion is back in its place.
    Rewound,
    /// The candidate proved worse than the champion, which serves.
    Declined,
    /// Examples are scored and not learned from here on.
    Frozen,
    /// Examples are learned again.
    Resumed,
    /// An incident was raised.
    Incident,
    /// A person sees to an incident.
    IncidentAcknowledged,
    /// An incident is done with.
    IncidentClosed,
    /// Watched streams have changed.
    Drift,
    /// An earlier version was restored.
    Restored,
    /// An order made a version of the state as it was.
    Checkpoint,
    /// A name was given to a version, or taken from it.
    Alias,
    /// The first feedback waits in quarantine for a person.
    Quarantined,
    /// Feedback that waited there was taken.
    Released,
    /// Feedback is discarded: it is never learned.
    Discarded,
    /// A learner that begins anew is derived.
    RetrainingBegun,
    /// Its state was put in place of the learned one.
    Retrained,
    /// The new learner was given up, or not taken.
    RetrainingEnded,
    /// An order has brought another history: its incidents came and went.
    HistoryRevised,
    /// Nothing is learned or journaled any more, until the server is started again.
    Halted,
}

impl LearningEventKind {
    /// Every kind.
    pub const ALL: [LearningEventKind; 21] = [
        LearningEventKind::Promoted,
        LearningEventKind::Rejected,
        LearningEventKind::Rewound,
        LearningEventKind::Declined,
        LearningEventKind::Frozen,
        LearningEventKind::Resumed,
        LearningEventKind::Incident,
        LearningEventKind::IncidentAcknowledged,
        LearningEventKind::IncidentClosed,
        LearningEventKind::Drift,
        LearningEventKind::Restored,
        LearningEventKind::Checkpoint,
        LearningEventKind::Alias,
        LearningEventKind::Quarantined,
        LearningEventKind::Released,
        LearningEventKind::Discarded,
        LearningEventKind::RetrainingBegun,
        LearningEventKind::Retrained,
        LearningEventKind::RetrainingEnded,
        LearningEventKind::HistoryRevised,
        LearningEventKind::Halted,
    ];

    /// The word for it, on the wire, in metrics and on screens.
    pub fn word(self) -> &'static str {
        match self {
            LearningEventKind::Promoted => "promoted",
            LearningEventKind::Rejected => "rejected",
            LearningEventKind::Rewound => "rewound",
            LearningEventKind::Declined => "declined",
            LearningEventKind::Frozen => "frozen",
            LearningEventKind::Resumed => "resumed",
            LearningEventKind::Incident => "incident",
            LearningEventKind::IncidentAcknowledged => "incident_acknowledged",
            LearningEventKind::IncidentClosed => "incident_closed",
            LearningEventKind::Drift => "drift",
            LearningEventKind::Restored => "restored",
            LearningEventKind::Checkpoint => "checkpoint",
            LearningEventKind::Alias => "alias",
            LearningEventKind::Quarantined => "quarantined",
            LearningEventKind::Released => "released",
            LearningEventKind::Discarded => "discarded",
            LearningEventKind::RetrainingBegun => "retraining_begun",
            LearningEventKind::Retrained => "retrained",
            LearningEventKind::RetrainingEnded => "retraining_ended",
            LearningEventKind::HistoryRevised => "history_revised",
            LearningEventKind::Halted => "halted",
        }
    }

    /// True if it asks for a person.
    pub(crate) fn is_warning(self) -> bool {
        matches!(
            self,
            LearningEventKind::Rewound
                | LearningEventKind::Declined
                | LearningEventKind::Frozen
                | LearningEventKind::Incident
                | LearningEventKind::Drift
                | LearningEventKind::Quarantined
                | LearningEventKind::Halted
        )
    }
}

/// One learning event.
#[derive(Clone, Debug, PartialEq)]
pub struct LearningEvent {
    /// The model.
    pub model: String,
    /// The position of the entry that it came with.
    pub position: u64,
    /// The history that it is of: the position of the newest order before it that has brought another
    /// history, 0 before the first.
    pub generation: u64,
    /// Its subject.
    pub kind: LearningEventKind,
    /// The number of earlier events of this kind of the entry.
    pub place: usize,
    /// The journal time of the entry.
    pub time: Time,
    /// The version that it is about; 0 of none.
    pub version: u64,
    /// The event in one sentence.
    pub message: String,
    /// The actor of the order that it came with; empty where there was no order.
    pub actor: String,
    /// The reason in that person's words.
    pub note: String,
    /// The decision of the gate, of `promoted`, `rejected`, `rewound`, `declined` and `frozen`.
    pub verdict: Option<Verdict>,
    /// The first alarms of `drift`.
    pub alarms: Vec<Alarm>,
    /// The incident, of `incident`.
    pub incident: Option<Incident>,
    /// Positions of incidents that only the new history has, of `history_revised`, at most 64.
    pub incidents_added: Vec<u64>,
    /// Positions of incidents that it does not have, at most 64.
    pub incidents_withdrawn: Vec<u64>,
}

impl LearningEvent {
    /// The id by which a receiver knows it when it comes twice: `MODEL/POSITION/KIND/GENERATION`; the kind of
    /// the second one of an entry is `KIND-2`, and so on.
    pub fn id(&self) -> String {
        let (model, position, generation) = (&self.model, self.position, self.generation);
        let place = match self.place {
            0 => String::new(),
            before => format!("-{}", before + 1),
        };
        format!(
            "{model}/{position}/{}{place}/{generation}",
            self.kind.word()
        )
    }

    /// The event as an object, for a webhook.
    pub(crate) fn object(&self) -> Value {
        let mut object = json!({
            "id": self.id(),
            "model": self.model,
            "position": self.position,
            "generation": self.generation,
            "kind": self.kind.word(),
            "time": self.time.to_string(),
            "version": self.version,
            "message": self.message,
            "actor": self.actor,
            "note": self.note,
        });
        if let Some(verdict) = self.verdict {
            object["labels"] = verdict.labels.into();
            object["wealth"] = verdict.evidence.into();
            object["difference"] = verdict.difference.into();
        }
        if !self.alarms.is_empty() {
            object["alarms"] = self.alarms.iter().map(alarm).collect();
        }
        if let Some(one) = &self.incident {
            object["incident"] = incident(&self.model, one);
        }
        if self.kind == LearningEventKind::HistoryRevised {
            object["incidents_added"] = json!(self.incidents_added);
            object["incidents_withdrawn"] = json!(self.incidents_withdrawn);
        }
        object
    }

    /// An event of a model at a position, without further fields.
    pub(crate) fn new(
        kind: LearningEventKind,
        (model, position, time): (&str, u64, Time),
        message: String,
    ) -> LearningEvent {
        LearningEvent {
            model: model.to_owned(),
            position,
            generation: 0,
            kind,
            place: 0,
            time,
            version: 0,
            message,
            actor: String::new(),
            note: String::new(),
            verdict: None,
            alarms: Vec::new(),
            incident: None,
            incidents_added: Vec::new(),
            incidents_withdrawn: Vec::new(),
        }
    }
}

fn alarm(alarm: &Alarm) -> Value {
    json!({
        "watched": alarm.watched.word(),
        "input": alarm.input,
        "change": alarm.change.word(),
        "evidence": alarm.evidence,
    })
}

fn incident(model: &str, incident: &Incident) -> Value {
    let suspects = incident.suspects.iter().map(|one| {
        json!({
            "source": one.source,
            "share": one.share,
            "labels": one.labels,
            "loss": one.loss,
        })
    });
    json!({
        "incident": incident.position,
        "kind": incident.kind.word(),
        "about": incident.about,
        "version": incident.version,
        "since": incident.since,
        "suspects": suspects.collect::<Vec<_>>(),
        "remedy": incident.remedy(model),
    })
}

/// The events of a step that the learner has just made.
pub(crate) fn of_step(
    model: &str,
    learner: &Learner,
    entry: &Entry,
    step: &Step,
) -> Vec<LearningEvent> {
    let mut events = Vec::new();
    let place = (model, entry.position, entry.time);
    let new = |kind, message| LearningEvent::new(kind, place, message);
    if let Event::Command(command) = &entry.event {
        let of_order = of_order(place, &command.order, step);
        events.extend(of_order.map(|event| LearningEvent {
            actor: command.actor.clone(),
            note: command.note.clone(),
            ..event
        }));
    }
    for verdict in &step.verdicts {
        let (actor, note) = match &entry.event {
            Event::Command(command) => (command.actor.clone(), command.note.clone()),
            _ => Default::default(),
        };
        events.push(LearningEvent {
            version: verdict.version,
            verdict: Some(*verdict),
            actor,
            note,
            ..new(
                kind_of(verdict.judgement),
                sentence(verdict, &step.verdicts),
            )
        });
    }
    events.extend(of_incidents(place, learner.incidents()));
    if let (Some(cause), Event::Feedback(feedback)) = (step.held_back, &entry.event) {
        // Those that follow it wait in a quarantine that is known by now.
        let is_first = learner.quarantined().nth(1).is_none();
        events.extend(is_first.then(|| {
            let message = quarantined_sentence(model, cause, feedback);
            new(LearningEventKind::Quarantined, message)
        }));
    }
    if !step.alarms.is_empty() {
        let alarms = step.alarms.iter().take(ALARMS_MAX).cloned().collect();
        events.push(LearningEvent {
            alarms,
            ..new(LearningEventKind::Drift, drift_sentence(&step.alarms))
        });
    }
    if !events.is_empty() {
        let newest = |reason| learner.newest().of(reason).unwrap_or(0);
        let generation = newest(Reason::Retract).max(newest(Reason::Adopt));
        events
            .iter_mut()
            .for_each(|event| event.generation = generation);
    }
    events
}

/// The events of the incidents that an entry raised, of all that there are.
fn of_incidents<'a>(
    place: (&'a str, u64, Time),
    incidents: &'a [Incident],
) -> impl Iterator<Item = LearningEvent> + 'a {
    let (model, position, _) = place;
    let raised = incidents.iter().filter(move |one| one.position == position);
    raised.enumerate().map(move |(nth, one)| {
        let kind = LearningEventKind::Incident;
        LearningEvent {
            place: nth,
            version: one.version,
            incident: Some(one.clone()),
            ..LearningEvent::new(kind, place, raised_sentence(model, one))
        }
    })
}

/// The event of an order; none of an order that is no learning event, or that was refused.
fn of_order(place: (&str, u64, Time), order: &Order, step: &Step) -> Option<LearningEvent> {
    let made = step.version.as_ref().map_or(0, |version| version.version);
    let change = step.champion.clone().unwrap_or_default();
    let (kind, message) = match (order, &step.refused) {
        (Order::Retract(_) | Order::Adopt(_), None) => (
            LearningEventKind::HistoryRevised,
            revised_sentence(order, step, &change),
        ),
        (order, refused) => of_plain_order(order, refused.as_deref(), made)?,
    };
    let first = |mut positions: Vec<u64>| {
        positions.truncate(POSITIONS_MAX);
        positions
    };
    Some(LearningEvent {
        version: made,
        incidents_added: first(change.come),
        incidents_withdrawn: first(change.gone),
        ..LearningEvent::new(kind, place, message)
    })
}

/// The kind and the sentence of an order that brings no other history, but for its version.
fn of_plain_order(
    order: &Order,
    refused: Option<&str>,
    made: u64,
) -> Option<(LearningEventKind, String)> {
    use LearningEventKind as Kind;
    Some(match (order, refused) {
        (Order::Retrain { .. }, Some(why)) => (
            Kind::RetrainingEnded,
            format!("the state of the learner that began anew was not taken: {why}"),
        ),
        (_, Some(_)) => return None,
        (Order::Freeze, None) => (
            Kind::Frozen,
            "examples are scored and not learned".to_owned(),
        ),
        (Order::Resume, None) => (Kind::Resumed, "examples are learned again".to_owned()),
        (Order::Acknowledge { incident }, None) => (
            Kind::IncidentAcknowledged,
            format!("a person sees to incident {incident}"),
        ),
        (Order::Close { incident }, None) => (
            Kind::IncidentClosed,
            format!("incident {incident} is closed"),
        ),
        (Order::Restore { version } | Order::EarlierRestore { version }, None) => (
            Kind::Restored,
            format!("version {version} is restored as version {made}"),
        ),
        (Order::BeginRetraining { newest: 0 }, None) => (
            Kind::RetrainingBegun,
            "a learner is derived anew from all that is retained".to_owned(),
        ),
        (Order::BeginRetraining { newest }, None) => (
            Kind::RetrainingBegun,
            format!("a learner is derived anew from the newest {newest} labelled rows"),
        ),
        (Order::Retrain { .. }, None) => (
            Kind::Retrained,
            format!("version {made} is the state of a learner that began anew"),
        ),
        (Order::EndRetraining, None) => (
            Kind::RetrainingEnded,
            "the learner that began anew was given up".to_owned(),
        ),
        (order, None) => return of_named_order(order, made),
    })
}

/// The kind and the sentence of an order about an alias, or about feedback in quarantine.
fn of_named_order(order: &Order, made: u64) -> Option<(LearningEventKind, String)> {
    use LearningEventKind as Kind;
    Some(match order {
        Order::Checkpoint => (
            Kind::Checkpoint,
            format!("version {made} is the state as it was"),
        ),
        Order::SetAlias { alias, version } => {
            (Kind::Alias, format!("{alias:?} names version {version}"))
        }
        Order::RemoveAlias { alias } => {
            (Kind::Alias, format!("{alias:?} names no version any more"))
        }
        Order::Release(selector) => (
            Kind::Released,
            format!("what waited of {selector} is taken"),
        ),
        Order::Discard(selector) => (
            Kind::Discarded,
            format!("what waited of {selector} is never learned"),
        ),
        _ => return None,
    })
}

fn kind_of(judgement: Judgement) -> LearningEventKind {
    match judgement {
        Judgement::Promoted => LearningEventKind::Promoted,
        Judgement::Rejected => LearningEventKind::Rejected,
        Judgement::Rewound => LearningEventKind::Rewound,
        Judgement::Declined => LearningEventKind::Declined,
        Judgement::Frozen => LearningEventKind::Frozen,
    }
}

/// A decision of the gate, or of a person who promoted.
fn sentence(verdict: &Verdict, all: &[Verdict]) -> String {
    let Verdict {
        version,
        labels,
        evidence,
        difference,
        ..
    } = *verdict;
    let evidence =
        format!("difference {difference:.4} over {labels} labels, evidence {evidence:.1}");
    match verdict.judgement {
        Judgement::Promoted => format!("version {version} is the champion: {evidence}"),
        Judgement::Rejected => format!("contender version {version} is given up: {evidence}"),
        Judgement::Rewound => format!(
            "the candidate proved worse, and champion version {version} is back in its place: {evidence}"
        ),
        Judgement::Declined => {
            format!("the candidate proved worse than champion version {version}: {evidence}")
        }
        Judgement::Frozen if all.iter().all(|one| one.judgement != Judgement::Rewound) => {
            "the error of what is served has drifted, and drift.action = \"freeze\": nothing is learned until \
             a person resumes the model"
                .to_owned()
        }
        Judgement::Frozen => format!(
            "the candidate proved worse again, so nothing is learned until a person resumes the model: \
             {evidence}"
        ),
    }
}

fn raised_sentence(model: &str, incident: &Incident) -> String {
    let about = match incident.about.as_str() {
        "" => String::new(),
        about => format!(" {about:?}"),
    };
    let mut sentence = format!(
        "incident {} ({}{about}) since champion version {} of position {}",
        incident.position,
        incident.kind.word(),
        incident.version,
        incident.since
    );
    if let Some(first) = incident.suspects.first() {
        let share = 100.0 * first.share;
        sentence += &format!(
            "; suspected first: source {:?}, {share:.0} % of the loss",
            first.source
        );
    }
    format!("{sentence}; {}", incident.remedy(model))
}

fn quarantined_sentence(model: &str, cause: QuarantineCause, feedback: &Feedback) -> String {
    let (cause, source, id) = (cause.word(), &feedback.source, &feedback.feedback_id);
    format!(
        "feedback {id:?} of source {source:?} waits in quarantine ({cause}); `perennial quarantine {model}` \
         lists what waits, and releases or discards it"
    )
}

fn drift_sentence(alarms: &[Alarm]) -> String {
    const NAMED_MAX: usize = 3;
    let named = alarms.iter().take(NAMED_MAX).map(|alarm| {
        let (watched, change) = (alarm.watched.word(), alarm.change.word());
        match alarm.input.as_str() {
            "" => format!("{watched} {change}"),
            input => format!("{watched} {input:?} {change}"),
        }
    });
    let named: Vec<String> = named.collect();
    match alarms.len().saturating_sub(NAMED_MAX) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn revised_sentence(order: &Order, step: &Step, change: &ChampionChange) -> String {
    let mut sentence = match order {
        Order::Adopt(_) => "an adopted description has brought another history".to_owned(),
        _ => format!(
            "the history is the one without {} feedback events that were retracted",
            step.excluded.len()
        ),
    };
    if change.before.version != change.after.version {
        let (before, after) = (change.before.version, change.after.version);
        sentence += &format!("; the champion was version {before} and is version {after}");
    }
    let counts = [
        (change.come.len(), "incidents added"),
        (change.gone.len(), "withdrawn"),
        (change.void.len(), "approvals void"),
    ];
    for (n, what) in counts.iter().filter(|(n, _)| *n > 0) {
        sentence += &format!("; {n} {what}");
    }
    sentence
}

#[cfg(test)]
mod tests;
