//! Versions and status of a model as messages, from the engine's values.
//!
//! Invariant: field by field as the engine gives them; nothing is computed here.

use std::collections::BTreeMap;

use prost_types::Timestamp;

use crate::engine::{self, Manifest, Readiness};
use crate::event::{Alarm, Time};
use crate::proto::perennial::v1::{
    BoundStatus, Confusion, DriftAlarm, Evidence, Figure, GateStatus, Incident, Limits,
    MemberStatus, ModelStatus, Retrained, Retraining, SourceBudget, Suspect, Version,
};

/// One version; `damage` is the reason why it cannot be restored, `served` is the version that answers, and
/// `aliases` are those of the model.
pub fn version(
    manifest: Manifest,
    damage: Option<String>,
    served: Option<u64>,
    aliases: &BTreeMap<String, u64>,
) -> Version {
    let named = aliases.iter().filter(|(_, one)| **one == manifest.version);
    Version {
        aliases: named.map(|(alias, _)| alias.clone()).collect(),
        version: manifest.version,
        parent: manifest.parent,
        position: manifest.position,
        time: Some(timestamp(Time(manifest.time_us))),
        reason: manifest.reason,
        note: manifest.note,
        actor: manifest.actor,
        digest: manifest.digest,
        description: manifest.description,
        chain: manifest.chain,
        build: manifest.build,
        profile: manifest.profile,
        metrics: manifest.metrics.into_iter().collect(),
        served: served == Some(manifest.version),
        damage: damage.unwrap_or_default(),
    }
}

/// A moment as the wire has it.
pub(super) fn timestamp(time: Time) -> Timestamp {
    Timestamp {
        seconds: time.0.div_euclid(1_000_000),
        nanos: (time.0.rem_euclid(1_000_000) * 1000) as i32,
    }
}

/// The bounds of a journal.
pub(in crate::server) fn limits(model: &str, limits: engine::Limits) -> Limits {
    Limits {
        model: model.to_owned(),
        bytes_max: limits.bytes_max,
        journal_bytes: limits.bytes,
        retract_within_s: limits.retract_within_s,
        held_since: Some(timestamp(limits.held_since)),
        lost_before: limits.lost_before.map(timestamp),
        position: limits.position,
    }
}

fn bound(bound: engine::Bound) -> BoundStatus {
    BoundStatus {
        name: bound.name.to_owned(),
        used: bound.used,
        level: bound.level.word().to_owned(),
        advice: bound.advice,
    }
}

pub(in crate::server) fn model_status(status: engine::Status) -> ModelStatus {
    let (state, reason) = match status.state {
        Readiness::Ready => ("READY", String::new()),
        Readiness::Unavailable(reason) => ("UNAVAILABLE", reason),
    };
    let (fates, alarms) = (status.fates.into_iter(), status.drift_alarms.into_iter());
    ModelStatus {
        model: status.model,
        state: state.to_owned(),
        reason,
        task: status.task.to_owned(),
        version: status.version,
        position: status.position,
        journal_position: status.journal_position,
        lag: status.lag,
        journal_bytes: status.journal_bytes,
        bounds: status.bounds.into_iter().map(bound).collect(),
        journal_bytes_a_day: status.journal_bytes_a_day,
        journal_days_left: status.journal_days_left,
        examples: status.examples,
        judged: status.judged,
        metric: status.metric.to_owned(),
        score: status.score,
        recent_score: status.recent_score,
        no_change_score: status.no_change_score,
        retention: status.retention,
        drift_alarms: alarms.map(|(watched, n)| (watched.to_owned(), n)).collect(),
        newest_alarms: status.newest_alarms.into_iter().map(alarm).collect(),
        figures: status.figures.into_iter().map(figure).collect(),
        confusion: status.confusion.into_iter().map(confusion).collect(),
        steady_answers: status.steady_answers,
        members: status.members.into_iter().map(member).collect(),
        gate: status.gate.map(gate),
        retraining: status.retraining.map(|newest| Retraining {
            begun: newest.begun,
            time: Some(timestamp(newest.time)),
            newest: newest.newest,
            is_open: newest.is_open,
        }),
        aliases: status.aliases.into_iter().collect(),
        newest_events: Vec::new(),
        fates: fates.map(|(fate, n)| (fate.to_owned(), n)).collect(),
        contradictions: status.contradictions,
        quarantined: status.quarantined,
        budgets: status.budgets.into_iter().map(source_budget).collect(),
        waiting: status.waiting,
        unjournaled: status.unjournaled,
        remembered: status.remembered,
        digest: status
            .digest
            .map_or_else(String::new, |digest| digest.to_string()),
        profile: status.profile,
    }
}

