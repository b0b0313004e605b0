//! Learning events as messages, and the state of the webhook.
//!
//! Invariant: field by field as the engine published them; the webhook sends the same words.

use super::records::{alarm, incident, timestamp};
use crate::engine::{self, DeliveryCounts};
use crate::proto::perennial::v1::{LearningEvent, WebhookStatus};

/// One learning event.
pub(in crate::server) fn learning_event(event: &engine::LearningEvent) -> LearningEvent {
    let verdict = event.verdict;
    LearningEvent {
        id: event.id(),
        model: event.model.clone(),
        position: event.position,
        time: Some(timestamp(event.time)),
        generation: event.generation,
        kind: event.kind.word().to_owned(),
        version: event.version,
        message: event.message.clone(),
        actor: event.actor.clone(),
        note: event.note.clone(),
        labels: verdict.map(|verdict| verdict.labels),
        wealth: verdict.map(|verdict| verdict.evidence),
        difference: verdict.map(|verdict| verdict.difference),
        alarms: event.alarms.iter().cloned().map(alarm).collect(),
        incident: event
            .incident
            .clone()
            .map(|one| incident(&event.model, one)),
        incidents_added: event.incidents_added.clone(),
        incidents_withdrawn: event.incidents_withdrawn.clone(),
    }
}

/// The status of deliveries to the webhook.
pub(in crate::server) fn webhook_status(counts: DeliveryCounts) -> WebhookStatus {
    WebhookStatus {
        queued: counts.queued as u64,
        queue_max: counts.queue_max as u64,
        delivered: counts.delivered,
        retried: counts.retried,
        given_up: counts.given_up,
        dropped: counts.dropped,
        last_error: counts.last_error,
    }
}