fn source_budget(one: engine::SourceBudget) -> SourceBudget {
    SourceBudget {
        source: one.source,
        spent: one.spent,
        budget: one.budget,
    }
}

fn figure(figure: engine::Figure) -> Figure {
    Figure {
        name: figure.name.to_owned(),
        of: figure.of,
        slice: figure.slice,
        all: figure.all,
        window: figure.window,
        recent: figure.recent,
    }
}

fn confusion(pair: engine::ConfusionCount) -> Confusion {
    Confusion {
        label: pair.truth,
        answer: pair.answer,
        count: pair.n,
    }
}

/// One alarm of drift.
pub(super) fn alarm(alarm: Alarm) -> DriftAlarm {
    DriftAlarm {
        position: alarm.position,
        watched: alarm.watched.word().to_owned(),
        input: alarm.input,
        change: alarm.change.word().to_owned(),
        evidence: alarm.evidence,
    }
}

fn member(member: engine::MemberStatus) -> MemberStatus {
    MemberStatus {
        name: member.name,
        share: member.share,
        examples: member.examples,
        sum: member.sum,
        retention: member.retention,
    }
}

fn gate(gate: engine::GateStatus) -> GateStatus {
    let (contender, contender_position) = gate.contender.unwrap_or_default();
    GateStatus {
        open_incidents: gate.n_open_incidents() as u64,
        policy: gate.policy.to_owned(),
        champion: gate.champion.0,
        champion_position: gate.champion.1,
        contender,
        contender_position,
        promotion: gate.promotion.map(evidence),
        decline: Some(evidence(gate.decline)),
        frozen: gate.frozen,
        frozen_actor: gate.frozen_by.0,
        frozen_note: gate.frozen_by.1,
        next_contender: gate.next_contender.unwrap_or_default(),
        examples: gate.n_labels,
        no_evidence: gate.no_evidence.unwrap_or_default().to_owned(),
        forgot: gate.forgot.map_or(String::new(), |veto| veto.to_string()),
    }
}

fn evidence(evidence: engine::Evidence) -> Evidence {
    Evidence {
        labels: evidence.labels,
        wealth: evidence.wealth,
        needed: evidence.needed,
        difference: evidence.difference,
    }
}

pub(in crate::server) fn retrained(done: engine::RetrainReport) -> Retrained {
    Retrained {
        version: done.version,
        position: done.position,
        from: done.from,
        examples: done.examples,
        evidence: done.evidence.map(evidence),
    }
}

/// One incident of a model.
pub(in crate::server) fn incident(model: &str, incident: engine::Incident) -> Incident {
    let remedy = incident.remedy(model);
    let suspects = incident.suspects.into_iter();
    let suspects = suspects.map(|one| Suspect {
        source: one.source,
        share: one.share,
        labels: one.labels,
        loss: one.loss,
    });
    Incident {
        incident: incident.position,
        kind: incident.kind.word().to_owned(),
        about: incident.about,
        version: incident.version,
        since: incident.since,
        evidence: Some(evidence(incident.evidence)),
        suspects: suspects.collect(),
        state: incident.state.word().to_owned(),
        actor: incident.actor,
        note: incident.note,
        remedy,
    }
}
